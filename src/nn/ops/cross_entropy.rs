//! The loss of a classifier: mean negative log-likelihood of the labels, in nats.

use dfdx::prelude::*;

use super::matrix::DfdxMatrix;
use super::tape::record;
use super::{Dims, OpError, Tensor, Varying};

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

/// What the rows of logits should say: N of everything.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// A class for each row.
    pub labels: Varying<'a, u32>,
    /// A second class for each row and its share of the target, 0 to 1 (mixup: Zhang et al. 2018).
    pub mixed: Option<(&'a [u32], f32)>,
    /// Share of the target that is spread evenly over all classes, 0 to below 1 (label smoothing:
    /// Szegedy et al. 2016).
    pub smoothing: f32,
}

impl<'a> Targets<'a> {
    /// One class a row and nothing else.
    pub fn plain(labels: impl Into<Varying<'a, u32>>) -> Self {
        Self { labels: labels.into(), mixed: None, smoothing: 0.0 }
    }

    /// The same as those of the images of a step, which are others at the next one.
    #[must_use]
    pub(crate) fn of_step(self) -> Self {
        Self { labels: Varying::of_step(self.labels.unseen()), ..self }
    }

    /// Whether every row is one class.
    fn is_plain(&self) -> bool {
        self.mixed.is_none() && self.smoothing == 0.0
    }

    /// Whether there are as many as logits `[N, classes]` want, each of a class; the number of these.
    ///
    /// # Panics
    /// When they do not fit, or there is none.
    pub(super) fn check(&self, (n, classes): (usize, usize)) -> usize {
        let labels = self.labels.unseen();
        let others = self.mixed.map_or(labels, |it| it.0);
        assert!(n > 0, "cross_entropy: the batch is empty");
        assert_eq!((labels.len(), others.len()), (n, n), "cross_entropy: labels are not [N]");
        for label in labels.iter().chain(others) {
            assert!(
                (*label as usize) < classes,
                "cross_entropy: {label} is none of {classes} classes"
            );
        }
        classes
    }

    /// Shares of the classes, `[N, classes]`; each row's sum is 1.
    pub(crate) fn shares(&self, classes: usize) -> Vec<f32> {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^24 classes")]
        let even = self.smoothing / classes as f32;
        let mut shares = vec![even; self.labels.len() * classes];
        let (others, share) = self.mixed.unwrap_or((&self.labels, 0.0));
        let rows = shares.chunks_exact_mut(classes).zip(self.labels.iter().zip(others));
        for (row, (label, other)) in rows {
            row[*label as usize] += (1.0 - self.smoothing) * (1.0 - share);
            row[*other as usize] += (1.0 - self.smoothing) * share;
        }
        shares
    }
}

/// [`Ops::cross_entropy`](super::Ops::cross_entropy) on the CPU.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When there are not as many labels as rows, a label is no class or the batch is empty.
pub fn cross_entropy(logits: &Tensor, targets: &Targets) -> Result<Tensor, OpError> {
    let classes = targets.check((logits.rows(), logits.columns()));
    let labels = targets.labels.unseen();
    let logs = log_softmax(logits.values(), classes);
    let rows = logs.chunks_exact(classes).zip(labels);
    let shares = if targets.is_plain() { Vec::new() } else { targets.shares(classes) };
    let sum: f64 = if shares.is_empty() {
        rows.map(|(row, label)| -f64::from(row[*label as usize])).sum()
    } else {
        logs.iter().zip(&shares).map(|(log, share)| -f64::from(*log) * f64::from(*share)).sum()
    };
    #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^24 rows")]
    let share = 1.0 / labels.len() as f32;
    #[expect(clippy::cast_possible_truncation, reason = "losses are f32")]
    let loss = (sum * f64::from(share)) as f32;
    let labels = labels.to_vec();
    Ok(record(&[logits], logits.beside(vec![loss], Dims::Scalar), move |dy, sums| {
        let Some(dx) = &mut sums[0] else { return };
        let factor = dy[0] * share;
        let rows = logs.chunks_exact(classes).zip(dx.chunks_exact_mut(classes));
        for ((row, dx), label) in rows.zip(&labels) {
            for (dx, log) in dx.iter_mut().zip(row.iter()) {
                *dx += factor * log.exp();
            }
            if shares.is_empty() {
                dx[*label as usize] -= factor;
            }
        }
        for (dx, share) in dx.iter_mut().zip(&shares) {
            *dx -= factor * share;
        }
    }))
}

/// [`Ops::cross_entropy`](super::Ops::cross_entropy) of dfdx's own operations.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When there are not as many labels as rows, a label is no class or the batch is empty.
pub(super) fn cross_entropy_generic<D: Device<f32>, T: Tape<f32, D>>(
    logits: DfdxMatrix<D, T>,
    targets: &Targets,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    let classes = targets.check(*logits.shape());
    let shape = *logits.shape();
    #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^24 rows")]
    let each = -1.0 / shape.0 as f32;
    let share: Vec<f32> = targets.shares(classes).iter().map(|share| share * each).collect();
    let share = logits.device().try_tensor_from_vec(share, shape)?;
    let sum = logits.try_log_softmax::<Axis<1>>()?.try_mul(share)?.try_sum::<(), Axes2<0, 1>>()?;
    sum.try_reshape_like(&(1, 1))
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
