//! `--set` of what a sweep sweeps: the value takes the place of the axis.

use super::super::diagnostic::Diagnostic;
use super::super::node::{Node, Table, Value};
use super::super::overrides::{Assignment, dotted};
use super::overlap::is_within;

/// Settles the axes of the sweep below `root` that `sets` decide, and says which, for people. The value
/// of an axis' own key, alone or in a table, becomes the axis' only one; a key inside an axis is set in
/// each of its values. What axes are called stays, so that tables find them.
///
/// # Errors
/// When a value of an axis cannot hold a key that is set inside it.
pub fn settle(root: &mut Node, sets: &[Assignment]) -> Result<Vec<String>, Vec<Diagnostic>> {
    let Some(sweep) = table_at(root, "sweep") else { return Ok(Vec::new()) };
    let (mut notes, mut problems, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    let Some(axes) = sweep.entries.get_mut("axes") else { return Ok(notes) };
    let Value::Table(axes) = &mut axes.node.value else { return Ok(notes) };
    for set in sets {
        for (key, entry) in &mut axes.entries {
            let Some(path) = dotted(key) else { continue };
            let name = set.path.join(".");
            if let Some(value) = path.strip_prefix(&set.path[..]).and_then(|it| set.value.below(it))
            {
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
                let mut differing: Vec<Node> = Vec::new();
                for value in values.drain(..) {
                    if !differing.iter().any(|it| it.is_same(&value)) {
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
