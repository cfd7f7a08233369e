//! Events of a run that left none, made of its record and its CSVs, so that every run is shown by the
//! same page.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::report::csv::Rows;
use crate::report::record::{Record, Stage};
use crate::report::trial_files::trial_folder;

/// The events, a line each.
pub fn events(folder: &Path, record: &Record) -> String {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let (mut tasks, mut trials, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for (number, stages) in record.trials.iter().enumerate() {
        let mut own = Vec::new();
        for stage in stages {
            // Stages with the same fingerprint were one task.
            let key = match stage.fingerprint {
                Some(fingerprint) => fingerprint.to_string(),
                None => format!("{number} {}", stage.name),
            };
            let next = numbers.len();
            let task = *numbers.entry(key).or_insert(next);
            own.push(task);
            if task == next {
                tasks.push(json!({
                    "task": task, "name": stage.name, "kind": stage.kind, "needs": [],
                }));
                rest.push(ended(task, stage));
                let at = trial_folder(folder, record.provenance.sweep, number);
                rest.extend(metrics(task, &at.join(format!("{}.csv", stage.name))));
            }
        }
        let labels = record.values.get(number).map_or_else(|| json!({}), |it| json!(it));
        trials.push(json!({ "trial": number, "labels": labels, "tasks": own }));
    }
    let count = |word: &str| record.trials.iter().flatten().filter(|it| it.state == word).count();
    let provenance = &record.provenance;
    let started = json!({
        "time": provenance.start, "event": "run_started", "run": record.id,
        "pipeline": provenance.pipeline, "command": provenance.command,
        "plan": { "tasks": tasks, "trials": trials },
    });
    let seconds = (|| {
        let moment = |text: &str| chrono::DateTime::parse_from_rfc3339(text).ok();
        let time = moment(&provenance.end)? - moment(&provenance.start)?;
        time.to_std().ok().map(|it| it.as_secs_f64())
    })();
    let finished = json!({
        "time": provenance.end, "event": "run_finished", "cached": count("cached"),
        "ran": count("ran"), "failed": count("failed"), "skipped": count("skipped"),
        "pruned": count("pruned"), "seconds": seconds.unwrap_or_default(),
    });
    let mut text = String::new();
    for event in std::iter::once(started).chain(rest).chain([finished]) {
        text += &format!("{event}\n");
    }
    text
}

/// How a stage ended.
fn ended(task: usize, stage: &Stage) -> Value {
    let word = match stage.state.as_str() {
        "ran" => "finished",
        "pruned" => "paused",
        word => word,
    };
    let message = stage.error.as_ref().map(|error| error["message"].clone());
    json!({
        "event": word, "task": task, "name": stage.name, "seconds": stage.seconds,
        "message": message, "because": stage.waited_for, "summary": "",
    })
}

/// The metrics of epochs in a CSV.
fn metrics(task: usize, path: &Path) -> Vec<Value> {
    let Some(rows) = fs::read_to_string(path).ok().and_then(|text| Rows::read(&text).ok()) else {
        return Vec::new();
    };
    if rows.header.iter().map(String::as_str).ne(["epoch", "step", "split", "metric", "value"]) {
        return Vec::new();
    }
    let metric = |row: &Vec<String>| {
        let epoch: usize = row[0].parse().ok()?;
        let value: f64 = row[4].parse().ok()?;
        let (split, name) = (&row[2], &row[3]);
        Some(json!({
            "event": "metric", "task": task, "epoch": epoch, "split": split, "name": name,
            "value": value,
        }))
    };
    rows.rows.iter().filter_map(metric).collect()
}
