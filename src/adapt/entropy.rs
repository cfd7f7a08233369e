//! Entropy minimisation (Grandvalet and Bengio 2005, "Semi-supervised Learning by Entropy Minimization"), with
//! the target's images as those without labels.
//!
//! With the class probabilities p_i of the target images of a batch and H(p) = -sum_k p_k ln(p_k + 1e-5), the
//! term is lambda mean_i H(p_i). The 1e-5 is that of SHOT's code. The gradient goes through both factors of H,
//! into the classifier and the features. The least value is that of a network which gives every image the same
//! class, and nothing in the term keeps it from that: the labelled images have to.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use crate::config::{Keys, Noted};
use crate::nn::ops::{Number, OpError, Tensor};
use crate::train::{Bench, FitError};

/// What keeps the logarithm of a probability of 0 finite.
const EPS: f32 = 1e-5;

/// Settings of entropy minimisation: none but its weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entropy;

impl ReadTerm for Entropy {
    const WEIGHT: &'static str = "weight of the entropy of the target's class probabilities";
    const USUAL: Coefficient = Coefficient::Constant { max: 0.1 };

    fn read(_: &mut Keys) -> Result<Self, Noted> {
        Ok(Self)
    }
}

impl Term for Entropy {
    fn looks_at_target_logits(&self) -> bool {
        true
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Entropy {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let logits = seen.target_logits();
        let entropy = mean_entropy(logits)?;
        bench.meter("target_entropy_loss", &entropy, logits.rows());
        Ok(entropy.scale(lambda)?)
    }
}

/// The mean entropy of the class probabilities of logits `[M, K]`.
pub(super) fn mean_entropy(logits: &Tensor) -> Result<Tensor, OpError> {
    logits.softmax()?.row_entropies(EPS)?.mean()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::rows;
    use crate::nn::ops::Tape;

    /// The gradient with respect to logits of two classes.
    fn gradient(logits: Vec<f32>) -> Vec<f32> {
        let tape = Tape::default();
        let logits = rows(logits, 2).on(&tape);
        let entropy = mean_entropy(&logits).unwrap();
        tape.backward(&entropy).unwrap().take(&logits).unwrap().host()
    }

    #[test]
    fn the_entropy_is_the_mean_over_the_rows() {
        let p = [[0.2_f64, 0.5, 0.3], [0.9, 0.05, 0.05]];
        let logits: Vec<f32> = p.concat().iter().map(|it| it.ln() as f32 + 2.0).collect();
        let of = |row: &[f64; 3]| -row.iter().map(|it| it * (it + 1e-5).ln()).sum::<f64>();
        let expected = f64::midpoint(of(&p[0]), of(&p[1]));
        let found = mean_entropy(&rows(logits, 3)).unwrap().value();
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        // It is largest where all classes are as likely, and nothing where one is certain.
        let even = mean_entropy(&rows(vec![7.0; 8], 4)).unwrap().value();
        assert!((even - 4.0_f64.ln()).abs() < 1e-4, "{even}");
        let sure = mean_entropy(&rows(vec![400.0, 0.0, 0.0, 400.0], 2)).unwrap().value();
        assert!(sure.abs() < 1e-4, "{sure}");
    }

    #[test]
    fn a_likelier_class_becomes_likelier_still_and_no_row_pulls_another() {
        let found = gradient(vec![0.8, 0.0, 0.3, 0.3]);
        // A descent goes against the gradient.
        assert!(found[0] < -1e-3 && found[1] > 1e-3, "{found:?}");
        // Two classes that are as likely stay so.
        assert!(found[2..].iter().all(|it| it.abs() < 1e-6), "{found:?}");
    }

    #[test]
    fn certain_rows_have_finite_gradients() {
        let found = gradient(vec![900.0, 0.0, 0.0, 900.0]);
        assert!(found.iter().all(|it| it.is_finite()), "{found:?}");
    }
}
