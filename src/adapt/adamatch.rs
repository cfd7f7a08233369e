//! AdaMatch (Berthelot, Roelofs, Sohn, Carlini and Kurakin 2022, "AdaMatch: A Unified Approach to
//! Semi-Supervised Learning and Domain Adaptation").
//!
//! Both domains have a weak view, which is what is trained on, and a strong one. A step makes two passes, both
//! with batch statistics: the source's views by themselves, which leave the running averages as they are, and all
//! views together. Each logit of the source is then a random point between what it is in these two,
//!
//! z = z_together + u (z_alone - z_together),    u uniform in [0, 1) for each row and class,
//!
//! through which gradients go into both passes. Dropout draws anew in each pass, so that its masks differ, too. With p and q, the class probabilities of the weak views of
//! source and target as constants,
//!
//! - a_k is an exponential moving average of mean_i p_ik with the share 0.999 of the old, and b_k the mean over the
//!   last 128 steps of mean_i q_ik. Both begin as 1/K, and have this step in them.
//! - q'_ik is q_ik (1e-6 + a_k) / (1e-6 + b_k), divided by its sum over k.
//! - y_i is the likeliest class by q'_i, and m_i is 1 where its probability is at least
//!   threshold mean_j max_k p_jk, else 0.
//!
//! loss = (CE(class, weak source) + CE(class, strong source)) / 2 + lambda mean_i m_i CE(z_i, y_i)
//!
//! with the logits z_i of the target's strong view. The mean over i is over the whole batch. Parameters and
//! running averages of a second network are exponential moving averages of those of the one that learns: it
//! is evaluated and handed on.
//!
//! What differs from the authors' code: a step has as many images of the target as of the source, where theirs has
//! three times as many. Their averaged network begins as zeros, here it begins as a copy of the one that learns.
//! Their strong views are those of CTAugment, which learns how far it may change images. Their
//! decay of weights, a part of the loss there, is the optimizer's here. What `mixup` does to the stage's
//! images is done to the weak view of the source, and no other.

use std::rc::Rc;

use super::fixmatch::likeliest;
use super::vada::AVERAGE;
use super::{Classified, Coefficient, cross_entropy_of_shares, views_of_both};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::data::view::{Domain, ViewRequest};
use crate::nn::Part;
use crate::nn::ops::{Dims, OpError, Targets, Tensor};
use crate::train::{
    Batch, BatchNormFamily, Bench, Domains, FitError, Group, Learner, Method, Mode, Needs, NetId,
    Visit,
};

/// Steps that the target's class probabilities are averaged over.
const STEPS: u16 = 128;

/// Share that a step gives the class probabilities of the source in their average.
const NEWEST: f32 = 0.001;

/// What is added to both sides of a quotient of class probabilities.
const EPS: f64 = 1e-6;

/// Settings of AdaMatch.
#[derive(Debug)]
pub struct AdaMatch {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Weight of the cross-entropy with the pseudo labels.
    pub lambda: Coefficient,
    /// What part of the source's mean confidence a pseudo label must have, 0 to below 1.
    pub threshold: f32,
    /// Share of an averaged number that a step keeps, 0 to below 1.
    pub keep: f32,
    /// The strong views of source and target.
    pub views: [ViewRequest; 2],
}

impl AdaMatch {
    #[expect(clippy::cast_possible_truncation, reason = "probabilities and parameters are f32")]
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            ("lambda", "weight of the cross-entropy with the pseudo labels"),
            (
                "threshold",
                "part of the source's mean confidence that a target image must have for its likeliest class to be a pseudo label",
            ),
            ("keep", "share of the averaged network that a step keeps"),
            (
                "strong",
                "random changes of the second view of both domains; the stage's `augment` when left out",
            ),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let usual = Coefficient::Cosine { over: 0.5, max: 1.0 };
        let lambda = Coefficient::read(keys, "lambda", usual);
        let threshold = keys.float("threshold").below_one().or(0.9);
        let keep = keys.float("keep").below_one().or(0.999);
        let views = views_of_both(keys, "strong");
        Ok(Self {
            target: target?,
            lambda: lambda?,
            threshold: threshold? as f32,
            keep: keep? as f32,
            views: views?,
        })
    }
}

impl Method for AdaMatch {
    fn needs(&self) -> Needs<'_> {
        Needs {
            target: Some(&self.target),
            // In passes of one domain alone there would be nothing between the logits.
            batch_norm: &[BatchNormFamily::Joint],
            views: &self.views,
            ..Needs::SOURCE
        }
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        bench.copy(NetId::MAIN, AVERAGE);
        let classes = bench.model(NetId::MAIN).spec().classes;
        Ok(Box::new(Matching { settings: self, classes: ClassShares::even(classes) }))
    }
}

/// AdaMatch in the middle of a training.
struct Matching<'m> {
    settings: &'m AdaMatch,
    classes: ClassShares,
}

impl Learner for Matching<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let lambda = bench.knob("lambda", self.settings.lambda.over_time());
        let (source, target) = (batch.source(), batch.target());
        let ([strong_source], [strong_target]) = (&source.views[..], &target.views[..]) else {
            unreachable!("a strong view of each domain")
        };
        let images = Domains {
            source: one_batch(bench, &source.images, strong_source)?,
            target: one_batch(bench, &target.images, strong_target)?,
        };
        let (n, m) = (source.images.rows(), target.images.rows());

        let still = Mode::LEARN.without_averages();
        let alone = bench.class_logits(NetId::MAIN, &images.source, Domain::Source, still)?;
        let features = bench.both(&Part::FEATURES, &images)?;
        let together = bench.both(&Part::CLASSIFIER, &features)?;
        let of_source = between(bench, &together.source, &alone)?;
        let weak_source = of_source.slice_rows(0, n)?;
        let weak = Classified::new(&weak_source, &source.targets)?;
        let unmixed = Targets { mixed: None, ..source.targets };
        let strong = Classified::new(&of_source.slice_rows(n, 2 * n)?, &unmixed)?;
        let loss = weak.loss.add(&strong.loss)?.scale(0.5)?;
        let classified = Classified { loss, ..weak };

        let p = weak_source.detached().softmax()?;
        let q = together.target.slice_rows(0, m)?.detached().softmax()?;
        let ratios = self.classes.ratios(&p.mean_of_rows()?.host(), &q.mean_of_rows()?.host());
        let least = p.row_max()?.mean()?.scale(self.settings.threshold)?;
        let labels = PseudoLabels::new(&q, ratios, least.host()[0])?;
        let strong_target = together.target.slice_rows(m, 2 * m)?;
        let pseudo = cross_entropy_of_shares(&strong_target, &labels.shares)?;

        classified.report_loss(bench);
        bench.meter("pseudo_label_loss", &pseudo, m);
        bench.meter("confidence_threshold", &least, n);
        bench.meter_share("mask_rate", &[&labels.mask.sum()?], m);
        classified.report_accuracy(bench);
        bench.descend(&classified.loss.add(&pseudo.scale(lambda)?)?, &[Group::MAIN])?;
        follow(bench, self.settings.keep)
    }

    fn state(&mut self, visit: &mut dyn Visit) {
        visit.numbers("source_classes", &mut self.classes.source);
        visit.numbers("target_classes", &mut self.classes.target);
    }

    fn predictor(&self) -> NetId {
        AVERAGE
    }
}

/// Two views of the images of a domain one after the other, `[2 N, C*H*W]`.
fn one_batch(bench: &Bench, one: &Tensor, other: &Tensor) -> Result<Tensor, OpError> {
    let ops = bench.ops();
    ops.flat_rows(one)?.concat_rows(&ops.flat_rows(other)?)
}

/// A random point between two numbers, for each number of two matrices `[N, K]`.
fn between(bench: &Bench, from: &Tensor, to: &Tensor) -> Result<Tensor, OpError> {
    let mut stream = bench.stream("logit interpolation");
    let (rows, columns) = (from.rows(), from.columns());
    let shares = (0..rows * columns).map(|_| stream.uniform()).collect();
    let shares = from.constant(shares, Dims::Rows(rows, columns))?;
    from.add(&to.sub(from)?.mul(&shares)?)
}

/// How likely the classes of both domains were so far.
struct ClassShares {
    /// The exponential moving average of the source, `[K]`.
    source: Vec<f32>,
    /// The target's in each of the last [`STEPS`] steps, the oldest first, `[STEPS, K]`.
    target: Vec<f32>,
}

impl ClassShares {
    /// Those of so many classes before the first step.
    #[expect(clippy::cast_precision_loss, reason = "classes are far below 2^24")]
    fn even(classes: usize) -> Self {
        let even = 1.0 / classes as f32;
        Self { source: vec![even; classes], target: vec![even; usize::from(STEPS) * classes] }
    }

    /// Takes in the mean class probabilities `[K]` of a step, and gives what the target's probabilities are to
    /// be multiplied by: (1e-6 + a_k) / (1e-6 + b_k).
    fn ratios(&mut self, source: &[f32], target: &[f32]) -> Vec<f32> {
        for (average, newest) in self.source.iter_mut().zip(source) {
            *average += NEWEST * (newest - *average);
        }
        let classes = self.source.len();
        self.target.drain(..classes);
        self.target.extend(target);
        let ratio = |(class, of_source): (usize, &f32)| {
            let of_target = self.target.iter().skip(class).step_by(classes);
            let of_target = of_target.copied().map(f64::from).sum::<f64>() / f64::from(STEPS);
            #[expect(clippy::cast_possible_truncation, reason = "probabilities are f32")]
            let ratio = ((EPS + f64::from(*of_source)) / (EPS + of_target)) as f32;
            ratio
        };
        self.source.iter().enumerate().map(ratio).collect()
    }
}

/// What the target's strong view learns.
struct PseudoLabels {
    /// 1 at the class of an image that has one, else 0, `[M, K]`.
    shares: Tensor,
    /// Whether an image has one, `[M, 1]`.
    mask: Tensor,
}

impl PseudoLabels {
    /// The likeliest classes of probabilities `[M, K]` that are multiplied by `ratios` `[K]`, where they are
    /// then at least as likely as `least`.
    fn new(probabilities: &Tensor, ratios: Vec<f32>, least: f32) -> Result<Self, OpError> {
        let dims = Dims::Rows(1, ratios.len());
        let aligned = probabilities.mul(&probabilities.constant(ratios, dims)?)?;
        let aligned = aligned.div(&aligned.row_sums()?)?;
        let mask = aligned.row_max()?.above(least.next_down())?;
        Ok(Self { shares: likeliest(&aligned)?.mul(&mask)?, mask })
    }
}

/// Moves the parameters and the running averages of the averaged network toward those of the one that learns.
/// Running averages that saw no batch, as those of frozen layers, stay as they are: the mean of two equal numbers
/// may differ from both by its rounding.
fn follow(bench: &mut Bench, keep: f32) -> Result<(), FitError> {
    bench.average(AVERAGE, NetId::MAIN, keep)?;
    let ops = Rc::clone(bench.ops());
    let newest = bench.model(NetId::MAIN).stats().to_vec();
    for (average, newest) in bench.model_mut(AVERAGE).stats_mut().iter_mut().zip(newest) {
        if average.batches == newest.batches {
            continue;
        }
        ops.average(&mut average.mean, &newest.mean, keep)?;
        ops.average(&mut average.var, &newest.var, keep)?;
        average.batches = newest.batches;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::rows;
    use crate::config::testing::read_lines;
    use crate::data::view::ViewKind;
    use crate::nn::Model;
    use crate::train::{Reading, SourceBatch, TargetBatch, TrainingSettings, tiny};

    /// What a line of TOML gives, and what is wrong.
    fn read(settings: &str) -> (Option<AdaMatch>, Vec<String>) {
        let text = format!("target = 'other'\n{settings}");
        let (method, gathered) = read_lines(&text, AdaMatch::read);
        (method.ok(), gathered.messages())
    }

    /// Four images without a pattern.
    fn images(salt: usize) -> Tensor {
        let number = |at: usize| ((at * 37 + salt * 101) % 251) as f32 / 125.0 - 1.0;
        rows((0..4 * 48).map(number).collect::<Vec<f32>>(), 48)
    }

    /// What `look` sees after a step on images of both domains, whose strong views are the images themselves.
    fn after_step<T>(
        [source, target]: [Tensor; 2],
        look: impl FnOnce(&Bench, &[Reading]) -> T,
    ) -> T {
        let settings = TrainingSettings { batch_norm: BatchNormFamily::Joint, ..tiny::settings(1) };
        let method = read("keep = 0.9").0.unwrap();
        let mut bench = Bench::alone(tiny::model(), &settings).unwrap();
        let mut learner = method.begin(&mut bench).unwrap();
        assert_eq!(learner.predictor(), AVERAGE);
        let targets = Targets::plain(&[0, 1, 1, 0]);
        let views = |images: &Tensor| vec![images.clone()];
        let batch = Batch {
            source: Some(SourceBatch {
                views: views(&source),
                ..SourceBatch::plain(source, targets)
            }),
            target: Some(TargetBatch { views: views(&target), ..TargetBatch::plain(target) }),
        };
        let (readings, _) = bench.step_alone(&mut *learner, &batch, (0, 1), false).unwrap();
        look(&bench, &readings)
    }

    #[test]
    fn logits_that_the_target_does_not_change_are_those_of_the_source_alone() {
        let class_loss = |target: Tensor| {
            after_step([images(1), target], |_, readings| {
                readings.iter().find(|it| it.name == "class_loss").unwrap().value
            })
        };
        // The same images twice and four times have the same moments.
        let settings = tiny::settings(1);
        let mut bench = Bench::alone(tiny::model(), &settings).unwrap();
        let (network, domain) = (NetId::MAIN, Domain::Source);
        let logits = bench.class_logits(network, &images(1), domain, Mode::LEARN).unwrap();
        let alone = Classified::new(&logits, &Targets::plain(&[0, 1, 1, 0])).unwrap().loss.value();
        let same = class_loss(images(1));
        assert!((same - alone).abs() < 1e-5, "{same} and {alone}");
        let brighter = images(2).scale(3.0).unwrap().shift(1.0).unwrap();
        assert!((class_loss(brighter) - alone).abs() > 1e-3);
    }

    #[test]
    fn one_pass_moves_the_running_averages_and_the_average_follows_all_of_them() {
        let begun = tiny::model();
        after_step([images(1), images(2)], |bench, _| {
            let [learned, average] = [NetId::MAIN, AVERAGE].map(|it| bench.model(it));
            assert_eq!(learned.stats()[0].batches, 1);
            assert_eq!(average.stats()[0].batches, 1);
            let moments = |model: &Model| {
                let stats = model.stats().iter();
                stats.flat_map(|it| [it.mean.host(), it.var.host()].concat()).collect::<Vec<f32>>()
            };
            let numbers = |model: &Model| {
                let parameters = model.parameters().iter().flat_map(|it| it.value.host());
                parameters.chain(moments(model)).collect::<Vec<f32>>()
            };
            assert_ne!(moments(learned), moments(&begun));
            assert_ne!(numbers(learned), numbers(&begun));
            let all = numbers(&begun).into_iter().zip(numbers(learned)).zip(numbers(average));
            for ((begun, learned), average) in all {
                let expected = 0.9 * f64::from(begun) + 0.1 * f64::from(learned);
                assert!((f64::from(average) - expected).abs() < 1e-6, "{average} and {expected}");
            }
        });
    }

    #[test]
    fn running_averages_of_frozen_batch_norm_stay_as_they_are() {
        let settings = TrainingSettings { batch_norm: BatchNormFamily::Joint, ..tiny::settings(1) };
        for frozen in [true, false] {
            let mut model = tiny::model();
            let features = model.parameters_mut().iter_mut();
            let features = features.filter(|it| it.part == Part::FEATURES);
            features.for_each(|it| it.trainable = !frozen);
            let mut bench = Bench::alone(model, &settings).unwrap();
            bench.copy(NetId::MAIN, AVERAGE);
            for stats in bench.model_mut(AVERAGE).stats_mut() {
                let len = stats.mean.len();
                stats.mean.write(&vec![0.5; len]);
            }
            bench.learn(&Part::FEATURES, &images(0), Domain::Source).unwrap();
            follow(&mut bench, 0.9).unwrap();
            let stats = bench.model(AVERAGE).stats();
            assert!(!stats.is_empty());
            for mean in stats.iter().flat_map(|it| it.mean.host()) {
                assert_eq!(mean == 0.5, frozen, "{mean}");
            }
        }
    }

    #[test]
    fn logits_lie_between_the_two_by_a_share_of_their_own_each() {
        let settings = tiny::settings(1);
        let bench = Bench::alone(tiny::model(), &settings).unwrap();
        let (from, to) = (rows([0.0; 12], 3), rows([2.0; 12], 3));
        let found = between(&bench, &from, &to).unwrap().host();
        assert!(found.iter().all(|it| (0.0..2.0).contains(it)), "{found:?}");
        assert!((1..12).all(|at| !found[..at].contains(&found[at])), "{found:?}");
        let swapped = between(&bench, &to, &from).unwrap().host();
        // The step has the same shares whenever they are drawn.
        let mut sums = found.iter().zip(&swapped).map(|(one, other)| one + other);
        assert!(sums.all(|sum| (sum - 2.0).abs() < 1e-6), "{swapped:?}");
    }

    #[test]
    fn classes_are_aligned_by_the_published_averages() {
        let mut shares = ClassShares::even(3);
        let of_source = [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]];
        let of_target = [[0.2, 0.2, 0.6], [0.9, 0.05, 0.05]];
        let (mut a, mut b) = ([1.0 / 3.0; 3], vec![[1.0 / 3.0; 3]; 128]);
        for (p, q) in of_source.iter().zip(&of_target) {
            let single = |it: &[f64; 3]| it.map(|it| it as f32);
            let found = shares.ratios(&single(p), &single(q));
            for (a, p) in a.iter_mut().zip(p) {
                *a = 0.999 * *a + 0.001 * p;
            }
            b.remove(0);
            b.push(*q);
            for (k, found) in found.iter().enumerate() {
                let mean = b.iter().map(|it| it[k]).sum::<f64>() / 128.0;
                let expected = (1e-6 + a[k]) / (1e-6 + mean);
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} and {expected}");
            }
        }
        // What is older than so many steps counts no longer.
        for _ in 0..128 {
            shares.ratios(&[0.5, 0.25, 0.25], &[0.0, 0.25, 0.75]);
        }
        let found = shares.ratios(&[0.5, 0.25, 0.25], &[0.0, 0.25, 0.75]);
        for (k, target) in [0.0_f32, 0.25, 0.75].into_iter().enumerate() {
            let expected = (1e-6 + shares.source[k]) / (1e-6 + target);
            assert!((found[k] / expected - 1.0).abs() < 1e-5, "{} and {expected}", found[k]);
        }
    }

    #[test]
    fn pseudo_labels_are_the_likeliest_classes_that_are_likely_enough() {
        let q = rows(vec![0.6, 0.4, 0.9, 0.1, 0.5, 0.5, 0.0, 1.0], 2);
        // Aligned: (1, 2) / 3, (3, 1) / 4, (1, 3) / 4 and (0, 1).
        let labels = PseudoLabels::new(&q, vec![0.5, 1.5], 0.7).unwrap();
        assert_eq!(labels.mask.host(), [0.0, 1.0, 1.0, 1.0]);
        assert_eq!(labels.shares.host(), [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
        // One that is as likely as it must be has its class.
        let labels = PseudoLabels::new(&q, vec![1.0, 1.0], 1.0).unwrap();
        assert_eq!(labels.mask.host(), [0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn the_strong_views_of_both_domains_are_the_stage_s_changes_or_the_method_s() {
        for (settings, own) in [("", false), ("strong = ['flip']", true)] {
            let (method, problems) = read(settings);
            assert!(problems.is_empty(), "{problems:?}");
            let [source, target] = method.unwrap().views;
            assert_eq!((source.domain, target.domain), (Domain::Source, Domain::Target));
            for view in [source, target] {
                assert_eq!(matches!(view.kind, ViewKind::Own(_)), own, "{settings}");
                assert!(own || matches!(view.kind, ViewKind::Augmented), "{settings}");
            }
        }
        let (_, problems) = read("strong = ['mixup']\nthreshold = 1.0\nkeep = 1.0");
        assert_eq!(problems.len(), 3, "{problems:?}");
    }
}
