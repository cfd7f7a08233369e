//! `runner table`: the table of a finished run, from its CSVs.

use std::path::Path;

use super::Error;
use crate::report::results;
use crate::report::table::Format;

/// The table of the run in `folder`.
///
/// # Errors
/// When the folder is not a run's or has no scores.
pub fn of_folder(folder: &Path, format: Format) -> Result<String, Error> {
    match results::table_of(folder)? {
        Some(table) => Ok(table.render(format, false)),
        None => Err(Error::Missing(format!("`{}` has no scores", folder.display()))),
    }
}

/// The table of the newest run of the pipeline called `name`.
///
/// # Errors
/// When it never ran or has no scores.
pub fn of_pipeline(results: &Path, name: &str, format: Format) -> Result<String, Error> {
    let home = results.join(name);
    let folder = results::latest(&home)
        .ok_or_else(|| Error::Missing(format!("no run of `{name}` in `{}`", results.display())))?;
    of_folder(&folder, format)
}
