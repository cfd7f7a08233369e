//! Training: the loop, optimizers and learning-rate schedules.
//!
//! Knows nothing of pipelines, stores or terminals; what it learns with is a [`crate::adapt::Method`].

mod activation_files;
pub mod activations;
pub mod checkpoint;
#[cfg(test)]
mod checkpoint_tests;
mod epoch;
mod evaluate;
mod feed;
mod fit;
pub mod groups;
pub mod monitor;
mod optimizer;
pub mod schedule;
mod target_scores;

pub use epoch::{EpochLength, coverage};
pub use evaluate::{Answer, Evaluation, evaluate};
pub use fit::{Data, FitError, Reuse, Settings, Times, Watch, fit};
pub use groups::Groups;
pub use optimizer::{Adam, Optimizer, OptimizerState};
pub use target_scores::TargetScores;
