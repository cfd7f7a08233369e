//! One table put over another one.

use super::super::Diagnostic;
use super::super::node::{KeyValue, Node, Table, Value};

/// Keys with a word that says which other keys a table has.
pub const TAGS: [&str; 3] = ["kind", "arch", "schedule"];

/// Puts what `own` says over `inherited`. Tables that both have are merged key by key, unless the own one is of another
/// kind; any other value takes the place of the inherited one. `way` is the dotted key that leads to both. Gives the keys
/// where a table is in the place of another value, each with its problem.
pub(super) fn put_over(inherited: &mut Table, own: Table, way: &str) -> Vec<(String, Diagnostic)> {
    let mut clashes = Vec::new();
    for (key, entry) in own.entries {
        let Some(there) = inherited.entries.get_mut(&key) else {
            inherited.entries.insert(key, entry);
            continue;
        };
        let KeyValue { key: place, node } = entry;
        there.key = place;
        let way = format!("{way}{key}");
        match (&mut there.node.value, node.value) {
            (Value::Table(below), Value::Table(own)) if !is_of_other_kind(below, &own) => {
                there.node.span = node.span;
                clashes.extend(put_over(below, own, &format!("{way}.")));
            }
            (Value::Table(_), value) => there.node = Node { span: node.span, value },
            // Of another kind than the word says, or of the same: either way it says what it is.
            (Value::String(_), Value::Table(own)) if says_its_kind(&own) => {
                there.node = Node { span: node.span, value: Value::Table(own) };
            }
            (other, Value::Table(_)) => {
                let message =
                    format!("`{way}` is {} that this table cannot change", other.type_name());
                let problem = Diagnostic::at(node.span, message, "a table here")
                    .related(there.node.span, format!("{} here", other.type_name()));
                clashes.push((way, problem));
            }
            (_, value) => there.node = Node { span: node.span, value },
        }
    }
    clashes
}

/// Whether both tables have a word for their kind, and not the same one.
fn is_of_other_kind(table: &Table, other: &Table) -> bool {
    TAGS.iter().any(|tag| match (word(table, tag), word(other, tag)) {
        (Some(one), Some(other)) => one != other,
        (None, _) | (_, None) => false,
    })
}

fn says_its_kind(table: &Table) -> bool {
    TAGS.iter().any(|tag| word(table, tag).is_some())
}

fn word<'t>(table: &'t Table, tag: &str) -> Option<&'t str> {
    match &table.entries.get(tag)?.node.value {
        Value::String(word) => Some(word),
        _ => None,
    }
}
