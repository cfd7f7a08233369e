//! What several parts ask of the system: files that are there whole or not at all, a clock that all
//! machines on a file system share, and what to do, in words, when it refuses something.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rayon::prelude::*;
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

/// How the names of files begin that [`write_file`] has not finished.
pub const ASIDE: &str = ".new-";

/// Writes `bytes` to `path`, where they are whole and on the disk when this returns: a file beside it
/// takes its name once it is complete. A pipe or a terminal is written to as it stands, and a link
/// keeps leading where it leads.
///
/// # Errors
/// When the system refuses; then what was there before is still there.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = match fs::metadata(path) {
        Ok(found) if !found.is_file() => return fs::write(path, bytes),
        Ok(_) => fs::canonicalize(path)?,
        Err(_) => path.to_owned(),
    };
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As any file is made; the user's mask takes its part.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.prefix(ASIDE).tempfile_in(folder)?;
    file.write_all(bytes)?;
    publish_file(file, folder, &path)
}

/// Files from which one request for the whole file system costs less than one for each of them.
const MANY: usize = 500;

/// Waits until everything in `folder` is on the disk, the folder and those in it included.
///
/// # Errors
/// When the system refuses, or could not write what it had taken.
pub fn sync_all(folder: &Path) -> io::Result<()> {
    let mut paths = vec![folder.to_owned()];
    let mut next = 0;
    while let Some(path) = paths.get(next) {
        if path.is_dir() {
            let entries: io::Result<Vec<PathBuf>> =
                fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect();
            paths.extend(entries?);
        }
        next += 1;
    }
    if paths.len() > MANY && cfg!(target_os = "linux") {
        return sync_file_system(folder);
    }
    // Side by side, so that a file system can write many at once.
    paths.par_iter().try_for_each(|path| File::open(path)?.sync_all())
}

/// Waits until everything on the file system of `folder` is on its disk.
#[cfg(target_os = "linux")]
fn sync_file_system(folder: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let folder = File::open(folder)?;
    // SAFETY: the descriptor is open as long as `folder` lives, and nothing else is passed.
    match unsafe { libc::syncfs(folder.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_leaves_the_one_before_and_nothing_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("page.html");
        write_file(&path, b"one").unwrap();
        write_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        fs::create_dir(root.path().join("folder")).unwrap();
        assert!(write_file(&root.path().join("folder"), b"three").is_err());
        assert!(write_file(&root.path().join("none/page.html"), b"three").is_err());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_written_through_and_what_is_no_file_is_written_to_as_it_stands() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let root = tempfile::tempdir().unwrap();
        let (real, link) = (root.path().join("real"), root.path().join("link"));
        fs::write(&real, "before").unwrap();
        symlink("real", &link).unwrap();
        write_file(&link, b"after").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"after");
        // Readable by whom a plain file would be.
        fs::write(root.path().join("plain"), "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&real), mode(&root.path().join("plain")));
        write_file(Path::new("/dev/null"), b"text").unwrap();
        assert!(!Path::new("/dev/null").is_file());
    }
}
