//! Folders outside the store that it has to know: those of the results of its runs, without which a
//! collection would take what it does not see for needed by nobody; and those that commands write to for
//! a while, so that what a killed one left is cleared away.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::error::Error;
use super::{Store, is_left, mark, remove};
use crate::system;

/// Where the folders of results are listed, a file for each.
const RESULTS: &str = "results";

/// A file among these that says that the list is as old as the store. Without it other folders may have
/// used the store before it kept a list.
const FROM_THE_START: &str = "from-the-start";

/// Where the temporary folders of commands are listed.
const SCRATCH: &str = "scratch";

/// Where runs that used a store have their results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultsFolder {
    /// The folder; nothing when the entry is damaged.
    pub path: Option<PathBuf>,
    /// The store's entry for it.
    entry: PathBuf,
}

/// The store's entry for a temporary folder; dropping it removes it.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is swept once its process is gone.
        let _ = fs::remove_file(&self.0);
    }
}

impl Store {
    /// Begins the list of folders in a store that has nothing yet.
    pub(super) fn begin_list_of_folders(&self) -> Result<(), Error> {
        if !self.knows_all_folders() && self.entries("artifacts")?.is_empty() {
            self.claim_to_know_all_folders()?;
        }
        Ok(())
    }

    /// Whether no folder used the store before it kept a list of them.
    pub fn knows_all_folders(&self) -> bool {
        self.root.join(RESULTS).join(FROM_THE_START).exists()
    }

    /// Takes the list of folders for complete from now on.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn claim_to_know_all_folders(&self) -> Result<(), Error> {
        self.put(RESULTS, FROM_THE_START, b"")
    }

    /// Puts `results`, which exists, on the list. Its path is kept as it is from the folder that the
    /// store is in, when it lies there: both may be moved together, or be seen at another place.
    pub(super) fn remember(&self, results: &Path) -> Result<(), Error> {
        let results =
            fs::canonicalize(results).map_err(|source| Error::reading(results, source))?;
        let beside = self.home().and_then(|home| results.strip_prefix(home).ok());
        let bytes = to_bytes(beside.unwrap_or(&results));
        let name = blake3::hash(&bytes).to_hex()[..32].to_owned();
        if self.root.join(RESULTS).join(&name).exists() {
            return Ok(());
        }
        self.put(RESULTS, &name, &bytes)
    }

    /// The folders of results of all runs that used this store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn results_folders(&self) -> Result<Vec<ResultsFolder>, Error> {
        let mut folders = Vec::new();
        for entry in self.entries(RESULTS)? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name == FROM_THE_START || name.starts_with('.') {
                continue;
            }
            // What is no file names no folder, and reading a pipe might never end.
            let bytes = match fs::metadata(&entry).is_ok_and(|found| found.is_file()) {
                true => fs::read(&entry).map_err(|source| Error::reading(&entry, source))?,
                false => Vec::new(),
            };
            // An entry that is not what its name says could send a collection to another folder.
            let whole = blake3::hash(&bytes).to_hex()[..32] == name;
            let path = whole.then(|| to_path(bytes));
            let path = path.map(|path| self.home().map_or(path.clone(), |home| home.join(path)));
            folders.push(ResultsFolder { path, entry });
        }
        folders.sort_by(|a, b| (&a.path, &a.entry).cmp(&(&b.path, &b.entry)));
        Ok(folders)
    }

    /// Notes that this process writes to `folder`, outside the store, for a while. The folder's name must
    /// have the [`mark`] of this process in it. Nothing where the store cannot be written.
    pub fn note_scratch(&self, folder: &Path) -> Option<Scratch> {
        let folder = fs::canonicalize(folder).ok()?;
        let bytes = to_bytes(&folder);
        let name = format!("{}.{}", mark(), &blake3::hash(&bytes).to_hex()[..16]);
        self.put(SCRATCH, &name, &bytes).ok()?;
        Some(Scratch(self.root.join(SCRATCH).join(name)))
    }

    /// Removes the temporary folders of commands that were killed on this machine.
    pub(super) fn sweep_scratch(&self) -> Result<(), Error> {
        for entry in self.entries(SCRATCH)? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some((mark, _)) = name.rsplit_once('.') else { continue };
            if !is_left(mark) {
                continue;
            }
            let bytes = fs::read(&entry).map_err(|source| Error::reading(&entry, source))?;
            let folder = to_path(bytes);
            let of_it = |name: &std::ffi::OsStr| name.to_string_lossy().contains(mark);
            // What cannot be removed, as others must not write there, is no reason not to run.
            if folder.file_name().is_some_and(of_it) && remove(&folder).is_err() {
                continue;
            }
            remove(&entry)?;
        }
        Ok(())
    }

    /// The folder that the store is in.
    fn home(&self) -> Option<&Path> {
        self.root.parent().filter(|home| home.is_absolute())
    }

    /// Writes a file of one of the store's lists, which is there whole or not at all.
    fn put(&self, folder: &str, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let folder = self.root.join(folder);
        let path = folder.join(name);
        let put = || -> io::Result<()> {
            fs::create_dir_all(&folder)?;
            let mut file = tempfile::Builder::new().prefix(".").tempfile_in(&folder)?;
            file.write_all(bytes)?;
            system::publish_file(file, &folder, &path)
        };
        put().map_err(|source| Error::writing(&path, source))
    }
}

impl ResultsFolder {
    /// The store's file for it.
    #[cfg(test)]
    pub(super) fn entry(&self) -> &Path {
        &self.entry
    }

    /// Takes the folder off the list.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn forget(&self) -> Result<(), Error> {
        remove(&self.entry)
    }

    /// What to call it: its path, or that of its damaged entry.
    pub fn name(&self) -> &Path {
        self.path.as_deref().unwrap_or(&self.entry)
    }
}

#[cfg(unix)]
fn to_bytes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(unix)]
fn to_path(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    OsString::from_vec(bytes).into()
}

#[cfg(not(unix))]
fn to_bytes(path: &Path) -> Vec<u8> {
    path.to_string_lossy().into_owned().into_bytes()
}

#[cfg(not(unix))]
fn to_path(bytes: Vec<u8>) -> PathBuf {
    OsString::from(String::from_utf8_lossy(&bytes).into_owned()).into()
}
