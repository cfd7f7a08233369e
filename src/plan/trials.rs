//! Every trial of a file's `[sweep]`, each resolved like any pipeline.

use std::collections::HashMap;
use std::path::Path;

use super::origin::Origin;
use super::pipeline::Pipeline;
use super::pipeline_file::{PipelineFile, report};
use super::print;
use super::resolve;
use super::search::Search;
use super::tables;
use super::trial::Trial;
use crate::config::{Report, sweep};
use crate::digest::Digest;
use crate::stages::{KINDS, Kind};

/// Every trial of a file that is known yet.
#[derive(Debug)]
pub struct Trials {
    /// The trials; a single one when the file has no `[sweep]`.
    pub trials: Vec<Trial>,
    /// The resolved form of the first, with the file's `[sweep]` and `[table]`.
    pub resolved: toml::Table,
    /// What decides which trials run how far, and which come next; `None` without a `[sweep]`.
    pub search: Option<Search>,
}

impl Trials {
    /// A pipeline without its sweep.
    pub fn single(pipeline: Pipeline) -> Self {
        let resolved = pipeline.resolved.clone();
        Self { resolved, trials: vec![Trial::single(pipeline)], search: None }
    }

    /// Names what is carried out: equal for processes that share the work, whatever tables they show of it.
    pub fn digest(&self) -> Digest {
        let mut resolved = self.resolved.clone();
        resolved.remove("table");
        if self.search.is_none() {
            // It may stand in the file all the same.
            resolved.remove("sweep");
        }
        let verb = if self.search.is_some() { "sweep" } else { "run" };
        blake3::hash(format!("{verb}\n{}", print::to_toml(&resolved)).as_bytes()).into()
    }
}

/// Every trial of the sweep in the file at `path`, as far as they are known before anything ran.
///
/// # Errors
/// Every problem of the file and of any trial.
pub fn load(path: &Path, sets: &[String]) -> Result<Trials, Report> {
    load_with(path, sets, KINDS)
}

/// The file at `path` as if it had no sweep, as its resolved form says too.
///
/// # Errors
/// Every problem of the file.
pub fn load_alone(path: &Path, sets: &[String]) -> Result<Trials, Report> {
    Ok(Trials::single(resolve::load_trial(path, sets, KINDS)?.pipeline))
}

/// Those trials of the sweep in the file at `path` that have these values.
///
/// # Errors
/// Every problem of the file and of any trial.
pub fn load_points(path: &Path, values: &[Vec<(String, toml::Value)>]) -> Result<Trials, Report> {
    let mut trials = Vec::new();
    let mut resolved = None;
    for labels in values {
        let sets: Vec<String> = labels.iter().map(|(key, it)| format!("{key}={it}")).collect();
        let found = resolve::load_trial(path, &sets, KINDS)?;
        resolved.get_or_insert(found.whole);
        trials.push(Trial { labels: labels.clone(), pipeline: found.pipeline });
    }
    Ok(Trials { trials, resolved: resolved.unwrap_or_default(), search: None })
}

pub(super) fn load_with(
    path: &Path,
    sets: &[String],
    kinds: &'static [Kind],
) -> Result<Trials, Report> {
    let mut file = PipelineFile::open(path, sets)?;
    let notes = sweep::settle(&mut file.root, &file.sets);
    let notes = notes.map_err(|problems| report(path, file.sources.clone(), problems))?;
    let Some(sweep) = file.sweep() else {
        // Without a sweep, or with one that is wrong, the file itself says what there is to say.
        return Ok(Trials::single(file.pipeline(path, kinds)?));
    };
    let PipelineFile { root, sources, .. } = file;
    let origin = Origin { path: path.to_owned(), root, sources, kinds };
    let contradictions = sweep.contradictions();
    if !contradictions.is_empty() {
        return Err(origin.report(contradictions));
    }
    let (configurations, points) =
        sweep.points().map_err(|problem| origin.report(vec![problem]))?;
    let (trials, first) = origin.resolve(&points)?;
    if sweep.is_adaptive() {
        // What will be drawn later is likely to fit when the ends of every axis do.
        origin.resolve(&sweep.corners())?;
    }
    let complete = sweep.configurations() == 0 && sets.is_empty();
    let problems = tables::check_trials(&origin.root, &trials, complete);
    if !problems.is_empty() {
        return Err(origin.report(problems));
    }
    let resolved = first.unwrap_or_default();
    let notes = notes.into_iter().chain(alike(&trials)).collect();
    let search = Search::new(sweep, origin, (configurations, points), &trials, notes)?;
    Ok(Trials { trials, resolved, search: Some(search) })
}

/// Says which trials have other values of the axes and yet the same settings: a mean over them counts
/// one result twice.
fn alike(trials: &[Trial]) -> Option<String> {
    let mut first: HashMap<blake3::Hash, usize> = HashMap::new();
    let mut pairs = trials.iter().enumerate().filter_map(|(at, trial)| {
        let text = print::to_toml(&trial.pipeline.resolved);
        let same = *first.entry(blake3::hash(text.as_bytes())).or_insert(at);
        (same != at).then_some((same, at))
    });
    let (one, other) = pairs.next()?;
    let more = match pairs.count() {
        0 => String::new(),
        more => format!(", and so are {more} more"),
    };
    Some(format!("trials {one:03} and {other:03} are the same settings, written differently{more}"))
}
