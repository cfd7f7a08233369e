//! Data sets of the user's own, as users have them: lists, folders and archives, and whether a run
//! notices what changed in them.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use image::{Rgb, RgbImage};
use tempfile::TempDir;

use crate::binary::{runner, text};

/// A picture of one colour.
fn picture(root: &Path, name: &str, colour: u8) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, png(colour)).unwrap();
}

fn png(colour: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = RgbImage::from_pixel(4, 4, Rgb([colour, colour, 0]));
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A pipeline of one download with these lines.
fn pipeline(root: &Path, lines: &str) {
    let text = format!("[pipeline]\nname = \"p\"\n\n[stages.d]\nkind = \"download\"\n{lines}\n");
    fs::write(root.join("p.toml"), text).unwrap();
}

/// Runs it; the exit code and what it said.
fn run(root: &Path, more: &[&str]) -> (i32, String) {
    let output = runner(root, &[&["run", "p.toml", "--offline"], more].concat());
    (output.status.code().unwrap(), text(&output.stderr))
}

/// `metric` of the download's CSV.
fn fact(root: &Path, split: &str, metric: &str) -> Option<String> {
    let csv = fs::read_to_string(root.join("results/p/latest/d.csv")).unwrap();
    let start = format!("{split},{metric},");
    csv.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
}

fn list_of_two(root: &Path) {
    picture(root, "pics/1.png", 10);
    picture(root, "pics/2.png", 20);
    fs::write(root.join("all.csv"), "pics/1.png,cat\npics/2.png,dog\n").unwrap();
    pipeline(root, "source = \"file:all.csv\"\nformat = \"image-list\"");
}

#[test]
fn a_run_notices_every_change_of_the_images_that_a_list_names() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    list_of_two(root);
    assert!(run(root, &[]).1.contains("1 ran"));
    let (code, said) = run(root, &[]);
    assert!(code == 0 && said.contains("nothing to do"), "{said}");
    // The same bytes once more are the same image.
    picture(root, "pics/1.png", 10);
    assert!(run(root, &[]).1.contains("nothing to do"));
    picture(root, "pics/1.png", 99);
    let said = run(root, &[]).1;
    assert!(said.contains("1 ran"), "{said}");
    // An image that no list names.
    picture(root, "pics/3.png", 10);
    assert!(run(root, &[]).1.contains("nothing to do"));
    fs::remove_file(root.join("pics/2.png")).unwrap();
    let (code, said) = run(root, &[]);
    assert!(code == 2 && said.contains("line 2: there is no such file"), "{said}");
    std::os::unix::fs::symlink(root.join("pics/3.png"), root.join("pics/2.png")).unwrap();
    assert!(run(root, &[]).1.contains("1 ran"));
    picture(root, "pics/3.png", 11);
    let said = run(root, &[]).1;
    assert!(said.contains("1 ran"), "the target of a link changed: {said}");
}

#[test]
fn a_checksum_of_a_list_does_not_stand_for_its_images() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    list_of_two(root);
    let sum = runner::data::checksum::of_bytes(&fs::read(root.join("all.csv")).unwrap());
    let lines = format!("source = \"file:all.csv\"\nformat = \"image-list\"\nsha256 = \"{sum}\"");
    pipeline(root, &lines);
    assert!(run(root, &[]).1.contains("1 ran"));
    picture(root, "pics/1.png", 99);
    let said = run(root, &[]).1;
    assert!(said.contains("1 ran"), "{said}");
}

#[test]
fn a_runner_does_not_take_its_own_results_for_images() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    picture(root, "cat/1.png", 10);
    picture(root, "dog/1.png", 20);
    pipeline(root, "source = \"file:.\"\nformat = \"image-folder\"");
    for options in [&[][..], &["--results", "out", "--store", "kept"]] {
        let (code, said) = run(root, options);
        assert!(code == 0 && said.contains("1 ran"), "{said}");
        let (code, said) = run(root, options);
        assert!(code == 0 && said.contains("nothing to do"), "{said}");
    }
    // Nor is its pipeline data.
    let again = fs::read_to_string(root.join("p.toml")).unwrap() + "# a remark\n";
    fs::write(root.join("p.toml"), again).unwrap();
    assert!(run(root, &[]).1.contains("nothing to do"));
}

#[test]
fn a_class_stays_when_results_are_written_into_its_folder() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    picture(root, "cat/1.png", 10);
    picture(root, "dog/1.png", 20);
    pipeline(root, "source = \"file:.\"\nformat = \"image-folder\"");
    for results in ["cat", "."] {
        let options = ["--results", results, "--store", &format!(".store{}", results.len())];
        let (code, said) = run(root, &options);
        assert!(code == 0 && said.contains("1 ran"), "{said}");
        let csv = fs::read_to_string(root.join(results).join("p/latest/d.csv")).unwrap();
        assert!(csv.contains("train,images,2"), "{csv}");
        let (code, said) = run(root, &options);
        assert!(code == 0 && said.contains("nothing to do"), "{said}");
    }
    // Another reading says what it passes by.
    let (code, said) = run(root, &["--store", ".new"]);
    assert!(code == 0 && said.contains("cat/p holds results"), "{said}");
}

#[test]
fn messages_name_an_archive_as_the_user_does_and_root_points_into_it() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let mut put = |name: &str, bytes: &[u8]| {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    };
    put("README.md", b"my photos");
    for set in ["photos", "more"] {
        for split in ["train", "test"] {
            for class in ["cat", "dog"] {
                put(&format!("{set}/{split}/{class}/1.png"), &png(7));
            }
        }
    }
    put("photos/train/cat/2.png", &png(8));
    put("photos/notes.txt", b"");
    fs::write(root.join("photos.zip"), zip.finish().unwrap().into_inner()).unwrap();
    let source = "source = \"file:photos.zip\"\nformat = \"image-folder\"";
    pipeline(root, source);
    let (code, said) = run(root, &[]);
    assert!(code == 1 && said.contains("photos.zip") && said.contains("`root = "), "{said}");
    assert!(!said.contains(".runner"), "{said}");
    pipeline(root, &format!("{source}\nroot = \"photos\""));
    let (code, said) = run(root, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("such as photos.zip/photos/notes.txt"), "{said}");
    assert_eq!(fact(root, "train", "images").as_deref(), Some("3"));
    assert_eq!(fact(root, "test", "images").as_deref(), Some("2"));
    for (wrong, why) in [("photo", "its folders are `more`, `photos`"), ("../x", "leads out of")] {
        pipeline(root, &format!("{source}\nroot = \"{wrong}\""));
        let (code, said) = run(root, &[]);
        assert!(code == 1 && said.contains(why), "{said}");
    }
}

#[test]
fn what_is_advised_for_a_list_whose_names_begin_elsewhere_works() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    picture(root, "office/amazon/bike/1.png", 1);
    picture(root, "office/amazon/mug/2.png", 2);
    fs::create_dir(root.join("office/lists")).unwrap();
    let list = root.join("office/lists/amazon.txt");
    let source = "source = \"file:office/lists/amazon.txt\"\nformat = \"image-list\"";
    let absolute = |name: &str| root.join("office/amazon").join(name).display().to_string();
    for (first, second) in [
        ("amazon/bike/1.png".to_owned(), "amazon/mug/2.png".to_owned()),
        ("../amazon/bike/1.png".to_owned(), "../amazon/mug/2.png".to_owned()),
        (absolute("bike/1.png"), absolute("mug/2.png")),
    ] {
        fs::write(&list, format!("{first} 0\n{second} 1\n")).unwrap();
        pipeline(root, source);
        let (code, said) = run(root, &[]);
        assert_eq!(code, 2, "{said}");
        let advice = said.split('`').find(|part| part.starts_with("root = ")).expect(&said);
        pipeline(root, &format!("{source}\n{advice}"));
        let (code, said) = run(root, &[]);
        assert_eq!(code, 0, "{advice}: {said}");
        assert_eq!(fact(root, "train", "images").as_deref(), Some("2"));
    }
}

#[test]
fn keys_that_a_format_does_not_know_are_refused_by_name() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    for (format, line) in [
        ("idx", "splits = \"none\""),
        ("image-list", "single_class = true"),
        ("image-folder", "columns = [\"a\", \"b\"]"),
        ("image-list", "columns = [\"a\", \"a\"]"),
        ("image-list", "root = \"\""),
    ] {
        pipeline(root, &format!("source = \"file:x\"\nformat = \"{format}\"\n{line}"));
        let (code, said) = run(root, &[]);
        let key = line.split(' ').next().unwrap();
        assert!(code == 2 && said.contains(&format!("`{key}`")), "{said}");
    }
}
