//! Domain-adversarial training (Ganin et al. 2016, "Domain-Adversarial Training of Neural
//! Networks").
//!
//! loss = CE(class, source) + CE(domain, source) + CE(domain, target), where the gradient that the
//! domain classifier sends into the features is multiplied by -lambda. Source and target go through
//! the network in separate passes: batch norm, in the domain classifier above all, must see one
//! domain at a time.

use super::{Classified, Coefficient};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::nn::architecture::{DOMAIN_HEAD, read_layers};
use crate::nn::heads::NewHead;
use crate::nn::ops::{OpError, Targets, Tensor};
use crate::nn::spec::Layer;
use crate::nn::{Part, Spec};
use crate::train::{Batch, BatchNormFamily, Bench, Domains, FitError, Group, Learner, Method, Needs};

/// Domain label of source images.
pub(super) const SOURCE: u32 = 0;
/// Domain label of target images.
pub(super) const TARGET: u32 = 1;

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
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let lambda = Coefficient::read(keys, "lambda", Coefficient::GANIN);
        let domain_head = read_domain_head(keys);
        Ok(Self { target: target?, lambda: lambda?, domain_head: domain_head? })
    }
}

impl Method for Dann {
    fn needs(&self) -> Needs<'_> {
        let batch_norm = BatchNormFamily::ALL;
        Needs { target: Some(&self.target), batch_norm, ..Needs::SOURCE }
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        vec![domain_classifier(self.domain_head.as_deref(), spec)]
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        Ok(Box::new(Adversary(self)))
    }
}

/// Reads the layers of a domain classifier that a method makes anew.
pub(super) fn read_domain_head(keys: &mut Keys) -> Result<Option<Vec<Layer>>, Noted> {
    keys.about(&[(
        DOMAIN_HEAD,
        "layers of a new domain classifier before its last one; the network's own when left out",
    )]);
    read_layers(keys, DOMAIN_HEAD)
}

/// The domain classifier of a network: its own, or a new one of the layers that were written.
pub(super) fn domain_classifier(layers: Option<&[Layer]>, spec: &Spec) -> NewHead {
    let written_at = layers.map(|_| DOMAIN_HEAD);
    let layers = match layers {
        Some(layers) => spec.domain_head(layers),
        None => spec.part(&Part::DOMAIN).to_vec(),
    };
    NewHead { part: Part::DOMAIN, layers, logits: Some(2), written_at }
}

/// Domain-adversarial training in the middle: it remembers nothing.
struct Adversary<'m>(&'m Dann);

impl Learner for Adversary<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let lambda = bench.knob("lambda", |progress| self.0.lambda.at(progress));
        let features = bench.both(&Part::FEATURES, &batch.images())?;
        let logits = bench.source_of(&Part::CLASSIFIER, &features)?;
        let classified = Classified::new(&logits, &batch.source().targets)?;
        let source = features.source.grad_scale(-lambda)?;
        let target = features.target.grad_scale(-lambda)?;
        let logits = bench.both(&Part::DOMAIN, &Domains { source, target })?;
        let from_source = DomainLoss::new(&logits.source, SOURCE)?;
        let from_target = DomainLoss::new(&logits.target, TARGET)?;

        classified.report_loss(bench);
        let (n, m) = (from_source.count, from_target.count);
        bench.meter("source_domain_loss", &from_source.loss, n);
        bench.meter("target_domain_loss", &from_target.loss, m);
        bench.meter_share("domain_accuracy", &[&from_source.hits, &from_target.hits], n + m);
        classified.report_accuracy(bench);
        let loss = classified.loss.add(&from_source.loss)?.add(&from_target.loss)?;
        bench.descend(&loss, &[Group::MAIN])
    }
}

/// What a domain classifier's logits `[N, 2]` of one domain's images are worth.
pub(super) struct DomainLoss {
    /// Their mean cross-entropy.
    pub loss: Tensor,
    /// How many were taken for what they are.
    pub hits: Tensor,
    pub count: usize,
}

impl DomainLoss {
    pub(super) fn new(logits: &Tensor, label: u32) -> Result<Self, OpError> {
        let labels = vec![label; logits.rows()];
        Ok(Self {
            hits: logits.ops().hits(logits, &labels)?,
            loss: logits.ops().cross_entropy(logits, &Targets::plain(&labels))?,
            count: labels.len(),
        })
    }
}
