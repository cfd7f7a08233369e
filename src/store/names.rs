//! What the names of files and folders in the store say.

use std::path::Path;

use super::error::Error;
use super::list;
use crate::digest::Fingerprint;

/// Steps of the newest of the checkpoints in `folder`.
pub(super) fn newest_checkpoint(folder: &Path) -> Result<Option<u64>, Error> {
    let files = list(folder)?;
    let steps = files
        .iter()
        .filter_map(|file| file.file_name()?.to_str()?.split_once('-')?.0.parse::<u64>().ok());
    Ok(steps.max())
}

/// The fingerprint that a path ends with.
pub(super) fn fingerprint_in(path: &Path) -> Option<Fingerprint> {
    path.file_name()?.to_str()?.parse().ok().map(Fingerprint)
}
