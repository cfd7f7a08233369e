//! Domain-adversarial training (Ganin et al. 2016, "Domain-Adversarial Training of Neural
//! Networks").
//!
//! loss = CE(class, source) + CE(domain, source) + CE(domain, target), where the gradient that the
//! domain classifier sends into the features is multiplied by -lambda. Source and target go through
//! the network in separate passes: batch norm, in the domain classifier above all, must see one
//! domain at a time.

use super::{Classified, Coefficient, Domains, Losses, Reading, Step};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::nn::architecture::{DOMAIN_HEAD, read_layers};
use crate::nn::heads::NewHead;
use crate::nn::ops::{OpError, Targets, Tensor};
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
    pub lambda: Coefficient,
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
        let lambda = Coefficient::read(keys, "lambda", Coefficient::GANIN);
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

    pub(super) fn losses(&self, step: Step) -> Result<Losses, OpError> {
        let lambda = self.lambda.at(&step.progress);
        let Domains { model, entry, source, source_pass, targets, target, target_pass } =
            step.domains();

        let features = model.features_from(entry, &source, source_pass)?;
        let logits = model.forward(&Part::CLASSIFIER, &features, source_pass)?;
        let classified = Classified::new(&logits, &targets)?;
        let from_source = domain(model, &features, SOURCE, lambda, source_pass)?;

        let features = model.features_from(entry, &target, target_pass)?;
        let from_target = domain(model, &features, TARGET, lambda, target_pass)?;

        let (n, m) = (classified.count, from_target.count);
        let domain_accuracy = (from_source.hits + from_target.hits) / count(n + m);
        let readings = vec![
            classified.loss_reading(),
            Reading { name: "source_domain_loss", value: from_source.loss.value(), weight: n },
            Reading { name: "target_domain_loss", value: from_target.loss.value(), weight: m },
            Reading { name: "domain_accuracy", value: domain_accuracy, weight: n + m },
            classified.accuracy_reading(),
            Reading { name: "lambda", value: f64::from(lambda), weight: 0 },
        ];
        let total = classified.loss.add(&from_source.loss)?.add(&from_target.loss)?;
        Ok(Losses { total, readings })
    }
}

#[expect(clippy::cast_precision_loss, reason = "image counts are far below 2^53")]
fn count(of: usize) -> f64 {
    of as f64
}

/// The domain classifier on one domain's features.
struct DomainPass {
    loss: Tensor,
    hits: f64,
    count: usize,
}

fn domain(
    model: &mut Model,
    features: &Tensor,
    label: u32,
    lambda: f32,
    pass: Pass,
) -> Result<DomainPass, OpError> {
    let reversed = features.grad_scale(-lambda)?;
    let logits = model.forward(&Part::DOMAIN, &reversed, pass)?;
    let labels = vec![label; logits.rows()];
    Ok(DomainPass {
        hits: logits.ops().hits(&logits, &labels)?.value(),
        loss: logits.ops().cross_entropy(&logits, &Targets::plain(&labels))?,
        count: labels.len(),
    })
}
