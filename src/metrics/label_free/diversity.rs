//! Diversity of the predicted classes: it is low for a model that takes everything for one class (one of the
//! two parts of [`super::info_max`]; a score of its own in Musgrave et al. 2022, "Three New Validators and a
//! Large-Scale Benchmark Ranking for Unsupervised Domain Adaptation").

use super::entropy;

/// Higher is better. It says nothing about how sure the answers are, and expects that the target has about as
/// many images of each class: alone it selects no model, but a low value warns of a collapsed one.
pub fn higher_is_better() -> bool {
    true
}

/// H(mean_i p_i) of probabilities `[N, classes]`, in nats, 0 to ln `classes`.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn diversity(probabilities: &[f64], classes: usize) -> f64 {
    let count = (probabilities.len() / classes) as f64;
    let mut mean = vec![0.0; classes];
    for row in probabilities.chunks_exact(classes) {
        mean.iter_mut().zip(row).for_each(|(sum, p)| *sum += p);
    }
    mean.iter_mut().for_each(|sum| *sum /= count);
    entropy::of(&mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_0_for_one_class_and_largest_for_balanced_ones_however_sure_the_answers_are() {
        assert_eq!(diversity(&[0.0, 1.0, 0.0, 1.0], 2), 0.0);
        for even in [[1.0, 0.0, 0.0, 1.0], [0.5; 4]] {
            assert!((diversity(&even, 2) - 2.0_f64.ln()).abs() < 1e-12);
        }
    }
}
