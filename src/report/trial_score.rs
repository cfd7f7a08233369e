//! A score of a finished run, and what it scores.

use crate::metrics::ScoreRow;

/// A score that a stage measured in a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialScore {
    /// Index in the trials of a run.
    pub trial: usize,
    /// The stage that scored.
    pub stage: String,
    /// The model.
    pub model: String,
    /// The split.
    pub dataset: String,
    /// The metric.
    pub metric: String,
    /// The value.
    pub value: f64,
}

/// A model and a split that a stage scores, or should have scored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScoredPair {
    /// The stage that scores it.
    pub stage: String,
    /// The model.
    pub model: String,
    /// The split.
    pub dataset: String,
}

impl TrialScore {
    /// What `stage` scored in a trial.
    pub fn all(trial: usize, stage: &str, rows: &[ScoreRow]) -> Vec<Self> {
        let one = |row: &ScoreRow| {
            let ScoreRow { model, dataset, metric, value } = row.clone();
            Self { trial, stage: stage.to_owned(), model, dataset, metric, value }
        };
        rows.iter().map(one).collect()
    }

    /// The pair that it scores.
    pub fn pair(&self) -> ScoredPair {
        let Self { stage, model, dataset, .. } = self.clone();
        ScoredPair { stage, model, dataset }
    }
}
