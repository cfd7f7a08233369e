//! Why results cannot be read or written, and the reading of a CSV that need not be there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::csv::Rows;
use crate::store;

/// Why results could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot read or write results at `{}`: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{}`: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An artifact that results follow from cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
}

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Io { path: path.to_owned(), source }
}

/// The text of the file at `path`; `None` when there is none.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}

/// The CSV at `path`; `None` when there is none.
pub(super) fn read_rows(path: &Path) -> Result<Option<Rows>, Error> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    Rows::read(&text)
        .map(Some)
        .map_err(|error| Error::Malformed { path: path.to_owned(), reason: error.to_string() })
}
