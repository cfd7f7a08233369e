//! A picture of a run as plain data: the rows of its CSV, how they are drawn, and the words that describe it.

use super::shape::Shape;
use crate::report::csv::Rows;
use crate::report::plot::Chart;

/// What a picture is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The graph of the stages.
    Graph,
    /// The time that stages took.
    Times,
    /// Metrics over the epochs of a training.
    Curves,
    /// Learning rate, momentum and lambda over the epochs.
    Schedules,
    /// Scores against the axes of a sweep.
    Sweep,
    /// Which classes were confused.
    Confusion,
    /// Features in two dimensions.
    Embedding,
}

/// A picture with its numbers.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it is about.
    pub topic: Topic,
    /// The stage or model that it shows; empty for the whole run.
    pub of: String,
    /// The name of its files.
    pub name: String,
    /// Its title.
    pub title: String,
    /// A sentence that says what it shows.
    pub about: String,
    /// Its numbers.
    pub rows: Rows,
    /// How they are drawn.
    pub shape: Shape,
}

impl Figure {
    /// The chart of its rows.
    pub fn chart(&self) -> Chart {
        self.shape.chart(&self.rows)
    }
}

/// The mean and, for two or more values, the sample standard deviation.
#[expect(clippy::cast_precision_loss, reason = "counts of trials are small")]
pub fn mean_and_sd(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, None);
    }
    let squares: f64 = values.iter().map(|it| (it - mean).powi(2)).sum();
    (mean, Some((squares / (n - 1.0)).sqrt()))
}

/// The cells `mean`, `low`, `high` (one standard deviation to each side) and `n`.
pub(super) fn spread(values: &[f64]) -> [String; 4] {
    let (mean, sd) = mean_and_sd(values);
    let side = |by: f64| sd.map(|sd| crate::metrics::number(mean + by * sd)).unwrap_or_default();
    [crate::metrics::number(mean), side(-1.0), side(1.0), values.len().to_string()]
}
