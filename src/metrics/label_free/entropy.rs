//! Mean entropy of the predictions: sure answers are taken for right ones (Morerio et al. 2018,
//! "Minimal-Entropy Correlation Alignment", use it to choose settings).

/// Lower is better. It is also low for a model that takes everything for one class; see
/// [`super::info_max`].
pub fn higher_is_better() -> bool {
    false
}

/// -(1/N) sum_i sum_c p_ic ln p_ic of probabilities `[N, classes]`, in nats, 0 to ln `classes`.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn entropy(probabilities: &[f64], classes: usize) -> f64 {
    let count = probabilities.len() / classes;
    probabilities.chunks_exact(classes).map(of).sum::<f64>() / count as f64
}

/// The entropy of one distribution, in nats.
pub(super) fn of(row: &[f64]) -> f64 {
    -row.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>()
}
