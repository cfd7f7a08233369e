//! `[vars]`: values with names, and their uses in strings, `"${name}"`.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::super::Diagnostic;
use super::super::diagnostic::suggest_and_list;
use super::super::node::{Node, Table, Value, label_text};
use super::super::overrides::VARIABLES;
use super::super::source::{Sources, Span};
use super::lender::Lender;
use super::size::Size;

/// What begins the use of a variable.
const OPENS: &str = "${";

/// What stands for [`OPENS`] where no variable is meant.
const ESCAPED: &str = "$${";

/// A part of a string.
#[derive(Debug, PartialEq)]
enum Piece<'t> {
    /// As it is.
    Text(&'t str),
    /// [`ESCAPED`].
    Escaped,
    /// The use of the variable of this name.
    Use(&'t str),
}

/// The parts of `text`; `None` where a `${` has no name after it.
fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let (mut rest, mut pieces) = (text, Vec::new());
    while let Some(at) = rest.find(OPENS) {
        let (before, after) = (&rest[..at], &rest[at + OPENS.len()..]);
        if let Some(before) = before.strip_suffix('$') {
            pieces.extend([Piece::Text(before), Piece::Escaped]);
            rest = after;
            continue;
        }
        let (name, after) = after.split_once('}').filter(|(name, _)| is_name(name))?;
        pieces.extend([Piece::Text(before), Piece::Use(name)]);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| *piece != Piece::Text(""));
    Some(pieces)
}

/// Whether a variable can be called so: what TOML takes without quotes.
fn is_name(name: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    !name.is_empty() && name.chars().all(fits)
}

/// The parts of the string `text` at `span`.
fn pieces_at(text: &str, span: Span) -> Result<Vec<Piece<'_>>, Diagnostic> {
    pieces(text).ok_or_else(|| {
        let message = "`${` has no name of a variable and `}` after it";
        Diagnostic::at(span, message, "in this text")
            .help("write `$${` for a `${` that is no variable")
    })
}

/// Calls `see` with every string in `node` that may use variables.
fn each_text<'n>(node: &'n Node, see: &mut impl FnMut(&'n str, Span)) {
    match &node.value {
        Value::String(text) if text.contains(OPENS) => see(text, node.span),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, see)),
        Value::Table(table) => {
            table.entries.values().for_each(|entry| each_text(&entry.node, see));
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => {}
    }
}

/// The first place below `node` that uses one of `names`, and which.
pub(super) fn use_of<'a>(node: &Node, names: &'a [String]) -> Option<(Span, &'a str)> {
    let mut found = None;
    each_text(node, &mut |text, span| {
        for piece in pieces(text).unwrap_or_default() {
            if let (None, Piece::Use(used)) = (&found, piece) {
                let name = names.iter().find(|name| *name == used);
                found = name.map(|name| (span, name.as_str()));
            }
        }
    });
    found
}

/// The variables of a file.
#[derive(Debug)]
pub(super) struct Variables {
    known: IndexMap<String, Variable>,
}

#[derive(Debug)]
struct Variable {
    /// Where its name stands.
    key: Span,
    /// Its value, escapes undone.
    value: Node,
}

impl Variables {
    /// Those below `root`; `None` in a file without `[vars]`, where `${` means nothing.
    ///
    /// # Errors
    /// When something is wrong with them.
    pub(super) fn of(root: &Node) -> Result<Option<Self>, Vec<Diagnostic>> {
        let Value::Table(root) = &root.value else { return Ok(None) };
        let Some(entry) = root.entries.get(VARIABLES) else { return Ok(None) };
        let Value::Table(table) = &entry.node.value else {
            let found = format!("found {}", entry.node.value.type_name());
            let message = format!("`{VARIABLES}` must be a table of names and values");
            return Err(vec![Diagnostic::at(entry.node.span, message, found)]);
        };
        let (mut known, mut problems) = (IndexMap::new(), Vec::new());
        for (name, entry) in &table.entries {
            if !is_name(name) {
                let message = format!("`{name}` is not a name for a variable");
                let label = "expected letters, digits, `_`, `-`";
                problems.push(Diagnostic::at(entry.key, message, label));
            }
            let mut value = entry.node.clone();
            match settle(name, &mut value) {
                Ok(()) => {
                    known.insert(name.clone(), Variable { key: entry.key, value });
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(Some(Self { known })) } else { Err(problems) }
    }

    /// Whether there is a variable of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// The value of a variable that is used at `span`.
    fn value(&self, name: &str, span: Span) -> Result<&Node, Diagnostic> {
        self.known.get(name).map(|it| &it.value).ok_or_else(|| {
            let message = format!("there is no variable `{name}`");
            let mut problem = Diagnostic::at(span, message, "used here");
            if !self.known.is_empty() {
                problem.help.extend(suggest_and_list(name, self.known.keys().map(String::as_str)));
            }
            problem.help(format!(
                "a `${{` that is left to a shell is written `$${{`: `$${{{name}}}`; variables of the environment are not \
                 read"
            ))
        })
    }

    /// Uses below `root` that lead nowhere; where there are none, the variables that nothing uses. Those of included files
    /// may be for other pipelines.
    pub(super) fn misuses(&self, root: &Node, sources: &Sources) -> Vec<Diagnostic> {
        let (used, problems) = self.uses(root);
        if !problems.is_empty() {
            return problems;
        }
        let is_own = |variable: &Variable| sources.written(variable.key).1.is_empty();
        let unused =
            self.known.iter().filter(|(name, it)| is_own(it) && !used.contains(name.as_str()));
        unused
            .map(|(name, variable)| {
                let message = format!("the variable `{name}` is not used");
                Diagnostic::at(variable.key, message, "decides nothing")
                    .help(format!("write `\"${{{name}}}\"` where it counts, or leave it out"))
            })
            .collect()
    }

    /// The names that are used below `root`, and the problems of uses that lead nowhere.
    pub(super) fn uses<'n>(&self, root: &'n Node) -> (HashSet<&'n str>, Vec<Diagnostic>) {
        let (mut problems, mut used) = (Vec::new(), HashSet::new());
        let Value::Table(table) = &root.value else { return (used, problems) };
        for (_, entry) in table.entries.iter().filter(|(name, _)| *name != VARIABLES) {
            each_text(&entry.node, &mut |text, span| match pieces_at(text, span) {
                Err(problem) => problems.push(problem),
                Ok(pieces) => {
                    for piece in pieces {
                        if let Piece::Use(name) = piece {
                            used.insert(name);
                            problems.extend(self.value(name, span).err());
                        }
                    }
                }
            });
        }
        (used, problems)
    }
}

/// Undoes the escapes in the value of the variable `name`, which must be one that a variable can have.
fn settle(name: &str, node: &mut Node) -> Result<(), Diagnostic> {
    let span = node.span;
    match &mut node.value {
        Value::String(text) => {
            let parts = pieces_at(text, span)?;
            if let Some(Piece::Use(other)) = parts.iter().find(|it| matches!(it, Piece::Use(_))) {
                let message = format!("the variable `{name}` uses `{other}`");
                return Err(Diagnostic::at(span, message, "a variable cannot use another one")
                    .help("write the value, or both variables where this one is used")
                    .help("a `${` that is left to a shell is written `$${`"));
            }
            let plain: String = parts
                .iter()
                .map(|it| match it {
                    Piece::Text(text) => text,
                    Piece::Escaped | Piece::Use(_) => OPENS,
                })
                .collect();
            *text = plain;
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| settle(name, item)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Ok(()),
        other @ (Value::Table(_) | Value::Datetime(_)) => {
            let message = format!(
                "the variable `{name}` must be a string, a number, a boolean or an array of these"
            );
            Err(Diagnostic::at(span, message, format!("found {}", other.type_name())))
        }
    }
}

/// Writes the strings of `node` as a file with variables must have them.
pub(super) fn escape(node: &mut Node) {
    match &mut node.value {
        Value::String(text) => *text = escaped(text),
        Value::Array(items) => items.iter_mut().for_each(escape),
        Value::Table(table) => escape_below(table),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn escape_below(table: &mut Table) {
    table.entries.values_mut().for_each(|entry| escape(&mut entry.node));
}

/// `text` as a file with variables must have it.
pub(super) fn escaped(text: &str) -> String {
    text.replace(OPENS, ESCAPED)
}

/// Puts variables in the place of their uses.
pub(super) struct Fill<'f> {
    pub(super) variables: &'f Variables,
    /// Variables whose uses stay. Where there are some, the result is text of a file with variables again.
    pub(super) open: &'f [String],
    pub(super) sources: &'f mut Sources,
    pub(super) size: &'f mut Size,
    pub(super) problems: Vec<Diagnostic>,
}

impl Fill<'_> {
    /// Puts variables into `node` and what is below it.
    pub(super) fn put(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::String(text) if text.contains(OPENS) => match self.filled(text, node.span) {
                Ok(filled) => *node = filled,
                Err(problem) => self.problems.push(problem),
            },
            Value::Array(items) => items.iter_mut().for_each(|item| self.put(item)),
            Value::Table(table) => {
                table.entries.values_mut().for_each(|entry| self.put(&mut entry.node));
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
    }

    /// What the string `text` at `span` becomes.
    fn filled(&mut self, text: &str, span: Span) -> Result<Node, Diagnostic> {
        let pieces = pieces_at(text, span)?;
        if let [Piece::Use(name)] = pieces[..]
            && !self.is_open(name)
        {
            let value = self.variables.value(name, span)?;
            self.size.add(value, span)?;
            let mut value = value.clone();
            if !self.open.is_empty() {
                escape(&mut value);
            }
            let note = (span, format!("`${{{name}}}` is used here"));
            Lender::new(note, self.sources).lend(&mut value);
            return Ok(value);
        }
        // Text between uses that stay, which is escaped whole: parts of it may make a `${` together.
        let (mut whole, mut plain, mut source) = (String::new(), String::new(), span.source);
        for piece in pieces {
            match piece {
                Piece::Text(text) => plain += text,
                Piece::Escaped => plain += OPENS,
                Piece::Use(name) if self.is_open(name) => {
                    if plain.ends_with('$') {
                        let message =
                            format!("the text before the swept `${{{name}}}` ends in `$`");
                        return Err(Diagnostic::at(
                            span,
                            message,
                            "which would make a plain text of it",
                        )
                        .help(
                            "put another sign between them, or sweep the key that has the text",
                        ));
                    }
                    whole += &escaped(&std::mem::take(&mut plain));
                    whole += OPENS;
                    whole += name;
                    whole.push('}');
                }
                Piece::Use(name) => {
                    let value = self.variables.value(name, span)?;
                    self.size.add(value, span)?;
                    plain += &inserted(name, value, span)?;
                    let shown = format!("`{name}` is {} here", value.shown());
                    source = self.sources.lend(source, (value.span, shown));
                }
            }
        }
        whole += &if self.open.is_empty() { plain } else { escaped(&plain) };
        Ok(Node { span: Span { source, ..span }, value: Value::String(whole) })
    }

    fn is_open(&self, name: &str) -> bool {
        self.open.iter().any(|open| open == name)
    }
}

/// The value of a variable as a part of the string at `span`.
fn inserted(name: &str, value: &Node, span: Span) -> Result<String, Diagnostic> {
    if let Value::Array(_) = value.value {
        let message = format!("`{name}` is an array, which cannot be a part of a text");
        return Err(Diagnostic::at(span, message, "used here")
            .related(value.span, "an array")
            .help(format!("let it stand alone, as `\"${{{name}}}\"`")));
    }
    Ok(label_text(&value.to_toml()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_dollars_before_a_brace_are_a_dollar_of_the_text() {
        use Piece::{Escaped, Text, Use};
        let cases: [(&str, Vec<Piece>); 8] = [
            ("a", vec![Text("a")]),
            ("${a}", vec![Use("a")]),
            ("x${a}${b-1}y", vec![Text("x"), Use("a"), Use("b-1"), Text("y")]),
            ("$${a}", vec![Escaped, Text("a}")]),
            ("$$${a}", vec![Text("$"), Escaped, Text("a}")]),
            ("$a {b} $", vec![Text("$a {b} $")]),
            ("$${${a}", vec![Escaped, Use("a")]),
            ("", vec![]),
        ];
        for (text, wanted) in cases {
            assert_eq!(pieces(text), Some(wanted), "{text}");
        }
        for text in ["${", "${}", "${a", "${a b}", "${a:-b}", "${é}", "$${a}${"] {
            assert_eq!(pieces(text), None, "{text}");
        }
    }

    #[test]
    fn an_escaped_text_has_no_uses_and_comes_back() {
        for text in ["${a}", "$${a}", "$$${", "a$", "${${", "plain"] {
            let escaped = escaped(text);
            let back: String = pieces(&escaped)
                .expect("well written")
                .into_iter()
                .map(|it| match it {
                    Piece::Text(text) => text,
                    Piece::Escaped => OPENS,
                    Piece::Use(name) => panic!("{escaped} uses {name}"),
                })
                .collect();
            assert_eq!(back, text);
        }
    }
}
