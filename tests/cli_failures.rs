//! Stages that fail and places that cannot be written: what is said, what goes on, what is left.

mod binary;
mod photos;

use std::fs;
use std::path::Path;

use binary::{record, runner, text};
use photos::{artifacts, photos};

#[test]
fn a_diverging_stage_names_its_epoch_and_step_and_the_others_go_on() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap();
    let second = pipeline.replace(
        "[stages.score]",
        "[stages.other]\nkind = \"pretrain\"\ntrain = \"images\"\nmodel = { layers = [] }\n\
         epochs = 1\n\n[stages.score]",
    );
    fs::write(root.join("photos.toml"), second).unwrap();
    let output = runner(root, &["run", "photos.toml", "--set", "stages.net.optimizer.lr=1e30"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("stage `net` failed: the loss is not finite in epoch 1, step "),
        "{said}"
    );
    assert!(said.contains("inputs: train = images.train"), "{said}");
    assert!(said.contains("help: try a smaller `optimizer.lr`"), "{said}");
    assert!(said.contains("other: done in "), "{said}");
    assert!(said.contains("adapted: skipped, because `head` has no result"), "{said}");
    // What did finish is recorded, and so is why the rest did not.
    let record = record(&root.join("results/photos/latest"));
    let state = |name: &str| {
        let stages = record["trials"][0].as_array().unwrap();
        stages.iter().find(|it| it["name"] == name).unwrap().clone()
    };
    assert_eq!(state("other")["state"], "ran");
    assert!(state("net")["error"]["message"].as_str().unwrap().contains("epoch 1"));
    assert_eq!(state("score")["state"], "skipped");
    assert!(root.join("results/photos/latest/other.csv").exists());
    assert!(!root.join("results/photos/latest/net.csv").exists());

    // The next run with a sane rate takes up where this one stopped.
    let again = text(&runner(root, &["run", "photos.toml"]).stderr);
    assert!(again.contains("other: cached"), "{again}");
    assert!(again.contains("4 ran, 3 cached, 0 failed, 0 skipped"), "{again}");
}

#[test]
fn a_corrupt_image_is_named_and_nothing_is_published() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    fs::write(root.join("photos/train/red/3.png"), "not an image").unwrap();
    let output = runner(root, &["run", "photos.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("train/red/3.png"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(artifacts(&root.join(".runner")), Vec::<String>::new());
}

#[test]
fn places_that_cannot_be_written_are_errors_before_any_work() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    fs::write(root.join("file"), "in the way").unwrap();
    for (key, path) in [("--store", "file"), ("--store", "file/below"), ("--results", "file")] {
        let output = runner(root, &["run", "photos.toml", key, path]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{key} {path}: {said}");
        assert!(
            said.contains(path) && said.contains(&format!("`{key} DIR`")),
            "{key} {path}: {said}"
        );
        assert!(!said.contains("panicked") && !said.contains("net: epoch"), "{said}");
    }
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "in the way");
}

#[test]
fn a_store_that_only_others_may_write_is_an_error_that_names_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    // No one may create files there, not even root.
    let place = Path::new("/proc/runner-store");
    if !Path::new("/proc/self").exists() {
        return;
    }
    let output = runner(root, &["run", "photos.toml", "--store", place.to_str().unwrap()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/proc/runner-store") && said.contains("help:"), "{said}");
}

#[test]
fn a_listed_image_that_is_missing_stops_only_what_needs_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap()
        + "[stages.listed]\nkind = \"download\"\nsource = \"file:listed\"\n\
           format = \"image-list\"\n\n\
           [stages.small]\nkind = \"normalize\"\ninput = \"listed\"\nresize = 12\n";
    fs::write(root.join("photos.toml"), pipeline).unwrap();
    fs::create_dir_all(root.join("listed/train")).unwrap();
    fs::copy(root.join("photos/train/red/1.png"), root.join("listed/train/a.png")).unwrap();
    fs::write(root.join("listed/train_labels.txt"), "a.png 0\ngone.png 1\n").unwrap();
    let output = runner(root, &["run", "photos.toml"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("stage `listed` failed: ") && said.contains("gone.png"), "{said}");
    assert!(said.contains("small: skipped, because `listed` has no result"), "{said}");
    assert!(said.contains("6 ran, 0 cached, 1 failed, 1 skipped"), "{said}");
    assert!(text(&output.stdout).contains("adapted"), "the table of what did run");
    let results = root.join("results");
    let record = record(&results.join("photos/latest"));
    let stages = record["trials"][0].as_array().unwrap();
    let failed = stages.iter().find(|stage| stage["name"] == "listed").unwrap();
    assert!(failed["error"]["message"].as_str().unwrap().contains("gone.png"), "{failed}");
    let small = stages.iter().find(|stage| stage["name"] == "small").unwrap();
    assert_eq!(small["waited_for"], "listed");
}

#[test]
fn a_file_in_the_place_of_a_pipelines_results_is_an_error_before_any_work() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    fs::create_dir(root.join("results")).unwrap();
    fs::write(root.join("results/photos"), "in the way").unwrap();
    let output = runner(root, &["run", "photos.toml"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("results/photos") && said.contains("`--results DIR`"), "{said}");
    assert_eq!(artifacts(&root.join(".runner")), Vec::<String>::new());
    assert_eq!(fs::read_to_string(root.join("results/photos")).unwrap(), "in the way");
}
