//! How well scores that need no labels of the target order trained models: the weighted Spearman correlation of each
//! with the accuracy on the target, for every method and over all of them (Musgrave et al. 2022, "Three New
//! Validators and a Large-Scale Benchmark Ranking for Unsupervised Domain Adaptation"). It is computed from recorded
//! numbers alone, and selects nothing.

use std::collections::{HashMap, HashSet};

use super::scores::RunScores;
use super::trial_score::TrialScore;
use crate::metrics::weighted_spearman::weighted_spearman;

pub mod file;
mod models;

pub use models::{RankedBy, RankedModel, Task};

/// Fewer models than this are not ranked.
pub const LEAST_MODELS: usize = 3;

/// The ranking by the accuracy on one split of a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// The split.
    pub dataset: String,
    /// What tells its models from those of the other rankings on this split; empty for the only one.
    pub task: Task,
    /// The models of each method that has at least [`LEAST_MODELS`], in the order of the trials; then all of them,
    /// where there is more than one method.
    pub groups: Vec<RankedGroup>,
}

/// Models that are ranked among each other.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedGroup {
    /// The method or the stage that they are of, or `all` (`all models`, where one of these has that name).
    pub name: String,
    /// How many they are. One that trials share counts once.
    pub models: usize,
    /// Every score that at least [`LEAST_MODELS`] of them have.
    pub scores: Vec<RankedScore>,
    /// The most accurate of them, which takes labels of the target to know.
    pub oracle: RankedChoice,
}

/// How a score orders the models of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedScore {
    /// The score.
    pub by: RankedBy,
    /// How many models have it.
    pub models: usize,
    /// The correlation with the accuracy, from -1 to 1, a score of which less is better being turned. `None` where
    /// all values or all accuracies are equal, or no value is finite.
    pub correlation: Option<f64>,
    /// The model that it selects, the first of equal ones; `None` where no value is finite.
    pub chosen: Option<RankedChoice>,
    /// How many models have the value of that one.
    pub tied: usize,
}

/// A model that was selected.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedChoice {
    /// Index in [`RunScores::trials`].
    pub trial: usize,
    /// The model.
    pub model: String,
    /// The stage that scored it.
    pub stage: String,
    /// Its accuracy on the target, 0 to 1.
    pub accuracy: f64,
    /// Whether its predicted classes collapse on the target, where that is known.
    pub collapsed: Option<bool>,
}

/// A model with its accuracy on the target, and what it can be selected by.
#[derive(Debug)]
struct Rival<'a> {
    model: &'a RankedModel,
    stage: &'a str,
    accuracy: f64,
    values: Vec<(RankedBy, f64)>,
}

/// The name of the group of all models, and the one where a method or a stage has that name.
const ALL: [&str; 2] = ["all", "all models"];

impl Ranking {
    /// The rankings of a sweep, one for every split of a target and every task there that has at least
    /// [`LEAST_MODELS`] models. A plain run has none.
    pub fn all(scores: &RunScores) -> Vec<Self> {
        if !scores.sweep {
            return Vec::new();
        }
        let mut tasks: Vec<(&str, &Task)> = Vec::new();
        for (dataset, task) in scores.models.iter().flat_map(|model| &model.targets) {
            if !tasks.contains(&(dataset.as_str(), task)) {
                tasks.push((dataset.as_str(), task));
            }
        }
        let ranking = |(dataset, task): &(&str, &Task)| {
            let alone = tasks.iter().filter(|it| it.0 == *dataset).count() == 1;
            let found = Self::of(dataset, task, scores)?;
            Some(if alone { Self { task: Task::new(), ..found } } else { found })
        };
        tasks.iter().filter_map(ranking).collect()
    }

    fn of(dataset: &str, task: &Task, scores: &RunScores) -> Option<Self> {
        let rivals = rivals(dataset, task, scores);
        let rivals: Vec<&Rival> = rivals.iter().collect();
        let mut all = RankedGroup::of(ALL[0], &rivals)?;
        if all.scores.iter().all(|score| score.by == RankedBy::SourceAccuracy) {
            return None;
        }
        let mut kinds: Vec<(&str, &str)> = Vec::new();
        for kind in rivals.iter().map(|rival| rival.kind()) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let group = |kind: &(&str, &str)| {
            let own = rivals.iter().filter(|it| it.kind() == *kind);
            RankedGroup::of(&group_name(*kind, &kinds), &own.copied().collect::<Vec<&Rival>>())
        };
        let mut groups: Vec<RankedGroup> = kinds.iter().filter_map(group).collect();
        if kinds.len() > 1 {
            if groups.iter().any(|group| group.name == all.name) {
                ALL[1].clone_into(&mut all.name);
            }
            groups.push(all);
        }
        Some(Self { dataset: dataset.to_owned(), task: task.clone(), groups })
    }

    /// What tells its models from those of the other rankings on this split, in words; empty for the only one.
    pub fn task_text(&self) -> String {
        let words: Vec<String> =
            self.task.iter().map(|it| format!("{} = {}", it.0, it.1)).collect();
        words.join(", ")
    }

    /// The split and the task in words.
    pub fn on(&self) -> String {
        let task = self.task_text();
        let of = if task.is_empty() { task } else { format!(" with {task}") };
        format!("{}{of}", self.dataset)
    }

    /// Every score of any group.
    pub fn scores(&self) -> Vec<RankedBy> {
        let mut found = Vec::new();
        for by in self.groups.iter().flat_map(|group| &group.scores).map(|score| score.by) {
            if !found.contains(&by) {
                found.push(by);
            }
        }
        found
    }
}

impl RankedGroup {
    /// The ranking of these models; `None` for too few.
    fn of(name: &str, rivals: &[&Rival]) -> Option<Self> {
        if rivals.len() < LEAST_MODELS {
            return None;
        }
        let mut kinds: Vec<RankedBy> = Vec::new();
        for (by, _) in rivals.iter().flat_map(|rival| &rival.values) {
            if !kinds.contains(by) {
                kinds.push(*by);
            }
        }
        let accuracies: Vec<f64> = rivals.iter().map(|rival| rival.accuracy).collect();
        let oracle = rivals[first_of_best(&accuracies)?].choice();
        Some(Self {
            name: name.to_owned(),
            models: rivals.len(),
            scores: kinds.into_iter().filter_map(|by| RankedScore::of(by, rivals)).collect(),
            oracle,
        })
    }

    /// How one of the scores orders its models.
    pub fn score(&self, by: RankedBy) -> Option<&RankedScore> {
        self.scores.iter().find(|score| score.by == by)
    }
}

impl RankedScore {
    fn of(by: RankedBy, rivals: &[&Rival]) -> Option<Self> {
        let mut values = Vec::new();
        let mut measured = Vec::new();
        for rival in rivals {
            let Some((_, value)) = rival.values.iter().find(|it| it.0 == by) else { continue };
            values.push(if by.higher_is_better() { *value } else { -value });
            measured.push(*rival);
        }
        let rivals = measured;
        if rivals.len() < LEAST_MODELS {
            return None;
        }
        let accuracies: Vec<f64> = rivals.iter().map(|rival| rival.accuracy).collect();
        let best = first_of_best(&values);
        Some(Self {
            by,
            models: rivals.len(),
            correlation: weighted_spearman(&values, &accuracies),
            chosen: best.map(|at| rivals[at].choice()),
            tied: best.map_or(0, |at| values.iter().filter(|it| **it == values[at]).count()),
        })
    }
}

impl<'a> Rival<'a> {
    /// The stage and the method that it is of.
    fn kind(&self) -> (&'a str, &'a str) {
        (&self.model.model, &self.model.method)
    }

    fn choice(&self) -> RankedChoice {
        RankedChoice {
            trial: self.model.trial,
            model: self.model.model.clone(),
            stage: self.stage.to_owned(),
            accuracy: self.accuracy,
            collapsed: self.model.collapsed(),
        }
    }
}

/// The models that were scored on `dataset` and have this task there, each artifact once.
fn rivals<'a>(dataset: &str, task: &Task, scores: &'a RunScores) -> Vec<Rival<'a>> {
    let mut known: HashMap<(usize, &str), (&str, f64)> = HashMap::new();
    let of = scores.scores.iter().filter(|it| it.metric == "accuracy" && it.dataset == dataset);
    for score in of.filter(|it| it.value.is_finite()) {
        // Stages that score the same model on the same split find the same.
        let key = (score.trial, score.model.as_str());
        known.entry(key).or_insert((score.stage.as_str(), score.value));
    }
    let mut measured: HashMap<(usize, &str), Vec<&TrialScore>> = HashMap::new();
    for score in scores.scores.iter().filter(|it| it.dataset == dataset) {
        if RankedBy::evaluated(&score.metric).is_some() {
            measured.entry((score.trial, score.model.as_str())).or_default().push(score);
        }
    }
    let mut seen = HashSet::new();
    let mut rivals = Vec::new();
    for model in scores.models.iter().filter(|it| it.targets.get(dataset) == Some(task)) {
        let key = (model.trial, model.model.as_str());
        let Some(&(stage, accuracy)) = known.get(&key) else { continue };
        if model.fingerprint.is_none_or(|fingerprint| seen.insert((&model.model, fingerprint))) {
            let measured = measured.remove(&key).unwrap_or_default();
            let stages = scores.stages.get(model.trial).map(Vec::as_slice).unwrap_or_default();
            let mut values = model.values.clone();
            values.extend(models::evaluated(model, dataset, &measured, stages));
            rivals.push(Rival { model, stage, accuracy, values });
        }
    }
    rivals
}

/// What tells the models of a stage and a method from the others.
fn group_name((model, method): (&str, &str), all: &[(&str, &str)]) -> String {
    let one_model = all.iter().all(|it| it.0 == model);
    let one_method = all.iter().filter(|it| it.0 == model).count() == 1;
    match (one_model, one_method) {
        (true, false) => method.to_owned(),
        (_, true) => model.to_owned(),
        (false, false) => format!("{model}, {method}"),
    }
}

/// The place of the highest finite value, the first of equal ones.
fn first_of_best(values: &[f64]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (at, value) in values.iter().enumerate().filter(|it| it.1.is_finite()) {
        if best.is_none_or(|best| *value > values[best]) {
            best = Some(at);
        }
    }
    best
}

#[cfg(test)]
mod tests;
