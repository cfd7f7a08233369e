//! `[sweep]`: a grid of values over dotted keys.
//!
//! Never knows what a key means; each trial is resolved like any pipeline.

use std::collections::HashSet;

use super::diagnostic::Diagnostic;
use super::keys::Keys;
use super::node::{Node, Value};
use super::overrides::{Assignment, dotted};
use super::source::Span;

/// More trials than this are taken for a mistake.
const MOST_TRIALS: usize = 10_000;

/// One axis of the grid.
#[derive(Debug, Clone)]
pub struct Axis {
    /// The dotted key as written.
    pub key: String,
    /// Where it stands.
    pub span: Span,
    path: Vec<String>,
    values: Vec<Node>,
}

/// One point of the grid.
#[derive(Debug, Clone)]
pub struct Point {
    /// The values in the order of the axes.
    pub assignments: Vec<Assignment>,
    /// The same as plain keys and values.
    pub overrides: Vec<(String, toml::Value)>,
}

/// Reads `[sweep]` from the reader of that table. `None` only with a problem noted.
pub fn read(keys: &mut Keys) -> Option<Vec<Axis>> {
    let span = keys.span();
    let Some(node) = keys.node("axes") else {
        keys.problem(
            Diagnostic::at(span, "missing key `sweep.axes`", "in this table")
                .help("add `axes = { \"pipeline.seed\" = [0, 1, 2] }`"),
        );
        return None;
    };
    let Value::Table(table) = &node.value else {
        keys.problem(Diagnostic::at(
            node.span,
            "`sweep.axes` must be a table of dotted keys and arrays of values",
            format!("found {}", node.value.type_name()),
        ));
        return None;
    };
    let mut axes = Vec::new();
    let mut problems = Vec::new();
    for (key, entry) in &table.entries {
        match axis(key, entry.key, &entry.node) {
            Ok(axis) => axes.push(axis),
            Err(problem) => problems.push(problem),
        }
    }
    if table.entries.is_empty() {
        problems.push(Diagnostic::at(node.span, "`sweep.axes` is empty", "expected an axis"));
    }
    let trials = axes.iter().try_fold(1_usize, |all, axis| all.checked_mul(axis.values.len()));
    if trials.is_none_or(|trials| trials > MOST_TRIALS) {
        problems.push(Diagnostic::at(
            node.span,
            format!("the sweep has more than {MOST_TRIALS} trials"),
            "every axis multiplies their number",
        ));
    }
    let failed = !problems.is_empty();
    problems.into_iter().for_each(|problem| keys.problem(problem));
    keys.record("axes", node.to_toml());
    (!failed).then_some(axes)
}

fn axis(key: &str, span: Span, node: &Node) -> Result<Axis, Diagnostic> {
    let example = "for example `\"pipeline.seed\" = [0, 1, 2]`";
    if let Value::Table(_) = &node.value {
        return Err(Diagnostic::at(
            span,
            format!("axis `{key}` must be an array"),
            "found a table",
        )
        .help(format!("put the whole dotted key in quotes, {example}")));
    }
    let Value::Array(values) = &node.value else {
        return Err(Diagnostic::at(
            node.span,
            format!("axis `{key}` must be an array of values"),
            format!("found {}", node.value.type_name()),
        )
        .help(example));
    };
    if values.is_empty() {
        let message = format!("axis `{key}` has no values");
        return Err(Diagnostic::at(node.span, message, "empty").help(example));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = values.iter().find(|value| !seen.insert(value.to_toml().to_string())) {
        return Err(Diagnostic::at(
            twice.span,
            format!("axis `{key}` has the value {} twice", twice.to_toml()),
            "the same trial again",
        ));
    }
    let path = dotted(key).filter(|path| path.len() > 1);
    let path = path.ok_or_else(|| {
        Diagnostic::at(span, format!("`{key}` is not a dotted key"), "not a key").help(example)
    })?;
    if !matches!(path[0].as_str(), "pipeline" | "stages") {
        let message = format!("`{key}` cannot be swept");
        return Err(Diagnostic::at(span, message, "not below `pipeline` or `stages`"));
    }
    Ok(Axis { key: key.to_owned(), span, path, values: values.clone() })
}

/// Every point of the grid, the last axis fastest; a single empty point without axes.
pub fn expand(axes: &[Axis]) -> Vec<Point> {
    let mut points = vec![Point { assignments: Vec::new(), overrides: Vec::new() }];
    for axis in axes {
        points = points
            .iter()
            .flat_map(|point| {
                axis.values.iter().map(|value| {
                    let mut next = point.clone();
                    next.overrides.push((axis.key.clone(), value.to_toml()));
                    next.assignments.push(Assignment {
                        path: axis.path.clone(),
                        span: axis.span,
                        value: value.clone(),
                    });
                    next
                })
            })
            .collect();
    }
    points
}
