//! Runs that workers share: `runs/<id>/` has what was planned, by which program and for which backend, and a sign of
//! life of every worker. All workers of a run are of one program and one backend, so that none builds anew what others
//! have under another name. Knows nothing of what a plan says.
//!
//! A run is registered by renaming a whole folder, so that one of several processes does it. `stop` in the folder ends
//! its workers, and keeps others from joining until it is taken up again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::beacon::Beacon;
use super::error::Error;
use super::lock::{Lock, Name};
use super::sign::{self, Holder, dead_here, text_at};
use super::usage::{moved_within, read};
use super::{Store, list, remove};
use crate::system;

/// Where the runs are.
pub(super) const RUNS: &str = "runs";

/// What was planned, as a pipeline file.
const PLAN: &str = "plan.toml";

/// The rest of what is known of a run.
const RECORD: &str = "run.json";

/// The signs of life of its workers.
const WORKERS: &str = "workers";

/// The journals of workers that have left.
const LOGS: &str = "logs";

/// Machines whose backend is another one, a file for each.
const UNFIT: &str = "unfit";

/// Says that the workers are to end, and how.
const STOP: &str = "stop";

/// Says that results were written from what the workers built.
const DONE: &str = "done";

/// What a run's folder is called in the private one that it is moved to before it is removed.
const ASIDE: &str = "run";

/// So often a run is registered again that others take away at the same moment.
const ROUNDS: u32 = 8;

/// The word in [`STOP`] for [`Stop::Now`].
const NOW: &str = "now";

/// By whom and for what a run was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline file, as it was named on the command line.
    pub file: String,
    /// The `--set` arguments.
    pub set: Vec<String>,
    /// The folder that relative paths in the pipeline start from.
    pub folder: PathBuf,
    /// What the workers compute by.
    pub backend: String,
    /// The BLAKE3 digest of the program that the workers are.
    pub program: String,
    /// Its version.
    pub runner: String,
}

/// A run that workers share.
#[derive(Debug, Clone)]
pub struct SharedRun {
    /// The digest of what was planned, shortened.
    pub id: String,
    /// By whom and for what it was registered.
    pub record: RunRecord,
    /// Its folder.
    pub(super) folder: PathBuf,
}

/// How the workers of a run are to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// After their step, with a checkpoint.
    AfterStep,
    /// At once.
    Now,
}

/// A worker's place in a run; dropping it gives it up.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held until it is dropped")] Beacon);

impl SharedRun {
    /// What was planned, as a pipeline file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn plan(&self) -> Result<String, Error> {
        let path = self.folder.join(PLAN);
        fs::read_to_string(&path).map_err(|source| Error::reading(&path, source))
    }

    /// A folder for the journal of a worker that leaves, which is called `name`; none once the run is forgotten, whose
    /// folder must not come back.
    pub fn log(&self, name: &str) -> Option<PathBuf> {
        let logs = self.folder.join(LOGS);
        let log = logs.join(name);
        make(&logs).and_then(|()| make(&log)).ok().map(|()| log)
    }

    /// How its workers are to end, if they are.
    pub fn stop(&self) -> Option<Stop> {
        stop_in(&self.folder, &self.record)
    }

    /// Ends its workers, and lets no other join.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn end_workers(&self, how: Stop) -> Result<(), Error> {
        let path = self.folder.join(STOP);
        let word = match how {
            Stop::AfterStep => "",
            Stop::Now => NOW,
        };
        system::write_file(&path, word.as_bytes()).map_err(|source| Error::writing(&path, source))
    }

    /// Lets workers join again.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn take_up(&self) -> Result<(), Error> {
        remove(&self.folder.join(STOP))
    }

    /// Notes that results were written from what the workers built: from then on their record says what is needed.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn finish(&self) -> Result<(), Error> {
        let path = self.folder.join(DONE);
        fs::write(&path, "").map_err(|source| Error::writing(&path, source))
    }

    /// Whether results were written from what the workers built.
    pub fn is_finished(&self) -> bool {
        self.folder.join(DONE).exists()
    }

    /// Notes that the machine `node` computes by another `backend`, for people.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn note_unfit(&self, node: &str, backend: &str) -> Result<(), Error> {
        let folder = self.folder.join(UNFIT);
        let path = folder.join(node.replace('/', "_"));
        make(&folder)
            .and_then(|()| fs::write(&path, backend))
            .map_err(|source| Error::writing(&path, source))
    }

    /// The machines that were refused, with their backends, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn unfit(&self) -> Result<Vec<(String, String)>, Error> {
        let mut all = Vec::new();
        for path in list(&self.folder.join(UNFIT))? {
            let node = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            all.push((node, read(&path)?));
        }
        all.sort();
        Ok(all)
    }
}

/// How the workers are to end that joined the run in `folder` as `record` has it.
fn stop_in(folder: &Path, record: &RunRecord) -> Option<Stop> {
    match fs::read_to_string(folder.join(STOP)) {
        Ok(word) => Some(if word == NOW { Stop::Now } else { Stop::AfterStep }),
        // What cannot be read now may be read later. Without its record, or with another one, the run is over that they
        // joined.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_it = match text_at(&folder.join(RECORD)) {
                Ok(text) => text.is_some_and(|text| parsed(&text).is_some_and(|it| it == *record)),
                Err(_) => true,
            };
            (!is_it).then_some(Stop::AfterStep)
        }
        Err(_) => None,
    }
}

fn parsed(text: &str) -> Option<RunRecord> {
    serde_json::from_str(text).ok()
}

impl Store {
    /// Registers a run of `plan`, unless that is done; then gives the run that is there.
    ///
    /// # Errors
    /// When the store cannot be written, or what is registered under the same id is damaged.
    pub fn register_run(
        &self,
        id: &str,
        plan: &str,
        record: &RunRecord,
    ) -> Result<SharedRun, Error> {
        let home = self.root.join(RUNS);
        let folder = home.join(id);
        let register = || -> io::Result<()> {
            fs::create_dir_all(&home)?;
            let private = private_in(&home)?;
            let text = serde_json::to_vec_pretty(record).expect("a record is plain data");
            for (name, bytes) in [(PLAN, plan.as_bytes()), (RECORD, &text)] {
                system::write_file(&private.path().join(name), bytes)?;
            }
            fs::create_dir(private.path().join(WORKERS))?;
            make_readable(private.path())?;
            match fs::rename(private.path(), &folder) {
                Ok(()) => fs::File::open(&home)?.sync_all(),
                // Another process was faster.
                Err(_) if folder.exists() => Ok(()),
                Err(error) => Err(error),
            }
        };
        for _ in 0..ROUNDS {
            if let Some(run) = self.shared_run(id)? {
                return Ok(run);
            }
            if folder.exists() {
                self.set_aside_wreck(&folder)?;
            }
            register().map_err(|source| Error::writing(&folder, source))?;
        }
        Err(Error::Damaged { path: folder, reason: format!("its `{RECORD}` says nothing") })
    }

    /// Moves a folder away that has the name of a run and no record that this program can read, such as one that another
    /// version wrote. Nobody joins it, so it would be in the way for good.
    fn set_aside_wreck(&self, folder: &Path) -> Result<(), Error> {
        let _held = self.hold_run(folder)?;
        // Another process may have set the wreck aside and registered the run since this one looked.
        if parsed(&read(&folder.join(RECORD))?).is_some() {
            return Ok(());
        }
        let living = self.living_in(&folder.join(WORKERS))?;
        if let Some(worker) = living.first() {
            return Err(Error::RunUnreadable {
                path: folder.join(RECORD),
                who: worker.who.clone(),
            });
        }
        self.take_aside(folder)
    }

    /// Waits until nobody else may take the folder of a run away, and lets nobody until the lock is dropped. Whoever joins
    /// the run waits for that, too. So a folder is where it is while one of its workers lives: nobody has to move it to
    /// find out which run it is of, and to put it back.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn hold_run(&self, folder: &Path) -> Result<Lock, Error> {
        let what = format!("clearing up {}", folder.display());
        Lock::acquire(&self.lock_of_run(folder), &what, self.patience, &self.seen, |_| {})
    }

    fn lock_of_run(&self, folder: &Path) -> Name {
        let id = folder.file_name().unwrap_or_default().to_string_lossy();
        self.lock_name(&format!("run-{id}"))
    }

    /// Removes the folder of a run, which gets another name first, so that nobody finds half of it.
    fn take_aside(&self, folder: &Path) -> Result<(), Error> {
        let aside = private_in(&self.root.join(RUNS));
        let aside = aside.map_err(|source| Error::writing(folder, source))?;
        match fs::rename(folder, aside.path().join(ASIDE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.map_err(|source| Error::writing(folder, source)),
        }
    }

    /// The run of this id, if it is registered.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn shared_run(&self, id: &str) -> Result<Option<SharedRun>, Error> {
        let folder = self.root.join(RUNS).join(id);
        let record = parsed(&read(&folder.join(RECORD))?);
        Ok(record.map(|record| SharedRun { id: id.to_owned(), record, folder }))
    }

    /// All runs that are registered, by id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn shared_runs(&self) -> Result<Vec<SharedRun>, Error> {
        let mut all = Vec::new();
        for path in self.entries(RUNS)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // One that is only being written, or removed.
            if !name.contains('.') {
                all.extend(self.shared_run(&name)?);
            }
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// Forgets a run, unless another one has its place meanwhile. What its workers built stays.
    ///
    /// # Errors
    /// When workers are at it, or the store cannot be written.
    pub fn forget_run(&self, run: &SharedRun) -> Result<(), Error> {
        let _held = self.hold_run(&run.folder)?;
        if parsed(&read(&run.folder.join(RECORD))?).as_ref() != Some(&run.record) {
            return Ok(());
        }
        match self.workers(run)?.first() {
            None => self.take_aside(&run.folder),
            Some(worker) => Err(Error::RunAtWork { id: run.id.clone(), who: worker.who.clone() }),
        }
    }

    /// Whether nobody needs the folder of a run any more: its results are written, or it has no record, and no worker is
    /// at it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_over(&self, folder: &Path) -> Result<bool, Error> {
        let is_there = |name| {
            let path = folder.join(name);
            path.try_exists().map_err(|source| Error::reading(&path, source))
        };
        Ok((is_there(DONE)? || !is_there(RECORD)?)
            && self.living_in(&folder.join(WORKERS))?.is_empty())
    }

    /// Joins a run as a worker. `asked` is told, from another thread, once the workers are to end.
    ///
    /// # Errors
    /// When the run was forgotten or begun anew since it was found, or the store cannot be written.
    pub fn join_run(
        &self,
        run: &SharedRun,
        asked: impl FnMut(Stop) + Send + 'static,
    ) -> Result<Place, Error> {
        let workers = run.folder.join(WORKERS);
        for path in list(&workers)? {
            if sign::is_unborn_of_the_dead(&path) || dead_here(&read(&path)?) {
                remove(&path)?;
            }
        }
        let what = format!("worker of run {} of {}", run.id, run.record.pipeline);
        // More may be built now than the results have.
        remove(&run.folder.join(DONE))?;
        let asked = Arc::new(Mutex::new(asked));
        let mut gone = Error::RunGone { id: run.id.clone() };
        for _ in 0..ROUNDS {
            let (asked, run_seen) = (Arc::clone(&asked), run.clone());
            let lit = Beacon::light(&workers, (&what, ""), self.patience.beat, move || {
                if let Some(how) = run_seen.stop() {
                    asked.lock().unwrap_or_else(PoisonError::into_inner)(how);
                }
                true
            });
            // Whoever takes the folder away looks for workers once nobody else may: either it saw this one, or this one
            // sees that it is at it, and then what came of that.
            if Lock::held_by(&self.lock_of_run(&run.folder))?.is_some() {
                drop(self.hold_run(&run.folder)?);
            }
            let found = self.shared_run(&run.id)?.map(|it| it.record);
            if found.as_ref() != Some(&run.record) {
                break;
            }
            match lit {
                Ok((beacon, _)) if beacon.path().exists() => return Ok(Place(beacon)),
                // The run was begun anew as it was, after the folder went that had the sign.
                Ok(_) => {}
                Err(error) => gone = error,
            }
        }
        Err(gone)
    }

    /// The workers of a run that live, as far as their signs tell; nobody knows more of those of other machines. Where the
    /// store cannot be written, and so its clock not be asked, all count that are not known to be dead.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn workers(&self, run: &SharedRun) -> Result<Vec<Holder>, Error> {
        self.living_in(&run.folder.join(WORKERS))
    }

    fn living_in(&self, folder: &Path) -> Result<Vec<Holder>, Error> {
        let signs = list(folder)?;
        if signs.is_empty() {
            return Ok(Vec::new());
        }
        let now = system::now_in(folder).ok();
        let mut living = Vec::new();
        for path in signs {
            let text = read(&path)?;
            let holder = Holder::read(&text);
            let lives = match now {
                Some(now) => moved_within(self.patience.limit, &path, &text, now),
                None => holder.known && !holder.dead,
            };
            if lives {
                living.push(holder);
            }
        }
        living.sort_by(|a, b| a.who.cmp(&b.who));
        Ok(living)
    }

    /// Removes what processes left that died while they registered a run.
    pub(super) fn sweep_runs(&self) -> Result<(), Error> {
        for path in self.entries(RUNS)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mark = name.strip_prefix('.').and_then(|name| name.rsplit_once('.'));
            if mark.is_some_and(|(mark, _)| sign::is_left(mark)) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

/// Makes a folder in one that is there, unless it is there as well.
fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// A folder that goes with this process, beside the runs.
fn private_in(home: &Path) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix(&format!(".{}.", sign::mark())).tempdir_in(home)
}

/// Lets others read a temporary folder, which is made for its owner alone, as far as they may read the one it is in.
fn make_readable(folder: &Path) -> io::Result<()> {
    let home = folder.parent().expect("it lies in a folder");
    fs::set_permissions(folder, fs::metadata(home)?.permissions())
}
