//! `--set` of what a sweep sweeps: the value takes the place of the axis.

use super::super::diagnostic::Diagnostic;
use super::super::node::{Node, Table, Value};
use super::super::overrides::{Assignment, dotted};
use super::overlap::is_within;
use super::pairs;

/// Settles the axes of the sweep below `root` that `sets` decide, and says which, for people. The value
/// of an axis' own key, alone or in a table, becomes the axis' only one, and axes that move with it keep the values
/// at its place; a key inside an axis is set in each of its values. Of pairs, those with the value stay. What axes are called stays, so that tables find
/// them.
///
/// # Errors
/// When a value of an axis cannot hold a key that is set inside it, or one of several axes that move together is
/// set to a value that has no place among its own.
pub fn settle(root: &mut Node, sets: &[Assignment]) -> Result<Vec<String>, Vec<Diagnostic>> {
    let Some(sweep) = table_at(root, "sweep") else { return Ok(Vec::new()) };
    let (mut notes, mut alone) = (Vec::new(), Vec::new());
    notes.extend(pairs::narrow(sweep, sets).map_err(|problem| vec![problem])?);
    let groups = groups(sweep);
    let Some(axes) = sweep.entries.get_mut("axes") else { return Ok(notes) };
    let Value::Table(axes) = &mut axes.node.value else { return Ok(notes) };
    let narrowed = groups.iter().filter_map(|group| narrow(axes, group, sets).err());
    let mut problems: Vec<Diagnostic> = narrowed.collect();
    for set in sets {
        for (key, entry) in &mut axes.entries {
            let Some(path) = dotted(key) else { continue };
            let name = set.path.join(".");
            if let Some(value) = value_of(set, key) {
                notes.push(format!(
                    "`--set {name}` takes the place of the axis `{key}`: all trials have {}",
                    value.shown()
                ));
                let value = Value::Array(vec![value.clone()]);
                entry.node = Node { span: entry.node.span, value };
                alone.push(key.clone());
            } else if is_within(&set.path, &path) {
                let Some(values) = written(&mut entry.node) else { continue };
                let wrong = |value: &mut Node| set.apply_below(path.len(), value).err();
                problems.extend(values.iter_mut().filter_map(wrong));
                let before = values.len();
                // Those that move with others keep their places.
                let moves = groups.iter().any(|group| group.contains(key));
                let mut differing: Vec<Node> = Vec::new();
                for value in values.drain(..) {
                    if moves || !differing.iter().any(|it| it.is_same(&value)) {
                        differing.push(value);
                    }
                }
                *values = differing;
                let gone = match before - values.len() {
                    0 => String::new(),
                    gone => format!("; {gone} of them became the same as another"),
                };
                notes.push(format!(
                    "`--set {name}` is set in every value of the axis `{key}`{gone}"
                ));
            }
        }
    }
    if problems.is_empty() {
        leave_groups(sweep, &alone);
        Ok(notes)
    } else {
        Err(problems)
    }
}

/// The value that `set` gives the axis `key`.
fn value_of<'a>(set: &'a Assignment, key: &str) -> Option<&'a Node> {
    set.value.below(dotted(key)?.strip_prefix(&set.path[..])?)
}

/// The groups of axes that move together, as far as they are well written.
fn groups(sweep: &Table) -> Vec<Vec<String>> {
    let items = |node: &Node| match &node.value {
        Value::Array(items) => items.clone(),
        _ => Vec::new(),
    };
    let word = |node: Node| match node.value {
        Value::String(word) => Some(word),
        _ => None,
    };
    let zip = sweep.entries.get("zip").map(|entry| items(&entry.node)).unwrap_or_default();
    zip.iter().map(|group| items(group).into_iter().filter_map(word).collect()).collect()
}

/// Where `sets` give some axes of a group a value, leaves the others the values at its places: a domain must not
/// meet another one than was meant.
fn narrow(axes: &mut Table, group: &[String], sets: &[Assignment]) -> Result<(), Diagnostic> {
    let is_set = |key: &String| sets.iter().any(|set| value_of(set, key).is_some());
    let (fixed, others): (Vec<&String>, Vec<&String>) = group.iter().partition(|it| is_set(it));
    let mut places: Option<Vec<usize>> = None;
    for key in &fixed {
        // The last one counts.
        let Some((set, value)) = sets.iter().rev().find_map(|set| Some((set, value_of(set, key)?)))
        else {
            continue;
        };
        let entry = axes.entries.get_mut(key.as_str());
        let values = entry.and_then(|entry| written(&mut entry.node)).map(|it| &*it);
        let is_there = |at: &usize| {
            values.is_some_and(|values| values.get(*at).is_some_and(|it| it.is_same(value)))
        };
        let before = places.unwrap_or_else(|| (0..values.map_or(0, Vec::len)).collect());
        let left: Vec<usize> = before.into_iter().filter(is_there).collect();
        if left.is_empty() && !others.is_empty() {
            let named: Vec<&str> = others.iter().map(|it| it.as_str()).collect();
            let named = named.join("` and `");
            let message =
                format!("`{key}` moves together with `{named}`, and never has this value");
            return Err(Diagnostic::at(set.span, message, "not one of its listed values")
                .help(format!("set `{named}` too, or give a value that the axis lists")));
        }
        places = Some(left);
    }
    let Some(places) = places else { return Ok(()) };
    for key in others {
        let entry = axes.entries.get_mut(key.as_str());
        // One that is no list is a mistake that reading the sweep finds.
        let Some(values) = entry.and_then(|entry| written(&mut entry.node)) else { continue };
        *values = places.iter().filter_map(|at| values.get(*at).cloned()).collect();
    }
    Ok(())
}

/// The values of an axis that are written one by one.
fn written(axis: &mut Node) -> Option<&mut Vec<Node>> {
    match &mut axis.value {
        Value::Array(values) => Some(values),
        Value::Table(table) => match &mut table.entries.get_mut("choice")?.node.value {
            Value::Array(values) => Some(values),
            _ => None,
        },
        _ => None,
    }
}

/// Takes axes of one value out of the groups that move together: the others stay in them.
fn leave_groups(sweep: &mut Table, alone: &[String]) {
    let Some(zip) = sweep.entries.get_mut("zip") else { return };
    let Value::Array(groups) = &mut zip.node.value else { return };
    let is_alone = |word: &Node| matches!(&word.value, Value::String(key) if alone.contains(key));
    groups.retain_mut(|group| {
        let Value::Array(words) = &mut group.value else { return true };
        let before = words.len();
        words.retain(|word| !is_alone(word));
        words.len() == before || words.len() > 1
    });
    if groups.is_empty() {
        sweep.entries.shift_remove("zip");
    }
}

fn table_at<'a>(root: &'a mut Node, name: &str) -> Option<&'a mut Table> {
    let Value::Table(table) = &mut root.value else { return None };
    match &mut table.entries.get_mut(name)?.node.value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}
