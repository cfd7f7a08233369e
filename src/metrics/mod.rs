//! Numbers that stages report: one long-format row per fact, and one file for each metric.
//!
//! Metrics take plain slices: they know nothing of models, data sets or files.

pub mod calibration;
pub mod confusion;
pub mod embedding;
pub mod label_free;
pub mod logistic;
pub mod macro_f1;
pub mod proxy_a_distance;
pub mod symmetric;

pub mod scores;

/// Rows of one stage, all under one header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Column names.
    pub header: Vec<&'static str>,
    /// Rows as wide as the header.
    pub rows: Vec<Vec<String>>,
}

impl Metrics {
    /// For data stages: `split, metric, value`.
    pub fn facts() -> Self {
        Self { header: vec!["split", "metric", "value"], rows: Vec::new() }
    }

    /// For `freeze`: `layer, metric, value`.
    pub fn parameters() -> Self {
        Self { header: vec!["layer", "metric", "value"], rows: Vec::new() }
    }

    /// For training stages: `epoch, step, split, metric, value`.
    pub fn training() -> Self {
        Self { header: vec!["epoch", "step", "split", "metric", "value"], rows: Vec::new() }
    }

    /// For evaluation: `model, dataset, metric, value`. A cell `@models.0` stands for the
    /// reference that the stage named at that key, so that renaming a stage changes no artifact;
    /// the report puts the name in.
    pub fn scores() -> Self {
        Self { header: vec!["model", "dataset", "metric", "value"], rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// When the row is not as wide as the header.
    pub fn push<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(self.header.len(), N, "a metrics row must be as wide as its header");
        self.rows.push(Vec::from(cells));
    }
}

/// The shortest decimal text that reads back as the same number.
pub fn number(value: f64) -> String {
    // `{}` of a float is the shortest text that round-trips, without an exponent.
    format!("{value}")
}
