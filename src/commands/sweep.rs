//! `runner sweep`: every trial of a `[sweep]` in one graph.

use std::process::ExitCode;

use super::Error;
use crate::cli::RunOptions;
use crate::plan::trial::Trial;

/// Runs all `trials`; stages they share run once.
///
/// # Errors
/// As [`super::run::run`].
pub fn run(trials: Vec<Trial>, options: &RunOptions) -> Result<ExitCode, Error> {
    if trials.iter().all(|trial| trial.labels.is_empty()) {
        return Err(Error::Missing("the pipeline has no `[sweep]` axes; use `runner run`".into()));
    }
    super::run::run(trials, options)
}
