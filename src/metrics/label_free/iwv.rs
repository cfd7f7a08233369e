//! Importance-weighted validation: the source's validation loss, images weighing more the more they
//! look like the target (Sugiyama et al. 2007, "Covariate Shift Adaptation by Importance Weighted
//! Cross Validation").

use crate::metrics::logistic::Logistic;

/// Lower is better.
pub fn higher_is_better() -> bool {
    false
}

/// (1/N) sum_i w_i l_i of weights and losses of the same images; 0 or more.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn iwv(weights: &[f64], losses: &[f64]) -> f64 {
    weights.iter().zip(losses).map(|(w, l)| w * l).sum::<f64>() / losses.len() as f64
}

/// The density of the target over that of the source at each row of `held`: (N_source / N_target) times
/// the odds that [`Logistic`] regression between the features of the two, `[N, width]`, gives for the
/// target. At most e^20, against overflow where nothing of the domains overlaps.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn weights(source: &[f32], target: &[f32], held: &[f32], width: usize) -> Vec<f64> {
    let (sources, targets) = (source.len() / width, target.len() / width);
    let is_target: Vec<bool> = (0..sources + targets).map(|at| at >= sources).collect();
    let domains = Logistic::train(&[source, target].concat(), width, &is_target);
    let ratio = sources as f64 / targets as f64;
    domains.log_odds(held).into_iter().map(|odds| ratio * odds.min(20.0).exp()).collect()
}
