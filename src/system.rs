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

/// Bytes that the disk of `folder` has room for; `None` where the system does not tell.
pub fn free_space(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
        let mut told = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
        // SAFETY: the path ends with a zero, and the structure is one that the call may fill.
        if unsafe { libc::statvfs(path.as_ptr(), told.as_mut_ptr()) } != 0 {
            return None;
        }
        // SAFETY: zeros are a valid value of it, and the call filled it.
        let told = unsafe { told.assume_init() };
        #[allow(clippy::unnecessary_cast, reason = "the numbers are narrower on some systems")]
        Some((told.f_bavail as u64).saturating_mul(told.f_frsize as u64))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// The time by the clock of the file system that `folder` is on.
///
/// # Errors
/// When nothing can be written there.
pub fn now_in(folder: &Path) -> io::Result<SystemTime> {
    tempfile::tempfile_in(folder)?.metadata()?.modified()
}

/// What to do when there is not enough of something; `None` when that is not what is wrong.
pub fn shortage(source: &io::Error) -> Option<String> {
    /// ENFILE and EMFILE.
    const HANDLES: [i32; 2] = [23, 24];
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space, or give a folder on another disk with `--store DIR`".into())
        }
        io::ErrorKind::OutOfMemory => {
            Some("free some memory, or raise the limit that `ulimit -v` shows".into())
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

/// The words of a command line, quoted where a shell would part them.
pub fn as_typed(words: &[String]) -> String {
    let plain = |it: &char| it.is_ascii_alphanumeric() || "-_./=,:+@%".contains(*it);
    let quoted = words.iter().map(|word| {
        if !word.is_empty() && word.chars().all(|it| plain(&it)) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
