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
pub mod newton;
pub mod open_set;
pub mod proxy_a_distance;
pub mod rounding;
mod rows;
pub mod scores;
pub mod symmetric;
pub mod weighted_spearman;

pub use rows::{FactRow, MalformedRows, Metrics, ModelRow, ScoreRow, TrainingRow, TrainingSplit};

/// The shortest decimal text that reads back as the same number.
pub fn number(value: f64) -> String {
    // `{}` of a float is the shortest text that round-trips, without an exponent.
    format!("{value}")
}

/// A number rounded to four decimals for people, with an exponent where it would be a row of zeros.
pub fn rounded(value: f64) -> String {
    if value.abs() >= 1e9 { format!("{value:.4e}") } else { format!("{value:.4}") }
}

/// `part` of `whole` images, 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "image counts are far below 2^53")]
pub(crate) fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn a_number_for_people_is_short_however_large_it_is() {
        assert_eq!(
            [0.5, -2.25, 12_345.678_91, 1e30].map(rounded),
            ["0.5000", "-2.2500", "12345.6789", "1.0000e30"]
        );
        assert_eq!(rounded(f64::INFINITY), "inf");
    }
}
