//! What several parts ask of the system: files that are there whole or not at all, a clock that all
//! machines on a file system share, and what to do, in words, when it refuses something.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use tempfile::NamedTempFile;

use crate::fault::fail_point;

/// Makes a file that was written in `folder` appear at `path`, which lies there, at once and for good:
/// it is on the disk when this returns.
///
/// # Errors
/// When the system refuses; then nothing appeared.
pub fn publish_file(file: NamedTempFile, folder: &Path, path: &Path) -> io::Result<()> {
    fail_point("file written");
    file.as_file().sync_all()?;
    file.persist(path)?;
    fail_point("file renamed");
    File::open(folder)?.sync_all()
}

/// The time by the clock of the file system that `folder` is on.
///
/// # Errors
/// When nothing can be written there.
pub fn now_in(folder: &Path) -> io::Result<SystemTime> {
    tempfile::tempfile_in(folder)?.metadata()?.modified()
}

/// Bytes of memory that the machine has, where the system says it.
pub fn memory() -> Option<usize> {
    let facts = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = facts.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// What to do when there is not enough of something; `None` when that is not what is wrong.
pub fn shortage(source: &io::Error) -> Option<String> {
    /// ENFILE and EMFILE.
    const HANDLES: [i32; 2] = [23, 24];
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space, or give a folder on another disk with `--store DIR`".into())
        }
        _ if cfg!(unix) && source.raw_os_error().is_some_and(|it| HANDLES.contains(&it)) => {
            Some("raise the limit of open files, with `ulimit -n`, or close other programs".into())
        }
        _ => None,
    }
}

/// What to do when a folder that `option` names is refused.
pub fn refused(source: &io::Error, option: &str) -> String {
    shortage(source).map_or_else(
        || match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => {
                format!("give a folder that can be written with `{option} DIR`")
            }
            _ => format!(
                "check the folder's owner and permissions, or give another one with `{option} DIR`"
            ),
        },
        |advice| advice.replace("--store", option),
    )
}
