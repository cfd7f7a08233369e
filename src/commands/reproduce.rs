//! `runner reproduce RUN`: repeats a run from its record alone, in an empty store, and compares every byte.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use super::Error;
use super::columns::columns;
use super::rounds::Failures;
use crate::cli::{ReproduceArgs, RunOptions};
use crate::console;
use crate::device::Device;
use crate::nn::dispatch;
use crate::report::record::Record;
use crate::scratch;
use crate::system;

/// Runs everything again and prints what is identical. The exit code is 1 when something differs.
///
/// # Errors
/// When there is no such run, or it cannot be run here.
pub fn run(args: &ReproduceArgs) -> Result<ExitCode, Error> {
    let folder = super::find_run(&args.results, &args.run)?;
    let before = Record::read(&folder)?;
    let machine = |error: io::Error| Error::Machine(error.to_string());
    let (home, private) = match &args.keep {
        Some(home) => {
            system::create_folder(home).map_err(machine)?;
            (std::fs::canonicalize(home).map_err(machine)?, None)
        }
        None => {
            let private = scratch::folder().map_err(machine)?;
            (private.path().to_owned(), Some(private))
        }
    };
    // Relative paths in the pipeline start from the folder that they started from then.
    let from = Path::new(&before.provenance.folder);
    if from.is_dir() {
        std::env::set_current_dir(from).map_err(machine)?;
    }
    let trials = super::again(&before)
        .map_err(|error| Error::Missing(super::not_taken(&folder, &before, &error)))?;
    let options = RunOptions {
        store: home.join("store").into(),
        results: home.join("results").into(),
        threads: args.threads,
        offline: args.offline,
        ..RunOptions::default()
    };
    let ran = super::run::run_trials(trials, Failures::new(), &options)?;
    let after = Record::read(&ran.folder)?;
    let mut lines = vec![["stage", "reproduced", "artifact"].map(str::to_owned)];
    let mut same = 0;
    for (number, stages) in before.trials.iter().enumerate() {
        for stage in stages {
            let name = match before.trials.len() {
                1 => stage.name.clone(),
                _ => format!("{}[{number:03}]", stage.name),
            };
            let again = after.stage(number, &stage.name);
            let word = match (stage.content, again.and_then(|again| again.content)) {
                (None, _) => "had no result",
                (Some(_), None) => "no: it has no result now",
                (Some(before), Some(after)) if before == after => {
                    same += 1;
                    "yes, byte for byte"
                }
                _ => "no: other bytes",
            };
            let short = |it: String| it[..12].to_owned();
            let content = stage.content.map_or_else(String::new, |it| short(it.0.to_string()));
            lines.push([name, word.to_owned(), content]);
        }
    }
    let wanted = before.trials.iter().flatten().filter(|stage| stage.content.is_some()).count();
    let mut text = columns(&lines);
    text += &format!("{same} of {wanted} artifacts reproduced\n");
    let (then, now) = (&before.provenance, &after.provenance);
    for (what, then, now) in [
        ("runner", &then.runner, &now.runner),
        ("backend", &then.backend, &now.backend),
        ("architecture", &then.architecture, &now.architecture),
    ] {
        if then != now {
            text += &format!("note: the {what} was {then} and is {now}\n");
        }
    }
    if same < wanted && then.backend == dispatch::backend(Device::Cpu) {
        text += "note: nothing that is allowed to differ does; changed files outside the store would \
                 explain it\n";
    }
    super::print(text)?;
    if args.keep.is_some() {
        console::say(format_args!("kept in {}", home.display()));
    }
    drop(private);
    Ok(if same == wanted { ran.code } else { ExitCode::from(1) })
}
