//! Associative domain adaptation (Haeusser, Frerix, Mordvintsev and Cremers 2017, "Associative Domain
//! Adaptation").
//!
//! With the features A `[N, d]` of source images, B `[M, d]` of target images and M = A B^T / temperature, a
//! walker at a source image steps to a target image with the probabilities P_ab = softmax over the rows of M, and
//! back to a source image with P_ba = softmax over the rows of M^T. The term is lambda (walker + visit V):
//!
//! - walker = -1/N sum_i mean_j ln((P_ab P_ba)_ij + 1e-8), where j runs over the source images of the class of i:
//!   a walk is to end at any image of the class that it began with;
//! - V = -1/M sum_j ln(mean_i (P_ab)_ij + 1e-8): every target image is to be visited as often.
//!
//! Gradients go through both factors of M into the features of both domains, and the classifier gets none. The
//! classes are the labels as such: label smoothing and mixup change the cross-entropy alone. Any numbers N and
//! M will do.
//!
//! The temperature is ours; the paper has none, which is 1 here. Its embeddings have 128 numbers that may be
//! negative. Features behind a ReLU that are wider than that have products of hundreds, of which softmax makes
//! certainty. The paper begins with the walks after 500 steps, which is `lambda` with a delay, and has 10 source
//! images of each class in a batch, which is a sampler.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use crate::config::{Keys, Noted};
use crate::nn::ops::{Dims, Number, OpError, Tensor};
use crate::train::{Bench, FitError};

/// What keeps the logarithm of a probability of 0 finite, as in the authors' code.
const EPS: f32 = 1e-8;

/// Settings of associative domain adaptation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Associative {
    /// Weight of the visits beside the walks.
    pub visit: f32,
    /// What the products of features are divided by.
    pub temperature: f32,
}

impl ReadTerm for Associative {
    const WEIGHT: &'static str = "weight of the walks from source to target images and back";
    const USUAL: Coefficient = Coefficient::Constant { max: 1.0 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("visit", "weight of even visits to the target images, times `lambda`"),
            ("temperature", "what the products of features are divided by"),
        ]);
        let visit = keys.float("visit").at_least(0.0).or(0.6);
        let temperature = keys.float("temperature").positive().or(1.0);
        #[expect(clippy::cast_possible_truncation, reason = "losses are f32")]
        let (visit, temperature) = (visit? as f32, temperature? as f32);
        Ok(Self { visit, temperature })
    }
}

impl Term for Associative {
    fn looks_at_target_logits(&self) -> bool {
        false
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Associative {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let (source, target) = (&seen.features.source, &seen.features.target);
        let walks = Walks::new(source, target, self.temperature)?;
        let (walker, visit) = (walks.walker(&seen.targets().labels)?, walks.visit()?);
        bench.meter("walker_loss", &walker, source.rows());
        bench.meter("visit_loss", &visit, target.rows());
        Ok(walker.add(&visit.scale(self.visit)?)?.scale(lambda)?)
    }
}

/// Where a walker goes from a source image.
struct Walks {
    /// P_ab, to the target images, `[N, M]`.
    there: Tensor,
    /// P_ab P_ba, to a target image and back, `[N, N]`.
    and_back: Tensor,
}

impl Walks {
    /// Those among features `[N, d]` and `[M, d]`.
    fn new(source: &Tensor, target: &Tensor, temperature: f32) -> Result<Self, OpError> {
        let likeness = source.matmul(&target.transposed()?)?.div_by(temperature)?;
        let there = likeness.softmax()?;
        let and_back = there.matmul(&likeness.transposed()?.softmax()?)?;
        Ok(Self { there, and_back })
    }

    /// The cross-entropy of the ends of walks with the images of the class that they began with.
    fn walker(&self, labels: &[u32]) -> Result<Tensor, OpError> {
        let count = labels.len();
        let goals = self.and_back.constant(goals(labels), Dims::Rows(count, count))?;
        #[expect(clippy::cast_precision_loss, reason = "batches are far below 2^24 images")]
        let count = count as f32;
        self.and_back.shift(EPS)?.log()?.mul(&goals)?.sum()?.scale(-1.0)?.div_by(count)
    }

    /// The cross-entropy of how often target images are visited with visits to all of them alike.
    fn visit(&self) -> Result<Tensor, OpError> {
        self.there.mean_of_rows()?.shift(EPS)?.log()?.mean()?.scale(-1.0)
    }
}

/// For each of N images, the images of its class with shares of 1 together, `[N, N]`.
fn goals(labels: &[u32]) -> Vec<f32> {
    let mut goals = Vec::with_capacity(labels.len() * labels.len());
    for own in labels {
        #[expect(clippy::cast_precision_loss, reason = "batches are far below 2^24 images")]
        let alike = labels.iter().filter(|label| *label == own).count() as f32;
        goals.extend(labels.iter().map(|label| if label == own { alike.recip() } else { 0.0 }));
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::rows;
    use crate::nn::ops::Tape;

    /// The losses of walks and visits for features of two columns.
    fn losses(source: &[f32], labels: &[u32], target: &[f32], temperature: f32) -> [f64; 2] {
        let walks = Walks::new(&rows(source, 2), &rows(target, 2), temperature).unwrap();
        [walks.walker(labels).unwrap().value(), walks.visit().unwrap().value()]
    }

    #[test]
    fn classes_at_right_angles_have_the_least_loss_that_there_is() {
        let source = [9.0, 0.0, 0.0, 9.0, 9.0, 0.0, 0.0, 9.0];
        let target = [0.0, 9.0, 9.0, 0.0];
        let [walker, visit] = losses(&source, &[0, 1, 0, 1], &target, 1.0);
        // The entropies of what is aimed at: two images of each class, two images of the target.
        assert!((walker - std::f64::consts::LN_2).abs() < 1e-6, "{walker}");
        assert!((visit - std::f64::consts::LN_2).abs() < 1e-6, "{visit}");
        // With classes that lie across, half of a class is at the wrong place.
        let [walker, _] = losses(&source, &[0, 0, 1, 1], &target, 1.0);
        assert!(walker > 5.0, "{walker}");
        // A target image that nobody goes to costs visits and no walks.
        let [walker, visit] =
            losses(&source, &[0, 1, 0, 1], &[0.0, 9.0, 9.0, 0.0, -9.0, -9.0], 1.0);
        assert!((walker - std::f64::consts::LN_2).abs() < 1e-6, "{walker}");
        assert!(visit > 5.0, "{visit}");
    }

    #[test]
    fn both_losses_are_the_published_formulas() {
        let (source, target) = ([0.3_f32, 1.2, -0.5, 0.7, 1.1, 0.2], [0.9_f32, -0.4, 0.6, 1.3]);
        let (labels, temperature) = ([4_u32, 1, 4], 0.7_f32);
        let product = |i: usize, j: usize| -> f64 {
            let at = |values: &[f32], row: usize, k: usize| f64::from(values[2 * row + k]);
            let sum: f64 = (0..2).map(|k| at(&source, i, k) * at(&target, j, k)).sum();
            (sum / f64::from(temperature)).exp()
        };
        let there = |i: usize, j: usize| product(i, j) / (0..2).map(|k| product(i, k)).sum::<f64>();
        let back = |j: usize, i: usize| product(i, j) / (0..3).map(|k| product(k, j)).sum::<f64>();
        let ends = |i: usize, k: usize| (0..2).map(|j| there(i, j) * back(j, k)).sum::<f64>();
        let from_class_4 = |i: usize| f64::midpoint(ends(i, 0).ln(), ends(i, 2).ln());
        let walker = -(from_class_4(0) + ends(1, 1).ln() + from_class_4(2)) / 3.0;
        let visits = |j: usize| (0..3).map(|i| there(i, j)).sum::<f64>() / 3.0;
        let visit = -f64::midpoint(visits(0).ln(), visits(1).ln());
        let found = losses(&source, &labels, &target, temperature);
        assert!((found[0] - walker).abs() < 1e-6, "{found:?} and {walker}");
        assert!((found[1] - visit).abs() < 1e-6, "{found:?} and {visit}");
    }

    #[test]
    fn walks_that_are_certain_of_the_wrong_class_have_finite_gradients() {
        let tape = Tape::default();
        let source = rows([900.0, 0.0, 0.0, 900.0], 2).on(&tape);
        let target = rows([900.0, 0.0, 800.0, 0.0], 2).on(&tape);
        let walks = Walks::new(&source, &target, 1.0).unwrap();
        let loss = walks.walker(&[0, 1]).unwrap().add(&walks.visit().unwrap()).unwrap();
        assert!(loss.value().is_finite());
        let mut gradients = tape.backward(&loss).unwrap();
        for features in [&source, &target] {
            let gradient = gradients.take(features).unwrap().host();
            assert!(gradient.iter().all(|it| it.is_finite()), "{gradient:?}");
        }
    }
}
