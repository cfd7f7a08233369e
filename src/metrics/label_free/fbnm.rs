//! Fast batch nuclear norm: as [`super::bnm`], with the norms of columns in place of singular values (Cui et
//! al. 2021, "Fast Batch Nuclear-norm Maximization and Minimization for Robust Domain Adaptation").

/// Higher is better.
pub fn higher_is_better() -> bool {
    true
}

/// The sum of the D = min(N, classes) largest Euclidean norms of columns of the probabilities
/// `[N, classes]`, divided by its upper bound sqrt(N D) so that it does not grow with N: above 0 and at
/// most 1. The mean of the paper is sqrt(N / D) times this.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn fbnm(probabilities: &[f64], classes: usize) -> f64 {
    let count = probabilities.len() / classes;
    let mut squares = vec![0.0; classes];
    for row in probabilities.chunks_exact(classes) {
        squares.iter_mut().zip(row).for_each(|(sum, p)| *sum += p * p);
    }
    let mut norms: Vec<f64> = squares.into_iter().map(f64::sqrt).collect();
    norms.sort_unstable_by(|a, b| b.total_cmp(a));
    let columns = count.min(classes);
    norms[..columns].iter().sum::<f64>() / (count as f64 * columns as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_1_for_sure_balanced_answers_and_less_for_unsure_or_collapsed_ones() {
        assert!((fbnm(&[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0], 2) - 1.0).abs() < 1e-12);
        // Of four rows: (2 + 0) / sqrt(8), and twice the norm of four halves.
        let half = 0.5_f64.sqrt();
        assert!((fbnm(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0], 2) - half).abs() < 1e-12);
        assert!((fbnm(&[0.5; 8], 2) - half).abs() < 1e-12);
        // One row of three classes: only its largest column counts.
        assert!((fbnm(&[0.2, 0.7, 0.1], 3) - 0.7).abs() < 1e-12);
    }
}
