//! The texts a pipeline is read from, and places in them.
//!
//! A place stays with every value from reading to the last check, so that any
//! problem found later can still be shown in the user's own file.

use std::ops::Range;
use std::sync::Arc;

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

/// A place that explains another one, and what to say there.
pub type Note = (Span, String);

/// What a [`SourceId`] stands for.
#[derive(Debug, Clone)]
enum Entry {
    /// A text of its own.
    Text(Arc<SourceText>),
    /// The text of another id, for what counts elsewhere than where it is written.
    Lent {
        /// Whose text it is.
        of: SourceId,
        /// Where it counts.
        note: Note,
    },
}

/// Every text that a pipeline was read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    all: Vec<Entry>,
}

impl Sources {
    /// Adds a text and returns its id.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        let text = SourceText { name: name.into(), text: text.into() };
        self.push(Entry::Text(Arc::new(text)))
    }

    /// Another id for the text of `of`. Problems at places in it also show `note`, which says why what stands there
    /// counts somewhere else.
    pub fn lend(&mut self, of: SourceId, note: Note) -> SourceId {
        self.push(Entry::Lent { of, note })
    }

    fn push(&mut self, entry: Entry) -> SourceId {
        self.all.push(entry);
        SourceId(self.all.len() - 1)
    }

    /// The text of `id`.
    pub fn get(&self, id: SourceId) -> &SourceText {
        let mut id = id;
        loop {
            match &self.all[id.0] {
                Entry::Text(text) => return text,
                // It was there before, so this comes to an end.
                Entry::Lent { of, .. } => id = *of,
            }
        }
    }

    /// `span` in the text that it was written in, and the notes on where that counts, the nearest last.
    pub fn written(&self, span: Span) -> (Span, Vec<Note>) {
        let (mut source, mut notes) = (span.source, Vec::new());
        while let Entry::Lent { of, note } = &self.all[source.0] {
            notes.push(note.clone());
            source = *of;
        }
        (Span { source, ..span }, notes)
    }

    /// Line and column (both from 1, columns in characters) of the start of `span`.
    pub fn line_column(&self, span: Span) -> (usize, usize) {
        let text = &self.get(span.source).text;
        let before = &text[..span.start.min(text.len())];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}
