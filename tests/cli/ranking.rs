//! The ranking of scores that need no labels of the target, the warning of collapsed classes, and `by = "auto"`: over
//! a run that is written here by hand, every number known, and through a small sweep.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binary::{record, runner, text};
use crate::photos::photos;
use serde_json::{Value, json};

const PIPELINE: &str = "[pipeline]\nname = \"hand\"\n\n[sweep]\n\
    axes = { \"stages.adapted.method.kind\" = [\"dann\", \"coral\"], \"pipeline.seed\" = [0, 1, 2] }\n";

/// Method, seed, accuracy on the target, and validation accuracy, `info_max` and `diversity` of ten classes. The
/// second and the third collapse, and the third, which is selected, has the highest `info_max`.
const TRIALS: [(&str, u32, f64, [f64; 3]); 6] = [
    ("dann", 0, 0.9, [0.98, 2.0, 2.2]),
    ("dann", 1, 0.8, [0.97, 1.9, 1.8]),
    ("dann", 2, 0.1, [0.5, 2.3, 0.3]),
    ("coral", 0, 0.6, [0.96, 1.5, 2.3]),
    ("coral", 1, 0.7, [0.99, 1.6, 2.25]),
    ("coral", 2, 0.5, [0.95, 1.4, 2.2]),
];

/// The folder of that run.
fn by_hand(root: &Path) -> PathBuf {
    let folder = root.join("results/hand/20260101T000000Z-abcdef");
    let mut trials =
        "trial,stages.adapted.method.kind,pipeline.seed,state,objective,selected,reason\n"
            .to_owned();
    let mut records = Vec::new();
    for (trial, (method, seed, accuracy, [validate, info_max, diversity])) in
        TRIALS.into_iter().enumerate()
    {
        let selected = trial == 2;
        trials += &format!("{trial:03},{method},{seed},done,{info_max},{selected},\n");
        let at = folder.join(format!("trials/{trial:03}"));
        fs::create_dir_all(&at).unwrap();
        let training = format!(
            "epoch,step,split,metric,value\n1,9,target,info_max,0\n1,9,target,diversity,0\n\
             1,9,validate,accuracy,0.1\n2,18,target,info_max,{info_max}\n\
             2,18,target,diversity,{diversity}\n2,18,validate,accuracy,{validate}\n"
        );
        fs::write(at.join("adapted.csv"), training).unwrap();
        let scores = format!(
            "model,dataset,metric,value\nadapted,source.test,accuracy,0.99\n\
             adapted,target.test,accuracy,{accuracy}\n"
        );
        fs::write(at.join("score.csv"), scores).unwrap();
        records.push(stages(trial, method));
    }
    fs::write(folder.join("trials.csv"), trials).unwrap();
    fs::write(folder.join("pipeline.toml"), PIPELINE).unwrap();
    let record = json!({
        "id": "x",
        "provenance": {
            "pipeline": "hand", "text": PIPELINE, "sweep": true, "file": "hand.toml", "folder": "/",
            "runner": "0.1.0", "command": [], "git_commit": null, "git_dirty": null, "device": "cpu",
            "backend": "x", "instruction_set": "x", "architecture": "x", "threads": 1, "host": null,
            "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z",
        },
        "tables": [{
            "name": null, "caption": null, "rows": "stages.adapted.method.kind", "columns": "dataset",
            "value": "accuracy", "over": ["pipeline.seed"], "only": {}, "spread": "sd", "best": null,
            "trials": "all", "baseline": null, "test": "permutation", "gap_closed": null, "published": [],
        }],
        "selection": { "stage": "adapted", "by": "target.info_max", "per": [], "oracle": false },
        "trials": records,
    });
    fs::write(folder.join("run.json"), record.to_string()).unwrap();
    fs::write(root.join("results/hand/latest"), "20260101T000000Z-abcdef").unwrap();
    folder
}

fn stages(trial: usize, method: &str) -> Vec<Value> {
    let stage = |name: &str, kind: &str, inputs: &[(&str, &str, Option<&str>)], settings: Value| {
        let input =
            |it: &(&str, &str, Option<&str>)| json!({ "key": it.0, "stage": it.1, "split": it.2 });
        let inputs: Vec<Value> = inputs.iter().map(input).collect();
        json!({
            "name": name, "kind": kind, "inputs": inputs, "state": "ran", "seconds": 0.0,
            "fingerprint": blake3::hash(format!("{name} of {trial}").as_bytes()).to_hex().as_str(),
            "content": null, "settings": settings,
        })
    };
    let mut adapted = stage(
        "adapted",
        "finetune",
        &[
            ("train", "source", Some("train")),
            ("validate", "source", Some("valid")),
            ("method.target", "target", Some("train")),
            ("target_scores.on", "target", Some("train")),
        ],
        json!({ "method": { "kind": method }, "target_scores": { "metrics": ["info_max", "diversity"] } }),
    );
    adapted["classes"] = json!(10);
    let scored = [
        ("models.0", "adapted", None),
        ("on.0", "source", Some("test")),
        ("on.1", "target", Some("test")),
    ];
    let mut score = stage("score", "evaluate", &scored, json!({}));
    let pair = |dataset: &str| json!({ "model": "adapted", "dataset": dataset });
    score["scores"] = json!([pair("source.test"), pair("target.test")]);
    let data = |name| stage(name, "normalize", &[], json!({}));
    vec![data("source"), data("target"), adapted, score]
}

/// What a verb prints.
fn said(root: &Path, arguments: &[&str]) -> String {
    let output = runner(root, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn rows(csv: &str) -> Vec<Vec<&str>> {
    csv.lines().map(|line| line.split(',').collect()).collect()
}

#[test]
fn scores_are_ranked_by_the_accuracy_on_the_target_for_each_method_and_over_all() {
    let root = tempfile::tempdir().unwrap();
    by_hand(root.path());
    let csv = said(root.path(), &["table", "hand", "--scores", "--format", "csv"]);
    let [correlations, accuracies] = csv.split("\n\n").collect::<Vec<_>>()[..] else {
        panic!("{csv}")
    };
    let of = |table: &str, score: &str, group: &str| -> f64 {
        let rows = rows(table);
        let row = rows.iter().find(|row| row[0] == score && row[1] == group);
        row.unwrap_or_else(|| panic!("{score} of {group} in {table}"))[2].parse().unwrap()
    };
    // Computed from the definition by another program.
    for (score, group, wanted) in [
        ("validate.accuracy", "dann", 1.0),
        ("validate.accuracy", "coral", 1.0),
        ("validate.accuracy", "all", 0.183_087_815_280),
        ("target.info_max", "dann", -0.480_260_070_559),
        ("target.info_max", "coral", 1.0),
        ("target.info_max", "all", -0.113_503_565_511),
        ("target.diversity", "all", -0.453_734_964_487),
    ] {
        let found = of(correlations, score, group);
        assert!((found - wanted).abs() < 1e-9, "{score} of {group}: {found} is not {wanted}");
    }
    for (score, group, wanted) in [
        ("validate.accuracy", "dann", 0.9),
        ("validate.accuracy", "all", 0.7),
        ("target.info_max", "all", 0.1),
        ("best (oracle)", "dann", 0.9),
        ("best (oracle)", "coral", 0.7),
    ] {
        assert_eq!(of(accuracies, score, group), wanted, "{score} of {group}");
    }
    let shown = said(root.path(), &["table", "hand", "--scores"]);
    for part in [
        "Weighted Spearman correlation with the accuracy on target.test\n",
        "Models: 3 of dann, 3 of coral, 6 of all; one that trials share counts once.\n",
        "best (oracle): the most accurate model, which takes labels of the target to know.\n",
        "† The predicted classes of these collapse on the target, with a diversity below 0.8 ln K: adapted of 002.\n",
    ] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    let line = shown.lines().filter(|line| line.starts_with("target.info_max")).nth(1).unwrap();
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(cells, ["target.info_max", "10.0†", "70.0", "10.0†"]);
    for format in ["markdown", "latex", "html", "json"] {
        let text = said(root.path(), &["table", "hand", "--scores", "--format", format]);
        assert!(text.contains("best (oracle)"), "{format}: {text}");
    }
}

#[test]
fn a_number_of_models_whose_classes_collapse_is_marked_in_every_format_and_only_on_the_target() {
    let root = tempfile::tempdir().unwrap();
    by_hand(root.path());
    let shown = |format: &str| said(root.path(), &["table", "hand", "--format", format]);
    let plain = shown("text");
    let dann = plain.lines().find(|line| line.starts_with("dann")).unwrap();
    assert!(dann.contains("(n=3)  60.0 ± 43.6 (n=3)†"), "{plain}");
    let coral = plain.lines().find(|line| line.starts_with("coral")).unwrap();
    assert!(!coral.contains('†'), "{plain}");
    assert!(plain.contains("0.8 ln K: adapted of 001, adapted of 002.\n"), "{plain}");
    let csv = shown("csv");
    let marks: Vec<&str> = rows(&csv).iter().map(|row| row[5]).collect();
    assert_eq!(marks, ["collapsed", "0", "2", "0", "0"], "{csv}");
    assert!(shown("markdown").contains("(n=3)† |"));
    let latex = shown("latex");
    assert!(latex.contains(r"(n=3)$^{\dagger}$") && latex.contains(r"$\dagger$ The"), "{latex}");
    assert!(shown("html").contains("60.0 ± 43.6 (n=3)†"));
    let table: Value = serde_json::from_str(&shown("json")).unwrap();
    let cells = &table["rows"][0]["cells"];
    assert_eq!((&cells[0]["collapsed"], &cells[1]["collapsed"]), (&Value::Null, &json!(2)));
}

#[test]
fn the_page_shows_the_ranking_with_a_picture_and_whose_classes_collapse() {
    let root = tempfile::tempdir().unwrap();
    let folder = by_hand(root.path());
    said(root.path(), &["report", "hand"]);
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    for part in [
        "id=\"ranking\"",
        "best (oracle)",
        "data-figure=\"ranking-target.test\"",
        "Models whose predicted classes collapse on the target",
    ] {
        assert!(page.contains(part), "no {part:?}");
    }
    said(root.path(), &["plot", "hand"]);
    let csv = fs::read_to_string(folder.join("plots/ranking-target.test.csv")).unwrap();
    let start = "score,model,weighted_spearman,n\nvalidate.accuracy,dann,";
    assert!(csv.starts_with(start), "{csv}");
    assert_eq!(csv.lines().count(), 1 + 3 * 3, "three scores of two methods and of all");
}

#[test]
fn a_run_without_such_scores_says_what_a_ranking_takes() {
    let root = tempfile::tempdir().unwrap();
    let folder = by_hand(root.path());
    let record = fs::read_to_string(folder.join("run.json")).unwrap();
    fs::write(folder.join("run.json"), record.replace("target_scores", "other")).unwrap();
    let output = runner(root.path(), &["table", "hand", "--scores"]);
    assert_eq!(output.status.code(), Some(2));
    let why = text(&output.stderr);
    assert!(why.contains("at least 3 models that have `target_scores`"), "{why}");
    assert!(!said(root.path(), &["table", "hand"]).contains('†'));
}

#[test]
fn a_training_whose_csv_is_damaged_is_left_out_and_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = by_hand(root.path());
    let damaged = "epoch,step,split,metric,value\n1,9,target,info_max,high\n";
    fs::write(folder.join("trials/000/adapted.csv"), damaged).unwrap();
    let ranking: &[&str] = &["table", "hand", "--scores"];
    for arguments in [&ranking[..2], ranking] {
        let shown = said(root.path(), arguments);
        assert!(shown.contains("A model was not looked at: "), "{shown}");
        assert!(shown.contains("trials/000/adapted.csv"), "{shown}");
    }
    let shown = said(root.path(), ranking);
    assert!(shown.contains("Models: 3 of coral, 5 of all; "), "{shown}");
}

/// What the photos are normalized from.
const AUTO_MEAN: &str = "input = \"photos\"\nresize = 12\nchannels = 3\nmean = \"auto\"";

/// The pipeline of the photos with a held-out split and a target of its own, and a sweep that selects by `auto`.
fn sweep() -> String {
    let part = "[stages.part]\nkind = \"split\"\ninput = \"photos\"\nholdout = 0.2\nname = \"held\"\n\n\
        [stages.target]\nkind = \"normalize\"\ninput = \"photos\"\nresize = 12\nchannels = 3\n\
        mean = [0.4, 0.4, 0.4]\nstd = [0.3, 0.3, 0.3]\n\n[stages.images]";
    let adapts = "method = { kind = \"dann\", target = \"target.train\" }\nvalidate = \"images.held\"\n\
        target_scores = { on = \"target.train\", metrics = [\"diversity\", \"class_ami\", \"entropy\"] }";
    let of_part = AUTO_MEAN.replace("photos", "part");
    let mut pipeline = crate::photos::PIPELINE.to_owned();
    for (from, to) in [
        ("[stages.images]", part),
        (AUTO_MEAN, of_part.as_str()),
        ("validate = \"images.test\"", "validate = \"images.held\""),
        ("method = { kind = \"dann\", target = \"images.test\" }", adapts),
        ("on = [\"images.test\"]", "on = [\"images.test\", \"target.test\"]"),
    ] {
        assert!(pipeline.contains(from), "{from} in {pipeline}");
        pipeline = pipeline.replacen(from, to, 1);
    }
    pipeline
        + "\n[sweep]\naxes = { \"stages.adapted.seed\" = [0, 1, 2, 3] }\n\
           [sweep.select]\nstage = \"adapted\"\nby = \"auto\"\n\
           [table]\ntrials = \"selected\"\nover = \"stages.adapted.seed\"\n"
}

#[test]
fn a_sweep_selects_by_auto_says_so_and_leaves_a_ranking_that_follows_from_its_files() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    fs::write(root.join("photos.toml"), sweep()).unwrap();
    let output = runner(root, &["sweep", "photos.toml"]);
    let lines = text(&output.stderr);
    assert!(output.status.success(), "{lines}");
    assert!(lines.contains("selected: 00"), "{lines}");
    let table = text(&output.stdout);
    let note = "Only trials selected by auto of adapted (validate.accuracy of";
    assert!(table.contains(note), "{table}");
    let run = fs::canonicalize(root.join("results/photos/latest")).unwrap();
    let trials = fs::read_to_string(run.join("trials.csv")).unwrap();
    let trials = rows(&trials);
    assert_eq!(trials[0][3..], ["objective", "selected", "reason", "collapsed"]);
    let selected: Vec<&Vec<&str>> = trials.iter().filter(|row| row[4] == "true").collect();
    assert_eq!(selected.len(), 1, "{trials:?}");
    // Of those that do not collapse, none is more accurate on the source.
    let passed = |row: &&Vec<&str>| row[6] == "false";
    let accuracy = |row: &Vec<&str>| row[3].parse::<f64>().unwrap();
    if let Some(best) = trials[1..].iter().filter(passed).map(accuracy).reduce(f64::max) {
        assert_eq!((selected[0][6], accuracy(selected[0])), ("false", best), "{trials:?}");
    } else {
        assert!(lines.contains("`by = \"auto\"` selected among all of them"), "{lines}");
    }
    let record = record(&run);
    assert_eq!(record["selection"]["by"], "auto");
    let adapted = record["trials"][0].as_array().unwrap();
    let adapted = adapted.iter().find(|stage| stage["name"] == "adapted").unwrap();
    assert_eq!(adapted["classes"], 2);
    let ranking = fs::read_to_string(run.join("ranking.csv")).unwrap();
    let ranking = rows(&ranking);
    let scores: Vec<[&str; 4]> =
        ranking.iter().map(|row| [row[0], row[2], row[3], row[5]]).collect();
    assert_eq!(scores[0], ["dataset", "models", "score", "n"]);
    let wanted = ["validate.accuracy", "target.diversity", "target.class_ami", "target.entropy"];
    assert_eq!(scores[1..], wanted.map(|score| ["target.test", "adapted", score, "4"]));
    let verified = said(root, &["verify", "photos"]);
    assert!(verified.starts_with("ok: "), "{verified}");
    let changed = fs::read_to_string(run.join("ranking.csv")).unwrap().replace(",4,", ",5,");
    fs::write(run.join("ranking.csv"), changed).unwrap();
    let wrong = runner(root, &["verify", "photos"]);
    let wrong = text(&wrong.stdout);
    assert!(wrong.contains("ranking.csv does not follow from the CSVs"), "{wrong}");
}
