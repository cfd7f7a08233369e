//! Copies of one file in several places: `MNIST/raw` as torchvision leaves it holds every file plain
//! and gzipped, and some archives hold each twice.

use std::fs;
use std::path::PathBuf;

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
            let (first, other) = (first.display(), other.display());
            return Err(DataError::rejected(format!("{other} and {first} are not the same"))
                .advise(
                    "only one can be meant: `root = \"FOLDER\"` points to its folder in the source",
                ));
        }
    }
    Ok(bytes)
}
