//! Reads a table key by key, strictly.
//!
//! Every getter notes what it saw: a wrong type, a value out of range, a missing key and, at the
//! end, an unknown key each become one [`Diagnostic`], so a file's problems come all at once.
//! Every getter also writes the value that counts, given or default, to the resolved table: that
//! is what `runner show` prints and what fingerprints are made of. A default that is not read
//! through [`Keys`] does not exist.

use std::ops::RangeInclusive;

use super::diagnostic::{Diagnostic, suggest};
use super::node::{Node, Table, Value};
use super::source::Span;

/// What a reference must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// All splits of a data set: `"mnist"`.
    Dataset,
    /// One split: `"mnist.train"`. A bare stage name stands for the split named here.
    Split(&'static str),
    /// A model: `"dann"`.
    Model,
    /// Any stage, for order only (`after`).
    Anything,
}

/// A mention of another stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Dotted key it was written at, with an index in an array: `input`, `models.0`, `method.target`.
    pub key: String,
    /// The stage's name.
    pub stage: String,
    /// The split after the dot, or the one that a bare name stands for.
    pub split: Option<String>,
    /// What it must lead to.
    pub wants: Wants,
    /// Where it stands.
    pub span: Span,
}

/// What reading a table gave besides its values.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Every key that counts with its value, defaults included, in the order of reading.
    pub resolved: toml::Table,
    /// Every mention of another stage.
    pub references: Vec<Reference>,
    /// Everything wrong so far.
    pub problems: Vec<Diagnostic>,
}

/// A strict reader of one table.
pub struct Keys<'a> {
    prefix: String,
    span: Span,
    table: &'a Table,
    known: Vec<&'static str>,
    open: bool,
    gathered: Gathered,
}

impl<'a> Keys<'a> {
    /// A reader of `table`, whose header or braces stand at `span`.
    pub fn new(table: &'a Table, span: Span) -> Self {
        Self::below(String::new(), table, span)
    }

    fn below(prefix: String, table: &'a Table, span: Span) -> Self {
        let (known, gathered) = (Vec::new(), Gathered::default());
        Self { prefix, span, table, known, open: false, gathered }
    }

    /// Where the table stands.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Whether `key` is written in the file.
    pub fn has(&self, key: &str) -> bool {
        self.table.entries.contains_key(key)
    }

    /// The node at `key`, for values of several shapes. Notes the key as known; the caller
    /// records what it made of it with [`Keys::record`].
    pub fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        self.table.entries.get(key).map(|entry| &entry.node)
    }

    /// The node at `key` without taking note of it: to choose how to read it.
    pub fn peek(&self, key: &str) -> Option<&'a Node> {
        self.table.entries.get(key).map(|entry| &entry.node)
    }

    /// Takes a value back out of the resolved table, for arrays whose items were read one by one.
    pub fn forget(&mut self, key: &str) {
        self.gathered.resolved.remove(key);
    }

    /// Writes the value that counts for `key` to the resolved table.
    pub fn record(&mut self, key: &str, value: impl Into<toml::Value>) {
        self.gathered.resolved.insert(key.to_owned(), value.into());
    }

    /// Notes a problem.
    pub fn problem(&mut self, problem: Diagnostic) {
        self.gathered.problems.push(problem);
    }

    /// A string.
    pub fn string(&mut self, key: &'static str) -> Field<'_, 'a, String> {
        Field::new(self, key, "a string", |node| match &node.value {
            Value::String(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str) -> Field<'_, 'a, bool> {
        Field::new(self, key, "`true` or `false`", |node| match node.value {
            Value::Boolean(flag) => Some(flag),
            _ => None,
        })
    }

    /// A whole number.
    pub fn integer(&mut self, key: &'static str) -> Field<'_, 'a, i64> {
        Field::new(self, key, "an integer", |node| match node.value {
            Value::Integer(number) => Some(number),
            _ => None,
        })
    }

    /// A count of things that fits `range`.
    pub fn count(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
    ) -> Field<'_, 'a, usize> {
        let field = Field::new(self, key, "an integer", |node| match node.value {
            Value::Integer(number) => Some(usize::try_from(number).unwrap_or(usize::MAX)),
            _ => None,
        });
        let expected = match *range.end() {
            usize::MAX => format!("an integer of at least {}", range.start()),
            end => format!("an integer from {} to {end}", range.start()),
        };
        // A negative number becomes usize::MAX above and must not slip through an open range.
        let top = (*range.end()).min(usize::MAX - 1);
        field.such_that(expected, move |number| *number >= *range.start() && *number <= top)
    }

    /// A number; an integer is taken as a float.
    pub fn float(&mut self, key: &'static str) -> Field<'_, 'a, f64> {
        Field::new(self, key, "a number", as_float)
    }

    /// One of a few words.
    pub fn choice(
        &mut self,
        key: &'static str,
        words: &'static [&'static str],
    ) -> Field<'_, 'a, &'static str> {
        let mut field = Field::new(self, key, "a string", |_| None);
        field.words = words;
        field.read = Box::new(move |node| match &node.value {
            Value::String(text) => words.iter().find(|word| *word == text).copied(),
            _ => None,
        });
        field
    }

    /// An array of strings.
    pub fn strings(&mut self, key: &'static str) -> Field<'_, 'a, Vec<String>> {
        Field::new(self, key, "an array of strings", |node| match &node.value {
            Value::Array(items) => items
                .iter()
                .map(|item| match &item.value {
                    Value::String(text) => Some(text.clone()),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// An array of numbers.
    pub fn floats(&mut self, key: &'static str) -> Field<'_, 'a, Vec<f64>> {
        Field::new(self, key, "an array of numbers", |node| match &node.value {
            Value::Array(items) => items.iter().map(as_float).collect(),
            _ => None,
        })
    }

    /// An array of counts, none negative.
    pub fn counts(&mut self, key: &'static str) -> Field<'_, 'a, Vec<usize>> {
        Field::new(self, key, "an array of integers, none negative", |node| match &node.value {
            Value::Array(items) => items
                .iter()
                .map(|item| match item.value {
                    Value::Integer(number) => usize::try_from(number).ok(),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// A mention of another stage; required.
    pub fn reference(&mut self, key: &'static str, wants: Wants) -> Option<Reference> {
        if !self.has(key) {
            self.known.push(key);
            self.missing(key, "the name of a stage");
            return None;
        }
        self.optional_reference(key, wants)
    }

    /// A mention of another stage that may be left out.
    pub fn optional_reference(&mut self, key: &'static str, wants: Wants) -> Option<Reference> {
        let node = self.node(key)?;
        let reference = self.reference_at(key.to_owned(), node, wants)?;
        self.record(key, written(&reference));
        Some(reference)
    }

    /// A non-empty array of mentions; required.
    pub fn references(&mut self, key: &'static str, wants: Wants) -> Vec<Reference> {
        if !self.has(key) {
            self.known.push(key);
            self.missing(key, "an array of stage names");
            return Vec::new();
        }
        let found = self.optional_references(key, wants);
        if let Some(node) = self.table.entries.get(key).map(|entry| &entry.node)
            && matches!(&node.value, Value::Array(items) if items.is_empty())
        {
            self.problem(Diagnostic::at(
                node.span,
                format!("`{}{key}` is empty", self.prefix),
                "expected at least one stage name",
            ));
        }
        found
    }

    /// An array of mentions, empty when left out.
    pub fn optional_references(&mut self, key: &'static str, wants: Wants) -> Vec<Reference> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let Value::Array(items) = &node.value else {
            self.wrong_type(key, node, "an array of stage names");
            return Vec::new();
        };
        let found: Vec<Reference> = items
            .iter()
            .enumerate()
            .filter_map(|(at, item)| self.reference_at(format!("{key}.{at}"), item, wants))
            .collect();
        let names: Vec<toml::Value> = found.iter().map(|found| written(found).into()).collect();
        self.record(key, names);
        found
    }

    /// Takes a string node as a mention of a stage, for keys that take several shapes.
    #[expect(clippy::needless_pass_by_value, reason = "callers build the key on the spot")]
    pub fn reference_at(&mut self, key: String, node: &Node, wants: Wants) -> Option<Reference> {
        let Value::String(text) = &node.value else {
            self.problem(Diagnostic::at(
                node.span,
                format!("`{}{key}` must be the name of a stage", self.prefix),
                format!("found {}", node.value.type_name()),
            ));
            return None;
        };
        let (stage, split) = match text.split_once('.') {
            Some((stage, split)) => (stage, Some(split.to_owned())),
            None => (text.as_str(), None),
        };
        let split = match (wants, split) {
            (Wants::Split(default), None) => Some(default.to_owned()),
            (Wants::Split(_), some) => some,
            (_, Some(split)) => {
                self.problem(
                    Diagnostic::at(
                        node.span,
                        format!(
                            "`{}{key}` takes a whole stage, not one of its splits",
                            self.prefix
                        ),
                        format!("names the split `{split}`"),
                    )
                    .help(format!("write `{stage}`")),
                );
                return None;
            }
            (_, None) => None,
        };
        let reference = Reference {
            key: format!("{}{key}", self.prefix),
            stage: stage.to_owned(),
            split,
            wants,
            span: node.span,
        };
        self.gathered.references.push(reference.clone());
        Some(reference)
    }

    /// A table of its own keys: `optimizer = { ... }`. Left out, it reads as an empty table, so
    /// that its defaults count and its required keys are reported.
    pub fn nested<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Keys) -> Option<T>,
    ) -> Option<T> {
        let empty = Table::default();
        let span = self.span;
        match self.node(key) {
            None => self.descend(key, &empty, span, read),
            Some(Node { value: Value::Table(table), span }) => {
                self.descend(key, table, *span, read)
            }
            Some(node) => {
                self.wrong_type(key, node, "a table");
                None
            }
        }
    }

    /// A table of its own keys that may be left out altogether.
    pub fn optional_nested<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Keys) -> Option<T>,
    ) -> Option<T> {
        if self.has(key) {
            return self.nested(key, read);
        }
        self.known.push(key);
        None
    }

    /// A table with a word that says which kind it is: `method = { kind = "dann", ... }`. A bare
    /// string stands for a table with only that word; left out, `default` is the word, or the key
    /// is required when there is none. `tag` is the key of the word (`kind`, `recipe`, `arch`).
    pub fn kinded<T>(
        &mut self,
        key: &'static str,
        tag: &'static str,
        words: &'static [&'static str],
        default: Option<&'static str>,
        read: impl FnOnce(&'static str, &mut Keys) -> Option<T>,
    ) -> Option<T> {
        let shorthand = |text: &str, span: Span| {
            let mut table = Table::default();
            let node = Node { span, value: Value::String(text.to_owned()) };
            table.entries.insert(tag.to_owned(), super::node::Entry { key: span, node });
            table
        };
        let held;
        let (table, span) = match (self.node(key), default) {
            (Some(Node { value: Value::Table(table), span }), _) => (table, *span),
            (Some(Node { value: Value::String(text), span }), _) => {
                held = shorthand(text, *span);
                (&held, *span)
            }
            (Some(node), _) => {
                self.wrong_type(key, node, "a string or a table");
                return None;
            }
            (None, Some(word)) => {
                held = shorthand(word, self.span);
                (&held, self.span)
            }
            (None, None) => {
                self.missing(key, "a string or a table");
                return None;
            }
        };
        self.descend(key, table, span, |keys| {
            let word = match default {
                Some(default) => keys.choice(tag, words).or(default),
                None => keys.choice(tag, words).required(),
            };
            if word.is_none() {
                keys.leave_open();
            }
            read(word?, keys)
        })
    }

    /// Reads `table` as the value of `key` with a reader of its own.
    pub fn descend<T>(
        &mut self,
        key: &str,
        table: &Table,
        span: Span,
        read: impl FnOnce(&mut Keys) -> Option<T>,
    ) -> Option<T> {
        let mut keys = Keys::below(format!("{}{key}.", self.prefix), table, span);
        let value = read(&mut keys);
        let below = keys.finish();
        let failed = !below.problems.is_empty();
        self.gathered.problems.extend(below.problems);
        self.gathered.references.extend(below.references);
        self.record(key, below.resolved);
        value.filter(|_| !failed)
    }

    /// Says that nobody knows which keys this table may have, as when its kind is wrong: calling
    /// any of them unknown would mislead.
    pub fn leave_open(&mut self) {
        self.open = true;
    }

    /// Ends the reading: every key of the file that no getter asked for is a problem. A reader
    /// therefore asks for all its keys before it gives up over one of them.
    pub fn finish(mut self) -> Gathered {
        for (name, entry) in &self.table.entries {
            if self.open || self.known.iter().any(|known| known == name) {
                continue;
            }
            let mut problem = Diagnostic::at(
                entry.key,
                format!("unknown key `{}{name}`", self.prefix),
                "not a key of this table",
            );
            problem.help.extend(suggest(name, self.known.iter().copied()));
            self.gathered.problems.push(problem);
        }
        self.gathered
    }

    fn missing(&mut self, key: &str, expected: &str) {
        let mut problem = Diagnostic::at(
            self.span,
            format!("missing key `{}{key}`", self.prefix),
            "in this table",
        )
        .help(format!("add `{key} = ...`, {expected}"));
        let typo = self.table.entries.iter().find(|(name, _)| {
            !self.known.contains(&name.as_str()) && strsim::damerau_levenshtein(name, key) == 1
        });
        if let Some((name, entry)) = typo {
            problem = problem.related(entry.key, format!("is `{name}` meant to be `{key}`?"));
        }
        self.problem(problem);
    }

    fn wrong_type(&mut self, key: &str, node: &Node, expected: &str) {
        self.problem(Diagnostic::at(
            node.span,
            format!("`{}{key}` must be {expected}", self.prefix),
            format!("found {}", node.value.type_name()),
        ));
    }
}

fn as_float(node: &Node) -> Option<f64> {
    match node.value {
        Value::Float(number) => Some(number),
        #[expect(clippy::cast_precision_loss, reason = "settings are far below 2^53")]
        Value::Integer(number) => Some(number as f64),
        _ => None,
    }
}

/// How a reference is written in a file.
fn written(reference: &Reference) -> String {
    match &reference.split {
        Some(split) => format!("{}.{split}", reference.stage),
        None => reference.stage.clone(),
    }
}

/// A value that a resolved table can hold.
pub trait Resolved: Clone {
    /// The TOML form.
    fn resolved(&self) -> toml::Value;
}

macro_rules! resolved {
    ($($type:ty => $make:expr),+ $(,)?) => {
        $(impl Resolved for $type {
            fn resolved(&self) -> toml::Value {
                let make: fn(&$type) -> toml::Value = $make;
                make(self)
            }
        })+
    };
}

resolved! {
    String => |text| text.clone().into(),
    &'static str => |text| (*text).into(),
    bool => |flag| (*flag).into(),
    i64 => |number| (*number).into(),
    usize => |number| i64::try_from(*number).unwrap_or(i64::MAX).into(),
    f64 => |number| (*number).into(),
}

impl<T: Resolved> Resolved for Vec<T> {
    fn resolved(&self) -> toml::Value {
        self.iter().map(Resolved::resolved).collect::<Vec<_>>().into()
    }
}

type Check<T> = (String, Box<dyn Fn(&T) -> bool>);
type Read<T> = Box<dyn Fn(&Node) -> Option<T>>;

/// One key that is about to be read: say what it must fulfil, then whether it may be left out.
pub struct Field<'k, 'a, T> {
    keys: &'k mut Keys<'a>,
    key: &'static str,
    expected: &'static str,
    words: &'static [&'static str],
    read: Read<T>,
    check: Option<Check<T>>,
}

impl<'k, 'a, T: Resolved> Field<'k, 'a, T> {
    fn new(
        keys: &'k mut Keys<'a>,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&Node) -> Option<T> + 'static,
    ) -> Self {
        Self { keys, key, expected, words: &[], read: Box::new(read), check: None }
    }

    /// Demands `holds`; `expected` finishes the sentence "`key` must be ...".
    #[must_use]
    pub fn such_that(
        mut self,
        expected: impl Into<String>,
        holds: impl Fn(&T) -> bool + 'static,
    ) -> Self {
        self.check = Some((expected.into(), Box::new(holds)));
        self
    }

    /// The value; a problem when it is left out. `None` only with a problem noted.
    pub fn required(self) -> Option<T> {
        match self.keys.node(self.key) {
            Some(node) => self.take(node),
            None if self.words.is_empty() => {
                self.keys.missing(self.key, self.expected);
                None
            }
            None => {
                let words: Vec<String> =
                    self.words.iter().map(|word| format!("\"{word}\"")).collect();
                self.keys.missing(self.key, &format!("one of {}", words.join(", ")));
                None
            }
        }
    }

    /// The value or, when it is left out, `default`. `None` only with a problem noted.
    pub fn or(self, default: impl Into<T>) -> Option<T> {
        match self.keys.node(self.key) {
            Some(node) => self.take(node),
            None => {
                let default = default.into();
                self.keys.record(self.key, default.resolved());
                Some(default)
            }
        }
    }

    /// `Some(None)` when it is left out, `None` only with a problem noted.
    pub fn optional(self) -> Option<Option<T>> {
        match self.keys.node(self.key) {
            Some(node) => self.take(node).map(Some),
            None => Some(None),
        }
    }

    fn take(self, node: &Node) -> Option<T> {
        let name = format!("`{}{}`", self.keys.prefix, self.key);
        let Some(value) = (self.read)(node) else {
            let problem = match &node.value {
                Value::String(text) if !self.words.is_empty() => {
                    let mut problem = Diagnostic::at(
                        node.span,
                        format!("`{text}` is not a value of {name}"),
                        "unknown word",
                    );
                    problem.help.extend(suggest(text, self.words.iter().copied()));
                    problem
                }
                _ => Diagnostic::at(
                    node.span,
                    format!("{name} must be {}", self.expected),
                    format!("found {}", node.value.type_name()),
                ),
            };
            self.keys.problem(problem);
            return None;
        };
        if let Some((expected, holds)) = &self.check
            && !holds(&value)
        {
            self.keys.problem(Diagnostic::at(
                node.span,
                format!("{name} must be {expected}"),
                format!("found {}", node.to_toml()),
            ));
            return None;
        }
        self.keys.record(self.key, value.resolved());
        Some(value)
    }
}

impl Field<'_, '_, f64> {
    /// Demands a finite number above zero.
    #[must_use]
    pub fn positive(self) -> Self {
        self.such_that("a number above 0", |number| number.is_finite() && *number > 0.0)
    }

    /// Demands a finite number of at least `least`.
    #[must_use]
    pub fn at_least(self, least: f64) -> Self {
        self.such_that(format!("a number of at least {least}"), move |number| {
            number.is_finite() && *number >= least
        })
    }

    /// Demands a number from 0 up to, but not including, 1.
    #[must_use]
    pub fn below_one(self) -> Self {
        self.such_that("a number of at least 0 and below 1", |number| (0.0..1.0).contains(number))
    }

    /// Demands a number above 0 and of at most 1.
    #[must_use]
    pub fn fraction(self) -> Self {
        self.such_that("a fraction above 0 and at most 1", |number| *number > 0.0 && *number <= 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document;
    use crate::config::source::Sources;

    /// What `read` gathered from `text`, with the messages of its problems.
    fn gathered(text: &str, read: impl FnOnce(&mut Keys)) -> (Gathered, Vec<String>) {
        let root = document::parse(Sources::default().add("x", text), text).expect("valid TOML");
        let Value::Table(table) = &root.value else { panic!("a document is a table") };
        let mut keys = Keys::new(table, root.span);
        read(&mut keys);
        let gathered = keys.finish();
        let messages = gathered.problems.iter().map(|one| one.message.clone()).collect();
        (gathered, messages)
    }

    #[test]
    fn a_word_stands_for_a_table_and_its_defaults_are_resolved() {
        let (gathered, messages) = gathered("method = 'dann'", |keys| {
            let gamma = keys.kinded("method", "kind", &["dann"], None, |_, keys| {
                keys.float("gamma").positive().or(10.0)
            });
            assert_eq!(gamma, Some(10.0));
        });
        assert_eq!(messages, Vec::<String>::new());
        assert_eq!(gathered.resolved.to_string(), "[method]\nkind = \"dann\"\ngamma = 10.0\n");
    }

    #[test]
    fn problems_of_nested_tables_name_the_whole_key() {
        let (_, messages) = gathered("a = { b = { c = -1, d = 2 } }", |keys| {
            keys.nested("a", |keys| {
                keys.nested("b", |keys| Some(keys.float("c").positive().or(1.0)))
            });
        });
        assert_eq!(messages, ["`a.b.c` must be a number above 0", "unknown key `a.b.d`"]);
    }

    #[test]
    fn a_wrong_value_does_not_hide_an_unknown_key() {
        let (_, messages) = gathered("a = { c = -1, d = 2 }\nb = { kind = 'x', e = 1 }", |keys| {
            keys.nested("a", |keys| keys.float("c").positive().or(1.0));
            keys.kinded("b", "kind", &["y"], None, |_, _| Some(()));
        });
        // What `b` may hold depends on its kind, so `e` may be right.
        let expected = [
            "`a.c` must be a number above 0",
            "unknown key `a.d`",
            "`x` is not a value of `b.kind`",
        ];
        assert_eq!(messages, expected);
    }

    #[test]
    fn a_negative_count_is_out_of_every_range() {
        let (_, messages) = gathered("n = -3", |keys| {
            assert_eq!(keys.count("n", 0..=usize::MAX).required(), None);
        });
        assert_eq!(messages, ["`n` must be an integer of at least 0"]);
    }
}
