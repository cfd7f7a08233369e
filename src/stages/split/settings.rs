//! Two settings of a `split` stage, and what is known of them before anything ran: splits that become one, and
//! proportions of the classes.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::json;

use crate::config::diagnostic::suggest;
use crate::config::node::{KeyValue, Node, Value};
use crate::config::{Diagnostic, Keys, Noted};
use crate::data::proportions::{ClassWeight, LARGEST, Proportions};
use crate::stages::Problem;

/// Names of splits with their numbers of images, as far as known.
type Counts = IndexMap<String, Option<usize>>;

/// `pool = ["train", "test"]`. What they become is called `from`, which is one of them.
pub(super) fn pool(keys: &mut Keys, from: Option<&str>) -> Result<Option<Vec<String>>, Noted> {
    let pool = keys
        .strings("pool")
        .such_that("the names of two or more splits, each once", |names| {
            let different: BTreeSet<&String> = names.iter().collect();
            names.len() > 1 && different.len() == names.len()
        })
        .limits([("minItems", json!(2)), ("uniqueItems", json!(true))])
        .optional()?;
    if let (Some(pool), Some(from)) = (&pool, from)
        && !pool.iter().any(|name| name == from)
    {
        let node = keys.peek("from").or_else(|| keys.peek("pool"));
        let span = node.map_or(keys.span(), |node| node.span);
        let label = format!("what is pooled would be called `{from}`");
        return Err(keys.problem(
            Diagnostic::at(span, "`from` must be one of the splits in `pool`", label)
                .help(format!("write `from = \"{}\"`", pool[0])),
        ));
    }
    Ok(pool)
}

/// The splits of a data set once those of `pool` are one.
///
/// # Errors
/// The splits that are not there.
pub(super) fn pooled(splits: &Counts, pool: &[String], from: &str) -> Result<Counts, Vec<Problem>> {
    let absent = pool.iter().enumerate().filter(|(_, name)| !splits.contains_key(*name));
    let problems: Vec<Problem> = absent
        .map(|(at, name)| {
            let message = format!("the data set has no split `{name}`");
            let mut problem = Problem::at(format!("pool.{at}"), message);
            problem.help.extend(suggest(name, splits.keys().map(String::as_str)));
            problem
        })
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let all: Option<usize> = pool.iter().map(|name| splits[name]).sum();
    let kept = splits.iter().filter(|(name, _)| *name == from || !pool.contains(name));
    let count = |(name, count): (&String, &Option<usize>)| {
        (name.clone(), if name == from { all } else { *count })
    };
    Ok(kept.map(count).collect())
}

/// `proportions = [1, 0.5, 0.1]`, or `proportions = { "3" = 0.1 }`.
pub(super) fn class_proportions(keys: &mut Keys) -> Result<Option<Proportions>, Noted> {
    keys.may_be("proportions", || {
        let number = json!({ "type": "number", "minimum": 0, "maximum": LARGEST });
        let what = "a number for each class, in their order";
        let each = json!({ "type": "array", "minItems": 1, "items": number, "description": what });
        let what = "numbers by the names of classes; the other classes have 1";
        let some = json!({ "type": "object", "minProperties": 1, "additionalProperties": number,
            "description": what });
        json!({ "anyOf": [each, some] })
    });
    let Some(node) = keys.node("proportions") else { return Ok(None) };
    let named = |(name, entry): (&String, &KeyValue)| Some((name.clone(), weight(&entry.node)?));
    let proportions = match &node.value {
        Value::Array(items) => {
            let weights = items.iter().map(weight).collect::<Option<Vec<_>>>();
            weights
                .filter(|weights| weights.iter().any(|weight| *weight != ClassWeight::ZERO))
                .map(Proportions::Each)
        }
        Value::Table(table) if !table.entries.is_empty() => {
            table.entries.iter().map(named).collect::<Option<_>>().map(Proportions::Named)
        }
        _ => None,
    };
    let Some(proportions) = proportions else {
        return Err(keys.problem(
            Diagnostic::at(
                node.span,
                format!(
                    "`proportions` must be numbers from 0 to {LARGEST}, one for each class or by \
                     the names of classes, at least one above 0"
                ),
                format!("found {}", node.shown()),
            )
            .help("`[1, 0.5, 0]` is for three classes, `{ \"CLASS\" = 0.1 }` leaves the others 1"),
        ));
    };
    keys.record("proportions", node.to_toml());
    if keys.has("per_class") {
        let message = "`proportions` and `per_class` exclude each other";
        let label = "both say how many images of a class stay";
        let problem = Diagnostic::at(node.span, message, label);
        return Err(keys.problem(problem.help("leave one of them out")));
    }
    Ok(Some(proportions))
}

fn weight(node: &Node) -> Option<ClassWeight> {
    match node.value {
        Value::Float(number) => ClassWeight::new(number),
        #[expect(clippy::cast_precision_loss, reason = "whole numbers up to 1e9 are exact")]
        Value::Integer(number) => ClassWeight::new(number as f64),
        _ => None,
    }
}

/// What is wrong with `proportions` of `classes`.
pub(super) fn misfits(proportions: &Proportions, classes: &[String]) -> Option<Problem> {
    let error = proportions.weights(classes).err()?;
    let problem = Problem::at("proportions", error.to_string());
    Some(error.help().into_iter().fold(problem, Problem::help))
}
