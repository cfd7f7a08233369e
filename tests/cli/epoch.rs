//! How long an epoch of two domains is: said where one is not seen whole, and chosen by `epoch`.

use std::fs;
use std::path::Path;

use crate::binary::{contents, record, runner, text};
use crate::photos::photos;

/// What a run with `epoch` says, the last step in the CSV of `adapted`, that CSV, and the digests of all
/// artifacts. The source has 40 images and the target 16, one batch.
fn adapted(root: &Path, epoch: Option<&str>, store: &str, more: &[&str]) -> (String, u64, String) {
    let set = epoch.map(|epoch| format!("stages.adapted.epoch={epoch}"));
    let results = format!("{store}-results");
    let mut arguments = vec!["run", "photos.toml", "--store", store, "--results", &results];
    arguments.extend(set.iter().flat_map(|set| ["--set", set.as_str()]));
    arguments.extend(more);
    let output = runner(root, &arguments);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let run = root.join(&results).join("photos/latest");
    let csv = fs::read_to_string(run.join("adapted.csv")).unwrap();
    let last = csv.lines().last().unwrap().split(',').nth(1).unwrap().parse().unwrap();
    let digest = contents(&record(&run)).iter().map(ToString::to_string).collect::<String>();
    (said, last, csv + &digest)
}

#[test]
fn an_epoch_says_what_it_does_not_see_and_is_as_long_as_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let (said, steps, usual) = adapted(root, None, "a", &[]);
    assert_eq!(steps, 2, "two epochs of the target's one batch");
    assert!(
        said.contains("an epoch is 1 step and sees 16 of 40 source images; `epoch ="),
        "{said}"
    );
    assert!(said.contains("parameters trained, 16 of 40 source images per epoch"), "{said}");
    assert!(!said.contains("net: an epoch is"), "one domain is always seen whole: {said}");

    let (said, _, shorter) = adapted(root, Some("\"shorter\""), "b", &[]);
    assert_eq!(shorter, usual, "the same bytes by its name");
    assert!(said.contains("sees 16 of 40 source images\n"), "{said}");

    let (said, steps, longer) = adapted(root, Some("\"longer\""), "c", &[]);
    assert_eq!(steps, 6);
    assert!(said.contains("an epoch is 3 steps and sees the 16 target images 3 times\n"), "{said}");
    let (_, _, again) =
        adapted(root, Some("\"longer\""), "d", &["--no-activation-cache", "--threads", "1"]);
    assert_eq!(longer, again, "whatever is kept, at any number of threads");

    let (said, steps, _) = adapted(root, Some("4"), "e", &[]);
    assert_eq!(steps, 8);
    assert!(
        said.contains("an epoch is 4 steps and sees the 40 source images 1.3 times and the 16 target images 4 times"),
        "{said}"
    );
}

#[test]
fn a_length_that_says_nothing_or_is_none_is_explained() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let must_be =
        "`epoch` must be \"longer\", \"shorter\", \"source\", \"target\" or a number of steps";
    for (set, problem) in [
        (
            "stages.net.epoch=\"longer\"",
            "`epoch` compares two domains, but there is no target domain",
        ),
        (
            "stages.net.epoch=\"target\"",
            "`epoch` is a pass over the target, but there is no target domain",
        ),
        ("stages.adapted.epoch=0", must_be),
        ("stages.adapted.epoch=\"both\"", must_be),
        ("stages.adapted.epoch=1.5", must_be),
    ] {
        let output = runner(root, &["check", "photos.toml", "--set", set]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{set}: {said}");
        assert!(said.contains(problem), "{set}: {said}");
    }
    // Steps mean something with one domain too.
    let output = runner(root, &["check", "photos.toml", "--set", "stages.net.epoch=7"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}
