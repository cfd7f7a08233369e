//! Artifacts on disk, named by fingerprint. A reader never sees half of one, and what a dead runner left
//! behind is cleared away when a store is opened. Knows neither stages nor the graph.

mod attempts;
mod beacon;
mod checked;
mod departure;
mod error;
mod failed;
mod folders;
mod inventory;
mod lock;
mod lookout;
mod manifest;
mod names;
mod patience;
mod publish;
mod runs;
mod sightings;
mod sign;
mod usage;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use attempts::{Attempt, MOST_ATTEMPTS};
pub use checked::Checked;
pub use departure::leave_at_once;
pub use error::Error;
pub use failed::{FailureCause, FailureRecord};
pub use folders::ResultsFolder;
pub use inventory::{Garbage, Unfinished, Waste};
pub use lock::{Claim, Lock};
pub use lookout::{Lookout, WatchedTasks};
use manifest::Examined;
pub use manifest::{ANY_BACKEND, InputRecord, Manifest, VERSION};
pub use patience::Patience;
pub use publish::{RESERVED, Staging};
pub use runs::{ENDED, Ordered, Place, RunRecord, SharedRun, Stop};
use sightings::Sightings;
pub use sign::{Holder, Sign, is_left, mark, node};
use usage::Usage;
pub use usage::Users;

use crate::digest::{Content, Digest, Fingerprint};
use crate::system;

/// A folder of artifacts.
///
/// # Examples
///
/// ```
/// use runner::digest::Fingerprint;
/// use runner::store::{self, Claim, Found, Manifest, Staging, Store};
///
/// let folder = tempfile::tempdir()?;
/// let store = Store::open(folder.path())?;
/// let fingerprint = Fingerprint(blake3::hash(b"settings and inputs").into());
/// assert!(matches!(store.find(&fingerprint)?, Found::Nothing));
///
/// // Whoever holds the lock writes to a private folder, which becomes the artifact all at once.
/// let Claim::Mine(lock) = store.try_lock(&fingerprint, "greeting")? else { panic!("nobody has it") };
/// let staging = store.stage(&fingerprint, &lock)?;
/// std::fs::write(staging.path().join("greeting.txt"), "hello")?;
/// staging.publish(Manifest {
///     version: store::VERSION,
///     kind: "greeting".into(),
///     revision: 1,
///     backend: "cpu".into(),
///     settings: serde_json::json!({}),
///     external: None,
///     inputs: Vec::new(),
///     fingerprint,
///     content: Staging::no_content(),
///     files: Vec::new(),
///     runner: env!("CARGO_PKG_VERSION").into(),
///     created: "2026-01-01T00:00:00Z".into(),
/// })?;
/// let Found::Whole(artifact) = store.find(&fingerprint)? else { panic!("it was published") };
/// assert_eq!(std::fs::read(artifact.path.join("greeting.txt"))?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    patience: Patience,
    /// What its run carries out.
    plan: Option<Digest>,
    /// The entry of the run that entered the store.
    usage: Option<Arc<Usage>>,
    /// The locks of others, as this process saw them.
    seen: Arc<Sightings>,
    /// Starts of tasks that failed or were killed and do not count for this run.
    forgiven: Arc<HashSet<String>>,
}

/// A published artifact.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Its folder.
    pub path: PathBuf,
    /// The digest of its data.
    pub content: Content,
    /// One line on what it is, for people.
    pub summary: String,
}

/// What [`Store::find`] found.
#[derive(Debug)]
pub enum Found {
    /// A whole artifact.
    Whole(Artifact),
    /// Nothing.
    Nothing,
    /// A damaged artifact, with the reason.
    Damaged(String),
}

impl Artifact {
    /// What it is and what it was made from; the inner error says how that is damaged.
    ///
    /// # Errors
    /// When it cannot be read, or a newer runner wrote it.
    pub fn manifest(&self) -> Result<Result<Manifest, String>, Error> {
        Manifest::read(&self.path)
    }
}

impl Store {
    /// The store in `root`, created when there is none. Clears away what dead runners left half written.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let store = Self::join(root)?;
        store.sweep_locks()?;
        store.sweep_users()?;
        store.sweep_scratch()?;
        store.sweep_staging()?;
        store.sweep_checkpoints()?;
        store.sweep_attempts()?;
        store.sweep_runs()?;
        Ok(store)
    }

    /// As [`Store::open`], for a worker that joins others: nothing is cleared away but records of failures that concern
    /// nobody, as a hundred workers would otherwise read every lock and every folder at each of their starts.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn join(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let store = Self { patience: Patience::of_environment()?, ..Self::peek(root) };
        for folder in ["artifacts", "staging", "locks", "downloads"] {
            let path = store.root.join(folder);
            system::create_folder(&path).map_err(|source| Error::writing(&path, source))?;
        }
        // Relative paths would break for a stage that changes its folder.
        let root =
            fs::canonicalize(&store.root).map_err(|source| Error::reading(&store.root, source))?;
        let store = Self { root, ..store };
        store.check_version()?;
        store.begin_list_of_folders()?;
        store.sweep_failures()?;
        Ok(store)
    }

    /// Refuses a store of a newer runner, and says in a fresh one of which version it is.
    fn check_version(&self) -> Result<(), Error> {
        let path = self.root.join("version");
        match system::read_file(&path) {
            Ok(text) => match String::from_utf8_lossy(&text).trim().parse() {
                Ok(found) if found > VERSION => {
                    Err(Error::Newer { path: self.root.clone(), found, known: VERSION })
                }
                _ => Ok(()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::write(&path, format!("{VERSION}\n"))
                    .map_err(|source| Error::writing(&path, source))
            }
            Err(source) => Err(Error::reading(&path, source)),
        }
    }

    /// The store with another patience for silent lock holders.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// How long it waits for whom.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// The store for a run that carries out `plan`: it shares failures with the runs of the same.
    #[must_use]
    pub fn for_plan(self, plan: Digest) -> Self {
        Self { plan: Some(plan), ..self }
    }

    /// A view of the store in `root` that writes nothing, not even the folder.
    pub fn peek(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            patience: Patience::default(),
            plan: None,
            usage: None,
            seen: Arc::default(),
            forgiven: Arc::default(),
        }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of the output of frozen layers that was too large for memory. It may be deleted at any time:
    /// what is needed is computed again.
    pub fn activations(&self) -> PathBuf {
        self.root.join("activations")
    }

    /// Folder where whoever builds `fingerprint` keeps what it resumes from. There is one only while the
    /// artifact is not there yet, and it outlives the process.
    pub fn checkpoints(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.root.join("checkpoints").join(fingerprint.to_string())
    }

    /// Removes what was kept to resume from: the artifact of `fingerprint` is there. What cannot be removed
    /// now is swept when a store is opened.
    pub fn clear_checkpoints(&self, fingerprint: &Fingerprint) {
        let _ = fs::remove_dir_all(self.checkpoints(fingerprint));
    }

    /// Folder of partial and finished downloads.
    pub fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// Folder of the digests of files outside the store. It may be deleted at any time: the files are read
    /// again.
    pub fn outside(&self) -> PathBuf {
        self.root.join("outside")
    }

    /// Where the artifact of `fingerprint` is, if there is one.
    pub fn folder(&self, fingerprint: &Fingerprint) -> PathBuf {
        let name = fingerprint.to_string();
        self.root.join("artifacts").join(&name[..2]).join(&name)
    }

    /// The artifact of `fingerprint`: its manifest is read and its files' sizes compared. Changes
    /// nothing.
    ///
    /// # Errors
    /// When the folder cannot be read, or a newer runner wrote it.
    pub fn find(&self, fingerprint: &Fingerprint) -> Result<Found, Error> {
        let path = self.folder(fingerprint);
        Ok(match manifest::examine(&path, fingerprint)? {
            Examined::Nothing => Found::Nothing,
            Examined::Damaged(reason) => Found::Damaged(reason),
            Examined::Whole(content, summary) => Found::Whole(Artifact { path, content, summary }),
        })
    }

    /// As [`Store::find`], with every byte of the artifact compared.
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn verify(&self, fingerprint: &Fingerprint) -> Result<Found, Error> {
        let found = self.find(fingerprint)?;
        let Found::Whole(artifact) = &found else { return Ok(found) };
        Ok(match artifact.manifest()? {
            Err(damage) => Found::Damaged(damage),
            Ok(manifest) => match manifest.damage(&artifact.path)? {
                Some(damage) => Found::Damaged(damage),
                None => found,
            },
        })
    }

    /// What the artifact of `fingerprint` was built from, if there is a whole one.
    pub fn manifest(&self, fingerprint: &Fingerprint) -> Option<Manifest> {
        match self.find(fingerprint) {
            Ok(Found::Whole(artifact)) => artifact.manifest().ok()?.ok(),
            _ => None,
        }
    }

    /// Moves a damaged artifact to `damaged/` and returns where. Call with its lock held.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn set_aside(&self, fingerprint: &Fingerprint, reason: &str) -> Result<PathBuf, Error> {
        let folder = self.root.join("damaged");
        fs::create_dir_all(&folder).map_err(|source| Error::writing(&folder, source))?;
        let aside = (0..)
            .map(|number| folder.join(format!("{fingerprint}-{number}")))
            .find(|path| !path.exists())
            .expect("a free number exists");
        fs::rename(self.folder(fingerprint), &aside)
            .map_err(|source| Error::writing(&aside, source))?;
        let note = aside.with_extension("txt");
        fs::write(&note, format!("{reason}\n")).map_err(|source| Error::writing(&note, source))?;
        Ok(aside)
    }

    /// Shows the artifact of another store in this one, without a copy.
    ///
    /// # Errors
    /// When the link cannot be made.
    pub fn borrow(&self, fingerprint: &Fingerprint, folder: &Path) -> Result<(), Error> {
        let path = self.folder(fingerprint);
        let parent = path.parent().expect("artifacts lie in a folder");
        fs::create_dir_all(parent).map_err(|source| Error::writing(parent, source))?;
        let folder = fs::canonicalize(folder).map_err(|source| Error::reading(folder, source))?;
        #[cfg(unix)]
        let made = std::os::unix::fs::symlink(folder, &path);
        #[cfg(not(unix))]
        let made = std::os::windows::fs::symlink_dir(folder, &path);
        made.map_err(|source| Error::writing(&path, source))
    }

    /// Lets this runner alone build `fingerprint`, which people know as `what`, unless another does. Waits for
    /// nobody.
    ///
    /// # Errors
    /// When the lock file cannot be written.
    pub fn try_lock(&self, fingerprint: &Fingerprint, what: &str) -> Result<Claim, Error> {
        let name = self.lock_name(&fingerprint.to_string());
        Lock::attempt(&name, what, self.patience, &self.seen)
    }

    /// Has the next [`find`](Self::find) see what others have published of `fingerprint` until now: a client of a
    /// network file system may remember for a minute that something was not there, and forgets it when the
    /// folder is listed that it is in; the same goes for that folder.
    pub fn refresh(&self, fingerprint: &Fingerprint) {
        let folder = self.folder(fingerprint);
        for folder in [folder.ancestors().nth(2), folder.parent()].into_iter().flatten() {
            // Whatever is wrong with it comes up in `find`.
            let _ = list(folder);
        }
    }

    /// The store for a run that tries again what failed before it began, or was killed again and again; not what a run
    /// of the same plan found to fail that is at work.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn forgiving(self) -> Result<Self, Error> {
        let mut forgiven: HashSet<String> = self.failures_to_forgive()?.into_iter().collect();
        for (_, folder) in self.begun()? {
            let names = list(&folder)?.into_iter();
            forgiven.extend(
                names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())),
            );
        }
        Ok(Self { forgiven: Arc::new(forgiven), ..self })
    }

    fn lock_name(&self, task: &str) -> lock::Name {
        lock::Name::new(self.root.join("locks"), task.to_owned())
    }

    /// A private folder to build the artifact of `fingerprint` in. Its lock, which the caller holds, is part
    /// of the folder's name, so that nobody else writes to it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn stage(&self, fingerprint: &Fingerprint, lock: &Lock) -> Result<Staging, Error> {
        let folder = self.root.join("staging").join(format!("{fingerprint}-{}", lock.token()));
        Staging::new(folder, self.folder(fingerprint))
    }

    /// Removes the checkpoints of trainings whose artifact is there.
    fn sweep_checkpoints(&self) -> Result<(), Error> {
        for path in self.entries("checkpoints")? {
            if names::fingerprint_in(&path).is_some_and(|it| self.folder(&it).exists()) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn sweep_staging(&self) -> Result<(), Error> {
        for path in self.entries("staging")? {
            // A staging folder lives only while its owner holds the lock: it is listed here, so
            // it was made before; no lock or another token now means that nobody uses it.
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let owner = name.split_once('-').map_or(name.as_str(), |(owner, _)| owner);
            let owner = self.lock_name(owner);
            let held = owner
                .holder()?
                .is_some_and(|(_, text)| text.is_empty() || name.contains(sign::token_in(&text)));
            if held {
                continue;
            }
            // A lock that is not there may be one that a network file system has not shown yet. Whoever can
            // take it knows.
            if let Claim::Mine(_lock) =
                Lock::attempt(&owner, "clearing up", self.patience, &self.seen)?
            {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Frees the locks of runners that died on this machine.
    fn sweep_locks(&self) -> Result<(), Error> {
        for path in self.entries("locks")? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(task) = name.strip_suffix(".0.lock") {
                Lock::clear_dead(&self.lock_name(task), self.patience)?;
            } else if sign::is_unborn_of_the_dead(&path) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// What lies in one of the store's folders.
    fn entries(&self, folder: &str) -> Result<Vec<PathBuf>, Error> {
        list(&self.root.join(folder))
    }
}

/// What lies in a folder; nothing where there is none.
fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    #[cfg(test)]
    sign::OPENS.with(|opens| opens.set(opens.get() + 1));
    let all = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
    });
    match all {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        all => all.map_err(|source| Error::reading(folder, source)),
    }
}

/// Removes a file or folder that somebody else may be removing as well.
fn remove(path: &Path) -> Result<(), Error> {
    // A link is removed, not what it points at.
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::writing(path, source))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod usage_tests;
