//! Training: the loop, optimizers and learning-rate schedules.
//!
//! Knows nothing of pipelines, stores or terminals; what a step learns from is a [`Method`]'s business.

mod activation_files;
pub mod activations;
mod bench;
pub mod checkpoint;
#[cfg(test)]
mod checkpoint_tests;
mod contract;
mod epoch;
mod evaluate;
mod feed;
mod fit;
pub mod groups;
mod method;
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
pub(crate) mod tiny;
mod whole_set;

pub use bench::{Batch, Bench, Domains, Gradient, Mode, Reading, SourceBatch, TargetBatch};
pub use contract::{Data, Ended, FitError, Stop};
pub use epoch::{EpochLength, coverage};
pub use evaluate::{Evaluation, Prediction, evaluate};
pub use fit::{FitOptions, fit};
pub use groups::Groups;
pub use method::{
    BatchNormFamily, Group, Learner, Method, Needs, NetId, Visit, When, WholeSet, WholeSetPasses,
};
pub use optimizer::{Adam, Optimizer};
pub use optimizer_state::OptimizerState;
pub use rates::{ParameterGroup, Rate};
pub use schedule::TrainingProgress;
pub use settings::TrainingSettings;
pub use summary::Times;
pub use target_scores::TargetScores;
