//! One table put over another one.

use super::super::Diagnostic;
use super::super::node::{KeyValue, Node, Table, Value};

/// Keys with a word that says which other keys a table has; the first of them that it has does.
pub const TAGS: [&str; 3] = ["kind", "arch", "schedule"];

/// Tables of a stage whose keys are a user's own: none of them says which others there are.
const FREE: [&str; 2] = ["params", "environment"];

/// Tables of a stage that a word may stand for, and the key that has the word in them.
const SHORT: [(&str, &str); 4] =
    [("model", "arch"), ("method", "kind"), ("optimizer", "kind"), ("schedule", "kind")];

/// Why a table cannot be put over another value.
pub(super) struct Clash {
    /// The dotted key that leads to both.
    pub(super) key: String,
    pub(super) problem: Diagnostic,
    /// The word that the other value is.
    pub(super) word: Option<String>,
}

impl Clash {
    /// The problem with what to do about it: what is said of a word that stands for a table, or else by `otherwise`.
    pub(super) fn told(self, otherwise: impl FnOnce(Diagnostic, &str) -> Diagnostic) -> Diagnostic {
        let Self { key, problem, word } = self;
        let name = key.rsplit('.').next();
        let tag = SHORT.iter().find(|(short, _)| name == Some(short)).map(|it| it.1);
        match tag.zip(word) {
            Some((tag, word)) => {
                problem.help(format!("say what it is, too: `{key}.{tag} = \"{word}\"`"))
            }
            None => otherwise(problem, &key),
        }
    }
}

/// Puts what `own` says over `inherited`. Tables that both have are merged key by key, unless the own one is of another
/// kind; any other value takes the place of the inherited one. `way` is the dotted key that leads to both. Gives the keys
/// where a table is in the place of another value.
pub(super) fn put_over(inherited: &mut Table, own: Table, way: &str) -> Vec<Clash> {
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
            (Value::Table(below), Value::Table(own)) if !is_of_other_kind(&way, below, &own) => {
                there.node.span = node.span;
                clashes.extend(put_over(below, own, &format!("{way}.")));
            }
            (Value::Table(_), value) => there.node = Node { span: node.span, value },
            // It says what it is, whatever the value before it was.
            (_, Value::Table(own)) if says_its_kind(&own) => {
                there.node = Node { span: node.span, value: Value::Table(own) };
            }
            (other, Value::Table(_)) => {
                let message =
                    format!("`{way}` is {} that this table cannot change", other.type_name());
                let problem = Diagnostic::at(node.span, message, "a table here")
                    .related(there.node.span, format!("{} here", other.type_name()));
                let word = match other {
                    Value::String(word) => Some(word.clone()),
                    _ => None,
                };
                clashes.push(Clash { key: way, problem, word });
            }
            (_, value) => there.node = Node { span: node.span, value },
        }
    }
    clashes
}

/// Whether both tables, at the dotted key `way`, have a word for their kind, and not the same one. What has a `kind` may
/// have the other words as keys like any other.
pub(super) fn is_of_other_kind(way: &str, table: &Table, other: &Table) -> bool {
    let parts: Vec<&str> = way.split('.').collect();
    if let ["stages", _, key, ..] = parts[..]
        && FREE.contains(&key)
    {
        return false;
    }
    let has = |tag: &&&str| word(table, tag).is_some() || word(other, tag).is_some();
    TAGS.iter().find(has).is_some_and(|tag| match (word(table, tag), word(other, tag)) {
        (Some(one), Some(other)) => one != other,
        (None, _) | (_, None) => false,
    })
}

pub(super) fn says_its_kind(table: &Table) -> bool {
    TAGS.iter().any(|tag| word(table, tag).is_some())
}

fn word<'t>(table: &'t Table, tag: &str) -> Option<&'t str> {
    match &table.entries.get(tag)?.node.value {
        Value::String(word) => Some(word),
        _ => None,
    }
}
