//! The one reader of a finished run. Tables, pages, pictures, comparisons and checks all get its record and
//! its trials from here. It resolves no pipeline and computes no number. What is missing in the folder is
//! empty, so that half a run can still be looked at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::csv::CsvRows;
use super::error::{Error, read_rows, read_text};
use super::older::{self, Completed};
use super::record::{self, Record, StageRecord};
use super::trial_files::{metrics_name, trial_folder};
use super::trials::{self, TrialResult, TrialState};
use crate::config::node::label_text;
use crate::exec::RunEnding;
use crate::metrics::{MalformedRows, Metrics};

/// A finished run.
#[derive(Debug)]
pub struct FinishedRun {
    /// Its folder.
    pub folder: PathBuf,
    /// Its record. What an older runner left out of it has been added.
    pub record: Record,
    /// The resolved pipeline that the record keeps as text.
    pub pipeline: toml::Table,
    /// The dotted keys that its sweep changes.
    pub axes: Vec<String>,
    /// Its trials. A plain run has a single one without labels.
    pub trials: Vec<TrialResult>,
    /// The names of its stages, each with the positions of the stages that it waits for.
    pub stages: Vec<(String, Vec<usize>)>,
    /// Reasons to doubt its numbers, which must be shown beside them; one sentence each.
    pub doubts: Vec<String>,
    /// Whether it is known what each stage reads and scores. Only for some runs of older runners it is not.
    pub inputs_known: bool,
}

impl FinishedRun {
    /// Reads the run in `folder`.
    ///
    /// # Errors
    /// When it has no record, or a file does not have its form.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        Self::of(folder, Record::read(folder)?)
    }

    /// Reads the run in `folder`, whose record is `record`.
    ///
    /// # Errors
    /// When a file does not have its form.
    pub fn of(folder: &Path, mut record: Record) -> Result<Self, Error> {
        let Completed { doubts, inputs: inputs_known } = older::complete(&mut record, folder)?;
        let pipeline = toml::from_str(&record.provenance.text).map_err(|error| {
            let path = folder.join(record::NAME);
            Error::Malformed { path, reason: format!("its pipeline is no TOML: {error}") }
        })?;
        let (axes, trials) = read_trials(folder, &record)?;
        let stages = stages(&record);
        let folder = folder.to_owned();
        Ok(Self { folder, record, pipeline, axes, trials, stages, doubts, inputs_known })
    }

    /// Whether it ran the trials of a sweep.
    pub fn is_sweep(&self) -> bool {
        self.record.provenance.sweep
    }

    /// The folder that holds the files of a trial.
    pub fn trial_folder(&self, trial: usize) -> PathBuf {
        trial_folder(&self.folder, self.is_sweep(), trial)
    }

    /// Reads the CSV of a stage in a trial; `None` when there is none.
    ///
    /// # Errors
    /// When the file is not a CSV, or a cell of it is not of its column.
    pub fn read_metrics(&self, trial: usize, stage: &str) -> Result<Option<Metrics>, Error> {
        let path = self.trial_folder(trial).join(metrics_name(stage));
        let Some(text) = read_text(&path)? else { return Ok(None) };
        let reason = |error: MalformedRows| error.to_string();
        let malformed = |reason| Error::Malformed { path, reason };
        Metrics::read(&text).map(Some).map_err(reason).map_err(malformed)
    }

    /// Another CSV of a stage in a trial, such as `embedding.csv`; `None` when there is none.
    ///
    /// # Errors
    /// When the file is not a CSV.
    pub fn extra(&self, trial: usize, stage: &str, file: &str) -> Result<Option<CsvRows>, Error> {
        read_rows(&self.trial_folder(trial).join(stage).join(file))
    }

    /// The metric of its first table.
    pub fn metric(&self) -> &str {
        self.record.tables.first().map_or("", |table| &table.value)
    }

    /// What its page is about: the title of the pipeline, or the caption of its first table that has one, or the name of
    /// the pipeline. A title that is swept is that of a trial.
    pub fn title(&self) -> &str {
        let swept = self.axes.iter().any(|key| key == "pipeline.title");
        let title = self.pipeline.get("pipeline").and_then(|it| it.get("title")?.as_str());
        let captions = self.record.tables.iter().filter_map(|table| table.caption.as_deref());
        let title = title.filter(|_| !swept).into_iter().chain(captions).next();
        title.unwrap_or(&self.record.provenance.pipeline)
    }

    /// Whether its trials were selected by target labels.
    pub fn is_oracle(&self) -> bool {
        self.record.selection.as_ref().is_some_and(|it| it.oracle)
    }

    /// The record of a stage of a trial.
    pub fn stage(&self, trial: usize, name: &str) -> Option<&StageRecord> {
        self.record.stage(trial, name)
    }

    /// The trial whose pictures stand for all trials: the selected one, or else the first that is done.
    pub fn shown(&self) -> usize {
        let of = |which: &dyn Fn(&TrialResult) -> bool| self.trials.iter().position(which);
        let selected = of(&|it| it.selected == Some(true));
        selected.or_else(|| of(&|it| it.state == TrialState::Done)).unwrap_or(0)
    }

    /// Whether an axis is a seed.
    pub fn is_seed(&self, axis: usize) -> bool {
        self.axes[axis].rsplit('.').next() == Some("seed")
    }

    /// A short name for an axis: its last two words, unless another axis ends in the same words.
    pub fn axis(&self, at: usize) -> &str {
        let short = |key: &'_ str| -> usize {
            let whole = brief(key).len();
            let mut dots = key.rmatch_indices('.').map(|it| key.len() - it.0 - 1);
            dots.nth(1).map_or(whole, |it| it.min(whole))
        };
        let key = self.axes[at].as_str();
        let tail = &key[key.len() - short(key)..];
        let dotted = format!(".{tail}");
        let alone = self.axes.iter().filter(|it| *it == tail || it.ends_with(&dotted)).count() == 1;
        if alone { tail } else { brief(key) }
    }

    /// The settings of a trial in words. Seeds are included only with `seeds`.
    pub fn label(&self, trial: usize, seeds: bool) -> String {
        let named = self.trials[trial].labels.iter().enumerate();
        let words: Vec<String> = named
            .filter(|(at, _)| seeds || !self.is_seed(*at))
            .map(|(at, (_, value))| format!("{} = {value}", self.axis(at)))
            .collect();
        words.join(", ")
    }
}

/// A dotted key without its first word where that is `stages` or `pipeline`.
fn brief(key: &str) -> &str {
    let short = key.strip_prefix("stages.").or_else(|| key.strip_prefix("pipeline."));
    short.unwrap_or(key)
}

/// The axes and the trials: those of `trials.csv` in a sweep, or the single trial of a plain run.
fn read_trials(folder: &Path, record: &Record) -> Result<(Vec<String>, Vec<TrialResult>), Error> {
    let path = folder.join("trials.csv");
    let rows = if record.provenance.sweep { read_rows(&path)? } else { None };
    let count = record.trials.len();
    if let Some(rows) = rows {
        let found = trials::read(&rows).and_then(|found| match found.1.len() {
            known if known == count => Ok(found),
            known => Err(format!("it has {known} trials, and the record of the run {count}")),
        });
        return found.map_err(|reason| Error::Malformed { path, reason });
    }
    let trial = |number: usize| TrialResult {
        name: if record.provenance.sweep { format!("{number:03}") } else { String::new() },
        labels: match record.values.get(number) {
            Some(values) => {
                values.iter().map(|(key, value)| (key.clone(), label_text(value))).collect()
            }
            None => Vec::new(),
        },
        state: match record.state() {
            RunEnding::Done => TrialState::Done,
            RunEnding::Interrupted => TrialState::Interrupted,
            RunEnding::Failed => TrialState::Failed,
        },
        objective: None,
        selected: None,
        reason: String::new(),
        collapsed: None,
    };
    let axes = record.values.first().map(|it| it.keys().cloned().collect());
    Ok((axes.unwrap_or_default(), (0..count).map(trial).collect()))
}

/// The stages of the first trial, each with the positions of the stages that it waits for.
fn stages(record: &Record) -> Vec<(String, Vec<usize>)> {
    let Some(all) = record.trials.first() else { return Vec::new() };
    let place = |name: &String| all.iter().position(|it| it.name == *name);
    let needs = |stage: &StageRecord| {
        let inputs = stage.inputs.iter().map(|it| &it.stage);
        let found: BTreeSet<usize> = inputs.chain(&stage.after).filter_map(place).collect();
        (stage.name.clone(), found.into_iter().collect())
    };
    all.iter().map(needs).collect()
}
