//! Batch spectral penalization (Chen, Wang, Long and Wang 2019, "Transferability vs. Discriminability: Batch
//! Spectral Penalization for Adversarial Domain Adaptation").
//!
//! The term is lambda sum_{i<=k} (s_i(F_s)^2 + s_i(F_t)^2) with the k largest singular values s_i of the
//! features F_s `[N, d]` and F_t `[M, d]` of either domain's batch. The paper adds it to an adversarial
//! method, which strengthens the leading directions of the features at the cost of the others, in which
//! classes also differ. Its gradient 2 s_i u_i v_i^T goes into the features, without reversal. As in the
//! paper and in TLLib the sum is not divided by the number of images, so that it grows with the batch.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use super::spectra::largest_squared_singular_values;
use crate::config::{Keys, Noted};
use crate::nn::ops::{Number, OpError, Tensor};
use crate::train::{Bench, Domains, FitError};

/// Settings of batch spectral penalization.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bsp {
    /// How many of the largest singular values count: the k of the paper.
    pub values: usize,
}

impl ReadTerm for Bsp {
    const WEIGHT: &'static str = "weight of the squares of the largest singular values";
    const USUAL: Coefficient = Coefficient::Constant { max: 1e-4 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[("values", "how many of the largest singular values of a batch count")]);
        Ok(Self { values: keys.count("values", 1..=10).or(1_usize)? })
    }
}

impl Term for Bsp {
    fn looks_at_target_logits(&self) -> bool {
        false
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Bsp {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let penalty = penalty(&seen.features, self.values)?;
        bench.meter("spectral_loss", &penalty, seen.images());
        Ok(penalty.scale(lambda)?)
    }
}

/// The sum of the squares of the `count` largest singular values of both domains' features.
fn penalty(features: &Domains, count: usize) -> Result<Tensor, OpError> {
    let source = largest_squared_singular_values(&features.source, count)?;
    source.add(&largest_squared_singular_values(&features.target, count)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ops::{CpuOps, Dims};

    #[test]
    fn each_domain_counts_with_its_own_largest_singular_values() {
        let rows = |values: &[f32]| {
            let dims = Dims::Rows(values.len() / 3, 3);
            CpuOps::shared().tensor(values.to_vec(), dims).unwrap()
        };
        // Rows at right angles: their lengths are the singular values, 3, 2 and 1, and 5 and 4.
        let source = rows(&[0.0, 2.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        let target = rows(&[3.0, 0.0, 4.0, 0.0, 4.0, 0.0]);
        let features = Domains { source, target };
        for (count, expected) in [(1, 9.0 + 25.0), (2, 13.0 + 41.0), (3, 14.0 + 41.0)] {
            let found = penalty(&features, count).unwrap().value();
            assert!((found - expected).abs() < 1e-4, "{count}: {found} and {expected}");
        }
    }
}
