//! How a training learns. Everything here is part of its fingerprint; nothing here runs.

use super::batch_norm::BatchNormFamily;
use super::batch_size::BatchSize;
use super::epoch_length::EpochLength;
use super::groups::Groups;
use super::monitor::{EarlyStopping, Metric};
use super::optimizer::Optimizer;
use super::sampler::{ImageSampler, Shuffled};
use super::schedule::Scheduled;
use super::target_scores::TargetScores;
use crate::data::augment::Augment;

/// How to train.
#[derive(Debug)]
pub struct TrainingSettings {
    /// Epochs, each as long as `epoch` says.
    pub epochs: usize,
    /// What an epoch is a pass over, where that was said.
    pub epoch: Option<EpochLength>,
    /// Which labelled images a step takes.
    pub sampler: Box<dyn ImageSampler>,
    /// Images of each domain per step.
    pub batch_size: usize,
    /// Whether images at the end of a pass are left out that do not fill a batch.
    pub drop_last: bool,
    /// How gradients change the weights.
    pub optimizer: Optimizer,
    /// Parameters that learn differently from the rest.
    pub groups: Groups,
    /// Which images batch norm takes together.
    pub batch_norm: BatchNormFamily,
    /// Probability that a channel of batch norm goes by its running averages in a step
    /// ([`StochasticNorm`](crate::nn::StochasticNorm)); `None` for none.
    pub stochastic_norm: Option<f32>,
    /// The learning rate over time.
    pub schedule: Scheduled,
    /// Random changes to the images that are trained on; validation sees them as they are.
    pub augment: Option<Augment>,
    /// Share of the target that is spread over all classes, 0 to below 1.
    pub label_smoothing: f32,
    /// When to end before the last epoch.
    pub early_stopping: Option<EarlyStopping>,
    /// By which metric the best epoch's weights are kept; `None` for the last ones.
    pub keep_best: Option<Metric>,
    /// Label-free scores that are computed after each epoch.
    pub target_scores: Option<TargetScores>,
    /// Steps between two rows of step metrics; `None` for epochs only.
    pub log_every: Option<usize>,
    /// Seed of shuffling and dropout.
    pub seed: u64,
}

impl TrainingSettings {
    /// How images are put into batches.
    pub fn batches(&self) -> BatchSize {
        BatchSize { images: self.batch_size, drop_last: self.drop_last }
    }

    /// One epoch in batches of `batch_size` with `optimizer`, and nothing else: for steps outside a
    /// training.
    pub fn plain(batch_size: usize, optimizer: Optimizer) -> Self {
        Self {
            epochs: 1,
            epoch: None,
            sampler: Box::new(Shuffled),
            batch_size,
            drop_last: false,
            optimizer,
            groups: Groups::default(),
            batch_norm: BatchNormFamily::Separate,
            stochastic_norm: None,
            schedule: Scheduled::constant(),
            augment: None,
            label_smoothing: 0.0,
            early_stopping: None,
            keep_best: None,
            target_scores: None,
            log_every: None,
            seed: 0,
        }
    }
}
