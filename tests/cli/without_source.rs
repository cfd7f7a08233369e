//! A network that is adapted to a target without any source image, through the real binary.

use std::fs;
use std::path::Path;

use crate::binary::{runner, text};
use crate::photos::{PIPELINE, photos};

const DANN: &str = "model = \"head\"\ntrain = \"images\"\n\
    method = { kind = \"dann\", target = \"images.test\" }";
const SHOT: &str = "model = \"net\"\nmethod = { kind = \"shot\", target = \"images.test\" }";
const ADDA: &str = "train = \"images\"\nmodel = \"net\"\n\
    method = { kind = \"adda\", target = \"images.test\" }";

/// The pipeline of the photos with `stage` for what the adaptation says of its network and method.
fn write(root: &Path, stage: &str) -> String {
    assert!(PIPELINE.contains(DANN));
    let pipeline = PIPELINE.replace(DANN, stage);
    fs::write(root.join("photos.toml"), &pipeline).unwrap();
    pipeline
}

#[test]
fn a_trained_network_is_adapted_without_source_images_and_scored() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    write(root, SHOT);
    let output = runner(root, &["run", "photos.toml"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    // The convolution and its batch norm: the classifier is the source's.
    assert!(said.contains("2 epochs, 240 of "), "{said}");
    let run = root.join("results/photos/latest");
    let csv = fs::read_to_string(run.join("adapted.csv")).unwrap();
    for metric in ["class_loss", "entropy", "diversity", "class_weight"] {
        let rows = csv.lines().filter(|line| line.contains(&format!(",{metric},"))).count();
        assert_eq!(rows, 2, "{metric}: {csv}");
    }
    // There is nothing to compare the first labels with.
    assert_eq!(csv.lines().filter(|line| line.contains(",label_change,")).count(), 1, "{csv}");
    let scores = fs::read_to_string(run.join("score.csv")).unwrap();
    assert!(scores.contains("adapted,images.test,accuracy,"), "{scores}");
}

/// Where `part` stands in `pipeline`: `photos.toml:LINE:COLUMN`.
fn place(pipeline: &str, part: &str) -> String {
    let before = &pipeline[..pipeline.rfind(part).unwrap()];
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    format!("photos.toml:{line}:{column}")
}

#[test]
fn what_does_not_go_with_a_method_is_explained_where_it_stands() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let layers = "model = { layers = [\"flatten\"] }";
    let fresh = SHOT.replace("model = \"net\"", layers);
    let family = "train = \"images\"\nmodel = \"net\"\nbatch_norm = \"joint\"\n\
        method = { kind = \"self_ensembling\", target = \"images.test\" }";
    for (stage, part, problem, advice) in [
        (
            format!("train = \"images\"\n{SHOT}"),
            "\"images\"\nmodel = \"net\"\nmethod",
            "`train` needs labelled images, but this method learns without any",
            "leave `train` out",
        ),
        (
            DANN.replace("train = \"images\"\n", ""),
            "adapted]",
            "missing key `train`",
            "add `train = ...`, the name of a stage",
        ),
        (
            fresh,
            "{ kind = \"shot\"",
            "this method goes on from a trained network, but `model` is a new one",
            "train the network in a stage of its own, and name that stage in `model`",
        ),
        (
            ADDA.replace("model = \"net\"", layers),
            "{ kind = \"adda\"",
            "this method goes on from a trained network, but `model` is a new one",
            "train the network in a stage of its own, and name that stage in `model`",
        ),
        (
            format!("{ADDA}\nhead = [16]"),
            "[16]",
            "`head` makes a new classifier, which this method would not train",
            "leave `head` out",
        ),
        (
            format!("{ADDA}\nbottleneck = [17]"),
            "[17]",
            "`bottleneck` makes a new classifier, which this method would not train",
            "leave `bottleneck` out",
        ),
        (
            family.to_owned(),
            "\"joint\"",
            "this method does not go with `batch_norm = \"joint\"`",
            "leave `batch_norm` out, or choose one of \"separate\"",
        ),
    ] {
        let pipeline = write(root, &stage);
        let output = runner(root, &["check", "photos.toml"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stage}: {said}");
        let place = place(&pipeline, part);
        assert!(said.contains(problem) && said.contains(advice), "{stage}: {said}");
        assert!(said.contains(&place), "{stage} at {place}: {said}");
    }
}

#[test]
fn trials_are_not_selected_by_labels_of_a_target_that_is_adapted_to_without_a_source() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let stage = SHOT.replace("images.test", "images.train");
    let sweep = "\n[sweep]\naxes = { \"stages.adapted.optimizer.lr\" = [0.1, 0.2] }\n\
        select = { stage = \"score\", model = \"adapted\", on = \"images.train\", by = \"accuracy\" }\n";
    let on = "on = [\"images.test\"]";
    let pipeline = write(root, &stage).replace(on, "on = [\"images.train\"]") + sweep;
    fs::write(root.join("photos.toml"), &pipeline).unwrap();
    let output = runner(root, &["check", "photos.toml"]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("oracle = true"), "{said}");
    // Before the adaptation, these are images like any other.
    let plain = pipeline.replace("images.train\" }\nepochs = 2", "images.test\" }\nepochs = 2");
    assert_ne!(plain, pipeline);
    fs::write(root.join("photos.toml"), plain).unwrap();
    let output = runner(root, &["check", "photos.toml"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}
