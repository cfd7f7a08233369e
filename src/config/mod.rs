//! Reads text and gives typed values that keep their place in the file.
//!
//! Knows nothing of tensors, stages or threads.

pub mod diagnostic;
pub mod document;
mod keys;
pub mod node;
pub mod overrides;
pub mod report;
pub mod source;
pub mod sweep;

pub use diagnostic::Diagnostic;
pub use keys::{Field, Gathered, Keys, Reference, Resolved, Wants};
pub use report::Report;
