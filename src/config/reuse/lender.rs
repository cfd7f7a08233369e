//! Values that count elsewhere than where they are written.

use std::collections::HashMap;

use super::super::node::{Node, Value};
use super::super::source::{Note, SourceId, Sources, Span};

/// Marks values as those of another place.
pub(super) struct Lender<'s> {
    note: Note,
    sources: &'s mut Sources,
    ids: HashMap<SourceId, SourceId>,
}

impl<'s> Lender<'s> {
    /// One that has problems with the values show `note`.
    pub(super) fn new(note: Note, sources: &'s mut Sources) -> Self {
        Self { note, sources, ids: HashMap::new() }
    }

    /// Marks `node` and everything below it.
    pub(super) fn lend(&mut self, node: &mut Node) {
        self.mark(&mut node.span);
        match &mut node.value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.lend(item)),
            Value::Table(table) => {
                for entry in table.entries.values_mut() {
                    self.mark(&mut entry.key);
                    self.lend(&mut entry.node);
                }
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
    }

    fn mark(&mut self, span: &mut Span) {
        let Self { note, sources, ids } = self;
        let id = ids.entry(span.source);
        span.source = *id.or_insert_with_key(|of| sources.lend(*of, note.clone()));
    }
}
