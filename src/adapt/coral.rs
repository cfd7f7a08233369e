//! Deep CORAL (Sun and Saenko 2016, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation").
//!
//! loss = CE(class, source) + lambda |C_S - C_T|^2 / (4 d^2), with the covariance matrices C of the d
//! class logits over a batch of either domain and the squared Frobenius norm. The logits are where
//! the paper puts it (section 4.1: the last classification layer, which every classifier has), and
//! with d = classes the matrices are small. Source and target go through the network in separate
//! passes: batch norm must see one domain at a time.

use dfdx::prelude::*;

use super::{Classified, Domains, LambdaSchedule, Losses, Reading, Step, value};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::nn::Part;
use crate::nn::ops::{Batch, Ops, Scalar};

/// Settings of Deep CORAL.
#[derive(Debug, Clone)]
pub struct Coral {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Weight of the CORAL loss. The paper's rule: such that both losses are about the same at the
    /// end of training.
    pub lambda: LambdaSchedule,
}

impl Coral {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            ("lambda", "weight of the distance between the covariances"),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let lambda = LambdaSchedule::read(keys);
        Ok(Self { target: target?, lambda: lambda? })
    }

    pub(super) fn losses<D: Ops>(&self, step: Step<D>) -> Result<Losses<D>, D::Err> {
        let lambda = self.lambda.at(step.progress);
        let Domains { model, entry, source, source_pass, targets, target, target_pass } =
            step.domains();

        let features = model.features_from(entry, source.leaky_traced(), source_pass)?;
        let logits = model.forward(&Part::CLASSIFIER, features, source_pass)?;
        let for_coral = logits.with_empty_tape();
        let classified = Classified::new(logits, &targets)?;

        let features = model.features_from(entry, target.leaky_traced(), target_pass)?;
        let of_target = model.forward(&Part::CLASSIFIER, features, target_pass)?;
        let both = classified.count + of_target.shape().0;
        let coral_loss = distance(for_coral, of_target)?;

        let readings = vec![
            classified.loss_reading(),
            Reading { name: "coral_loss", value: value(&coral_loss), weight: both },
            classified.accuracy_reading(),
            Reading { name: "lambda", value: f64::from(lambda), weight: 0 },
        ];
        let total = classified.loss.try_add(coral_loss.try_mul(lambda)?)?;
        Ok(Losses { total, readings })
    }
}

/// |C_S - C_T|^2 / (4 d^2) of activations `[N, d]` and `[M, d]`, equation 1 of the paper.
fn distance<D: Ops, T: Tape<f32, D> + Merge<T>>(
    source: Batch<D, T>,
    target: Batch<D, T>,
) -> Result<Scalar<D, T>, D::Err> {
    #[expect(clippy::cast_precision_loss, reason = "widths are far below 2^24")]
    let width = source.shape().1 as f32;
    let apart = covariance(source)?.try_sub(covariance(target)?)?;
    apart.try_square()?.try_sum::<(), _>()?.try_div(4.0 * width * width)
}

/// The unbiased covariance matrix `[d, d]` of the rows of `x` `[N, d]`; zeros for a single row.
fn covariance<D: Ops, T: Tape<f32, D> + Merge<T>>(x: Batch<D, T>) -> Result<Batch<D, T>, D::Err> {
    let shape = *x.shape();
    #[expect(clippy::cast_precision_loss, reason = "batches are far below 2^24 images")]
    let freedom = shape.0.saturating_sub(1).max(1) as f32;
    let (x, tape) = x.split_tape();
    let mean = x.clone().put_tape(tape).try_mean::<(usize,), Axis<0>>()?;
    let centred = mean.try_broadcast_like::<_, Axis<0>>(&shape)?.try_negate()?.try_add(x)?;
    let (centred, tape) = centred.split_tape();
    // The product makes it a tensor of its own: a transpose alone shares the id of what it is of.
    let transposed =
        centred.clone().put_tape(tape).try_mul(1.0)?.try_permute::<_, Axes2<1, 0>>()?;
    transposed.try_matmul(centred)?.try_div(freedom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::model::host;

    /// Numbers without a pattern, from -1 to 1.
    fn batch(device: &Cpu, salt: u32, shape: (usize, usize)) -> Batch<Cpu> {
        let values = (0..shape.0 * shape.1).map(|at| {
            let hash = (at as u32 + 1).wrapping_mul(2_654_435_761).wrapping_add(salt * 40_503);
            f64::from(hash.wrapping_mul(hash >> 13 | 1)) / f64::from(u32::MAX) * 2.0 - 1.0
        });
        device.tensor_from_vec(values.map(|value| value as f32).collect(), shape)
    }

    #[test]
    fn the_covariance_is_the_published_formula() {
        let device = Cpu::default();
        let x = batch(&device, 1, (7, 3));
        let rows: Vec<Vec<f64>> =
            host(&x).chunks(3).map(|row| row.iter().map(|it| f64::from(*it)).collect()).collect();
        let found = host(&covariance(x).unwrap());
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
        let device = Cpu::default();
        let x = batch(&device, 2, (8, 4));
        let shifted = x.clone() + 3.0;
        let same = distance(x.clone(), shifted).unwrap();
        assert!(host(&same)[0].abs() < 1e-10);
        let other = distance(x.clone(), x * 2.0).unwrap();
        assert!(host(&other)[0] > 1e-3);
    }
}
