//! Decisions by validation: which epoch was the best, and when to stop early.
//!
//! Nothing here sees labels or images: it goes by the metrics of the images that `validate` names.

use serde::{Deserialize, Serialize};

use crate::config::{Keys, Noted, words};

/// What validation gave after an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValidationScores {
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Share of right answers, 0 to 1.
    pub accuracy: f64,
}

impl ValidationScores {
    /// One of them.
    pub fn get(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Loss => self.loss,
            Metric::Accuracy => self.accuracy,
        }
    }
}

words! {
    /// A metric of validation.
    pub enum Metric {
        /// The smaller the better.
        Loss = "loss",
        /// The larger the better.
        Accuracy = "accuracy",
    }
}

words! {
    /// Which way a metric gets better, as PyTorch calls it.
    enum Mode {
        /// Less is better.
        Min = "min",
        /// More is better.
        Max = "max",
    }
}

words! {
    /// What a threshold is measured in, as PyTorch calls it.
    enum ThresholdMode {
        /// Shares of the best value so far.
        Relative = "rel",
        /// The metric's own unit.
        Absolute = "abs",
    }
}

impl Metric {
    /// Reads `metric = "loss"`, the default.
    pub fn read(keys: &mut Keys, key: &'static str) -> Result<Self, Noted> {
        keys.choice(key).or(Self::Loss)
    }

    /// Reads a metric that may be left out.
    pub fn read_optional(keys: &mut Keys, key: &'static str) -> Result<Option<Self>, Noted> {
        keys.choice(key).optional()
    }

    /// Whether `value` is better than `other`.
    pub fn is_better(self, value: f64, other: f64) -> bool {
        match self {
            Self::Loss => value < other,
            Self::Accuracy => value > other,
        }
    }
}

/// When a value counts as better than the best so far: by more than a threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Improvement {
    mode: Mode,
    threshold_mode: ThresholdMode,
    threshold: f64,
}

impl Improvement {
    /// Reads `mode`, `threshold` and `threshold_mode` as PyTorch has them; the mode goes by `metric`
    /// when it is left out.
    pub fn read(keys: &mut Keys, metric: Metric) -> Result<Self, Noted> {
        let usual = match metric {
            Metric::Loss => Mode::Min,
            Metric::Accuracy => Mode::Max,
        };
        keys.about(&[
            ("mode", "whether smaller or larger is better"),
            ("threshold", "smallest change that counts as an improvement"),
            ("threshold_mode", "whether the threshold is relative or absolute"),
        ]);
        let mode = keys.choice("mode").or(usual);
        let threshold = keys.float("threshold").at_least(0.0).or(1e-4);
        let threshold_mode = keys.choice("threshold_mode").or(ThresholdMode::Relative);
        Ok(Self { mode: mode?, threshold_mode: threshold_mode?, threshold: threshold? })
    }

    /// The value that every other one is better than.
    pub fn worst(&self) -> f64 {
        match self.mode {
            Mode::Min => f64::INFINITY,
            Mode::Max => f64::NEG_INFINITY,
        }
    }

    /// Whether `value` is better than `best` by more than the threshold.
    pub fn is_improved(&self, value: f64, best: f64) -> bool {
        match (self.mode, self.threshold_mode) {
            (Mode::Min, ThresholdMode::Relative) => value < best * (1.0 - self.threshold),
            (Mode::Min, ThresholdMode::Absolute) => value < best - self.threshold,
            (Mode::Max, ThresholdMode::Relative) => value > best * (self.threshold + 1.0),
            (Mode::Max, ThresholdMode::Absolute) => value > best + self.threshold,
        }
    }
}

/// Stops training when a metric has not improved for some epochs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyStopping {
    /// What to go by.
    pub metric: Metric,
    /// Epochs without improvement after which training ends, 1 or more.
    pub patience: usize,
    /// Less is no improvement.
    pub min_delta: f64,
}

impl EarlyStopping {
    /// Reads `early_stopping = { metric = "loss", patience = 5, min_delta = 0.0 }`.
    pub fn read(keys: &mut Keys) -> Result<Option<Self>, Noted> {
        keys.optional_nested("early_stopping", |keys| {
            let metric = Metric::read(keys, "metric");
            keys.about(&[
                ("metric", "metric of validation to go by"),
                ("patience", "epochs without improvement after which training stops"),
                ("min_delta", "smallest change that counts as an improvement"),
            ]);
            let patience = keys.count("patience", 1..=usize::MAX).required();
            let min_delta = keys.float("min_delta").at_least(0.0).or(0.0);
            Ok(Self { metric: metric?, patience: patience?, min_delta: min_delta? })
        })
    }

    /// Whether training ends after these epochs.
    pub fn ends(&self, validation: &[ValidationScores]) -> bool {
        let (mut best, mut since) = (None, 0);
        for scores in validation {
            let value = scores.get(self.metric);
            let gain = |best: f64| match self.metric {
                Metric::Loss => best - value,
                Metric::Accuracy => value - best,
            };
            if best.is_none_or(|best| gain(best) > self.min_delta) {
                (best, since) = (Some(value), 0);
            } else {
                since += 1;
            }
        }
        since >= self.patience
    }
}

/// The best epoch so far and what the model was then.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BestEpoch {
    /// Epoch from 1.
    pub epoch: usize,
    /// Bits of the metric.
    pub value: u64,
    /// Batches that each running statistic had seen.
    pub batches: Vec<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(losses: &[f64]) -> Vec<ValidationScores> {
        losses.iter().map(|loss| ValidationScores { loss: *loss, accuracy: 1.0 - loss }).collect()
    }

    #[test]
    fn training_ends_after_so_many_epochs_without_improvement() {
        let stop = EarlyStopping { metric: Metric::Loss, patience: 2, min_delta: 0.1 };
        assert!(!stop.ends(&losses(&[1.0, 0.95, 0.8, 0.75])));
        assert!(stop.ends(&losses(&[1.0, 0.95, 0.8, 0.75, 0.71])));
        assert!(!stop.ends(&[]));
        let stop = EarlyStopping { metric: Metric::Accuracy, patience: 1, min_delta: 0.0 };
        assert!(!stop.ends(&losses(&[0.5, 0.4])));
        assert!(stop.ends(&losses(&[0.5, 0.5])));
    }
}
