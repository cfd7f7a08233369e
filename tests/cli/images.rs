//! Image files as people have them: cut off, of every format, turned, larger than the memory.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::binary::{runner, text};

const PIPELINE: &str = r#"
[pipeline]
name = "p"

[stages.d]
kind = "download"
source = "file:data"
format = "image-folder"
"#;

const SKIP: &str = "stages.d.on_error=\"skip\"";

/// A picture of the corpus.
fn picture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/image");
    fs::read(folder.join(name)).unwrap()
}

/// A pipeline and the files of a folder, two classes with a picture each among them.
fn data(files: &[(&str, Vec<u8>)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let good = ["a/good.png", "b/good.png"].map(|name| (name, picture("colours.png")));
    for (name, bytes) in good.iter().chain(files) {
        let path = root.path().join("data").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::write(root.path().join("p.toml"), PIPELINE).unwrap();
    root
}

fn done(root: &Path, settings: &[&str]) -> String {
    let output = run(root, settings);
    assert_eq!(output.0, Some(0), "{}", output.1);
    output.1
}

fn failed(root: &Path, settings: &[&str]) -> String {
    let output = run(root, settings);
    assert_eq!(output.0, Some(1), "{}", output.1);
    assert!(!output.1.contains("panicked"), "{}", output.1);
    output.1
}

fn run(root: &Path, settings: &[&str]) -> (Option<i32>, String) {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = ["run", "p.toml"].into_iter().chain(settings).collect();
    let output = runner(root, &arguments);
    (output.status.code(), text(&output.stderr))
}

fn facts(root: &Path) -> String {
    fs::read_to_string(root.join("results/p/latest/d.csv")).unwrap()
}

#[test]
fn half_a_picture_is_an_error_and_left_out_and_counted_when_asked_for() {
    let names = ["baseline.jpg", "progressive.jpg", "colours.png", "lzw.tif", "plain.gif"];
    let halves = names.map(|name| {
        let bytes = picture(name);
        (format!("a/half-{name}"), bytes[..bytes.len() / 2].to_vec())
    });
    let files: Vec<(&str, Vec<u8>)> =
        halves.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let root = data(&files);
    let said = failed(root.path(), &[]);
    assert!(said.contains("half-baseline.jpg: cannot be read as an image: cut off"), "{said}");
    let said = done(root.path(), &[SKIP]);
    assert!(said.contains("half-progressive.jpg: cannot be read as an image: cut off"), "{said}");
    let facts = facts(root.path());
    assert!(facts.contains("train,skipped,5\n") && facts.contains("train,images,2\n"), "{facts}");
}

#[test]
fn a_folder_of_several_formats_is_read_whole() {
    let names =
        ["colours.ppm", "gray.pgm", "black.pbm", "two-pages.tif", "lossy.webp", "plain.gif"];
    let named = names.map(|name| (format!("a/{}", name.to_uppercase()), picture(name)));
    let mut files: Vec<(&str, Vec<u8>)> =
        named.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    files.push(("a/notes.txt", b"about them".to_vec()));
    let root = data(&files);
    let said = done(root.path(), &[]);
    assert!(facts(root.path()).contains("train,images,8\n"), "{}", facts(root.path()));
    assert!(said.contains("1 file holds several pictures, of which the first is taken"), "{said}");
    assert!(said.contains("TWO-PAGES.TIF"), "{said}");
}

#[test]
fn a_picture_of_another_format_is_not_left_out_silently() {
    for (name, bytes, advice) in [
        ("a/photo.heic", b"\0\0\0\x18ftypheic".to_vec(), "convert it to"),
        ("a/scan", picture("baseline.jpg"), "rename it to end in png, jpg"),
        ("a/old.jpg~", picture("baseline.jpg"), "or move it away"),
    ] {
        let root = data(&[(name, bytes)]);
        let said = failed(root.path(), &[]);
        assert!(said.contains(&format!("{name}: cannot be read as an image")), "{said}");
        assert!(said.contains(advice), "{said}");
        done(root.path(), &[SKIP]);
        let facts = facts(root.path());
        assert!(
            facts.contains("train,skipped,1\n") && facts.contains("train,images,2\n"),
            "{facts}"
        );
    }
}

#[test]
fn an_orientation_is_said_and_applied_when_asked_for() {
    let files = [("a/good.png", picture("turned.png")), ("b/good.png", picture("turned.jpg"))];
    let root = data(&files);
    let said = done(root.path(), &[]);
    assert!(said.contains("2 images have an EXIF orientation"), "{said}");
    assert!(said.contains("`orientation = \"ignore\"`") && said.contains("3x29x43"), "{said}");
    let said = done(root.path(), &["stages.d.orientation=\"apply\""]);
    assert!(said.contains("2 images were turned as their EXIF orientation says"), "{said}");
    assert!(said.contains("3x43x29"), "{said}");
    let said = done(data(&[]).path(), &[]);
    assert!(!said.contains("EXIF"), "{said}");
}

#[test]
fn a_gif_without_pixels_is_left_out_like_any_other_broken_file() {
    let mut empty = picture("plain.gif");
    empty[6..8].fill(0);
    let root = data(&[("a/zero.gif", empty)]);
    let said = failed(root.path(), &[]);
    assert!(said.contains("zero.gif: cannot be read as an image"), "{said}");
    done(root.path(), &[SKIP]);
    assert!(facts(root.path()).contains("train,skipped,1\n"));
}

#[test]
#[cfg(target_os = "linux")]
fn too_little_memory_for_an_image_is_an_error_whatever_is_skipped() {
    let root = data(&[("a/large.ppm", b"P6\n16000 10000\n255\n".to_vec())]);
    let file = fs::File::options().append(true).open(root.path().join("data/a/large.ppm")).unwrap();
    // Zeros that take no room on the disk: 480 MB to read, and as many decoded.
    file.set_len(20 + 480_000_000).unwrap();
    let command = format!(
        "ulimit -v 800000 && exec {} run p.toml --threads 1 --set '{SKIP}'",
        assert_cmd::cargo::cargo_bin("runner").display()
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &command])
        .current_dir(root.path())
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("large.ppm: ") && said.contains("memory"), "{said}");
    assert!(said.contains("ulimit -v") && !said.contains("panicked"), "{said}");
}
