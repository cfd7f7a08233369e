//! Derives the files of a trial from artifacts: the CSV of each stage, and the tables and pictures that an
//! artifact holds for people. Artifacts name their inputs by key; the files here use the names of the
//! pipeline.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::csv::CsvRows;
use super::error::{Error, io_at};
use super::record::StageInput;
use crate::exec::{Done, End};
use crate::metrics::Metrics;
use crate::plan::graph::Plan;
use crate::plan::search::Verdict;
use crate::store::{Checked, RESERVED};

/// The artifact of every task, by the number of the task; `None` for a task without a result.
pub(super) type Artifacts = Vec<Option<Checked>>;

/// Opens the artifacts of all tasks.
///
/// # Errors
/// When an artifact is missing or damaged, or is not the one that the run built or found.
pub(super) fn sources(done: &[Done]) -> Result<Artifacts, Error> {
    let open = |done: &Done| match &done.artifact {
        Some((content, folder)) => Ok(Some(Checked::open(folder, content)?)),
        None => Ok(None),
    };
    done.par_iter().map(open).collect()
}

/// Whether results are derived from files of this name in an artifact.
pub fn is_for_results(name: &str) -> bool {
    is_picture(name)
        || is_table(name)
        || ["metrics.csv", "timings.csv", "dataset.json", "model.json", "provenance.json"]
            .contains(&name)
}

fn is_picture(name: &str) -> bool {
    !name.contains('/') && Path::new(name).extension().is_some_and(|it| it == "png")
}

/// Whether a file is a CSV other than metrics and timings, such as `embedding.csv`.
fn is_table(name: &str) -> bool {
    !name.contains('/') && name.ends_with(".csv") && !RESERVED.contains(&name)
}

/// Writes the files of a trial. Returns name and text of those that no artifact can reproduce.
pub(super) fn write_trial(
    folder: &Path,
    (plan, done, sources): (&Plan, &[Done], &Artifacts),
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
                let mut rows = parsed(text.as_bytes(), &folder.join(&name))?;
                put_names(&mut rows, &StageInput::of(stage));
                vec![Derived { path: name.clone().into(), bytes: rows.text().into_bytes() }]
            }
            (_, Some(artifact)) => derived(artifact, &stage.name, &StageInput::of(stage))?,
            _ => Vec::new(),
        };
        // The artifact may hold more epochs than this trial was given: other trials share it.
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

/// The CSV of a training up to and including an epoch.
fn up_to_epoch(rows: &CsvRows, epoch: usize) -> String {
    let mut rows = rows.clone();
    if let Some(at) = rows.header.iter().position(|name| name == "epoch") {
        rows.rows.retain(|row| row[at].parse::<usize>().is_ok_and(|it| it <= epoch));
    }
    rows.text()
}

/// A file of a run that is derived from an artifact.
#[derive(Debug)]
pub struct Derived {
    /// Its path below the folder of its trial.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The name of the CSV of a stage, in the folder of its trial.
pub fn metrics_name(stage: &str) -> String {
    format!("{stage}.csv")
}

/// Every file that is derived from the artifact of `stage`, whose inputs are `inputs`: its metrics first,
/// then its other tables and its pictures. A stage without metrics has none.
///
/// # Errors
/// When a file of the artifact is damaged or is not a CSV.
pub fn derived(
    artifact: &Checked,
    stage: &str,
    inputs: &[StageInput],
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

/// The text of `<stage>.csv` for a stage with this artifact: its metrics, with the names that the pipeline
/// gives to its `inputs`.
///
/// # Errors
/// When the metrics are damaged or are not a CSV.
pub fn metrics_text(artifact: &Checked, inputs: &[StageInput]) -> Result<Option<String>, Error> {
    named_text(artifact, "metrics.csv", inputs)
}

fn named_text(
    artifact: &Checked,
    name: &str,
    inputs: &[StageInput],
) -> Result<Option<String>, Error> {
    let Some(mut rows) = rows(artifact, name)? else { return Ok(None) };
    put_names(&mut rows, inputs);
    Ok(Some(rows.text()))
}

fn put_names(rows: &mut CsvRows, inputs: &[StageInput]) {
    rows.name_references(|key| inputs.iter().find(|input| input.key == key).map(StageInput::word));
}

/// The CSV called `name` in an artifact; `None` where it has no such file.
pub(super) fn rows(artifact: &Checked, name: &str) -> Result<Option<CsvRows>, Error> {
    let Some(bytes) = artifact.read(name)? else { return Ok(None) };
    Ok(Some(parsed(&bytes, &artifact.folder().join(name))?))
}

/// Reads the bytes of the CSV at `path`.
fn parsed(bytes: &[u8], path: &Path) -> Result<CsvRows, Error> {
    let malformed = |reason: String| Error::Malformed { path: path.to_owned(), reason };
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
    CsvRows::read(text).map_err(|error| malformed(error.to_string()))
}

/// The folder that holds the files of a trial: of a plain run, the folder of the run itself.
pub fn trial_folder(run: &Path, sweep: bool, trial: usize) -> PathBuf {
    if sweep { run.join(format!("trials/{trial:03}")) } else { run.to_owned() }
}
