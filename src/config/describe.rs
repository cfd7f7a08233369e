//! What readers say of themselves: the describing mode of [`Keys`](super::Keys).
//!
//! Every read is noted with what it would accept and answered with a stand-in; every word that decides what
//! is read next (`kind`, `schedule`), and every key whose presence does, is a decision. Knows no key and reads
//! no file.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use indexmap::IndexMap;
use serde_json::Value;

/// What one run of a reader asked a table for.
#[derive(Debug, Clone, Default)]
pub struct TableReads {
    /// The word that said which kind of table it is.
    pub tag: Option<Tag>,
    /// Words answered for keys.
    pub words: Vec<(String, String)>,
    /// Keys whose presence was asked for, and the answer.
    pub presence: Vec<(String, bool)>,
    /// What was read at each key, in the order of reading; empty for a key that is only known.
    pub reads: IndexMap<String, Vec<Read>>,
    /// What keys mean, in a few words each.
    pub about: IndexMap<String, String>,
    /// Keys of which the table has exactly one.
    pub one_of: Vec<&'static str>,
}

/// The word that says which kind of table it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag {
    /// Its key: `kind`.
    pub key: String,
    /// The word.
    pub word: String,
    /// Whether it counts when it is left out.
    pub default: bool,
    /// What it stands for, one line.
    pub about: Option<String>,
}

/// One read of a key.
#[derive(Debug, Clone)]
pub struct Read {
    /// What it takes.
    pub form: Form,
    /// Whether it may not be left out.
    pub required: bool,
    /// What counts when it is left out.
    pub default: Option<Value>,
}

/// What a key takes.
#[derive(Debug, Clone)]
pub enum Form {
    /// A value without keys, as a JSON Schema.
    Leaf(Value),
    /// A table of known keys.
    Table(TableReads),
    /// An array whose items are such tables, or one of these leaves.
    Items(TableReads, Vec<Value>),
    /// A table whose keys are the user's own.
    Map(Vec<Form>),
}

/// The answers of one run, and the decisions it met.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) answers: HashMap<String, usize>,
    pub(super) met: Vec<(String, usize)>,
}

/// What a describing [`Keys`](super::Keys) carries.
#[derive(Debug)]
pub(super) struct Describing {
    script: Rc<RefCell<Script>>,
    /// The way to this table with the decisions on it: the same question after other answers is
    /// another question.
    way: String,
    presence: RefCell<Vec<(String, bool)>>,
    pub(super) record: TableReads,
}

impl Describing {
    pub(super) fn below(&self, key: &str) -> Self {
        let way = format!("{}{key}.", self.way);
        Self::new(Rc::clone(&self.script), way)
    }

    pub(super) fn new(script: Rc<RefCell<Script>>, way: String) -> Self {
        Self { script, way, presence: RefCell::default(), record: TableReads::default() }
    }

    pub(super) fn into_record(self) -> TableReads {
        TableReads { presence: self.presence.into_inner(), ..self.record }
    }

    fn ask(&self, question: &str, answers: usize) -> usize {
        let id = format!("{}{question}?", self.way);
        let mut script = self.script.borrow_mut();
        let answer = script.answers.get(&id).copied().unwrap_or(0);
        script.met.push((id, answers));
        answer
    }

    /// Whether `key` is there. Not part of the way: a key that may be left out changes only
    /// what is below itself.
    pub(super) fn is_there(&self, key: &str) -> bool {
        let mut presence = self.presence.borrow_mut();
        if let Some((_, there)) = presence.iter().find(|(asked, _)| asked == key) {
            return *there;
        }
        let there = self.ask(&format!("has {key}"), 2) == 1;
        presence.push((key.to_owned(), there));
        there
    }

    /// One of a few ways on, the first being the usual one.
    pub(super) fn decide(&mut self, question: &str, answers: usize) -> usize {
        let answer = self.ask(question, answers);
        self.way.push_str(&format!("{question}={answer};"));
        answer
    }

    /// One of `words`, the one that counts when none is given first.
    pub(super) fn word<'w>(
        &mut self,
        key: &str,
        words: &[&'w str],
        default: Option<&str>,
    ) -> Option<&'w str> {
        let first = words.iter().position(|word| Some(*word) == default).unwrap_or(0);
        let answer = self.decide(key, words.len());
        let word = words.get((first + answer) % words.len().max(1)).copied()?;
        self.record.words.push((key.to_owned(), word.to_owned()));
        Some(word)
    }

    pub(super) fn note(&mut self, key: &str, form: Form, required: bool, default: Option<Value>) {
        let reads = self.record.reads.entry(key.to_owned()).or_default();
        reads.push(Read { form, required, default });
    }

    pub(super) fn know(&mut self, key: &str) {
        self.record.reads.entry(key.to_owned()).or_default();
    }
}
