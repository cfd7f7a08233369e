//! Domain-adversarial training (Ganin et al. 2016, "Domain-Adversarial Training of Neural
//! Networks").
//!
//! loss = CE(class, source) + CE(domain, source) + CE(domain, target), where the gradient that the
//! domain classifier sends into the features is multiplied by -lambda. Source and target go through
//! the network in separate passes: batch norm, in the domain classifier above all, must see one
//! domain at a time.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use crate::config::{Keys, Noted};
use crate::nn::architecture::{DOMAIN_HEAD, read_layers};
use crate::nn::heads::NewHead;
use crate::nn::ops::{Number, OpError, Targets, Tensor};
use crate::nn::spec::Layer;
use crate::nn::{Part, Spec};
use crate::train::{Bench, Domains, FitError};

/// Domain label of source images.
pub(super) const SOURCE: u32 = 0;
/// Domain label of target images.
pub(super) const TARGET: u32 = 1;

/// Settings of domain-adversarial training.
#[derive(Debug, Clone)]
pub(super) struct Dann {
    /// Layers of a new domain classifier before its last one; the network's own when left out.
    pub domain_head: Option<Vec<Layer>>,
}

impl ReadTerm for Dann {
    const WEIGHT: &'static str = "weight of the reversed gradient of the domain classifier";
    const USUAL: Coefficient = Coefficient::GANIN;

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        Ok(Self { domain_head: read_domain_head(keys)? })
    }
}

impl Term for Dann {
    fn looks_at_target_logits(&self) -> bool {
        false
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        vec![domain_classifier(self.domain_head.as_deref(), spec)]
    }

    fn own_part(&self) -> Option<Part> {
        Some(Part::DOMAIN)
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Dann {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let logits = bench.both(&Part::DOMAIN, &seen.features.reversed(lambda)?)?;
        Ok(domain_loss(bench, &logits)?)
    }
}

/// What a domain classifier loses with these logits, `[N, 2]` and `[M, 2]`: the sum of both domains'
/// cross-entropies, which are reported.
pub(super) fn domain_loss(bench: &mut Bench, logits: &Domains) -> Result<Tensor, OpError> {
    let from_source = DomainLoss::new(&logits.source, SOURCE)?;
    let from_target = DomainLoss::new(&logits.target, TARGET)?;
    reported_sum(bench, &from_source, &from_target)
}

/// The sum of both domains' losses, which are reported.
pub(super) fn reported_sum(
    bench: &mut Bench,
    from_source: &DomainLoss,
    from_target: &DomainLoss,
) -> Result<Tensor, OpError> {
    let (n, m) = (from_source.count, from_target.count);
    bench.meter("source_domain_loss", &from_source.loss, n);
    bench.meter("target_domain_loss", &from_target.loss, m);
    bench.meter_share("domain_accuracy", &[&from_source.hits, &from_target.hits], n + m);
    from_source.loss.add(&from_target.loss)
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
        None => spec.domain_classifier(),
    };
    NewHead { part: Part::DOMAIN, layers, logits: Some(2), written_at }
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
            hits: logits.ops().hits(logits, (&labels).into())?,
            loss: logits.ops().cross_entropy(logits, &Targets::plain(&labels))?,
            count: labels.len(),
        })
    }
}
