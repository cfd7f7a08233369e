//! Training: the loop, optimizers and learning-rate schedules.
//!
//! Knows nothing of pipelines, stores or terminals; the loss comes from a [`crate::adapt::Method`].

mod activation_files;
pub mod activations;
pub mod checkpoint;
#[cfg(test)]
mod checkpoint_tests;
mod contract;
mod epoch;
mod evaluate;
mod feed;
mod fit;
pub mod groups;
#[cfg(test)]
mod method_tests;
pub mod monitor;
mod optimizer;
mod optimizer_state;
mod rates;
pub mod sampler;
pub mod schedule;
mod settings;
mod summary;
mod target_scores;
#[cfg(test)]
mod tiny;

pub use contract::{Data, Ended, FitError, Stop};
pub use epoch::{EpochLength, coverage};
pub use evaluate::{Evaluation, Prediction, evaluate};
pub use fit::{FitOptions, fit};
pub use groups::Groups;
pub use optimizer::{Adam, Optimizer};
pub use optimizer_state::OptimizerState;
pub use rates::{ParameterGroup, Rate};
pub use settings::TrainingSettings;
pub use summary::Times;
pub use target_scores::TargetScores;
