//! Why artifacts could not be built: a record in `failed/` for each, created exclusively under the task's lock,
//! so that all processes that share the work of one plan see one outcome of a task, and try it once.
//!
//! A record concerns the runs of one plan and holds for as long as one of them is at work. So processes that share
//! a plan agree, also those that join in later, and their searches decide alike; runs of other plans try for
//! themselves. Once the runs of a plan are over, its records are removed when the store is opened, and the next run
//! tries again by itself: whoever repaired the cause runs the same command and is not told about a failure of the
//! past. With `--retry-failed` a run passes over the records that it finds when it begins, unless the run that
//! wrote one is still at work: of several processes that begin so one after the other, the first tries again.
//!
//! Causes are not told apart. A diverged training fails everywhere, a full disk on one machine only; but a
//! search must not see such a task fail in one process and succeed in another. What is not recorded is that the
//! store itself could not be written: then there may be no record, and no search learns from it.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::lock::{Claim, Lock};
use super::names::fingerprint_in;
use super::sign::{Holder, is_own_token, text_at};
use super::usage::LivingRun;
use super::{Store, remove};
use crate::digest::{Digest, Fingerprint};
use crate::system;

/// Where the records are.
pub(super) const FAILED: &str = "failed";

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureCause {
    /// What failed, and why.
    pub message: String,
    /// What to do, a line each.
    pub help: Vec<String>,
    /// Whether processes that ran it were killed.
    #[serde(default)]
    pub killed: bool,
}

/// Writing a record takes a moment: what is older and none was left by a process that was killed.
const LEFT: Duration = Duration::from_secs(3600);

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// Why it failed, and what to do.
    #[serde(flatten)]
    pub cause: FailureCause,
    /// What failed, for people.
    pub what: String,
    /// The process that wrote the record: `process 12 on host`.
    pub who: String,
    /// When it did.
    pub when: String,
    /// The start of the task that failed, unlike all others.
    pub start: String,
    /// The plan whose runs it concerns.
    #[serde(default)]
    plan: Option<Digest>,
    /// The run that wrote it.
    #[serde(default)]
    run: Option<String>,
}

impl FailureRecord {
    /// Whether this process wrote it.
    pub fn is_own(&self) -> bool {
        is_own_token(&self.start)
    }
}

impl Store {
    fn failure_path(&self, fingerprint: &Fingerprint) -> PathBuf {
        let plan = plan_word(self.plan.as_ref());
        self.root.join(FAILED).join(format!("{fingerprint}{plan}.json"))
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
        cause: FailureCause,
    ) -> Result<FailureRecord, Error> {
        let path = self.failure_path(fingerprint);
        let record = FailureRecord {
            cause,
            what: what.to_owned(),
            who: Holder::own().who,
            when: system::now().to_rfc3339(),
            start: lock.token().to_owned(),
            plan: self.plan,
            run: self.usage.as_ref().map(|usage| usage.token()),
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

    /// Forgets why `fingerprint` could not be built by runs of this plan: it was.
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
            let Some((fingerprint, _)) = named_by(&path) else { continue };
            all.extend(read(&path)?.map(|record| (fingerprint, record)));
        }
        all.sort_unstable_by_key(|it| it.0);
        Ok(all)
    }

    /// The records that concern a run which is not known to be dead. Writes nothing.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn failures_at_work(&self) -> Result<Vec<(Fingerprint, FailureRecord)>, Error> {
        let (mut all, runs) = (self.failures()?, self.living_at(None)?);
        all.retain(|(_, record)| runs.iter().any(|run| run.plan == record.plan));
        Ok(all)
    }

    /// The starts of those failures that do not count for a run which tries again.
    pub(super) fn failures_to_forgive(&self) -> Result<Vec<String>, Error> {
        let (all, runs) = (self.failures()?.into_iter(), self.living()?);
        let is_at_work = |record: &FailureRecord| {
            let run = record.run.as_ref();
            record.plan == self.plan
                && run.is_some_and(|it| runs.iter().any(|run| run.token == *it))
        };
        Ok(all.filter(|it| !is_at_work(&it.1)).map(|it| it.1.start).collect())
    }

    /// Removes the records that concern no run any more, each under its task's lock, and what is none.
    pub(super) fn sweep_failures(&self) -> Result<(), Error> {
        let all = self.entries(FAILED)?;
        if all.is_empty() {
            return Ok(());
        }
        let folder = self.root.join("locks");
        let now = system::now_in(&folder).map_err(|source| Error::writing(&folder, source))?;
        let living = self.living()?;
        let is_over = |plan: &str, living: &[LivingRun]| {
            living.iter().all(|run| plan_word(run.plan.as_ref()) != plan)
        };
        for path in all {
            let Some((fingerprint, plan)) = named_by(&path) else {
                let written = fs::symlink_metadata(&path).and_then(|found| found.modified());
                if written.is_ok_and(|at| now.duration_since(at).unwrap_or_default() > LEFT) {
                    remove(&path)?;
                }
                continue;
            };
            if !is_over(&plan, &living) {
                continue;
            }
            let name = self.lock_name(&fingerprint.to_string());
            // Whoever holds the lock sees to the record. A run may have begun since the others were listed.
            if let Claim::Mine(_lock) =
                Lock::attempt(&name, "clearing up", self.patience, &self.seen)?
                && is_over(&plan, &self.living()?)
            {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

/// The task of a record and the word of its plan, by the name of its file.
fn named_by(path: &Path) -> Option<(Fingerprint, String)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".json")?;
    let (fingerprint, plan) = name.split_at_checked(name.find('.').unwrap_or(name.len()))?;
    Some((fingerprint_in(Path::new(fingerprint))?, plan.to_owned()))
}

/// What the names of records of a plan have behind the fingerprint.
fn plan_word(plan: Option<&Digest>) -> String {
    plan.map(|plan| format!(".{}", &plan.to_string()[..16])).unwrap_or_default()
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
