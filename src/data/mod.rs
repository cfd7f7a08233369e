//! Data sets: in memory, on disk, and how they come from the formats of others.

mod dataset;
mod error;

pub use dataset::{Dataset, Images, Split};
pub use error::Error;
