//! What there is so far of a run that goes on: its pipeline is planned again, and what the store has of it becomes results
//! that last as long as they are looked at. Changes nothing of the run.

use std::env;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::Error;
use crate::cli::BackendOption;
use crate::data::outside::Known;
use crate::exec::{Done, End, Holdings};
use crate::nn::dispatch;
use crate::plan::search::Search;
use crate::report::finished::FinishedRun;
use crate::report::live::{Counted, Live, live_runs};
use crate::report::{results, runs};
use crate::scratch;
use crate::stages::Failure;
use crate::store::Store;

/// The results of a run that goes on.
pub(super) struct SoFar {
    pub run: FinishedRun,
    /// Whether its search draws trials that are not among those of `run`.
    pub draws_later: bool,
    /// Holds the files of `run`.
    _folder: TempDir,
}

impl SoFar {
    /// What there is of the run `live`, which came as far as `counted`; `None` where it does not say what it is of.
    ///
    /// # Errors
    /// When this runner does not take its pipeline, files that it reads are not here, or an artifact is damaged.
    pub fn of(live: &Live, counted: &Counted) -> Result<Option<Self>, Error> {
        let Some(begun) = live.begun() else { return Ok(None) };
        let _there = match &begun.folder {
            Some(folder) => Some(Visit::to(folder, &live.run)?),
            None => None,
        };
        let Some(store) = begun.store else {
            return Err(Error::Missing(format!(
                "the path of the store of {} is no text: its table can be shown when it is over",
                live.run
            )));
        };
        let backend = Some(begun.backend).filter(|it| it != dispatch::NO_GPU);
        let backend = BackendOption { backend };
        super::outside::read_for(&backend);
        let load = |file: &_| super::trials_of(file, begun.sweep);
        let trials = super::of_text(&begun.text, &begun.file, load)?;
        let store = Store::peek(store);
        let known = Known::from_folder(store.outside());
        let plan = super::outside::plan(trials.trials.clone(), &known, &backend)?;
        let holdings = Holdings::look_up(&plan, &store);
        let done: Vec<Done> = plan
            .graph
            .node_indices()
            .map(|task| {
                let held = holdings.get(task);
                let failed = counted.failed.get(&task.index());
                Done {
                    end: match (held, failed) {
                        (Some(_), _) => End::Cached,
                        (None, Some(message)) => End::Failed(Failure::new(message.clone())),
                        (None, None) => End::Interrupted,
                    },
                    fingerprint: held.map(|it| it.fingerprint),
                    artifact: held.map(|it| (it.artifact.content, it.artifact.path.clone())),
                    is_recorded: true,
                    seconds: held.map_or(0.0, |it| it.seconds),
                    log: Vec::new(),
                }
            })
            .collect();
        let folder = scratch::folder().map_err(|error| Error::Machine(error.to_string()))?;
        let start = crate::system::now();
        let run = results::so_far(folder.path(), &plan, &trials.resolved, &done, || {
            super::run::provenance(&plan, &trials.resolved, start, Vec::new())
        })?;
        let draws_later = trials.search.as_ref().is_some_and(Search::draws_later);
        Ok(Some(Self { run, draws_later, _folder: folder }))
    }
}

/// A stay in the folder that relative paths of a run begin in. Ends where it began, as the paths of this command do.
struct Visit {
    home: PathBuf,
}

impl Visit {
    fn to(folder: &str, run: &str) -> Result<Self, Error> {
        let home = env::current_dir().map_err(|error| Error::Machine(error.to_string()))?;
        env::set_current_dir(folder).map_err(|error| {
            Error::Missing(format!(
                "the folder `{folder}`, where {run} was begun, cannot be entered here: {error}"
            ))
        })?;
        Ok(Self { home })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // It was the current folder a moment ago.
        let _ = env::set_current_dir(&self.home);
    }
}

/// The newest run that `word` stands for and that goes on: by its id, the beginning of that, or the name of its `pipeline`,
/// of which no run ended since.
pub(super) fn going_on(results: &Path, word: &Path, pipeline: Option<&str>) -> Option<Live> {
    let word = word.to_str()?;
    // Names of runs begin with a time in seconds: those of finished ones with that of their end.
    let time = |name: &str| name.split('-').next().unwrap_or_default().to_owned();
    let ended_since = |live: &Live| {
        let newest = runs::latest(&results.join(&live.pipeline));
        let newest = newest.and_then(|folder| Some(time(folder.file_name()?.to_str()?)));
        newest.is_some_and(|newest| newest > time(&live.run))
    };
    let of_pipeline = |live: &Live, name: &str| live.pipeline == name && !ended_since(live);
    let is_meant = |live: &Live| match pipeline {
        Some(name) => of_pipeline(live, name),
        None => of_pipeline(live, word) || (!word.is_empty() && live.run.starts_with(word)),
    };
    live_runs(results).into_iter().rfind(|live| !live.holder.dead && is_meant(live))
}
