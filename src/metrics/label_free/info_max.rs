//! Mutual information of images and predicted classes: answers shall be sure, and not all the same
//! (Krause et al. 2010, "Discriminative Clustering by Regularized Information Maximization"; as a
//! validator Musgrave et al. 2022, "Three New Validators and a Large-Scale Benchmark Ranking").

use super::entropy;

/// Higher is better.
pub fn higher_is_better() -> bool {
    true
}

/// H(mean_i p_i) - mean_i H(p_i) of probabilities `[N, classes]`, in nats, 0 to ln `classes`.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn info_max(probabilities: &[f64], classes: usize) -> f64 {
    let count = (probabilities.len() / classes) as f64;
    let mut mean = vec![0.0; classes];
    for row in probabilities.chunks_exact(classes) {
        mean.iter_mut().zip(row).for_each(|(sum, p)| *sum += p);
    }
    mean.iter_mut().for_each(|sum| *sum /= count);
    entropy::of(&mean) - entropy::entropy(probabilities, classes)
}
