//! Deep CORAL (Sun and Saenko 2016, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation").
//!
//! loss = CE(class, source) + lambda |C_S - C_T|^2 / (4 d^2), with the covariance matrices C of the d
//! class logits over a batch of either domain and the squared Frobenius norm. The logits are where
//! the paper puts it (section 4.1: the last classification layer, which every classifier has), and
//! with d = classes the matrices are small. Source and target go through the network in separate
//! passes: batch norm must see one domain at a time.

use super::{Classified, Coefficient};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::nn::Part;
use crate::nn::ops::{OpError, Tensor};
use crate::train::{Batch, BatchNormFamily, Bench, FitError, Group, Learner, Method, Needs};

/// Settings of Deep CORAL.
#[derive(Debug, Clone)]
pub struct Coral {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Weight of the CORAL loss. The paper's rule: such that both losses are about the same at the
    /// end of training.
    pub lambda: Coefficient,
}

impl Coral {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            ("lambda", "weight of the distance between the covariances"),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let lambda = Coefficient::read(keys, "lambda", Coefficient::GANIN);
        Ok(Self { target: target?, lambda: lambda? })
    }
}

impl Method for Coral {
    fn needs(&self) -> Needs<'_> {
        let batch_norm = BatchNormFamily::ALL;
        Needs { target: Some(&self.target), batch_norm, ..Needs::SOURCE }
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        Ok(Box::new(Aligning(self)))
    }
}

/// Deep CORAL in the middle of a training: it remembers nothing.
struct Aligning<'m>(&'m Coral);

impl Learner for Aligning<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let lambda = bench.knob("lambda", |progress| self.0.lambda.at(progress));
        let features = bench.both(&Part::FEATURES, &batch.images())?;
        let logits = bench.both(&Part::CLASSIFIER, &features)?;
        let classified = Classified::new(&logits.source, &batch.source().targets)?;
        let distance = distance(&logits.source, &logits.target)?;
        classified.report_loss(bench);
        bench.meter("coral_loss", &distance, classified.count + logits.target.rows());
        classified.report_accuracy(bench);
        let loss = classified.loss.add(&distance.scale(lambda)?)?;
        bench.descend(&loss, &[Group::MAIN])
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
