//! A sweep through the real binary: what its trials share is made once, what it leaves is complete.

use std::fs;

use crate::binary::{lasting, runner, text};
use crate::photos::photos;
use serde_json::Value;

const SWEEP: &str = r#"
[sweep]
axes = { "stages.adapted.seed" = [0, 1, 2], "stages.adapted.epochs" = [1, 2] }

[table]
over = "stages.adapted.seed"
columns = "stages.adapted.epochs"
"#;

#[test]
fn trials_share_their_stages_and_leave_their_own_csvs_and_one_table() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap() + SWEEP;
    fs::write(root.join("photos.toml"), pipeline).unwrap();
    let plan = text(&runner(root, &["plan", "photos.toml", "--sweep"]).stdout);
    assert!(plan.contains("16 stages: 0 cached, 16 will run"), "{plan}");

    let output = runner(root, &["sweep", "photos.toml"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    // Data, net and head once; six times the adapted model and its scores.
    assert!(said.contains("16 ran, 0 cached, 0 failed, 0 skipped"), "{said}");
    let table = text(&output.stdout);
    assert!(table.contains('±') && table.contains("adapted"), "{table}");

    let newest = fs::canonicalize(root.join("results/photos/latest")).unwrap();
    let trials = fs::read_to_string(newest.join("trials.csv")).unwrap();
    let expected = "trial,stages.adapted.seed,stages.adapted.epochs,state,objective,selected,reason\n\
        000,0,1,done,,,\n001,0,2,done,,,\n002,1,1,done,,,\n003,1,2,done,,,\n004,2,1,done,,,\n\
        005,2,2,done,,,\n";
    assert_eq!(trials, expected);
    for trial in 0..6 {
        let scores =
            fs::read_to_string(newest.join(format!("trials/{trial:03}/score.csv"))).unwrap();
        assert!(scores.contains("adapted,images.test,accuracy,"), "{scores}");
    }

    let again = text(&runner(root, &["sweep", "photos.toml"]).stderr);
    assert!(again.contains("nothing to do: all 16 stages are cached"), "{again}");

    // A plain run of the file is a trial of its own settings: all but what differs is shared.
    let plain = text(&runner(root, &["run", "photos.toml"]).stderr);
    assert!(plain.contains("note: this file has a `[sweep]`"), "{plain}");
    assert!(plain.contains("0 ran, 6 cached") || plain.contains("nothing to do"), "{plain}");

    // What a run writes as its pipeline can be run in its turn.
    let written = newest.join("pipeline.toml");
    let third = text(&runner(root, &["sweep", written.to_str().unwrap()]).stderr);
    assert!(third.contains("0 ran, 16 cached"), "{third}");
    let other = runner(root, &["sweep", "photos.toml", "--store", "b", "--results", "b-results"]);
    assert_eq!(text(&other.stdout), table, "another store gives the same table");
}

#[test]
fn a_sweep_makes_each_shared_stage_once_and_repeats_byte_for_byte() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap() + SWEEP;
    fs::write(root.join("photos.toml"), pipeline).unwrap();
    let sweep = |store: &str, results: &str| {
        let output = runner(
            root,
            &["sweep", "photos.toml", "--json", "--store", store, "--results", results],
        );
        assert!(output.status.success(), "{}", text(&output.stderr));
        let events: Vec<Value> =
            text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let count = |kind: &str, stage: &str| {
            let of = events.iter().filter(|event| event["event"] == kind);
            of.filter(|event| event["name"].as_str().unwrap().starts_with(stage)).count()
        };
        let counts = ["photos", "images", "net", "head", "adapted", "score"]
            .map(|stage| (count("task_started", stage), count("cached", stage)));
        (counts, lasting(&fs::canonicalize(root.join(results).join("photos/latest")).unwrap()))
    };
    let (made, first) = sweep("a", "first");
    assert_eq!(made, [(1, 0), (1, 0), (1, 0), (1, 0), (6, 0), (6, 0)]);
    let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["pipeline.toml", "table.csv", "table.md", "table.tex", "trials.csv"] {
        assert!(names.contains(&name), "{name} of {names:?}");
    }
    for stage in ["photos", "images", "net", "head", "adapted", "score"] {
        for trial in 0..6 {
            let name = format!("trials/{trial:03}/{stage}.csv");
            assert!(names.contains(&name.as_str()), "{name} of {names:?}");
        }
    }
    let (cached, second) = sweep("a", "second");
    assert_eq!(cached, [(0, 1), (0, 1), (0, 1), (0, 1), (0, 6), (0, 6)]);
    assert_eq!(first, second, "from the store");
    let (again, third) = sweep("b", "third");
    assert_eq!(again, made);
    assert_eq!(first, third, "made again");
}
