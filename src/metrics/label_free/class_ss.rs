//! Silhouette of the predicted classes: images that are taken for the same class shall lie together, and apart
//! from others (Rousseeuw 1987, "Silhouettes: A Graphical Aid to the Interpretation and Validation of Cluster
//! Analysis"; ClassSS: Musgrave et al. 2022, "Three New Validators and a Large-Scale Benchmark Ranking for
//! Unsupervised Domain Adaptation").

use rayon::prelude::*;

use super::Outputs;
use crate::metrics::embedding::square_distance;

/// Higher is better.
pub fn higher_is_better() -> bool {
    true
}

/// The mean over images of (b - a) / max(a, b), -1 to 1, in Euclidean distances of features: a is the mean
/// distance from other images of the same predicted class, b the least mean distance from those of another
/// one. An image that is alone in its class counts 0, as in scikit-learn. A model that takes everything for
/// one class gets -1, where the silhouette is not defined.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn class_ss(outputs: &Outputs) -> f64 {
    let predicted = outputs.predicted();
    let mut counts = vec![0_usize; outputs.classes];
    predicted.iter().for_each(|class| counts[*class as usize] += 1);
    if counts.iter().filter(|count| **count > 0).count() < 2 {
        return -1.0;
    }
    let rows: Vec<&[f32]> = outputs.features.chunks_exact(outputs.width).collect();
    let silhouette = |(row, class): (&&[f32], &u32)| {
        let own = *class as usize;
        if counts[own] == 1 {
            return 0.0;
        }
        let mut sums = vec![0.0; counts.len()];
        for (other, class) in rows.iter().zip(&predicted) {
            sums[*class as usize] += square_distance(row, other).sqrt();
        }
        let within = sums[own] / (counts[own] - 1) as f64;
        let others = sums.iter().zip(&counts).enumerate().filter(|it| it.0 != own && *it.1.1 > 0);
        let means = others.map(|(_, (sum, count))| sum / *count as f64);
        let nearest = means.fold(f64::INFINITY, f64::min);
        let larger = within.max(nearest);
        if larger > 0.0 { (nearest - within) / larger } else { 0.0 }
    };
    let all: Vec<f64> = rows.par_iter().zip(&predicted).map(silhouette).collect();
    all.iter().sum::<f64>() / all.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(features: &[f32], predicted: &[usize]) -> f64 {
        let row = |class: &usize| [0, 1, 2].map(|at| if at == *class { 0.8 } else { 0.1 });
        let probabilities = predicted.iter().flat_map(row).collect();
        class_ss(&Outputs { probabilities, classes: 3, features: features.to_vec(), width: 1 })
    }

    #[test]
    fn classes_that_lie_apart_have_a_large_silhouette_and_mixed_ones_a_small_one() {
        // On a line: a = 1 and b = 9.5 or 10.5 of each.
        let apart = of(&[0.0, 1.0, 10.0, 11.0], &[0, 0, 1, 1]);
        assert!((apart - (9.5 / 10.5 + 8.5 / 9.5) / 2.0).abs() < 1e-6, "{apart}");
        assert!(of(&[0.0, 1.0, 10.0, 11.0], &[0, 1, 0, 1]) < 0.0);
        // The last image is alone in its class, and counts 0.
        let alone = of(&[0.0, 1.0, 10.0], &[0, 0, 2]);
        assert!((alone - (0.9 + 8.0 / 9.0) / 3.0).abs() < 1e-6, "{alone}");
    }

    #[test]
    fn one_class_is_the_worst_and_equal_features_tell_nothing() {
        assert_eq!(of(&[0.0, 1.0, 10.0], &[2, 2, 2]), -1.0);
        assert_eq!(of(&[4.0; 4], &[0, 0, 1, 1]), 0.0);
    }
}
