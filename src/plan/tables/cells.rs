//! What can be wrong with a table against the trials of the sweep: cells with several values, and published
//! numbers for rows and columns that no trial makes.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::FACTS;
use super::heads::Heads;
use crate::config::Diagnostic;
use crate::config::diagnostic::suggest;
use crate::config::node::{Node, Value};
use crate::config::sweep::{PAIR, PairKeys};
use crate::plan::table_spec::{AVERAGE, TableSpec, Which};
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
    let labels: Vec<Labels> = trials.iter().map(labels_of).collect();
    let mut problems = Vec::new();
    let pairs = first.pipeline.pairs.as_ref();
    for (spec, node) in first.pipeline.tables.iter().zip(nodes) {
        let fits = |labels: &&Labels| {
            let has = |(key, values): (&String, &Vec<String>)| {
                labels.get(key).is_none_or(|label| values.contains(label))
            };
            spec.only.iter().all(has)
        };
        let shown: Vec<&Labels> = labels.iter().filter(fits).collect();
        problems.extend(several_values(spec, node, pairs, &shown));
        let span = node.nearest("column_label").span;
        let mut heads = Heads::default();
        problems.extend(trials.iter().zip(&labels).filter(|it| fits(&it.1)).find_map(
            |(trial, labels)| {
                let label = |key: &str| labels.get(key).map(String::as_str);
                heads.add(spec, span, &trial.pipeline.stages, (label, pairs))
            },
        ));
        if complete {
            problems.extend(unknown_names(spec, node, &shown));
        }
    }
    problems
}

/// Axes in which trials of one cell differ without being aggregated over.
fn several_values(
    spec: &TableSpec,
    node: &Node,
    pairs: Option<&PairKeys>,
    shown: &[&Labels],
) -> Option<Diagnostic> {
    if spec.trials == Which::Selected {
        return None;
    }
    let over = spec.aggregated();
    let mut cells: IndexMap<Vec<Option<&String>>, &Labels> = IndexMap::new();
    let mut axes = BTreeSet::new();
    for labels in shown {
        let named = std::iter::once(&spec.rows).chain(&spec.columns.0);
        let cell = named.map(|key| labels.get(key)).collect();
        let first = *cells.entry(cell).or_insert(labels);
        let differs = |(key, label): &(&String, &String)| first.get(*key) != Some(*label);
        axes.extend(labels.iter().filter(differs).map(|(key, _)| key));
    }
    let axes: Vec<String> = axes
        .into_iter()
        // A pair differs where one of its keys does, and both do where it does.
        .filter(|key| key.as_str() != PAIR)
        .filter(|key| !over.contains(&PAIR) || pairs.is_none_or(|pairs| !pairs.has(key)))
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

/// The labels of a trial, with its pair among them.
fn labels_of(trial: &Trial) -> Labels {
    let pair = trial.pair().map(|pair| (PAIR.to_owned(), pair));
    trial.label_texts().into_iter().chain(pair).collect()
}

/// Published numbers for values that an axis does not have.
fn unknown_names(spec: &TableSpec, node: &Node, shown: &[&Labels]) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for (at, one) in spec.published.iter().enumerate() {
        let columns = match spec.average && one.column == AVERAGE {
            true => Vec::new(),
            false => spec.columns.values(&one.column).unwrap_or_default(),
        };
        let row = ("row", &*spec.rows, &*one.row);
        let columns = columns.into_iter().map(|(axis, name)| ("column", axis, name));
        for (what, axis, name) in std::iter::once(row).chain(columns) {
            let known: BTreeSet<&str> =
                shown.iter().filter_map(|labels| labels.get(axis)).map(String::as_str).collect();
            if FACTS.contains(&axis) || known.contains(name) {
                continue;
            }
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
