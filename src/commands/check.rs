//! `runner check FILE`: everything that is wrong with a pipeline, without running it.

use std::process::ExitCode;

use super::Error;
use crate::cli::FileArgs;
use crate::console;
use crate::plan::search::Search;
use crate::plan::trials::Trials;

/// Prints one line when all is well.
pub fn run(args: &FileArgs) -> Result<ExitCode, Error> {
    let Trials { trials, search, .. } = super::all_trials(args)?;
    super::outside::all_there(&trials)?;
    for note in search.iter().flat_map(Search::notes) {
        console::say(format_args!("note: {note}"));
    }
    let first = &trials[0].pipeline;
    let mut line = format!("ok: {}, {}", first.name, count(first.stages.len(), "stage"));
    if !trials[0].labels.is_empty() {
        line = format!("{line}, {}", count(trials.len(), "trial"));
    }
    super::print(line + "\n")?;
    Ok(ExitCode::SUCCESS)
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
