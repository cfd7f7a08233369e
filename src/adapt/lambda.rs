//! lambda, the weight of the adaptation loss, over the course of a training.

use crate::config::{Keys, Noted, words};

words! {
    /// The word for a course of lambda.
    enum LambdaKind {
        /// [`LambdaSchedule::Ganin`].
        Ganin = "ganin",
        /// [`LambdaSchedule::Constant`].
        Constant = "constant",
    }
}

/// lambda as a function of progress p, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LambdaSchedule {
    /// max (2 / (1 + exp(-gamma p)) - 1).
    Ganin {
        /// Steepness.
        gamma: f64,
        /// Value it rises to.
        max: f64,
    },
    /// The same throughout.
    Constant {
        /// The value.
        max: f64,
    },
}

impl LambdaSchedule {
    /// Reads `lambda = { schedule = "ganin", gamma = 10.0, max = 1.0 }`.
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.kinded("lambda", "schedule", Some(LambdaKind::Ganin), |kind, keys| {
            keys.about(&[("max", "the largest value"), ("gamma", "how steeply it rises")]);
            let max = keys.float("max").at_least(0.0).or(1.0);
            match kind {
                LambdaKind::Constant => Ok(Self::Constant { max: max? }),
                LambdaKind::Ganin => {
                    let gamma = keys.float("gamma").at_least(0.0).or(10.0);
                    Ok(Self::Ganin { gamma: gamma?, max: max? })
                }
            }
        })
    }

    /// lambda at progress p.
    #[expect(clippy::cast_possible_truncation, reason = "gradients are 32-bit")]
    pub fn at(&self, progress: f64) -> f32 {
        match self {
            Self::Constant { max } => *max as f32,
            Self::Ganin { gamma, max } => {
                (max * (2.0 / (1.0 + (-gamma * progress).exp()) - 1.0)) as f32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_rises_from_zero_to_its_maximum_as_published() {
        let ganin = LambdaSchedule::Ganin { gamma: 10.0, max: 1.0 };
        assert!(ganin.at(0.0).abs() < 1e-7);
        assert!((ganin.at(0.1) - 0.462_117_16).abs() < 1e-6, "tanh(0.5)");
        assert!((ganin.at(1.0) - 0.999_909_2).abs() < 1e-6, "tanh(5)");
        let half = LambdaSchedule::Ganin { gamma: 10.0, max: 0.5 };
        assert!((half.at(0.1) * 2.0 - ganin.at(0.1)).abs() < 1e-6);
    }
}
