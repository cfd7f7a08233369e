//! DeepJDOT (Damodaran, Kellenberger, Flamary, Tuia and Courty 2018, "DeepJDOT: Deep Joint Distribution Optimal
//! Transport for Unsupervised Domain Adaptation").
//!
//! Every step moves the images of the source batch to those of the target batch in the cheapest way. With
//! features f, one-hot labels y of the N source images and class probabilities p of the M target images, the cost is
//! C_ij = feature_weight |f_i - f_j|^2 + label_weight |y_i - p_j|^2, and the plan pi is the exact optimal
//! [transport](super::transport) between 1 / N for each source image and 1 / M for each target image. The term
//! is
//!
//! lambda sum_ij pi_ij (feature_weight |f_i - f_j|^2 + label_weight CE(y_i, p_j)).
//!
//! As in the authors' code, the label part of the loss is the cross-entropy where the plan's is a squared
//! distance. No gradient goes through the plan; gradients go into the features of both domains, and by way of
//! p_j into the classifier. N and M may differ: an image's share then goes to several others. The labels are
//! hard ones: label smoothing and mixup change the cross-entropy of the source alone.
//!
//! The plan of a small batch couples images that happen to be there, of whatever class. The authors' batch has
//! 500 images of each domain, in the source as many of each class, and the network was trained on the source
//! before. The costs of a step are computed on the host in double precision: N M d products, 3 10^8 for 500 images of
//! each domain and 1250 features. The plan takes N^3 operations at most where N = M.

use rayon::prelude::*;

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use super::transport::{Coupling, plan};
use crate::config::{Keys, Noted};
use crate::nn::ops::{Dims, Number, OpError, Tensor};
use crate::train::{Bench, FitError};

/// Settings of DeepJDOT.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeepJdot {
    /// Weight of the distance between features, in the plan and in the loss.
    pub feature_weight: f32,
    /// Weight of the difference between labels and probabilities, in both.
    pub label_weight: f32,
}

impl ReadTerm for DeepJdot {
    const WEIGHT: &'static str = "weight of the cost of moving source images to target images";
    const USUAL: Coefficient = Coefficient::Constant { max: 1.0 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("feature_weight", "weight of the squared distance between features"),
            ("label_weight", "weight of the difference between labels and the target's answers"),
        ]);
        let feature_weight = keys.float("feature_weight").at_least(0.0).or(0.001);
        let label_weight = keys.float("label_weight").at_least(0.0).or(1e-4);
        #[expect(clippy::cast_possible_truncation, reason = "losses are f32")]
        let (feature_weight, label_weight) = (feature_weight? as f32, label_weight? as f32);
        Ok(Self { feature_weight, label_weight })
    }
}

impl Term for DeepJdot {
    fn looks_at_target_logits(&self) -> bool {
        true
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &DeepJdot {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let (source, target) = (&seen.features.source, &seen.features.target);
        let (labels, logits) = (&*seen.targets().labels, seen.target_logits());
        let costs = self.costs((source, labels), (target, logits))?;
        let couplings = plan(&costs, (source.rows(), target.rows()));
        let features = feature_loss(source, target, &couplings)?;
        let classes = label_loss(labels, logits, &couplings)?;
        bench.meter("jdot_feature_loss", &features, seen.images());
        bench.meter("jdot_label_loss", &classes, seen.images());
        let loss = features.scale(self.feature_weight)?.add(&classes.scale(self.label_weight)?)?;
        Ok(loss.scale(lambda)?)
    }
}

impl DeepJdot {
    /// What moving each source image to each target image costs, `[N, M]`, given features `[N, d]` and labels, and
    /// features `[M, d]` and logits `[M, K]`.
    fn costs(
        self,
        (source, labels): (&Tensor, &[u32]),
        (target, logits): (&Tensor, &Tensor),
    ) -> Result<Vec<f64>, OpError> {
        let (width, classes) = (source.columns(), logits.columns());
        let (source, target, p) = (source.host(), target.host(), logits.softmax()?.host());
        let [by_features, by_labels] = [self.feature_weight, self.label_weight].map(f64::from);
        let of_row = |(row, label): (&[f32], &u32)| {
            let pairs = target.chunks_exact(width).zip(p.chunks_exact(classes));
            let cost = |(other, p): (&[f32], &[f32])| {
                let to_label = square_distance_to_label(p, *label as usize);
                by_features * square_distance(row, other) + by_labels * to_label
            };
            pairs.map(cost).collect::<Vec<f64>>()
        };
        Ok(source.par_chunks_exact(width).zip(labels).flat_map_iter(of_row).collect())
    }
}

fn square_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

/// |y - p|^2 for the one-hot y of a label.
fn square_distance_to_label(p: &[f32], label: usize) -> f64 {
    let of = |(at, p): (usize, &f32)| (f64::from(*p) - f64::from(u8::from(at == label))).powi(2);
    p.iter().enumerate().map(of).sum()
}

/// sum_ij pi_ij |f_i - f_j|^2 of features `[N, d]` and `[M, d]`: exactly 0 where what is coupled is equal.
fn feature_loss(
    source: &Tensor,
    target: &Tensor,
    couplings: &[Coupling],
) -> Result<Tensor, OpError> {
    let from = source.gather_rows(couplings.iter().map(|it| it.from).collect())?;
    let to = target.gather_rows(couplings.iter().map(|it| it.to).collect())?;
    #[expect(clippy::cast_possible_truncation, reason = "losses are f32")]
    let shares = couplings.iter().map(|it| it.share as f32).collect();
    let shares = source.constant(shares, Dims::Rows(couplings.len(), 1))?;
    from.sub(&to)?.square()?.row_sums()?.mul(&shares)?.sum()
}

/// sum_ij pi_ij CE(y_i, p_j) of labels and logits `[M, K]`.
fn label_loss(labels: &[u32], logits: &Tensor, couplings: &[Coupling]) -> Result<Tensor, OpError> {
    let classes = logits.columns();
    // What arrives at each target image of each class.
    let mut shares = vec![0.0_f64; logits.rows() * classes];
    for coupling in couplings {
        shares[coupling.to * classes + labels[coupling.from] as usize] += coupling.share;
    }
    #[expect(clippy::cast_possible_truncation, reason = "losses are f32")]
    let shares = shares.into_iter().map(|it| it as f32).collect();
    let shares = logits.constant(shares, Dims::Rows(logits.rows(), classes))?;
    logits.log_softmax()?.mul(&shares)?.sum()?.scale(-1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::{rows, step};
    use crate::nn::ops::{Tape, Targets};

    const USUAL: DeepJdot = DeepJdot { feature_weight: 0.001, label_weight: 1e-4 };

    /// Four images and what is made of them: two features and three classes each.
    const FEATURES: [f32; 8] = [0.3, 1.2, -0.5, 0.7, 1.1, 0.2, 0.9, -0.4];
    const LABELS: [u32; 4] = [2, 0, 1, 0];
    const LOGITS: [f32; 12] = [0.1, 0.2, 1.5, 2.0, 0.3, 0.4, 0.5, 1.9, 0.1, 1.2, 0.6, 0.0];

    #[test]
    fn images_in_another_order_are_moved_to_themselves_for_nothing() {
        let order = [2, 0, 3, 1];
        let source = rows(FEATURES, 2);
        let target = source.gather_rows(order.to_vec()).unwrap();
        let logits = rows(LOGITS, 3).gather_rows(order.to_vec()).unwrap();
        let costs = USUAL.costs((&source, &LABELS), (&target, &logits)).unwrap();
        let couplings = plan(&costs, (4, 4));
        for coupling in &couplings {
            assert_eq!(order[coupling.to], coupling.from, "{couplings:?}");
            assert!((coupling.share - 0.25).abs() < 1e-12, "{couplings:?}");
        }
        let tape = Tape::default();
        let source = source.on(&tape);
        let loss = feature_loss(&source, &target, &couplings).unwrap();
        assert_eq!(loss.value(), 0.0);
        let gradient = tape.backward(&loss).unwrap().take(&source).unwrap().host();
        assert!(gradient.iter().all(|it| *it == 0.0), "{gradient:?}");
        // Each image then answers for its own label.
        let own = label_loss(&LABELS, &logits, &couplings).unwrap().value();
        let logits = rows(LOGITS, 3);
        let expected = logits.ops().cross_entropy(&logits, &Targets::plain(&LABELS)).unwrap();
        assert!((own - expected.value()).abs() < 1e-6, "{own}");
    }

    #[test]
    fn costs_and_losses_are_the_published_formulas() {
        let term = DeepJdot { feature_weight: 0.5, label_weight: 0.25 };
        let (source, target) = (rows(FEATURES, 2), rows([0.6, 1.3, -0.2, 0.4], 2));
        let logits = rows(&LOGITS[..6], 3);
        let costs = term.costs((&source, &LABELS), (&target, &logits)).unwrap();
        let p = |j: usize, k: usize| {
            let exp = |k: usize| f64::from(LOGITS[3 * j + k]).exp();
            exp(k) / (0..3).map(exp).sum::<f64>()
        };
        let goal = [[0.6, 1.3], [-0.2, 0.4]];
        let apart = |i: usize, j: usize| {
            let of = |k: usize| f64::from(FEATURES[2 * i + k]) - goal[j][k];
            of(0) * of(0) + of(1) * of(1)
        };
        for (i, label) in LABELS.iter().enumerate() {
            for j in 0..2 {
                // |y - p|^2 = 1 - 2 p_y + |p|^2.
                let squares: f64 = (0..3).map(|k| p(j, k) * p(j, k)).sum();
                let labels = 1.0 - 2.0 * p(j, *label as usize) + squares;
                let expected = 0.5 * apart(i, j) + 0.25 * labels;
                assert!((costs[2 * i + j] - expected).abs() < 1e-6, "{costs:?}");
            }
        }
        let share = |from, to, share| Coupling { from, to, share };
        let couplings = [share(0, 0, 0.25), share(1, 1, 0.5), share(3, 0, 0.25)];
        let found = feature_loss(&source, &target, &couplings).unwrap().value();
        let expected = 0.25 * apart(0, 0) + 0.5 * apart(1, 1) + 0.25 * apart(3, 0);
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        let found = label_loss(&LABELS, &logits, &couplings).unwrap().value();
        let expected = -0.25 * p(0, 2).ln() - 0.5 * p(1, 0).ln() - 0.25 * p(0, 0).ln();
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
    }

    #[test]
    fn a_step_with_another_number_of_target_images_has_both_losses() {
        let line = "method = { kind = 'deepjdot', target = 'other.train', label_weight = 1.0 }";
        let (readings, _) = step(line, |_| {});
        for name in ["jdot_feature_loss", "jdot_label_loss"] {
            let found = readings.iter().find(|it| it.name == name).unwrap().value;
            assert!(found.is_finite() && found > 0.0, "{readings:?}");
        }
    }
}
