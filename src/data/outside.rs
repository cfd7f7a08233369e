//! Files outside the store: the digest of what they hold, and how to see without reading them that it
//! is still the same.
//!
//! Content is the truth. A [`Stamp`] is a hint, as in git's index: while names, sizes, times and inodes
//! are those of files that were read before, their bytes are taken to be the same. Nothing here knows
//! what the files are for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;

use super::error::DataError;

/// Files that are read together, in a fixed order. Links are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    root: PathBuf,
    paths: Vec<PathBuf>,
}

/// Names, sizes, times and inodes of [`Files`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    digest: blake3::Hash,
    /// The latest change of any of them.
    newest: SystemTime,
}

/// A file system may give two changes the same time when they are less than this apart; FAT's are the
/// coarsest.
const GRAIN: Duration = Duration::from_secs(2);

impl Files {
    /// The files `paths`; those below `root` go by their names there, which count.
    pub fn new(root: impl Into<PathBuf>, paths: Vec<PathBuf>) -> Self {
        Self { root: root.into(), paths }
    }

    /// One file, whose name does not count.
    pub fn one(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { paths: vec![path.clone()], root: path }
    }

    /// BLAKE3 over the names below the root, the sizes and the contents.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn digest(&self) -> Result<String, DataError> {
        let digests: Vec<Result<(u64, blake3::Hash), DataError>> = self
            .paths
            .par_iter()
            .map(|path| {
                let io = |error| DataError::io(path, error);
                let file = File::open(path).map_err(io)?;
                let mut hasher = blake3::Hasher::new();
                hasher.update_reader(file).map_err(io)?;
                Ok((hasher.count(), hasher.finalize()))
            })
            .collect();
        let mut hasher = blake3::Hasher::new();
        for (path, digest) in self.paths.iter().zip(digests) {
            let (size, digest) = digest?;
            let name = path.strip_prefix(&self.root).unwrap_or(Path::new(""));
            let name = name.as_os_str().as_encoded_bytes();
            hasher.update(&(name.len() as u64).to_le_bytes()).update(name);
            hasher.update(&size.to_le_bytes()).update(digest.as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// How they look from outside.
    ///
    /// # Errors
    /// When one is not there, or is neither a file nor a link to one.
    pub fn stamp(&self) -> Result<Stamp, DataError> {
        let looks: Vec<Result<fs::Metadata, DataError>> = self
            .paths
            .par_iter()
            .map(|path| {
                let look = fs::metadata(path).map_err(|error| DataError::io(path, error))?;
                // Reading a pipe would wait for ever.
                if look.is_file() {
                    Ok(look)
                } else {
                    Err(DataError::malformed(path, "not a file"))
                }
            })
            .collect();
        let (mut hasher, mut newest) = (blake3::Hasher::new(), SystemTime::UNIX_EPOCH);
        for (path, look) in self.paths.iter().zip(looks) {
            let look = look?;
            let path = path.as_os_str().as_encoded_bytes();
            hasher.update(&(path.len() as u64).to_le_bytes()).update(path);
            hasher.update(&look.size().to_le_bytes()).update(&look.ino().to_le_bytes());
            // The time of a file's bytes can be set to anything, that of its inode cannot.
            for (seconds, rest) in
                [(look.mtime(), look.mtime_nsec()), (look.ctime(), look.ctime_nsec())]
            {
                hasher.update(&seconds.to_le_bytes()).update(&rest.to_le_bytes());
                let since = Duration::new(
                    u64::try_from(seconds).unwrap_or(0),
                    u32::try_from(rest).unwrap_or(0),
                );
                newest = newest.max(SystemTime::UNIX_EPOCH + since);
            }
        }
        Ok(Stamp { digest: hasher.finalize(), newest })
    }
}

impl Stamp {
    /// Whether any later change would show. A file that changed just now may change once more without
    /// getting another time.
    fn is_settled(&self, now: SystemTime) -> bool {
        now.duration_since(self.newest).is_ok_and(|age| age > GRAIN)
    }
}

/// Digests of files that were read before, with their stamps.
#[derive(Debug, Default)]
pub struct Known {
    /// Where they are kept; `None` when nothing is.
    folder: Option<PathBuf>,
    /// Whether new ones are kept.
    keeps: bool,
    /// What was looked at already: the trials of a sweep read the same.
    seen: RefCell<HashMap<String, String>>,
}

impl Known {
    /// Kept in `folder`, which may be deleted at any time.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), keeps: true, ..Self::default() }
    }

    /// What is kept in `folder`; nothing is added.
    pub fn from_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..Self::default() }
    }

    /// The digest of the files that `find` finds, under a name that says where it looks. They are read
    /// unless they look as when they were last read.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn digest(
        &self,
        name: &str,
        find: impl FnOnce() -> Result<Files, DataError>,
    ) -> Result<String, DataError> {
        if let Some(digest) = self.seen.borrow().get(name) {
            return Ok(digest.clone());
        }
        let (files, now) = (find()?, SystemTime::now());
        let stamp = files.stamp()?;
        let place = self
            .folder
            .as_ref()
            .map(|folder| folder.join(blake3::hash(name.as_bytes()).to_hex().as_str()));
        let kept = place.as_deref().and_then(|place| kept(place, &stamp));
        let digest = match kept {
            Some(digest) => digest,
            None => {
                let digest = files.digest()?;
                if let (Some(place), true) = (&place, self.keeps && stamp.is_settled(now))
                    && files.stamp()? == stamp
                {
                    keep(place, &stamp, &digest);
                }
                digest
            }
        };
        self.seen.borrow_mut().insert(name.to_owned(), digest.clone());
        Ok(digest)
    }
}

/// The digest at `place` if it is of files that look so. One that was damaged is none.
fn kept(place: &Path, stamp: &Stamp) -> Option<String> {
    let text = fs::read_to_string(place).ok()?;
    let (digest, check) = text.split_once('\n')?;
    (check == seal(stamp, digest)).then(|| digest.to_owned())
}

/// Keeps a digest. That it cannot be kept costs time, nothing else.
fn keep(place: &Path, stamp: &Stamp, digest: &str) {
    if let Some(folder) = place.parent() {
        let _ = fs::create_dir_all(folder);
    }
    // A half written one is no digest with its seal.
    let _ = fs::write(place, format!("{digest}\n{}", seal(stamp, digest)));
}

/// Binds a digest to a stamp.
fn seal(stamp: &Stamp, digest: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"runner stamp 1").update(stamp.digest.as_bytes()).update(digest.as_bytes());
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write;

    use super::*;

    fn set_time(path: &Path, time: SystemTime) {
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    /// A folder with two files.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        fs::write(folder.path().join("b"), "2").unwrap();
        folder
    }

    fn files(folder: &Path) -> Files {
        Files::new(folder, vec![folder.join("a"), folder.join("b")])
    }

    #[test]
    fn a_digest_changes_with_names_contents_and_order_only() {
        let (one, other) = (folder(), folder());
        let first = files(one.path()).digest().unwrap();
        assert_eq!(files(other.path()).digest().unwrap(), first);
        set_time(&one.path().join("a"), SystemTime::UNIX_EPOCH);
        assert_eq!(files(one.path()).digest().unwrap(), first);
        let (a, b) = (other.path().join("a"), other.path().join("b"));
        let swapped = Files::new(other.path(), vec![b.clone(), a.clone()]);
        assert_ne!(swapped.digest().unwrap(), first);
        fs::write(&a, "3").unwrap();
        assert_ne!(files(other.path()).digest().unwrap(), first);
        fs::write(&a, "1").unwrap();
        fs::rename(&a, other.path().join("c")).unwrap();
        let renamed = Files::new(other.path(), vec![b, other.path().join("c")]);
        assert_ne!(renamed.digest().unwrap(), first);
        assert!(files(other.path()).digest().is_err());
    }

    #[test]
    fn a_stamp_sees_a_change_that_keeps_size_and_time() {
        let folder = folder();
        let (files, a) = (files(folder.path()), folder.path().join("a"));
        let time = fs::metadata(&a).unwrap().modified().unwrap();
        let before = files.stamp().unwrap();
        assert_eq!(files.stamp().unwrap(), before);
        // Another file in its place, with the time of the first.
        fs::write(folder.path().join("new"), "3").unwrap();
        set_time(&folder.path().join("new"), time);
        fs::rename(folder.path().join("new"), &a).unwrap();
        assert_ne!(files.stamp().unwrap(), before);
    }

    #[test]
    fn a_stamp_follows_links_and_refuses_what_is_no_file() {
        let (folder, elsewhere) = (folder(), tempfile::tempdir().unwrap());
        let (a, target) = (folder.path().join("a"), elsewhere.path().join("t"));
        fs::write(&target, "x").unwrap();
        fs::remove_file(&a).unwrap();
        std::os::unix::fs::symlink(&target, &a).unwrap();
        let files = files(folder.path());
        let (before, digest) = (files.stamp().unwrap(), files.digest().unwrap());
        File::options().append(true).open(&target).unwrap().write_all(b"y").unwrap();
        assert_ne!(files.stamp().unwrap(), before);
        assert_ne!(files.digest().unwrap(), digest);
        fs::remove_file(&a).unwrap();
        fs::create_dir(&a).unwrap();
        assert!(files.stamp().unwrap_err().to_string().contains("not a file"));
    }

    #[test]
    fn only_what_changed_some_time_ago_is_settled() {
        let folder = folder();
        let stamp = files(folder.path()).stamp().unwrap();
        assert!(!stamp.is_settled(stamp.newest));
        assert!(!stamp.is_settled(stamp.newest + Duration::from_secs(1)));
        assert!(stamp.is_settled(stamp.newest + Duration::from_secs(3)));
        assert!(!stamp.is_settled(SystemTime::UNIX_EPOCH), "a clock that goes wrong");
    }

    #[test]
    fn what_is_kept_counts_for_files_that_look_the_same_and_only_whole() {
        let (folder, kept_in) = (folder(), tempfile::tempdir().unwrap());
        let files = files(folder.path());
        let (stamp, place) = (files.stamp().unwrap(), kept_in.path().join("x/y"));
        keep(&place, &stamp, "abc");
        assert_eq!(kept(&place, &stamp).as_deref(), Some("abc"));
        let text = fs::read_to_string(&place).unwrap();
        for damaged in [text.replace("abc", "abd"), text[..text.len() - 1].to_owned()] {
            fs::write(&place, damaged).unwrap();
            assert_eq!(kept(&place, &stamp), None);
        }
        keep(&place, &stamp, "abc");
        fs::write(folder.path().join("b"), "33").unwrap();
        assert_eq!(kept(&place, &files.stamp().unwrap()), None);
    }

    #[test]
    fn files_are_looked_for_once_for_all_who_ask() {
        let (folder, asked) = (folder(), Cell::new(0));
        let known = Known::default();
        let find = || {
            asked.set(asked.get() + 1);
            Ok(files(folder.path()))
        };
        let first = known.digest("a", find).unwrap();
        assert_eq!(known.digest("a", find).unwrap(), first);
        assert_eq!((asked.get(), &first), (1, &files(folder.path()).digest().unwrap()));
    }

    #[test]
    fn a_kept_digest_is_never_that_of_files_that_are_still_young() {
        let (folder, kept_in) = (folder(), tempfile::tempdir().unwrap());
        let known = Known::in_folder(kept_in.path());
        known.digest("a", || Ok(files(folder.path()))).unwrap();
        assert_eq!(fs::read_dir(kept_in.path()).unwrap().count(), 0);
    }
}
