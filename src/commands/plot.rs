//! `runner plot`: writes the pictures of the report as files, each with the CSV that it is drawn from.

use std::process::ExitCode;

use super::Error;
use crate::cli::PlotArgs;
use crate::report::measured::MeasuredRun;
use crate::report::{self, figures};

/// Writes the pictures of a run and prints their paths.
///
/// # Errors
/// When there is no such run, or a file cannot be written.
pub fn run(args: &PlotArgs) -> Result<ExitCode, Error> {
    let run = super::find_numbers(&args.results, &args.run)?;
    super::say_doubts(&run);
    let run = MeasuredRun::of(run)?;
    let out = args.out.clone().unwrap_or_else(|| run.folder.join("plots"));
    let written = figures::write(&figures::all(&run)?, &out).map_err(|error| match error {
        report::Error::Io { path, source } if args.out.is_some() => {
            Error::Place { option: "--out DIR", path, source }
        }
        other => other.into(),
    })?;
    let lines = written.iter().map(|path| format!("{}\n", path.display()));
    super::print(lines.collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}
