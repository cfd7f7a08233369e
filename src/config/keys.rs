//! Reads a table key by key, strictly.
//!
//! Every getter notes what it saw: a wrong type, a value out of range, a missing key and, at the
//! end, an unknown key each become one [`Diagnostic`], so a file's problems come all at once.
//! Every getter also writes the value that counts, given or default, to the resolved table: that
//! is what `runner show` prints and what fingerprints are made of. A default that is not read
//! through [`Keys`] does not exist.

use serde_json::json;

use super::describe::{Describing, Form, TableReads, Tag};
use super::diagnostic::{Diagnostic, Noted, suggest};
use super::mention::Reference;
use super::node::{Node, Table, Value};
use super::source::{SourceId, Span};

/// What others call a key, and what it is called here, where the two look little alike or another key looks more like it.
const OTHER_WORDS: [(&str, &str); 12] = [
    ("unfreeze", "thaw"),
    ("trainable", "thaw"),
    ("backbone", "arch"),
    ("iterations", "steps_per_epoch"),
    ("learning_rate", "lr"),
    ("batch", "batch_size"),
    ("loss", "method"),
    ("criterion", "method"),
    ("input", "train"),
    ("data", "train"),
    ("dataset", "train"),
    ("transforms", "augment"),
];

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
    pub(super) prefix: String,
    span: Span,
    pub(super) table: &'a Table,
    pub(super) known: Vec<&'static str>,
    open: bool,
    /// Keys that people look for here, with the words for where they are.
    elsewhere: Vec<(&'static [&'static str], &'static str)>,
    pub(super) gathered: Gathered,
    /// Set when there is no file and the reader is to say what it would take.
    pub(super) describing: Option<Describing>,
}

impl<'a> Keys<'a> {
    /// A reader of `table`, whose header or braces stand at `span`.
    pub fn new(table: &'a Table, span: Span) -> Self {
        Self::below(String::new(), table, span)
    }

    fn below(prefix: String, table: &'a Table, span: Span) -> Self {
        let (known, gathered) = (Vec::new(), Gathered::default());
        let elsewhere = Vec::new();
        Self { prefix, span, table, known, open: false, elsewhere, gathered, describing: None }
    }

    pub(super) fn describing(table: &'a Table, describing: Describing) -> Self {
        let span = Span::new(SourceId(0), 0..0);
        Self { describing: Some(describing), ..Self::new(table, span) }
    }

    pub(super) fn into_record(self) -> Option<TableReads> {
        self.describing.map(Describing::into_record)
    }

    /// Whether there is no file, and the reader only says what it would take.
    pub fn is_describing(&self) -> bool {
        self.describing.is_some()
    }

    /// Says what keys of this table mean, in a few words each, for the schema and the manual. A test
    /// fails for a key that nobody says this of.
    pub fn about(&mut self, meanings: &[(&'static str, &str)]) {
        if let Some(describing) = &mut self.describing {
            let meanings =
                meanings.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
            describing.record.about.extend(meanings);
        }
    }

    /// Says what the node at `key` may be (a JSON Schema), for those who look at it themselves.
    pub fn may_be(&mut self, key: &'static str, schema: impl FnOnce() -> serde_json::Value) {
        if let Some(describing) = &mut self.describing {
            describing.note(key, Form::Leaf(schema()), false, None);
        }
    }

    /// As [`Keys::may_be`], of a key that must be there.
    pub fn must_be(&mut self, key: &'static str, schema: impl FnOnce() -> serde_json::Value) {
        if let Some(describing) = &mut self.describing {
            describing.note(key, Form::Leaf(schema()), true, None);
        }
    }

    /// Says that `key` is an array of tables that `read` reads.
    pub fn may_be_tables<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Keys) -> T) {
        let Some(describing) = &self.describing else { return };
        let empty = Table::default();
        // What a single table in the place of the array is asked is another question.
        let mut keys = Keys::describing(&empty, describing.below(&format!("{key}[]")));
        read(&mut keys);
        if let (Some(record), Some(describing)) = (keys.into_record(), &mut self.describing) {
            describing.note(key, Form::Items(record, Vec::new()), false, None);
        }
    }

    /// Says that `key` is one of `words`, each with a line on what it stands for, and which kind of
    /// table this is; gives the place of the word with which the description continues.
    pub fn may_be_kind(
        &mut self,
        key: &'static str,
        words: &[(&str, &str)],
    ) -> Result<usize, Noted> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let leaf = json!({ "type": "string", "enum": names });
        let word = self.describing.as_mut().and_then(|describing| {
            describing.note(key, Form::Leaf(leaf), true, None);
            describing.word(key, &names, None)
        });
        let at = word.and_then(|word| names.iter().position(|name| *name == word));
        let at = at.ok_or_else(Noted::without_file)?;
        self.tag(key, names[at], None, Some(words[at].1));
        Ok(at)
    }

    /// Which of some keys the table has, one of which it must have: `None` when none or several.
    pub fn only_one(&mut self, keys: &[&'static str]) -> Option<&'static str> {
        if let Some(describing) = &mut self.describing {
            describing.record.one_of = keys.to_vec();
            return Some(keys[describing.decide(keys[0], keys.len())]);
        }
        let mut there = keys.iter().filter(|key| self.has(key));
        there.next().copied().filter(|_| there.next().is_none())
    }

    /// Whether the value at `key` has the form that `holds` looks for, which decides how it is read.
    pub fn has_form(&mut self, key: &'static str, holds: impl FnOnce(&Node) -> bool) -> bool {
        match &mut self.describing {
            Some(describing) => describing.decide(key, 2) == 1,
            None => self.peek(key).is_some_and(holds),
        }
    }

    /// The node at a key that has no meaning here, to say so; a description leaves it out.
    pub fn unwanted(&mut self, key: &'static str) -> Option<&'a Node> {
        if self.is_describing() { None } else { self.node(key) }
    }

    /// Notes the word that says which kind of table this is, when describing.
    pub(crate) fn tag(
        &mut self,
        key: &str,
        word: &str,
        default: Option<&str>,
        about: Option<&str>,
    ) {
        if let Some(describing) = &mut self.describing {
            describing.record.tag = Some(Tag {
                key: key.to_owned(),
                word: word.to_owned(),
                default: default == Some(word),
                about: about.map(str::to_owned),
            });
        }
    }

    /// Where the table stands.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Whether `key` is written in the file.
    pub fn has(&self, key: &str) -> bool {
        match &self.describing {
            Some(describing) => describing.is_there(key),
            None => self.table.entries.contains_key(key),
        }
    }

    /// The node at `key`, for values of several shapes. Notes the key as known; the caller
    /// records the value that counts with [`Keys::record`].
    pub fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        if let Some(describing) = &mut self.describing {
            describing.know(key);
        }
        self.table.entries.get(key).map(|entry| &entry.node)
    }

    /// The node at `key` without taking note of it: to choose how to read it.
    pub fn peek(&self, key: &str) -> Option<&'a Node> {
        self.table.entries.get(key).map(|entry| &entry.node)
    }

    /// Takes a value back out of the resolved table, for arrays whose items were read one by one.
    pub fn take(&mut self, key: &str) -> Option<toml::Value> {
        self.gathered.resolved.remove(key)
    }

    /// Writes the value that counts for `key` to the resolved table.
    pub fn record(&mut self, key: &str, value: impl Into<toml::Value>) {
        self.gathered.resolved.insert(key.to_owned(), value.into());
    }

    /// Notes a problem.
    pub fn problem(&mut self, problem: Diagnostic) -> Noted {
        // What stands in for a file's values may well contradict itself.
        if self.is_describing() {
            return Noted::without_file();
        }
        Noted::among(&mut self.gathered.problems, problem)
    }

    /// Notes every problem of `found`.
    ///
    /// # Errors
    /// When there is one.
    pub fn no_problems(&mut self, found: Vec<Diagnostic>) -> Result<(), Noted> {
        let mut noted = Ok(());
        for problem in found {
            noted = Err(self.problem(problem));
        }
        noted
    }

    /// How many problems were noted, for [`Keys::no_problem_since`].
    pub fn problems(&self) -> usize {
        self.gathered.problems.len()
    }

    /// Whether there are still as many problems as `before`.
    ///
    /// # Errors
    /// When there are more.
    pub fn no_problem_since(&self, before: usize) -> Result<(), Noted> {
        Noted::none_in(&self.gathered.problems[before..])
    }

    /// A table of its own keys: `optimizer = { ... }`. Left out, it reads as an empty table, so
    /// that its defaults count and its required keys are reported.
    pub fn nested<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Keys) -> Result<T, Noted>,
    ) -> Result<T, Noted> {
        let empty = Table::default();
        let span = self.span;
        match self.node(key) {
            None => self.descend(key, &empty, span, read),
            Some(Node { value: Value::Table(table), span }) => {
                self.descend(key, table, *span, read)
            }
            Some(node) => Err(self.wrong_type(key, node, "a table")),
        }
    }

    /// A table of its own keys that may be left out altogether.
    pub fn optional_nested<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Keys) -> Result<T, Noted>,
    ) -> Result<Option<T>, Noted> {
        if self.has(key) {
            return self.nested(key, read).map(Some);
        }
        self.node(key);
        Ok(None)
    }

    /// A table whose keys are words of the user's own, in the order of the file; empty when left out.
    /// `read` takes a value and records the one that counts.
    pub fn words<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Keys, &str, &Node) -> Result<T, Noted>,
    ) -> Result<Vec<(String, T)>, Noted> {
        if self.is_describing() {
            self.describe_words(key, read);
            return Ok(Vec::new());
        }
        if !self.has(key) {
            self.known.push(key);
            return Ok(Vec::new());
        }
        self.nested(key, |keys| {
            keys.leave_open();
            let entries = keys.table.entries.iter();
            let read: Vec<_> = entries
                .map(|(word, entry)| Ok((word.clone(), read(keys, word, &entry.node)?)))
                .collect();
            read.into_iter().collect()
        })
    }

    /// Tries which kinds of values `read` takes.
    fn describe_words<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Keys, &str, &Node) -> Result<T, Noted>,
    ) {
        const WORD: &str = "1";
        let (span, text) = (self.span, || Value::String("x".to_owned()));
        let kinds = [
            (Value::Table(Table::default()), "object"),
            (Value::Array(vec![Node { span, value: text() }]), "array"),
            (Value::Float(1.0), "number"),
            (Value::Boolean(true), "boolean"),
            (text(), "string"),
        ];
        let mut forms = Vec::new();
        for (value, name) in kinds {
            let Some(describing) = &self.describing else { return };
            let empty = Table::default();
            let mut keys = Keys::describing(&empty, describing.below(key));
            if read(&mut keys, WORD, &Node { span, value }).is_err() {
                continue;
            }
            let record = keys.into_record().unwrap_or_default();
            match record.reads.get(WORD).filter(|reads| !reads.is_empty()) {
                Some(reads) => forms.extend(reads.iter().map(|read| read.form.clone())),
                None => forms.push(Form::Leaf(json!({ "type": name }))),
            }
        }
        if let Some(describing) = &mut self.describing {
            describing.note(key, Form::Map(forms), false, None);
        }
    }

    /// The table that a bare word stands for: `tag = "text"`.
    pub fn word(tag: &str, text: &str, span: Span) -> Table {
        let mut table = Table::default();
        let node = Node { span, value: Value::String(text.to_owned()) };
        table.entries.insert(tag.to_owned(), super::node::KeyValue { key: span, node });
        table
    }

    /// Reads `table` as the value of `key` with a reader of its own.
    pub fn descend<T>(
        &mut self,
        key: &str,
        table: &Table,
        span: Span,
        read: impl FnOnce(&mut Keys) -> Result<T, Noted>,
    ) -> Result<T, Noted> {
        let mut keys = Keys::below(format!("{}{key}.", self.prefix), table, span);
        if let Some(describing) = &mut self.describing {
            let empty = Table::default();
            let mut keys = Keys::describing(&empty, describing.below(key));
            let value = read(&mut keys);
            let record = keys.into_record().unwrap_or_default();
            // One that a word tells apart reads as that of the usual word when it is left out.
            let required =
                record.tag.is_none() && record.reads.values().flatten().any(|read| read.required);
            describing.note(key, Form::Table(record), required, None);
            return value;
        }
        let value = read(&mut keys);
        let below = keys.finish();
        let sound = Noted::all_among(&mut self.gathered.problems, below.problems);
        self.gathered.references.extend(below.references);
        self.record(key, below.resolved);
        sound.and(value)
    }

    /// Says that nobody knows which keys this table may have, as when its kind is wrong: calling
    /// any of them unknown would mislead.
    pub fn leave_open(&mut self) {
        self.open = true;
    }

    /// Says where `keys` are that people look for here: keys "of `optimizer`".
    pub fn elsewhere(&mut self, keys: &'static [&'static str], whose: &'static str) {
        self.elsewhere.push((keys, whose));
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
            problem.help.extend(self.advice(name));
            self.gathered.problems.push(problem);
        }
        self.gathered
    }

    /// What may be meant by the unknown key `name`.
    fn advice(&self, name: &str) -> Option<String> {
        let usual = OTHER_WORDS.iter().find(|(other, _)| *other == name);
        let meant = usual.map_or(name, |(_, ours)| *ours);
        if let Some((_, whose)) = self.elsewhere.iter().find(|(keys, _)| keys.contains(&meant)) {
            return Some(format!("`{meant}` is a key {whose}"));
        }
        match self.known.contains(&meant) {
            true => Some(format!("did you mean `{meant}`?")),
            false => suggest(name, self.known.iter().copied()),
        }
    }

    /// The problem of a required key that is not there; `expected` says what it takes.
    pub fn missing(&mut self, key: &str, expected: &str) -> Noted {
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
        self.problem(problem)
    }

    pub(super) fn wrong_type(&mut self, key: &str, node: &Node, expected: &str) -> Noted {
        let mut problem = Diagnostic::at(
            node.span,
            format!("`{}{key}` must be {expected}", self.prefix),
            format!("found {}", node.value.type_name()),
        );
        // In a file with variables their values are in the place of their uses.
        if let Value::String(text) = &node.value
            && let Some(name) = text.strip_prefix("${").and_then(|it| it.strip_suffix('}'))
        {
            problem = problem
                .help(format!("add `[vars]` with `{name} = ...`: without it `${{` means nothing"));
        }
        self.problem(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::read_lines;
    use crate::config::words;

    words! {
        /// The only kind of a table.
        enum Only {
            /// A method.
            Dann = "dann",
        }
    }

    /// What `read` gathered from `text`, with the messages of its problems.
    fn gathered(text: &str, read: impl FnOnce(&mut Keys)) -> (Gathered, Vec<String>) {
        let ((), gathered) = read_lines(text, read);
        let messages = gathered.messages();
        (gathered, messages)
    }

    #[test]
    fn a_word_stands_for_a_table_and_its_defaults_are_resolved() {
        let (gathered, messages) = gathered("method = 'dann'", |keys| {
            let gamma = keys.kinded("method", "kind", None::<Only>, |Only::Dann, keys| {
                keys.float("gamma").positive().or(10.0)
            });
            assert_eq!(gamma, Ok(10.0));
        });
        assert_eq!(messages, Vec::<String>::new());
        assert_eq!(gathered.resolved.to_string(), "[method]\nkind = \"dann\"\ngamma = 10.0\n");
    }

    #[test]
    fn problems_of_nested_tables_name_the_whole_key() {
        let (_, messages) = gathered("a = { b = { c = -1, d = 2 } }", |keys| {
            let read = keys
                .nested("a", |keys| keys.nested("b", |keys| keys.float("c").positive().or(1.0)));
            assert!(read.is_err());
        });
        assert_eq!(messages, ["`a.b.c` must be a number above 0", "unknown key `a.b.d`"]);
    }

    #[test]
    fn a_wrong_value_does_not_hide_an_unknown_key() {
        let (_, messages) = gathered("a = { c = -1, d = 2 }\nb = { kind = 'x', e = 1 }", |keys| {
            let read = keys.nested("a", |keys| keys.float("c").positive().or(1.0));
            let kind = keys.kinded("b", "kind", None, |_: Only, _| Ok(()));
            assert!(read.is_err() && kind.is_err());
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
            assert!(keys.count("n", 0..=usize::MAX).required().is_err());
        });
        assert_eq!(messages, ["`n` must be an integer of at least 0"]);
    }
}
