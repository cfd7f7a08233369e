//! What several parts ask of the system: files that are there whole or not at all, a clock that all
//! machines on a file system share, and what to do, in words, when it refuses something.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
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

/// Opens a file. What is none is an error: nobody may ever write to a pipe.
///
/// # Errors
/// When there is no such file or the system refuses.
pub fn open_file(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    File::open(path)
}

/// The bytes of a file, as [`open_file`] opens it.
///
/// # Errors
/// When there is no such file or it cannot be read.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
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

/// The time. Unlike chrono's own function it bears a clock that stands before 1970.
pub fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// The command line, as far as it is text.
pub fn command_line() -> Vec<String> {
    std::env::args_os().map(|it| it.to_string_lossy().into_owned()).collect()
}

/// `path` with the user's own folder in place of a leading `~`; as it is where that is not known.
pub fn at_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) if !home.is_empty() => Path::new(&home).join(rest),
        _ => path.to_owned(),
    }
}

/// Makes a folder and those above it, as far as they are not there.
///
/// # Errors
/// When the system refuses. What is in the way is named: of a link that leads nowhere the system says
/// "File exists".
pub fn create_folder(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path).map_err(|error| in_the_way(path).unwrap_or(error))
}

/// What on the way to a folder is none and cannot become one.
fn in_the_way(path: &Path) -> Option<io::Error> {
    // Without a slash at its end, which would follow the link.
    let path = path.components().as_path();
    let on_the_way: Vec<&Path> = path.ancestors().collect();
    for place in on_the_way.into_iter().rev() {
        let name = place.display();
        if place.is_file() {
            let text = format!("`{name}` is a file");
            return Some(io::Error::new(io::ErrorKind::NotADirectory, text));
        }
        if place.is_symlink() && !place.exists() {
            let to = std::fs::read_link(place).ok()?;
            let text = format!("`{name}` is a link to `{}`, which is not there", to.display());
            return Some(io::Error::new(io::ErrorKind::NotFound, text));
        }
    }
    None
}

/// Bytes of memory that the machine has, where the system says it.
pub fn memory() -> Option<usize> {
    let facts = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = facts.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// Whether so many bytes of memory can be had. An allocation that fails ends the process, so whoever needs
/// much asks first.
pub fn is_free(bytes: u64) -> bool {
    let mut memory = Vec::<u8>::new();
    let free = usize::try_from(bytes).is_ok_and(|bytes| memory.try_reserve_exact(bytes).is_ok());
    // An optimizer leaves out what nobody looks at, and takes it for had.
    std::hint::black_box(&memory);
    free
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

/// What to do when a folder is refused that `option` names, such as `--store DIR`.
pub fn refused(source: &io::Error, option: &str) -> String {
    shortage(source).map_or_else(
        || match source.kind() {
            io::ErrorKind::NotFound => {
                format!("make that folder, or give another one with `{option}`")
            }
            io::ErrorKind::NotADirectory => {
                format!("move the file away, or give a folder with `{option}`")
            }
            io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput => {
                format!(
                    "move it away, as a file belongs there, or give another folder with `{option}`"
                )
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                format!("give a folder that can be written with `{option}`")
            }
            _ => format!(
                "check the folder's owner and permissions, or give another one with `{option}`"
            ),
        },
        |advice| advice.replace("--store DIR", option),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    #[test]
    fn memory_that_nobody_has_is_not_free() {
        assert!(is_free(1) && !is_free(u64::MAX) && !is_free(1 << 62));
    }

    #[test]
    fn a_clock_before_1970_gives_a_time() {
        let time: DateTime<Utc> = (SystemTime::UNIX_EPOCH - Duration::from_secs(86_400)).into();
        assert_eq!(time.to_rfc3339(), "1969-12-31T00:00:00+00:00");
    }

    #[test]
    fn only_a_leading_tilde_is_the_users_folder() {
        let home = std::env::var_os("HOME").map(PathBuf::from).expect("a home");
        assert_eq!(at_home(Path::new("~/a/b")), home.join("a/b"));
        assert_eq!(at_home(Path::new("~")), home);
        for path in ["a/~/b", "./~", "~other/a", "/~"] {
            assert_eq!(at_home(Path::new(path)), Path::new(path));
        }
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

    #[cfg(unix)]
    #[test]
    fn what_is_in_the_way_of_a_folder_is_named() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("link");
        std::os::unix::fs::symlink("nowhere/at/all", &link).unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        for below in ["", "a/b"] {
            let error = create_folder(&link.join(below)).unwrap_err();
            assert!(error.to_string().contains("is a link to `nowhere/at/all`"), "{error}");
            assert!(refused(&error, "--store DIR").contains("make that folder"));
            let error = create_folder(&root.path().join("file").join(below)).unwrap_err();
            assert!(error.to_string().contains("is a file"), "{error}");
        }
        assert!(create_folder(&root.path().join("new/folder")).is_ok());
    }
}
