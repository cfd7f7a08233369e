//! `runner check FILE`: everything that is wrong with a pipeline, without running it.

use std::io::{self, Write as _};
use std::process::ExitCode;

use super::Error;
use crate::cli::FileArgs;

/// Prints one line when all is well.
pub fn run(args: &FileArgs) -> Result<ExitCode, Error> {
    let trials = super::all_trials(args)?.trials;
    let first = &trials[0].pipeline;
    let mut line = format!("ok: {}, {}", first.name, count(first.stages.len(), "stage"));
    if !trials[0].labels.is_empty() {
        line = format!("{line}, {}", count(trials.len(), "trial"));
    }
    writeln!(io::stdout(), "{line}")?;
    Ok(ExitCode::SUCCESS)
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
