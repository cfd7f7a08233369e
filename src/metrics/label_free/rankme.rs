//! Effective rank of the features: it is low where they collapse to a few directions (Garrido et al. 2023,
//! "RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised Representations by Their
//! Rank").

use rayon::prelude::*;

use crate::metrics::symmetric::eigenvalues;

/// Higher is better. It measures how far features spread, not whether answers are right.
pub fn higher_is_better() -> bool {
    true
}

/// What the paper adds to each share.
const EPS: f64 = 1e-7;

/// exp(-sum_k p_k ln p_k) with p_k = s_k / sum_j s_j + 1e-7, s being the singular values of the features
/// `[N, width]` as they are, not centred: about 1 for features on one line to min(N, width) for
/// features that go equally far in all directions. 0 where all features are 0.
///
/// Singular values are the roots of the eigenvalues of F^T F or F F^T, whichever is smaller; those of which
/// rounding leaves nothing count as 0. Work is in N `width` min(N, `width`).
pub fn rankme(features: &[f32], width: usize) -> f64 {
    let lines = short_side(features, width);
    let values = eigenvalues(&gram(&lines), lines.len());
    let largest = values.first().copied().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let rounding = lines.len() as f64 * f64::EPSILON * largest;
    let root = |value: f64| if value > rounding { value.sqrt() } else { 0.0 };
    let singular: Vec<f64> = values.into_iter().map(root).collect();
    let sum: f64 = singular.iter().sum();
    if sum == 0.0 {
        return 0.0;
    }
    let shares = singular.iter().map(|value| value / sum + EPS);
    (-shares.map(|p| p * p.ln()).sum::<f64>()).exp()
}

/// The rows of features or, where there are fewer of them, the columns.
fn short_side(features: &[f32], width: usize) -> Vec<Vec<f32>> {
    let count = features.len() / width;
    if count <= width {
        return features.chunks_exact(width).map(<[f32]>::to_vec).collect();
    }
    let column =
        |at: usize| -> Vec<f32> { features.iter().skip(at).step_by(width).copied().collect() };
    (0..width).map(column).collect()
}

/// The products of all lines with each other, `[n, n]`.
fn gram(lines: &[Vec<f32>]) -> Vec<f64> {
    let below = |at: usize| -> Vec<f64> {
        lines[..=at].iter().map(|other| product(&lines[at], other)).collect()
    };
    let triangle: Vec<Vec<f64>> = (0..lines.len()).into_par_iter().map(below).collect();
    let n = lines.len();
    (0..n * n).map(|at| triangle[(at / n).max(at % n)][(at / n).min(at % n)]).collect()
}

/// In eight sums side by side, in an order that never changes.
fn product(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0_f64; 8];
    let (a_blocks, b_blocks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a_blocks.remainder().iter().zip(b_blocks.remainder());
    let rest: f64 = rest.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    for (a, b) in a_blocks.zip(b_blocks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_number_of_directions_that_features_go_equally_far_in() {
        // Two directions of four, in more rows than columns and in fewer.
        let rows = [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0];
        assert!((rankme(&rows, 4) - 2.0).abs() < 1e-5, "{}", rankme(&rows, 4));
        let rows = [rows, rows, rows].concat();
        assert!((rankme(&rows, 4) - 2.0).abs() < 1e-5, "{}", rankme(&rows, 4));
        assert!((rankme(&[2.0; 20], 4) - 1.0).abs() < 1e-5, "{}", rankme(&[2.0; 20], 4));
        assert_eq!(rankme(&[0.0; 20], 4), 0.0);
    }
}
