//! Reads text and gives typed values that keep their place in the file.
//!
//! Knows nothing of tensors, stages or threads.

pub mod diagnostic;
mod keys;
pub mod node;
pub mod source;

pub use diagnostic::Diagnostic;
pub use keys::{Field, Gathered, Keys, Reference, Resolved, Wants};
