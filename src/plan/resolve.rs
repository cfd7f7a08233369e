//! Reads a pipeline file to a checked [`Pipeline`], or says everything that is wrong with it.
//!
//! Never runs a stage and never touches the network or the store.

use std::path::Path;

use super::draft::drafts;
use super::link::link;
use super::pipeline::Pipeline;
use super::tables::{self, Swept};
use crate::config::node::{Node, Table, Value};
use crate::config::overrides::{Assignment, apply_all};
use crate::config::source::{Sources, Span};
use crate::config::sweep::{self, Sweep};
use crate::config::{Diagnostic, Gathered, Keys, Noted, Report, document};
use crate::device::Device;
use crate::stages::{Defaults, KINDS, Kind};

/// The pipeline in the file at `path` with the `--set` arguments `sets`. A `[sweep]` is checked
/// for its form and else left alone.
///
/// # Errors
/// Every problem of the file.
pub fn load(path: &Path, sets: &[String]) -> Result<Pipeline, Report> {
    load_with(path, sets, KINDS)
}

pub(super) fn load_with(path: &Path, sets: &[String], kinds: &[Kind]) -> Result<Pipeline, Report> {
    open(path, sets)?.pipeline(path, kinds)
}

impl PipelineFile {
    /// The pipeline, its sweep left alone.
    pub fn pipeline(self, path: &Path, kinds: &[Kind]) -> Result<Pipeline, Report> {
        let resolved = resolve(path, &self.sources, &self.root, kinds, false);
        resolved.pipeline.map_err(|_| report(path, self.sources, resolved.problems))
    }
}

/// A pipeline of one trial, and its resolved form with sweep and table.
pub(super) struct Single {
    pub pipeline: Pipeline,
    pub whole: toml::Table,
}

/// The trial of a sweep's file that `sets` make.
pub(super) fn load_trial(path: &Path, sets: &[String], kinds: &[Kind]) -> Result<Single, Report> {
    let PipelineFile { mut root, mut sources, .. } = open(path, &[])?;
    let values: Result<Vec<Assignment>, _> =
        sets.iter().map(|set| Assignment::parse(set, &mut sources)).collect();
    let wrong = match values {
        Ok(values) => apply_all(&values, &mut root),
        Err(problems) => problems,
    };
    if !wrong.is_empty() {
        return Err(report(path, sources, wrong));
    }
    let Resolution { pipeline, whole, problems } = resolve(path, &sources, &root, kinds, true);
    let pipeline = pipeline.map_err(|_| report(path, sources, problems))?;
    Ok(Single { pipeline, whole })
}

pub(super) fn report(path: &Path, sources: Sources, problems: Vec<Diagnostic>) -> Report {
    Report::new(document::name(path), sources, problems)
}

/// A file that was read, once: it may be a pipe.
pub(super) struct PipelineFile {
    /// Its tree, with `sets` put in.
    pub root: Node,
    pub sources: Sources,
    /// The `--set` arguments.
    pub sets: Vec<Assignment>,
}

/// Reads the file at `path` and puts the `--set` arguments in, in their order.
pub(super) fn open(path: &Path, sets: &[String]) -> Result<PipelineFile, Report> {
    let mut sources = Sources::default();
    let mut root = match document::read(path, &mut sources) {
        Ok(root) => root,
        Err(problems) => return Err(report(path, sources, problems)),
    };
    let mut problems = Vec::new();
    let mut put: Vec<Assignment> = Vec::new();
    for argument in sets {
        match Assignment::parse(argument, &mut sources) {
            Ok(set) => {
                problems.extend(put.iter().find_map(|before| loses(&set, before)));
                problems.extend(set.apply(&mut root).err());
                put.push(set);
            }
            Err(wrong) => problems.extend(wrong),
        }
    }
    match problems.is_empty() {
        true => Ok(PipelineFile { root, sources, sets: put }),
        false => Err(report(path, sources, problems)),
    }
}

/// Says so when `set` throws away what an argument before it put inside.
fn loses(set: &Assignment, before: &Assignment) -> Option<Diagnostic> {
    if before.path.len() <= set.path.len() || !before.path.starts_with(&set.path) {
        return None;
    }
    let (outer, inner) = (set.path.join("."), before.path.join("."));
    let message = format!("`--set {outer}` throws away what `--set {inner}` set before it");
    Some(
        Diagnostic::at(set.span, message, "the whole table is set anew")
            .related(before.span, "inside it")
            .help(format!("give `--set {inner}` after it, or leave it out")),
    )
}

/// The sweep, if the file has one without problems of its own.
pub(super) fn sweep_of(root: &Node) -> Option<Sweep> {
    let Value::Table(table) = &root.value else { return None };
    let Node { value: Value::Table(table), span } = &table.entries.get("sweep")?.node else {
        return None;
    };
    let mut keys = Keys::new(table, *span);
    let sweep = sweep::read(&mut keys);
    sweep.ok().filter(|_| keys.finish().problems.is_empty())
}

pub(super) struct Resolution {
    pub pipeline: Result<Pipeline, Noted>,
    /// The resolved form with its sweep and table, also for a trial.
    pub whole: toml::Table,
    pub problems: Vec<Diagnostic>,
}

pub(super) struct Head {
    name: String,
    title: Option<String>,
    seed: u64,
    device: Device,
}

/// Checks everything below `root`. As a trial its resolved form stands alone, without the sweep.
pub(super) fn resolve(
    path: &Path,
    sources: &Sources,
    root: &Node,
    kinds: &[Kind],
    trial: bool,
) -> Resolution {
    let Value::Table(tables) = &root.value else { unreachable!("a TOML document is a table") };
    let mut keys = Keys::new(tables, root.span);
    let head = section(&mut keys, "pipeline", "name = \"...\"")
        .and_then(|(table, span)| keys.descend("pipeline", table, span, head));
    let stages = section(&mut keys, "stages.NAME", "kind = \"...\"").map(|(table, _)| table);
    let sweep = keys.optional_nested("sweep", sweep::read);
    let sweep_wrong = sweep.is_err();
    let sweep = sweep.unwrap_or_default();
    let axes = sweep.as_ref().map(|sweep| sweep.axes.as_slice()).unwrap_or_default();
    let swept: Vec<&str> = axes.iter().map(|axis| axis.key.as_str()).collect();
    let swept_keys = Swept { keys: &swept, wrong: sweep_wrong, selects: tables::selects(&keys) };
    let tables = tables::read(&mut keys, swept_keys);
    let Gathered { resolved: sections, mut problems, .. } = keys.finish();

    let defaults = Defaults { seed: head.as_ref().map_or(0, |head| head.seed) };
    let written = stages;
    let drafts = stages.map(|table| drafts(table, root.span, kinds, &defaults, &mut problems));
    let stages = link(drafts.unwrap_or_default(), &mut problems);
    if problems.is_empty() {
        tables::check(&tables, &stages.planned, &mut problems);
    }
    let tables = tables::specs(tables);

    let mut resolved = toml::Table::new();
    let mut take = |name: &str| {
        if let Some(section) = sections.get(name) {
            resolved.insert(name.to_owned(), section.clone());
        }
    };
    take("pipeline");
    take("sweep");
    take("table");
    resolved.insert("stages".into(), stages.resolved.into());
    let mut whole = resolved.clone();
    if let (Some(sweep), Ok(stages)) = (&sweep, written) {
        open_to_axes(&mut whole, sweep, &stages.to_toml());
    }
    if trial {
        resolved.remove("sweep");
        tables::leave_for_trial(&mut resolved, &tables, &swept);
    }
    let sound = Noted::none_in(&problems);
    let pipeline = head.and_then(|head| sound.map(|()| head)).map(|head| Pipeline {
        path: path.to_owned(),
        sources: sources.clone(),
        name: head.name,
        title: head.title,
        seed: head.seed,
        device: head.device,
        stages: stages.planned,
        tables,
        select: sweep.and_then(|sweep| sweep.select),
        resolved,
    });
    Resolution { pipeline, whole, problems }
}

/// Takes back what a trial made of the stages that axes change: its defaults may not be those of
/// another trial. `written` is `stages` as the file has it.
fn open_to_axes(whole: &mut toml::Table, sweep: &Sweep, written: &toml::Table) {
    let Some(toml::Value::Table(stages)) = whole.get_mut("stages") else { return };
    let seeds = sweep.axes.iter().any(|axis| axis.path() == ["pipeline", "seed"]);
    for (name, stage) in stages.iter_mut() {
        let Some(as_written) = written.get(name) else { continue };
        let changes = |path: &[String]| path[0] == "stages" && path[1] == *name;
        if sweep.axes.iter().any(|axis| changes(axis.path())) {
            *stage = as_written.clone();
        } else if let (true, None, Some(stage)) =
            (seeds, as_written.get("seed"), stage.as_table_mut())
        {
            // The pipeline's own.
            stage.remove("seed");
        }
    }
}

/// A table that every file must have.
fn section<'a>(
    keys: &mut Keys<'a>,
    header: &'static str,
    example: &str,
) -> Result<(&'a Table, Span), Noted> {
    let name = header.split('.').next().unwrap_or(header);
    match keys.node(name) {
        Some(Node { value: Value::Table(table), span }) => Ok((table, *span)),
        Some(node) => {
            let (message, found) =
                (format!("`{name}` must be a table"), format!("found {}", node.value.type_name()));
            Err(keys.problem(Diagnostic::at(node.span, message, found)))
        }
        None => Err(keys.problem(
            Diagnostic::general(format!("missing table `[{header}]`"))
                .help(format!("add `[{header}]` with `{example}`")),
        )),
    }
}

/// Reads `[pipeline]`.
pub(super) fn head(keys: &mut Keys) -> Result<Head, Noted> {
    let legal = |name: &String| {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
        !name.is_empty() && name.chars().all(fits)
    };
    keys.about(&[
        ("name", "name of the pipeline, and of the folder of its results"),
        ("title", "title of the report"),
        ("seed", "seed of every stage that draws random numbers and has no `seed` of its own"),
        ("device", "where tensors live: `auto`, `cpu` or `cuda:N`"),
    ]);
    let name = keys.string("name").such_that("ASCII letters, digits, `_` and `-`", legal);
    let name = name.limits([("pattern", serde_json::json!("^[A-Za-z0-9_-]+$"))]).required();
    let title = keys.string("title").optional();
    let seed = keys.integer("seed").not_negative().or(0);
    let word = keys.string("device").or("auto");
    let place = keys.node("device").map_or(keys.span(), |node| node.span);
    let device = word.and_then(|word| {
        let wrong = |error: crate::device::Error| {
            Diagnostic::at(place, error.to_string(), "in `pipeline.device`")
        };
        Device::parse(&word).map_err(|error| keys.problem(wrong(error)))
    });
    // One after the other, so that each key is known before the first `?`.
    Ok(Head { name: name?, title: title?, seed: seed?.unsigned_abs(), device: device? })
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
