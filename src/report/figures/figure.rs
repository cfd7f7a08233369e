//! A picture of a run as plain data: the rows of its CSV, how they are drawn, and the words that describe it.

use super::shape::Shape;
use crate::report::csv::CsvRows;
use crate::report::plot::Chart;
use crate::report::stats::mean_and_deviation;

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
    /// How scores without labels order models.
    Ranking,
    /// Which classes were confused.
    Confusion,
    /// Which class models take every point of a plane for.
    Boundary,
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
    pub rows: CsvRows,
    /// How they are drawn.
    pub shape: Shape,
}

impl Figure {
    /// The chart of its rows.
    pub fn chart(&self) -> Chart {
        self.shape.chart(&self.rows)
    }
}

/// The cells `mean`, `low`, `high` (one standard deviation to each side) and `n`.
pub(super) fn spread(values: &[f64]) -> [String; 4] {
    let (mean, sd) = mean_and_deviation(values).unwrap_or((f64::NAN, None));
    let side = |by: f64| sd.map(|sd| crate::metrics::number(mean + by * sd)).unwrap_or_default();
    [crate::metrics::number(mean), side(-1.0), side(1.0), values.len().to_string()]
}
