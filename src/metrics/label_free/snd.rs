//! Soft neighbourhood density: images shall have many neighbours that are predicted alike (Saito et al.
//! 2021, "Tune it the Right Way: Unsupervised Validation of Domain Adaptation via Soft Neighborhood
//! Density").

use rayon::prelude::*;

/// Higher is better.
pub fn higher_is_better() -> bool {
    true
}

/// The paper's temperature.
const TEMPERATURE: f64 = 0.05;

/// The mean over images i of the entropy of P_i, P_ij = exp(s_ij / 0.05) / sum_k exp(s_ik / 0.05) over
/// j, k other than i, where s_ij is the cosine between the probabilities `[N, classes]` of images i and
/// j; in nats, 0 to ln(N - 1). 0 for fewer than two images.
///
/// The N x N similarities are made row by row, so that memory is in N.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn snd(probabilities: &[f64], classes: usize) -> f64 {
    let unit = |row: &[f64]| -> Vec<f64> {
        let norm = row.iter().map(|p| p * p).sum::<f64>().sqrt();
        row.iter().map(|p| p / norm).collect()
    };
    let rows: Vec<f64> = probabilities.chunks_exact(classes).flat_map(unit).collect();
    let all: Vec<&[f64]> = rows.chunks_exact(classes).collect();
    if all.len() < 2 {
        return 0.0;
    }
    let density = |(at, row): (usize, &&[f64])| {
        let others = all.iter().enumerate().filter(|(other, _)| *other != at);
        let cosine = |other: &[f64]| row.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
        let logits: Vec<f64> = others.map(|(_, row)| cosine(row) / TEMPERATURE).collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut weighed) = (0.0, 0.0);
        for logit in logits {
            let e = (logit - largest).exp();
            sum += e;
            weighed += e * (logit - largest);
        }
        // -sum p ln p with ln p = logit - largest - ln sum.
        sum.ln() - weighed / sum
    };
    let densities: Vec<f64> = all.par_iter().enumerate().map(density).collect();
    densities.iter().sum::<f64>() / densities.len() as f64
}
