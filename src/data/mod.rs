//! Data sets: in memory, on disk, and how they come from the formats of others.
//!
//! Knows nothing of pipelines, stages or models.

pub mod augment;
pub mod blend;
pub mod catalog;
pub mod checksum;
pub mod classes;
pub mod convert;
pub mod corrupt;
pub mod crop;
mod dataset;
pub mod dead_leaves;
pub mod disk;
mod error;
pub mod fetch;
pub mod glyphs;
pub mod loader;
pub mod moons;
pub mod npy;
pub mod outside;
pub mod pad;
pub mod picture;
pub mod pool;
pub mod predictions;
pub mod proportions;
pub mod readers;
pub mod resize;
pub mod shown;
pub mod statistics;
pub mod subset;
pub mod unpack;
pub mod view;

pub use dataset::{Dataset, Image, Images, Normalisation, Provenance, Sizes, Split, Unlabelled};
pub use disk::DatasetOutline;
pub use error::DataError;
pub use predictions::{ClassScores, PredictedSplit, Predictions, PredictionsOutline};

pub use crate::progress::Watch;
