//! What can be wrong with a table against the trials of the sweep: cells with several values, and published
//! numbers for rows and columns that no trial makes.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::FACTS;
use crate::config::Diagnostic;
use crate::config::diagnostic::suggest;
use crate::config::node::{Node, Value};
use crate::plan::table_spec::{TableSpec, Which};
use crate::plan::trial::Trial;

type Labels = IndexMap<String, String>;

/// Compares the tables that the file at `root` asks for with the trials of its sweep. `complete` says whether these are
/// all values of all axes, so that a name which none of them has is a mistake.
pub(in crate::plan) fn check_trials(
    root: &Node,
    trials: &[Trial],
    complete: bool,
) -> Vec<Diagnostic> {
    let (Value::Table(root), Some(first)) = (&root.value, trials.first()) else { return vec![] };
    let Some(asked) = root.entries.get("table") else { return vec![] };
    let nodes: Vec<&Node> = match &asked.node.value {
        Value::Array(items) => items.iter().collect(),
        _ => vec![&asked.node],
    };
    let labels: Vec<Labels> =
        trials.iter().map(|it| it.label_texts().into_iter().collect()).collect();
    let mut problems = Vec::new();
    for (spec, node) in first.pipeline.tables.iter().zip(nodes) {
        let fits = |labels: &&Labels| {
            let has = |(key, values): (&String, &Vec<String>)| {
                labels.get(key).is_none_or(|label| values.contains(label))
            };
            spec.only.iter().all(has)
        };
        let shown: Vec<&Labels> = labels.iter().filter(fits).collect();
        problems.extend(several_values(spec, node, &shown));
        if complete {
            problems.extend(unknown_names(spec, node, &shown));
        }
    }
    problems
}

/// Axes in which trials of one cell differ without being aggregated over.
fn several_values(spec: &TableSpec, node: &Node, shown: &[&Labels]) -> Option<Diagnostic> {
    if spec.trials == Which::Selected {
        return None;
    }
    let over = spec.aggregated();
    let mut cells: IndexMap<[Option<&String>; 2], &Labels> = IndexMap::new();
    let mut axes = BTreeSet::new();
    for labels in shown {
        let cell = [&spec.rows, &spec.columns].map(|key| labels.get(key));
        let first = *cells.entry(cell).or_insert(labels);
        let differs = |(key, label): &(&String, &String)| first.get(*key) != Some(*label);
        axes.extend(labels.iter().filter(differs).map(|(key, _)| key));
    }
    let axes: Vec<String> = axes
        .into_iter()
        .filter(|key| !over.contains(&key.as_str()))
        .map(|key| format!("`{key}`"))
        .collect();
    if axes.is_empty() {
        return None;
    }
    let message = "a cell of the table would have several values";
    let label = format!("trials of one cell differ in {}", axes.join(", "));
    Some(Diagnostic::at(node.span, message, label).help(
        "name each of these axes in `rows`, `columns` or `over`, or hold it at one value with `only`",
    ))
}

/// Published numbers for values that an axis does not have.
fn unknown_names(spec: &TableSpec, node: &Node, shown: &[&Labels]) -> Vec<Diagnostic> {
    let rows = spec.published.iter().map(|it| it.row.as_str()).collect();
    let columns = spec.published.iter().map(|it| it.column.as_str()).collect();
    let named: [(_, _, Vec<&str>); 2] =
        [("row", &spec.rows, rows), ("column", &spec.columns, columns)];
    let mut problems = Vec::new();
    for (what, axis, names) in named.into_iter().filter(|it| !FACTS.contains(&it.1.as_str())) {
        let known: BTreeSet<&str> =
            shown.iter().filter_map(|labels| labels.get(axis)).map(String::as_str).collect();
        for (at, name) in names.into_iter().enumerate().filter(|(_, name)| !known.contains(name)) {
            let message = format!("`published.{at}.{what}` is no value of `{axis}`");
            let span = node.nearest(&format!("published.{at}.{what}")).span;
            let mut problem =
                Diagnostic::at(span, message, format!("the table has no such {what}"));
            problem.help.extend(suggest(name, known.iter().copied()));
            problems.push(problem);
        }
    }
    problems
}
