//! The texts a pipeline is read from, and places in them.
//!
//! A place stays with every value from reading to the last check, so that any
//! problem found later can still be shown in the user's own file.

use std::ops::Range;

/// Which of the [`Sources`] a [`Span`] lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceId(pub(crate) usize);

/// A range of bytes in one of the [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The text the range lies in.
    pub source: SourceId,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// A span over `range` of `source`.
    pub fn new(source: SourceId, range: Range<usize>) -> Self {
        Self { source, start: range.start, end: range.end }
    }
}

/// One text: the pipeline file, or one `--set` argument.
#[derive(Debug, Clone)]
pub struct SourceText {
    /// How the text is called in messages: the path as the user gave it, or `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// Every text that a pipeline was read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    all: Vec<SourceText>,
}

impl Sources {
    /// Adds a text and returns its id.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        self.all.push(SourceText { name: name.into(), text: text.into() });
        SourceId(self.all.len() - 1)
    }

    /// The text of `id`.
    pub fn get(&self, id: SourceId) -> &SourceText {
        &self.all[id.0]
    }

    /// Line and column (both from 1, columns in characters) of the start of `span`.
    pub fn line_column(&self, span: Span) -> (usize, usize) {
        let text = &self.get(span.source).text;
        let before = &text[..span.start.min(text.len())];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}
