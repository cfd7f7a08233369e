//! Domain-adversarial training (Ganin et al. 2016, "Domain-Adversarial Training of Neural
//! Networks").
//!
//! loss = CE(class, source) + CE(domain, source) + CE(domain, target), where the gradient that the
//! domain classifier sends into the features is multiplied by -lambda. Source and target go through
//! the network in separate passes: batch norm, in the domain classifier above all, must see one
//! domain at a time.

use dfdx::prelude::*;

use super::{Losses, Reading, Step, correct, share, value};
use crate::config::{Keys, Reference, Wants};
use crate::nn::ops::{Batch, Ops, Scalar, Targets};
use crate::nn::{Model, Part, Pass};

/// Domain label of source images.
const SOURCE: u32 = 0;
/// Domain label of target images.
const TARGET: u32 = 1;

/// Settings of domain-adversarial training.
#[derive(Debug, Clone)]
pub struct Dann {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Weight of the reversed gradient.
    pub lambda: LambdaSchedule,
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

impl Dann {
    pub(super) fn read(keys: &mut Keys) -> Option<Self> {
        let target = keys.reference("target", Wants::Split("train"));
        let lambda = keys.kinded(
            "lambda",
            "schedule",
            &["ganin", "constant"],
            Some("ganin"),
            |schedule, keys| {
                let max = keys.float("max").at_least(0.0).or(1.0);
                if schedule == "constant" {
                    return Some(LambdaSchedule::Constant { max: max? });
                }
                let gamma = keys.float("gamma").at_least(0.0).or(10.0);
                Some(LambdaSchedule::Ganin { gamma: gamma?, max: max? })
            },
        );
        Some(Self { target: target?, lambda: lambda? })
    }

    pub(super) fn losses<D: Ops>(&self, step: Step<D>) -> Result<Losses<D>, D::Err> {
        let lambda = self.lambda.at(step.progress);
        let source_pass = Pass::Train(step.dropout("source"));
        let target_pass = Pass::Train(step.dropout("target"));
        let Step { model, entry, source, targets, target, .. } = step;
        let target = target.expect("training gives this method target images");

        let features = model.features_from(entry, source.leaky_traced(), source_pass)?;
        let for_domain = features.with_empty_tape();
        let logits = model.forward(Part::Classifier, features, source_pass)?;
        let labels = targets.labels;
        let accuracy = share(correct(&logits, labels), labels.len());
        let class_loss = D::cross_entropy(logits, &targets)?;
        let from_source = domain(model, for_domain, SOURCE, lambda, source_pass)?;

        let features = model.features_from(entry, target.leaky_traced(), target_pass)?;
        let from_target = domain(model, features, TARGET, lambda, target_pass)?;

        let (n, m) = (labels.len(), from_target.count);
        let domain_accuracy = share(from_source.correct + from_target.correct, n + m);
        let readings = vec![
            Reading { name: "class_loss", value: value(&class_loss), weight: n },
            Reading { name: "source_domain_loss", value: value(&from_source.loss), weight: n },
            Reading { name: "target_domain_loss", value: value(&from_target.loss), weight: m },
            Reading { name: "domain_accuracy", value: domain_accuracy, weight: n + m },
            Reading { name: "accuracy", value: accuracy, weight: n },
            Reading { name: "lambda", value: f64::from(lambda), weight: 0 },
        ];
        let total = class_loss.try_add(from_source.loss)?.try_add(from_target.loss)?;
        Ok(Losses { total, readings })
    }
}

/// What the domain classifier makes of one domain's features.
struct DomainPass<D: Ops> {
    loss: Scalar<D, OwnedTape<f32, D>>,
    correct: usize,
    count: usize,
}

fn domain<D: Ops>(
    model: &mut Model<D>,
    features: Batch<D, OwnedTape<f32, D>>,
    label: u32,
    lambda: f32,
    pass: Pass,
) -> Result<DomainPass<D>, D::Err> {
    let reversed = D::grad_reverse(features, lambda)?;
    let logits = model.forward(Part::DomainClassifier, reversed, pass)?;
    let labels = vec![label; logits.shape().0];
    let correct = correct(&logits, &labels);
    Ok(DomainPass {
        loss: D::cross_entropy(logits, &Targets::plain(&labels))?,
        correct,
        count: labels.len(),
    })
}

impl LambdaSchedule {
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
