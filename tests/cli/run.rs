//! A person's own images, from a folder to a table, through the real binary.

use std::fs;

use crate::binary::{csvs, runner, text};
use crate::photos::{PIPELINE, photos};

#[test]
fn own_images_give_a_table_that_any_number_of_threads_reproduces() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    for threads in ["1", "3"] {
        let (store, results) = (format!("store{threads}"), format!("results{threads}"));
        let arguments =
            ["run", "photos.toml", "--threads", threads, "--store", &store, "--results", &results];
        let output = runner(root, &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let table = text(&output.stdout);
        assert!(table.contains("images.test") && table.contains("adapted"), "{table}");
    }
    let (one, three) =
        (csvs(&root.join("results1/photos/latest")), csvs(&root.join("results3/photos/latest")));
    let names: Vec<&str> = one.iter().map(|(name, _)| name.as_str()).collect();
    let expected = ["adapted", "head", "images", "net", "photos", "score", "scores", "table"];
    assert_eq!(names, expected.map(|name| format!("{name}.csv")));
    assert_eq!(one, three);
    let score = &one[5].1;
    assert!(score.contains("\nnet,images.test,accuracy,1\n"), "red and blue are easy: {score}");
}

#[test]
fn a_second_run_has_nothing_to_do_and_a_changed_key_reruns_what_depends_on_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
    let again = text(&runner(root, &["run", "photos.toml"]).stderr);
    assert!(again.contains("nothing to do: all 6 stages are cached"), "{again}");

    let plan = runner(root, &["plan", "photos.toml", "--set", "stages.adapted.epochs=3"]);
    let plan = text(&plan.stdout);
    assert!(plan.contains("6 stages: 4 cached, 2 will run"), "{plan}");
}

#[test]
fn a_frozen_part_keeps_every_bit_through_training() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
    let mut models = Vec::new();
    let mut folders = vec![root.join(".runner")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("weights.safetensors") {
                models.push(fs::read(path).unwrap());
            }
        }
    }
    assert_eq!(models.len(), 3, "net, head and adapted");
    let features: Vec<Vec<(String, Vec<u8>)>> = models
        .iter()
        .map(|bytes| {
            let tensors = safetensors::SafeTensors::deserialize(bytes).unwrap();
            let mut tensors: Vec<(String, Vec<u8>)> = tensors
                .tensors()
                .into_iter()
                .filter(|(name, _)| name.starts_with("features."))
                .map(|(name, view)| (name, view.data().to_vec()))
                .collect();
            tensors.sort();
            tensors
        })
        .collect();
    assert!(!features[0].is_empty());
    assert_eq!(features[0], features[1]);
    assert_eq!(features[1], features[2]);
}

#[test]
fn a_missing_folder_fails_with_its_path_and_publishes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    fs::write(root.join("photos.toml"), PIPELINE).unwrap();
    let output = runner(root, &["run", "photos.toml"]);
    assert!(!output.status.success());
    let error = text(&output.stderr);
    assert!(error.contains("photos"), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    assert!(!root.join(".runner/artifacts").exists());
}
