//! How errors of the libraries end a stage. The advice is the stage's: libraries know no keys.

use super::{Failure, Halt};
use crate::train::{FitError, Stop};

impl From<FitError> for Halt {
    fn from(error: FitError) -> Self {
        let failure = Failure::new(error.to_string());
        match error {
            FitError::Diverged { .. } => failure.help("try a smaller `optimizer.lr`").into(),
            FitError::TooFewClasses { found, .. } => {
                failure.help(format!("write `classes = {found}`, or fewer")).into()
            }
            FitError::FrozenClassifier => failure
                .help("write `head = []`: the network then gets a new classifier that learns")
                .into(),
            FitError::Groups(_)
            | FitError::TooFew { .. }
            | FitError::NoClass { .. }
            | FitError::NoBatchNorm
            | FitError::NoFeatures { .. }
            | FitError::Device(_) => failure.into(),
        }
    }
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Interrupted => Self::Interrupted,
            Stop::Failed(error) => error.into(),
        }
    }
}

impl From<crate::nn::WeightsError> for Halt {
    fn from(error: crate::nn::WeightsError) -> Self {
        Failure::from(error).into()
    }
}

impl From<crate::nn::WeightsError> for Failure {
    fn from(error: crate::nn::WeightsError) -> Self {
        let mut failure = Self::new(error.to_string());
        failure.help = error.help();
        failure
    }
}
