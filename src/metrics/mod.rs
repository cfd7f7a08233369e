//! Numbers that stages report: the rows they come in, and one file for each metric.
//!
//! Metrics are computed from plain slices: nothing here knows of models, data sets or where files lie.

pub mod calibration;
pub mod confusion;
pub mod csv;
pub mod embedding;
pub mod label_free;
pub mod logistic;
pub mod macro_f1;
pub mod proxy_a_distance;
mod rows;
pub mod scores;
pub mod symmetric;

pub use rows::{FactRow, MalformedRows, Metrics, ModelRow, ScoreRow, TrainingRow, TrainingSplit};

/// The shortest decimal text that reads back as the same number.
pub fn number(value: f64) -> String {
    // `{}` of a float is the shortest text that round-trips, without an exponent.
    format!("{value}")
}
