//! Data sets in archives: unpacked in the folder of downloads for as long as they are read.

use std::path::Path;

use crate::data::shown::PathAlias;
use crate::data::{DataError, Dataset, Watch, unpack};
use crate::stages::Context;

/// Unpacks an archive for `read` to read. In what people read its files are those of `written`.
pub(super) fn read_archive(
    path: &Path,
    written: &str,
    context: &Context,
    read: impl FnOnce(&Path, &Watch) -> Result<Dataset, DataError>,
) -> Result<Dataset, DataError> {
    let scratch = &context.environment.downloads;
    std::fs::create_dir_all(scratch).map_err(|error| DataError::io(scratch, error))?;
    let folder = tempfile::tempdir_in(scratch).map_err(|error| DataError::io(scratch, error))?;
    unpack::unpack(path, folder.path(), unpack::Limits::default(), &context.watch())?;
    PathAlias::new(folder.path(), written)
        .during(&context.watch(), |watch| read(folder.path(), watch))
}
