//! Joint adaptation networks (Long, Zhu, Wang and Jordan 2017, "Deep Transfer Learning with Joint
//! Adaptation Networks").
//!
//! loss = CE(class, source) + lambda JMMD^2: the squared maximum mean discrepancy between the joint
//! distributions of the features f and the class probabilities p = softmax(z). Its kernel is the product
//! k_f k_p of that of `dan` on the features, a sum of Gaussians whose widths follow the mean squared
//! distance of the batch ([`FeatureKernel`]), and of one Gaussian k_p = exp(-|p - p'|^2 / (2 sigma^2)) with
//! sigma = 0.92. The estimates, unbiased from all pairs of images or linear, are those of `dan`.
//!
//! Gradients reach the classifier through the probabilities of both domains; none goes through the mean
//! distance. The adversarial variant of the paper, with a layer of its own before each kernel, is not
//! here, nor is the constant 2 / (N - 1) that TLLib adds to the reading.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use super::kernels::{FeatureKernel, gaussian};
use crate::config::{Keys, Noted};
use crate::nn::ops::{Number, OpError, Tensor};
use crate::train::{Bench, Domains, FitError};

/// Settings of joint adaptation networks.
#[derive(Debug, Clone)]
pub(super) struct Jan {
    /// The kernel on the features, and how the discrepancy is estimated.
    pub kernel: FeatureKernel,
    /// Width sigma of the Gaussian on the class probabilities.
    pub probability_width: f64,
}

impl ReadTerm for Jan {
    const WEIGHT: &'static str = "weight of the discrepancy of features and class probabilities";
    const USUAL: Coefficient = Coefficient::Constant { max: 1.0 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[("probability_width", "width of the Gaussian on the class probabilities")]);
        let kernel = FeatureKernel::read(keys);
        let probability_width = keys.float("probability_width").at_least(0.01).or(0.92);
        Ok(Self { kernel: kernel?, probability_width: probability_width? })
    }
}

impl Term for Jan {
    fn looks_at_target_logits(&self) -> bool {
        true
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Jan {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let source = seen.source_logits().softmax()?;
        let target = seen.target_logits().softmax()?;
        let discrepancy = self.discrepancy(&seen.features, &Domains { source, target })?;
        bench.meter("joint_mmd_loss", &discrepancy, seen.images());
        Ok(discrepancy.scale(lambda)?)
    }
}

impl Jan {
    /// The squared discrepancy of features `[N, d]` and `[M, d]` with class probabilities `[N, K]` and
    /// `[M, K]`.
    fn discrepancy(&self, features: &Domains, probabilities: &Domains) -> Result<Tensor, OpError> {
        let together = |it: &Domains| self.kernel.together(&it.source, &it.target);
        let on_features = self.kernel.between(&together(features)?)?;
        let on_probabilities = gaussian(&together(probabilities)?, self.probability_width)?;
        let rows = (features.source.rows(), features.target.rows());
        self.kernel.discrepancy(&on_features.mul(&on_probabilities)?, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::kernels::Estimate;
    use crate::adapt::kernels::tests::{
        USUAL, USUAL_SQUARES, batch, gaussians, pairs, rows_of, unbiased,
    };

    /// Features and probabilities of four and three images.
    fn seen() -> [Domains; 2] {
        let probabilities =
            |salt, rows| batch(salt, (rows, 3)).scale(4.0).unwrap().softmax().unwrap();
        [
            Domains { source: batch(1, (4, 5)), target: batch(2, (3, 5)) },
            Domains { source: probabilities(3, 4), target: probabilities(4, 3) },
        ]
    }

    #[test]
    fn the_discrepancy_has_the_product_of_both_kernels() {
        let [features, probabilities] = seen();
        let rows = |it: &Domains| [rows_of(&it.source), rows_of(&it.target)].concat();
        let mut kernel = pairs(&rows(&features), true, |it| gaussians(&USUAL_SQUARES, it));
        let other = pairs(&rows(&probabilities), false, |it| gaussians(&[0.92 * 0.92], it));
        for (kernel, other) in kernel.iter_mut().flatten().zip(other.iter().flatten()) {
            *kernel *= other;
        }
        let expected = unbiased(&kernel, 4);
        let jan = Jan { kernel: USUAL, probability_width: 0.92 };
        let found = jan.discrepancy(&features, &probabilities).unwrap().value();
        assert!(expected.abs() > 0.05, "{expected}");
        assert!((found - expected).abs() < 1e-5, "{found} and {expected}");
    }

    #[test]
    fn a_huge_width_leaves_the_discrepancy_of_the_features() {
        let [features, probabilities] = seen();
        for estimate in [Estimate::Quadratic, Estimate::Linear] {
            let kernel = FeatureKernel { estimate, ..USUAL };
            let of = |probability_width: f64| {
                let jan = Jan { kernel, probability_width };
                jan.discrepancy(&features, &probabilities).unwrap().value()
            };
            let Domains { source, target } = &features;
            let alone = kernel.between(&kernel.together(source, target).unwrap()).unwrap();
            let alone = kernel.discrepancy(&alone, (4, 3)).unwrap().value();
            assert!((of(1e6) - alone).abs() < 1e-6, "{} and {alone}", of(1e6));
            assert!((of(0.3) - alone).abs() > 1e-2, "{} and {alone}", of(0.3));
        }
    }
}
