//! Partial adversarial domain adaptation (Cao, Ma, Long and Wang 2018, "Partial Adversarial Domain
//! Adaptation"), for a target that has images of some of the source's classes only.
//!
//! loss = mean_i g(y_i) CE(class, source_i) + mean_i g(y_i) CE(domain, source_i) + mean_j CE(domain, target_j)
//!
//! where the gradient that the domain classifier sends into the features is multiplied by -lambda, as in
//! [`dann`](super::dann), and g are weights of the classes:
//!
//! g_k = mean over all target images of softmax(z / T)_k, divided by the largest of these means.
//!
//! z are the logits of a pass over the whole target domain in evaluation mode, over the images as they are,
//! every so many steps. Classes that the network finds nowhere in the target count for little, in both
//! losses. No gradient goes through g. Until the second pass, which is the first that the network has learned
//! anything before, all weights are 1, as in TLLib.
//!
//! The means are over the images of a batch, as the paper has them. TLLib divides the class loss by the sum of
//! its weights, and gives the target's half of the domain loss the mean weight of the source's. Where labels
//! are mixed or smoothed, each class's share of an image has the weight of that class.

use super::dann::{DomainLoss, SOURCE, TARGET, domain_classifier, read_domain_head, reported_sum};
use super::{Classified, Coefficient, cross_entropy_of_shares};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::data::view::Domain;
use crate::nn::heads::NewHead;
use crate::nn::ops::{Dims, OpError, Targets, Tensor};
use crate::nn::spec::Layer;
use crate::nn::{Part, Spec};
use crate::train::{
    Batch, Bench, Domains, FitError, Group, Learner, Method, Needs, Visit, When,
    WholeSet, WholeSetPasses,
};

/// Settings of partial adversarial domain adaptation.
#[derive(Debug, Clone)]
pub struct Pada {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Weight of the reversed gradient of the domain classifier.
    pub lambda: Coefficient,
    /// Temperature T that the logits are divided by for the weights of the classes.
    pub temperature: f64,
    /// Steps from one pass over the target domain to the next; one at least.
    pub every: usize,
    /// Layers of a new domain classifier before its last one; the network's own when left out.
    pub domain_head: Option<Vec<Layer>>,
}

impl Pada {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            ("lambda", "weight of the reversed gradient of the domain classifier"),
            ("temperature", "what the logits are divided by for the weights of the classes"),
            ("every", "steps after which the weights of the classes are computed anew"),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let lambda = Coefficient::read(keys, "lambda", Coefficient::GANIN);
        let temperature = keys.float("temperature").positive().or(0.1);
        let every = keys.count("every", 1..=1_000_000_000).or(500_usize);
        let domain_head = read_domain_head(keys);
        Ok(Self {
            target: target?,
            lambda: lambda?,
            temperature: temperature?,
            every: every?,
            domain_head: domain_head?,
        })
    }
}

impl Method for Pada {
    fn needs(&self) -> Needs<'_> {
        let when = When::Steps(self.every);
        let whole_set = Some(WholeSetPasses { of: Domain::Target, when });
        Needs { whole_set, ..Needs::adapting(&self.target) }
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        vec![domain_classifier(self.domain_head.as_deref(), spec)]
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        Ok(Box::new(Weighing { settings: self, weights: Vec::new() }))
    }
}

/// Partial adversarial domain adaptation in the middle of a training.
struct Weighing<'m> {
    settings: &'m Pada,
    /// The weight of each class; empty before the first step.
    weights: Vec<f32>,
}

impl Learner for Weighing<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let lambda = bench.knob("lambda", self.settings.lambda.over_time());
        let features = bench.both(&Part::FEATURES, &batch.images())?;
        let logits = bench.source_of(&Part::CLASSIFIER, &features)?;
        if self.weights.is_empty() {
            self.weights = vec![1.0; logits.columns()];
        }
        let effective: f32 = self.weights.iter().sum();
        bench.knob("effective_classes", move |_| effective);

        let targets = &batch.source().targets;
        let classified = Classified {
            loss: weighted_cross_entropy(&logits, targets, &self.weights)?,
            hits: logits.ops().hits(&logits, targets.labels)?,
            count: logits.rows(),
        };
        classified.report_loss(bench);
        let logits = bench.both(&Part::DOMAIN, &features.reversed(lambda)?)?;
        let domain_loss = domain_loss(bench, &logits, &of_images(targets, &self.weights))?;
        classified.report_accuracy(bench);
        bench.descend(&classified.loss.add(&domain_loss)?, &[Group::MAIN])
    }

    fn refresh(&mut self, _: &mut Bench, seen: &WholeSet) -> Result<(), FitError> {
        // A network that has learned nothing yet would give weights that mean nothing.
        if !self.weights.is_empty() {
            self.weights = class_weights(seen, self.settings.temperature);
        }
        Ok(())
    }

    fn state(&mut self, visit: &mut dyn Visit) {
        visit.numbers("class_weights", &mut self.weights);
    }
}

/// The weight of each class: how likely the images of a set are to have it at a temperature, the likeliest
/// class having 1.
#[expect(clippy::cast_possible_truncation, reason = "weights of losses are f32")]
fn class_weights(seen: &WholeSet, temperature: f64) -> Vec<f32> {
    let mut sums = vec![0.0_f64; seen.classes];
    for row in seen.probabilities.chunks_exact(seen.classes) {
        // p^(1/T) divided by its sum is the softmax of z/T; dividing by the largest p first keeps it from 0.
        let largest = row.iter().copied().fold(0.0, f32::max);
        let power = |p: &f32| (f64::from(*p) / f64::from(largest)).powf(1.0 / temperature);
        let whole: f64 = row.iter().map(power).sum();
        sums.iter_mut().zip(row).for_each(|(sum, p)| *sum += power(p) / whole);
    }
    let largest = sums.iter().copied().fold(0.0, f64::max);
    sums.iter().map(|sum| (sum / largest) as f32).collect()
}

/// The weight of each labelled image: that of its class, or of both where two images are mixed.
fn of_images(targets: &Targets, weights: &[f32]) -> Vec<f32> {
    let shares = Targets { smoothing: 0.0, ..*targets }.shares(weights.len());
    let weight =
        |row: &[f32]| row.iter().zip(weights).map(|(share, weight)| share * weight).sum::<f32>();
    shares.chunks_exact(weights.len()).map(weight).collect()
}

/// The mean over the images of their cross-entropies, in which each class has its weight.
fn weighted_cross_entropy(
    logits: &Tensor,
    targets: &Targets,
    weights: &[f32],
) -> Result<Tensor, OpError> {
    let mut shares = targets.shares(weights.len());
    for row in shares.chunks_exact_mut(weights.len()) {
        row.iter_mut().zip(weights).for_each(|(share, weight)| *share *= weight);
    }
    let shares = logits.constant(shares, Dims::Rows(logits.rows(), weights.len()))?;
    cross_entropy_of_shares(logits, &shares)
}

/// What a domain classifier loses with these logits, `[N, 2]` and `[M, 2]`, where the source's images have
/// these weights: the sum of both domains' cross-entropies, which is reported.
fn domain_loss(bench: &mut Bench, logits: &Domains, weights: &[f32]) -> Result<Tensor, OpError> {
    let shares = weights.iter().flat_map(|weight| [*weight, 0.0]).collect();
    let shares = logits.source.constant(shares, Dims::Rows(weights.len(), 2))?;
    let loss = cross_entropy_of_shares(&logits.source, &shares)?;
    let from_source = DomainLoss { loss, ..DomainLoss::new(&logits.source, SOURCE)? };
    let from_target = DomainLoss::new(&logits.target, TARGET)?;
    reported_sum(bench, &from_source, &from_target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::step;
    use crate::config::testing::read_lines;
    use crate::nn::ops::{CpuOps, Tape};
    use crate::train::{Reading, SourceBatch, TargetBatch, tiny};

    fn rows(values: &[f64], columns: usize) -> Tensor {
        let dims = Dims::Rows(values.len() / columns, columns);
        CpuOps::shared().tensor(values.iter().map(|it| *it as f32).collect(), dims).unwrap()
    }

    /// The softmax of each row of logits divided by a temperature.
    fn softmax(logits: &[f64], columns: usize, temperature: f64) -> Vec<f64> {
        let row = |row: &[f64]| {
            let exps: Vec<f64> = row.iter().map(|z| (z / temperature).exp()).collect();
            let sum: f64 = exps.iter().sum();
            exps.into_iter().map(move |it| it / sum).collect::<Vec<f64>>()
        };
        logits.chunks(columns).flat_map(row).collect()
    }

    fn seen(probabilities: &[f64], classes: usize) -> WholeSet {
        let probabilities: Vec<f32> = probabilities.iter().map(|it| *it as f32).collect();
        WholeSet {
            features: vec![0.0; probabilities.len() / classes],
            width: 1,
            probabilities,
            classes,
        }
    }

    #[test]
    fn weights_of_classes_are_the_published_formula() {
        let logits = [0.3, 0.1, -0.4, 0.2, 0.25, -1.0, 0.05, -0.3, 0.0, 0.9, -2.0, 0.4];
        for temperature in [0.1, 1.0, 3.0] {
            let found = class_weights(&seen(&softmax(&logits, 3, 1.0), 3), temperature);
            let sharp = softmax(&logits, 3, temperature);
            let means = [0, 1, 2].map(|k| sharp.chunks(3).map(|row| row[k]).sum::<f64>() / 4.0);
            let largest = means.into_iter().fold(0.0, f64::max);
            for (found, mean) in found.iter().zip(means) {
                let expected = mean / largest;
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} and {expected}");
            }
        }
    }

    #[test]
    fn a_class_that_is_nowhere_weighs_nothing_and_certain_rows_are_finite() {
        let weights = class_weights(&seen(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0], 3), 0.1);
        assert_eq!(weights, [1.0, 0.5, 0.0]);
        let even = class_weights(&seen(&[0.25; 8], 4), 0.1);
        assert_eq!(even, [1.0; 4]);
        let tiny_probabilities = class_weights(&seen(&[1e-3; 1000], 1000), 0.01);
        assert_eq!(tiny_probabilities, [1.0; 1000]);
    }

    #[test]
    fn an_image_counts_by_the_weight_of_its_class_in_the_class_loss() {
        let z = [1.0, -2.0, 0.5, 3.0, 0.0, 1.0, -1.0, 0.25, 2.0];
        let weights = [1.0, 0.5, 0.0];
        let tape = Tape::default();
        let logits = rows(&z, 3).on(&tape);
        let loss = weighted_cross_entropy(&logits, &Targets::plain(&[1, 2, 0]), &weights).unwrap();
        let p = softmax(&z, 3, 1.0);
        // The mean is over all rows, whatever their weights.
        let expected = -(0.5 * p[1].ln() + p[6].ln()) / 3.0;
        assert!((loss.value() - expected).abs() < 1e-6, "{} and {expected}", loss.value());
        let gradient = tape.backward(&loss).unwrap().take(&logits).unwrap().host();
        assert_eq!(gradient[3..6], [0.0; 3], "{gradient:?}");
        assert!(gradient[1] < 0.0 && gradient[6] < 0.0, "{gradient:?}");
    }

    #[test]
    fn each_share_of_a_mixed_or_smoothed_label_has_the_weight_of_its_class() {
        let z = [1.0, -2.0, 0.5, 3.0, 0.0, 1.0];
        let weights = [1.0, 0.5, 0.25];
        let others: &[u32] = &[0, 2];
        let targets = Targets { mixed: Some((others, 0.25)), smoothing: 0.3, ..Targets::plain(&[1, 2]) };
        let found = weighted_cross_entropy(&rows(&z, 3), &targets, &weights).unwrap().value();
        let logs: Vec<f64> = softmax(&z, 3, 1.0).into_iter().map(f64::ln).collect();
        let shares = [[0.1 + 0.7 * 0.25, 0.1 + 0.7 * 0.75, 0.1], [0.1, 0.1, 0.1 + 0.7]].concat();
        let parts = shares.iter().zip(logs).enumerate();
        let sum: f64 =
            parts.map(|(at, (share, log))| -share * log * [1.0, 0.5, 0.25][at % 3]).sum();
        assert!((found - sum / 2.0).abs() < 1e-6, "{found} and {}", sum / 2.0);
        // Smoothing says nothing of what an image is.
        let found = of_images(&targets, &weights);
        for (found, expected) in found.iter().zip([0.625_f32, 0.25]) {
            assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        }
    }

    #[test]
    fn while_all_classes_weigh_alike_a_step_is_one_of_dann() {
        let of = |kind: &str| {
            let line =
                format!("method = {{ kind = '{kind}', target = 'other.train', lambda = 0.6 }}");
            step(&line, |_| {}).1.remove(0)
        };
        let (pada, dann) = (of("pada"), of("dann"));
        assert_eq!(pada.len(), dann.len());
        for ((name, found), (other, expected)) in pada.iter().zip(&dann) {
            assert_eq!(name, other);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{name}: {found} and {expected}");
            }
        }
    }

    #[test]
    fn passes_count_from_the_first_step_on() {
        let pada = read_lines("target = 'other'", Pada::read).0.unwrap();
        let mut model = tiny::model();
        for head in pada.heads(&model.spec().clone()) {
            model.add_head(head, 0).unwrap();
        }
        let settings = tiny::settings(1);
        let mut bench = Bench::alone(model, &settings).unwrap();
        let mut learner = pada.begin(&mut bench).unwrap();
        let images = |salt: usize| {
            let values = (0..4 * 48).map(|at| ((at * 37 + salt) % 101) as f64 / 50.0 - 1.0);
            rows(&values.collect::<Vec<f64>>(), 48)
        };
        let told: Vec<[f64; 3]> = (0..2)
            .map(|at| {
                // One target image is surely of the first class.
                learner.refresh(&mut bench, &seen(&[1.0, 0.0], 2)).unwrap();
                let source = SourceBatch::plain(images(0), Targets::plain(&[1, 1, 1, 1]));
                let batch =
                    Batch { source: Some(source), target: Some(TargetBatch::plain(images(53))) };
                let readings = bench.step_alone(&mut *learner, &batch, (at, 2), false).unwrap().0;
                let of = |name: &str| {
                    let is_it = |it: &&Reading| it.name == name;
                    readings.iter().find(is_it).unwrap().value
                };
                ["effective_classes", "class_loss", "source_domain_loss"].map(of)
            })
            .collect();
        assert!(told[0][0] == 2.0 && told[0][1] > 0.0 && told[0][2] > 0.0, "{told:?}");
        // All source images are of the second class.
        assert_eq!(told[1], [1.0, 0.0, 0.0]);
    }
}
