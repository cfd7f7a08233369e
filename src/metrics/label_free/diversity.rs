//! Diversity of the predicted classes: it is low for a model that takes everything for one class (one of the
//! two parts of [`super::info_max`]; a score of its own in Musgrave et al. 2022, "Three New Validators and a
//! Large-Scale Benchmark Ranking for Unsupervised Domain Adaptation").

use super::entropy;

/// Higher is better. It says nothing about how sure the answers are, and expects that the target has about as
/// many images of each class: alone it selects no model, but a low value warns of a collapsed one.
pub fn higher_is_better() -> bool {
    true
}

/// The share of ln K, the diversity of K balanced classes, below which predicted classes count as collapsed. The
/// number is this project's choice: in SKADA-Bench (Lalou et al. 2024, "SKADA-Bench: Benchmarking Unsupervised
/// Domain Adaptation Methods with Realistic Validation On Diverse Modalities") scores that reward sure answers
/// select collapsed models of digits, but it draws no such line.
pub const LEAST_SHARE: f64 = 0.8;

/// Whether the predicted classes of a model with so many `classes` collapse: its `diversity` is below
/// [`LEAST_SHARE`] of ln `classes`, or not a number. A target with far fewer classes than the model, or far
/// more images of one class than of others, looks the same.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn is_collapsed(diversity: f64, classes: usize) -> bool {
    diversity.is_nan() || diversity < LEAST_SHARE * (classes as f64).ln()
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

    #[test]
    fn classes_collapse_below_four_fifths_of_the_largest_diversity() {
        // ln 10 = 2.302585..., of which four fifths are 1.842068...
        assert!(is_collapsed(1.8420, 10) && !is_collapsed(1.8421, 10));
        assert!(is_collapsed(f64::NAN, 10));
        // Eight of ten classes in equal shares pass, five do not.
        assert!(!is_collapsed(8.0_f64.ln(), 10) && is_collapsed(5.0_f64.ln(), 10));
        assert!(!is_collapsed(0.0, 1), "a single class cannot collapse");
    }
}
