//! Moves the mean features of the target toward those of the source: a maximum mean discrepancy with
//! a linear kernel (Tzeng et al. 2014, "Deep Domain Confusion").
//!
//! The term is lambda |mean f(source) - mean f(target)|^2 over a batch of each domain.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use crate::config::{Keys, Noted};
use crate::nn::ops::{Number, OpError, Tensor};
use crate::train::{Bench, FitError};

/// Settings of the method: none but its weight and the target, which every such method has.
#[derive(Debug, Clone, Copy)]
pub(super) struct MeanDistance;

impl ReadTerm for MeanDistance {
    const WEIGHT: &'static str = "weight of the distance between the mean features";
    const USUAL: Coefficient = Coefficient::GANIN;

    fn read(_: &mut Keys) -> Result<Self, Noted> {
        Ok(Self)
    }
}

impl Term for MeanDistance {
    fn looks_at_target_logits(&self) -> bool {
        false
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

/// It remembers nothing between steps, so that its settings are all there is of it in a training.
impl ActiveTerm for &MeanDistance {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let distance = distance(&seen.features.source, &seen.features.target)?;
        bench.meter("mean_distance", &distance, seen.images());
        Ok(distance.scale(lambda)?)
    }
}

/// |mean of the rows of `source` - mean of the rows of `target`|^2, of `[N, d]` and `[M, d]`.
fn distance(source: &Tensor, target: &Tensor) -> Result<Tensor, OpError> {
    source.mean_of_rows()?.sub(&target.mean_of_rows()?)?.square()?.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ops::{CpuOps, Dims};

    #[test]
    fn the_distance_is_that_of_the_means() {
        let rows = |values: Vec<f32>| {
            let dims = Dims::Rows(values.len() / 2, 2);
            CpuOps::shared().tensor(values, dims).unwrap()
        };
        let (source, target) = (rows(vec![0.0, 0.0, 2.0, 4.0]), rows(vec![4.0, 4.0]));
        // The means are (1, 2) and (4, 4).
        assert_eq!(distance(&source, &target).unwrap().value(), 9.0 + 4.0);
        assert_eq!(distance(&source, &source).unwrap().value(), 0.0);
    }

    #[test]
    fn the_line_that_registers_it_fits() {
        let _: fn(&mut Keys) -> Result<MeanDistance, Noted> = MeanDistance::read;
        let _: fn(&MeanDistance) -> &dyn Term = |term| term;
    }
}
