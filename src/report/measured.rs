//! A finished run with the CSVs of all its stages in memory, for pages and pictures. It knows which variants
//! of a stage a sweep has, and what each of them measured; it draws nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::Path;

use super::csv::CsvRows;
use super::error::Error;
use super::finished::FinishedRun;
use super::record::StageRecord;
use super::scores::NUMBERING;
use crate::metrics::{Metrics, ScoreRow, TrainingRow};

/// A finished run with the numbers of all its stages.
#[derive(Debug)]
pub struct MeasuredRun {
    run: FinishedRun,
    metrics: BTreeMap<(usize, String), Metrics>,
}

impl Deref for MeasuredRun {
    type Target = FinishedRun;

    fn deref(&self) -> &FinishedRun {
        &self.run
    }
}

/// Trials in which a stage had the same settings but for its seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// The settings that distinguish it from other variants; empty when there is only one.
    pub label: String,
    /// One trial per artifact, which is one per seed.
    pub trials: Vec<usize>,
    /// Every trial that has one of these artifacts.
    every: Vec<usize>,
}

/// The names of classes in the order of their numbers; empty where they are unknown.
#[derive(Debug)]
pub struct ClassNames<'a>(Vec<Cow<'a, str>>);

impl ClassNames<'_> {
    /// The name of the class with this label, or the label itself where the name is unknown.
    pub fn name(&self, label: &str) -> String {
        let known = label.parse().ok().and_then(|at: usize| self.0.get(at));
        known.map_or(label, AsRef::as_ref).to_owned()
    }
}

impl Variant {
    /// Whether `trial` has an artifact of this variant.
    pub fn has(&self, trial: usize) -> bool {
        self.every.contains(&trial)
    }
}

impl MeasuredRun {
    /// The run in `folder`.
    ///
    /// # Errors
    /// When it has no record, or a file does not have its form.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        Self::of(FinishedRun::read(folder)?)
    }

    /// Reads the CSVs of `run`. That of each artifact is read once, as trials that share a stage share its
    /// numbers.
    ///
    /// # Errors
    /// When a file is not a CSV.
    pub fn of(run: FinishedRun) -> Result<Self, Error> {
        let mut known: BTreeMap<String, Metrics> = BTreeMap::new();
        let mut metrics = BTreeMap::new();
        for (trial, stages) in run.record.trials.iter().enumerate() {
            for stage in stages {
                let print = stage.fingerprint.map(|it| format!("{} {it}", stage.name));
                let found = match print.as_ref().and_then(|it| known.get(it)) {
                    Some(found) => Some(found.clone()),
                    None => run.read_metrics(trial, &stage.name)?,
                };
                let Some(found) = found else { continue };
                if let Some(print) = print {
                    known.entry(print).or_insert_with(|| found.clone());
                }
                metrics.insert((trial, stage.name.clone()), found);
            }
        }
        Ok(Self { run, metrics })
    }

    /// The metrics of a stage in a trial.
    pub fn metrics(&self, trial: usize, stage: &str) -> Option<&Metrics> {
        self.metrics.get(&(trial, stage.to_owned()))
    }

    /// The classes by which `stage` scored `model` on `dataset`: those that the stage of the data set lists,
    /// unless `stage` says that the model numbers its classes differently.
    pub fn classes(&self, trial: usize, stage: &str, model: &str, dataset: &str) -> ClassNames<'_> {
        // `verify` reports a table that cannot be read. Here the numbers of classes serve as their names then.
        if let Ok(Some(rows)) = self.extra(trial, stage, NUMBERING) {
            let names = numbering(&rows, model, dataset);
            if !names.is_empty() {
                return ClassNames(names.into_iter().map(Cow::Owned).collect());
            }
        }
        let Some((stage, split)) = dataset.rsplit_once('.') else { return ClassNames(Vec::new()) };
        let Some(Metrics::Facts(rows)) = self.metrics(trial, stage) else {
            return ClassNames(Vec::new());
        };
        let rows = rows.iter().filter(|row| row.split == split);
        ClassNames(rows.filter_map(|row| Some(row.metric.strip_prefix("class.")?.into())).collect())
    }

    /// The scores of a stage in a trial; none where it did not score anything.
    pub fn scores(&self, trial: usize, stage: &str) -> &[ScoreRow] {
        match self.metrics(trial, stage) {
            Some(Metrics::Scores(rows)) => rows,
            _ => &[],
        }
    }

    /// What a stage measured epoch by epoch in a trial; nothing where it did not train.
    pub fn training(&self, trial: usize, stage: &str) -> &[TrainingRow] {
        match self.metrics(trial, stage) {
            Some(Metrics::Training(rows)) => rows,
            _ => &[],
        }
    }

    /// The variants of `stage`, in the order of the trials.
    pub fn variants(&self, stage: &str) -> Vec<Variant> {
        let mut groups: Vec<(Vec<String>, Vec<usize>)> = Vec::new();
        for trial in 0..self.trials.len() {
            let labels = &self.trials[trial].labels;
            let key: Vec<String> = (0..self.axes.len())
                .filter(|at| !self.is_seed(*at))
                .map(|at| labels.get(at).map(|it| it.1.clone()).unwrap_or_default())
                .collect();
            match groups.iter_mut().find(|it| it.0 == key) {
                Some(group) => group.1.push(trial),
                None => groups.push((key, vec![trial])),
            }
        }
        let print = |trial: usize| {
            let stage = self.stage(trial, stage)?;
            stage.fingerprint.map(|it| it.to_string())
        };
        // Settings that do not affect this stage give the same artifacts, so they are one variant.
        let mut merged: Vec<(BTreeSet<String>, Vec<usize>, Vec<usize>)> = Vec::new();
        for (_, trials) in groups {
            let prints: BTreeSet<String> = trials.iter().filter_map(|it| print(*it)).collect();
            match merged.iter_mut().find(|it| !prints.is_empty() && it.0 == prints) {
                Some(same) => same.2.extend(trials),
                None => merged.push((prints, trials.clone(), trials)),
            }
        }
        let several = merged.len() > 1;
        let constant = |axis: usize, trials: &[usize]| {
            trials.iter().all(|it| {
                self.trials[*it].labels.get(axis) == self.trials[trials[0]].labels.get(axis)
            })
        };
        let all: Vec<usize> = (0..self.trials.len()).collect();
        let variants = merged
            .into_iter()
            .map(|(_, trials, every)| {
                let words = (0..self.axes.len())
                    .filter(|at| several && !self.is_seed(*at))
                    .filter(|at| constant(*at, &every) && !constant(*at, &all))
                    .map(|at| {
                        format!("{} = {}", self.axis(at), self.trials[every[0]].labels[at].1)
                    });
                let label = words.collect::<Vec<_>>().join(", ");
                let mut seen = BTreeSet::new();
                let trials =
                    trials.into_iter().filter(|it| print(*it).is_none_or(|it| seen.insert(it)));
                Variant { label, trials: trials.collect(), every }
            })
            .collect();
        self.told_apart(variants)
    }

    /// `variants` with labels that differ: where settings do not tell some of them apart, their first trials do.
    fn told_apart(&self, mut variants: Vec<Variant>) -> Vec<Variant> {
        let labels: Vec<String> = variants.iter().map(|it| it.label.clone()).collect();
        for variant in &mut variants {
            if labels.iter().filter(|it| **it == variant.label).count() < 2 {
                continue;
            }
            let Some(first) = variant.every.first() else { continue };
            let gap = if variant.label.is_empty() { "" } else { ", " };
            variant.label += &format!("{gap}trial {}", self.trials[*first].name);
        }
        variants
    }

    /// The variants of `model`, each with one trial per seed whose `stage` scored it. Settings that do not
    /// affect the model do not count, and a trial that failed later still counts.
    pub fn scored(&self, stage: &str, model: &str) -> Vec<Variant> {
        if !self.stages.iter().any(|it| it.0 == model) {
            return self.variants(stage);
        }
        let mut variants = self.variants(model);
        for variant in &mut variants {
            let mut seen = BTreeSet::new();
            variant.trials.clear();
            for trial in &variant.every {
                let print = self.stage(*trial, model).and_then(|it| it.fingerprint);
                if self.metrics(*trial, stage).is_some()
                    && print.is_none_or(|it| seen.insert(it.to_string()))
                {
                    variant.trials.push(*trial);
                }
            }
        }
        variants.retain(|it| !it.trials.is_empty());
        variants
    }

    /// The models that `stage` scored, in the order of its CSV.
    pub fn models(&self, stage: &str) -> Vec<String> {
        let mut models: Vec<String> = Vec::new();
        for trial in 0..self.trials.len() {
            for row in self.scores(trial, stage) {
                if !models.contains(&row.model) {
                    models.push(row.model.clone());
                }
            }
        }
        models
    }

    /// The tasks of `stage`, each once, with the first trial that has it.
    pub fn tasks(&self, stage: &str) -> Vec<(usize, &StageRecord)> {
        let mut seen = BTreeSet::new();
        (0..self.record.trials.len())
            .filter_map(|trial| Some((trial, self.stage(trial, stage)?)))
            .filter(|(_, it)| it.fingerprint.is_none_or(|print| seen.insert(print.to_string())))
            .collect()
    }
}

/// The names of classes in a [`NUMBERING`] of `model` on `dataset`: those of the model, or those of the data
/// set where the model has only numbers.
fn numbering(rows: &CsvRows, model: &str, dataset: &str) -> Vec<String> {
    let name = |row: &Vec<String>| match row.as_slice() {
        [of, on, class, here, there, _] if of == model && on == dataset => {
            let nameless = here == class && !there.is_empty();
            Some(if nameless { there.clone() } else { here.clone() })
        }
        _ => None,
    };
    rows.rows.iter().filter_map(name).collect()
}

/// Every value among `metrics` with the words that name it, such as a split and a metric.
pub fn named_values(metrics: &Metrics) -> Vec<(Vec<&str>, f64)> {
    match metrics {
        Metrics::None => Vec::new(),
        Metrics::Facts(rows) => {
            rows.iter().map(|it| (vec![it.split.as_str(), &it.metric], it.value)).collect()
        }
        Metrics::Layers(rows) => {
            rows.iter().map(|it| (vec![it.layer.as_str(), &it.metric], it.value)).collect()
        }
        Metrics::Training(rows) => {
            rows.iter().map(|it| (vec![it.split.word(), &it.metric], it.value)).collect()
        }
        Metrics::Scores(rows) => rows
            .iter()
            .map(|it| (vec![it.model.as_str(), &it.dataset, &it.metric], it.value))
            .collect(),
    }
}
