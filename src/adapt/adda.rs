//! Adversarial discriminative domain adaptation (Tzeng, Hoffman, Saenko and Darrell 2017, "Adversarial
//! Discriminative Domain Adaptation").
//!
//! The features that come in are the source encoder S, which stays as it is, in evaluation mode. A copy of
//! them, T, learns to encode the target so that a domain classifier D takes it for the source. A step goes
//! down
//!
//! - the mean of CE(D, S(source) is source) and CE(D, T(target) is target) over the images of both,
//!   moving D;
//! - 1/2 CE(D, T(target) is source), moving T, with passes of its own through D as it is then. The half is
//!   that of the authors' code, whose mean is over the images of both domains.
//!
//! The classifier that came in stays as it is; the network is evaluated, kept and handed on with T as its
//! features. A batch norm of D sees one domain at a time.

use super::dann::{DomainLoss, SOURCE, TARGET, domain_classifier, read_domain_head};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::data::view::Domain;
use crate::nn::heads::NewHead;
use crate::nn::ops::Tensor;
use crate::nn::spec::Layer;
use crate::nn::{Part, Spec};
use crate::train::{Batch, Bench, FitError, Group, Learner, Method, Mode, Needs, NetId};

/// The network whose features are the source encoder.
const SOURCE_ENCODER: NetId = NetId::named("source");

/// The classifier is the source's.
const KEPT: &[Part] = &[Part::CLASSIFIER];

/// Settings of adversarial discriminative domain adaptation.
#[derive(Debug, Clone)]
pub struct Adda {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Layers of a new domain classifier before its last one; the network's own when left out.
    pub domain_head: Option<Vec<Layer>>,
}

impl Adda {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[("target", "unlabelled images of the target domain")]);
        let target = keys.reference("target", Wants::Split("train"));
        let domain_head = read_domain_head(keys);
        Ok(Self { target: target?, domain_head: domain_head? })
    }
}

impl Method for Adda {
    fn needs(&self) -> Needs<'_> {
        Needs { target: Some(&self.target), keeps: KEPT, comes_in: true, ..Needs::SOURCE }
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        vec![domain_classifier(self.domain_head.as_deref(), spec)]
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        bench.copy(NetId::MAIN, SOURCE_ENCODER);
        Ok(Box::new(Mapping))
    }
}

/// Adversarial discriminative domain adaptation in the middle of a training: besides the networks it
/// remembers nothing.
struct Mapping;

impl Learner for Mapping {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let (source, target) = (&batch.source().images, &batch.target().images);
        tell_apart(bench, source, target)?;
        let features = bench.learn(&Part::FEATURES, target, Domain::Target)?;
        let logits = bench.learn(&Part::DOMAIN, &features, Domain::Target)?;
        let taken = DomainLoss::new(&logits, SOURCE)?;
        bench.meter("mapping_loss", &taken.loss, taken.count);
        bench.descend(&taken.loss.scale(0.5)?, &[Group::part(Part::FEATURES)])
    }
}

/// Moves the domain classifier.
fn tell_apart(bench: &mut Bench, source: &Tensor, target: &Tensor) -> Result<(), FitError> {
    let features = Part::FEATURES;
    let ours = bench.pass(SOURCE_ENCODER, &features, source, Domain::Source, Mode::EVAL)?;
    let theirs = bench.pass(NetId::MAIN, &features, target, Domain::Target, Mode::OBSERVE)?;
    let logits = bench.learn(&Part::DOMAIN, &ours, Domain::Source)?;
    let of_source = DomainLoss::new(&logits, SOURCE)?;
    let logits = bench.learn(&Part::DOMAIN, &theirs, Domain::Target)?;
    let of_target = DomainLoss::new(&logits, TARGET)?;
    let count = of_source.count + of_target.count;
    #[expect(clippy::cast_precision_loss, reason = "batches are far below 2^24 images")]
    let share = |part: &DomainLoss| part.loss.scale(part.count as f32 / count as f32);
    let loss = share(&of_source)?.add(&share(&of_target)?)?;
    bench.meter("domain_loss", &loss, count);
    bench.meter_share("domain_accuracy", &[&of_source.hits, &of_target.hits], count);
    bench.descend(&loss, &[Group::part(Part::DOMAIN)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::step;
    use crate::nn::geometry::Chw;
    use crate::nn::ops::{CpuOps, Dims, Targets};
    use crate::nn::{Model, zoo};
    use crate::train::groups::Groups;
    use crate::train::{Optimizer, SourceBatch, TargetBatch, TrainingSettings};

    const LINE: &str = "method = { kind = 'adda', target = 'other.train' }";

    #[test]
    fn the_first_descent_moves_the_domain_classifier_and_the_second_the_features() {
        let (_, descents) = step(LINE, |_| {});
        let parts = descents.iter().map(|gradient| {
            let mut parts: Vec<&str> =
                gradient.iter().map(|(name, _)| name.split('.').next().unwrap()).collect();
            parts.dedup();
            parts
        });
        assert_eq!(parts.collect::<Vec<_>>(), [["domain_classifier"], ["features"]]);
    }

    /// A network without batch norm, whose averages would go on to the target's.
    #[test]
    fn at_a_rate_of_zero_the_target_encoder_says_of_the_target_what_came_in() {
        let input = Chw { channels: 1, height: 28, width: 28 };
        let spec = (zoo::find("lenet").unwrap().build)(zoo::ArchSettings::new(input, 10));
        let ops = CpuOps::shared();
        let images = |salt: usize| {
            let values = (0..4 * 784).map(|at| ((at * 37 + salt) % 101) as f32 / 50.0 - 1.0);
            ops.tensor(values.collect(), Dims::Rows(4, 784)).unwrap()
        };
        let (source, target) = (images(0), images(53));
        let logits_after = |rate: f64| {
            let mut model = Model::new(spec.clone(), &ops, 0).unwrap();
            let before = model.logits(&target).unwrap().host();
            let head = domain_classifier(None, &spec);
            model.add_head(head, 0).unwrap();
            let sgd = Optimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: false, weight_decay: 0.0 };
            let lr_scale = vec![("features.*".to_owned(), rate)];
            let groups = Groups { lr_scale, ..Groups::default() };
            let settings = TrainingSettings { groups, ..TrainingSettings::plain(4, sgd) };
            let domain = |model: &Model| -> Vec<Vec<f32>> {
                let own = model.parameters().iter().filter(|it| it.part == Part::DOMAIN);
                own.map(|it| it.value.host()).collect()
            };
            let begun = domain(&model);
            let mut bench = Bench::alone(model, &settings).unwrap();
            let method = crate::adapt::tests::read(LINE).unwrap();
            let mut learner = method.begin(&mut bench).unwrap();
            for at in 0..3 {
                let targets = Targets::plain(&[0, 1, 2, 3]);
                let (source, target) = (source.clone(), target.clone());
                let batch = Batch {
                    source: Some(SourceBatch::plain(source, targets)),
                    target: Some(TargetBatch::plain(target)),
                };
                bench.step_alone(&mut *learner, &batch, (at, 3), false).unwrap();
            }
            let model = bench.model_mut(learner.predictor());
            assert_ne!(domain(model), begun, "the domain classifier learns");
            (before, model.logits(&target).unwrap().host())
        };
        let (before, after) = logits_after(0.0);
        assert_eq!(before, after);
        let (before, after) = logits_after(1.0);
        assert_ne!(before, after);
    }
}
