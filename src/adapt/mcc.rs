//! Minimum class confusion (Jin, Wang, Long and Wang 2020, "Minimum Class Confusion for Versatile Domain
//! Adaptation").
//!
//! With the probabilities P = softmax(z / T) of N target images and K classes, and the weights
//! w_i = N (1 + exp(-H_i)) / sum_j (1 + exp(-H_j)) of their entropies H, through which no gradient goes,
//! C = P^T diag(w) P says how often two classes are both likely. Its rows are divided by their sums; the
//! term is lambda (sum C - tr C) / K: what lies beside the diagonal.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use crate::config::{Keys, Noted};
use crate::nn::ops::{Dims, Number, OpError, Tensor};
use crate::train::{Bench, FitError};

/// What keeps the logarithm of a probability of 0 finite, as in TLLib.
const EPS: f32 = 1e-5;
/// The least sum that a row is divided by: a class may be impossible in every image of a batch.
const LEAST: f32 = 1e-12;

/// Settings of minimum class confusion.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mcc {
    /// Temperature T that the logits are divided by.
    pub temperature: f32,
}

impl ReadTerm for Mcc {
    const WEIGHT: &'static str = "weight of the confusion between classes";
    const USUAL: Coefficient = Coefficient::Constant { max: 1.0 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[("temperature", "what the logits are divided by")]);
        let temperature = keys.float("temperature").positive().or(2.5);
        #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
        let temperature = temperature? as f32;
        Ok(Self { temperature })
    }
}

impl Term for Mcc {
    fn looks_at_target_logits(&self) -> bool {
        true
    }

    fn is_of_the_task(&self) -> bool {
        true
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Mcc {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let confusion = confusion(seen.target_logits(), self.temperature)?;
        bench.meter("confusion_loss", &confusion, seen.target_logits().rows());
        Ok(confusion.scale(lambda)?)
    }
}

/// (sum C - tr C) / K of logits `[N, K]`.
fn confusion(logits: &Tensor, temperature: f32) -> Result<Tensor, OpError> {
    let p = logits.div_by(temperature)?.softmax()?;
    let certainty = p.detached().row_entropies(EPS)?.scale(-1.0)?.exp()?.shift(1.0)?;
    let weights = certainty.div(&certainty.mean()?)?;
    let together = p.mul(&weights)?.transposed()?.matmul(&p)?;
    // The gradient of a quotient divides by its square, which must not round to 0.
    let together = together.div(&together.row_sums()?.clamp(LEAST, f32::MAX)?)?;
    let classes = logits.columns();
    let beside = (0..classes * classes).map(|at| f32::from(u8::from(at % (classes + 1) != 0)));
    let beside = p.constant(beside.collect(), Dims::Rows(classes, classes))?;
    #[expect(clippy::cast_precision_loss, reason = "classes are far below 2^24")]
    let classes = classes as f32;
    together.mul(&beside)?.sum()?.div_by(classes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ops::{CpuOps, Tape};

    fn confusion_of(logits: Vec<f32>, classes: usize) -> f64 {
        let dims = Dims::Rows(logits.len() / classes, classes);
        let logits = CpuOps::shared().tensor(logits, dims).unwrap();
        confusion(&logits, 2.5).unwrap().value()
    }

    #[test]
    fn rows_without_a_likeliest_class_confuse_all_classes_and_sure_ones_confuse_none() {
        // Of four equal columns, three lie beside the diagonal.
        assert!((confusion_of(vec![0.7; 24], 4) - 0.75).abs() < 1e-6);
        let sure = (0..64).map(|at| if at % 4 == at / 4 % 4 { 500.0 } else { 0.0 }).collect();
        assert!(confusion_of(sure, 4).abs() < 1e-6);
    }

    #[test]
    fn a_class_that_no_image_can_be_of_has_a_finite_gradient() {
        let tape = Tape::default();
        let logits = vec![400.0, 300.0, -400.0, 380.0, 400.0, -400.0];
        let logits = CpuOps::shared().tensor(logits, Dims::Rows(2, 3)).unwrap().on(&tape);
        let loss = confusion(&logits, 2.5).unwrap();
        assert!(loss.value().is_finite());
        let gradient = tape.backward(&loss).unwrap().take(&logits).unwrap().host();
        assert!(gradient.iter().all(|it| it.is_finite()), "{gradient:?}");
    }

    /// The published formulas, one number after the other.
    fn plainly(logits: &[f64], classes: usize) -> f64 {
        let rows: Vec<Vec<f64>> = logits
            .chunks(classes)
            .map(|row| {
                let exps: Vec<f64> = row.iter().map(|z| (z / 2.5).exp()).collect();
                exps.iter().map(|it| it / exps.iter().sum::<f64>()).collect()
            })
            .collect();
        let weight = |p: &Vec<f64>| 1.0 + p.iter().map(|p| p * p.ln()).sum::<f64>().exp();
        let weights: f64 = rows.iter().map(weight).sum();
        let beside: f64 = (0..classes)
            .map(|j| {
                let with = |k: usize| -> f64 {
                    rows.iter().map(|p| weight(p) / weights * p[j] * p[k]).sum()
                };
                1.0 - with(j) / (0..classes).map(with).sum::<f64>()
            })
            .sum();
        beside / classes as f64
    }

    #[test]
    fn the_confusion_is_the_published_formula() {
        let logits = [3.0, 2.5, -1.0, 0.5, 3.0, 1.0, -2.0, 9.0, 4.0, 0.1, 0.2, 0.3];
        let found = confusion_of(logits.map(|z| z as f32).to_vec(), 3);
        let expected = plainly(&logits, 3);
        assert!((found - expected).abs() < 1e-4, "{found} and {expected}");
    }
}
