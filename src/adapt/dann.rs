//! Domain-adversarial training (Ganin et al. 2016, "Domain-Adversarial Training of Neural
//! Networks").
//!
//! loss = CE(class, source) + CE(domain, source) + CE(domain, target), where the gradient that the
//! domain classifier sends into the features is multiplied by -lambda. Source and target go through
//! the network in separate passes: batch norm, in the domain classifier above all, must see one
//! domain at a time.

use dfdx::prelude::*;

use super::{Classified, Domains, LambdaSchedule, Losses, Reading, Step, correct, share, value};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::nn::architecture::{DOMAIN_HEAD, read_layers};
use crate::nn::heads::NewHead;
use crate::nn::ops::{Batch, Ops, Scalar, Targets};
use crate::nn::spec::Layer;
use crate::nn::{Model, Part, Pass, Spec};

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
    /// Layers of a new domain classifier before its last one; the network's own when left out.
    pub domain_head: Option<Vec<Layer>>,
}

impl Dann {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            ("lambda", "weight of the reversed gradient of the domain classifier"),
            (
                DOMAIN_HEAD,
                "layers of a new domain classifier before its last one; the network's own when left out",
            ),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let lambda = LambdaSchedule::read(keys);
        let domain_head = read_layers(keys, DOMAIN_HEAD);
        Ok(Self { target: target?, lambda: lambda?, domain_head: domain_head? })
    }

    /// The domain classifier: that of the network, or a new one of the layers that were written.
    pub(super) fn head(&self, spec: &Spec) -> NewHead {
        let layers = match &self.domain_head {
            Some(layers) => spec.domain_head(layers),
            None => spec.part(&Part::DOMAIN).to_vec(),
        };
        let written_at = self.domain_head.as_ref().map(|_| DOMAIN_HEAD);
        NewHead { part: Part::DOMAIN, layers, logits: Some(2), written_at }
    }

    pub(super) fn losses<D: Ops>(&self, step: Step<D>) -> Result<Losses<D>, D::Err> {
        let lambda = self.lambda.at(step.progress);
        let Domains { model, entry, source, source_pass, targets, target, target_pass } =
            step.domains();

        let features = model.features_from(entry, source.leaky_traced(), source_pass)?;
        let for_domain = features.with_empty_tape();
        let logits = model.forward(&Part::CLASSIFIER, features, source_pass)?;
        let classified = Classified::new(logits, &targets)?;
        let from_source = domain(model, for_domain, SOURCE, lambda, source_pass)?;

        let features = model.features_from(entry, target.leaky_traced(), target_pass)?;
        let from_target = domain(model, features, TARGET, lambda, target_pass)?;

        let (n, m) = (classified.count, from_target.count);
        let domain_accuracy = share(from_source.correct + from_target.correct, n + m);
        let readings = vec![
            classified.loss_reading(),
            Reading { name: "source_domain_loss", value: value(&from_source.loss), weight: n },
            Reading { name: "target_domain_loss", value: value(&from_target.loss), weight: m },
            Reading { name: "domain_accuracy", value: domain_accuracy, weight: n + m },
            classified.accuracy_reading(),
            Reading { name: "lambda", value: f64::from(lambda), weight: 0 },
        ];
        let total = classified.loss.try_add(from_source.loss)?.try_add(from_target.loss)?;
        Ok(Losses { total, readings })
    }
}

/// The domain classifier on one domain's features.
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
    let logits = model.forward(&Part::DOMAIN, reversed, pass)?;
    let labels = vec![label; logits.shape().0];
    let correct = correct(&logits, &labels);
    Ok(DomainPass {
        loss: D::cross_entropy(logits, &Targets::plain(&labels))?,
        correct,
        count: labels.len(),
    })
}
