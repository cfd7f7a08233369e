//! A number that a step reports.

/// A number of one step, and how it enters the mean over an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Its name in the metrics: `class_loss`.
    pub name: &'static str,
    /// The number.
    pub value: f64,
    /// How many images it is a mean over; 0 for a setting, of which the epoch has the last value.
    pub weight: usize,
}

impl Reading {
    /// The mean of both over their images.
    #[expect(clippy::cast_precision_loss, reason = "image counts are far below 2^53")]
    pub(super) fn join(&mut self, more: Self) {
        let (own, other) = (self.weight as f64, more.weight as f64);
        self.value = (self.value * own + more.value * other) / (own + other);
        self.weight += more.weight;
    }
}
