//! The files of a trial in a run's folder: the CSV of each stage, and what an artifact holds for people
//! besides it. Names in them are those of the pipeline; artifacts know only keys.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::csv::Rows;
use super::error::{Error, io_at};
use super::record::InputRecord;
use crate::exec::{Done, End};
use crate::metrics::Metrics;
use crate::plan::graph::Plan;
use crate::plan::search::Verdict;
use crate::store::{Checked, RESERVED};

/// The artifact of every task that has one, by number.
pub(super) type Sources = Vec<Option<Checked>>;

/// Opens the artifacts of all tasks.
///
/// # Errors
/// When one is gone, damaged, or another than the run had.
pub(super) fn sources(done: &[Done]) -> Result<Sources, Error> {
    let open = |done: &Done| match &done.artifact {
        Some((content, folder)) => Ok(Some(Checked::open(folder, content)?)),
        None => Ok(None),
    };
    done.par_iter().map(open).collect()
}

/// Whether results are written from an artifact's file of this name.
pub fn is_for_results(name: &str) -> bool {
    is_picture(name)
        || is_table(name)
        || ["metrics.csv", "timings.csv", "dataset.json", "provenance.json"].contains(&name)
}

fn is_picture(name: &str) -> bool {
    !name.contains('/') && Path::new(name).extension().is_some_and(|it| it == "png")
}

/// Whether a file is a CSV besides metrics and timings, such as an `embedding.csv`.
fn is_table(name: &str) -> bool {
    !name.contains('/') && name.ends_with(".csv") && !RESERVED.contains(&name)
}

/// Writes the CSVs of a trial; gives the names of those that do not follow from an artifact, with their
/// text.
pub(super) fn write_trial(
    folder: &Path,
    (plan, done, sources): (&Plan, &[Done], &Sources),
    trial: usize,
    verdict: Option<&Verdict>,
) -> Result<Vec<(String, String)>, Error> {
    fs::create_dir_all(folder).map_err(io_at(folder))?;
    let mut cut = Vec::new();
    let pruned = verdict.and_then(|it| it.pruned.as_ref());
    for stage in &plan.trials[trial].pipeline.stages {
        let task = plan.stages[trial][&stage.name].index();
        let name = metrics_name(&stage.name);
        let mut files = match (&done[task].end, &sources[task]) {
            (End::Paused { rows }, _) if !rows.is_empty() => {
                let text = Metrics::Training(rows.clone()).csv().unwrap_or_default();
                vec![Derived { path: name.clone().into(), bytes: text.into_bytes() }]
            }
            (_, Some(artifact)) => derived(artifact, &stage.name, &InputRecord::of(stage))?,
            _ => Vec::new(),
        };
        // Other trials, or another run, may have gone further than this one.
        if let (Some(whole), Some(pruned)) =
            (files.first_mut(), pruned.filter(|it| it.stage == stage.name))
        {
            let path = folder.join(&name);
            let short = up_to_epoch(&parsed(&whole.bytes, &path)?, pruned.epochs);
            whole.bytes = short.clone().into_bytes();
            cut.push((name, short));
        }
        for Derived { path, bytes } in files {
            let path = folder.join(path);
            let home = path.parent().unwrap_or(folder);
            fs::create_dir_all(home).map_err(io_at(home))?;
            fs::write(&path, bytes).map_err(io_at(&path))?;
        }
    }
    Ok(cut)
}

/// The rows of a training's CSV up to an epoch.
fn up_to_epoch(rows: &Rows, epoch: usize) -> String {
    let mut rows = rows.clone();
    if let Some(at) = rows.header.iter().position(|name| name == "epoch") {
        rows.rows.retain(|row| row[at].parse::<usize>().is_ok_and(|it| it <= epoch));
    }
    rows.text()
}

/// A file of a run's folder that follows from an artifact.
#[derive(Debug)]
pub struct Derived {
    /// Its path below the folder of its trial.
    pub path: PathBuf,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// The CSV of a stage in the folder of its trial.
pub fn metrics_name(stage: &str) -> String {
    format!("{stage}.csv")
}

/// Every file of a run's folder that follows from the artifact of `stage`, which reads `inputs`: its metrics
/// first, then what it holds for people besides them; none for a stage without metrics.
///
/// # Errors
/// When a file of the artifact is damaged, or no CSV.
pub fn derived(
    artifact: &Checked,
    stage: &str,
    inputs: &[InputRecord],
) -> Result<Vec<Derived>, Error> {
    let Some(metrics) = metrics_text(artifact, inputs)? else { return Ok(Vec::new()) };
    let mut files = vec![Derived { path: metrics_name(stage).into(), bytes: metrics.into_bytes() }];
    for name in artifact.names().filter(|name| is_picture(name) || is_table(name)) {
        let bytes = match is_picture(name) {
            true => artifact.read(name)?,
            false => named_text(artifact, name, inputs)?.map(String::into_bytes),
        };
        let path = Path::new(stage).join(name);
        files.extend(bytes.map(|bytes| Derived { path, bytes }));
    }
    Ok(files)
}

/// What `<stage>.csv` holds for a stage with this artifact: its metrics, with the names that the
/// pipeline gives to its `inputs`.
///
/// # Errors
/// When the metrics are damaged, or no CSV.
pub fn metrics_text(artifact: &Checked, inputs: &[InputRecord]) -> Result<Option<String>, Error> {
    named_text(artifact, "metrics.csv", inputs)
}

fn named_text(
    artifact: &Checked,
    name: &str,
    inputs: &[InputRecord],
) -> Result<Option<String>, Error> {
    let Some(mut rows) = rows(artifact, name)? else { return Ok(None) };
    rows.name_references(|key| inputs.iter().find(|input| input.key == key).map(InputRecord::text));
    Ok(Some(rows.text()))
}

/// The CSV called `name` of an artifact, if it has one.
pub(super) fn rows(artifact: &Checked, name: &str) -> Result<Option<Rows>, Error> {
    let Some(bytes) = artifact.read(name)? else { return Ok(None) };
    Ok(Some(parsed(&bytes, &artifact.folder().join(name))?))
}

/// The rows in the bytes of the CSV at `path`.
fn parsed(bytes: &[u8], path: &Path) -> Result<Rows, Error> {
    let malformed = |reason: String| Error::Malformed { path: path.to_owned(), reason };
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
    Rows::read(text).map_err(|error| malformed(error.to_string()))
}

/// The folder in a run's that holds the CSVs of a trial.
pub fn trial_folder(run: &Path, sweep: bool, trial: usize) -> PathBuf {
    if sweep { run.join(format!("trials/{trial:03}")) } else { run.to_owned() }
}
