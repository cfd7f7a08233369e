//! Means over the steps of an epoch, and where the time went. Nothing is decided by either.

use std::borrow::Cow;

use indexmap::IndexMap;

use super::reading::Reading;
use crate::metrics::rounded;

/// Where the time went, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// Forward, backward and update.
    pub steps: f64,
    /// Waiting for batches, which are prepared during the step before.
    pub waiting: f64,
    /// Validation, and scores of the target.
    pub validate: f64,
    /// Computing the output of frozen layers once.
    pub frozen: f64,
    /// What of all these was spent before the training went on from a checkpoint.
    pub earlier: f64,
}

impl Times {
    pub(super) fn parts(&self) -> [f64; 4] {
        [self.steps, self.waiting, self.validate, self.frozen]
    }

    /// Those of the attempts that led to a checkpoint.
    pub(super) fn of_parts([steps, waiting, validate, frozen]: [f64; 4]) -> Self {
        Self { steps, waiting, validate, frozen, earlier: steps + waiting + validate + frozen }
    }
}

/// Sums up the readings of an epoch's steps.
#[derive(Default)]
pub(super) struct Summary {
    sums: IndexMap<Cow<'static, str>, (f64, usize)>,
}

impl FromIterator<(String, f64, usize)> for Summary {
    fn from_iter<I: IntoIterator<Item = (String, f64, usize)>>(parts: I) -> Self {
        let sums = parts.into_iter().map(|(name, sum, weight)| (name.into(), (sum, weight)));
        Self { sums: sums.collect() }
    }
}

impl Summary {
    #[expect(clippy::cast_precision_loss, reason = "an epoch is far below 2^53 images")]
    pub(super) fn add(&mut self, readings: &[Reading]) {
        for reading in readings {
            let (sum, weight) = self.sums.entry(reading.name.into()).or_default();
            if reading.weight == 0 {
                *sum = reading.value;
            } else {
                *sum += reading.value * reading.weight as f64;
                *weight += reading.weight;
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "an epoch is far below 2^53 images")]
    pub(super) fn values(&self) -> Vec<(Cow<'static, str>, f64)> {
        self.sums
            .iter()
            .map(|(name, (sum, weight))| (name.clone(), sum / (*weight).max(1) as f64))
            .collect()
    }

    /// Name, sum and weight of every reading.
    pub(super) fn parts(&self) -> impl Iterator<Item = (String, f64, usize)> {
        self.sums.iter().map(|(name, (sum, weight))| (name.to_string(), *sum, *weight))
    }
}

/// A number for a person: a small learning rate is not 0.0000.
pub(super) fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.001 { format!("{value:.1e}") } else { rounded(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_keep_their_digits_on_the_epoch_line() {
        let shown = [0.0, 0.001, 3e-5, -2.5e-4, 12.345_67].map(short);
        assert_eq!(shown, ["0.0000", "0.0010", "3.0e-5", "-2.5e-4", "12.3457"]);
    }

    #[test]
    fn an_epoch_weighs_its_batches_by_their_images_and_keeps_the_last_setting() {
        let mut summary = Summary::default();
        let step = |loss, weight, lambda| {
            [
                Reading { name: "class_loss", value: loss, weight },
                Reading { name: "lambda", value: lambda, weight: 0 },
            ]
        };
        summary.add(&step(1.0, 3, 0.1));
        summary.add(&step(5.0, 1, 0.2));
        assert_eq!(summary.values(), [("class_loss".into(), 2.0), ("lambda".into(), 0.2)]);
    }
}
