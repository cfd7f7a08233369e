//! What a store holds, as a whole: for `status`, `verify` and `gc`. Makes nothing.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::attempts::ATTEMPTS;
use super::error::Error;
use super::lock::Lock;
use super::names::{fingerprint_in, newest_checkpoint};
use super::runs::RUNS;
use super::sign::Holder;
use super::{Store, list, remove};
use crate::digest::Fingerprint;
use crate::system;

/// How the name of an artifact ends that is being removed.
const GONE: &str = "gone";

/// A training that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// What it will make.
    pub fingerprint: Fingerprint,
    /// Steps of the newest checkpoint.
    pub steps: u64,
    /// Its folder.
    pub path: PathBuf,
}

/// Something that may go.
#[derive(Debug, Clone)]
pub struct Garbage {
    /// Its folder or file.
    pub path: PathBuf,
    /// What it is.
    pub what: Waste,
    /// Bytes.
    pub size: u64,
}

/// What may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waste {
    /// What a collection was removing when it ended.
    HalfRemoved,
    /// An artifact that nothing needs.
    Artifact,
    /// Checkpoints of a training that no run is on the way to.
    Checkpoints,
    /// Starts of a task that was killed, and that no run is on the way to.
    Attempts,
    /// A damaged artifact that was set aside.
    Damaged,
    /// Kept activations.
    Activations,
    /// A run that workers shared and whose results are written.
    Run,
    /// What a command outside the store left when it was killed.
    Left,
}

impl Waste {
    /// Whether only the records of runs tell that nothing needs it.
    pub fn is_of_runs(self) -> bool {
        matches!(self, Self::Artifact | Self::Checkpoints | Self::Attempts)
    }
}

impl fmt::Display for Waste {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HalfRemoved => "half removed",
            Self::Artifact => "artifact",
            Self::Checkpoints => "checkpoints",
            Self::Attempts => "starts of killed stages",
            Self::Damaged => "damaged artifact",
            Self::Activations => "activations of frozen layers",
            Self::Run => "run of workers that is over",
            Self::Left => "left by a command that was killed",
        })
    }
}

impl Store {
    /// Everybody who is making something, or died at it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn holders(&self) -> Result<Vec<Holder>, Error> {
        let mut holders = Vec::new();
        for path in self.entries("locks")? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(task) = name.strip_suffix(".0.lock") {
                holders.extend(Lock::held_by(&self.lock_name(task))?);
            }
        }
        Ok(holders)
    }

    /// The fingerprints of all artifacts, damaged ones included, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn artifacts(&self) -> Result<Vec<Fingerprint>, Error> {
        let mut all = Vec::new();
        for shard in self.entries("artifacts")? {
            all.extend(list(&shard)?.iter().filter_map(|path| fingerprint_in(path)));
        }
        all.sort_unstable();
        Ok(all)
    }

    /// The trainings that have checkpoints.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, Error> {
        let mut all = Vec::new();
        for path in self.entries("checkpoints")? {
            let Some(fingerprint) = fingerprint_in(&path) else { continue };
            if let Some(steps) = newest_checkpoint(&path)? {
                all.push(Unfinished { fingerprint, steps, path });
            }
        }
        Ok(all)
    }

    /// What nothing in `kept` is, was made from, or is on the way to. What is younger than `grace` by
    /// the file system's own clock stays: it may be of a run that is not over. What belongs to no run,
    /// as activations, stays while the store is `in_use`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn garbage(
        &self,
        kept: HashSet<Fingerprint>,
        grace: Duration,
        in_use: bool,
    ) -> Result<Vec<Garbage>, Error> {
        let probe = self.root.join("locks");
        let now = system::now_in(&probe).map_err(|source| Error::writing(&probe, source))?;
        let young = |path: &Path| match fs::metadata(path).and_then(|it| it.modified()) {
            Ok(modified) => now.duration_since(modified).unwrap_or_default() < grace,
            Err(_) => true,
        };
        let mut needed = kept;
        let mut next: Vec<Fingerprint> = needed.iter().copied().collect();
        let mut inputs: HashMap<Fingerprint, Vec<Fingerprint>> = HashMap::new();
        let all = self.artifacts()?;
        for fingerprint in &all {
            if let Some(manifest) = self.manifest(fingerprint) {
                let of = manifest.inputs.iter().map(|input| input.fingerprint).collect();
                inputs.insert(*fingerprint, of);
            }
            if young(&self.folder(fingerprint)) && needed.insert(*fingerprint) {
                next.push(*fingerprint);
            }
        }
        let unfinished = self.unfinished()?;
        while let Some(fingerprint) = next.pop() {
            for input in inputs.get(&fingerprint).into_iter().flatten() {
                if needed.insert(*input) {
                    next.push(*input);
                }
            }
        }
        let mut garbage = Vec::new();
        let mut add = |path: PathBuf, what| garbage.push(Garbage::new(path, what));
        let shards = self.entries("artifacts")?.into_iter();
        for folder in shards
            .chain(["checkpoints", "damaged", ATTEMPTS, RUNS].map(|name| self.root.join(name)))
        {
            let paths = list(&folder)?.into_iter();
            for path in paths.filter(|path| path.extension().is_some_and(|it| it == GONE)) {
                add(path, Waste::HalfRemoved);
            }
        }
        for fingerprint in all.iter().filter(|it| !needed.contains(it)) {
            add(self.folder(fingerprint), Waste::Artifact);
        }
        for Unfinished { fingerprint, path, .. } in unfinished {
            if !needed.contains(&fingerprint) && !young(&path) {
                add(path, Waste::Checkpoints);
            }
        }
        for (fingerprint, path) in self.begun()? {
            if !needed.contains(&fingerprint) && !young(&path) {
                add(path, Waste::Attempts);
            }
        }
        for (folder, what) in [("damaged", Waste::Damaged), ("activations", Waste::Activations)] {
            if in_use && what == Waste::Activations {
                continue;
            }
            for path in self.entries(folder)?.into_iter().filter(|path| !young(path)) {
                if path.extension().is_none_or(|it| it != GONE) {
                    add(path, what);
                }
            }
        }
        Ok(garbage)
    }

    /// The runs that workers shared and whose results are written, and what is left of runs without a record.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn finished_runs(&self) -> Result<Vec<Garbage>, Error> {
        let mut all = Vec::new();
        for path in self.entries(RUNS)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.contains('.') && self.is_over(&path)? {
                all.push(Garbage::new(path, Waste::Run));
            }
        }
        Ok(all)
    }

    /// Bytes on the disk.
    pub fn size(&self) -> u64 {
        size(&self.root)
    }
}

impl Garbage {
    /// What lies at `path`.
    pub fn new(path: PathBuf, what: Waste) -> Self {
        let size = size(&path);
        Self { path, what, size }
    }

    /// Takes it away, unless `collection` was lost meanwhile, and returns whether it did. Folders only
    /// get another name, which is done at once: nobody finds half of one, and whoever waits for the
    /// collection does not wait for gigabytes. What that name is, [`remove`](Self::remove) is told.
    ///
    /// # Errors
    /// When it cannot be renamed or removed.
    pub fn take_away(&mut self, collection: &Lock) -> Result<bool, Error> {
        if collection.is_lost() {
            return Ok(false);
        }
        if !self.path.is_dir() || self.path.is_symlink() {
            remove(&self.path)?;
            return Ok(true);
        }
        if matches!(self.what, Waste::HalfRemoved | Waste::Left) {
            return Ok(true);
        }
        let gone = self.path.with_extension(GONE);
        match fs::rename(&self.path, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            renamed => renamed.map_err(|source| Error::writing(&self.path, source))?,
        }
        // Had this process stood still right before it, a run may have found the artifact since.
        if collection.is_lost() {
            fs::rename(&gone, &self.path).map_err(|source| Error::writing(&self.path, source))?;
            return Ok(false);
        }
        self.path = gone;
        Ok(true)
    }

    /// Removes what was taken away.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self) -> Result<(), Error> {
        remove(&self.path)
    }
}

fn size(path: &Path) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else { return 0 };
    if !found.is_dir() {
        return found.len();
    }
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum()
}
