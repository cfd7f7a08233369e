//! `runner report`: writes the page of a run, one file that needs no other.

use std::process::ExitCode;

use super::Error;
use crate::cli::ReportArgs;
use crate::report::html;
use crate::report::measured::MeasuredRun;
use crate::system;

/// Writes the page to the folder of the run, or to `--output`, and prints its path.
///
/// # Errors
/// When there is no such run, or the page cannot be written.
pub fn run(args: &ReportArgs) -> Result<ExitCode, Error> {
    if args.serve {
        return super::watch::serve(Some(&args.run), &args.results, args.port);
    }
    let run = super::find_numbers(&args.results, &args.run)?;
    super::say_doubts(&run);
    let path = match &args.output {
        None => html::write(&run.folder)?,
        Some(path) => {
            let page = html::page(&MeasuredRun::of(run)?)?;
            system::write_file(path, page.as_bytes()).map_err(|source| Error::Place {
                option: "--output FILE",
                path: path.clone(),
                source,
            })?;
            path.clone()
        }
    };
    super::print(format!("{}\n", path.display()))?;
    Ok(ExitCode::SUCCESS)
}
