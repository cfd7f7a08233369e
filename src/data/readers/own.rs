//! Tells the folders that a runner writes from folders of data, for sources such as `file:.`.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Entries of a pipeline's folder of results that are looked at: the journal of its first run is
/// there alone.
const LOOKED_AT: usize = 16;

/// Whether `path` is a store, or a folder of results.
pub(super) fn is_own(path: &Path) -> bool {
    is_store(path) || is_results(path)
}

fn is_store(path: &Path) -> bool {
    path.join("version").is_file()
        && ["artifacts", "locks", "staging"].iter().all(|part| path.join(part).is_dir())
}

/// `<pipeline>/latest/run.json`, or what the first run of a pipeline has there before its end.
fn is_results(path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(path) else { return false };
    let mut folders = entries.flatten().filter(|it| it.file_type().is_ok_and(|it| it.is_dir()));
    folders.any(|folder| {
        let folder = folder.path();
        let latest = folder.join("latest");
        if latest.is_symlink() {
            return latest.join("run.json").is_file();
        }
        let unfinished = |name: &OsStr| {
            let name = name.as_encoded_bytes();
            name.starts_with(b".live-") || name.starts_with(b".run-")
        };
        fs::read_dir(folder).is_ok_and(|entries| {
            entries.flatten().take(LOOKED_AT).any(|entry| unfinished(&entry.file_name()))
        })
    })
}
