//! VADA (Shu, Bui, Narui and Ermon 2018, "A DIRT-T Approach to Unsupervised Domain Adaptation"): virtual
//! adversarial domain adaptation.
//!
//! With the class logits z of both domains, a domain classifier D that sees their features f, and
//! [virtual adversarial training](super::vat), a step goes down
//!
//! - 1/2 (CE(D(f_s), source) + CE(D(f_t), target)), moving D;
//! - CE(class, source) + lambda/2 (CE(D(f_s), target) + CE(D(f_t), source)) + source_vat VAT(x_s)
//!   + target_vat VAT(x_t) + entropy H(p_t), moving features and classifier,
//!
//! where H is the mean entropy of the target's class probabilities p_t: class boundaries should not run
//! through the target. Its gradient goes through both of its factors.
//!
//! Each step then moves the parameters of a second network, the average, by an exponential moving average. It
//! is evaluated, kept and handed on. Its running averages of batch norm are those of the network that learns,
//! which only the target's pass in the second descent moves. All passes are separate by domain.
//!
//! The authors' D takes its step on another batch than the rest; here both see the images of the step. Their D
//! reads what comes before the last layers of the features, here it reads the features.

use super::dann::{DomainLoss, SOURCE, TARGET, domain_classifier, read_domain_head};
use super::vat::{PIXELS, Vat, entropy, smoothness};
use super::{Classified, Coefficient};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::data::view::Domain;
use crate::nn::heads::NewHead;
use crate::nn::ops::Tensor;
use crate::nn::spec::Layer;
use crate::nn::{Part, Spec};
use crate::train::{
    Batch, BatchNormFamily, Bench, Domains, FitError, Group, Learner, Method, Mode, Needs, NetId,
};

/// The network whose parameters are an exponential moving average.
pub(super) const AVERAGE: NetId = NetId::named("average");

/// Settings of VADA.
#[derive(Debug, Clone)]
pub struct Vada {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Weight of the domain classifier's loss with exchanged labels.
    pub lambda: Coefficient,
    /// Weight of virtual adversarial training on the source.
    pub source_vat: Coefficient,
    /// Weight of virtual adversarial training on the target.
    pub target_vat: Coefficient,
    /// Weight of the entropy of the target's classes.
    pub entropy: Coefficient,
    /// How virtual adversarial images are made.
    vat: Vat,
    /// Share of an averaged parameter that a step keeps, 0 to below 1.
    pub keep: f32,
    /// Layers of a new domain classifier before its last one; the network's own when left out.
    pub domain_head: Option<Vec<Layer>>,
}

impl Vada {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            ("lambda", "weight of the domain classifier's loss with exchanged labels"),
            ("source_vat", "weight of virtual adversarial training on the source"),
            ("target_vat", "weight of virtual adversarial training on the target"),
            ("entropy", "weight of the entropy of the target's class probabilities"),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let mut weight = |key, max| Coefficient::read(keys, key, Coefficient::Constant { max });
        let (lambda, source_vat) = (weight("lambda", 0.01), weight("source_vat", 1.0));
        let (target_vat, entropy) = (weight("target_vat", 0.01), weight("entropy", 0.01));
        let vat = Vat::read(keys);
        let keep = read_keep(keys);
        let domain_head = read_domain_head(keys);
        Ok(Self {
            target: target?,
            lambda: lambda?,
            source_vat: source_vat?,
            target_vat: target_vat?,
            entropy: entropy?,
            vat: vat?,
            keep: keep?,
            domain_head: domain_head?,
        })
    }
}

/// Reads the share of an averaged parameter that a step keeps.
pub(super) fn read_keep(keys: &mut Keys) -> Result<f32, Noted> {
    keys.about(&[("keep", "share of the averaged parameters that a step keeps")]);
    let keep = keys.float("keep").below_one().or(0.998)?;
    #[expect(clippy::cast_possible_truncation, reason = "parameters are f32")]
    let keep = keep as f32;
    Ok(keep)
}

impl Method for Vada {
    fn needs(&self) -> Needs<'_> {
        Needs {
            target: Some(&self.target),
            batch_norm: &[BatchNormFamily::Separate],
            views: PIXELS,
            ..Needs::SOURCE
        }
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        vec![domain_classifier(self.domain_head.as_deref(), spec)]
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        bench.copy(NetId::MAIN, AVERAGE);
        Ok(Box::new(Clustering(self)))
    }
}

/// VADA in the middle of a training: all that it remembers is the averaged network.
struct Clustering<'m>(&'m Vada);

impl Learner for Clustering<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let settings = self.0;
        let lambda = bench.knob("lambda", settings.lambda.over_time());
        let source_vat = bench.knob("source_vat", settings.source_vat.over_time());
        let target_vat = bench.knob("target_vat", settings.target_vat.over_time());
        let entropy_weight = bench.knob("entropy", settings.entropy.over_time());
        let images = batch.images();

        let features = look_at_both(bench, &Part::FEATURES, &images)?;
        tell_apart(bench, &features)?;

        // D has moved, and nothing that these depend on.
        let logits = look_at_both(bench, &Part::CLASSIFIER, &features)?;
        let p = Domains { source: logits.source.softmax()?, target: logits.target.softmax()? };
        let mut adversary =
            |domain: Domain| settings.vat.adversary(bench, images.of(domain), p.of(domain), domain);
        let adversaries =
            Domains { source: adversary(Domain::Source)?, target: adversary(Domain::Target)? };

        let quiet = Mode::LEARN.without_averages();
        let features = Domains {
            source: pass(bench, &Part::FEATURES, &images.source, Domain::Source, quiet)?,
            target: bench.learn(&Part::FEATURES, &images.target, Domain::Target)?,
        };
        let (part, domain) = (&Part::CLASSIFIER, Domain::Source);
        let logits = pass(bench, part, &features.source, domain, quiet)?;
        let classified = Classified::new(&logits, &batch.source().targets)?;
        let target_logits = bench.learn(part, &features.target, Domain::Target)?;
        classified.report_loss(bench);
        let adversarial = exchanged(bench, &features)?;
        let on_source = smoothness(bench, &adversaries.source, &p.source, Domain::Source)?;
        bench.meter("source_vat_loss", &on_source, classified.count);
        let on_target = smoothness(bench, &adversaries.target, &p.target, Domain::Target)?;
        bench.meter("target_vat_loss", &on_target, target_logits.rows());
        let unsure = entropy(&target_logits)?;
        bench.meter("target_entropy_loss", &unsure, target_logits.rows());
        classified.report_accuracy(bench);
        let loss = classified.loss.add(&adversarial.scale(lambda)?)?;
        let loss = loss.add(&on_source.scale(source_vat)?)?.add(&on_target.scale(target_vat)?)?;
        let loss = loss.add(&unsure.scale(entropy_weight)?)?;
        bench.descend(&loss, &[Group::part(Part::FEATURES), Group::part(Part::CLASSIFIER)])?;
        follow(bench, settings.keep)
    }

    fn predictor(&self) -> NetId {
        AVERAGE
    }
}

/// A pass of the network that learns.
fn pass(
    bench: &mut Bench,
    part: &Part,
    x: &Tensor,
    domain: Domain,
    mode: Mode,
) -> Result<Tensor, FitError> {
    bench.pass(NetId::MAIN, part, x, domain, mode)
}

/// What a part of the network makes of both domains, as constants, in training mode and without moving running
/// averages.
fn look_at_both(bench: &mut Bench, part: &Part, x: &Domains) -> Result<Domains, FitError> {
    let look = Mode::OBSERVE.without_averages();
    let source = pass(bench, part, &x.source, Domain::Source, look)?;
    let target = pass(bench, part, &x.target, Domain::Target, look)?;
    Ok(Domains { source, target })
}

/// Moves the domain classifier, which sees features as constants.
fn tell_apart(bench: &mut Bench, features: &Domains) -> Result<(), FitError> {
    let logits = bench.both(&Part::DOMAIN, features)?;
    let of_source = DomainLoss::new(&logits.source, SOURCE)?;
    let of_target = DomainLoss::new(&logits.target, TARGET)?;
    let count = of_source.count + of_target.count;
    let loss = of_source.loss.add(&of_target.loss)?.scale(0.5)?;
    bench.meter("domain_loss", &loss, count);
    bench.meter_share("domain_accuracy", &[&of_source.hits, &of_target.hits], count);
    bench.descend(&loss, &[Group::part(Part::DOMAIN)])
}

/// What the domain classifier loses where each domain should be taken for the other.
fn exchanged(bench: &mut Bench, features: &Domains) -> Result<Tensor, FitError> {
    let logits = bench.both(&Part::DOMAIN, features)?;
    let of_source = DomainLoss::new(&logits.source, TARGET)?;
    let of_target = DomainLoss::new(&logits.target, SOURCE)?;
    let loss = of_source.loss.add(&of_target.loss)?.scale(0.5)?;
    bench.meter("adversarial_loss", &loss, of_source.count + of_target.count);
    Ok(loss)
}

/// Moves the averaged network toward the one that learns, and gives it the running averages of that.
pub(super) fn follow(bench: &mut Bench, keep: f32) -> Result<(), FitError> {
    bench.average(AVERAGE, NetId::MAIN, keep)?;
    let statistics = bench.model(NetId::MAIN).stats().to_vec();
    bench.model_mut(AVERAGE).stats_mut().clone_from_slice(&statistics);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::{read, step};
    use crate::nn::ops::{CpuOps, Dims, Targets};
    use crate::train::{Gradient, SourceBatch, TargetBatch, tiny};

    /// The descents of a step with these weights and a radius that fits tiny images.
    fn descents(weights: &str) -> Vec<Gradient> {
        let kind = "kind = 'vada', target = 'other.train', radius = 0.5";
        step(&format!("method = {{ {kind}, {weights} }}"), |_| {}).1
    }

    const NONE: &str = "lambda = 0, source_vat = 0, target_vat = 0, entropy = 0";

    #[test]
    fn the_first_descent_moves_the_domain_classifier_and_the_second_the_rest() {
        let parts = descents("lambda = 1").into_iter().map(|gradient| {
            let part = |name: &str| name.split('.').next().unwrap().to_owned();
            let mut parts: Vec<String> = gradient.iter().map(|(name, _)| part(name)).collect();
            parts.dedup();
            parts.join(" ")
        });
        let parts: Vec<String> = parts.collect();
        assert_eq!(parts, ["domain_classifier", "features classifier"]);
    }

    #[test]
    fn without_weights_the_gradients_are_those_of_the_source_and_each_weight_counts() {
        let alone = step("method = 'supervised'", |_| {}).1.remove(0);
        let none = descents(NONE);
        assert_eq!(none[1], alone);
        for key in ["lambda", "source_vat", "target_vat", "entropy"] {
            let with = descents(&NONE.replace(&format!("{key} = 0"), &format!("{key} = 0.5")));
            assert_eq!(with[0], none[0], "{key}");
            assert_ne!(with[1], alone, "{key}");
        }
    }

    fn images(salt: usize, scale: f32) -> Tensor {
        let value = |at: usize| scale * (((at * 37 + salt) % 101) as f32 / 50.0 - 1.0);
        let values = (0..4 * 48).map(value).collect();
        CpuOps::shared().tensor(values, Dims::Rows(4, 48)).unwrap()
    }

    /// What the running averages of the features are after a step, of the average and of what learns.
    fn statistics(source_scale: f32) -> [Vec<f32>; 2] {
        let method =
            read("method = { kind = 'vada', target = 'other.train', keep = 0.9 }").unwrap();
        let mut model = tiny::model();
        for head in method.heads(&model.spec().clone()) {
            model.add_head(head, 0).unwrap();
        }
        let settings = tiny::settings(1);
        let mut bench = Bench::alone(model, &settings).unwrap();
        let mut learner = method.begin(&mut bench).unwrap();
        let targets = Targets::plain(&[0, 1, 1, 0]);
        let batch = Batch {
            source: Some(SourceBatch::plain(images(0, source_scale), targets)),
            target: Some(TargetBatch::plain(images(53, 1.0))),
        };
        bench.step_alone(&mut *learner, &batch, (0, 1), false).unwrap();
        assert_eq!(learner.predictor(), AVERAGE);
        [AVERAGE, NetId::MAIN].map(|network| {
            let stats = &bench.model(network).stats()[0];
            assert_eq!(stats.batches, 1, "one pass of the target counts");
            [stats.mean.host(), stats.var.host()].concat()
        })
    }

    #[test]
    fn running_averages_are_the_target_s_alone_and_both_networks() {
        let [average, learning] = statistics(1.0);
        assert_eq!(average, learning);
        assert_eq!(statistics(3.0)[0], average);
    }
}
