//! Derives the events of a run that left no journal from its record and its CSVs, so that the same page can
//! show every run.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::config::sweep::PAIR;
use crate::exec::Ending;
use crate::metrics::{Metrics, TrainingRow};
use crate::report::finished::FinishedRun;
use crate::report::record::StageRecord;

/// The events, one per line.
pub fn events(run: &FinishedRun) -> String {
    let record = &run.record;
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let (mut tasks, mut trials, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for (number, stages) in record.trials.iter().enumerate() {
        let mut own = Vec::new();
        let (mut named, mut fresh) = (HashMap::new(), Vec::new());
        for stage in stages {
            // Stages with the same fingerprint were a single task.
            let key = match stage.fingerprint {
                Some(fingerprint) => fingerprint.to_string(),
                None => format!("{number} {}", stage.name),
            };
            let next = numbers.len();
            let task = *numbers.entry(key).or_insert(next);
            own.push(task);
            named.insert(&stage.name, task);
            if task == next {
                fresh.push((task, stage));
                rest.push(ended(task, stage));
                // A CSV that cannot be read leaves its curves out here; the report says what is wrong.
                let found = run.read_metrics(number, &stage.name).ok().flatten();
                rest.extend(found.iter().flat_map(|found| metrics(task, found)));
            }
        }
        tasks.extend(fresh.into_iter().map(|(task, stage)| {
            let inputs = stage.inputs.iter().map(|input| &input.stage).chain(&stage.after);
            let needs: BTreeSet<usize> =
                inputs.filter_map(|name| named.get(name).copied()).collect();
            json!({ "task": task, "name": stage.name, "kind": stage.kind, "needs": needs })
        }));
        let labels = match run.trials[number].pair(record.pairs.as_ref()).zip(record.pairs.as_ref())
        {
            Some((pair, keys)) => {
                let others = record.values.get(number).into_iter().flatten();
                let others =
                    others.filter(|it| !keys.has(it.0)).map(|(key, it)| (key.clone(), json!(it)));
                let all = std::iter::once((PAIR.to_owned(), json!(pair))).chain(others);
                all.collect::<serde_json::Map<_, _>>().into()
            }
            None => record.values.get(number).map_or_else(|| json!({}), |it| json!(it)),
        };
        trials.push(json!({ "trial": number, "labels": labels, "tasks": own }));
    }
    let count = |end: Ending| record.tasks().filter(|it| it.state == end).count();
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
        "time": provenance.end, "event": "run_finished", "cached": count(Ending::Cached),
        "ran": count(Ending::Built), "failed": count(Ending::Failed), "skipped": count(Ending::Skipped),
        "pruned": count(Ending::Paused), "seconds": seconds.unwrap_or_default(),
    });
    let mut text = String::new();
    for event in std::iter::once(started).chain(rest).chain([finished]) {
        text += &format!("{event}\n");
    }
    text
}

/// How a stage ended.
fn ended(task: usize, stage: &StageRecord) -> Value {
    let word = match stage.state {
        Ending::Built => "finished",
        Ending::Paused => "paused",
        Ending::Cached => "cached",
        Ending::Failed => "failed",
        Ending::Interrupted => "interrupted",
        Ending::Skipped => "skipped",
    };
    let message = stage.message();
    json!({
        "event": word, "task": task, "name": stage.name, "seconds": stage.seconds,
        "message": message, "because": stage.waited_for, "summary": "",
    })
}

/// The metrics of epochs in a CSV; none where it is of a stage that does not train.
fn metrics(task: usize, metrics: &Metrics) -> Vec<Value> {
    let Metrics::Training(rows) = metrics else { return Vec::new() };
    let event = |row: &TrainingRow| {
        let TrainingRow { epoch, split, metric, value, .. } = row;
        json!({
            "event": "metric", "task": task, "epoch": epoch, "split": split.word(), "name": metric,
            "value": value,
        })
    };
    rows.iter().map(event).collect()
}
