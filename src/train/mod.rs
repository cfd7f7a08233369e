//! Training: the loop, optimizers and learning-rate schedules.
//!
//! Knows nothing of pipelines, stores or terminals; what a step learns from is a [`Method`]'s business.

mod activation_files;
pub mod activations;
mod batch_norm;
mod batch_size;
mod bench;
pub mod checkpoint;
#[cfg(test)]
mod checkpoint_tests;
mod clock;
mod contract;
mod epoch;
mod epoch_length;
mod evaluate;
mod feed;
mod fit;
pub mod groups;
mod inputs;
mod layer_decay;
mod matched;
mod method;
pub mod monitor;
mod networks;
mod optimizer;
mod optimizer_state;
mod passes;
mod pictures;
mod predict;
mod rates;
mod reading;
pub mod sampler;
pub mod schedule;
mod settings;
mod summary;
mod target_scores;
#[cfg(test)]
pub(crate) mod tiny;
mod whole_set;

pub use batch_norm::BatchNormFamily;
#[cfg(test)]
pub(crate) use bench::REPEATED;
pub use bench::{
    Batch, Bench, Domains, Gradient, Mode, Reading, Repeats, SourceBatch, TargetBatch,
};
pub use contract::{Data, Ended, FitError, Stop};
pub use epoch::coverage;
pub use epoch_length::EpochLength;
pub use evaluate::{Evaluation, Prediction, Scoring, evaluate};
pub use fit::{FitOptions, fit};
pub use groups::Groups;
pub use inputs::Inputs;
pub use method::{Learner, Method, Misfit, Needs, Visit, When, WholeSet, WholeSetPasses};
pub use networks::{Group, NetId};
pub use optimizer::ParameterGroup;
pub use optimizer::{Adam, Optimizer};
pub use optimizer_state::OptimizerState;
pub use predict::{predict, predict_mixes};
pub use rates::Rate;
pub use schedule::TrainingProgress;
pub use settings::TrainingSettings;
pub use summary::Times;
pub use target_scores::TargetScores;
