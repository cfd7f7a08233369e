//! The error of everything that reads or writes results, and the reading of a CSV that may be absent. It
//! lies below all other files of this folder and knows none of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::csv::CsvRows;
use crate::store;

/// Why results could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to read or write.
    #[error("cannot read or write results at `{}`: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file does not have the form that it should have.
    #[error("`{}`: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An artifact that the results are derived from cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
}

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Io { path: path.to_owned(), source }
}

/// Reads the text of the file at `path`; `None` when there is no such file.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}

/// The CSV at `path`; `None` when there is none.
pub(super) fn read_rows(path: &Path) -> Result<Option<CsvRows>, Error> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    CsvRows::read(&text)
        .map(Some)
        .map_err(|error| Error::Malformed { path: path.to_owned(), reason: error.to_string() })
}
