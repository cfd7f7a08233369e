//! What a training is given, and how it can end. Runs nothing.

use super::groups::GroupError;
use super::summary::Times;
use crate::data::{Dataset, Split, Unlabelled};
use crate::metrics::{TrainingRow, rounded};
use crate::nn::Model;
use crate::nn::ops::OpError;
use crate::progress::Interrupted;

/// What to train on.
pub struct Data<'a> {
    /// The labelled images, with the normalisation of their data set; `None` where the method learns from
    /// the target alone.
    pub source: Option<(&'a Dataset, &'a Split)>,
    /// Images of the target domain, without labels.
    pub target: Option<Unlabelled<'a>>,
    /// Labelled images to watch progress on; nothing is learned from them.
    pub validate: Option<(&'a Dataset, &'a Split)>,
    /// Further labelled images that are measured after every epoch; nothing goes by them.
    pub recorded: Vec<(&'a Dataset, &'a Split)>,
    /// Images that [`target_scores`](super::TrainingSettings::target_scores) are of; nothing is learned from them.
    pub scored: Option<Unlabelled<'a>>,
}

/// How a training ended that did not fail.
#[derive(Debug)]
pub enum Ended {
    /// It trained as long as it was to.
    Finished {
        /// The network that it is about: that of the method's predictor.
        model: Box<Model>,
        /// Everything it measured.
        rows: Vec<TrainingRow>,
        /// Where the time went.
        times: Times,
    },
    /// It came as far as it was to come for now, and left a checkpoint.
    Paused {
        /// What it measured so far.
        rows: Vec<TrainingRow>,
    },
    /// The user asked to stop; it left a checkpoint where it had a place for one.
    Interrupted,
}

/// Why a training failed.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The loss or a weight is infinite or not a number.
    #[error("{what} is not finite in epoch {epoch}, step {step}{}", before(*last))]
    Diverged {
        /// What diverged.
        what: &'static str,
        /// Epoch from 1.
        epoch: usize,
        /// Step within the epoch from 1.
        step: usize,
        /// The last finite loss; `None` in the first step.
        last: Option<f64>,
    },
    /// A pattern of the settings does not fit the model.
    #[error(transparent)]
    Groups(#[from] GroupError),
    /// Too few images for one step.
    #[error("{count} {domain} images are too few to train on: a batch needs at least {least}")]
    TooFew {
        /// Which images.
        domain: &'static str,
        /// How many there are.
        count: usize,
        /// How many a batch needs.
        least: usize,
    },
    /// Too few classes for the sampler.
    #[error(
        "the sampler takes {wanted} classes per step, but only {found} have images to train on"
    )]
    TooFewClasses {
        /// Classes of a step.
        wanted: usize,
        /// Classes with images.
        found: usize,
    },
    /// Too few target images of each class, as far as the network tells them apart.
    #[error("no class is the likeliest one of {least} target images, which `threshold` asks for")]
    NoClass {
        /// Images that a class must have.
        least: usize,
    },
    /// Features that say nothing, for a method that learns from nothing else.
    #[error(
        "the features of the {domain} images are all alike or not finite: there is nothing to align"
    )]
    NoFeatures {
        /// Which images.
        domain: &'static str,
    },
    /// A frozen classifier, for a method that writes one.
    #[error("the classifier is frozen, and this method writes it")]
    FrozenClassifier,
    /// A network without batch norm, for a method that adapts nothing else.
    #[error("the network has no batch norm layers, and this method adapts nothing else")]
    NoBatchNorm,
    /// The device failed.
    #[error(transparent)]
    Device(#[from] OpError),
}

/// Why work in the middle of a training ended before it was done.
#[derive(Debug)]
pub enum Stop {
    /// The user asked for it: nothing is wrong.
    Interrupted,
    /// It cannot go on.
    Failed(FitError),
}

impl From<Interrupted> for Stop {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

impl From<FitError> for Stop {
    fn from(error: FitError) -> Self {
        Self::Failed(error)
    }
}

impl From<OpError> for Stop {
    fn from(error: OpError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<GroupError> for Stop {
    fn from(error: GroupError) -> Self {
        Self::Failed(error.into())
    }
}

fn before(last: Option<f64>) -> String {
    last.map(|loss| format!(" (the loss was {} before)", rounded(loss))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_is_not_finite_in_the_first_step_has_no_loss_before() {
        let error = |step, last| FitError::Diverged { what: "the loss", epoch: 1, step, last };
        assert_eq!(error(1, None).to_string(), "the loss is not finite in epoch 1, step 1");
        assert_eq!(
            error(2, Some(3.812_713)).to_string(),
            "the loss is not finite in epoch 1, step 2 (the loss was 3.8127 before)"
        );
    }
}
