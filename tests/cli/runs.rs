//! What people ask of finished runs: lists, differences, reasons, proof, files, room on the disk.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binary::{csvs, record, runner, text};
use crate::photos::{artifacts, photos};

const LR: &str = "stages.adapted.optimizer.lr=0.0003";

fn said(root: &Path, arguments: &[&str]) -> String {
    let output = runner(root, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn refused(root: &Path, arguments: &[&str], code: i32) -> String {
    let output = runner(root, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout) + &text(&output.stderr)
}

/// Two runs of the photos that differ in one setting; their folders, the older first.
fn two_runs(root: &Path) -> [PathBuf; 2] {
    photos(root);
    said(root, &["run", "photos.toml", "--quiet"]);
    let first = fs::canonicalize(root.join("results/photos/latest")).unwrap();
    said(root, &["run", "photos.toml", "--quiet", "--set", LR]);
    [first, fs::canonicalize(root.join("results/photos/latest")).unwrap()]
}

fn name(run: &Path) -> &str {
    run.file_name().unwrap().to_str().unwrap()
}

/// The artifact of a stage.
fn artifact(root: &Path, run: &Path, stage: &str) -> PathBuf {
    let record = record(run);
    let stages = record["trials"][0].as_array().unwrap();
    let stage = stages.iter().find(|it| it["name"] == stage).unwrap();
    let name = stage["fingerprint"].as_str().unwrap();
    root.join(".runner/artifacts").join(&name[..2]).join(name)
}

#[test]
fn runs_are_listed_compared_and_named_in_several_ways() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let empty = refused(root, &["ls"], 2);
    assert!(empty.contains("no runs in `results`"), "{empty}");
    let [a, b] = two_runs(root);
    let list = said(root, &["ls"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[1].contains(name(&a)) && lines[2].contains(name(&b)), "{list}");
    assert!(lines[1].contains("done   adapted: images.test "), "{list}");
    assert!(lines[1].ends_with(" %"), "{list}");
    assert_eq!(said(root, &["ls", "photos"]), list);
    refused(root, &["ls", "other"], 2);

    let differs = said(root, &["diff", name(&a), name(&b)]);
    let setting = differs.lines().find(|line| line.starts_with("stages.")).unwrap();
    let words: Vec<&str> = setting.split_whitespace().collect();
    assert_eq!(words, ["stages.adapted.optimizer.lr", "0.001", "0.0003"]);
    assert!(
        differs.lines().any(|line| line.starts_with("adapted: train, class_loss")),
        "{differs}"
    );
    assert!(!differs.contains("net: "), "{differs}");
    let same = said(root, &["diff", "photos", "results/photos/latest"]);
    assert!(same.contains("settings: no difference") && same.contains("metrics: no difference"));
    let unknown = refused(root, &["diff", name(&a), "2020"], 2);
    assert!(unknown.contains("is called `2020`") && unknown.contains("runner ls"), "{unknown}");

    let status = said(root, &["status"]);
    assert!(status.contains("8 artifacts") && status.contains("nothing is running"), "{status}");
    assert!(status.contains("4 cached, 2 ran"), "{status}");
}

#[test]
fn plan_and_explain_name_the_key_that_changed_and_renames_change_nothing() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    said(root, &["run", "photos.toml", "--quiet"]);
    let why = said(root, &["explain", "photos.toml", "adapted", "--set", LR]);
    assert!(why.contains("`optimizer.lr` changed 0.001 -> 0.0003\n"), "{why}");
    assert!(why.contains("input train = images.train: cached: 40 train"), "{why}");
    let far = ["explain", "photos.toml", "score", "--set", "stages.images.resize=14"];
    let far = said(root, &far);
    assert!(
        far.contains(
            "input `train`, `validate` (stage `images`) will run first: `resize` changed 12 -> 14"
        ),
        "{far}"
    );
    let plan = said(root, &["plan", "photos.toml", "--set", "stages.net.epochs=5"]);
    assert!(
        plan.contains("net (pretrain) <- images\n    will run: `epochs` changed 4 -> 5"),
        "{plan}"
    );
    assert!(plan.contains("will run: input `model` (stage `net`) will run first\n"), "{plan}");
    let cached = said(root, &["explain", "photos.toml", "net"]);
    assert!(
        cached.contains("cached: 4 epochs") && cached.contains("in .runner/artifacts/"),
        "{cached}"
    );
    let unknown = refused(root, &["explain", "photos.toml", "nett"], 2);
    assert!(unknown.contains("there is no stage `nett`") && unknown.contains("`net`"), "{unknown}");

    // Another order, comments, another name for a stage: nothing runs.
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap();
    let pipeline =
        pipeline.replace("\"images", "\"pictures").replace("stages.images", "stages.pictures");
    let (head, score) = pipeline.split_once("[stages.score]").unwrap();
    let (head, stages) = head.split_once("[stages.photos]").unwrap();
    let moved = format!("# moved\n[stages.score]{score}\n{head}\n[stages.photos]{stages}");
    fs::write(root.join("photos.toml"), moved).unwrap();
    let plan = said(root, &["plan", "photos.toml"]);
    assert!(plan.ends_with("6 stages: 6 cached, 0 will run\n"), "{plan}");
}

#[test]
fn verify_finds_a_flipped_bit_a_changed_csv_and_a_changed_table_and_makes_stages_again() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let [first, newest] = two_runs(root);
    assert!(said(root, &["verify"]).starts_with("ok: 8 artifacts, "));
    let again = ["verify", "photos", "--rerun", "net", "--rerun", "score"];
    assert!(said(root, &again).starts_with("ok: 6 artifacts, "));
    refused(root, &["verify", "photos", "--rerun", "nets"], 2);

    let csv = first.join("score.csv");
    let whole = fs::read_to_string(&csv).unwrap();
    fs::write(&csv, whole.replace("accuracy,1", "accuracy,0.99")).unwrap();
    let wrong = refused(root, &["verify", name(&first)], 1);
    assert!(wrong.contains("score.csv does not follow from its artifact"), "{wrong}");
    fs::write(&csv, whole).unwrap();
    fs::write(first.join("table.md"), "better").unwrap();
    let wrong = refused(root, &["verify", name(&first)], 1);
    assert!(wrong.contains("table.md does not follow from the CSVs"), "{wrong}");

    let weights = artifact(root, &newest, "net").join("weights.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let wrong = refused(root, &["verify", "photos"], 1);
    assert!(wrong.contains("the bytes of `weights.safetensors` have changed"), "{wrong}");
    let refused = refused(root, &["export", "photos", "net", "out"], 2);
    assert!(refused.contains("is damaged") && !root.join("out").exists(), "{refused}");
}

/// Each way of damage to an input of what is to run next.
#[test]
fn a_damaged_artifact_is_set_aside_and_made_again_before_it_is_used() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    said(root, &["run", "photos.toml", "--quiet"]);
    let run = fs::canonicalize(root.join("results/photos/latest")).unwrap();
    let head = artifact(root, &run, "head");
    let whole = fs::read(head.join("weights.safetensors")).unwrap();
    let flipped = || {
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 4;
        fs::write(head.join("weights.safetensors"), bytes).unwrap();
    };
    let damages: [(&str, &dyn Fn()); 5] = [
        ("flipped bit", &flipped),
        ("cut short", &|| fs::write(head.join("weights.safetensors"), &whole[..99]).unwrap()),
        ("missing file", &|| fs::remove_file(head.join("model.json")).unwrap()),
        ("no manifest", &|| fs::remove_file(head.join("manifest.json")).unwrap()),
        ("empty manifest", &|| fs::write(head.join("manifest.json"), "").unwrap()),
    ];
    for (number, (what, damage)) in damages.into_iter().enumerate() {
        damage();
        let lr = format!("stages.adapted.optimizer.lr=0.002{number}");
        let output = runner(root, &["run", "photos.toml", "--set", &lr]);
        let lines = text(&output.stderr);
        assert!(output.status.success(), "{what}: {lines}");
        assert!(
            lines.contains("head: damaged (") && lines.contains("moved to "),
            "{what}: {lines}"
        );
        assert!(lines.contains("3 ran, 3 cached"), "{what}: {lines}");
        assert_eq!(fs::read(head.join("weights.safetensors")).unwrap(), whole, "{what}");
        let aside = fs::read_dir(root.join(".runner/damaged")).unwrap();
        let aside = aside.filter(|it| it.as_ref().unwrap().path().is_dir()).count();
        assert_eq!(aside, number + 1, "{what}");
    }
}

#[test]
fn a_run_is_reproduced_from_its_record_alone() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let [first, _] = two_runs(root);
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("run");
    fs::create_dir(&copy).unwrap();
    fs::copy(first.join("run.json"), copy.join("run.json")).unwrap();
    fs::remove_file(root.join("photos.toml")).unwrap();
    let output = runner(elsewhere.path(), &["reproduce", "run", "--keep", "kept"]);
    let all = text(&output.stdout);
    assert!(output.status.success(), "{all}{}", text(&output.stderr));
    assert!(all.contains("6 of 6 artifacts reproduced"), "{all}");
    assert_eq!(csvs(&elsewhere.path().join("kept/results/photos/latest")), csvs(&first));

    let mut record = fs::read_to_string(copy.join("run.json")).unwrap();
    let content = record.split("\"content\": \"").nth(3).unwrap()[..64].to_owned();
    record = record.replace(&content, &"0".repeat(64));
    fs::write(copy.join("run.json"), record).unwrap();
    let differs = refused(elsewhere.path(), &["reproduce", "run"], 1);
    assert!(differs.contains("5 of 6 artifacts reproduced"), "{differs}");
    assert!(differs.contains("net      no: other bytes"), "{differs}");
}

#[test]
fn an_artifact_is_exported_as_plain_files_and_nothing_is_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let [first, _] = two_runs(root);
    said(root, &["export", name(&first), "net", "out/net"]);
    let from = artifact(root, &first, "net");
    for file in ["weights.safetensors", "model.json", "metrics.csv", "manifest.json"] {
        assert_eq!(
            fs::read(root.join("out/net").join(file)).unwrap(),
            fs::read(from.join(file)).unwrap()
        );
    }
    assert_eq!(fs::read_dir(root.join("out")).unwrap().count(), 1, "nothing else is left");
    let again = refused(root, &["export", "photos", "net", "out/net"], 2);
    assert!(again.contains("is there already"), "{again}");
    let unknown = refused(root, &["export", "photos", "nett", "other"], 2);
    assert!(unknown.contains("no stage `nett`"), "{unknown}");
}

#[test]
fn gc_says_what_no_kept_run_needs_and_removes_it_only_when_told() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    two_runs(root);
    let store = root.join(".runner");
    let all = artifacts(&store);
    assert!(said(root, &["gc", "--now"]).contains("nothing to remove"));
    let last = ["gc", "--keep-last", "1"];
    let young = said(root, &last);
    assert!(young.contains("nothing to remove"), "the last hour's artifacts stay: {young}");
    let would = said(root, &[&last[..], &["--now", "--verbose"]].concat());
    assert!(would.contains("runs: 1 kept, 1 not") && would.contains("say `--yes`"), "{would}");
    assert_eq!(would.lines().filter(|line| line.ends_with("(artifact)")).count(), 2, "{would}");
    assert_eq!(artifacts(&store), all, "a dry run removes nothing");
    let did = said(root, &[&last[..], &["--now", "--yes"]].concat());
    assert!(did.contains("removed 2 things"), "{did}");
    assert_eq!(artifacts(&store).len(), 6);
    assert!(said(root, &["verify", "photos"]).starts_with("ok: 6 artifacts"));
    assert!(said(root, &["verify"]).contains("2 artifacts of older runs are no longer"));
    let older = said(root, &["gc", "--now", "--older-than", "1d"]);
    assert!(older.contains("runs: 2 kept, 0 not"), "{older}");
    let wrong = refused(root, &["gc", "--older-than", "soon"], 2);
    assert!(wrong.contains("such as 30d"), "{wrong}");
}
