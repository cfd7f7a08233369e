//! What the resolved form of a file with a sweep cannot have in its place: a swept variable is still to come, and a key
//! that is swept in one stage moves those that are like it.

use std::collections::HashSet;

use super::super::Diagnostic;
use super::super::node::{Node, Table, Value};
use super::super::overrides::{Assignment, VARIABLES, dotted};
use super::super::source::{Sources, Span};
use super::likeness::{self, model};
use super::size::Size;
use super::variables::{escaped, use_of};
use super::{OF_ALL_TRIALS, filled};

/// What stays as it is written, for the axes of a sweep.
#[derive(Debug)]
pub struct Linked {
    /// The swept variables.
    pub variables: toml::Table,
    /// `[pipeline]`, where it uses one of them.
    pub pipeline: Option<toml::Table>,
    /// Stages that use one of them, and those that are like others where one of them is swept.
    pub stages: toml::Table,
}

impl Linked {
    /// Writes `value`, which is in its place, as a file with these variables must have it.
    pub fn escape(&self, value: &mut toml::Value) {
        if self.variables.is_empty() {
            return;
        }
        match value {
            toml::Value::String(text) => *text = escaped(text),
            toml::Value::Array(items) => items.iter_mut().for_each(|item| self.escape(item)),
            toml::Value::Table(table) => table.iter_mut().for_each(|(_, it)| self.escape(it)),
            toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_) => {}
        }
    }
}

/// What of [`open`](super::open)'s `root`, with the values of a trial put in, the axes with these paths reach by
/// variables or `like`; `None` where they reach nothing so.
pub fn linked(
    root: &Node,
    values: &[Assignment],
    axes: &[&[String]],
    sources: &mut Sources,
) -> Option<Linked> {
    let below = |table: &str| {
        let paths = axes.iter().filter(|path| path[0] == table);
        paths.map(|path| path[1].clone()).collect::<Vec<String>>()
    };
    let (swept, changed) = (below(VARIABLES), below("stages"));
    let stages = table_at(root, "stages")?;
    let uses = |node: &Node| use_of(node, &swept).is_some();
    let reached = |name: &String, node: &Node| changed.contains(name) || uses(node);
    let first: HashSet<&str> = stages
        .entries
        .iter()
        .filter(|(name, entry)| reached(name, &entry.node))
        .map(|(name, _)| name.as_str())
        .collect();
    let mut open: HashSet<&str> = related(stages, &first);
    if !swept.is_empty() {
        open.extend(first);
    }
    if open.is_empty() && swept.is_empty() {
        return None;
    }
    let mut size = Size::default();
    let (mut filled, _) = filled(root, values, &swept, sources, &mut size).ok()?;
    let mut variables = table_at(&filled, VARIABLES).map(Table::to_toml).unwrap_or_default();
    variables.retain(|name, _| swept.iter().any(|it| it == name));
    let pipeline = filled.below(&["pipeline".to_owned()]).filter(|node| uses(node));
    let pipeline = pipeline.and_then(|node| node.to_toml().as_table().cloned());
    let Value::Table(table) = &mut filled.value else { return None };
    let written = super::stages(table)?;
    likeness::resolve(written, &|name| open.contains(name), sources, &mut size).ok()?;
    let mut stages = written.to_toml();
    stages.retain(|name, _| open.contains(name));
    Some(Linked { variables, pipeline, stages })
}

/// The stages that `first` are like, those that are like them, and so on: none where no stage is like another one.
fn related<'s>(stages: &'s Table, first: &HashSet<&'s str>) -> HashSet<&'s str> {
    let pairs: Vec<(&str, &str)> = stages
        .entries
        .iter()
        .filter_map(|(name, entry)| Some((name.as_str(), model(&entry.node)?)))
        .collect();
    let mut found: HashSet<&str> = HashSet::new();
    loop {
        let before = found.len();
        for (name, of) in &pairs {
            let reached = |it: &str| first.contains(it) || found.contains(it);
            if reached(name) || reached(of) {
                found.extend([*name, *of]);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// Uses of the variables `swept` in the tables that are about all trials.
pub(super) fn swept_in(root: &Table, swept: &[String]) -> Vec<Diagnostic> {
    let problem = |name: &&str| {
        let (span, variable) = use_of(&root.entries.get(*name)?.node, swept)?;
        let message = format!("`{variable}` is swept, and `[{name}]` is the same for all trials");
        let label = format!("`${{{variable}}}` has another value in each");
        Some(Diagnostic::at(span, message, label).help("write a value in its place"))
    };
    OF_ALL_TRIALS.iter().filter_map(problem).collect()
}

/// That the seed is a swept variable: trials of one setting with several seeds are found by their key.
pub(super) fn seed_by_variable(root: &Table, swept: &[(String, Span)]) -> Option<Diagnostic> {
    let head = table_in(root, "pipeline")?;
    let Value::String(text) = &head.entries.get("seed")?.node.value else { return None };
    let (name, span) = swept.iter().find(|(name, _)| *text == format!("${{{name}}}"))?;
    let message = format!("the swept variable `{name}` is the seed");
    Some(
        Diagnostic::at(*span, message, "swept here")
            .help("sweep `pipeline.seed`: its values repeat a setting, and are none"),
    )
}

/// The variables that are axes, or domains of pairs, and where that is said.
pub(super) fn swept(root: &Table) -> Vec<(String, Span)> {
    let Some(sweep) = table_in(root, "sweep") else { return Vec::new() };
    let entries = |key: &str| table_in(sweep, key).into_iter().flat_map(|table| &table.entries);
    let axes = entries("axes").map(|(key, entry)| (key.as_str(), entry.key));
    let domains = entries("pairs").filter_map(|(_, entry)| match &entry.node.value {
        Value::String(key) => Some((key.as_str(), entry.node.span)),
        _ => None,
    });
    axes.chain(domains)
        .filter_map(|(key, span)| match &dotted(key)?[..] {
            [table, name, ..] if table == VARIABLES => Some((name.clone(), span)),
            _ => None,
        })
        .collect()
}

fn table_in<'t>(table: &'t Table, name: &str) -> Option<&'t Table> {
    match &table.entries.get(name)?.node.value {
        Value::Table(below) => Some(below),
        _ => None,
    }
}

fn table_at<'n>(root: &'n Node, name: &str) -> Option<&'n Table> {
    match &root.below(&[name.to_owned()])?.value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}
