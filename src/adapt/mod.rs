//! Ways to learn from labelled source and unlabelled target images: one file each.
//!
//! A method sees target images only as a batch of pixels: their labels cannot reach it.

use dfdx::prelude::*;

use crate::config::{Keys, Reference};
use crate::nn::model::host;
use crate::nn::ops::{Batch, Ops, Scalar, Targets};
use crate::nn::{DropoutKey, EntryLayer, Model};

mod coral;
mod dann;
mod lambda;
mod supervised;

pub use coral::Coral;
pub use dann::Dann;
pub use lambda::LambdaSchedule;

/// A method with its settings. A new one is a file in this folder and its line in each `match`.
#[derive(Debug, Clone)]
pub enum Method {
    /// Cross-entropy on the labelled images.
    Supervised,
    /// Domain-adversarial training.
    Dann(Dann),
    /// Correlation alignment.
    Coral(Coral),
}

const KINDS: &[&str] = &["supervised", "dann", "coral"];

/// One step's material.
pub struct Step<'a, D: Ops> {
    /// The network that learns.
    pub model: &'a mut Model<D>,
    /// Where it takes the images in.
    pub entry: EntryLayer,
    /// Labelled images `[N, C*H*W]`, or what frozen layers made of them.
    pub source: Batch<D>,
    /// What the class logits should say of them.
    pub targets: Targets<'a>,
    /// The same of the target domain, `[M, C*H*W]`, for methods that want it.
    pub target: Option<Batch<D>>,
    /// Share of all steps taken, 0 to below 1.
    pub progress: f64,
    /// Seed of the stage.
    pub seed: u64,
    /// Epoch from 0.
    pub epoch: u64,
    /// Step within the epoch from 0.
    pub step: u64,
}

impl<D: Ops> Step<'_, D> {
    /// The dropout masks of a domain's pass in this step.
    fn dropout(&self, domain: &'static str) -> DropoutKey {
        DropoutKey { seed: self.seed, domain, epoch: self.epoch, step: self.step }
    }
}

/// A step's loss to descend, and what there is to say about it.
pub struct Losses<D: Ops> {
    /// The sum to descend, with its tape.
    pub total: Scalar<D, OwnedTape<f32, D>>,
    /// Named numbers of this step.
    pub readings: Vec<Reading>,
}

/// A number of one step, and how an epoch sums it up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Its name in the metrics: `class_loss`.
    pub name: &'static str,
    /// The number.
    pub value: f64,
    /// How many images it is a mean over; 0 for a setting, whose last value stands for the epoch.
    pub weight: usize,
}

impl Method {
    /// Reads `method = "supervised"` or `{ kind = "dann", ... }`.
    pub fn read(keys: &mut Keys) -> Option<Self> {
        keys.kinded("method", "kind", KINDS, Some("supervised"), |kind, keys| match kind {
            "dann" => Dann::read(keys).map(Self::Dann),
            "coral" => Coral::read(keys).map(Self::Coral),
            _ => Some(Self::Supervised),
        })
    }

    /// Where the target images come from, for methods that want them.
    pub fn target(&self) -> Option<&Reference> {
        match self {
            Self::Supervised => None,
            Self::Dann(dann) => Some(&dann.target),
            Self::Coral(coral) => Some(&coral.target),
        }
    }

    /// Whether it trains a domain classifier.
    pub fn is_adversarial(&self) -> bool {
        matches!(self, Self::Dann(_))
    }

    /// The loss of one step.
    ///
    /// # Errors
    /// When the device fails (out of memory).
    pub fn losses<D: Ops>(&self, step: Step<D>) -> Result<Losses<D>, D::Err> {
        match self {
            Self::Supervised => supervised::losses(step),
            Self::Dann(dann) => dann.losses(step),
            Self::Coral(coral) => coral.losses(step),
        }
    }
}

/// Number of rows whose largest logit is at their label; ties go to the first.
pub fn correct<D: Ops, T: Tape<f32, D>>(logits: &Batch<D, T>, labels: &[u32]) -> usize {
    let classes = logits.shape().1;
    let values = host(logits);
    labels
        .iter()
        .zip(values.chunks_exact(classes))
        .filter(|(label, row)| argmax(row) == **label as usize)
        .count()
}

/// Index of the first largest value; NaN never wins.
pub fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (at, value) in row.iter().enumerate() {
        if *value > row[best] || row[best].is_nan() {
            best = at;
        }
    }
    best
}

/// `part` of `whole` images, 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "image counts are far below 2^53")]
pub(crate) fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// The value of a loss.
fn value<D: Ops, T: Tape<f32, D>>(loss: &Scalar<D, T>) -> f64 {
    f64::from(host(loss)[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_values_is_the_largest() {
        assert_eq!(argmax(&[0.0, 2.0, 2.0]), 1);
        assert_eq!(argmax(&[f32::NAN, 0.5, 0.1]), 1);
    }
}
