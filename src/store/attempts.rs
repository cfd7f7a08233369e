//! How often a task was begun and never ended: `attempts/<fingerprint>/` has a file for each start, which goes
//! when the task ends or is handed back. What stays is of processes that were killed, and a task that kills
//! every process that takes it, as it needs more memory than there is, must not go through all of them.
//!
//! The file's name says how far the task had come: starts from earlier checkpoints do not count, so a long
//! training on machines that are taken away again and again is no such task.
//!
//! A kill meets every task that its process has in hand, so only starts count in which the process had no other
//! task. Tasks may begin side by side until one of their starts was killed; from then on such a task is begun alone.
//! So the one that kills its processes is found after three more kills, and the others are built meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use super::departure::{Owed, owing};
use super::error::Error;
use super::lock::Lock;
use super::names::{fingerprint_in, newest_checkpoint};
use super::sign::{dead_here, token_in};
use super::{Store, list, remove};
use crate::digest::Fingerprint;

/// Where the starts are.
pub(super) const ATTEMPTS: &str = "attempts";

/// So many starts from the same point that did not end, each alone in its process, are enough.
pub const MOST_ATTEMPTS: usize = 3;

/// How the name of a start ends that was alone in its process.
const ALONE: &str = ".alone";

/// Removes one start, and the folder where there are no others.
fn take_back(file: &Path) {
    let _ = fs::remove_file(file);
    let _ = file.parent().map(fs::remove_dir);
}

/// A start of a task.
#[derive(Debug)]
pub struct Attempt {
    file: PathBuf,
    #[expect(dead_code, reason = "held until the start is over")]
    owed: Owed,
}

impl Attempt {
    /// The task ended, or was handed back in order: none of its starts counts any more.
    pub fn end(self) {
        // What cannot be removed is swept once the artifact is there.
        let _ = self.file.parent().map(fs::remove_dir_all);
    }

    /// Another process took over: only this start is over.
    pub fn abandon(self) {
        take_back(&self.file);
    }
}

/// The starts of a task that were killed where it is now.
#[derive(Debug)]
pub struct KilledStarts {
    folder: PathBuf,
    /// How the names of starts from here begin.
    from_here: String,
    names: Vec<String>,
}

impl KilledStarts {
    /// Whether there are any: then the task is to begin alone.
    pub fn any(&self) -> bool {
        !self.names.is_empty()
    }

    /// Notes that the task is begun, `alone` in its process or not; nothing when it was begun alone [`MOST_ATTEMPTS`]
    /// times from where it is now and no start came to an end. `lock` is held since these were looked up.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn begin(self, lock: &Lock, alone: bool) -> Result<Option<Attempt>, Error> {
        let Self { folder, from_here, names } = self;
        if names.iter().filter(|name| name.ends_with(ALONE)).count() >= MOST_ATTEMPTS {
            return Ok(None);
        }
        let end = if alone { ALONE } else { "" };
        let file = folder.join(format!("{from_here}{}{end}", lock.token()));
        let begin = || {
            let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, lock.line()));
            written.map_err(|source| {
                // It was not begun.
                take_back(&file);
                Error::writing(&file, source)
            })
        };
        let own = file.clone();
        let ((), owed) = owing(move || take_back(&own), begin)?;
        Ok(Some(Attempt { file, owed }))
    }
}

impl Store {
    fn attempts(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.root.join(ATTEMPTS).join(fingerprint.to_string())
    }

    /// The starts of `fingerprint` that were killed where it is now. Others are removed: they are of an earlier
    /// checkpoint, forgiven, or could not be written. Call with its lock held.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn killed_starts(&self, fingerprint: &Fingerprint) -> Result<KilledStarts, Error> {
        let steps = newest_checkpoint(&self.checkpoints(fingerprint))?.unwrap_or(0);
        let (folder, from_here) = (self.attempts(fingerprint), format!("{steps:012}-"));
        let mut names = Vec::new();
        for path in list(&folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_empty = fs::metadata(&path).is_ok_and(|found| found.len() == 0);
            if is_empty || !name.starts_with(&from_here) || self.forgiven.contains(&name) {
                remove(&path)?;
            } else {
                names.push(name);
            }
        }
        Ok(KilledStarts { folder, from_here, names })
    }

    /// The tasks of which starts did not end that were alone, with their number; what somebody builds now is none
    /// of these.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn killed(&self) -> Result<Vec<(Fingerprint, usize)>, Error> {
        let mut all = Vec::new();
        for (fingerprint, folder) in self.begun()? {
            let now = self.lock_name(&fingerprint.to_string()).holder()?;
            let now = now.filter(|(_, text)| !dead_here(text));
            let is_now = |path: &PathBuf| {
                let token = now.as_ref().map(|(_, text)| token_in(text));
                token.is_some_and(|token| path.to_string_lossy().contains(token))
            };
            let alone = |path: &PathBuf| path.to_string_lossy().ends_with(ALONE);
            let starts = list(&folder)?.into_iter();
            let starts = starts.filter(|path| alone(path) && !is_now(path)).count();
            if starts > 0 {
                all.push((fingerprint, starts));
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Forgets the starts of `fingerprint`.
    pub fn clear_attempts(&self, fingerprint: &Fingerprint) {
        let _ = fs::remove_dir_all(self.attempts(fingerprint));
    }

    /// The folder of every task that was begun and has not ended.
    pub(super) fn begun(&self) -> Result<Vec<(Fingerprint, PathBuf)>, Error> {
        let all = self.entries(ATTEMPTS)?.into_iter();
        Ok(all.filter_map(|path| Some((fingerprint_in(&path)?, path))).collect())
    }

    /// Removes the starts of tasks whose artifact is there.
    pub(super) fn sweep_attempts(&self) -> Result<(), Error> {
        for (fingerprint, path) in self.begun()? {
            if self.folder(&fingerprint).exists() {
                remove(&path)?;
            }
        }
        Ok(())
    }
}
