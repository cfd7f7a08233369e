//! What a run says: plain lines, NDJSON, only what matters.

use std::collections::HashMap;

use crate::binary::{runner, text};
use crate::photos::photos;
use serde_json::Value;

#[test]
fn without_a_terminal_every_stage_and_epoch_is_a_line() {
    let root = tempfile::tempdir().unwrap();
    photos(root.path());
    let output = runner(root.path(), &["run", "photos.toml"]);
    let lines = text(&output.stderr);
    for stage in ["photos: download", "images: normalize", "net: pretrain", "adapted: finetune"] {
        assert!(lines.contains(&format!("{stage} started\n")), "{stage}: {lines}");
    }
    assert!(lines.contains("net: epoch  4/4  class_loss "), "{lines}");
    assert!(lines.contains("6 ran, 0 cached, 0 failed, 0 skipped in "), "{lines}");
    assert!(lines.contains("results: results/photos/"), "{lines}");
    assert!(!lines.contains('\u{1b}') && !lines.contains('\r'), "no escape codes: {lines:?}");
    // Nothing but the table is on standard output, so that it can be piped.
    let table = text(&output.stdout);
    assert!(table.starts_with("model"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
}

#[test]
fn json_is_one_event_a_line_from_the_start_to_the_end_of_every_stage() {
    let root = tempfile::tempdir().unwrap();
    photos(root.path());
    let output = runner(root.path(), &["run", "photos.toml", "--json"]);
    let events: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut steps: HashMap<&str, u64> = HashMap::new();
    let mut names: HashMap<u64, &str> = HashMap::new();
    let mut phases: HashMap<u64, &str> = HashMap::new();
    for event in &events {
        let task = event["task"].as_u64();
        match event["event"].as_str().unwrap() {
            "task_started" => {
                names.insert(task.unwrap(), event["name"].as_str().unwrap());
            }
            "phase" => {
                phases.insert(task.unwrap(), event["phase"].as_str().unwrap());
            }
            "progress" if phases[&task.unwrap()] == "train" => {
                *steps.entry(names[&task.unwrap()]).or_default() += event["by"].as_u64().unwrap();
            }
            _ => {}
        }
    }
    // 40 images in batches of 16 are 3 steps an epoch, 4 epochs.
    assert_eq!(steps["net"], 12);
    // One batch of the 16 target images an epoch, 2 epochs.
    assert_eq!(steps["adapted"], 2);
    for stage in ["photos", "images", "net", "head", "adapted", "score"] {
        let of = |kind: &str| {
            events.iter().filter(|it| it["event"] == kind && it["name"] == stage).count()
        };
        assert_eq!((of("task_started"), of("finished")), (1, 1), "{stage}");
    }
    let end = events.last().unwrap();
    assert_eq!((&end["event"], &end["ran"]), (&"run_finished".into(), &6.into()), "{end}");
}

/// The fields of every event, as `exec::Event` documents them.
fn fields(event: &str) -> &'static [&'static str] {
    match event {
        "run_started" => &["event", "run", "pipeline", "command", "plan"],
        "task_started" => &["event", "task", "name", "kind"],
        "metric" => &["event", "task", "epoch", "split", "name", "value"],
        "cached" => &["event", "task", "name", "summary"],
        "phase" => &["event", "task", "phase", "total", "unit"],
        "progress" => &["event", "task", "by"],
        "status" => &["event", "task", "text"],
        "note" => &["event", "task", "name", "text"],
        "finished" => &["event", "task", "name", "summary", "seconds"],
        "failed" => &["event", "task", "name", "message", "inputs", "help"],
        "skipped" => &["event", "task", "name", "because"],
        "run_finished" => &["event", "cached", "ran", "failed", "skipped", "pruned", "seconds"],
        other => panic!("an event that no script knows: {other}"),
    }
}

#[test]
fn json_events_have_their_fields_also_where_stages_are_cached_or_fail() {
    let root = tempfile::tempdir().unwrap();
    photos(root.path());
    let mut seen: HashMap<String, Vec<Value>> = HashMap::new();
    for arguments in [&[][..], &["--set", "stages.adapted.optimizer.lr=1e30"]] {
        let output = runner(root.path(), &[&["run", "photos.toml", "--json"], arguments].concat());
        for line in text(&output.stdout).lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let kind = event["event"].as_str().unwrap();
            let has: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(has, fields(kind), "{line}");
            for (key, value) in event.as_object().unwrap() {
                let fits = match key.as_str() {
                    "task" | "by" | "cached" | "ran" | "failed" | "skipped" | "pruned"
                    | "epoch" => value.is_u64(),
                    "value" => value.is_f64(),
                    "plan" => value["tasks"].is_array() && value["trials"].is_array(),
                    "total" => value.is_u64() || value.is_null(),
                    "seconds" => value.as_f64().is_some_and(|seconds| seconds >= 0.0),
                    "inputs" | "help" | "command" => value.is_array(),
                    _ => value.is_string(),
                };
                assert!(fits, "`{key}` in {line}");
            }
            seen.entry(kind.to_owned()).or_default().push(event);
        }
    }
    let names = |kind: &str| -> Vec<&str> {
        seen[kind].iter().map(|event| event["name"].as_str().unwrap()).collect()
    };
    assert_eq!(names("cached"), ["photos", "images", "net", "head"]);
    assert_eq!((names("failed"), names("skipped")), (vec!["adapted"], vec!["score"]));
    let failed = &seen["failed"][0];
    let message = failed["message"].as_str().unwrap();
    assert!(message.contains("is not finite in epoch "), "{failed}");
    assert_eq!(failed["inputs"].as_array().unwrap().len(), 3, "{failed}");
    assert_eq!(failed["help"][0], "try a smaller `optimizer.lr`");
    let trained = seen["phase"].iter().find(|it| it["phase"] == "train").unwrap();
    assert_eq!((&trained["total"], &trained["unit"]), (&12.into(), &"steps".into()));
    let end = seen["run_finished"].last().unwrap();
    let counts = ["cached", "ran", "failed", "skipped"].map(|key| end[key].as_u64().unwrap());
    assert_eq!(counts, [4, 0, 1, 1], "{end}");
}

#[test]
fn quiet_says_nothing_but_the_table_and_failures() {
    let root = tempfile::tempdir().unwrap();
    photos(root.path());
    let output = runner(root.path(), &["run", "photos.toml", "--quiet"]);
    assert_eq!(text(&output.stderr), "");
    assert!(text(&output.stdout).starts_with("model"));

    let wrong = ["run", "photos.toml", "--quiet", "--set", "stages.net.optimizer.lr=1e30"];
    let output = runner(root.path(), &wrong);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with("error: stage `net` failed: "), "{said}");
}

#[test]
fn the_table_of_a_finished_run_comes_in_every_format() {
    let root = tempfile::tempdir().unwrap();
    photos(root.path());
    assert!(runner(root.path(), &["run", "photos.toml", "--quiet"]).status.success());
    let newest = root.path().join("results/photos/latest");
    for (format, file) in [("csv", "table.csv"), ("markdown", "table.md"), ("latex", "table.tex")] {
        let output = runner(root.path(), &["table", "photos.toml", "--format", format]);
        assert_eq!(text(&output.stdout), std::fs::read_to_string(newest.join(file)).unwrap());
    }
}
