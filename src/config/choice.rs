//! Keys that take one of a few words, and tables that a word tells apart.
//!
//! Gives the value that a word stands for and never the word itself.

use std::marker::PhantomData;

use serde_json::json;

use super::describe::Form;
use super::diagnostic::{Diagnostic, Noted, suggest_and_list};
use super::field::Field;
use super::keys::Keys;
use super::node::{Node, Table, Value};
use super::source::Span;
use super::word::{Word, words_of};

impl<'a> Keys<'a> {
    /// One of the words for a `T`.
    pub fn choice<T: Word>(&mut self, key: &'static str) -> Choice<'_, 'a, T> {
        Choice { keys: self, key, values: PhantomData }
    }

    /// An array of some of the words for a `T`, each at most once and at least one; `expected`
    /// finishes the sentence "`key` must be ...".
    pub fn choices<T: Word>(
        &mut self,
        key: &'static str,
        expected: impl Into<String>,
    ) -> Choices<'_, 'a, T> {
        let fits = |it: &Vec<String>| {
            let fits_at = |at: usize| T::named(&it[at]).is_some() && !it[..at].contains(&it[at]);
            !it.is_empty() && (0..it.len()).all(fits_at)
        };
        let items = json!({ "type": "string", "enum": words_of::<T>() });
        let field = self
            .strings(key)
            .such_that(expected, fits)
            .limits([("items", items), ("uniqueItems", json!(true))]);
        Choices { field, values: PhantomData }
    }

    /// A table with a word that says which kind it is: `method = { kind = "dann", ... }`. A bare
    /// string stands for a table with only that word; left out, `default` counts, or the key is
    /// required when there is none. `tag` is the key of the word (`kind`, `recipe`, `arch`).
    pub fn kinded<W: Word, T>(
        &mut self,
        key: &'static str,
        tag: &'static str,
        default: Option<W>,
        read: impl FnOnce(W, &mut Keys) -> Result<T, Noted>,
    ) -> Result<T, Noted> {
        let default_word = default.map(|it| it.word());
        if let Some(describing) = &mut self.describing {
            let words = json!({ "type": "string", "enum": words_of::<W>() });
            describing.note(key, Form::Leaf(words), default.is_none(), None);
        }
        let held;
        let (table, span) = match (self.node(key), default_word) {
            (Some(Node { value: Value::Table(table), span }), _) => (table, *span),
            (Some(Node { value: Value::String(text), span }), _) => {
                held = Self::word(tag, text, *span);
                (&held, *span)
            }
            (Some(node), _) => return Err(self.wrong_type(key, node, "a string or a table")),
            (None, Some(word)) => {
                held = Self::word(tag, word, self.span());
                (&held, self.span())
            }
            (None, None) if self.is_describing() => {
                held = Table::default();
                (&held, self.span())
            }
            (None, None) => return Err(self.missing(key, "a string or a table")),
        };
        self.descend(key, table, span, |keys| {
            let choice = keys.choice::<W>(tag);
            let kind = match default {
                Some(default) => choice.or(default),
                None => choice.required(),
            };
            match kind {
                Ok(kind) => keys.tag(tag, kind.word(), default_word, kind.about()),
                Err(_) => keys.leave_open(),
            }
            read(kind?, keys)
        })
    }

    /// Reads an array whose items are words for a `W` or tables that `tag` tells apart, each with its
    /// place; `None` when it is left out. An item is a `one`, several are `many`. Whoever calls it says
    /// what the items may be ([`Keys::may_be_items`]).
    pub fn items<W: Word, T>(
        &mut self,
        key: &'static str,
        tag: &'static str,
        (one, many): (&str, &str),
        mut read: impl FnMut(W, &mut Keys) -> Result<T, Noted>,
    ) -> Result<Option<Vec<(T, Span)>>, Noted> {
        let Some(node) = self.node(key) else { return Ok(None) };
        let Value::Array(items) = &node.value else {
            return Err(self.wrong_type(key, node, &format!("an array of {many}")));
        };
        let (mut found, mut resolved) = (Vec::with_capacity(items.len()), Vec::new());
        for (at, item) in items.iter().enumerate() {
            let key = format!("{key}.{at}");
            found.push(self.item(&key, tag, one, item, &mut read).map(|it| (it, item.span)));
            resolved.extend(self.take(&key));
        }
        self.record(key, resolved);
        found.into_iter().collect::<Result<_, _>>().map(Some)
    }

    fn item<W: Word, T>(
        &mut self,
        key: &str,
        tag: &'static str,
        one: &str,
        item: &Node,
        read: impl FnOnce(W, &mut Keys) -> Result<T, Noted>,
    ) -> Result<T, Noted> {
        let held;
        let (table, span) = match &item.value {
            Value::Table(table) => (table, item.span),
            Value::String(word) => {
                held = Self::word(tag, word, item.span);
                (&held, item.span)
            }
            other => {
                return Err(self.problem(Diagnostic::at(
                    item.span,
                    format!("a {one} must be a word or a table"),
                    format!("found {}", other.type_name()),
                )));
            }
        };
        self.descend(key, table, span, |keys| {
            let kind = keys.choice(tag).required();
            if kind.is_err() {
                keys.leave_open();
            }
            read(kind?, keys)
        })
    }

    /// Says that `key` is an array whose items are words for a `W`, tables that `tag` tells apart and
    /// `read` reads, or what `leaf` describes.
    pub fn may_be_items<W: Word, T>(
        &mut self,
        key: &'static str,
        tag: &'static str,
        leaf: Option<serde_json::Value>,
        read: impl FnOnce(W, &mut Keys) -> Result<T, Noted>,
    ) {
        let Some(describing) = &self.describing else { return };
        let empty = Table::default();
        let mut keys = Keys::describing(&empty, describing.below(key));
        keys.about(&[(tag, "which one it is")]);
        if let Ok(kind) = keys.choice::<W>(tag).required() {
            keys.tag(tag, kind.word(), None, kind.about());
            // The record says what was read, not the value.
            let _ = read(kind, &mut keys);
        }
        let words = json!({ "type": "string", "enum": words_of::<W>() });
        let leaves = leaf.into_iter().chain([words]).collect();
        if let (Some(record), Some(describing)) = (keys.into_record(), &mut self.describing) {
            describing.note(key, Form::Items(record, leaves), false, None);
        }
    }
}

/// A key that is about to be read as one of the words for a `T`: say whether it may be left out.
pub struct Choice<'k, 'a, T> {
    keys: &'k mut Keys<'a>,
    key: &'static str,
    values: PhantomData<T>,
}

impl<T: Word> Choice<'_, '_, T> {
    /// The value; a problem when the key is left out.
    pub fn required(self) -> Result<T, Noted> {
        if self.keys.is_describing() {
            return self.describe(true, None);
        }
        match self.keys.node(self.key) {
            Some(node) => self.take(node),
            None => {
                let words: Vec<String> = T::all().map(|it| format!("\"{}\"", it.word())).collect();
                Err(self.keys.missing(self.key, &format!("one of {}", words.join(", "))))
            }
        }
    }

    /// The value or, when the key is left out, `default`.
    pub fn or(self, default: T) -> Result<T, Noted> {
        if self.keys.is_describing() {
            return self.describe(false, Some(default.word()));
        }
        match self.keys.node(self.key) {
            Some(node) => self.take(node),
            None => {
                self.keys.record(self.key, default.word());
                Ok(default)
            }
        }
    }

    /// The value, if the key is not left out.
    pub fn optional(mut self) -> Result<Option<T>, Noted> {
        if self.keys.is_describing() {
            self.note(false, None);
            return Ok(None);
        }
        match self.keys.node(self.key) {
            Some(node) => self.take(node).map(Some),
            None => Ok(None),
        }
    }

    fn note(&mut self, required: bool, default: Option<&str>) {
        if let Some(describing) = &mut self.keys.describing {
            let schema = json!({ "type": "string", "enum": words_of::<T>() });
            describing.note(self.key, Form::Leaf(schema), required, default.map(Into::into));
        }
    }

    /// Says what the key takes, and gives the value with which the description continues.
    fn describe(mut self, required: bool, default: Option<&str>) -> Result<T, Noted> {
        self.note(required, default);
        let describing = self.keys.describing.as_mut();
        let word = describing.and_then(|it| it.word(self.key, &words_of::<T>(), default));
        word.and_then(T::named).ok_or_else(Noted::without_file)
    }

    fn take(self, node: &Node) -> Result<T, Noted> {
        let Value::String(text) = &node.value else {
            return Err(self.keys.wrong_type(self.key, node, "a string"));
        };
        let Some(value) = T::named(text) else {
            let message = format!("`{text}` is not a value of `{}{}`", self.keys.prefix, self.key);
            let mut problem = Diagnostic::at(node.span, message, "unknown word");
            problem.help.extend(suggest_and_list(text, words_of::<T>()));
            return Err(self.keys.problem(problem));
        };
        self.keys.record(self.key, value.word());
        Ok(value)
    }
}

/// A key that is about to be read as an array of words for a `T`.
pub struct Choices<'k, 'a, T> {
    field: Field<'k, 'a, Vec<String>>,
    values: PhantomData<T>,
}

impl<T: Word> Choices<'_, '_, T> {
    /// The values; a problem when the key is left out.
    pub fn required(self) -> Result<Vec<T>, Noted> {
        self.field.required().map(|words| values(&words))
    }

    /// The values or, when the key is left out, every one that there is.
    pub fn or_all(self) -> Result<Vec<T>, Noted> {
        self.or(&T::all().collect::<Vec<T>>())
    }

    /// The values or, when the key is left out, these.
    pub fn or(self, usual: &[T]) -> Result<Vec<T>, Noted> {
        let usual: Vec<String> = usual.iter().map(|it| it.word().to_owned()).collect();
        self.field.or(usual).map(|words| values(&words))
    }
}

/// What `words` stand for, each of which was checked.
fn values<T: Word>(words: &[String]) -> Vec<T> {
    words.iter().filter_map(|word| T::named(word)).collect()
}
