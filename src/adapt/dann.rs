//! Domain-adversarial training (Ganin et al. 2016, "Domain-Adversarial Training of Neural
//! Networks").
//!
//! loss = CE(class, source) + CE(domain, source) + CE(domain, target), where the gradient that the
//! domain classifier sends into the features is multiplied by -lambda. Source and target go through
//! the network in separate passes: batch norm, in the domain classifier above all, must see one
//! domain at a time.

use dfdx::prelude::*;

use super::{LambdaSchedule, Losses, Reading, Step, correct, share, value};
use crate::config::{Keys, Noted, Reference, Wants};
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

impl Dann {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        let target = keys.reference("target", Wants::Split("train"));
        let lambda = LambdaSchedule::read(keys);
        Ok(Self { target: target?, lambda: lambda? })
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
