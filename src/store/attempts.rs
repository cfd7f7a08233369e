//! How often a task was begun and never ended: `attempts/<fingerprint>/` has a file for each start, which goes
//! when the task ends or is handed back. What stays is of processes that were killed, and a task that kills
//! every process that takes it, as it needs more memory than there is, must not go through all of them.
//!
//! The file's name says how far the task had come: starts from earlier checkpoints do not count, so a long
//! training on machines that are taken away again and again is no such task.

use std::fs;
use std::path::PathBuf;

use super::error::Error;
use super::lock::Lock;
use super::names::{fingerprint_in, newest_checkpoint};
use super::sign::{dead_here, token_in};
use super::{Store, list, remove};
use crate::digest::Fingerprint;

/// Where the starts are.
pub(super) const ATTEMPTS: &str = "attempts";

/// So many starts from the same point that did not end are enough.
pub const MOST_ATTEMPTS: usize = 3;

/// A start of a task.
#[derive(Debug)]
pub struct Attempt {
    file: PathBuf,
}

impl Attempt {
    /// The task ended, or was handed back in order: none of its starts counts any more.
    pub fn end(self) {
        // What cannot be removed is swept once the artifact is there.
        let _ = self.file.parent().map(fs::remove_dir_all);
    }

    /// Another process took over: only this start is over.
    pub fn abandon(self) {
        let _ = fs::remove_file(&self.file);
        // It stays where there are others.
        let _ = self.file.parent().map(fs::remove_dir);
    }
}

impl Store {
    fn attempts(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.root.join(ATTEMPTS).join(fingerprint.to_string())
    }

    /// Notes that `fingerprint` is begun; nothing when it was begun [`MOST_ATTEMPTS`] times from where it is now and
    /// no start came to an end. Call with its lock held.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn begin_attempt(
        &self,
        fingerprint: &Fingerprint,
        lock: &Lock,
    ) -> Result<Option<Attempt>, Error> {
        let folder = self.attempts(fingerprint);
        let steps = newest_checkpoint(&self.checkpoints(fingerprint))?.unwrap_or(0);
        let from_here = format!("{steps:012}-");
        let mut here = 0;
        for path in list(&folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.starts_with(&from_here) || self.forgiven.contains(&name) {
                remove(&path)?;
            } else {
                here += 1;
            }
        }
        if here >= MOST_ATTEMPTS {
            return Ok(None);
        }
        let file = folder.join(format!("{from_here}{}", lock.token()));
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&file, lock.line()))
            .map_err(|source| Error::writing(&file, source))?;
        Ok(Some(Attempt { file }))
    }

    /// The tasks of which starts did not end, with their number; what somebody builds now is none of these.
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
                token.is_some_and(|token| path.to_string_lossy().ends_with(token))
            };
            let starts = list(&folder)?.into_iter().filter(|path| !is_now(path)).count();
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
