//! FixMatch (Sohn, Berthelot, Li, Zhang, Carlini, Cubuk, Kurakin, Zhang and Raffel 2020, "FixMatch:
//! Simplifying Semi-Supervised Learning with Consistency and Confidence"), with the target's images as those
//! without labels, as in TLLib.
//!
//! loss = CE(class, source) + lambda mean_i m_i CE(z_i, y_i)
//!
//! where z are the logits of a strongly changed view of the target images. y_i is the likeliest class that the
//! same network gives a weakly changed view of them, and m_i is 1 where its probability is above the threshold,
//! else 0. The mean over i is over the whole batch, so that few confident rows weigh little.
//!
//! The weak view passes first, in training mode and without gradients, so that the running averages move in
//! three passes: weak view, source, strong view. The authors pass all images together instead, so that
//! batch norm sees labelled and unlabelled ones at once.

use super::{Classified, Coefficient, cross_entropy_of_shares, target_view};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::data::view::{Domain, ViewRequest};
use crate::nn::ops::{OpError, Tensor};
use crate::train::{
    Batch, BatchNormFamily, Bench, FitError, Group, Learner, Method, Mode, Needs, NetId,
};

/// Settings of FixMatch.
#[derive(Debug)]
pub struct FixMatch {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Weight of the cross-entropy with the pseudo labels.
    pub lambda: Coefficient,
    /// Probability that the likeliest class of the weak view must exceed, 0 to below 1.
    pub threshold: f32,
    /// The view of the target that gives pseudo labels, and the one that learns from them.
    pub views: [ViewRequest; 2],
}

impl FixMatch {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            ("lambda", "weight of the cross-entropy with the pseudo labels"),
            (
                "threshold",
                "probability that the likeliest class of the weak view must exceed for it to be a pseudo label",
            ),
            (
                "weak",
                "random changes to the target images that get pseudo labels; the stage's `augment` when left out",
            ),
            (
                "strong",
                "random changes to the target images that learn from these; the stage's `augment` when left out",
            ),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let lambda = Coefficient::read(keys, "lambda", Coefficient::Constant { max: 1.0 });
        let threshold = keys.float("threshold").below_one().or(0.9);
        let weak = target_view(keys, "weak");
        let strong = target_view(keys, "strong");
        #[expect(clippy::cast_possible_truncation, reason = "probabilities are f32")]
        let threshold = threshold? as f32;
        Ok(Self { target: target?, lambda: lambda?, threshold, views: [weak?, strong?] })
    }
}

impl Method for FixMatch {
    fn needs(&self) -> Needs<'_> {
        Needs {
            target: Some(&self.target),
            batch_norm: &[
                BatchNormFamily::Separate,
                BatchNormFamily::Target,
                BatchNormFamily::Domain,
            ],
            views: &self.views,
            ..Needs::SOURCE
        }
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        Ok(Box::new(Labelling(self)))
    }
}

/// FixMatch in the middle of a training: it remembers nothing.
struct Labelling<'m>(&'m FixMatch);

impl Learner for Labelling<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let lambda = bench.knob("lambda", self.0.lambda.over_time());
        let [weak, strong] = &batch.target().views[..] else {
            unreachable!("a weak view and a strong one")
        };
        let weak = bench.class_logits(NetId::MAIN, weak, Domain::Target, Mode::OBSERVE)?.softmax()?;
        let source = batch.source();
        let of_source = bench.class_logits(NetId::MAIN, &source.images, Domain::Source, Mode::LEARN)?;
        let classified = Classified::new(&of_source, &source.targets)?;
        let strong = bench.class_logits(NetId::MAIN, strong, Domain::Target, Mode::LEARN)?;
        let mask = weak.row_max()?.above(self.0.threshold)?;
        let loss = cross_entropy_of_shares(&strong, &likeliest(&weak)?.mul(&mask)?)?;

        let count = strong.rows();
        classified.report_loss(bench);
        bench.meter("pseudo_label_loss", &loss, count);
        bench.meter_share("mask_rate", &[&mask.sum()?], count);
        classified.report_accuracy(bench);
        bench.descend(&classified.loss.add(&loss.scale(lambda)?)?, &[Group::MAIN])
    }
}

/// 1 at the likeliest class of each row of probabilities `[N, K]`, else 0; classes that are as likely as each
/// other share it.
pub(super) fn likeliest(probabilities: &Tensor) -> Result<Tensor, OpError> {
    // Two numbers that differ do so by more than this where the larger one is a row's largest probability.
    let is_largest = probabilities.sub(&probabilities.row_max()?)?.above(-f32::MIN_POSITIVE)?;
    is_largest.div(&is_largest.row_sums()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::rows;
    use crate::adapt::Supervised;
    use crate::config::testing::read_lines;
    use crate::data::view::ViewKind;
    use crate::nn::ops::{Tape, Targets};
    use crate::train::{Gradient, SourceBatch, TargetBatch, tiny};

    /// What a line of TOML gives, and what is wrong.
    fn read(settings: &str) -> (Option<FixMatch>, Vec<String>) {
        let text = format!("target = 'other'\n{settings}");
        let (method, gathered) = read_lines(&text, FixMatch::read);
        (method.ok(), gathered.messages())
    }

    /// Four images without a pattern.
    fn images(salt: usize) -> Tensor {
        let number = |at: usize| ((at * 37 + salt * 101) % 251) as f32 / 125.0 - 1.0;
        rows((0..4 * 48).map(number).collect::<Vec<f32>>(), 48)
    }

    /// The gradient of a step whose strong view are the images of salt `strong`.
    fn gradient(method: &dyn Method, strong: usize) -> Gradient {
        let settings = tiny::settings(1);
        let mut bench = Bench::alone(tiny::model(), &settings).unwrap();
        let mut learner = method.begin(&mut bench).unwrap();
        let views = vec![images(3), images(strong)];
        let batch = Batch {
            source: Some(SourceBatch::plain(images(1), Targets::plain(&[0, 1, 1, 0]))),
            target: Some(TargetBatch { views, ..TargetBatch::plain(images(2)) }),
        };
        bench.step_alone(&mut *learner, &batch, (0, 1), true).unwrap().1.remove(0)
    }

    #[test]
    fn a_weak_view_of_which_the_network_is_never_sure_changes_no_gradient() {
        let unsure = read("threshold = 0.9999").0.unwrap();
        let alone = gradient(&Supervised, 4);
        assert_eq!(gradient(&unsure, 4), alone);
        let all = read("threshold = 0.0").0.unwrap();
        assert_ne!(gradient(&all, 4), alone);
        // What it learns from is the strong view.
        assert_ne!(gradient(&all, 4), gradient(&all, 5));
        let without_weight = read("threshold = 0.0\nlambda = 0.0").0.unwrap();
        assert_eq!(gradient(&without_weight, 4), alone);
    }

    #[test]
    fn the_loss_is_the_published_formula() {
        let p = [0.05_f32, 0.92, 0.03, 0.5, 0.3, 0.2, 0.91, 0.04, 0.05];
        let z = [1.0_f32, -2.0, 0.5, 3.0, 0.0, 1.0, -1.0, 0.25, 2.0];
        let tape = Tape::default();
        let (weak, strong) = (rows(p.to_vec(), 3), rows(z.to_vec(), 3).on(&tape));
        let mask = weak.row_max().unwrap().above(0.9).unwrap();
        assert_eq!(mask.host(), [1.0, 0.0, 1.0]);
        let shares = likeliest(&weak).unwrap().mul(&mask).unwrap();
        assert_eq!(shares.host(), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        let loss = cross_entropy_of_shares(&strong, &shares).unwrap();
        let cross_entropy = |row: usize, class: usize| {
            let z: Vec<f64> = z[3 * row..][..3].iter().map(|it| f64::from(*it)).collect();
            z.iter().map(|it| it.exp()).sum::<f64>().ln() - z[class]
        };
        // The mean is over all three rows.
        let expected = (cross_entropy(0, 1) + cross_entropy(2, 0)) / 3.0;
        assert!((loss.value() - expected).abs() < 1e-6, "{} and {expected}", loss.value());
        let gradient = tape.backward(&loss).unwrap().take(&strong).unwrap().host();
        assert_eq!(gradient[3..6], [0.0; 3], "{gradient:?}");
        assert!(gradient[1] < 0.0 && gradient[6] < 0.0, "{gradient:?}");
    }

    #[test]
    fn classes_that_are_as_likely_share_a_row() {
        let shares = likeliest(&rows(vec![0.4, 0.4, 0.2, 0.0, 0.0, 1.0], 3)).unwrap();
        assert_eq!(shares.host(), [0.5, 0.5, 0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn views_are_the_stage_s_own_changes_unless_the_method_names_others() {
        let (method, problems) = read("strong = ['flip']");
        assert!(problems.is_empty(), "{problems:?}");
        let [weak, strong] = method.unwrap().views;
        assert!(matches!((weak.kind, weak.name), (ViewKind::Augmented, "weak")));
        assert!(matches!((strong.kind, strong.name), (ViewKind::Own(_), "strong")));
        let (_, problems) = read("weak = ['mixup']\nstrong = ['mixup']\nthreshold = 1.0");
        assert_eq!(problems.len(), 3, "{problems:?}");
    }
}
