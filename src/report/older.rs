//! Adds to the records of older runners what they do not say, from the pipeline that they keep as text. This
//! is the only place that knows older forms of the record: all other code sees complete records.

use std::fs;
use std::path::Path;

use super::error::Error;
use super::record::{ModelOnSplit, Record, Selection, StageInput};
use super::trial_files::trial_folder;
use crate::config::Report;
use crate::config::sweep::Overlap;
use crate::plan::kept::KeptPipeline;
use crate::plan::pipeline::Pipeline;
use crate::system;

/// What completing a record has shown.
#[derive(Debug)]
pub(super) struct Completed {
    /// Reasons to doubt the numbers of the run, one sentence each.
    pub doubts: Vec<String>,
    /// Whether the record now says what each stage reads and scores.
    pub inputs: bool,
}

/// Completes the record of the run in `folder`. Records of this runner are complete already.
///
/// # Errors
/// When the pipeline that it keeps is not TOML, or its tables cannot be read.
pub(super) fn complete(record: &mut Record, folder: &Path) -> Result<Completed, Error> {
    // Every record of this runner has at least the usual table.
    if !record.tables.is_empty() {
        return Ok(Completed { doubts: Vec::new(), inputs: true });
    }
    let malformed = |report: Report| Error::Malformed {
        path: folder.join("pipeline.toml"),
        reason: first(&report).to_owned(),
    };
    let kept = KeptPipeline::read("pipeline.toml", &record.provenance.text).map_err(malformed)?;
    record.tables = kept.tables().map_err(malformed)?;
    let mut doubts = Vec::new();
    match selection(&record.provenance.text) {
        Ok(selection) => record.selection = selection,
        Err(error) => doubts.push(format!(
            "This runner cannot read `[sweep.select]` of this run, and so not how trials were selected: {error}."
        )),
    }
    match kept.sweep() {
        Ok(sweep) if record.provenance.sweep => {
            let overlaps = sweep.map(|sweep| sweep.overlaps()).unwrap_or_default();
            doubts.extend(overlaps.iter().map(|overlap| of_overlap(overlap, record)));
        }
        Err(report) if record.provenance.sweep => doubts.push(format!(
            "This runner does not take the `[sweep]` of this run ({}), and so cannot tell whether the labels of \
             its trials can be trusted.",
            first(&report)
        )),
        _ => {}
    }
    let pipeline = kept.pipeline();
    let inputs = pipeline.is_ok();
    match pipeline {
        Ok(base) => put_inputs(record, folder, &base),
        Err(report) => doubts.push(format!(
            "The record of this run does not say what its stages read, and this runner does not take the \
             pipeline that runner {} ran ({}): what has no score is not shown as missing, and no stage is \
             shown to wait for another. Correct the file as `runner check` says and run it again.",
            record.provenance.runner,
            first(&report)
        )),
    }
    Ok(Completed { doubts, inputs })
}

/// `[sweep.select]` of a resolved pipeline, which has every setting of it.
fn selection(pipeline: &str) -> Result<Option<Selection>, String> {
    let message = |error: toml::de::Error| error.message().to_owned();
    let pipeline: toml::Table = toml::from_str(pipeline).map_err(message)?;
    let select = pipeline.get("sweep").and_then(|sweep| sweep.get("select"));
    select.map(|select| select.clone().try_into().map_err(message)).transpose()
}

/// Adds the inputs of every stage: those in the pipeline of its trial, or else in the pipeline of the run.
fn put_inputs(record: &mut Record, folder: &Path, base: &Pipeline) {
    let sweep = record.provenance.sweep;
    for (number, stages) in record.trials.iter_mut().enumerate() {
        let own = sweep.then(|| own_pipeline(folder, number)).flatten();
        let planned = &own.as_ref().unwrap_or(base).stages;
        for stage in stages {
            let Some(planned) = planned.iter().find(|it| it.name == stage.name) else { continue };
            stage.inputs = StageInput::of(planned);
            stage.after.clone_from(&planned.after);
            stage.scores = ModelOnSplit::of(planned);
        }
    }
}

/// The pipeline in the folder of a trial.
fn own_pipeline(folder: &Path, trial: usize) -> Option<Pipeline> {
    let path = trial_folder(folder, true, trial).join("pipeline.toml");
    let text = fs::read_to_string(path).ok()?;
    KeptPipeline::read("pipeline.toml", &text).ok()?.pipeline().ok()
}

/// The doubt about two overlapping axes, which older runners accepted although one of the two values never
/// counted.
fn of_overlap(overlap: &Overlap, record: &Record) -> String {
    let Overlap { outer, inner, is_same_key } = overlap;
    // The command is to be copied into a shell.
    let file = system::as_typed(std::slice::from_ref(&record.provenance.file));
    if *is_same_key {
        return format!(
            "The labels of trials cannot be trusted: `{outer}` was swept twice, and only one of the two \
             values counted. Keep one of the two axes and run `runner sweep {file}` again."
        );
    }
    format!(
        "The labels of trials cannot be trusted: the values of the axis `{outer}` set `{inner}`, which was \
         swept too, and only one of the two counted. Leave it out of the values of `{outer}`, or sweep only \
         one of them, and run `runner sweep {file}` again."
    )
}

fn first(report: &Report) -> &str {
    report.diagnostics().first().map_or("it is not taken", |it| it.message.as_str())
}
