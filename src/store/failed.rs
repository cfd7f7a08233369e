//! Why artifacts could not be built: a record in `failed/` for each, created exclusively under the task's lock,
//! so that all processes that work on a store at the same time see one outcome of a task, and try it once.
//!
//! A record holds for as long as a run is at work that it concerns: one that was at work when it was written, or
//! that began while it held. So processes that share the work agree, also those that join in later, and their
//! searches decide alike. Once all of these runs are over, the record is removed when the store is opened, and
//! the next run tries again by itself: whoever repaired the cause runs the same command and is not told about a
//! failure of the past. Whoever does not want to wait until the others are done says `--retry-failed`, for which
//! the records that it finds when it begins do not count; the message of a failure that another process wrote
//! down says so.
//!
//! Causes are not told apart. A diverged training fails everywhere, a full disk on one machine only; but a
//! search must not see such a task fail in one process and succeed in another. What is not recorded is that the
//! store itself could not be written: then there may be no record, and no search learns from it.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::lock::{Claim, Lock};
use super::names::fingerprint_in;
use super::sign::{Holder, text_at};
use super::{Store, remove};
use crate::digest::Fingerprint;
use crate::system;

/// Where the records are.
pub(super) const FAILED: &str = "failed";

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// Why it failed.
    pub message: String,
    /// What to do, a line each.
    pub help: Vec<String>,
    /// What failed, for people.
    pub what: String,
    /// The process that wrote the record: `process 12 on host`.
    pub who: String,
    /// When it did.
    pub when: String,
    /// The start of the task that failed, unlike all others.
    pub start: String,
    /// The runs that were at work then.
    runs: Vec<String>,
}

impl FailureRecord {
    /// Whether this process wrote it.
    pub fn is_own(&self) -> bool {
        self.who == Holder::own().who
    }
}

impl Store {
    fn failure_path(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.root.join(FAILED).join(format!("{fingerprint}.json"))
    }

    /// Why `fingerprint` cannot be built, as far as it concerns this run.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn failure(&self, fingerprint: &Fingerprint) -> Result<Option<FailureRecord>, Error> {
        let record = read(&self.failure_path(fingerprint))?;
        Ok(record.filter(|record| !self.forgiven.contains(&record.start)))
    }

    /// Writes down why `fingerprint` could not be built, which people know as `what`. Call with its lock held.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn record_failure(
        &self,
        fingerprint: &Fingerprint,
        lock: &Lock,
        what: &str,
        (message, help): (&str, &[String]),
    ) -> Result<FailureRecord, Error> {
        let path = self.failure_path(fingerprint);
        let record = FailureRecord {
            message: message.to_owned(),
            help: help.to_vec(),
            what: what.to_owned(),
            who: Holder::own().who,
            when: system::now().to_rfc3339(),
            start: lock.token().to_owned(),
            runs: self.living()?.into_iter().map(|run| run.token).collect(),
        };
        if self.failure(fingerprint)?.is_none() {
            // One that does not count for this run, or is none.
            remove(&path)?;
        }
        match create(&self.root.join(FAILED), &path, &record) {
            // A process that stood still and was taken over may have been here before.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(self.failure(fingerprint)?.unwrap_or(record))
            }
            created => created.map(|()| record).map_err(|source| Error::writing(&path, source)),
        }
    }

    /// Forgets why `fingerprint` could not be built: it was.
    ///
    /// # Errors
    /// When the record cannot be removed.
    pub fn clear_failure(&self, fingerprint: &Fingerprint) -> Result<(), Error> {
        remove(&self.failure_path(fingerprint))
    }

    /// All records, by task.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn failures(&self) -> Result<Vec<(Fingerprint, FailureRecord)>, Error> {
        let mut all = Vec::new();
        for path in self.entries(FAILED)? {
            let Some(fingerprint) = fingerprint_of(&path) else { continue };
            all.extend(read(&path)?.map(|record| (fingerprint, record)));
        }
        all.sort_unstable_by_key(|it| it.0);
        Ok(all)
    }

    /// The tasks that have a record.
    pub(super) fn failed_tasks(&self) -> Result<Vec<Fingerprint>, Error> {
        Ok(self.entries(FAILED)?.iter().filter_map(|path| fingerprint_of(path)).collect())
    }

    /// Removes the records that concern no run any more, each under its task's lock.
    pub(super) fn sweep_failures(&self) -> Result<(), Error> {
        let tasks = self.failed_tasks()?;
        if tasks.is_empty() {
            return Ok(());
        }
        let living = self.living()?;
        let is_over = |fingerprint: &Fingerprint| {
            let record = read(&self.failure_path(fingerprint))?;
            Ok::<_, Error>(!living.iter().any(|run| {
                let concerned = |record: &FailureRecord| record.runs.contains(&run.token);
                run.failures.contains(fingerprint) || record.as_ref().is_some_and(concerned)
            }))
        };
        for fingerprint in tasks {
            if !is_over(&fingerprint)? {
                continue;
            }
            let name = self.lock_name(&fingerprint.to_string());
            // Whoever holds the lock sees to the record.
            if let Claim::Mine(_lock) =
                Lock::attempt(&name, "clearing up", self.patience, &self.seen)?
                && is_over(&fingerprint)?
            {
                self.clear_failure(&fingerprint)?;
            }
        }
        Ok(())
    }
}

/// The task of a record.
fn fingerprint_of(path: &Path) -> Option<Fingerprint> {
    (path.extension()? == "json").then(|| fingerprint_in(&path.with_extension("")))?
}

/// What lies at `path`; nothing of what no runner wrote.
fn read(path: &Path) -> Result<Option<FailureRecord>, Error> {
    let text = text_at(path).map_err(|source| Error::reading(path, source))?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Has `record` appear at `path`, whole, unless there is one.
fn create(folder: &Path, path: &Path, record: &FailureRecord) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(".").tempfile_in(folder)?;
    file.write_all(&serde_json::to_vec_pretty(record).expect("a record is plain data"))?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}
