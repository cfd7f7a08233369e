//! `run.json`, the record of a run: what was done, by which program, from which inputs. It says everything
//! that later readers need, so that none of them resolves the pipeline again. Only the form of the file is
//! known here; [`super::finished`] reads a whole run.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::Error;
use crate::config::sweep::{PairKeys, Select, SelectBy};
use crate::config::{Reference, Word};
use crate::console::Lost;
use crate::digest::{Content, Fingerprint};
use crate::exec::{Ending, RunEnding};
use crate::metrics::TrainingSplit;
use crate::metrics::label_free::LabelFreeScore;
use crate::metrics::label_free::diversity::LEAST_SHARE;
use crate::plan::pipeline::PlannedStage;
use crate::plan::table_spec::TableSpec;
use crate::system;

/// The record of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// A digest of the names and fingerprints of all stages. It comes first because it is often read alone.
    pub id: String,
    /// Where, when and by which program the run was made.
    pub provenance: RunProvenance,
    /// The tables of the run with all their settings. Records of older runners have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableSpec>,
    /// How `[sweep.select]` selects trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// The keys that take the domains of a pair, where the pipeline sweeps pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairKeys>,
    /// The axis values of every trial of a sweep. They are recorded because a search draws them by results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<IndexMap<String, toml::Value>>,
    /// Digests of those files of a sweep that no artifact can reproduce: how its trials ended, and the
    /// metrics of trials that ended early.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub files: IndexMap<String, String>,
    /// The stages of every trial, in the order of the pipeline file.
    pub trials: Vec<Vec<StageRecord>>,
}

/// Where, when and by which program a run was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunProvenance {
    /// `pipeline.name`.
    pub pipeline: String,
    /// The resolved pipeline with its sweep, as TOML. It is enough to run everything again.
    pub text: String,
    /// Whether the trials of its `[sweep]` were run, and not the pipeline alone.
    pub sweep: bool,
    /// The pipeline file, as it was named on the command line.
    pub file: String,
    /// The folder that relative paths in the pipeline start from.
    pub folder: String,
    /// The version of the runner.
    pub runner: String,
    /// The command line.
    pub command: Vec<String>,
    /// The commit of the Git repository that the pipeline file lies in, if there is one.
    pub git_commit: Option<String>,
    /// Whether that repository had uncommitted changes.
    pub git_dirty: Option<bool>,
    /// The device that held the tensors.
    pub device: String,
    /// The numeric backend, which decides the last bits of every number.
    pub backend: String,
    /// The instruction set that the CPU kernels used.
    pub instruction_set: String,
    /// The processor architecture.
    pub architecture: String,
    /// The number of threads.
    pub threads: usize,
    /// The name of the machine.
    pub host: Option<String>,
    /// When the run began, in RFC 3339.
    pub start: String,
    /// When the run ended, in RFC 3339.
    pub end: String,
    /// What could not be written to standard output and standard error: the user's log has gaps there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_output: Vec<Lost>,
}

/// How the trials of a sweep are selected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The stage whose metric decides.
    pub stage: String,
    /// The metric: `split.metric` of a training, or a metric of a stage that scores; or `auto`.
    pub by: String,
    /// The model, where the stage scores several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The split, where the stage scores several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// `max` or `min`, where the pipeline says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Keys for each of whose values a best trial is selected.
    pub per: Vec<String>,
    /// Whether the metric uses target labels. Every view of the numbers must say so.
    pub oracle: bool,
}

/// One input of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageInput {
    /// The key that names the input, with an index in an array: `train`, `models.0`, `method.target`.
    pub key: String,
    /// The stage that builds it.
    pub stage: String,
    /// The split, where the input is one split of a data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Whether it holds labels of a target, by which the stage measures and which decide nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oracle: bool,
}

/// A model and a split that it is scored on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelOnSplit {
    /// The stage that builds the model.
    pub model: String,
    /// The split: `target.test`.
    pub dataset: String,
}

/// How a stage of a trial ended, and what it read and built.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageRecord {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its inputs, in the order of its settings. Records of older runners leave them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<StageInput>,
    /// The stages that it waits for without reading them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// What it scores, or would have scored had it run, in the order of its CSV.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<ModelOnSplit>,
    /// How it ended.
    pub state: Ending,
    /// The name of its artifact, which is known once all its inputs are built.
    pub fingerprint: Option<Fingerprint>,
    /// The digest of the data of its artifact.
    pub content: Option<Content>,
    /// The digest of the files outside the store that it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<String>,
    /// How long it took in this run, in seconds.
    pub seconds: f64,
    /// Of a cached stage, how long the runs took that built its artifact, in seconds; of an artifact of an earlier version
    /// it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_in: Option<f64>,
    /// Every setting that its fingerprint covers.
    pub settings: Value,
    /// How many classes its model tells apart, where it measured how diverse the predicted ones are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// Why it failed: `message` and `help`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// The stage that it waited for and that has no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_for: Option<String>,
    /// Title, licence, citation and source of its data, where it came from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl Selection {
    /// The selection that `[sweep.select]` asks for.
    pub fn new(select: &Select) -> Self {
        let mode = select.rises.map(|rises| if rises { "max" } else { "min" });
        Self {
            stage: select.stage.clone(),
            by: select.by.text().to_owned(),
            model: select.model.clone(),
            on: select.on.clone(),
            mode: mode.map(str::to_owned),
            per: select.per.clone(),
            oracle: select.oracle,
        }
    }
}

/// In the words of a table's notes: `selected by validate.accuracy of dann (max), a best one for each pipeline.seed`.
impl fmt::Display for Selection {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        write!(to, "selected by {} of {}", self.by, self.stage)?;
        if SelectBy::of(&self.by) == SelectBy::Auto {
            write!(
                to,
                " (validate.accuracy of those whose predicted classes do not collapse, with a diversity of at \
                 least {LEAST_SHARE} ln K on the target; ties by class_ami)"
            )?;
        }
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

impl StageInput {
    /// All inputs of `stage`.
    pub fn of(planned: &PlannedStage) -> Vec<Self> {
        let one = |Reference { key, stage, split, .. }: &Reference| Self {
            key: key.clone(),
            stage: stage.clone(),
            split: split.clone(),
            oracle: planned.oracles.contains(key),
        };
        planned.inputs.iter().map(one).collect()
    }

    /// The input as a pipeline names it: `mnist` or `mnist.train`.
    pub fn text(&self) -> String {
        match &self.split {
            Some(split) => format!("{}.{split}", self.stage),
            None => self.stage.clone(),
        }
    }

    /// What stands for it in the rows of metrics: its name, with a word before it where it is one of several splits that a
    /// training validates on and that decide nothing.
    pub fn word(&self) -> String {
        TrainingSplit::word_of(&self.key, &self.text(), self.oracle)
    }
}

impl ModelOnSplit {
    /// All pairs that `stage` scores.
    pub fn of(stage: &PlannedStage) -> Vec<Self> {
        let pair = |(model, dataset)| Self { model, dataset };
        stage.scored().into_iter().map(pair).collect()
    }
}

impl StageRecord {
    /// The scores of the target that its training measures without labels.
    pub fn target_scores(&self) -> Vec<LabelFreeScore> {
        let words = self.settings.get("target_scores").and_then(|it| it.get("metrics")?.as_array());
        let words = words.into_iter().flatten();
        words.filter_map(|word| LabelFreeScore::named(word.as_str()?)).collect()
    }

    /// How long the work took that it stands for, in seconds: of a cached stage, in the run that built its artifact, where
    /// that is known.
    pub fn work(&self) -> f64 {
        self.built_in.unwrap_or(self.seconds)
    }

    /// The message of its error, if it failed.
    pub fn message(&self) -> Option<&str> {
        self.error.as_ref()?.get("message")?.as_str()
    }
}

/// The name of the file.
pub const NAME: &str = "run.json";

impl Record {
    /// Reads the record of the run in `folder`.
    ///
    /// # Errors
    /// When the file cannot be read or is not the record of a run.
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

    /// Its stages, one that trials share only once: those of one fingerprint were a single task.
    pub fn tasks(&self) -> impl Iterator<Item = &StageRecord> {
        let mut seen = HashSet::new();
        let is_new = move |it: &&StageRecord| it.fingerprint.is_none_or(|print| seen.insert(print));
        self.trials.iter().flatten().filter(is_new)
    }

    /// The record as the text of its file.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a record is plain data") + "\n"
    }

    /// Adds the output that was lost to the record that is already written in `folder`.
    ///
    /// # Errors
    /// When the record cannot be read or written.
    pub fn add_lost_output(folder: &Path, lost: Vec<Lost>) -> Result<(), Error> {
        let mut record = Self::read(folder)?;
        record.provenance.lost_output = lost;
        let path = folder.join(NAME);
        system::write_file(&path, record.text().as_bytes())
            .map_err(|source| Error::Io { path, source })
    }

    /// How the run ended as a whole.
    pub fn state(&self) -> RunEnding {
        RunEnding::of(self.trials.iter().flatten().map(|stage| stage.state))
    }

    /// Every artifact that the run built or used.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> + '_ {
        self.trials.iter().flatten().filter_map(|stage| stage.fingerprint)
    }

    /// The stage called `name` of trial `trial`.
    pub fn stage(&self, trial: usize, name: &str) -> Option<&StageRecord> {
        self.trials.get(trial)?.iter().find(|stage| stage.name == name)
    }
}
