//! A picture of a run as plain data: the rows of its CSV, and what is said of them.

use super::shape::Shape;
use crate::report::csv::Rows;
use crate::report::plot::Chart;

/// What a picture belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The graph of the stages.
    Graph,
    /// What a stage took.
    Times,
    /// Metrics of training.
    Curves,
    /// Learning rate, momentum, lambda.
    Schedules,
    /// Metrics against the axes of a sweep.
    Sweep,
    /// What was taken for what.
    Confusion,
    /// Features in two dimensions.
    Embedding,
}

/// A picture with its numbers.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it belongs to.
    pub topic: Topic,
    /// The stage or model that it is of; empty for the whole run.
    pub of: String,
    /// Name of its files.
    pub name: String,
    /// Its title.
    pub title: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// Its numbers.
    pub rows: Rows,
    /// How they are drawn.
    pub shape: Shape,
}

impl Figure {
    /// What is drawn.
    pub fn chart(&self) -> Chart {
        self.shape.chart(&self.rows)
    }
}

/// Mean, and sample standard deviation of two or more.
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

/// `mean`, `low`, `high` (one standard deviation to each side) and `n` as cells.
pub(super) fn spread(values: &[f64]) -> [String; 4] {
    let (mean, sd) = mean_and_sd(values);
    let side = |by: f64| sd.map(|sd| crate::metrics::number(mean + by * sd)).unwrap_or_default();
    [crate::metrics::number(mean), side(-1.0), side(1.0), values.len().to_string()]
}
