//! Runs that workers share: `runs/<id>/` has what was planned, by which program and for which backend, a sign of
//! life of every worker, and where a queue starts them what it was asked for and what they print. All workers of a run
//! are of one program and one backend, so that none builds anew what others have under another name. Knows nothing of
//! what a plan says.
//!
//! A run is registered by renaming a whole folder, so that one of several processes does it. `stop` in the folder ends
//! its workers, and keeps others from joining until it is taken up again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::beacon::Beacon;
use super::error::Error;
use super::lock::{Claim, Lock, Name};
use super::sign::{self, Holder, dead_here};
use super::usage::{moved_within, read};
use super::{Store, list, remove};
use crate::system;

/// Where the runs are.
pub(super) const RUNS: &str = "runs";

/// What was planned, as a pipeline file.
const PLAN: &str = "plan.toml";

/// The rest of what is known of a run.
const RECORD: &str = "run.json";

/// What the workers compute by: created once, by whoever knows it first.
const BACKEND: &str = "backend";

/// Where its workers come from, where a queue starts them: the text of a site's file.
const SITE: &str = "site.toml";

/// The line of shell that takes it up again, from any folder.
const AGAIN: &str = "again";

/// What a queue was asked for, a file for each order.
const ORDERS: &str = "orders";

/// What was asked for so long ago comes no more.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// The ending of the mark that a worker leaves beside its log when it ended before it came to work, or with an error.
pub const ENDED: &str = ".ended";

/// What workers that a queue starts print.
const LIVES: &str = "lives";

/// Which workers that a queue started have come to work, an empty file for each.
const BEGUN: &str = "begun";

/// The lock of the process that has a queue start workers.
const DRIVER: &str = "driver";

/// The signs of life of its workers.
const WORKERS: &str = "workers";

/// The journals of workers that have left.
const LOGS: &str = "logs";

/// Machines whose backend is another one, a file for each.
const UNFIT: &str = "unfit";

/// Machines on which the queue is to start no more workers, as it calls them, a file for each.
const EXCLUDED: &str = "excluded";

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
    /// The BLAKE3 digest of the program that the workers are.
    pub program: String,
    /// Its version.
    pub runner: String,
}

/// Workers that a queue was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// What the order is called. So is its worker, or so begin the names of all its workers.
    pub id: String,
    /// Their class.
    pub class: String,
    /// How many were asked for.
    pub lives: u32,
    /// How long ago.
    pub age: Duration,
}

/// A run that workers share.
#[derive(Debug, Clone)]
pub struct SharedRun {
    /// The digest of what was planned, shortened.
    pub id: String,
    /// By whom and for what it was registered.
    pub record: RunRecord,
    /// Tells it from one that is registered later under the same id.
    instance: String,
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

    /// What its workers compute by, if that is settled.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn backend(&self) -> Result<Option<String>, Error> {
        let text = read(&self.folder.join(BACKEND))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// What its workers compute by: `own`, unless that is settled.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn settle_backend(&self, own: &str) -> Result<String, Error> {
        let path = self.folder.join(BACKEND);
        if let Some(settled) = self.backend()? {
            return Ok(settled);
        }
        // It appears with its text, and once.
        let private = self.folder.join(format!(".{}.{BACKEND}", sign::mark()));
        let write = || -> io::Result<()> {
            system::write_file(&private, own.as_bytes())?;
            match fs::hard_link(&private, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // Some file systems have no links: then the last one of those that come at the same moment counts.
                Err(_) => fs::rename(&private, &path)?,
                Ok(()) => {}
            }
            remove(&private).map_err(io::Error::other)
        };
        write().map_err(|source| Error::writing(&path, source))?;
        Ok(self.backend()?.unwrap_or_else(|| own.to_owned()))
    }

    /// The text of the file of the site that its workers come from; nothing where no queue starts them.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn site(&self) -> Result<Option<String>, Error> {
        let text = read(&self.folder.join(SITE))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Has its workers come from a site with this text.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put_site(&self, text: &str) -> Result<(), Error> {
        let path = self.folder.join(SITE);
        system::write_file(&path, text.as_bytes()).map_err(|source| Error::writing(&path, source))
    }

    /// The folder for what workers that a queue starts print: `LIFE.log`. It is there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn lives(&self) -> Result<PathBuf, Error> {
        let folder = self.folder.join(LIVES);
        make(&folder).map_err(|source| Error::writing(&folder, source))?;
        Ok(folder)
    }

    /// Notes that a worker came to work, or left in order, which a queue had started as `life`.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn note_life(&self, life: &str) -> Result<(), Error> {
        self.put(BEGUN, life, "")
    }

    /// Notes that a worker has left in order without having begun anything, and `why`.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn note_idle_life(&self, life: &str, why: &str) -> Result<(), Error> {
        self.put(BEGUN, life, why)
    }

    /// Notes that a worker has ended with an error, and which. One that ends before it can say so is marked by the shell
    /// that was to become it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn note_life_failed(&self, life: &str, error: &str) -> Result<(), Error> {
        self.put(LIVES, &format!("{life}{ENDED}"), error)
    }

    /// The workers that ended with an error, and with which; it is empty of those that ended before they came to work.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn ended_lives(&self) -> Result<HashMap<String, String>, Error> {
        let mut all = HashMap::new();
        for path in list(&self.folder.join(LIVES))? {
            if let Some(life) = name_of(&path).strip_suffix(ENDED) {
                all.insert(life.to_owned(), read(&path)?);
            }
        }
        Ok(all)
    }

    /// Why a worker has left that had begun nothing; empty of any other.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn why_idle(&self, life: &str) -> Result<String, Error> {
        read(&self.folder.join(BEGUN).join(life.replace('/', "_")))
    }

    /// Writes `text` into a file of a folder of the run's.
    fn put(&self, folder: &str, name: &str, text: &str) -> Result<(), Error> {
        let folder = self.folder.join(folder);
        let path = folder.join(name.replace('/', "_"));
        make(&folder)
            .and_then(|()| system::write_file(&path, text.as_bytes()))
            .map_err(|source| Error::writing(&path, source))
    }

    /// Notes that a queue is asked for `lives` workers of a class, whose names are `id` or begin with it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn note_order(&self, id: &str, class: &str, lives: u32) -> Result<(), Error> {
        self.put(ORDERS, id, &format!("{lives} {class}\n"))
    }

    /// What the queue was asked for by all drivers; what is older than a day comes no more and is left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn orders(&self) -> Result<Vec<Ordered>, Error> {
        let folder = self.folder.join(ORDERS);
        let paths = list(&folder)?;
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let now = system::now_in(&folder).map_err(|source| Error::writing(&folder, source))?;
        let mut all = Vec::new();
        for path in paths {
            let text = read(&path)?;
            let Some((lives, class)) = text.trim_end().split_once(' ') else { continue };
            let Ok(lives) = lives.parse() else { continue };
            let Ok(made) = fs::metadata(&path).and_then(|found| found.modified()) else { continue };
            let age = now.duration_since(made).unwrap_or_default();
            if age < FORGOTTEN {
                let class = class.to_owned();
                all.push(Ordered { id: name_of(&path), class, lives, age });
            }
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// Takes an order out of the list: nobody comes of it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn forget_order(&self, id: &str) -> Result<(), Error> {
        remove(&self.folder.join(ORDERS).join(id))
    }

    /// Takes all orders out of the list.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn forget_orders(&self) -> Result<(), Error> {
        remove(&self.folder.join(ORDERS))
    }

    /// The line of shell that takes it up again, from any folder; nothing where workers began it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn again(&self) -> Result<Option<String>, Error> {
        Ok(Some(read(&self.folder.join(AGAIN))?).filter(|line| !line.is_empty()))
    }

    /// Has it be taken up by this line of shell.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put_again(&self, line: &str) -> Result<(), Error> {
        let path = self.folder.join(AGAIN);
        system::write_file(&path, line.as_bytes()).map_err(|source| Error::writing(&path, source))
    }

    /// Its id and where its store is: no other run has this name, of whichever user.
    pub fn label(&self) -> String {
        let root = self.folder.ancestors().nth(2).unwrap_or(&self.folder);
        label_of(root, &self.id)
    }

    /// The workers that came to work, of those that a queue started.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn begun_lives(&self) -> Result<HashSet<String>, Error> {
        let names = list(&self.folder.join(BEGUN))?.into_iter().map(|path| name_of(&path));
        // One that begins with a dot is only being written.
        Ok(names.filter(|name| !name.starts_with('.')).collect())
    }

    /// How its workers are to end, if they are.
    pub fn stop(&self) -> Option<Stop> {
        match fs::read_to_string(self.folder.join(STOP)) {
            Ok(word) => Some(if word == NOW { Stop::Now } else { Stop::AfterStep }),
            // What cannot be read now may be read later.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (!self.is_registered().unwrap_or(true)).then_some(Stop::AfterStep)
            }
            Err(_) => None,
        }
    }

    /// Whether it is registered still: neither forgotten nor begun anew.
    fn is_registered(&self) -> Result<bool, Error> {
        let found = parsed(&read(&self.folder.join(RECORD))?);
        Ok(found.is_some_and(|it| it.instance == self.instance))
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

    /// Notes that more may be built now than the results have.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn reopen(&self) -> Result<(), Error> {
        remove(&self.folder.join(DONE))
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
        self.put(UNFIT, node, backend)
    }

    /// The machines that were refused, with their backends, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn unfit(&self) -> Result<Vec<(String, String)>, Error> {
        self.machines(UNFIT)
    }

    /// Notes that the queue is to start no more workers on the machine that it calls `node`, which computes by another
    /// `backend`. A machine where somebody typed a worker is none of these.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn exclude(&self, node: &str, backend: &str) -> Result<(), Error> {
        self.put(EXCLUDED, node, backend)
    }

    /// The machines on which the queue is to start no more workers, with their backends, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn excluded(&self) -> Result<Vec<(String, String)>, Error> {
        self.machines(EXCLUDED)
    }

    fn machines(&self, folder: &str) -> Result<Vec<(String, String)>, Error> {
        let mut all = Vec::new();
        for path in list(&self.folder.join(folder))? {
            all.push((name_of(&path), read(&path)?));
        }
        // One that begins with a dot is only being written.
        all.retain(|(node, _)| !node.starts_with('.'));
        all.sort();
        Ok(all)
    }
}

/// What the file [`RECORD`] has.
#[derive(Debug, Serialize, Deserialize)]
struct Registered<R> {
    /// Tells the run from one that is registered later for the same plan by the same program.
    instance: String,
    #[serde(flatten)]
    record: R,
}

fn parsed(text: &str) -> Option<Registered<RunRecord>> {
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
            let registered = Registered { instance: sign::random_digits(), record };
            let text = serde_json::to_vec_pretty(&registered).expect("a record is plain data");
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
        let living = self.signs_in(&folder.join(WORKERS))?.0;
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
        let found = parsed(&read(&folder.join(RECORD))?);
        Ok(found.map(|Registered { instance, record }| SharedRun {
            id: id.to_owned(),
            record,
            instance,
            folder,
        }))
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
        if !run.is_registered()? {
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
            && self.signs_in(&folder.join(WORKERS))?.0.is_empty())
    }

    /// Tries to become the process that has a queue start the workers of a run.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn drive(&self, run: &SharedRun) -> Result<Claim, Error> {
        let name = Name::new(run.folder.clone(), DRIVER.to_owned());
        let what = format!("driver of run {}", run.id);
        Lock::attempt(&name, &what, self.patience, &self.seen)
    }

    /// Who has a queue start the workers of a run, as far as signs of life tell.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn driver(&self, run: &SharedRun) -> Result<Option<Holder>, Error> {
        let name = Name::new(run.folder.clone(), DRIVER.to_owned());
        let Some((generation, text)) = name.holder()? else { return Ok(None) };
        let holder = Holder::read(&text);
        let lives = match system::now_in(&run.folder) {
            Ok(now) => moved_within(self.patience.limit, &name.path(generation), &text, now),
            Err(_) => holder.known && !holder.dead,
        };
        Ok(lives.then_some(holder))
    }

    /// As [`SharedRun::label`], of a run that may not be registered yet.
    pub fn label(&self, id: &str) -> String {
        label_of(&self.root, id)
    }

    /// Joins a run as a worker, which a queue may have started as `life`. `asked` is told, from another thread, once the
    /// workers are to end.
    ///
    /// # Errors
    /// When the run was forgotten or begun anew since it was found, or the store cannot be written.
    pub fn join_run(
        &self,
        run: &SharedRun,
        life: Option<&str>,
        mut asked: impl FnMut(Stop) + Send + 'static,
    ) -> Result<Place, Error> {
        let workers = run.folder.join(WORKERS);
        for path in list(&workers)? {
            if sign::is_unborn_of_the_dead(&path) || dead_here(&read(&path)?) {
                remove(&path)?;
            }
        }
        let life = life.map(|life| format!(", life {life}")).unwrap_or_default();
        let what = format!("worker of run {} of {}{life}", run.id, run.record.pipeline);
        run.reopen()?;
        let run_seen = run.clone();
        let lit = Beacon::light(&workers, (&what, ""), self.patience.beat, move || {
            if let Some(how) = run_seen.stop() {
                asked(how);
            }
            true
        });
        // Whoever takes the folder away looks for workers once nobody else may: either it saw this one, or this one sees
        // that it is at it, and then what came of that.
        if Lock::held_by(&self.lock_of_run(&run.folder))?.is_some() {
            drop(self.hold_run(&run.folder)?);
        }
        if !run.is_registered()? {
            return Err(Error::RunGone { id: run.id.clone() });
        }
        Ok(Place(lit?.0))
    }

    /// The workers of a run that live, as far as their signs tell; nobody knows more of those of other machines. Where the
    /// store cannot be written, and so its clock not be asked, all count that are not known to be dead.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn workers(&self, run: &SharedRun) -> Result<Vec<Holder>, Error> {
        Ok(self.signs_in(&run.folder.join(WORKERS))?.0)
    }

    /// The workers of a run that gave signs of life, give none any more, and have not left in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn silent_workers(&self, run: &SharedRun) -> Result<Vec<Holder>, Error> {
        Ok(self.signs_in(&run.folder.join(WORKERS))?.1)
    }

    /// Those that live, and those that do not.
    fn signs_in(&self, folder: &Path) -> Result<(Vec<Holder>, Vec<Holder>), Error> {
        let signs = list(folder)?;
        if signs.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let now = system::now_in(folder).ok();
        let (mut living, mut silent) = (Vec::new(), Vec::new());
        for path in signs {
            let text = read(&path)?;
            let holder = Holder::read(&text);
            let lives = match now {
                Some(now) => moved_within(self.patience.limit, &path, &text, now),
                None => holder.known && !holder.dead,
            };
            if lives { living.push(holder) } else { silent.push(holder) }
        }
        living.sort_by(|a, b| a.who.cmp(&b.who));
        Ok((living, silent))
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

/// The id of a run and a digest of where its store is, which has one name however it is reached.
fn label_of(root: &Path, id: &str) -> String {
    let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    let mut real = root.clone();
    // A store that is not there yet lies in a folder that is.
    for above in root.ancestors() {
        if let Ok(found) = fs::canonicalize(above) {
            let rest = root.strip_prefix(above).unwrap_or(Path::new(""));
            real = if rest.as_os_str().is_empty() { found } else { found.join(rest) };
            break;
        }
    }
    let digest = blake3::hash(real.as_os_str().as_encoded_bytes()).to_hex();
    format!("{id}-{}", &digest[..8])
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
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
