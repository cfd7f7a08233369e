//! A folder of images for each class, below a folder for each split or without any.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::decode::{decode, formats, is_image};
use super::{Broken, Found, visible_entries, visible_files};
use crate::data::Watch;
use crate::data::error::Error;

/// The split that a folder of this name holds, if it is such a folder.
pub(super) fn split_folder(name: &str) -> Option<&'static str> {
    match name.to_lowercase().as_str() {
        "train" | "training" => Some("train"),
        "valid" | "val" | "validation" => Some("valid"),
        "test" | "testing" => Some("test"),
        _ => None,
    }
}

/// Image files of a split by class.
type Classes = BTreeMap<String, Vec<PathBuf>>;

/// Reads `<split>/<class>/*.png` (train, valid, test; any of them), or `<class>/*.png` as the one
/// split `train`. Classes and files are taken in the order of their names.
///
/// # Errors
/// When the folder is laid out otherwise, a file is not an image, or the user asked to stop.
pub fn read(root: &Path, broken: &Broken, watch: &Watch) -> Result<Found, Error> {
    let mut ignored = Vec::new();
    let mut splits: IndexMap<String, Classes> = IndexMap::new();
    for (name, folder) in split_folders(root, &mut ignored)? {
        let classes = classes(&folder, &mut ignored)?;
        if splits.insert(name.clone(), classes).is_some() {
            return Err(Error::malformed(&folder, format!("a second folder for `{name}`")));
        }
    }
    if let Some(first) = ignored.first() {
        watch.progress.note(&format!(
            "{} files are not images in a class folder and are ignored, such as {}",
            ignored.len(),
            first.display()
        ));
    }
    let names: BTreeSet<&String> = splits.values().flat_map(BTreeMap::keys).collect();
    let names: Vec<String> = names.into_iter().cloned().collect();
    let mut groups = Vec::new();
    for (name, classes) in &splits {
        let label = |class: &String| names.binary_search(class).unwrap_or_default();
        let of = |(class, files): (&String, &Vec<PathBuf>)| vec![label(class); files.len()];
        let numbers: Vec<usize> = classes.iter().flat_map(of).collect();
        let labels = numbers.iter().map(|label| u32::try_from(*label).unwrap_or(u32::MAX));
        let files = classes.values().flatten().cloned().collect();
        groups.push((name.clone(), files, labels.collect()));
    }
    Ok(Found { classes: names, splits: decode(groups, broken, watch)? })
}

fn layout(root: &Path, message: impl std::fmt::Display) -> Error {
    Error::rejected(format!("{}: {message}", root.display()))
        .advise(
            "expected <split>/<class>/<image> with the splits train, valid and test (any of them)",
        )
        .advise("or <class>/<image>, which makes one split `train`")
        .advise(format!("images are {}; every image needs a class", formats()))
}

/// The folder of each split: those named like one, or the root itself as `train`.
fn split_folders(root: &Path, ignored: &mut Vec<PathBuf>) -> Result<Vec<(String, PathBuf)>, Error> {
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
        visible_entries(root)?.into_iter().partition(|path| path.is_dir());
    let (splits, others): (Vec<&PathBuf>, Vec<&PathBuf>) =
        folders.iter().partition(|folder| split_folder(&file_name(folder)).is_some());
    if splits.is_empty() {
        return Ok(vec![("train".into(), root.to_owned())]);
    }
    if let Some(other) = others.first() {
        let (split, other) = (file_name(splits[0]), file_name(other));
        let message = format!("`{split}` is the folder of a split, but `{other}` beside it is not");
        return Err(layout(root, message));
    }
    ignored.extend(files);
    let named = |folder: &PathBuf| {
        let name = split_folder(&file_name(folder))?;
        Some((name.to_owned(), folder.clone()))
    };
    Ok(folders.iter().filter_map(named).collect())
}

/// The image files of each class folder of a split.
fn classes(split: &Path, ignored: &mut Vec<PathBuf>) -> Result<Classes, Error> {
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
        visible_entries(split)?.into_iter().partition(|path| path.is_dir());
    let loose = files.iter().filter(|file| is_image(file)).count();
    if folders.is_empty() && loose > 0 {
        return Err(layout(split, format!("{loose} images lie in it without a class folder")));
    }
    ignored.extend(files);
    let mut classes = Classes::new();
    for folder in folders {
        let (images, others): (Vec<PathBuf>, Vec<PathBuf>) =
            visible_files(&folder)?.into_iter().partition(|file| is_image(file));
        ignored.extend(others);
        if images.is_empty() {
            return Err(layout(&folder, "there are no images in it"));
        }
        classes.insert(file_name(&folder), images);
    }
    if classes.is_empty() {
        return Err(layout(split, "there are no images in it"));
    }
    Ok(classes)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    use image::GrayImage;

    use super::*;
    use crate::data::Dataset;
    use crate::data::readers::Format;
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

    /// Makes the files; an image is one pixel of the number in its name.
    fn found(files: &[&str]) -> (Result<Dataset, Error>, Vec<String>) {
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
        let found = Format::ImageFolder.read(folder.path(), &Broken::fails(), &watch);
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
    fn other_files_are_ignored_with_a_note() {
        let (found, notes) =
            found(&["cat/1.png", "cat/.hidden.png.txt", "dog/2.png", "dog/notes.txt"]);
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
}
