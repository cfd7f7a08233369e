//! Every trial of a file's `[sweep]`, each resolved like any pipeline.

use std::collections::HashMap;
use std::path::Path;

use super::pipeline::Pipeline;
use super::print;
use super::resolve::{self, Opened, open, report};
use super::search::Search;
use super::trial::Trial;
use crate::config::node::Node;
use crate::config::overrides::apply_all;
use crate::config::source::Sources;
use crate::config::sweep::{self, Configuration, Point};
use crate::config::{Diagnostic, Report};
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
}

/// Every trial of the sweep in the file at `path`, as far as they are known before anything ran.
///
/// # Errors
/// Every problem of the file and of any trial.
pub fn load(path: &Path, sets: &[String]) -> Result<Trials, Report> {
    load_with(path, sets, KINDS)
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
    let mut opened = open(path, sets)?;
    let notes = sweep::settle(&mut opened.root, &opened.sets);
    let notes = notes.map_err(|problems| report(path, opened.sources.clone(), problems))?;
    let Some(sweep) = resolve::sweep_of(&opened.root) else {
        // Without a sweep, or with one that is wrong, the file itself says what there is to say.
        return Ok(Trials::single(opened.pipeline(path, kinds)?));
    };
    let Opened { root, sources, .. } = opened;
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

/// Where trials come from.
#[derive(Debug)]
pub(super) struct Origin {
    path: std::path::PathBuf,
    root: Node,
    sources: Sources,
    kinds: &'static [Kind],
}

/// Configurations and their points.
pub(super) type Drawn = (Vec<Configuration>, Vec<Point>);

impl Origin {
    /// The pipelines of `points`, and the resolved form of the first.
    pub fn resolve(&self, points: &[Point]) -> Result<(Vec<Trial>, Option<toml::Table>), Report> {
        let mut trials = Vec::new();
        let mut first = None;
        let mut problems = Vec::new();
        for point in points {
            let mut changed = self.root.clone();
            let wrong = apply_all(&point.assignments, &mut changed);
            let applied = wrong.is_empty();
            problems.extend(wrong);
            let resolved = resolve::resolve(&self.path, &self.sources, &changed, self.kinds, true);
            problems.extend(resolved.problems);
            first.get_or_insert(resolved.whole);
            if let (Ok(pipeline), true) = (resolved.pipeline, applied) {
                trials.push(Trial { labels: point.overrides.clone(), pipeline });
            }
        }
        if problems.is_empty() { Ok((trials, first)) } else { Err(self.report(problems)) }
    }

    /// The problems as a report.
    pub fn report(&self, problems: Vec<Diagnostic>) -> Report {
        report(&self.path, self.sources.clone(), problems)
    }
}
