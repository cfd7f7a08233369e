//! `runner sweep`: every trial of a `[sweep]` in one graph.

use std::process::ExitCode;

use super::Error;
use crate::cli::RunArgs;

/// Runs all trials; stages they share run once.
///
/// # Errors
/// When the file is wrong or has no sweep, or the store or the results cannot be written.
pub fn run(args: &RunArgs) -> Result<ExitCode, Error> {
    let trials = super::trials(&args.file)?;
    if trials.trials.iter().all(|trial| trial.labels.is_empty()) {
        return Err(Error::Missing("the pipeline has no `[sweep]` axes; use `runner run`".into()));
    }
    Ok(super::run::run_trials(trials, &args.options)?.code)
}
