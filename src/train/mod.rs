//! Training: the loop, optimizers and learning-rate schedules.
//!
//! Knows nothing of pipelines, stores or terminals; what it learns with is a [`crate::adapt::Method`].

pub mod activations;
pub mod checkpoint;
mod evaluate;
mod feed;
mod fit;
mod optimizer;
pub mod schedule;

pub use evaluate::{Evaluation, evaluate};
pub use fit::{Data, FitError, Settings, Times, Watch, fit};
pub use optimizer::{Adam, Optimizer, OptimizerState};
