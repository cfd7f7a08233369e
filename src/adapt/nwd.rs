//! Nuclear-norm Wasserstein discrepancy (Chen, Chen, Wei, Jin, Tan, Jin and Chen 2022, "Reusing the Task-specific
//! Classifier as a Discriminator: Discriminator-free Adversarial Domain Adaptation"), called DALN there.
//!
//! With the class probabilities P_s `[N, K]` and P_t `[M, K]` of a batch of either domain and the sum of
//! the singular values |P|_*,
//!
//!   W = |P_s|_* / N - |P_t|_* / M;    the term is -lambda W.
//!
//! P comes from the classifier itself, run again on features whose gradient is multiplied by -reversal on
//! its way back: the classifier goes up W, as a critic would (sure and diverse answers for the source, flat
//! ones for the target), and the features go down it. No gradient stops in between, and there are no
//! parameters besides the network's. The gradient of the norm is U V^T of P = U S V^T.
//!
//! The second run is a training pass as in the authors' code: it has the masks of dropout of the first, so
//! that P is that of the first, and the running averages of a batch norm in the classifier move once more
//! by the same batch. The paper has batches of one size B and divides by it; here each norm is divided by
//! its own number of images.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use super::spectra::nuclear_norm;
use crate::config::{Keys, Noted};
use crate::nn::Part;
use crate::nn::ops::{Number, OpError, Tensor};
use crate::train::{Bench, Domains, FitError};

/// Settings of the nuclear-norm Wasserstein discrepancy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nwd {
    /// What the gradient is multiplied by, and turned round, on its way from the classifier into the features.
    pub reversal: Coefficient,
}

impl ReadTerm for Nwd {
    const WEIGHT: &'static str = "weight of the discrepancy, which the classifier increases";
    const USUAL: Coefficient = Coefficient::Constant { max: 1.0 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[(
            "reversal",
            "how much of the reversed gradient of the discrepancy the features get",
        )]);
        let usual = Coefficient::Tanh { steps: 2000, max: 1.0 };
        Ok(Self { reversal: Coefficient::read(keys, "reversal", usual)? })
    }
}

impl Term for Nwd {
    /// It runs the classifier itself. That the first run has both domains, too, keeps the balance of their
    /// shares in its running averages.
    fn looks_at_target_logits(&self) -> bool {
        true
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Nwd {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let reversal = bench.knob("reversal", self.reversal.over_time());
        let logits = bench.both(&Part::CLASSIFIER, &seen.features.reversed(reversal)?)?;
        let discrepancy = discrepancy(&logits)?;
        bench.meter("wasserstein_loss", &discrepancy, seen.images());
        Ok(discrepancy.scale(-lambda)?)
    }
}

/// W of the logits of both domains.
fn discrepancy(logits: &Domains) -> Result<Tensor, OpError> {
    let mean_norm = |logits: &Tensor| {
        #[expect(clippy::cast_precision_loss, reason = "batches are far below 2^24 images")]
        let rows = logits.rows() as f32;
        nuclear_norm(&logits.softmax()?)?.div_by(rows)
    };
    mean_norm(&logits.source)?.sub(&mean_norm(&logits.target)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::step;
    use crate::nn::ops::{CpuOps, Dims};
    use crate::train::Gradient;

    /// Logits of these probabilities of two classes.
    fn logits(p: &[f32]) -> Tensor {
        let values: Vec<f32> = p.iter().map(|it| it.ln()).collect();
        CpuOps::shared().tensor(values, Dims::Rows(p.len() / 2, 2)).unwrap()
    }

    #[test]
    fn the_discrepancy_is_that_of_the_norms_per_image() {
        // The singular values of [[a, b], [c, d]] add up to sqrt(a^2 + b^2 + c^2 + d^2 + 2 |ad - bc|).
        let source = [0.9_f32, 0.1, 0.2, 0.8];
        let squares: f64 = source.iter().map(|it| f64::from(*it).powi(2)).sum();
        let norm = (squares + 2.0 * (0.9 * 0.8 - 0.1 * 0.2)).sqrt();
        // Three rows that are alike have one singular value.
        let target = (3.0 * (0.6_f64.powi(2) + 0.4_f64.powi(2))).sqrt();
        let both = Domains { source: logits(&source), target: logits(&[0.6_f32, 0.4].repeat(3)) };
        let found = discrepancy(&both).unwrap().value();
        let expected = norm / 2.0 - target / 3.0;
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        // Sure and diverse answers for the source are worth the most: a norm of 1 per image.
        let sure = Domains { source: logits(&[1.0, 1e-9, 1e-9, 1.0]), target: both.target };
        assert!(discrepancy(&sure).unwrap().value() > found);
    }

    #[test]
    fn domains_with_the_same_answers_do_not_differ() {
        let p = [0.9, 0.1, 0.2, 0.8, 0.5, 0.5];
        let both = Domains { source: logits(&p), target: logits(&p) };
        assert_eq!(discrepancy(&both).unwrap().value(), 0.0);
    }

    #[test]
    fn the_classifier_goes_up_the_discrepancy_and_the_features_go_down_it() {
        let gradient = |lambda: f64, reversal: f64| -> Gradient {
            let kind = "kind = 'nwd', target = 'other.train'";
            let line = format!("method = {{ {kind}, lambda = {lambda}, reversal = {reversal} }}");
            step(&line, |_| {}).1.remove(0)
        };
        let without = gradient(0.0, 1.0);
        let moved = |with: &Gradient, part: &str| -> Vec<f32> {
            let own = with.iter().zip(&without).filter(|(it, _)| it.0.starts_with(part));
            own.flat_map(|(with, without)| {
                with.1.iter().zip(&without.1).map(|(a, b)| a - b).collect::<Vec<f32>>()
            })
            .collect()
        };
        let (once, stopped) = (gradient(1.0, 1.0), gradient(1.0, 0.0));
        assert!(moved(&once, "features.").iter().any(|it| it.abs() > 1e-4));
        assert!(moved(&stopped, "features.").iter().all(|it| *it == 0.0));
        // The coefficient of the reversal is the features' alone.
        assert!(moved(&once, "classifier.").iter().any(|it| it.abs() > 1e-4));
        assert_eq!(moved(&once, "classifier."), moved(&stopped, "classifier."));
    }
}
