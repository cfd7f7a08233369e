//! Mutual information of images and predicted classes: answers shall be sure, and not all the same
//! (Krause et al. 2010, "Discriminative Clustering by Regularized Information Maximization"; as a
//! validator Musgrave et al. 2022, "Three New Validators and a Large-Scale Benchmark Ranking").

use super::{diversity, entropy};

/// Higher is better.
pub fn higher_is_better() -> bool {
    true
}

/// H(mean_i p_i) - mean_i H(p_i) of probabilities `[N, classes]`, in nats, 0 to ln `classes`.
pub fn info_max(probabilities: &[f64], classes: usize) -> f64 {
    diversity::diversity(probabilities, classes) - entropy::entropy(probabilities, classes)
}
