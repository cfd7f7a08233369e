//! Mistakes that the file alone does not show, but the store, or a glance at the user's files: nothing trains before
//! they are said.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::binary::{runner, text};
use crate::photos::{artifacts, folders};

const BLUE: [u8; 3] = [20, 30, 220];
const RED: [u8; 3] = [220, 30, 20];

/// Photos without a test split, a network whose input only they tell, and one that goes on from it.
const PIPELINE: &str = r#"
[pipeline]
name = "p"

[stages.photos]
kind = "download"
source = "file:photos"
format = "image-folder"

[stages.net]
kind = "pretrain"
train = "photos"
model = { layers = ["flatten"], head = [] }
epochs = 1
batch_size = 4

[stages.tuned]
kind = "finetune"
model = "net"
train = "photos"
epochs = 1
batch_size = 4
lr_scale = { "classifier.*" = 0.1 }

[stages.score]
kind = "evaluate"
models = ["tuned"]
on = ["photos.train"]
"#;

fn photos(root: &Path) {
    folders(root, "photos", &[("bike", BLUE), ("mug", RED)]);
    fs::write(root.join("p.toml"), PIPELINE).unwrap();
}

/// Exit code and standard error.
fn said(root: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = runner(root, arguments);
    (output.status.code(), text(&output.stderr))
}

const NO_TEST: [&str; 2] = ["--set", "stages.score.on=[\"photos\"]"];

#[test]
fn a_split_that_folders_do_not_have_is_missed_before_anything_runs() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    photos(root);
    for verb in ["check", "plan", "run"] {
        let (code, said) = said(root, &[&[verb, "p.toml"][..], &NO_TEST].concat());
        assert_eq!(code, Some(2), "{verb}: {said}");
        assert!(said.contains("error: `photos` has no split `test`"), "{verb}: {said}");
        assert!(said.contains("its splits are `train`"), "{verb}: {said}");
        assert!(artifacts(&root.join(".runner")).is_empty(), "{verb} built something");
    }
    assert_eq!(said(root, &["check", "p.toml"]).0, Some(0));
    // The classes are seen as well.
    let other = "model={ layers = [\"flatten\"], head = [], classes = 3 }";
    let (code, said) = said(root, &["check", "p.toml", "--set", &format!("stages.net.{other}")]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("the model has 3 classes, the data set of `train` has 2"), "{said}");
}

#[test]
fn folders_that_cannot_be_read_are_named_with_their_place_before_anything_runs() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    folders(root, "photos/train", &[("bike", BLUE), ("mug", RED)]);
    folders(root, "photos/test", &[("bike", BLUE)]);
    fs::create_dir(root.join("photos/test/mug")).unwrap();
    fs::write(root.join("p.toml"), PIPELINE).unwrap();
    for verb in ["check", "plan", "run"] {
        let (code, said) = said(root, &[verb, "p.toml"]);
        assert_eq!(code, Some(2), "{verb}: {said}");
        assert!(said.contains("p.toml:7:10"), "{verb}: {said}");
        assert!(said.contains("photos/test/mug: there are no images in it"), "{verb}: {said}");
        assert!(!said.contains(root.to_str().unwrap()), "as the user names it: {said}");
        assert!(artifacts(&root.join(".runner")).is_empty(), "{verb} built something");
    }
    folders(root, "photos/test", &[("mug", RED)]);
    assert_eq!(said(root, &["check", "p.toml"]).0, Some(0));
}

/// The photos in an archive, of which a glance tells nothing.
fn archive(root: &Path) {
    photos(root);
    let mut tar = tar::Builder::new(fs::File::create(root.join("photos.tar")).unwrap());
    tar.append_dir_all("photos", root.join("photos")).unwrap();
    tar.finish().unwrap();
    let packed = PIPELINE.replace("file:photos", "file:photos.tar");
    fs::write(root.join("p.toml"), packed).unwrap();
}

#[test]
fn what_only_a_built_data_set_tells_is_said_before_a_training_and_known_to_check_from_then_on() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    archive(root);
    assert_eq!(said(root, &[&["check", "p.toml"][..], &NO_TEST].concat()).0, Some(0));
    let (code, first) = said(root, &[&["run", "p.toml"][..], &NO_TEST].concat());
    assert_eq!(code, Some(2), "{first}");
    assert!(first.contains("photos: done in") && !first.contains("net: "), "{first}");
    assert!(first.contains("error: `photos` has no split `test`"), "{first}");
    let (code, then) = said(root, &[&["check", "p.toml"][..], &NO_TEST].concat());
    assert_eq!(code, Some(2), "{then}");
    assert!(first.ends_with(&then), "the same report:\n{first}\n{then}");
    // A store without them knows nothing.
    let elsewhere = [&["check", "p.toml", "--store", "other"][..], &NO_TEST].concat();
    assert_eq!(said(root, &elsewhere).0, Some(0));
}

#[test]
fn patterns_of_parameters_are_compared_with_the_network_that_the_store_tells() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    archive(root);
    assert_eq!(said(root, &["run", "p.toml"]).0, Some(0));
    let frozen =
        "[stages.frozen]\nkind = \"freeze\"\nmodel = \"net\"\nfreeze = [\"*\", \"!fc.*\"]\n";
    let whole = fs::read_to_string(root.join("p.toml")).unwrap() + frozen;
    fs::write(root.join("q.toml"), whole).unwrap();
    let scale = ["--set", "stages.tuned.lr_scale={ \"layer4.*\" = 0.1 }"];
    for verb in ["check", "plan", "run"] {
        let (code, said) = said(root, &[&[verb, "q.toml"][..], &scale].concat());
        assert_eq!(code, Some(2), "{verb}: {said}");
        assert!(said.contains("`layer4.*` matches no parameter"), "{verb}: {said}");
        assert!(said.contains("`fc.*` matches no parameter"), "{verb}: {said}");
        assert!(said.contains("--set:1:23") && said.contains("q.toml:32:16"), "{verb}: {said}");
        assert!(!said.contains("tuned: "), "{verb} trained: {said}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named_with_its_place() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    photos(root);
    fs::rename(root.join("photos"), root.join("away")).unwrap();
    for verb in ["check", "plan", "run"] {
        let (code, said) = said(root, &[verb, "p.toml"]);
        assert_eq!(code, Some(2), "{verb}: {said}");
        assert!(said.contains("p.toml:7:10"), "{verb}: {said}");
        assert!(said.contains("`source = \"file:photos\"`: there is no "), "{verb}: {said}");
        assert!(said.contains("taken from the current directory"), "{verb}: {said}");
    }
}

#[test]
fn a_file_with_a_checksum_is_missed_only_where_the_store_lacks_what_is_built_from_it() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    archive(root);
    let sum = runner::data::checksum::of_bytes(&fs::read(root.join("photos.tar")).unwrap());
    let sum = format!("stages.photos.sha256=\"{sum}\"");
    assert_eq!(said(root, &["run", "p.toml", "--set", &sum]).0, Some(0));
    fs::remove_file(root.join("photos.tar")).unwrap();
    for verb in ["check", "plan", "run"] {
        let (code, there) = said(root, &[verb, "p.toml", "--set", &sum]);
        assert_eq!(code, Some(0), "{verb}: {there}");
        let (code, said) = said(root, &[verb, "p.toml", "--set", &sum, "--store", "other"]);
        assert_eq!(code, Some(2), "{verb}: {said}");
        assert!(said.contains("p.toml:7:10") && said.contains("there is no "), "{verb}: {said}");
        assert!(!said.contains("started"), "{verb}: {said}");
    }
}

#[test]
fn the_layers_of_a_network_are_shown_once_its_data_are_there() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    archive(root);
    let show = |root| runner(root, &["show", "p.toml", "--model", "tuned"]);
    let before = show(root);
    assert_eq!(before.status.code(), Some(2));
    let unknown = text(&before.stderr);
    assert!(unknown.contains("are in the store") && unknown.contains("`runner run`"), "{unknown}");
    let data_alone = "[pipeline]\nname = \"data\"\n";
    let packed = fs::read_to_string(root.join("p.toml")).unwrap();
    let stage = packed.split("[stages.net]").next().unwrap().split("[stages.photos]").nth(1);
    let data_alone = format!("{data_alone}\n[stages.photos]{}", stage.unwrap());
    fs::write(root.join("data.toml"), data_alone).unwrap();
    assert_eq!(said(root, &["run", "data.toml"]).0, Some(0));
    let shown = show(root);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    assert!(shown.contains("for 3x6x6 images, 2 classes"), "{shown}");
    assert!(shown.contains("218 of 218 parameters learn"), "{shown}");
}
