//! The scores of a finished run: what its stages scored in every trial, and what they should have scored.
//! Nothing is computed here.

use std::borrow::Cow;
use std::collections::BTreeSet;

use indexmap::IndexSet;

use super::error::Error;
use super::finished::FinishedRun;
use super::ranking::RankedModel;
use super::record::{Record, StageRecord};
use super::target_labels::dependents;
use super::trial_score::{ScoredPair, TrialScore};
use super::trials::TrialResult;
use crate::config::sweep::{PAIR, PairKeys};
use crate::metrics::Metrics;
use crate::metrics::label_free::diversity::LEAST_SHARE;
use crate::plan::table_spec::TableSpec;

/// The table of a scoring stage for models that number classes differently than a data set does.
pub(super) const NUMBERING: &str = "classes.csv";

/// Everything that the tables of a run can show.
#[derive(Debug, Clone, Default)]
pub struct RunScores<'a> {
    /// In the order of the trials, the stages and the files.
    pub scores: Vec<TrialScore>,
    /// In the order of `trials.csv`.
    pub trials: Cow<'a, [TrialResult]>,
    /// The records of the stages of each trial.
    pub stages: &'a [Vec<StageRecord>],
    /// The pairs that trials score or should have scored, in the order of the CSVs.
    pub pairs: IndexSet<ScoredPair>,
    /// The swept keys; none for a plain run.
    pub axes: Vec<String>,
    /// The keys that take the domains of a pair. The pair is one of the labels of a trial.
    pub domains: Option<PairKeys>,
    /// How many pairs the file names. After `--set`, trials may be of fewer.
    pub all_pairs: Option<usize>,
    /// Whether the run is a sweep.
    pub sweep: bool,
    /// Whether target labels selected the trials.
    pub oracle: bool,
    /// How the trials were selected, in words.
    pub selection: Option<String>,
    /// Pairs whose classes could only be matched by their numbers.
    pub by_number: IndexSet<ScoredPair>,
    /// Pairs whose model numbers its classes differently than the data set.
    pub renumbered: IndexSet<ScoredPair>,
    /// The stages of each trial that depend on a program which saw labels of the target.
    pub label_users: Vec<BTreeSet<String>>,
    /// Models with scores that need no labels of the target, in the order of the trials and the stages.
    pub models: Vec<RankedModel>,
    /// Why models are not among them whose training left a CSV that cannot be read; one sentence each.
    pub unread: Vec<String>,
}

/// How many pairs `[sweep.pairs]` of a pipeline names.
fn all_pairs(pipeline: &toml::Table) -> Option<usize> {
    let pairs = pipeline.get("sweep")?.get("pairs")?;
    let count = |key: &str| Some(pairs.get(key)?.as_array()?.len());
    count("list").or_else(|| count("of").map(|of| of * (of - 1)))
}

impl<'a> RunScores<'a> {
    /// The scores of `run`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(run: &'a FinishedRun) -> Result<Self, Error> {
        let mut trials = Cow::Borrowed(run.trials.as_slice());
        if !run.is_sweep() {
            // A table may be about a swept key. A plain run has its setting instead.
            let labels = settings(&run.pipeline, &run.record);
            trials.to_mut().iter_mut().for_each(|trial| trial.labels.clone_from(&labels));
        }
        let domains = run.record.pairs.clone();
        if domains.is_some() {
            for trial in trials.to_mut() {
                let pair = trial.pair(domains.as_ref());
                trial.labels.extend(pair.map(|pair| (PAIR.to_owned(), pair)));
            }
        }
        let (models, unread) = RankedModel::all(run)?;
        let mut all = Self {
            trials,
            stages: &run.record.trials,
            axes: run.axes.clone(),
            domains,
            all_pairs: all_pairs(&run.pipeline),
            sweep: run.is_sweep(),
            oracle: run.is_oracle(),
            selection: run.record.selection.as_ref().map(ToString::to_string),
            label_users: run.record.trials.iter().map(|it| dependents(it)).collect(),
            models,
            unread,
            ..Self::default()
        };
        for (number, stages) in run.record.trials.iter().enumerate() {
            for stage in stages {
                all.pairs.extend(stage.scores.iter().map(|pair| ScoredPair {
                    stage: stage.name.clone(),
                    model: pair.model.clone(),
                    dataset: pair.dataset.clone(),
                }));
                // Where it is unknown what a stage scores, its CSV shows it.
                if !stage.scores.is_empty() || !run.inputs_known {
                    all.collect(run, number, &stage.name)?;
                }
            }
        }
        Ok(all)
    }

    /// The record of a stage of a trial.
    pub fn stage(&self, trial: usize, name: &str) -> Option<&'a StageRecord> {
        self.stages.get(trial)?.iter().find(|stage| stage.name == name)
    }

    /// The value of `key` for a scored pair: a fact of the score, or a label of its trial.
    pub fn fact<'b>(&'b self, key: &str, trial: usize, pair: &'b ScoredPair) -> Option<&'b str> {
        match key {
            "model" => Some(&pair.model),
            "stage" => Some(&pair.stage),
            "dataset" => Some(&pair.dataset),
            _ => self.trials[trial].label(key),
        }
    }

    /// Whether a model, or the data set that it is scored on, depends on a program which saw labels of the target.
    pub fn saw_labels(&self, trial: usize, model: &str, dataset: &str) -> bool {
        let images = dataset.split_once('.').map_or(dataset, |it| it.0);
        let users = self.label_users.get(trial);
        users.is_some_and(|users| users.contains(model) || users.contains(images))
    }

    /// Whether a score is of the target, and of a model whose predicted classes collapse there.
    pub fn is_collapsed(&self, score: &TrialScore) -> bool {
        let of = |it: &&RankedModel| it.trial == score.trial && it.model == score.model;
        let model = self.models.iter().find(of);
        model.is_some_and(|it| {
            it.collapsed() == Some(true) && it.targets.contains_key(&score.dataset)
        })
    }

    /// A warning where the predicted classes of models of selected trials collapse on the target.
    pub fn collapse_of_selected(&self) -> Option<String> {
        let is_collapsed = |it: &&RankedModel| {
            let trial = &self.trials[it.trial];
            it.collapsed() == Some(true) && trial.selected == Some(true)
        };
        let name = |it: &RankedModel| format!("`{}` of {}", it.model, self.trials[it.trial].name);
        let named: Vec<String> = self.models.iter().filter(is_collapsed).map(name).collect();
        (!named.is_empty()).then(|| {
            format!(
                "the predicted classes of models of selected trials collapse on the target, with a diversity below \
                 {LEAST_SHARE} ln K: {}",
                named.join(", ")
            )
        })
    }

    fn collect(&mut self, run: &FinishedRun, trial: usize, stage: &str) -> Result<(), Error> {
        let Some(metrics) = run.read_metrics(trial, stage)? else { return Ok(()) };
        let beside = run.extra(trial, stage, NUMBERING)?;
        for row in beside.unwrap_or_default().rows {
            let [model, dataset, _, _, _, by] = row.as_slice() else { continue };
            let (model, dataset) = (model.clone(), dataset.clone());
            let pair = ScoredPair { stage: stage.to_owned(), model, dataset };
            let pairs = if by == "number" { &mut self.by_number } else { &mut self.renumbered };
            pairs.insert(pair);
        }
        let Metrics::Scores(rows) = metrics else { return Ok(()) };
        self.scores.extend(TrialScore::all(trial, stage, &rows));
        Ok(())
    }
}

/// The facts and keys by which a table places scores.
fn named(spec: &TableSpec) -> Vec<&String> {
    spec.columns.0.iter().chain([&spec.rows]).chain(spec.only.keys()).collect()
}

/// The settings of a plain run that its tables name, and those that are a pair of domains in a sweep.
fn settings(pipeline: &toml::Table, record: &Record) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let domains = record.pairs.iter().flat_map(|it| [&it.source, &it.target]);
    for name in record.tables.iter().flat_map(named).chain(domains) {
        let mut parts = name.split('.');
        let first = parts.next().and_then(|part| pipeline.get(part));
        let value = parts.try_fold(first, |value, part| Some(value?.get(part)));
        let text = match value.flatten() {
            Some(toml::Value::String(text)) => text.clone(),
            Some(value) if !value.is_table() => value.to_string(),
            _ => continue,
        };
        if !found.iter().any(|(key, _)| key == name) {
            found.push((name.clone(), text));
        }
    }
    found
}
