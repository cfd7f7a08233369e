//! `run.json`, the record of a run: what was done, by what, from what. Reads and writes it.

use std::fmt;
use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::Error;
use super::trials::TrialState;
use crate::config::Reference;
use crate::config::sweep::Goal;
use crate::console::Lost;
use crate::plan::fingerprint::{Content, Fingerprint};
use crate::plan::pipeline::PlannedStage;
use crate::plan::table_spec::TableSpec;
use crate::system;

/// The record of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Digest of the names and fingerprints of all stages; comes first, as it is read alone.
    pub id: String,
    /// Where, when and by what it was made.
    pub provenance: Provenance,
    /// The tables of the run, with every setting of theirs. The records of older runners have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableSpec>,
    /// How `[sweep.select]` selects trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// Of a sweep, the values of every trial's axes: those of a search follow from results alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<IndexMap<String, toml::Value>>,
    /// Digests of the files of a sweep that follow from no artifact: what became of its trials, and what
    /// was learned by those that ended early.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub files: IndexMap<String, String>,
    /// The stages of every trial, in the order of the file.
    pub trials: Vec<Vec<StageRecord>>,
}

/// Where, when and by what a run was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Provenance {
    /// `pipeline.name`.
    pub pipeline: String,
    /// The resolved pipeline with its sweep, as TOML: enough to run it again.
    pub text: String,
    /// Whether all trials of its `[sweep]` were run.
    pub sweep: bool,
    /// The file that was given, as it was named.
    pub file: String,
    /// The folder that relative paths in it start from.
    pub folder: String,
    /// Version of the runner.
    pub runner: String,
    /// The command line.
    pub command: Vec<String>,
    /// Commit of the repository that the file lies in, if it does.
    pub git_commit: Option<String>,
    /// Whether that had changes.
    pub git_dirty: Option<bool>,
    /// Where tensors were.
    pub device: String,
    /// What decides the last bits of a number besides the settings.
    pub backend: String,
    /// The instructions that the CPU's kernels used.
    pub instruction_set: String,
    /// The processor's family.
    pub architecture: String,
    /// Threads.
    pub threads: usize,
    /// The machine's name.
    pub host: Option<String>,
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// What standard output and standard error did not take: the log of the run has gaps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_output: Vec<Lost>,
}

/// How trials are selected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The stage that measures them.
    pub stage: String,
    /// What it measures: `split.metric` of a training, or a metric of a stage that scores.
    pub by: String,
    /// Of a stage that scores: the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Of a stage that scores: the split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// `max` or `min`, where the file says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Keys whose values each have a best trial of their own.
    pub per: Vec<String>,
    /// Whether it goes by labels of the target, which every view must say.
    pub oracle: bool,
}

/// What a stage reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// The key that names it, with an index in an array: `train`, `models.0`, `method.target`.
    pub key: String,
    /// The stage that it comes from.
    pub stage: String,
    /// The split, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
}

/// A model on a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelOnSplit {
    /// The stage that the model comes from.
    pub model: String,
    /// The split: `target.test`.
    pub dataset: String,
}

/// What became of a stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageRecord {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What it reads, in the order of its settings. Records of older runners do not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputRecord>,
    /// The stages that it comes after without reading them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// What it scores, or would have scored, in the order of its CSV.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<ModelOnSplit>,
    /// `cached`, `ran`, `failed`, `interrupted`, `skipped` or `pruned`.
    pub state: String,
    /// The name of its artifact, once its inputs were there.
    pub fingerprint: Option<Fingerprint>,
    /// The digest of its artifact's data.
    pub content: Option<Content>,
    /// Digest of files outside the store that it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<String>,
    /// Seconds.
    pub seconds: f64,
    /// Every setting that counts.
    pub settings: Value,
    /// Why it failed: `message` and `help`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// The stage without a result that it waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_for: Option<String>,
    /// Title, licence, citation and source of its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl Selection {
    /// That of `[sweep.select]`.
    pub fn new(goal: &Goal) -> Self {
        let mode = goal.rises.map(|rises| if rises { "max" } else { "min" });
        Self {
            stage: goal.stage.clone(),
            by: goal.by.clone(),
            model: goal.model.clone(),
            on: goal.on.clone(),
            mode: mode.map(str::to_owned),
            per: goal.per.clone(),
            oracle: goal.oracle,
        }
    }
}

/// As notes have it: `selected by validate.accuracy of dann (max), a best one for each pipeline.seed`.
impl fmt::Display for Selection {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        write!(to, "selected by {} of {}", self.by, self.stage)?;
        let facts = [&self.model, &self.on, &self.mode].into_iter().flatten();
        let facts: Vec<&str> = facts.map(String::as_str).collect();
        if !facts.is_empty() {
            write!(to, " ({})", facts.join(", "))?;
        }
        if !self.per.is_empty() {
            write!(to, ", a best one for each {}", self.per.join(", "))?;
        }
        Ok(())
    }
}

impl InputRecord {
    /// Everything that `stage` reads.
    pub fn of(stage: &PlannedStage) -> Vec<Self> {
        let one = |Reference { key, stage, split, .. }: &Reference| Self {
            key: key.clone(),
            stage: stage.clone(),
            split: split.clone(),
        };
        stage.inputs.iter().map(one).collect()
    }

    /// As a pipeline names it: `mnist`, `mnist.train`.
    pub fn text(&self) -> String {
        match &self.split {
            Some(split) => format!("{}.{split}", self.stage),
            None => self.stage.clone(),
        }
    }
}

impl ModelOnSplit {
    /// Everything that `stage` scores.
    pub fn of(stage: &PlannedStage) -> Vec<Self> {
        let pair = |(model, dataset)| Self { model, dataset };
        stage.scored().into_iter().map(pair).collect()
    }
}

impl StageRecord {
    /// Why it failed, if it did.
    pub fn message(&self) -> Option<&str> {
        self.error.as_ref()?.get("message")?.as_str()
    }
}

/// The record's name.
pub const NAME: &str = "run.json";

impl Record {
    /// The record of the run in `folder`.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(NAME);
        let text =
            system::read_file(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        serde_json::from_slice(&text).map_err(|error| {
            let reason = match text.is_empty() {
                true => "it is empty, where the record of a run should be".to_owned(),
                false => format!("it is not the record of a run: {error}"),
            };
            Error::Malformed { path, reason }
        })
    }

    /// As its file has it.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a record is plain data") + "\n"
    }

    /// Puts what output was lost into the record of the run in `folder`, which is written.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn add_lost_output(folder: &Path, lost: Vec<Lost>) -> Result<(), Error> {
        let mut record = Self::read(folder)?;
        record.provenance.lost_output = lost;
        let path = folder.join(NAME);
        system::write_file(&path, record.text().as_bytes())
            .map_err(|source| Error::Io { path, source })
    }

    /// How the run ended as a whole: done, failed or interrupted.
    pub fn state(&self) -> TrialState {
        let any = |word: &str| self.trials.iter().flatten().any(|stage| stage.state == word);
        if any("failed") {
            TrialState::Failed
        } else if any("interrupted") || any("skipped") {
            TrialState::Interrupted
        } else {
            TrialState::Done
        }
    }

    /// Every artifact that the run made or used.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> + '_ {
        self.trials.iter().flatten().filter_map(|stage| stage.fingerprint)
    }

    /// The stage called `name` of trial `trial`.
    pub fn stage(&self, trial: usize, name: &str) -> Option<&StageRecord> {
        self.trials.get(trial)?.iter().find(|stage| stage.name == name)
    }
}
