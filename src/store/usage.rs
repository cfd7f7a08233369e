//! Who uses the store. From its beginning to the end of its results a run has a file in `users/`: a line
//! whose counter it moves, as in a lock, and below it the fingerprint of everything that it needs. A
//! collection keeps all of that.
//!
//! A run names what it needs before it looks for it, and then waits for a collection that may not have
//! read that; a collection holds its lock from before it reads until it has taken away. So either the
//! collection knows, or the run looks when the collection is over.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::beacon::Beacon;
use super::error::Error;
use super::lock::Lock;
use super::sign::{self, Holder, dead_here, lives_here, text_at, whole_text_at};
use super::{Store, remove};
use crate::digest::{Digest, Fingerprint};
use crate::system;

/// Where runs have their files.
const USERS: &str = "users";

/// The name of the lock that a collection holds.
const COLLECTION: &str = "collection";

/// A holder on another machine whose counter stood still for so long, by the file system's own clock, is
/// dead to a collection.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A run's file; dropping it ends it.
#[derive(Debug)]
pub(super) struct Usage {
    beacon: Beacon,
    /// To append to, and what was named so far.
    needs: Mutex<(File, HashSet<Fingerprint>)>,
}

/// A run that may live, as other runs see it.
#[derive(Debug)]
pub(super) struct LivingRun {
    /// The name of its file.
    pub token: String,
    /// What it carries out.
    pub plan: Option<Digest>,
}

/// How a line begins that says what the run carries out.
const PLAN: &str = "plan ";

/// Who uses a store, for a collection.
#[derive(Debug, Default)]
pub struct Users {
    /// Runs that may live.
    pub runs: Vec<Holder>,
    /// What these need.
    pub needs: HashSet<Fingerprint>,
    /// Makers of tasks that may live and whose run has no file, as those of older runners.
    pub others: Vec<Holder>,
    /// Files of runs that died on other machines.
    abandoned: Vec<PathBuf>,
}

impl Users {
    /// Removes what runs left that died on other machines.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn clear_abandoned(&self) -> Result<(), Error> {
        self.abandoned.iter().try_for_each(|path| remove(path))
    }
}

impl Usage {
    fn begin(
        folder: &Path,
        what: &str,
        plan: Option<&Digest>,
        beat: Duration,
    ) -> Result<Self, Error> {
        let plan = plan.map(|plan| format!("{PLAN}{plan}\n")).unwrap_or_default();
        let (beacon, needs) = Beacon::light(folder, (what, &plan), beat, || true)?;
        Ok(Self { beacon, needs: Mutex::new((needs, HashSet::new())) })
    }

    /// Names what the run needs; whether any of it is new.
    fn name(&self, wanted: &[Fingerprint]) -> Result<bool, Error> {
        let mut needs = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, named) = &mut *needs;
        let mut text = String::new();
        for fingerprint in wanted {
            if named.insert(*fingerprint) {
                // There may be tens of thousands.
                let _ = writeln!(text, "{fingerprint}");
            }
        }
        if let Err(source) = append(file, &text) {
            for fingerprint in wanted {
                named.remove(fingerprint);
            }
            return Err(Error::writing(self.beacon.path(), source));
        }
        Ok(!text.is_empty())
    }

    /// What tells the run from all others.
    pub(super) fn token(&self) -> String {
        self.beacon.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Adds lines at once, so that no reader finds half of one; and on a line of its own, should an earlier write have
/// ended within one.
fn append(file: &mut File, lines: &str) -> std::io::Result<()> {
    match lines {
        "" => Ok(()),
        lines => file.write_all(format!("\n{lines}").as_bytes()),
    }
}

impl Store {
    /// The store, in use by a run that does `what`, to people, and whose results go below `results`,
    /// until the last copy of it is dropped. `waiting` is told for which collection the run waits.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn enter(
        self,
        what: &str,
        results: &Path,
        waiting: impl FnMut(&str),
    ) -> Result<Self, Error> {
        let folder = self.root.join(USERS);
        let usage = Usage::begin(&folder, what, self.plan.as_ref(), self.patience.beat)?;
        self.remember(results)?;
        self.wait_for_collection(waiting)?;
        Ok(Self { usage: Some(usage.into()), ..self })
    }

    /// Says that the run that entered needs these: what [`find`](Self::find) finds of them afterwards
    /// stays until the run ends.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn need(&self, wanted: &[Fingerprint]) -> Result<(), Error> {
        match &self.usage {
            Some(usage) if usage.name(wanted)? => self.wait_for_collection(|_| {}),
            _ => Ok(()),
        }
    }

    fn wait_for_collection(&self, waiting: impl FnMut(&str)) -> Result<(), Error> {
        if self.lock_name(COLLECTION).path(0).symlink_metadata().is_ok() {
            drop(self.collect(waiting)?);
        }
        Ok(())
    }

    /// Waits until no other collection goes on; runs that begin wait until the lock is dropped, and those
    /// that go on do before they need anything new.
    ///
    /// # Errors
    /// When the lock file cannot be written.
    pub fn collect(&self, waiting: impl FnMut(&str)) -> Result<Lock, Error> {
        let name = self.lock_name(COLLECTION);
        Lock::acquire(&name, "gc", self.patience, &self.seen, waiting)
    }

    /// Who uses the store.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn users(&self) -> Result<Users, Error> {
        let locks = self.root.join("locks");
        let now = system::now_in(&locks).map_err(|source| Error::writing(&locks, source))?;
        let mut users = Users::default();
        for path in self.entries(USERS)? {
            let text = read(&path)?;
            if may_live(&path, &text, now) {
                users.runs.push(Holder::read(&text));
                let lines = text.lines().skip(1);
                users.needs.extend(lines.filter_map(|line| line.parse().ok().map(Fingerprint)));
            } else if Holder::read(&text).known {
                users.abandoned.push(path);
            }
        }
        for path in self.entries("locks")? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.ends_with(".lock") || name.starts_with(COLLECTION) {
                continue;
            }
            let text = text_at(&path).map_err(|source| Error::reading(&path, source))?;
            let text = text.unwrap_or_default();
            let holder = Holder::read(&text);
            // What no runner wrote holds nothing.
            if holder.known
                && may_live(&path, &text, now)
                && users.runs.iter().all(|run| run.who != holder.who)
            {
                users.others.push(holder);
            }
        }
        Ok(users)
    }

    /// The runs that may be at work.
    pub(super) fn living(&self) -> Result<Vec<LivingRun>, Error> {
        let locks = self.root.join("locks");
        let now = system::now_in(&locks).map_err(|source| Error::writing(&locks, source))?;
        self.living_at(Some(now))
    }

    /// The runs that may be at work at a time of the file system's clock; without it, also those of other machines
    /// whose counter stands still.
    pub(super) fn living_at(&self, now: Option<SystemTime>) -> Result<Vec<LivingRun>, Error> {
        let mut living = Vec::new();
        for path in self.entries(USERS)? {
            let text = read(&path)?;
            let lives = match now {
                Some(now) => may_live(&path, &text, now),
                None => Holder::read(&text).known && !dead_here(&text),
            };
            if lives {
                let plan = text.lines().find_map(|line| line.strip_prefix(PLAN)?.parse().ok());
                let token = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                living.push(LivingRun { token, plan });
            }
        }
        Ok(living)
    }

    /// The runs that use the store, also those of other machines that may have died.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn runs(&self) -> Result<Vec<Holder>, Error> {
        let read = |path: PathBuf| read(&path).map(|text| Holder::read(&text));
        let mut runs = self.entries(USERS)?.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        runs.retain(|run| run.known);
        Ok(runs)
    }

    /// Removes the files of runs that died on this machine.
    pub(super) fn sweep_users(&self) -> Result<(), Error> {
        for path in self.entries(USERS)? {
            let dead = || Ok::<_, Error>(dead_here(&read(&path)?));
            if sign::is_unborn_of_the_dead(&path) || dead()? {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

/// A run's file; nothing of what is none, or of a run that ended meanwhile.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    let text = whole_text_at(path).map_err(|source| Error::reading(path, source))?;
    Ok(text.unwrap_or_default())
}

/// Whether whoever moves the counter at `path` may live. On this machine the system knows; of another
/// one a counter that moves tells, by the clock of the file system, which is `now`.
fn may_live(path: &Path, text: &str, now: SystemTime) -> bool {
    moved_within(ABANDONED, path, text, now)
}

/// As [`may_live`], where a counter of another machine that stood still for `limit` tells that nobody moves it.
pub(super) fn moved_within(limit: Duration, path: &Path, text: &str, now: SystemTime) -> bool {
    if dead_here(text) || !Holder::read(text).known {
        return false;
    }
    let moved = fs::metadata(path).and_then(|found| found.modified());
    lives_here(text) || moved.is_ok_and(|at| now.duration_since(at).unwrap_or_default() < limit)
}
