use std::fs;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use image::GrayImage;

use super::*;
use crate::data::Dataset;
use crate::data::readers::DataFormat;
use crate::progress::{Progress, Unit};

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn advance(&self, _: u64) {}
    fn status(&self, _: &str) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

fn found(files: &[&str]) -> (Result<Dataset, DataError>, Vec<String>) {
    found_as(files, &Layout::default())
}

/// Makes the files; an image is one pixel of the number in its name.
fn found_as(files: &[&str], layout: &Layout) -> (Result<Dataset, DataError>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if is_image(&path) {
            let pixel = path.file_stem().unwrap().to_string_lossy().parse().unwrap();
            GrayImage::from_raw(1, 1, vec![pixel]).unwrap().save(&path).unwrap();
        } else {
            fs::write(&path, "text").unwrap();
        }
    }
    let (cancel, notes) = (AtomicBool::new(false), Notes::default());
    let watch = Watch { progress: &notes, cancel: &cancel };
    let found = DataFormat::ImageFolder.read_as(folder.path(), layout, &Decoding::strict(), &watch);
    (found, notes.0.into_inner().unwrap())
}

#[test]
fn splits_and_classes_are_those_of_the_folders() {
    let files = [
        "test/dog/9.png",
        "train/dog/4.png",
        "train/cat/2.png",
        "train/cat/1.png",
        "train/eel/a/5.png",
        "val/cat/7.png",
    ];
    let found = found(&files).0.unwrap();
    assert_eq!(found.classes, ["cat", "dog", "eel"]);
    assert_eq!(found.splits.keys().collect::<Vec<_>>(), ["train", "valid", "test"]);
    assert_eq!(found.splits["train"].images.pixels, [1, 2, 4, 5]);
    assert_eq!(found.splits["train"].labels, [0, 0, 1, 2]);
    assert_eq!(found.splits["test"].labels, [1]);
    assert_eq!(found.splits["valid"].images.pixels, [7]);
}

#[test]
fn classes_alone_make_the_train_split_also_inside_a_wrapping() {
    for prefix in ["", "animals/", "download/animals/"] {
        let files = [format!("{prefix}cat/1.png"), format!("{prefix}dog/2.png")];
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let found = found(&files).0.unwrap();
        assert_eq!(found.classes, ["cat", "dog"]);
        assert_eq!(found.splits.keys().collect::<Vec<_>>(), ["train"]);
        assert_eq!(found.splits["train"].labels, [0, 1]);
    }
}

#[test]
fn what_lies_beside_a_wrapping_does_not_make_it_a_class() {
    let inside = ["train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "test/dog/4.png"];
    for (prefix, others) in [
        ("photos/", vec!["README.md"]),
        ("photos/", vec!["cover.png", "docs/a.txt"]),
        ("a/b/photos/", vec!["x.txt", "a/LICENSE", "a/b/index.csv"]),
        ("train_and_more/", vec!["README.md"]),
        ("", vec!["README.md", "annotations/1.xml"]),
    ] {
        let files: Vec<String> = inside.iter().map(|file| format!("{prefix}{file}")).collect();
        let others = others.iter().map(|file| file.replace("cover", "7"));
        let files: Vec<String> = files.into_iter().chain(others).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let (found, notes) = found(&files);
        let found = found.unwrap();
        assert_eq!(found.classes, ["cat", "dog"], "{files:?}");
        assert_eq!(found.splits["train"].images.pixels, [1, 2], "{files:?}");
        assert_eq!(found.splits["test"].images.pixels, [3, 4], "{files:?}");
        assert!(notes[0].contains("are ignored, such as"), "{notes:?}");
    }
}

#[test]
fn every_spelling_of_a_split_makes_one_and_doubled_folders_are_passed() {
    for (train, test) in [
        ("training_set", "test_set"),
        ("Train", "TEST"),
        ("seg_train", "seg_test"),
        ("training_set/training_set", "test_set/test_set"),
        ("seg_train/seg_train", "test"),
        ("train/images", "test/images"),
        ("train2017", "testing data"),
    ] {
        let paths = [
            format!("{train}/cat/1.png"),
            format!("{train}/dog/2.png"),
            format!("{test}/cat/3.png"),
            format!("{test}/dog/4.png"),
        ];
        let found = found(&paths.each_ref().map(String::as_str)).0.unwrap();
        assert_eq!(found.classes, ["cat", "dog"], "{train}");
        assert_eq!(found.splits["train"].images.pixels, [1, 2], "{train}");
        assert_eq!(found.splits["test"].images.pixels, [3, 4], "{train}");
    }
}

#[test]
fn names_that_may_be_splits_or_classes_are_never_guessed() {
    let message = |files: &[&str]| {
        let error = found(files).0.unwrap_err();
        assert!(error.help().iter().any(|line| line.contains("splits = \"none\"")), "{error}");
        error.to_string()
    };
    // Images without a class, or classes of these names?
    assert!(message(&["trainA/1.png", "testA/2.png"]).contains("`testA`, `trainA`"));
    assert!(message(&["train/1.png", "val/2.png"]).contains("without a class folder"));
    // A split in every class.
    let files = ["cat/train/1.png", "cat/test/2.png", "dog/train/3.png", "dog/test/4.png"];
    assert!(message(&files).contains("the class `cat` holds the folder of a split, `test`"));
    let files = ["a/train/x/1.png", "a/test/x/2.png", "b/train/x/3.png"];
    assert!(message(&files).contains("holds the folder of a split"));
}

#[test]
fn a_class_may_be_called_like_a_split_beside_others_or_when_the_user_says_so() {
    let files = ["bus/1.png", "train/2.png", "truck/3.png"];
    let (set, notes) = found(&files);
    let set = set.unwrap();
    assert_eq!(set.classes, ["bus", "train", "truck"]);
    assert_eq!(set.splits.keys().collect::<Vec<_>>(), ["train"]);
    assert!(notes[0].contains("`train` is a class, not a split"), "{notes:?}");
    let (set, _) = found(&["train/bus/1.png", "train/train/2.png", "val/train/3.png"]);
    assert_eq!(set.unwrap().splits["valid"].labels, [1]);
    let layout = Layout { ignores_splits: true, ..Layout::default() };
    for files in [
        ["train/1.png", "test/2.png", "val/3.png"],
        ["train/a/1.png", "test/a/2.png", "val/a/3.png"],
        ["w/train/1.png", "w/test/2.png", "w/val/3.png"],
    ] {
        let (set, _) = found_as(&files, &layout);
        let set = set.unwrap();
        assert_eq!(set.classes, ["test", "train", "val"], "{files:?}");
        assert_eq!(set.splits["train"].labels, [0, 1, 2]);
    }
}

#[test]
fn one_class_alone_is_an_error_unless_it_is_asked_for() {
    for files in [["photos/1.png", "photos/2.png"], ["train/cat/1.png", "test/cat/2.png"]] {
        let error = found(&files).0.unwrap_err();
        assert!(error.to_string().contains("all images are of one class"), "{error}");
        assert!(error.help().iter().any(|line| line.contains("single_class = true")));
        let layout = Layout { may_be_one_class: true, ..Layout::default() };
        assert_eq!(found_as(&files, &layout).0.unwrap().classes.len(), 1);
    }
}

#[test]
fn splits_without_a_class_in_common_are_an_error() {
    let files = ["train/cat/1.png", "train/dog/2.png", "test/cats/3.png", "test/dogs/4.png"];
    let error = found(&files).0.unwrap_err().to_string();
    assert!(error.contains("no class of `test` (`cats`, `dogs`) is one of `train`"), "{error}");
}

#[test]
fn images_in_folders_within_a_class_are_of_the_class_with_a_note() {
    let (set, notes) = found(&["amazon/images/bike/1.png", "dslr/images/bike/2.png"]);
    assert_eq!(set.unwrap().classes, ["amazon", "dslr"]);
    assert!(notes[0].contains("`images/bike` in `amazon`"), "{notes:?}");
}

#[test]
fn domains_and_folds_are_not_classes() {
    let domains = |inner: &str| -> Vec<String> {
        let of = |domain: &str| {
            [("bike", 1), ("mug", 2)].map(|(class, n)| format!("{domain}{inner}/{class}/{n}.png"))
        };
        ["amazon", "dslr", "webcam"].iter().flat_map(|domain| of(domain)).collect()
    };
    let fold = |split: &str, fold: &str| {
        [("cat", 1), ("dog", 2)].map(|(class, n)| format!("{split}/{fold}/{class}/{n}.png"))
    };
    let folds = [fold("train", "f1"), fold("train", "f2"), fold("test", "f1")].concat();
    let wrapped: Vec<String> = domains("").iter().map(|file| format!("office/{file}")).collect();
    for (files, said, root) in [
        (domains("/images"), "`amazon` and `dslr` hold the same folders", "amazon"),
        (domains(""), "such as `bike` and `mug`", "amazon"),
        (wrapped, "`amazon` and `dslr`", "office/amazon"),
        (folds, "`f1` and `f2`", "train/f1"),
    ] {
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let error = found(&files).0.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        let help = error.help().join("\n");
        assert!(help.contains(&format!("`root = \"{root}\"`")), "{help}");
    }
    let files = domains("/images");
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let alone: Vec<&str> = files.iter().filter_map(|file| file.strip_prefix("amazon/")).collect();
    assert_eq!(found(&alone).0.unwrap().classes, ["bike", "mug"]);
    let layout = Layout { ignores_splits: true, ..Layout::default() };
    assert_eq!(found_as(&files, &layout).0.unwrap().classes, ["amazon", "dslr", "webcam"]);
    // Folders within classes that are not the same in two of them, or are in both splits of one.
    let files = ["cat/cam1/1.png", "cat/cam2/2.png", "dog/cam1/3.png", "dog/cam3/4.png"];
    assert_eq!(found(&files).0.unwrap().classes, ["cat", "dog"]);
    let files = ["train/cat/a/1.png", "train/cat/b/2.png", "train/dog/3.png", "test/cat/a/4.png"];
    let files = [&files[..], &["test/cat/b/5.png"]].concat();
    assert_eq!(found(&files).0.unwrap().classes, ["cat", "dog"]);
}

#[test]
fn the_one_class_that_is_meant_keeps_its_name_whatever_its_images_lie_in() {
    let layout = Layout { may_be_one_class: true, ..Layout::default() };
    let classes = |files: &[&str]| found_as(files, &layout).0.unwrap().classes;
    assert_eq!(classes(&["cat/cam1/1.png", "cat/cam2/2.png"]), ["cat"]);
    assert_eq!(classes(&["photos/cat/cam1/1.png", "photos/cat/cam2/2.png"]), ["cat"]);
    assert_eq!(classes(&["train/cat/cam1/1.png", "train/cat/cam2/2.png"]), ["cat"]);
    let files = ["train/cat/cam1/1.png", "test/cat/cam2/2.png", "test/cat/cam3/3.png"];
    assert_eq!(classes(&files), ["cat"]);
    assert_eq!(classes(&["train/cat/cam1/1.png", "test/cat/cam2/2.png"]), ["cat"]);
    // What wraps splits or the class is still looked through.
    assert_eq!(classes(&["photos/train/cat/1.png", "photos/test/cat/2.png"]), ["cat"]);
    assert_eq!(classes(&["p/seg_train/cat/1.png", "p/seg_test/cat/2.png"]), ["cat"]);
    assert_eq!(classes(&["train/images/cat/1.png", "test/images/cat/2.png"]), ["cat"]);
    assert_eq!(classes(&["photos/cat/1.png", "photos/cat/2.png"]), ["cat"]);
    let layout = Layout { may_be_one_class: true, ignores_splits: true, ..Layout::default() };
    let (set, _) = found_as(&["w/train/1.png", "w/test/2.png"], &layout);
    assert_eq!(set.unwrap().classes, ["w"]);
}

#[test]
fn names_that_are_not_utf_8_stay_classes_of_their_own() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    for (name, pixel) in [(&b"K\xe4fer"[..], 1), (b"K\xf6fer", 2), ("Käfer".as_bytes(), 3)] {
        let class = folder.path().join(OsStr::from_bytes(name));
        fs::create_dir(&class).unwrap();
        GrayImage::from_raw(1, 1, vec![pixel]).unwrap().save(class.join("1.png")).unwrap();
    }
    let cancel = AtomicBool::new(false);
    let watch = Watch { progress: &crate::progress::Silent, cancel: &cancel };
    let set = DataFormat::ImageFolder.read(folder.path(), &Decoding::strict(), &watch).unwrap();
    assert_eq!(set.classes, ["K\\xE4fer", "K\\xF6fer", "Käfer"]);
    assert_eq!(set.splits["train"].images.pixels, [1, 2, 3]);
    assert_eq!(set.splits["train"].labels, [0, 1, 2]);
    // A name that only looks like what stands for another.
    let class = folder.path().join("K\\xE4fer");
    fs::create_dir(&class).unwrap();
    GrayImage::from_raw(1, 1, vec![4]).unwrap().save(class.join("1.png")).unwrap();
    let error =
        DataFormat::ImageFolder.read(folder.path(), &Decoding::strict(), &watch).unwrap_err();
    assert!(error.to_string().contains("a second folder for `K\\xE4fer`"), "{error}");
}

#[test]
fn every_file_that_is_read_is_known_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["cat/1.png", "cat/deep/2.JPG", "dog/3.png", "notes.txt", "cat/.x.png"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let files = DataFormat::ImageFolder.files(folder.path(), &Layout::default()).unwrap();
    let names = ["cat/1.png", "cat/deep/2.JPG", "dog/3.png"];
    assert_eq!(files, names.map(|name| folder.path().join(name)));
}

#[test]
fn other_files_are_ignored_with_a_note() {
    let (found, notes) = found(&["cat/1.png", "cat/.hidden.png.txt", "dog/2.png", "dog/notes.txt"]);
    assert_eq!(found.unwrap().splits["train"].len(), 2);
    assert_eq!(notes.len(), 1);
    assert!(notes[0].starts_with("1 files") && notes[0].contains("notes.txt"), "{notes:?}");
}

#[test]
fn images_without_a_class_are_an_error_that_shows_the_layout() {
    let error = found(&["train/cat/1.png", "test/2.png"]).0.unwrap_err();
    assert!(error.to_string().contains("1 images lie in it without a class"), "{error}");
    assert!(error.help()[0].contains("<split>/<class>/<image>"));
    let error = found(&["1.png", "2.png"]).0.unwrap_err();
    assert!(error.to_string().contains("2 images lie in it"), "{error}");
}

#[test]
fn an_empty_folder_or_class_and_mixed_layouts_are_errors() {
    let message = |files: &[&str]| found(files).0.unwrap_err().to_string();
    assert!(message(&[]).contains("there are no images"));
    assert!(message(&["cat/1.png", "dog/a.txt"]).contains("dog: there are no images"));
    assert!(message(&["train/cat/1.png", "dog/2.png"]).contains("`dog` beside it is not"));
    assert!(message(&["val/cat/1.png", "valid/cat/2.png"]).contains("a second folder"));
}
