//! How large a pipeline may become when what it says once is put in many places.

use super::super::Diagnostic;
use super::super::node::{Node, Value};
use super::super::source::Span;

/// As much as a file may have: what is larger is taken for a mistake.
const MOST_BYTES: usize = 16 << 20;

/// What was put in so far.
#[derive(Debug, Default)]
pub(super) struct Size {
    bytes: usize,
    /// Where it became too much: the first place is told, and none of those after it.
    exceeded: Option<Span>,
}

impl Size {
    /// Counts a copy of `node` for the place `span`.
    ///
    /// # Errors
    /// When that is too much.
    pub(super) fn add(&mut self, node: &Node, span: Span) -> Result<(), Diagnostic> {
        self.bytes = self.bytes.saturating_add(weight(node));
        match self.bytes <= MOST_BYTES {
            true => Ok(()),
            false => {
                let message = format!(
                    "the pipeline becomes larger than {} MB, which no pipeline is",
                    MOST_BYTES >> 20
                );
                let first = *self.exceeded.get_or_insert(span);
                Err(Diagnostic::at(first, message, "what is put in here is too much"))
            }
        }
    }
}

/// About how many bytes a node takes.
fn weight(node: &Node) -> usize {
    const LEAST: usize = 64;
    LEAST
        + match &node.value {
            Value::String(text) | Value::Datetime(text) => text.len(),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => 0,
            Value::Array(items) => items.iter().map(weight).sum(),
            Value::Table(table) => {
                table.entries.iter().map(|(key, entry)| key.len() + weight(&entry.node)).sum()
            }
        }
}
