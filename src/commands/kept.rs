//! Finds out which runs a collection keeps, in every folder of results that used the store, and what they
//! need. Where runs cannot be read, their artifacts must not be taken for unneeded.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Error;
use super::shared_run::command;
use crate::cli::GcArgs;
use crate::digest::Fingerprint;
use crate::report::record::Record;
use crate::report::runs;
use crate::store::{self, ResultsFolder, SharedRun, Store};
use crate::system;

/// The folder of results that is used where none is named.
const DEFAULT: &str = "results";

/// What `--forget` calls the folders that used a store before it kept a list of them.
const UNKNOWN: &str = "unknown";

/// What the folders of results need of the store.
#[derive(Default)]
pub(super) struct KeptRuns {
    /// Every artifact that a kept run built or used.
    pub needed: HashSet<Fingerprint>,
    /// The numbers of kept runs and of other runs in the named folder.
    pub runs: (usize, usize),
    /// The number of runs in other folders, which are all kept.
    pub elsewhere: usize,
    /// Why there may be runs whose needs are unknown, one line per reason.
    pub unseen: Vec<String>,
    /// The named folder.
    pub named: Option<PathBuf>,
    /// The folders that have runs.
    folders: Vec<PathBuf>,
    /// What the store forgets once the collection is done.
    forgotten: Forgotten,
}

#[derive(Default)]
struct Forgotten {
    folders: Vec<ResultsFolder>,
    /// Runs that workers shared.
    runs: Vec<SharedRun>,
    /// Whether that includes folders from before the store kept a list.
    unknown: bool,
}

impl KeptRuns {
    /// Reads the records of all runs that used `store`.
    ///
    /// # Errors
    /// When the folder that was named is not there or has no runs, `--forget` names none, or none has
    /// any run.
    pub fn find(args: &GcArgs, store: &Store) -> Result<Self, Error> {
        let mut listed = store.results_folders()?;
        let mut kept = Self { forgotten: forgotten(args, store, &listed)?, ..Self::default() };
        listed.retain(|it| !kept.forgotten.folders.contains(it));
        if !store.knows_all_folders() && !kept.forgotten.unknown {
            kept.unseen.push(format!(
                "runs in folders that are not known may have used this store before it kept a list \
                 of them; `--forget {UNKNOWN}` says that there are none"
            ));
        }
        let shared = store.shared_runs()?;
        for run in &shared {
            if !run.is_finished() && !kept.forgotten.runs.iter().any(|it| it.id == run.id) {
                let SharedRun { id, record, .. } = run;
                kept.unseen.push(format!(
                    "workers built stages of run {id} of {}, and its results are not written yet; `--forget {id}` lets go \
                     of what only it needs",
                    record.pipeline
                ));
            }
        }
        let named = match &args.results {
            Some(named) => Some(open(named)?),
            None => fs::canonicalize(DEFAULT).ok().filter(|it| !kept.forgotten.has(it)),
        };
        if let Some(named) = &named {
            let found = runs_in(named).map_err(|error| unreadable(named, &error))?;
            if found.is_empty() && args.results.is_some() {
                return Err(no_runs(named, &listed));
            }
            kept.choose(args, &found);
            kept.see(named, found);
        }
        kept.named = named;
        for folder in &listed {
            let Some(path) = &folder.path else {
                kept.cannot_see(folder, "the store's entry for them is damaged");
                continue;
            };
            if kept.folders.contains(&fs::canonicalize(path).unwrap_or_default()) {
                continue;
            }
            match runs_in(path) {
                Err(error) => kept.cannot_see(folder, &error.to_string()),
                // It may be the empty mount point of a disk that is not mounted now.
                Ok(found) if found.is_empty() => kept.cannot_see(folder, "it holds no run"),
                Ok(found) => {
                    kept.elsewhere += found.runs.len();
                    kept.needed.extend(found.runs.iter().flat_map(|it| it.1.fingerprints()));
                    kept.see(path, found);
                }
            }
        }
        // Where only workers were at work there are no results yet. What is unseen then keeps every artifact.
        let is_of_workers = !shared.is_empty() && !kept.unseen.is_empty();
        if kept.folders.is_empty() && kept.forgotten.folders.is_empty() && !is_of_workers {
            return Err(no_runs(Path::new(DEFAULT), &listed));
        }
        Ok(kept)
    }

    /// Decides which runs of the named folder are kept.
    fn choose(&mut self, args: &GcArgs, found: &FoundRuns) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        // The newest runs count first.
        for (_, record) in found.runs.iter().rev() {
            let seen = seen.entry(&record.provenance.pipeline).or_default();
            *seen += 1;
            let among_last = args.keep_last.is_some_and(|last| *seen <= last);
            let young = args.older_than.is_some_and(|age| {
                let start = chrono::DateTime::parse_from_rfc3339(&record.provenance.start);
                start.is_ok_and(|start| crate::system::now().signed_duration_since(start) <= age)
            });
            // Either option keeps a run; without options, all runs are kept.
            if among_last || young || (args.keep_last.is_none() && args.older_than.is_none()) {
                self.runs.0 += 1;
                self.needed.extend(record.fingerprints());
            } else {
                self.runs.1 += 1;
            }
        }
    }

    fn see(&mut self, folder: &Path, found: FoundRuns) {
        if !found.is_empty() {
            self.folders.extend(fs::canonicalize(folder));
        }
        self.unseen.extend(found.unreadable.into_iter().map(|(path, reason)| {
            format!(
                "the record of the run in `{}` cannot be read ({reason}); remove that folder when \
                 the run is not wanted",
                path.display()
            )
        }));
    }

    fn cannot_see(&mut self, folder: &ResultsFolder, reason: &str) {
        let name = folder.name().to_string_lossy().into_owned();
        let typed = system::as_typed(std::slice::from_ref(&name));
        self.unseen.push(format!(
            "runs in `{name}` used this store and cannot be read ({reason}); `--forget {typed}` lets \
             go of what only they need"
        ));
    }

    /// Removes what `--forget` named from the store's list.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn forget(&self, store: &Store) -> Result<(), Error> {
        for folder in &self.forgotten.folders {
            folder.forget()?;
        }
        for run in &self.forgotten.runs {
            store.forget_run(run)?;
        }
        if self.forgotten.unknown {
            store.claim_to_know_all_folders()?;
        }
        Ok(())
    }
}

impl Forgotten {
    fn has(&self, path: &Path) -> bool {
        self.folders.iter().any(|it| it.path.as_ref().is_some_and(|it| same(it, Some(path))))
    }
}

/// Whether two paths lead to the same folder.
fn same(a: &Path, b: Option<&Path>) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    b.is_some_and(|b| real(a) == real(b))
}

/// What `--forget` names.
fn forgotten(args: &GcArgs, store: &Store, listed: &[ResultsFolder]) -> Result<Forgotten, Error> {
    let mut forgotten = Forgotten::default();
    for word in &args.forget {
        if let Some(run) = word.to_str().map(|word| store.shared_run(word)).transpose()?.flatten() {
            if let Some(worker) = store.workers(&run)?.first() {
                let (id, who) = (run.id.clone(), worker.who.clone());
                let error = store::Error::RunAtWork { id, who };
                let stop = command(store.root(), &run, "stop", &[]);
                return Err(Error::Missing(format!("{error}; `{stop}` ends them")));
            }
            forgotten.runs.push(run);
            continue;
        }
        let absolute = std::path::absolute(word).unwrap_or_else(|_| word.clone());
        let is_it = |it: &&ResultsFolder| it.name() == absolute || same(it.name(), Some(word));
        let found = listed.iter().find(is_it);
        // Naming a folder again changes nothing, so that a nightly job can do so.
        let all_are_known = store.knows_all_folders();
        if word == Path::new(UNKNOWN) && (!all_are_known || found.is_none()) {
            forgotten.unknown |= !all_are_known;
            continue;
        }
        let Some(found) = found else {
            let known: Vec<String> =
                listed.iter().map(|it| format!("`{}`", it.name().display())).collect();
            return Err(Error::Missing(format!(
                "`{}` is no folder of results that used this store; these did: {}",
                word.display(),
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            )));
        };
        forgotten.folders.push(found.clone());
    }
    Ok(forgotten)
}

/// The folder that `--results` names.
fn open(named: &Path) -> Result<PathBuf, Error> {
    let found = fs::canonicalize(named).map_err(|error| unreadable(named, &error))?;
    if !found.is_dir() {
        let error = io::Error::from(io::ErrorKind::NotADirectory);
        return Err(unreadable(named, &error));
    }
    Ok(found)
}

fn unreadable(named: &Path, error: &io::Error) -> Error {
    Error::Missing(format!(
        "the runs in `{}` cannot be read: {error}; without them everything in the store would count \
         as not needed",
        named.display()
    ))
}

fn no_runs(named: &Path, listed: &[ResultsFolder]) -> Error {
    let mut text = format!(
        "there are no runs in `{}`: everything in the store would count as not needed; \
         `--results DIR` says where the runs are",
        named.display()
    );
    let listed: Vec<String> =
        listed.iter().map(|it| format!("`{}`", it.name().display())).collect();
    if !listed.is_empty() {
        text += &format!(" (they were in {})", listed.join(", "));
    }
    Error::Missing(text)
}

/// The runs in a folder of results.
#[derive(Default)]
struct FoundRuns {
    /// The runs, the oldest first.
    runs: Vec<(PathBuf, Record)>,
    /// Runs without a readable record, and why.
    unreadable: Vec<(PathBuf, String)>,
}

impl FoundRuns {
    fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.unreadable.is_empty()
    }
}

/// All runs in a folder of results. Links to folders are followed, because people move results to larger
/// disks.
fn runs_in(root: &Path) -> io::Result<FoundRuns> {
    let list = |folder: &Path| -> io::Result<Vec<PathBuf>> {
        let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        let mut paths = paths.collect::<io::Result<Vec<_>>>()?;
        paths.retain(|path| !name(path).starts_with('.'));
        Ok(paths)
    };
    let mut found = FoundRuns::default();
    for pipeline in list(root)? {
        if pipeline.is_symlink() && !pipeline.exists() {
            found.unreadable.push((pipeline, "what it points at is not there".to_owned()));
            continue;
        }
        if !pipeline.is_dir() {
            continue;
        }
        for folder in list(&pipeline)? {
            if name(&folder) == "latest" || !folder.is_dir() {
                continue;
            }
            match Record::read(&folder) {
                Ok(record) => found.runs.push((folder, record)),
                Err(error) if folder.join("run.json").exists() || is_of_a_run(&name(&folder)) => {
                    found.unreadable.push((folder, error.to_string()));
                }
                Err(_) => {}
            }
        }
    }
    found.runs.sort_by(|a, b| (&a.1.provenance.start, &a.0).cmp(&(&b.1.provenance.start, &b.0)));
    Ok(found)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether a folder has the form of a run's name: `20260102T030405Z-1a2b3c`.
fn is_of_a_run(name: &str) -> bool {
    runs::time_in(name).is_some_and(|(_, hash)| hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
