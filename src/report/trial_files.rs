//! The files of a trial in a run's folder: the CSV of each stage, and what an artifact holds for people
//! besides it. Names in them are those of the pipeline; artifacts know only keys.

use std::fs;
use std::path::{Path, PathBuf};

use super::csv::{self, Rows};
use super::results::{Error, io_at};
use super::scores::read_rows;
use crate::exec::{Done, State};
use crate::metrics::Metrics;
use crate::plan::graph::Plan;
use crate::plan::pipeline::PlannedStage;
use crate::plan::search::Verdict;
use crate::store::RESERVED;

/// Writes the CSVs of a trial; gives the names of those that do not follow from an artifact, with their
/// text.
pub(super) fn write_trial(
    folder: &Path,
    (plan, done): (&Plan, &[Done]),
    trial: usize,
    verdict: Option<&Verdict>,
) -> Result<Vec<(String, String)>, Error> {
    fs::create_dir_all(folder).map_err(io_at(folder))?;
    let mut cut = Vec::new();
    let pruned = verdict.and_then(|it| it.pruned.as_ref());
    for stage in &plan.trials[trial].pipeline.stages {
        let done = &done[plan.stages[trial][&stage.name].index()];
        let name = format!("{}.csv", stage.name);
        let path = folder.join(&name);
        let artifact = done.artifact.as_ref().map(|it| it.1.as_path());
        let mut text = match (&done.state, artifact) {
            (State::Pruned { rows }, _) if !rows.is_empty() => {
                Some(csv::write(&Metrics { rows: rows.clone(), ..Metrics::training() }))
            }
            (_, Some(artifact)) => metrics_text(artifact, stage)?,
            _ => None,
        };
        // Other trials, or another run, may have gone further than this one.
        if let (Some(whole), Some(pruned)) = (&text, pruned.filter(|it| it.stage == stage.name)) {
            let short = up_to_epoch(whole, pruned.epochs).map_err(|error| Error::Malformed {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            cut.push((name, short.clone()));
            text = Some(short);
        }
        let Some(text) = text else { continue };
        fs::write(&path, text).map_err(io_at(&path))?;
        if let Some(artifact) = artifact {
            copy_extras(artifact, stage, &folder.join(&stage.name))?;
        }
    }
    Ok(cut)
}

/// The rows of a training's CSV up to an epoch.
fn up_to_epoch(text: &str, epoch: usize) -> Result<String, ::csv::Error> {
    let mut rows = Rows::read(text)?;
    if let Some(at) = rows.header.iter().position(|name| name == "epoch") {
        rows.rows.retain(|row| row[at].parse::<usize>().is_ok_and(|it| it <= epoch));
    }
    Ok(rows.text())
}

/// Copies what an artifact holds for people besides its metrics to `folder`, which is made only for
/// some: pictures, and tables of its own.
fn copy_extras(artifact: &Path, stage: &PlannedStage, folder: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(artifact).map_err(io_at(artifact))? {
        let path = entry.map_err(io_at(artifact))?.path();
        if path.extension().is_some_and(|it| it == "png") {
            fs::create_dir_all(folder).map_err(io_at(folder))?;
            let to = folder.join(path.file_name().unwrap_or_default());
            fs::copy(&path, &to).map_err(io_at(&to))?;
        }
    }
    for (name, text) in extra_tables(artifact, stage)? {
        fs::create_dir_all(folder).map_err(io_at(folder))?;
        let to = folder.join(name);
        fs::write(&to, text).map_err(io_at(&to))?;
    }
    Ok(())
}

/// Name and text of every CSV of an artifact besides its metrics and timings, such as an `embedding.csv`,
/// with the names that the pipeline gives to what the stage reads; by name.
///
/// # Errors
/// When one cannot be read.
pub fn extra_tables(artifact: &Path, stage: &PlannedStage) -> Result<Vec<(String, String)>, Error> {
    let mut tables = Vec::new();
    for entry in fs::read_dir(artifact).map_err(io_at(artifact))? {
        let name = entry.map_err(io_at(artifact))?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".csv") && !RESERVED.contains(&name.as_str()) {
            tables.extend(named_text(&artifact.join(&name), stage)?.map(|text| (name, text)));
        }
    }
    tables.sort();
    Ok(tables)
}

/// What `<stage>.csv` holds for a stage with this artifact: its metrics, with the names that the
/// pipeline gives to what it reads.
///
/// # Errors
/// When the metrics cannot be read.
pub fn metrics_text(artifact: &Path, stage: &PlannedStage) -> Result<Option<String>, Error> {
    named_text(&artifact.join("metrics.csv"), stage)
}

fn named_text(path: &Path, stage: &PlannedStage) -> Result<Option<String>, Error> {
    let Some(mut rows) = read_rows(path)? else { return Ok(None) };
    rows.name_references(|key| {
        let input = stage.inputs.iter().find(|input| input.key == key)?;
        let split = input.split.as_ref().map(|it| format!(".{it}")).unwrap_or_default();
        Some(format!("{}{split}", input.stage))
    });
    Ok(Some(rows.text()))
}

/// The folder in a run's that holds the CSVs of a trial.
pub fn trial_folder(run: &Path, sweep: bool, trial: usize) -> PathBuf {
    if sweep { run.join(format!("trials/{trial:03}")) } else { run.to_owned() }
}
