//! Deep embedded validation: the importance-weighted loss with a control variate, which has a smaller
//! variance (You et al. 2019, "Towards Accurate Model Selection in Deep Unsupervised Domain Adaptation").

use super::iwv;

/// Lower is better.
pub fn higher_is_better() -> bool {
    false
}

/// mean(w l) + eta mean(w) - eta with eta = -cov(w l, w) / var(w), of weights (see [`iwv::weights`]) and
/// losses of the same images. Any number; the control variate may bring it below 0. Without variance
/// of the weights it is the weighted loss.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn dev(weights: &[f64], losses: &[f64]) -> f64 {
    let count = weights.len() as f64;
    let weighted = iwv::iwv(weights, losses);
    let mean = weights.iter().sum::<f64>() / count;
    // Both with N - 1 below, which cancels.
    let variance: f64 = weights.iter().map(|w| (w - mean).powi(2)).sum();
    let terms = weights.iter().zip(losses).map(|(w, l)| (w * l - weighted) * (w - mean));
    if variance <= 0.0 {
        return weighted;
    }
    let eta = -terms.sum::<f64>() / variance;
    weighted + eta * mean - eta
}
