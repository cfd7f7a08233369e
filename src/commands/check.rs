//! `runner check FILE`: everything that is wrong with a pipeline, without running it: by the file, by what the store
//! has, and by a glance at files of the user's own.

use std::process::ExitCode;

use super::Error;
use super::comparison::Comparison;
use crate::cli::{BackendOption, CheckArgs};
use crate::console;
use crate::data::outside::Known;
use crate::exec::Holdings;
use crate::plan::search::Search;
use crate::plan::trials::Trials;
use crate::store::Store;

/// Prints one line when all is well.
pub fn run(args: &CheckArgs) -> Result<ExitCode, Error> {
    let Trials { trials, search, .. } = super::all_trials(&args.file)?;
    let store = Store::peek(&*args.store);
    let known = Known::from_folder(store.outside());
    let plan = super::outside::plan(trials, &known, &BackendOption::default())?;
    let holdings = Holdings::look_up(&plan, &store);
    super::outside::all_to_build(&plan, &holdings)?;
    Comparison::new(&plan, &holdings)?;
    let trials = &plan.trials;
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
