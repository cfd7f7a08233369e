//! Deep adaptation networks (Long, Cao, Wang and Jordan 2015, "Learning Transferable Features with Deep
//! Adaptation Networks").
//!
//! loss = CE(class, source) + lambda MMD^2(f_s, f_t), where f are the features and the kernel of the
//! maximum mean discrepancy is a sum of Gaussians, whose widths follow the mean squared distance of the
//! batch ([`FeatureKernel`]); no gradient goes through that mean. With the N and M rows of a batch,
//!
//! MMD^2 = sum_{i != j} k(s_i, s_j) / (N (N - 1)) + sum_{i != j} k(t_i, t_j) / (M (M - 1))
//!         - 2 sum_{i, j} k(s_i, t_j) / (N M),
//!
//! which is unbiased, so that it may be below 0. A batch of one row has no term of its own. The linear
//! estimate, which TLLib takes unless told otherwise, is the mean over i of k(s_i, s_i') + k(t_i, t_i') -
//! k(s_i, t_i') - k(s_i', t_i) with i' = (i + 1) mod N. It is unbiased too and noisier, and looks at the
//! first min(N, M) rows of both domains.
//!
//! The paper also learns weights of the Gaussians by a quadratic programme and matches three layers of
//! AlexNet; here all weights are 1 and the layer is what the classifier takes in, as in TLLib, whose
//! constant 2 / (N - 1) in the reading is left out.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use super::kernels::FeatureKernel;
use crate::config::{Keys, Noted};
use crate::nn::ops::{Number, OpError, Tensor};
use crate::train::{Bench, FitError};

/// Settings of deep adaptation networks.
#[derive(Debug, Clone)]
pub(super) struct Dan {
    /// The kernel on the features, and how the discrepancy is estimated.
    pub kernel: FeatureKernel,
}

impl ReadTerm for Dan {
    const WEIGHT: &'static str = "weight of the maximum mean discrepancy of the features";
    const USUAL: Coefficient = Coefficient::Constant { max: 1.0 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        Ok(Self { kernel: FeatureKernel::read(keys)? })
    }
}

impl Term for Dan {
    fn looks_at_target_logits(&self) -> bool {
        false
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Dan {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let discrepancy = self.discrepancy(&seen.features.source, &seen.features.target)?;
        bench.meter("mk_mmd_loss", &discrepancy, seen.images());
        Ok(discrepancy.scale(lambda)?)
    }
}

impl Dan {
    /// The squared discrepancy of features `[N, d]` and `[M, d]`.
    fn discrepancy(&self, source: &Tensor, target: &Tensor) -> Result<Tensor, OpError> {
        let kernel = self.kernel.between(&self.kernel.together(source, target)?)?;
        self.kernel.discrepancy(&kernel, (source.rows(), target.rows()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::kernels::tests::{
        USUAL, USUAL_SQUARES, batch, gaussians, pairs, rows_of, unbiased,
    };

    const DAN: Dan = Dan { kernel: USUAL };

    #[test]
    fn the_discrepancy_is_the_published_formula() {
        let (source, target) = (batch(1, (4, 5)), batch(2, (3, 5)));
        let rows = [rows_of(&source), rows_of(&target)].concat();
        let expected = unbiased(&pairs(&rows, true, |it| gaussians(&USUAL_SQUARES, it)), 4);
        let found = DAN.discrepancy(&source, &target).unwrap().value();
        assert!(expected.abs() > 0.05, "{expected}");
        assert!((found - expected).abs() < 1e-5, "{found} and {expected}");
    }

    #[test]
    fn a_common_shift_and_a_common_scale_change_nothing() {
        let (source, target) = (batch(8, (6, 4)), batch(9, (5, 4)));
        let of = |change: &dyn Fn(&Tensor) -> Tensor| {
            DAN.discrepancy(&change(&source), &change(&target)).unwrap().value()
        };
        let found = of(&Tensor::clone);
        assert!(found.abs() > 0.05, "{found}");
        for other in
            [of(&|x: &Tensor| x.shift(3.0).unwrap()), of(&|x: &Tensor| x.scale(7.0).unwrap())]
        {
            assert!((found - other).abs() < 2e-5, "{found} and {other}");
        }
        let moved = DAN.discrepancy(&source, &target.shift(3.0).unwrap()).unwrap().value();
        assert!(moved > found + 0.5, "{found} and {moved}");
    }

    /// With each row beside itself, both batches' means over all pairs are the same; without, the
    /// estimate is below 0 by what these pairs add to one mean and not to the others.
    #[test]
    fn equal_batches_are_apart_by_nothing_but_the_pairs_that_are_left_out() {
        let x = batch(5, (6, 4));
        let kernel = rows_of(&USUAL.between(&USUAL.together(&x, &x).unwrap()).unwrap());
        let sign = |i: usize| if i < 6 { 1.0 } else { -1.0 };
        let row = |i: usize| (0..12).map(|j| sign(i) * sign(j) * kernel[i][j]).sum::<f64>();
        let biased = (0..12).map(row).sum::<f64>() / 36.0;
        assert!(biased.abs() < 1e-5, "{biased}");
        let found = DAN.discrepancy(&x, &x).unwrap().value();
        assert!(found < -0.05, "{found}");
    }

    #[test]
    fn one_image_of_a_domain_is_enough() {
        let found = DAN.discrepancy(&batch(6, (1, 4)), &batch(7, (5, 4))).unwrap().value();
        assert!(found.is_finite(), "{found}");
        let found = DAN.discrepancy(&batch(6, (1, 4)), &batch(7, (1, 4))).unwrap().value();
        assert!(found < 0.0, "{found}");
    }
}
