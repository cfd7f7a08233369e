//! What a pipeline file says once and uses in several places: other files, variables and stages that are like others.
//!
//! [`read`] gives a file with those that it includes, as a tree in which the rest is still open. [`open`] checks it once; [`expand`] gives the tree that every
//! reader sees, for a trial with its values put in: variables are in their places, and a stage that is like another one has
//! its keys. Every value keeps the place where it was written, with a note on where it counts. Never asks what a key means.

mod include;
mod lender;
mod likeness;
mod linked;
mod merge;
mod size;
mod variables;

pub use include::read;
pub use linked::{Linked, linked};
pub use merge::TAGS;

use serde_json::json;

use super::node::{Node, Table, Value};
use super::overrides::{Assignment, VARIABLES, apply_all};
use super::source::{Sources, Span};
use super::{Diagnostic, Keys};
use size::Size;
use variables::{Fill, Variables};

/// The tables of a file that are about all trials: variables are put in once, whatever a sweep does.
const OF_ALL_TRIALS: [&str; 2] = ["sweep", "table"];

/// The keys that are read before variables have values.
pub const PLAIN: [&str; 2] = [include::INCLUDE, VARIABLES];

/// Checks the variables of a file with the `--set` arguments `sets` put in, and puts them into its sweep, its tables and
/// into `sets`. Everything else is left for [`expand`].
///
/// # Errors
/// Every problem with the variables: unknown ones, and those that a sweep changes where it cannot.
pub fn open(
    root: &mut Node,
    sets: &mut [Assignment],
    sources: &mut Sources,
) -> Result<(), Vec<Diagnostic>> {
    let Some(variables) = Variables::of(root)? else { return Ok(()) };
    let (used, mut problems) = variables.uses(root);
    let Value::Table(table) = &root.value else { return Ok(()) };
    let swept = linked::swept(table);
    let names: Vec<String> = swept.iter().map(|it| it.0.clone()).collect();
    let set = sets.iter().filter_map(|set| match &set.path[..] {
        [table, name, ..] if table == VARIABLES => Some((name.clone(), set.value.span)),
        _ => None,
    });
    let idle = |it: &(String, Span)| variables.has(&it.0) && !used.contains(&*it.0);
    problems.extend(set.chain(swept.iter().cloned()).filter(idle).map(|(name, span)| {
        let message = format!("nothing uses the variable `{name}`");
        Diagnostic::at(span, message, "decides nothing")
            .help(format!("write `\"${{{name}}}\"` where it counts, or leave this out"))
    }));
    problems.extend(linked::swept_in(table, &names));
    problems.extend(linked::seed_by_variable(table, &swept));
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut size = Size::default();
    if !names.is_empty() {
        // The form that a record has, in which swept variables are still to come.
        filled(root, &[], &names, sources, &mut size)?;
        size = Size::default();
    }
    let Value::Table(table) = &mut root.value else { return Ok(()) };
    let mut fill = Fill { variables: &variables, open: &[], sources, size: &mut size, problems };
    for name in OF_ALL_TRIALS {
        if let Some(entry) = table.entries.get_mut(name) {
            fill.put(&mut entry.node);
        }
    }
    for set in sets {
        fill.put(&mut set.value);
    }
    match fill.problems.is_empty() {
        true => Ok(()),
        false => Err(fill.problems),
    }
}

/// The tree of [`open`]'s `root` with the values of a trial put in, without variables and `like`. Its keys that lead
/// nowhere are told beside it, so that the rest can be checked all the same.
///
/// # Errors
/// Why it cannot be made.
pub fn expand(
    root: &Node,
    values: &[Assignment],
    sources: &mut Sources,
) -> Result<(Node, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut size = Size::default();
    let (mut root, lost) = filled(root, values, &[], sources, &mut size)?;
    if let Value::Table(table) = &mut root.value {
        table.entries.shift_remove(VARIABLES);
        if let Some(stages) = stages(table) {
            likeness::resolve(stages, &|_| false, sources, &mut size)?;
        }
    }
    Ok((root, lost))
}

/// `root` with the values of a trial and all variables but those that stay `open`. Values of variables count before they
/// are used, and other values after that: they are no text of the file in which a `${` would be looked for.
fn filled(
    root: &Node,
    values: &[Assignment],
    open: &[String],
    sources: &mut Sources,
    size: &mut Size,
) -> Result<(Node, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut root = root.clone();
    let (mut of_variables, mut others): (Vec<_>, Vec<_>) =
        values.iter().cloned().partition(|it| it.path.first().is_some_and(|it| it == VARIABLES));
    // As text of the file, in which a `${` that is none is looked for.
    of_variables.iter_mut().for_each(|it| variables::escape(&mut it.value));
    let mut lost = apply_all(&of_variables, &mut root);
    if let Some(variables) = Variables::of(&root)? {
        let mut fill = Fill { variables: &variables, open, sources, size, problems: Vec::new() };
        if let Value::Table(table) = &mut root.value {
            for (name, entry) in &mut table.entries {
                if name != VARIABLES && !OF_ALL_TRIALS.contains(&name.as_str()) {
                    fill.put(&mut entry.node);
                }
            }
        }
        if !fill.problems.is_empty() {
            return Err(fill.problems);
        }
        if !open.is_empty() {
            others.iter_mut().for_each(|it| variables::escape(&mut it.value));
        }
    }
    let chosen = others.iter().filter_map(likeness::chosen_by);
    lost.extend(chosen.collect::<Vec<_>>());
    lost.extend(apply_all(&others, &mut root));
    Ok((root, lost))
}

/// Says that `keys` of a whole file may have what was taken out of it, so that what looks like it is taken for it.
pub fn know(keys: &mut Keys) {
    keys.node(include::INCLUDE);
    keys.node(VARIABLES);
}

/// `[stages]` of a file's root table.
fn stages(root: &mut Table) -> Option<&mut Table> {
    match &mut root.entries.get_mut("stages")?.node.value {
        Value::Table(stages) => Some(stages),
        _ => None,
    }
}

/// Says what a file takes that [`expand`] takes out of it.
pub fn describe_file(keys: &mut Keys) {
    keys.about(&[
        (include::INCLUDE, "other files whose keys count where this one does not have them"),
        (VARIABLES, "values with names, which strings use as `${name}`"),
    ]);
    keys.may_be(include::INCLUDE, || {
        json!({ "type": "array", "items": { "type": "string" },
            "description": "an array of paths, from the folder of this file" })
    });
    keys.may_be(VARIABLES, || {
        let plain = ["string", "number", "boolean"];
        let value = json!({ "anyOf": [{ "type": plain }, { "type": "array" }],
            "description": "a string, a number, a boolean or an array" });
        json!({ "type": "object", "additionalProperties": false,
            "patternProperties": { "^[A-Za-z0-9_-]+$": value } })
    });
}

/// Says what a stage takes that [`expand`] takes out of it.
pub fn describe_stage(keys: &mut Keys) {
    keys.about(&[
        (likeness::LIKE, "a stage whose keys this one has, but for those that it says itself"),
        (likeness::WITHOUT, "dotted keys of that stage that do not count"),
    ]);
    keys.must_be(
        likeness::LIKE,
        || json!({ "type": "string", "description": "the name of a stage" }),
    );
    keys.may_be(likeness::WITHOUT, || {
        json!({ "type": "array", "items": { "type": "string" },
            "description": "an array of dotted keys" })
    });
}
