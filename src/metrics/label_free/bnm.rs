//! Batch nuclear norm: answers shall be sure and diverse (Cui et al. 2020, "Towards Discriminability and
//! Diversity: Batch Nuclear-norm Maximization under Label Insufficient Situations").

use crate::metrics::symmetric::eigen;

/// Higher is better.
pub fn higher_is_better() -> bool {
    true
}

/// The sum of singular values of the probabilities P `[N, classes]`, divided by its upper bound
/// sqrt(N min(N, classes)) so that it does not grow with N: above 0 and at most 1.
///
/// Singular values are the roots of the eigenvalues of P^T P; work in `classes`^3.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn bnm(probabilities: &[f64], classes: usize) -> f64 {
    let count = probabilities.len() / classes;
    let (values, _) = eigen(&gram(probabilities, classes), classes);
    let norm: f64 = values.iter().map(|value| value.max(0.0).sqrt()).sum();
    norm / (count as f64 * count.min(classes) as f64).sqrt()
}

/// P^T P of the probabilities P `[N, classes]`.
pub(super) fn gram(probabilities: &[f64], classes: usize) -> Vec<f64> {
    let mut gram = vec![0.0; classes * classes];
    for row in probabilities.chunks_exact(classes) {
        for (a, sums) in row.iter().zip(gram.chunks_exact_mut(classes)) {
            sums.iter_mut().zip(row).for_each(|(sum, b)| *sum += a * b);
        }
    }
    gram
}
