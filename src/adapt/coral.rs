//! Deep CORAL (Sun and Saenko 2016, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation").
//!
//! loss = CE(class, source) + lambda |C_S - C_T|^2 / (4 d^2), with the covariance matrices C of the d
//! class logits over a batch of either domain and the squared Frobenius norm. The logits are where
//! the paper puts it (section 4.1: the last classification layer, which every classifier has), and
//! with d = classes the matrices are small; `layer = "features"` takes the features instead. Source and target go through the network in separate
//! passes: batch norm must see one domain at a time.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use crate::config::{Keys, Noted, words};
use crate::nn::ops::{Number, OpError, Tensor};
use crate::train::{Bench, FitError};

/// Settings of Deep CORAL.
#[derive(Debug, Clone)]
pub(super) struct Coral {
    /// What is to be distributed alike.
    pub layer: AlignedLayer,
}

words! {
    /// What of a network a method aligns.
    pub(super) enum AlignedLayer {
        /// Class logits.
        Logits = "logits",
        /// What the classifier takes in.
        Features = "features",
    }
}

impl ReadTerm for Coral {
    const WEIGHT: &'static str = "weight of the distance between the covariances";
    const USUAL: Coefficient = Coefficient::GANIN;

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[(
            "layer",
            "what is to have equal covariances: features, or class logits when left out",
        )]);
        let layer = keys.choice("layer").optional()?.unwrap_or(AlignedLayer::Logits);
        if layer == AlignedLayer::Logits {
            // Recorded as before there was a choice: it is the same training.
            keys.take("layer");
        }
        Ok(Self { layer })
    }
}

impl Term for Coral {
    fn looks_at_target_logits(&self) -> bool {
        true
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Coral {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let (source, target) = match self.layer {
            AlignedLayer::Logits => (seen.source_logits(), seen.target_logits()),
            AlignedLayer::Features => (&seen.features.source, &seen.features.target),
        };
        let distance = distance(source, target)?;
        bench.meter("coral_loss", &distance, seen.images());
        Ok(distance.scale(lambda)?)
    }
}

/// |C_S - C_T|^2 / (4 d^2) of activations `[N, d]` and `[M, d]`, equation 1 of the paper.
fn distance(source: &Tensor, target: &Tensor) -> Result<Tensor, OpError> {
    #[expect(clippy::cast_precision_loss, reason = "widths are far below 2^24")]
    let width = source.columns() as f32;
    let apart = covariance(source)?.sub(&covariance(target)?)?;
    apart.square()?.sum()?.div_by(4.0 * width * width)
}

/// The unbiased covariance matrix `[d, d]` of the rows of `x` `[N, d]`; zeros for a single row.
fn covariance(x: &Tensor) -> Result<Tensor, OpError> {
    #[expect(clippy::cast_precision_loss, reason = "batches are far below 2^24 images")]
    let freedom = x.rows().saturating_sub(1).max(1) as f32;
    let centred = x.sub(&x.mean_of_rows()?)?;
    centred.transposed()?.matmul(&centred)?.div_by(freedom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ops::{CpuOps, Dims};

    /// Numbers without a pattern, from -1 to 1.
    fn batch(salt: u32, shape: (usize, usize)) -> Tensor {
        let values = (0..shape.0 * shape.1).map(|at| {
            let hash = (at as u32 + 1).wrapping_mul(2_654_435_761).wrapping_add(salt * 40_503);
            f64::from(hash.wrapping_mul(hash >> 13 | 1)) / f64::from(u32::MAX) * 2.0 - 1.0
        });
        let values = values.map(|value| value as f32).collect();
        CpuOps::shared().tensor(values, Dims::Rows(shape.0, shape.1)).unwrap()
    }

    #[test]
    fn the_covariance_is_the_published_formula() {
        let x = batch(1, (7, 3));
        let rows: Vec<Vec<f64>> =
            x.host().chunks(3).map(|row| row.iter().map(|it| f64::from(*it)).collect()).collect();
        let found = covariance(&x).unwrap().host();
        for i in 0..3 {
            for j in 0..3 {
                // (D^T D - (1^T D)^T (1^T D) / n) / (n - 1)
                let product: f64 = rows.iter().map(|row| row[i] * row[j]).sum();
                let sums: [f64; 2] = [i, j].map(|at| rows.iter().map(|row| row[at]).sum());
                let expected = (product - sums[0] * sums[1] / 7.0) / 6.0;
                assert!((f64::from(found[3 * i + j]) - expected).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn the_distance_is_zero_between_equal_batches_and_does_not_see_the_mean() {
        let x = batch(2, (8, 4));
        let shifted = x.shift(3.0).unwrap();
        let same = distance(&x, &shifted).unwrap();
        assert!(same.value().abs() < 1e-10);
        let other = distance(&x, &x.scale(2.0).unwrap()).unwrap();
        assert!(other.value() > 1e-3);
    }
}
