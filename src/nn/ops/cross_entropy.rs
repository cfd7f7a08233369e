//! The loss of a classifier: mean negative log-likelihood of the labels, in nats.

use dfdx::prelude::*;

use super::tape::{self, Sums, values};
use super::{Batch, Needs, Scalar};
use crate::memory;

/// `log softmax` of every row of `logits` `[N, classes]`, on the host.
///
/// # Panics
/// When `logits` is not whole rows.
pub fn log_softmax(logits: &[f32], classes: usize) -> Vec<f32> {
    assert!(classes > 0 && logits.len().is_multiple_of(classes), "logits are not whole rows");
    let mut logs = logits.to_vec();
    for row in logs.chunks_exact_mut(classes) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|logit| f64::from(logit - largest).exp()).sum();
        #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
        let log_sum = sum.ln() as f32;
        for logit in row {
            *logit = *logit - largest - log_sum;
        }
    }
    logs
}

/// [`Ops::cross_entropy`](super::Ops::cross_entropy) on the CPU.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When there is not one label a row, a label is no class or the batch is empty.
pub fn cross_entropy<T: Tape<f32, Cpu>>(
    logits: Batch<Cpu, T>,
    labels: &[u32],
) -> Result<Scalar<Cpu, T>, CpuError> {
    let classes = check(logits.shape(), labels);
    let (x, tape) = logits.split_tape();
    let input = values(&x);
    let logs = log_softmax(&input, classes);
    memory::give(input);
    let rows = logs.chunks_exact(classes).zip(labels);
    let sum: f64 = rows.map(|(row, label)| -f64::from(row[*label as usize])).sum();
    #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^24 rows")]
    let share = 1.0 / labels.len() as f32;
    #[expect(clippy::cast_possible_truncation, reason = "losses are f32")]
    let loss = (sum * f64::from(share)) as f32;
    let y = x.device().try_tensor_from_vec(vec![loss], ())?;
    if !T::OWNS_TAPE {
        return Ok(y.put_tape(tape));
    }
    let labels = labels.to_vec();
    let needs = Needs { input: true, weight: false };
    Ok(tape::record(tape, &x, &[], y, needs, move |dy, sums: Sums<'_>| {
        let dx = sums.input.expect("the input's gradient is needed");
        let factor = dy[0] * share;
        let rows = logs.chunks_exact(classes).zip(dx.chunks_exact_mut(classes));
        for ((row, dx), label) in rows.zip(&labels) {
            for (dx, log) in dx.iter_mut().zip(row.iter()) {
                *dx += factor * log.exp();
            }
            dx[*label as usize] -= factor;
        }
    }))
}

/// [`Ops::cross_entropy`](super::Ops::cross_entropy) of dfdx's own operations.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When there is not one label a row, a label is no class or the batch is empty.
pub fn cross_entropy_generic<D: Device<f32>, T: Tape<f32, D>>(
    logits: Batch<D, T>,
    labels: &[u32],
) -> Result<Scalar<D, T>, D::Err> {
    let classes = check(logits.shape(), labels);
    let shape = *logits.shape();
    let mut share = vec![0.0; labels.len() * classes];
    for (row, label) in share.chunks_exact_mut(classes).zip(labels) {
        #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^24 rows")]
        let each = -1.0 / labels.len() as f32;
        row[*label as usize] = each;
    }
    let share = logits.device().try_tensor_from_vec(share, shape)?;
    logits.try_log_softmax::<Axis<1>>()?.try_mul(share)?.try_sum::<(), Axes2<0, 1>>()
}

fn check(logits: &(usize, usize), labels: &[u32]) -> usize {
    let (n, classes) = *logits;
    assert!(n > 0, "cross_entropy: the batch is empty");
    assert_eq!(labels.len(), n, "cross_entropy: labels are not [N]");
    for label in labels {
        assert!((*label as usize) < classes, "cross_entropy: {label} is none of {classes} classes");
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_softmax_stands_large_logits() {
        let logs = log_softmax(&[1000.0, 1000.0, -1000.0, 0.0], 2);
        assert!((logs[0] - 0.5_f32.ln()).abs() < 1e-6 && (logs[1] - 0.5_f32.ln()).abs() < 1e-6);
        assert_eq!((logs[2], logs[3]), (-1000.0, 0.0));
    }
}
