//! Reads text and gives typed values that keep their place in the file.
//!
//! Knows nothing of tensors, stages or threads.

pub mod amount;
mod choice;
pub mod describe;
pub mod diagnostic;
pub mod document;
pub mod explore;
mod field;
mod keys;
pub mod manual;
mod mention;
pub mod node;
pub mod overrides;
pub mod pixels;
mod reference;
pub mod report;
pub mod reuse;
pub mod schema;
pub mod source;
pub mod spelling;
pub mod sweep;
#[cfg(test)]
pub(crate) mod testing;
mod word;

pub use choice::{Choice, Choices};
pub use diagnostic::{Diagnostic, Noted};
pub use field::{Field, Resolved};
pub use keys::{Gathered, Keys};
pub use mention::{Reference, Wants};
pub use report::Report;
pub(crate) use word::words;
pub use word::{Word, words_of};
