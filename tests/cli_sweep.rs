//! A sweep through the real binary: what its trials share is made once, what it leaves is complete.

mod photos;

use std::fs;

use photos::{photos, runner, text};

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
    let expected = "trial,stages.adapted.seed,stages.adapted.epochs,state\n\
        000,0,1,done\n001,0,2,done\n002,1,1,done\n003,1,2,done\n004,2,1,done\n005,2,2,done\n";
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
