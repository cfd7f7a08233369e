//! `like = "a"` in a stage: it has the keys of `a` but for those that it says itself. Knows no stage's keys.

use std::collections::{HashMap, HashSet};

use super::super::Diagnostic;
use super::super::diagnostic::suggest;
use super::super::node::{KeyValue, Node, Table, Value};
use super::super::overrides::{Assignment, dotted};
use super::super::source::{Sources, Span};
use super::lender::Lender;
use super::merge::put_over;
use super::size::Size;

/// The key that names the other stage.
pub(super) const LIKE: &str = "like";

/// The key that names keys of the other stage which do not count.
pub(super) const WITHOUT: &str = "without";

/// Whether `stage` is like another one, as far as that is well written.
pub(super) fn model(stage: &Node) -> Option<&str> {
    let Value::Table(table) = &stage.value else { return None };
    match &table.entries.get(LIKE)?.node.value {
        Value::String(name) => Some(name),
        _ => None,
    }
}

/// The problem of an axis that would have a stage be like another one in some trials: what a key of the other stage
/// moves must be the same in all of them.
pub(super) fn chosen_by(value: &Assignment) -> Option<Diagnostic> {
    let keys = [LIKE, WITHOUT];
    let key = match &value.path[..] {
        [table, _, key] if table == "stages" => keys.into_iter().find(|it| it == key)?,
        [table, _] if table == "stages" => {
            let there = |key: &&str| value.value.below(&[(*key).to_owned()]).is_some();
            keys.into_iter().find(there)?
        }
        _ => return None,
    };
    let message = format!("`{key}` cannot be swept: it is the same for all trials");
    Some(
        Diagnostic::at(value.span, message, "swept here")
            .help("write both stages, and sweep the key that names one of them"),
    )
}

/// What a stage says of another one.
struct Likeness {
    /// The other stage.
    of: String,
    /// Where it is named.
    span: Span,
    /// Keys that it leaves out.
    without: Vec<(Vec<String>, Span)>,
}

/// Gives every stage but those that stay `open` the keys of the one that it is like.
///
/// # Errors
/// Every problem with that.
pub(super) fn resolve(
    stages: &mut Table,
    open: &dyn Fn(&str) -> bool,
    sources: &mut Sources,
    size: &mut Size,
) -> Result<(), Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let likenesses = take_all(stages, open, &mut problems);
    let order = in_order(stages, &likenesses, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    for name in &order {
        if let Err(found) = inherit(stages, name, &likenesses[name], sources, size) {
            problems.extend(found);
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Takes `like` and `without` out of the stages.
fn take_all(
    stages: &mut Table,
    open: &dyn Fn(&str) -> bool,
    problems: &mut Vec<Diagnostic>,
) -> HashMap<String, Likeness> {
    let mut likenesses = HashMap::new();
    for (name, entry) in &mut stages.entries {
        let Value::Table(table) = &mut entry.node.value else { continue };
        if open(name) {
            continue;
        }
        let like = table.entries.shift_remove(LIKE);
        let without = table.entries.shift_remove(WITHOUT);
        let left_out = without.as_ref().map(|it| keys_left_out(name, &it.node, problems));
        match (like, without) {
            (None, None) => {}
            (None, Some(without)) => {
                let message =
                    format!("`stages.{name}.{WITHOUT}` is of a stage that is like another one");
                problems.push(
                    Diagnostic::at(without.key, message, "leaves nothing out")
                        .help(format!("add `{LIKE} = \"STAGE\"`, or leave `{WITHOUT}` out")),
                );
            }
            (Some(KeyValue { node, .. }), _) => match node.value {
                Value::String(of) => {
                    let without = left_out.unwrap_or_default();
                    likenesses.insert(name.clone(), Likeness { of, span: node.span, without });
                }
                other => {
                    let message = format!("`stages.{name}.{LIKE}` must be the name of a stage");
                    let found = format!("found {}", other.type_name());
                    problems.push(Diagnostic::at(node.span, message, found));
                }
            },
        }
    }
    likenesses
}

/// The dotted keys in `without`.
fn keys_left_out(
    stage: &str,
    node: &Node,
    problems: &mut Vec<Diagnostic>,
) -> Vec<(Vec<String>, Span)> {
    let mut wrong = |node: &Node, found: String| {
        let message = format!("`stages.{stage}.{WITHOUT}` must be an array of dotted keys");
        problems.push(
            Diagnostic::at(node.span, message, found)
                .help(format!("for example `{WITHOUT} = [\"optimizer.momentum\"]`")),
        );
        None
    };
    let Value::Array(items) = &node.value else {
        wrong(node, format!("found {}", node.value.type_name()));
        return Vec::new();
    };
    let read = |item: &Node| match &item.value {
        Value::String(key) => match dotted(key) {
            Some(path) => Some((path, item.span)),
            None => wrong(item, "not a key".into()),
        },
        other => wrong(item, format!("found {}", other.type_name())),
    };
    items.iter().filter_map(read).collect()
}

/// The stages that are like others, each after the one that it is like.
fn in_order(
    stages: &Table,
    likenesses: &HashMap<String, Likeness>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<String> {
    let mut order = Vec::new();
    let mut seen: HashSet<&str> = HashSet::new();
    for name in stages.entries.keys() {
        let mut chain: Vec<&str> = Vec::new();
        let mut at = name.as_str();
        while let Some(likeness) = likenesses.get(at) {
            if let Some(first) = chain.iter().position(|it| *it == at) {
                problems.push(cycle(&chain[first..], likenesses));
                break;
            }
            if !seen.insert(at) {
                break;
            }
            chain.push(at);
            match stages.entries.get_key_value(&likeness.of).map(|(name, it)| (name, &it.node)) {
                Some((of, Node { value: Value::Table(_), .. })) => at = of,
                Some((of, node)) => {
                    let message = format!("`stages.{of}` must be a table");
                    let found = format!("found {}", node.value.type_name());
                    problems.push(Diagnostic::at(node.span, message, found));
                    break;
                }
                None => {
                    problems.push(missing(at, likeness, stages));
                    break;
                }
            }
        }
        order.extend(chain.into_iter().rev().map(str::to_owned));
    }
    order
}

fn missing(name: &str, likeness: &Likeness, stages: &Table) -> Diagnostic {
    let message = format!("there is no stage `{}`", likeness.of);
    let mut problem = Diagnostic::at(likeness.span, message, format!("`{name}` is like it"));
    let others = stages.entries.keys().map(String::as_str).filter(|other| *other != name);
    problem.help.extend(suggest(&likeness.of, others));
    problem
}

fn cycle(chain: &[&str], likenesses: &HashMap<String, Likeness>) -> Diagnostic {
    let names: Vec<&str> = chain.iter().chain(chain.first()).copied().collect();
    let message = format!("stages are like each other in a cycle: {}", names.join(" -> "));
    let label = |name: &str| format!("`{name}` is like `{}`", likenesses[name].of);
    let mut problem = Diagnostic::at(likenesses[chain[0]].span, message, label(chain[0]));
    for name in &chain[1..] {
        problem = problem.related(likenesses[*name].span, label(name));
    }
    problem.help(format!("take one `{LIKE}` out, and write the keys of that stage"))
}

/// Puts the own keys of the stage `name` over those of the stage that it is like.
fn inherit(
    stages: &mut Table,
    name: &str,
    likeness: &Likeness,
    sources: &mut Sources,
    size: &mut Size,
) -> Result<(), Vec<Diagnostic>> {
    let Likeness { of, span, without } = likeness;
    let Some(node) = stages.entries.get(of).map(|entry| &entry.node) else { return Ok(()) };
    size.add(node, *span).map_err(|problem| vec![problem])?;
    let mut node = node.clone();
    Lender::new((*span, format!("`{name}` is like `{of}`")), sources).lend(&mut node);
    let Value::Table(mut inherited) = node.value else { return Ok(()) };
    let mut problems = Vec::new();
    for (path, place) in without {
        problems.extend(leave_out(&mut inherited, path, *place, of).err());
    }
    let Some(Value::Table(table)) = stages.entries.get_mut(name).map(|it| &mut it.node.value)
    else {
        return Ok(());
    };
    let way = format!("stages.{name}.");
    let clashes = put_over(&mut inherited, std::mem::take(table), &way);
    problems.extend(clashes.into_iter().map(|clash| {
        clash.told(|problem, key| {
            let key = key.strip_prefix(&way).unwrap_or(key);
            problem.help(format!(
                "add `{WITHOUT} = [\"{key}\"]` to `[stages.{name}]`: then this table counts alone"
            ))
        })
    }));
    *table = inherited;
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Takes the key at `path` out of what a stage has from `of`.
fn leave_out(table: &mut Table, path: &[String], span: Span, of: &str) -> Result<(), Diagnostic> {
    let (last, tables) = path.split_last().expect("a dotted key has a part");
    let mut at = table;
    for (depth, part) in tables.iter().chain([last]).enumerate() {
        if !at.entries.contains_key(part) {
            let message = format!("`{of}` has no key `{}` to leave out", path[..=depth].join("."));
            let mut problem = Diagnostic::at(span, message, "not a key of it");
            problem.help.extend(suggest(part, at.entries.keys().map(String::as_str)));
            return Err(problem);
        }
        if depth == tables.len() {
            break;
        }
        let node = &mut at.entries.get_mut(part).expect("it was there").node;
        let place = node.span;
        let found = node.value.type_name();
        at = match &mut node.value {
            Value::Table(below) => below,
            _ => {
                let way = path[..=depth].join(".");
                let message = format!("`{way}` of `{of}` has no keys to leave out");
                return Err(Diagnostic::at(span, message, "leads nowhere")
                    .related(place, format!("it is {found}"))
                    .help(format!("leave out all of it: `\"{way}\"`")));
            }
        };
    }
    at.entries.shift_remove(last);
    Ok(())
}
