//! Reads a pipeline file to a checked [`Pipeline`], or says everything that is wrong with it.
//!
//! Never runs a stage and never touches the network or the store.

use std::path::Path;
use std::sync::Arc;

use super::draft::drafts;
use super::labels;
use super::link::link;
use super::pipeline::Pipeline;
use super::pipeline_file::{PipelineFile, report};
use super::sections::{Sections, swept_keys};
use super::tables;
use crate::config::node::Node;
use crate::config::overrides::{Assignment, VARIABLES};
use crate::config::reuse::Linked;
use crate::config::source::Sources;
use crate::config::sweep::Axis;
use crate::config::{Diagnostic, Noted, Report, reuse};
use crate::stages::{Defaults, KINDS, Kind};

/// The pipeline in the file at `path` with the `--set` arguments `sets`. A `[sweep]` is checked
/// for its form and else left alone.
///
/// # Errors
/// Every problem of the file.
pub fn load(path: &Path, sets: &[String]) -> Result<Pipeline, Report> {
    load_with(path, sets, KINDS)
}

/// The resolved form of the file at `path` with the `--set` arguments `sets`, which is a file of the same trials: what the
/// axes of its sweep change stays as it is written, as the defaults of one trial may not be those of another.
///
/// # Errors
/// Every problem of the file.
pub fn shown(path: &Path, sets: &[String]) -> Result<toml::Table, Report> {
    PipelineFile::open(path, sets)?.single(path, KINDS).map(|single| single.whole)
}

pub(super) fn load_with(path: &Path, sets: &[String], kinds: &[Kind]) -> Result<Pipeline, Report> {
    PipelineFile::open(path, sets)?.pipeline(path, kinds)
}

impl PipelineFile {
    /// The pipeline, its sweep left alone.
    pub fn pipeline(self, path: &Path, kinds: &[Kind]) -> Result<Pipeline, Report> {
        self.single(path, kinds).map(|single| single.pipeline)
    }

    /// The same with its whole resolved form.
    fn single(self, path: &Path, kinds: &[Kind]) -> Result<Single, Report> {
        let Resolution { pipeline, whole, problems } =
            resolve(path, &self.sources, (&self.root, &[]), kinds, false);
        let pipeline = pipeline.map_err(|_| report(path, self.sources, problems))?;
        Ok(Single { pipeline, whole })
    }
}

/// A pipeline of one trial, and its resolved form with sweep and table.
pub(super) struct Single {
    pub pipeline: Pipeline,
    pub whole: toml::Table,
}

/// The trial of a sweep's file that has the values `sets`.
pub(super) fn load_trial(path: &Path, sets: &[String], kinds: &[Kind]) -> Result<Single, Report> {
    let PipelineFile { root, mut sources, .. } = PipelineFile::open(path, &[])?;
    let values: Result<Vec<Assignment>, _> =
        sets.iter().map(|set| Assignment::parse(set, &mut sources)).collect();
    let values = match values {
        Ok(values) => values,
        Err(problems) => return Err(report(path, sources, problems)),
    };
    let Resolution { pipeline, whole, problems } =
        resolve(path, &sources, (&root, &values), kinds, true);
    let pipeline = pipeline.map_err(|_| report(path, sources, problems))?;
    Ok(Single { pipeline, whole })
}

pub(super) struct Resolution {
    pub pipeline: Result<Pipeline, Noted>,
    /// The resolved form with its sweep and table, also for a trial.
    pub whole: toml::Table,
    pub problems: Vec<Diagnostic>,
}

/// Checks everything below `root` with these values put in. As a trial its resolved form stands alone, without the sweep.
pub(super) fn resolve(
    path: &Path,
    sources: &Sources,
    (file, values): (&Node, &[Assignment]),
    kinds: &[Kind],
    trial: bool,
) -> Resolution {
    let mut sources = sources.clone();
    let (root, mut problems) = match reuse::expand(file, values, &mut sources) {
        Ok(expanded) => expanded,
        Err(problems) => {
            let Err(noted) = Noted::none_in(&problems) else {
                unreachable!("what cannot be expanded says why")
            };
            let problems = as_written(problems, &sources);
            return Resolution { pipeline: Err(noted), whole: toml::Table::new(), problems };
        }
    };
    let Sections { head, stages: written, sweep, tables, resolved: sections } =
        Sections::read(&root, &mut problems);
    let defaults = Defaults { seed: head.as_ref().map_or(0, |head| head.seed) };
    let drafts = written.map(|table| drafts(table, root.span, kinds, &defaults, &mut problems));
    let mut stages = link(drafts.unwrap_or_default(), &mut problems);
    if problems.is_empty() {
        labels::check(&mut stages.planned, &mut problems);
        tables::check(&tables, &stages.planned, &mut problems);
    }
    let tables = tables::specs(tables);
    let mut resolved = in_order(sections, stages.resolved);
    let axes = sweep.as_ref().map(|it| it.axes.as_slice()).unwrap_or_default();
    let paths: Vec<&[String]> = axes.iter().map(Axis::path).collect();
    let linked = reuse::linked(file, values, &paths, &mut sources);
    let whole = match written {
        Ok(written) => open_to_axes(&resolved, &paths, &written.to_toml(), linked.as_ref()),
        Err(_) => resolved.clone(),
    };
    if trial {
        resolved.remove("sweep");
        tables::leave_for_trial(&mut resolved, &tables, &swept_keys(sweep.as_ref()));
    } else if linked.is_some() {
        // What is printed of it must move with the axes as the file does.
        resolved.clone_from(&whole);
    }
    let sound = Noted::none_in(&problems);
    let pipeline = head.and_then(|head| sound.map(|()| head)).map(|head| Pipeline {
        path: path.to_owned(),
        sources: sources.clone(),
        root: Arc::new(root),
        name: head.name,
        title: head.title,
        seed: head.seed,
        device: head.device,
        stages: stages.planned,
        tables,
        pairs: sweep.as_ref().and_then(|sweep| sweep.pairs.clone()),
        select: sweep.and_then(|sweep| sweep.select),
        resolved,
    });
    Resolution { pipeline, whole, problems: as_written(problems, &sources) }
}

/// The problems of one trial, at places that all trials share.
fn as_written(problems: Vec<Diagnostic>, sources: &Sources) -> Vec<Diagnostic> {
    problems.into_iter().map(|problem| problem.as_written(sources)).collect()
}

/// The resolved form of a file, its tables in the order in which people are shown them.
fn in_order(mut sections: toml::Table, stages: toml::Table) -> toml::Table {
    let mut resolved = toml::Table::new();
    for name in ["pipeline", "sweep", "table"] {
        resolved.extend(sections.remove_entry(name));
    }
    resolved.insert("stages".into(), stages.into());
    resolved
}

/// The resolved form with those stages that `axes` change as the file has them, in `written`: the defaults
/// of one trial may not be those of another. What variables and `like` have them change stays as the file has it, too.
fn open_to_axes(
    resolved: &toml::Table,
    axes: &[&[String]],
    written: &toml::Table,
    linked: Option<&Linked>,
) -> toml::Table {
    let mut whole = resolved.clone();
    for (_, table) in &mut whole {
        linked.iter().for_each(|it| it.escape(table));
    }
    let pipeline = linked.and_then(|it| it.pipeline.as_ref());
    let seeds = axes.iter().any(|path| *path == ["pipeline", "seed"])
        || pipeline.is_some_and(|it| it.get("seed").is_some_and(toml::Value::is_str));
    let Some(toml::Value::Table(stages)) = whole.get_mut("stages") else { return whole };
    for (name, stage) in stages.iter_mut() {
        let Some(as_written) = written.get(name) else { continue };
        let changes = |path: &&[String]| path[0] == "stages" && path[1] == *name;
        if let Some(linked) = linked.and_then(|it| it.stages.get(name)) {
            *stage = linked.clone();
        } else if axes.iter().any(changes) {
            *stage = as_written.clone();
        } else if let (true, None, Some(stage)) =
            (seeds, as_written.get("seed"), stage.as_table_mut())
        {
            // The pipeline's own.
            stage.remove("seed");
        }
    }
    if let Some(pipeline) = pipeline {
        whole.insert("pipeline".into(), pipeline.clone().into());
    }
    if let Some(linked) = linked.filter(|it| !it.variables.is_empty()) {
        whole.insert(VARIABLES.into(), linked.variables.clone().into());
    }
    whole
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
