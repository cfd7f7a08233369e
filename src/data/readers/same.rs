//! Copies of one file in several places: `MNIST/raw` as torchvision leaves it holds every file plain
//! and gzipped, and some archives hold each twice.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use super::gzip::inflate;
use super::visible_files;
use crate::data::error::DataError;

/// What `files` hold, after `unpack`.
///
/// # Errors
/// When one cannot be read or unpacked, or they are not all the same: which of them is meant?
pub(super) fn content(
    files: &[PathBuf],
    unpack: impl Fn(Vec<u8>) -> Result<Vec<u8>, String>,
) -> Result<Vec<u8>, DataError> {
    let read = |path: &PathBuf| {
        let bytes = fs::read(path).map_err(|error| DataError::io(path, error))?;
        unpack(bytes).map_err(|reason| DataError::malformed(path, reason))
    };
    let [first, others @ ..] = files else { unreachable!("a file that was found") };
    let bytes = read(first)?;
    for other in others {
        if read(other)? != bytes {
            let (a, b) = (other.display(), first.display());
            let error = DataError::rejected(format!("{a} and {b} are not the same"));
            return Err(error.advise(one_of(first, other)));
        }
    }
    Ok(bytes)
}

/// A file's name without the `.gz` of a gzipped one.
pub(super) fn bare_name(file: &Path) -> Cow<'_, str> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match name.strip_suffix(".gz") {
        Some(bare) => Cow::Owned(bare.to_owned()),
        None => name,
    }
}

/// The file at `path`, or the one called `name` anywhere below the folder there, plain or gzipped: where it
/// is and what it holds, unpacked.
///
/// # Errors
/// When it is not there or cannot be read, or its copies are not all the same.
pub(super) fn named(path: &Path, name: &str) -> Result<(PathBuf, Vec<u8>), DataError> {
    let copies: Vec<PathBuf> = match path.is_file() {
        true => vec![path.to_owned()],
        false => visible_files(path)?.into_iter().filter(|it| bare_name(it) == name).collect(),
    };
    let Some(file) = copies.first() else {
        return Err(DataError::malformed(path, format!("there is no {name}, plain or .gz")));
    };
    let bytes = content(&copies, inflate)?;
    Ok((file.clone(), bytes))
}

/// What to do where two files are there for one thing. No `root` tells files apart that lie side by side.
pub(super) fn one_of(first: &Path, second: &Path) -> &'static str {
    if first.parent() == second.parent() {
        "only one can be meant: take the other one out of the folder"
    } else {
        "only one can be meant: `root = \"FOLDER\"` points to its folder in the source"
    }
}
