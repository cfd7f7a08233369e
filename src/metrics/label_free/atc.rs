//! Average thresholded confidence: an estimate of the target's accuracy from how sure the model is (Garg et al.
//! 2022, "Leveraging Unlabeled Data to Predict Out-of-Distribution Performance").
//!
//! The probabilities are not calibrated on the source first, which the paper does by a temperature.

use super::{HeldOut, Outputs, entropy};
use crate::metrics::share;

/// Higher is better.
pub fn higher_is_better() -> bool {
    true
}

/// The share of the target's images with a score above t, 0 to 1. The score is the negative entropy of the
/// probabilities, and t is such that as large a share of the source's held-out images as the model takes for
/// a wrong class is not above it: on those images the estimate is the accuracy, where no two scores are equal.
pub fn atc(target: &Outputs, held: &HeldOut) -> f64 {
    let answers = held.outputs.predicted();
    let wrong = answers.iter().zip(&held.labels).filter(|(answer, label)| answer != label).count();
    let mut unsure = entropies(&held.outputs);
    unsure.sort_unstable_by(|a, b| b.total_cmp(a));
    // No entropy is infinite: without a wrong answer all images of the target count.
    let threshold = wrong.checked_sub(1).map_or(f64::INFINITY, |last| unsure[last]);
    let target = entropies(target);
    share(target.iter().filter(|it| **it < threshold).count(), target.len())
}

/// Of each image.
fn entropies(outputs: &Outputs) -> Vec<f64> {
    outputs.probabilities.chunks_exact(outputs.classes).map(entropy::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes, with the probability of the first.
    fn outputs(first: &[f64]) -> Outputs {
        let probabilities = first.iter().flat_map(|p| [*p, 1.0 - p]).collect();
        Outputs { probabilities, classes: 2, ..Outputs::default() }
    }

    #[test]
    fn it_is_the_accuracy_on_the_held_out_images_themselves() {
        let first = [0.9, 0.4, 0.2, 0.95, 0.55, 0.7];
        // Wrong are the second and the last: not those that the model is least sure of.
        let held = HeldOut { outputs: outputs(&first), labels: vec![0, 0, 1, 0, 0, 1] };
        assert_eq!(atc(&held.outputs, &held), share(4, 6));
        // Above the second lowest score, that of 0.4, lie 0.7 and 0.1 of these.
        assert_eq!(atc(&outputs(&[0.5, 0.7, 0.45, 0.1]), &held), 0.5);
    }

    #[test]
    fn no_mistake_on_the_source_promises_none_and_no_right_answer_promises_no_other() {
        let target = outputs(&[0.5, 0.8]);
        let of = |label: u32| {
            atc(&target, &HeldOut { outputs: outputs(&[0.9, 1.0]), labels: vec![label; 2] })
        };
        assert_eq!((of(0), of(1)), (1.0, 0.0));
    }
}
