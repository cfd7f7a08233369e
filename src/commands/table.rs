//! `runner table`: the table of a finished run, from its CSVs.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use super::Error;
use crate::cli::TableArgs;
use crate::plan::resolve;
use crate::report::results;
use crate::report::table::Format;

/// Prints the table of a run's folder, or of a pipeline's newest run.
///
/// # Errors
/// When there is no such run or it has no scores.
pub fn run(args: &TableArgs) -> Result<ExitCode, Error> {
    let text = if args.run.is_dir() {
        of_folder(&args.run, args.format)?
    } else {
        let pipeline = resolve::load(&args.run, &[]).map_err(Box::new)?;
        of_pipeline(&args.results, &pipeline.name, args.format)?
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The table of the run in `folder`.
///
/// # Errors
/// When the folder is not a run's or has no scores.
fn of_folder(folder: &Path, format: Format) -> Result<String, Error> {
    match results::table_of(folder)? {
        Some(table) => Ok(table.render(format, false)),
        None => Err(Error::Missing(format!("`{}` has no scores", folder.display()))),
    }
}

/// The table of the newest run of the pipeline called `name`.
///
/// # Errors
/// When it never ran or has no scores.
fn of_pipeline(results: &Path, name: &str, format: Format) -> Result<String, Error> {
    let home = results.join(name);
    let folder = results::latest(&home)
        .ok_or_else(|| Error::Missing(format!("no run of `{name}` in `{}`", results.display())))?;
    of_folder(&folder, format)
}
