//! What a training lets its user choose of the way it learns: the backend, the family of batch norm, and
//! optimizers for parts of the network.

use std::fs;
use std::path::Path;

use crate::binary::{contents, record, runner, text};
use crate::photos::photos;

/// The digests of the artifacts of a run with these settings, and the CSV of the adaptation.
fn run(root: &Path, store: &str, sets: &[&str]) -> (Vec<String>, String) {
    let results = format!("{store}-results");
    let mut arguments = vec!["run", "photos.toml", "--store", store, "--results", &results];
    sets.iter().for_each(|set| arguments.extend(["--set", set]));
    let output = runner(root, &arguments);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let run = root.join(&results).join("photos/latest");
    let csv = fs::read_to_string(run.join("adapted.csv")).unwrap();
    (contents(&record(&run)).iter().map(ToString::to_string).collect(), csv)
}

/// The values of a metric of the training images, epoch by epoch.
fn values(csv: &str, metric: &str) -> Vec<f64> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let is_it = cells.contains(&metric) && cells.contains(&"train");
        is_it.then(|| cells.last().unwrap().parse().unwrap())
    };
    csv.lines().filter_map(row).collect()
}

#[test]
fn the_reference_backend_trains_the_same_pipeline_as_artifacts_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let (cpu, on_cpu) = run(root, "store", &[]);
    let (dfdx, by_dfdx) = run(root, "store", &["pipeline.device=\"dfdx\""]);
    assert_ne!(cpu, dfdx, "its last bits are others");
    let losses = |csv: &str| values(csv, "class_loss");
    assert!(!losses(&on_cpu).is_empty());
    for (ours, theirs) in losses(&on_cpu).iter().zip(losses(&by_dfdx)) {
        assert!((ours - theirs).abs() < 1e-3 + 0.05 * ours, "{ours} and {theirs}");
    }
    let record = fs::read_to_string(root.join("store-results/photos/latest/run.json")).unwrap();
    assert!(record.contains("\"device\": \"dfdx\""), "{record}");
    // Both are in one store, told apart.
    assert_eq!(run(root, "store", &[]).0, cpu);
}

#[test]
fn every_family_of_batch_norm_is_another_training_and_the_usual_one_needs_no_word() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let adapted = |family: &str| {
        let set = format!("stages.adapted.batch_norm=\"{family}\"");
        run(root, "store", &[&set]).0
    };
    let usual = run(root, "store", &[]).0;
    assert_eq!(adapted("separate"), usual);
    let others = ["joint", "target", "domain"].map(adapted);
    assert!(others.iter().all(|artifacts| *artifacts != usual));
    assert!(others[0] != others[1] && others[1] != others[2] && others[0] != others[2]);
}

#[test]
fn a_part_of_the_network_may_have_an_optimizer_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let usual = run(root, "store", &[]).1;
    let own = "stages.adapted.optimizers={ classifier = { kind = \"sgd\", lr = 0.5 } }";
    assert_ne!(run(root, "store", &[own]).1, usual);

    let output = runner(
        root,
        &[
            "run",
            "photos.toml",
            "--set",
            "stages.adapted.optimizers={ clasifier = { kind = \"sgd\" } }",
        ],
    );
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("the network has no part `clasifier`"), "{said}");
    assert!(said.contains("did you mean `classifier`"), "{said}");
    for (set, problem) in [
        ("stages.adapted.optimizers={ classifier = 3 }", "`optimizers.classifier` must be a table"),
        (
            "stages.adapted.optimizers={ classifier = { lr = 1 } }",
            "missing key `optimizers.classifier.kind`",
        ),
        (
            "stages.net.batch_norm=\"joint\"",
            "this method does not go with `batch_norm = \"joint\"`",
        ),
    ] {
        let output = runner(root, &["check", "photos.toml", "--set", set]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{set}: {said}");
        assert!(said.contains(problem), "{set}: {said}");
    }
}
