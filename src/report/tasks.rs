//! Writes what a run's folder says about its tasks besides their numbers: their records, logs and times.

use std::fs;
use std::path::Path;

use indexmap::IndexMap;
use petgraph::graph::NodeIndex;
use serde_json::{Value, json};

use super::csv::CsvRows;
use super::error::{Error, io_at};
use super::record::{ModelOnSplit, StageInput, StageRecord};
use super::trial_files::{Artifacts, rows};
use crate::exec::{Done, End, Ending, display_name};
use crate::metrics::csv::TOTAL;
use crate::metrics::label_free::LabelFreeScore;
use crate::plan::graph::Plan;
use crate::plan::pipeline::PlannedStage;
use crate::plan::trial::Trial;
use crate::stages::Failure;
use crate::store::Checked;

/// The stages of every trial in the form of the record.
pub(super) fn records(
    plan: &Plan,
    done: &[Done],
    sources: &Artifacts,
) -> Result<Vec<Vec<StageRecord>>, Error> {
    let record = |((name, task), planned): ((&String, &NodeIndex), &PlannedStage)| {
        let (node, done) = (&plan.graph[*task], &done[task.index()]);
        let (mut error, mut waited_for) = (None, None);
        match &done.end {
            End::Failed(failure) => error = Some(json!(failure)),
            End::Skipped { because } => waited_for = Some(because.clone()),
            _ => {}
        }
        let mut record = StageRecord {
            name: name.clone(),
            kind: node.stage.kind().to_owned(),
            inputs: StageInput::of(planned),
            after: planned.after.clone(),
            scores: ModelOnSplit::of(planned),
            state: done.end.ending(),
            fingerprint: done.fingerprint,
            content: done.artifact.as_ref().map(|it| it.0),
            external: node.external.clone(),
            seconds: done.seconds,
            built_in: match (&done.end, &sources[task.index()]) {
                (End::Cached, Some(artifact)) => built_in(artifact)?,
                _ => None,
            },
            settings: json!(node.settings),
            classes: None,
            error,
            waited_for,
            data: match &sources[task.index()] {
                Some(artifact) => origin(artifact)?,
                None => None,
            },
        };
        if let Some(artifact) = &sources[task.index()]
            && record.target_scores().contains(&LabelFreeScore::Diversity)
        {
            record.classes = classes(artifact)?;
        }
        Ok(record)
    };
    let trial = |(stages, trial): (&IndexMap<String, NodeIndex>, &Trial)| {
        stages.iter().zip(&trial.pipeline.stages).map(record).collect()
    };
    plan.stages.iter().zip(&plan.trials).map(trial).collect()
}

/// How long it took to build an artifact, in seconds: that of earlier runs counts where it went on from their checkpoint.
fn built_in(artifact: &Checked) -> Result<Option<f64>, Error> {
    let parts = rows(artifact, "timings.csv")?.unwrap_or_default().rows;
    let total = parts.iter().find(|part| part[0] == TOTAL);
    Ok(total.and_then(|part| part[1].parse().ok()))
}

/// How many classes a model tells apart.
fn classes(artifact: &Checked) -> Result<Option<usize>, Error> {
    let Some(bytes) = artifact.read("model.json")? else { return Ok(None) };
    let model: Option<Value> = serde_json::from_slice(&bytes).ok();
    let classes = model.and_then(|model| model["spec"]["classes"].as_u64());
    Ok(classes.and_then(|classes| usize::try_from(classes).ok()))
}

/// Title, licence, citation and source of a data set or of weights that came from outside; `None` for
/// everything that was built here.
fn origin(artifact: &Checked) -> Result<Option<Value>, Error> {
    let parsed = |name: &str| -> Result<Option<Value>, Error> {
        let bytes = artifact.read(name)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    };
    match parsed("dataset.json")? {
        Some(mut dataset) => Ok(dataset.get_mut("provenance").map(Value::take)),
        None => parsed("provenance.json"),
    }
}

/// Writes `logs/<stage>.log`: the messages of a stage that ran, and its error with its inputs.
pub(super) fn put_log(
    folder: &Path,
    plan: &Plan,
    task: NodeIndex,
    all: &[Done],
) -> Result<(), Error> {
    let done = &all[task.index()];
    let mut lines = done.log.clone();
    if let End::Failed(Failure { message, help, .. }) = &done.end {
        lines.push(format!("error: {message}"));
        lines.extend(help.iter().map(|help| format!("help: {help}")));
        let inputs = plan.graph[task].inputs.iter().zip(plan.input_texts(task));
        lines.extend(inputs.map(|(input, text)| {
            let artifact = all[input.task.index()].artifact.as_ref();
            let folder = artifact.map(|it| format!(" in {}", it.1.display())).unwrap_or_default();
            format!("input: {text}{folder}")
        }));
    }
    if lines.is_empty() {
        return Ok(());
    }
    let logs = folder.join("logs");
    fs::create_dir_all(&logs).map_err(io_at(&logs))?;
    let path = logs.join(log_name(&display_name(plan, task)));
    fs::write(&path, lines.join("\n") + "\n").map_err(io_at(&path))
}

/// The name of a task's log: `net.000-001.log` of `net[000,001]`, as brackets mean something to shells.
fn log_name(task: &str) -> String {
    let name = task.replace('[', ".").replace(']', "").replace(",+", "+").replace(',', "-");
    format!("{name}.log")
}

/// `timings.csv`: the seconds of every task and of its parts.
pub(super) fn timings(plan: &Plan, done: &[Done], sources: &Artifacts) -> Result<String, Error> {
    let header = ["stage", "part", "seconds", "cached"].map(str::to_owned).to_vec();
    let mut all = Vec::new();
    for task in &plan.order {
        let end = &done[task.index()];
        let name = display_name(plan, *task);
        let cached = (end.end.ending() == Ending::Cached).to_string();
        let artifact = sources[task.index()].as_ref();
        let built_in = match (&end.end, artifact) {
            // Its parts began in earlier runs, where it went on from what those left.
            (End::Built, Some(artifact)) => built_in(artifact)?,
            _ => None,
        };
        let seconds = built_in.unwrap_or(0.0).max(end.seconds);
        all.push(vec![name.clone(), TOTAL.into(), format!("{seconds:.6}"), cached.clone()]);
        let Some(artifact) = artifact else { continue };
        let parts = rows(artifact, "timings.csv")?.unwrap_or_default().rows;
        // What it took to build an artifact is no time of a run that found it.
        for part in parts.iter().filter(|part| part[0] != TOTAL) {
            all.push(vec![name.clone(), part[0].clone(), part[1].clone(), cached.clone()]);
        }
    }
    Ok(CsvRows { header, rows: all }.text())
}
