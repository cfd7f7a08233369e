//! Advice about data of the user's own: where they are, and how folders and archives are laid out.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

use super::scene::Scene;

pub(super) const RUN: &[&str] = &["run", "p.toml", "--offline"];

/// A file of this name below the scene's folder, as `files` lists them.
pub(super) type File<'a> = (&'a str, Vec<u8>);

pub(super) fn put(root: &Path, (name, bytes): &File) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A picture of one colour.
pub(super) fn png(name: &str, colour: u8) -> File<'_> {
    let mut bytes = Cursor::new(Vec::new());
    let image = image::RgbImage::from_pixel(4, 4, image::Rgb([colour, colour, 0]));
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    (name, bytes.into_inner())
}

pub(super) fn text<'a>(name: &'a str, text: &str) -> File<'a> {
    (name, text.as_bytes().to_vec())
}

/// A pipeline of one download with these lines, beside these files.
pub(super) fn download(lines: &str, files: &[File]) -> Scene {
    let scene = Scene::new(format!(
        "[pipeline]\nname = \"p\"\n\n[stages.d]\nkind = \"download\"\n{lines}\n"
    ));
    files.iter().for_each(|file| put(scene.root(), file));
    scene
}

/// A folder of images, called `photos`, with these files in it.
fn photos(names: &[&str]) -> Scene {
    let scene = download("source = \"file:photos\"\nformat = \"image-folder\"", &[]);
    for (at, name) in names.iter().enumerate() {
        put(&scene.root().join("photos"), &png(name, u8::try_from(at * 9).unwrap()));
    }
    scene
}

pub(super) const FORMAT: &str = "format = \"image-folder\"";

const ROOT: &str = "`root = \"FOLDER\"` points to a folder in the source where that begins";

const NO_SPLITS: &str =
    "`splits = \"none\"` takes folders called train, valid or test for classes as well";

#[test]
fn advice_about_folders_of_images_helps_when_it_is_followed() {
    let both = format!("{FORMAT}\n$0");
    let add: &[(&str, &str)] = &[(FORMAT, &both)];
    let domains = ["amazon/cat/1.png", "amazon/dog/1.png", "webcam/cat/1.png", "webcam/dog/1.png"];
    let one = "`root = {inside}` takes `{a}` alone";
    photos(&["cat/1.png"]).follow(RUN, "`single_class = true` if that is meant", add);
    photos(&domains).follow(RUN, one, add);
    photos(&domains).follow(RUN, "`splits = \"none\"` if `{a}` and `{b}` are classes", add);
    photos(&domains).follow(RUN, ROOT, &[(FORMAT, &both), ("FOLDER", "webcam")]);
    // What a folder is called may need escapes in TOML.
    for odd in ["a\"b", "a\\tb"] {
        let names = domains.map(|name| name.replace("amazon", odd));
        photos(&names.each_ref().map(String::as_str)).follow(RUN, one, add);
    }
    photos(&["train/cat/1.png", "other/dog/1.png"]).follow(RUN, NO_SPLITS, add);
    photos(&["train/1.png", "test/1.png"]).follow(RUN, NO_SPLITS, add);

    for expected in [
        "expected <split>/<class>/<image> with the splits train, valid and test (any of them)",
        "or <class>/<image>, which makes one split `train`",
        "images are {}; every image needs a class",
    ] {
        let scene = photos(&["1.png", "2.png"]);
        scene.advised(RUN, expected);
        for (at, class) in ["cat", "dog"].iter().enumerate() {
            let split = if expected.contains("<split>") { "train/" } else { "" };
            let folder = scene.root().join(format!("photos/{split}{class}"));
            fs::create_dir_all(&folder).unwrap();
            let from = scene.root().join(format!("photos/{}.png", at + 1));
            fs::rename(from, folder.join("1.png")).unwrap();
        }
        scene.done(RUN, expected);
    }
}

#[test]
fn advice_about_the_place_of_a_source_helps_when_it_is_followed() {
    let cats = ["cat/1.png", "dog/1.png"];
    let sum = "sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"";
    let with = |line: &str| format!("{FORMAT}\n{line}");
    let wrong = |scene: &mut Scene, line: &str| scene.edit((FORMAT, &with(line)), &[]);

    let mut scene = photos(&cats);
    scene.edit(("file:photos", "file:/photos-of-nobody"), &[]);
    let relative = "a path that does not start with / is taken from the current directory";
    scene.follow(RUN, relative, &[("file:/photos-of-nobody", "file:photos")]);

    let mut scene = photos(&["photos/cat/1.png", "photos/dog/1.png"]);
    wrong(&mut scene, "root = \"../x\"");
    scene.follow(
        RUN,
        "name a folder in it, such as `root = \"photos\"`",
        &[("root = \"../x\"", "$0")],
    );

    let mut scene = photos(&["photos/cat/1.png", "photos/dog/1.png"]);
    wrong(&mut scene, "root = \"fotos\"");
    scene.follow(RUN, "its folders are {}", &[("\"fotos\"", "\"$0\"")]);

    let mut scene = photos(&cats);
    wrong(&mut scene, sum);
    let folder = "leave `sha256` out: changes to the folder's files are noticed anyway";
    scene.follow(RUN, folder, &[(sum, "")]);

    let lines = "source = \"file:lists/a.csv\"\nformat = \"image-list\"\nroot = \"pics\"";
    let files = [
        png("lists/1.png", 1),
        png("lists/2.png", 2),
        text("lists/a.csv", "1.png,cat\n2.png,dog\n"),
    ];
    let begin = "where the names in a list begin; a path that does not start with / is \
                 taken from the current directory";
    download(lines, &files).follow(RUN, begin, &[("\"pics\"", "\"lists\"")]);

    let mut scene = download("source = \"file:one\"\nformat = \"safetensors\"\nroot = \"x\"", &[]);
    let tensors = std::collections::HashMap::from([
        ("images", (safetensors::Dtype::U8, vec![2, 2, 2, 3], vec![9_u8; 24])),
        (
            "labels",
            (safetensors::Dtype::I64, vec![2], [[0_u8; 8], [1, 0, 0, 0, 0, 0, 0, 0]].concat()),
        ),
    ]);
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (*name, safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    put(scene.root(), &("one", bytes.clone()));
    let meaning = "`root` is a folder in a folder or archive, or where the names in a list begin";
    scene.follow(RUN, meaning, &[("root = \"x\"", "")]);
    // The same tensors under a name that says nothing, in a folder.
    let expected = "expected train.safetensors, valid.safetensors or test.safetensors, each with the \
             tensors `images` (u8, [N, H, W, C]) and `labels` (i64, [N])";
    scene.edit(("file:one", "file:several"), &[]);
    put(scene.root(), &("several/one", bytes.clone()));
    scene.advised(RUN, expected);
    put(scene.root(), &("several/train.safetensors", bytes));
    scene.done(RUN, expected);
}

#[test]
fn advice_about_archives_helps_when_it_is_followed() {
    let by_hand = "unpack it yourself, and name the folder: `source = \"file:FOLDER\"`";
    let source = "source = \"file:photos.7z\"";
    let mut scene = photos(&["cat/1.png", "dog/1.png"]);
    scene.edit(("source = \"file:photos\"", source), &[]);
    put(scene.root(), &("photos.7z", b"7z\xbc\xaf\x27\x1cmore".to_vec()));
    scene.follow(RUN, by_hand, &[(source, "$0"), ("FOLDER", "photos")]);

    let once_more = "get it once more, and compare its size or checksum with the published one";
    for (name, whole) in [
        ("photos.zip", zipped()),
        ("photos.tar", tarred(Vec::new())),
        ("photos.tar.gz", {
            let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            tarred(gz).finish().unwrap()
        }),
    ] {
        let mut scene = photos(&[]);
        scene.edit(("file:photos", &format!("file:{name}")), &[]);
        put(scene.root(), &(name, whole[..whole.len() / 2].to_vec()));
        scene.advised(RUN, once_more);
        put(scene.root(), &(name, whole));
        scene.done(RUN, once_more);
    }
}

/// A picture of two classes each.
pub(super) fn zipped() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for name in ["cat/1.png", "dog/1.png"] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&png(name, 7).1).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The same in a .tar.
fn tarred<W: std::io::Write>(into: W) -> W {
    let mut tar = tar::Builder::new(into);
    for name in ["cat/1.png", "dog/1.png"] {
        let (_, bytes) = png(name, 7);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn a_checksum_that_is_corrected_as_the_advice_says_is_taken() {
    let advice = "look whether it is the right file, whole; or correct `sha256`";
    let lines = b"1.png,cat\n2.png,dog\n".to_vec();
    let zeros = "0".repeat(64);
    let sum = runner::data::checksum::of_bytes(&lines);
    let source =
        format!("source = \"file:list.csv\"\nformat = \"image-list\"\nsha256 = \"{zeros}\"");
    download(&source, &[png("1.png", 1), png("2.png", 2), ("list.csv", lines)]).follow(
        RUN,
        advice,
        &[(&zeros, &sum)],
    );
}
