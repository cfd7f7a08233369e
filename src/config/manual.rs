//! What readers say of themselves, as Markdown: every key with its type, default and meaning.
//!
//! It knows no key. All of it comes from [`explore`](super::explore::explore), as the schema for
//! editors does, so that the two cannot differ.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;

use indexmap::{IndexMap, IndexSet};
use serde_json::Value;

use super::describe::{Form, Read, TableReads};

/// Builds the sections of a manual. Tables inside tables become sections of their own, and tables of
/// equal content share one.
#[derive(Debug, Default)]
pub struct Manual {
    /// Title and text of each section about a nested table, in the order of first mention.
    nested: IndexMap<String, String>,
    /// Defaults that stand for something else, with what they stand for.
    stand_ins: Vec<(Value, &'static str)>,
    /// Keys that have a meaning only sometimes, and nothing was found that says when.
    unexplained: Vec<String>,
}

/// A group of records whose tables are told apart by a word.
type OfKind<'r> = (Option<&'r str>, Vec<&'r TableReads>);

impl Manual {
    /// A manual that says `text` wherever `default` is the default.
    pub fn with_stand_in(default: impl Into<Value>, text: &'static str) -> Self {
        Self { stand_ins: vec![(default.into(), text)], ..Self::default() }
    }

    /// The keys of a table whose reader gave these records, as a Markdown table; with a heading of
    /// `level` for each kind, where a word tells kinds apart.
    pub fn table(&mut self, records: &[&TableReads], level: usize) -> String {
        let groups = groups(records);
        if let [(_, records)] = groups.as_slice() {
            return self.rows(records);
        }
        let mut text = String::new();
        for (word, records) in groups {
            let about = records[0].tag.as_ref().and_then(|tag| tag.about.as_deref());
            let _ = writeln!(text, "{} {}\n", "#".repeat(level), word.unwrap_or("others"));
            if let Some(about) = about {
                let _ = writeln!(text, "{}\n", sentence(about));
            }
            text += &self.rows(&records);
            text += "\n";
        }
        text.truncate(text.trim_end().len());
        text + "\n"
    }

    /// The sections about tables inside tables, with headings of `level`.
    pub fn nested(&self, level: usize) -> String {
        let section =
            |(title, text): (&String, &String)| format!("{} {title}\n\n{text}", "#".repeat(level));
        self.nested.iter().map(section).collect::<Vec<_>>().join("\n")
    }

    /// Keys that have a meaning only sometimes, and nothing was found that says when.
    pub fn unexplained(&self) -> &[String] {
        &self.unexplained
    }

    /// The keys of one kind of table.
    fn rows(&mut self, records: &[&TableReads]) -> String {
        let tag = records[0].tag.as_ref().map(|tag| tag.key.as_str());
        let mut text = String::new();
        for key in keys(records).into_iter().filter(|key| Some(*key) != tag) {
            let reads: Vec<&Read> =
                records.iter().flat_map(|it| it.reads.get(key)).flatten().collect();
            let what = self.what(key, &reads);
            let default = self.when_left_out(records, key, &reads);
            let about = records.iter().find_map(|it| it.about.get(key));
            let about = sentence(about.map_or("", String::as_str));
            let when = match condition(records, key) {
                Applies::Always => String::new(),
                Applies::Only(reasons) => format!(" Only {reasons}."),
                Applies::Unexplained => {
                    self.unexplained.push(key.to_owned());
                    String::new()
                }
            };
            let _ = writeln!(text, "| `{key}` | {what} | {default} | {about}{when} |");
        }
        match text.is_empty() {
            true => "It has no keys of its own.\n".to_owned(),
            false => {
                format!("| key | takes | default | meaning |\n| --- | --- | --- | --- |\n{text}")
            }
        }
    }

    fn when_left_out(&self, records: &[&TableReads], key: &str, reads: &[&Read]) -> String {
        if let Some(one_of) = one_of(records).filter(|keys| keys.contains(&key)) {
            let others = one_of.iter().filter(|other| **other != key).map(|it| format!("`{it}`"));
            return format!("required, or {}", others.collect::<Vec<_>>().join(" or "));
        }
        let asked = records.iter().flat_map(|it| &it.presence).any(|(asked, _)| asked == key);
        if !asked && reads.iter().any(|read| read.required) {
            return "required".to_owned();
        }
        let mut defaults: IndexSet<String> = IndexSet::new();
        for read in reads {
            let within = match &read.form {
                Form::Leaf(schema) => schema.get("default"),
                _ => None,
            };
            let Some(default) = read.default.as_ref().or(within) else { continue };
            let stand_in = self.stand_ins.iter().find(|(value, _)| value == default);
            defaults.insert(match stand_in {
                Some((_, text)) => (*text).to_owned(),
                None => format!("`{default}`"),
            });
        }
        defaults.into_iter().collect::<Vec<_>>().join(" or ")
    }

    /// What a key takes.
    fn what(&mut self, key: &str, reads: &[&Read]) -> String {
        let forms: Vec<&Form> = reads.iter().map(|read| &read.form).collect();
        cell(&self.forms(key, &forms))
    }

    fn forms(&mut self, key: &str, forms: &[&Form]) -> String {
        let mut all: IndexSet<String> = IndexSet::new();
        let tables: Vec<&TableReads> = forms.iter().filter_map(|form| table_of(form)).collect();
        let words: Vec<&str> =
            tables.iter().filter_map(|it| Some(it.tag.as_ref()?.word.as_str())).collect();
        let items: Vec<&TableReads> = forms.iter().filter_map(|form| items_of(form)).collect();
        let items = (!items.is_empty()).then(|| self.section(key, &items, "tables"));
        for form in forms {
            match form {
                // The words of a table's kinds stand in its section.
                Form::Leaf(leaf) if is_kinds(leaf, &words) => {
                    all.insert("a word".to_owned());
                }
                Form::Leaf(leaf) => {
                    all.insert(leaf_text(leaf));
                }
                Form::Table(_) => {}
                Form::Items(record, leaves) => {
                    let leaves = leaves.iter().map(|leaf| match record.tag {
                        Some(_) if leaf.get("enum").is_some() => "words".to_owned(),
                        _ => format!("{} ({})", plural(leaf), leaf_text(leaf)),
                    });
                    let leaves: IndexSet<String> = leaves.collect();
                    let every: Vec<String> = leaves.into_iter().chain(items.clone()).collect();
                    all.insert(format!("an array of {}", every.join(", ")));
                }
                Form::Map(values) => {
                    let values: Vec<&Form> = values.iter().collect();
                    let values = match values.len() {
                        0 => String::new(),
                        _ => format!(": {}", self.forms(key, &values)),
                    };
                    all.insert(format!("a table of your own words{values}"));
                }
            }
        }
        if !tables.is_empty() {
            all.insert(self.section(key, &tables, "a table"));
        }
        all.into_iter().collect::<Vec<_>>().join(" or ")
    }

    /// A link, called `link`, to the section about the tables that these records are of.
    fn section(&mut self, key: &str, records: &[&TableReads], link: &str) -> String {
        let mut kinds: IndexMap<String, Vec<String>> = IndexMap::new();
        for (word, records) in groups(records) {
            let tag = records[0].tag.as_ref();
            let default = if tag.is_some_and(|tag| tag.default) { " (default)" } else { "" };
            let name = word.map_or_else(String::new, |word| format!("`\"{word}\"`{default}"));
            kinds.entry(self.rows(&records)).or_default().push(name);
        }
        let tag = records.iter().find_map(|it| it.tag.as_ref()).map(|tag| tag.key.as_str());
        let text = kinds.iter().map(|(rows, words)| match (tag, words.first()) {
            (Some(tag), Some(word)) if !word.is_empty() => {
                format!("`{tag}` = {}:\n\n{rows}", words.join(", "))
            }
            (Some(tag), _) => format!("Without `{tag}`:\n\n{rows}"),
            (None, _) => rows.clone(),
        });
        let text = text.collect::<Vec<_>>().join("\n");
        let same = self.nested.iter().find(|(_, there)| **there == text).map(|(title, _)| title);
        let title = match same {
            Some(title) => title.clone(),
            None => {
                let others = (2..).map(|count| format!("{key} {count}"));
                let mut titles = std::iter::once(key.to_owned()).chain(others);
                let free = titles.find(|title| !self.nested.contains_key(title));
                let title = free.expect("there are numbers enough");
                self.nested.insert(title.clone(), text);
                title
            }
        };
        format!("[{link}](#{})", title.replace(' ', "-"))
    }
}

/// Records by the word that tells their tables apart, in the order of exploring.
fn groups<'r>(records: &[&'r TableReads]) -> Vec<OfKind<'r>> {
    let mut groups: IndexMap<Option<&str>, Vec<&TableReads>> = IndexMap::new();
    for record in records {
        let word = record.tag.as_ref().map(|tag| tag.word.as_str());
        groups.entry(word).or_default().push(record);
    }
    groups.into_iter().collect()
}

/// Every key that some record read, in the order of reading.
fn keys<'r>(records: &[&'r TableReads]) -> Vec<&'r str> {
    let read = records.iter().flat_map(|it| &it.reads).filter(|(_, reads)| !reads.is_empty());
    read.map(|(key, _)| key.as_str()).collect::<IndexSet<_>>().into_iter().collect()
}

/// The keys of which a table must have one.
fn one_of<'r>(records: &[&'r TableReads]) -> Option<&'r [&'static str]> {
    records.iter().map(|it| it.one_of.as_slice()).find(|keys| !keys.is_empty())
}

fn table_of(form: &Form) -> Option<&TableReads> {
    match form {
        Form::Table(record) => Some(record),
        _ => None,
    }
}

fn items_of(form: &Form) -> Option<&TableReads> {
    match form {
        Form::Items(record, _) => Some(record),
        _ => None,
    }
}

/// When a key has a meaning.
enum Applies {
    Always,
    /// "with `search` = `tpe`, or with `halving`"
    Only(String),
    Unexplained,
}

fn condition(records: &[&TableReads], key: &str) -> Applies {
    // A key that was looked for is known, also where it was not there.
    let knows = |record: &TableReads| {
        record.reads.get(key).is_some_and(|reads| !reads.is_empty())
            || record.presence.iter().any(|(asked, _)| asked == key)
    };
    let own: Vec<bool> = records.iter().map(|record| knows(record)).collect();
    if own.iter().all(|known| *known) || one_of(records).is_some_and(|keys| keys.contains(&key)) {
        return Applies::Always;
    }
    // Reasons that hold only where the key is known, until every such record has one.
    let mut open: Vec<usize> = (0..records.len()).filter(|at| own[*at]).collect();
    let mut said: IndexMap<String, Vec<String>> = IndexMap::new();
    for (about, value, holds) in reasons(records, key) {
        let sound = holds.iter().all(|at| own[*at]);
        if sound && open.iter().any(|at| holds.contains(at)) {
            open.retain(|at| !holds.contains(at));
            said.entry(about).or_default().push(value);
        }
    }
    if !open.is_empty() {
        return Applies::Unexplained;
    }
    let said = said.iter().map(|(about, values)| match values.concat().is_empty() {
        true => about.clone(),
        false => format!("{about} = {}", values.join(", ")),
    });
    Applies::Only(said.collect::<Vec<_>>().join(", or "))
}

/// What may decide over a key: a text, a value where it is a word that decides, and which records it
/// holds in. What every table says, or must say, comes first.
fn reasons(records: &[&TableReads], key: &str) -> Vec<(String, String, Vec<usize>)> {
    let is_table = |record: &TableReads, asked: &str| {
        record.reads.get(asked).into_iter().flatten().any(|read| table_of(&read.form).is_some())
    };
    // Each is asked of every key of every record, so it is found out once.
    let has_two_forms = once_for_each(|asked| {
        let other = |it: &&TableReads| it.reads.contains_key(asked) && !is_table(it, asked);
        records.iter().any(|it| is_table(it, asked)) && records.iter().any(other)
    });
    let is_said = once_for_each(|asked| {
        let reads = records.iter().filter_map(|it| it.reads.get(asked)).flatten();
        records.iter().all(|it| it.reads.contains_key(asked))
            || reads.into_iter().any(|it| it.required)
    });
    let is_asked = once_for_each(|asked| {
        records.iter().all(|it| it.presence.iter().any(|(other, _)| other == asked))
    });
    let mut found: IndexMap<(bool, String, String), Vec<usize>> = IndexMap::new();
    for (at, record) in records.iter().enumerate() {
        let mut holds = |is_weak: bool, about: String, value: String| {
            found.entry((is_weak, about, value)).or_default().push(at);
        };
        for chosen in record.one_of.iter().filter(|one| record.reads.contains_key(**one)) {
            holds(false, format!("with `{chosen}`"), String::new());
        }
        for (asked, word) in record.words.iter().filter(|(asked, _)| asked != key) {
            holds(!is_said(asked), format!("with `{asked}`"), format!("`\"{word}\"`"));
        }
        for (asked, there) in record.presence.iter().filter(|(asked, _)| asked != key) {
            let word = if *there { "with" } else { "without" };
            holds(!is_asked(asked), format!("{word} `{asked}`"), String::new());
        }
        for asked in record.reads.keys().filter(|asked| *asked != key) {
            let form = if is_table(record, asked) { "a table" } else { "a name" };
            holds(!has_two_forms(asked), format!("where `{asked}` is {form}"), String::new());
        }
    }
    found.sort_by(|one, _, other, _| one.0.cmp(&other.0));
    found.into_iter().map(|((_, about, value), holds)| (about, value, holds)).collect()
}

/// A question about keys that is answered once for each of them.
fn once_for_each(answer: impl Fn(&str) -> bool) -> impl Fn(&str) -> bool {
    let known = RefCell::new(HashMap::<String, bool>::new());
    move |key| {
        if let Some(known) = known.borrow().get(key) {
            return *known;
        }
        let found = answer(key);
        known.borrow_mut().insert(key.to_owned(), found);
        found
    }
}

/// Whether a leaf is only the words of a table's kinds.
fn is_kinds(leaf: &Value, words: &[&str]) -> bool {
    let Some(Value::Array(every)) = leaf.get("enum") else { return false };
    !words.is_empty() && every.iter().all(|it| it.as_str().is_some_and(|it| words.contains(&it)))
}

/// What a value without keys may be.
fn leaf_text(leaf: &Value) -> String {
    if let Some(Value::Array(words)) = leaf.get("enum") {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    if let Some(Value::Array(any)) = leaf.get("anyOf") {
        return any.iter().map(leaf_text).collect::<Vec<_>>().join(" or ");
    }
    if let Some(Value::String(text)) = leaf.get("description") {
        return text.clone();
    }
    let range = match (leaf.get("minimum"), leaf.get("maximum")) {
        (Some(from), Some(to)) => format!(" from {from} to {to}"),
        (Some(from), None) => format!(" of at least {from}"),
        _ => String::new(),
    };
    match leaf.get("type").and_then(Value::as_str) {
        Some("array") => match leaf.get("items") {
            Some(items) => format!("an array of {}", plural(items)),
            None => "an array".to_owned(),
        },
        Some("object") => "a table".to_owned(),
        Some("integer") => format!("an integer{range}"),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some(name) => format!("a {name}{range}"),
        None => "any value".to_owned(),
    }
}

fn plural(leaf: &Value) -> String {
    match leaf.get("type").and_then(Value::as_str) {
        Some(name) => format!("{name}s"),
        None => leaf_text(leaf),
    }
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    let stop = if text.ends_with('.') { "" } else { "." };
    cell(&format!("{}{}{stop}", first.to_uppercase(), letters.as_str()))
}

/// As it may stand in a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::explore::explore;
    use crate::config::{Keys, words};

    words! {
        /// Two kinds.
        enum Drawing {
            /// The first.
            Grid = "grid",
            /// The second.
            Tpe = "tpe",
        }
    }

    fn of<T>(read: impl Fn(&mut Keys) -> T) -> (String, String) {
        let records = explore(read);
        let mut manual = Manual::with_stand_in(77, "what the pipeline says");
        let text = manual.table(&records.iter().collect::<Vec<_>>(), 3);
        (text, manual.nested(3))
    }

    #[test]
    fn a_key_shows_what_it_takes_its_default_and_its_meaning() {
        let (text, _) = of(|keys| {
            keys.about(&[("n", "how many"), ("seed", "where to begin"), ("word", "which")]);
            let count = keys.count("n", 1..=9).or(3_usize);
            let seed = keys.integer("seed").or(77);
            (count, seed, keys.choice::<Drawing>("word").required())
        });
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `n` | an integer from 1 to 9 | `3` | How many. |",
                "| `seed` | an integer | what the pipeline says | Where to begin. |",
                "| `word` | `\"grid\"`, `\"tpe\"` | required | Which. |",
            ]
        );
    }

    #[test]
    fn a_key_that_depends_on_others_says_on_which() {
        let (text, _) = of(|keys| {
            let search = keys.choice("search").or(Drawing::Grid);
            let halving = keys.has("halving").then(|| keys.string("halving").required());
            let counts = search == Ok(Drawing::Tpe) || halving.is_some();
            counts.then(|| keys.count("batch", 1..=8).or(4_usize))
        });
        assert!(text.contains("Only with `search` = `\"tpe\"`, or with `halving`. |"), "{text}");
    }

    #[test]
    fn equal_tables_inside_tables_share_a_section() {
        let (text, nested) = of(|keys| {
            for key in ["a", "b"] {
                keys.kinded(key, "kind", Some(Drawing::Grid), |_, keys| keys.float("c").or(1.0))?;
            }
            Ok::<(), crate::config::Noted>(())
        });
        assert!(text.contains("| `b` | a word or [a table](#a) |"), "{text}");
        assert_eq!(nested.matches("### ").count(), 1, "{nested}");
        assert!(nested.contains("`kind` = `\"grid\"` (default), `\"tpe\"`:"), "{nested}");
    }
}
