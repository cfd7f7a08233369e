//! Which labelled images a step takes: chosen by `sampler`, said in the log, and part of what a training is.

use std::fs;
use std::path::Path;

use crate::binary::{contents, record, runner, text};
use crate::photos::photos;

/// What a run with these settings says, the digests of its artifacts, and the CSV of `net`. The source has
/// 40 images, 20 of each of two classes.
fn run(root: &Path, store: &str, sets: &[&str], more: &[&str]) -> (String, String) {
    let results = format!("{store}-results");
    let mut arguments = vec!["run", "photos.toml", "--store", store, "--results", &results];
    sets.iter().for_each(|set| arguments.extend(["--set", set]));
    arguments.extend(more);
    let output = runner(root, &arguments);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let run = root.join(&results).join("photos/latest");
    let csv = fs::read_to_string(run.join("net.csv")).unwrap();
    let digest = contents(&record(&run)).iter().map(ToString::to_string).collect::<String>();
    (said, csv + &digest)
}

const AWARE: &str = "stages.net.sampler={ kind = \"class_aware\", classes = 2, images = 8 }";

#[test]
fn a_sampler_says_what_it_takes_and_gives_the_same_bytes_at_any_number_of_threads() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let (said, usual) = run(root, "a", &[], &[]);
    assert!(!said.contains("net: an epoch is"), "{said}");
    let (_, shuffled) = run(root, "a", &["stages.net.sampler=\"shuffled\""], &[]);
    assert_eq!(shuffled, usual, "it is the usual one");

    let (said, aware) = run(root, "b", &[AWARE], &["--threads", "1"]);
    let told = "8 source images of each of 2 of 2 classes in a step";
    assert!(said.contains(&format!("an epoch is 2 steps and sees {told}\n")), "{said}");
    assert!(said.contains(&format!("parameters trained, {told}")), "{said}");
    assert_eq!(run(root, "c", &[AWARE], &["--threads", "2"]).1, aware);
    assert_ne!(aware, usual);

    // An adaptation hears of both domains.
    let balanced = "stages.adapted.sampler=\"balanced\"";
    let (said, _) = run(root, "a", &[balanced, "stages.adapted.epoch=3"], &[]);
    let told = "the 16 target images 3 times and source images of 2 classes equally often";
    assert!(said.contains(&format!("an epoch is 3 steps and sees {told}\n")), "{said}");
}

#[test]
fn a_sampler_that_does_not_fit_is_explained_where_it_stands() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let aware = |classes: usize, images: usize| {
        format!(
            "stages.net.sampler={{ kind = \"class_aware\", classes = {classes}, images = {images} }}"
        )
    };
    for (set, problem) in [
        (aware(2, 4), "the sampler takes 8 images per step, not 16"),
        (aware(1, 1), "`sampler` must take 2 to 1000000 images per step"),
        ("stages.net.sampler=\"fair\"".to_owned(), "`fair` is not a value of `sampler.kind`"),
        ("stages.net.sampler=3".to_owned(), "`sampler` must be a string or a table"),
    ] {
        let output = runner(root, &["check", "photos.toml", "--set", &set]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{set}: {said}");
        assert!(said.contains(problem), "{set}: {said}");
    }
    let output = runner(root, &["run", "photos.toml", "--set", &aware(4, 4)]);
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("the sampler takes 4 classes per step, but only 2 have images"),
        "{said}"
    );
}
