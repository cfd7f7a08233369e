//! Distance of class centroids: images of the target shall lie where those of the source lie that have the
//! class they are taken for.

use super::{Outputs, SourceSample};

/// Lower is better. It shrinks with the features themselves, so that it compares epochs of a training better
/// than different networks.
pub fn higher_is_better() -> bool {
    false
}

/// The mean over classes of the Euclidean distance between the mean features of the source's images of the
/// class and of the target's images that are taken for it. Classes that either lacks are left out; infinite
/// where that leaves none.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn centroid_distance(source: &SourceSample, target: &Outputs) -> f64 {
    let (width, classes) = (target.width, target.classes);
    let of_source = centroids(&source.train, width, &source.labels, classes);
    let of_target = centroids(&target.features, width, &target.predicted(), classes);
    let pairs = of_source.iter().zip(&of_target);
    let apart: Vec<f64> =
        pairs.filter_map(|(a, b)| Some(distance(a.as_ref()?, b.as_ref()?))).collect();
    if apart.is_empty() {
        return f64::INFINITY;
    }
    apart.iter().sum::<f64>() / apart.len() as f64
}

/// The mean row of each class; `None` for a class without rows.
fn centroids(rows: &[f32], width: usize, of: &[u32], classes: usize) -> Vec<Option<Vec<f64>>> {
    let mut sums = vec![(vec![0.0; width], 0.0); classes];
    for (row, class) in rows.chunks_exact(width).zip(of) {
        let (sum, count) = &mut sums[*class as usize];
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        *count += 1.0;
    }
    let mean = |(sum, count): (Vec<f64>, f64)| {
        (count > 0.0).then(|| sum.into_iter().map(|it| it / count).collect::<Vec<f64>>())
    };
    sums.into_iter().map(mean).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(labels: &[u32], predicted: [f64; 4]) -> f64 {
        let train = vec![0.0, 0.0, 2.0, 0.0, 9.0, 9.0];
        let source = SourceSample { train, labels: labels.to_vec(), held: None };
        let (probabilities, features) = (predicted.to_vec(), vec![1.0, 3.0, 9.0, 4.0]);
        centroid_distance(&source, &Outputs { probabilities, classes: 2, features, width: 2 })
    }

    #[test]
    fn it_is_the_mean_over_the_classes_that_both_domains_have() {
        // Class 0: (1, 0) and (1, 3); class 1: (9, 9) and (9, 4).
        assert_eq!(of(&[0, 0, 1], [0.9, 0.1, 0.2, 0.8]), 4.0);
        // Both target images are taken for class 0: (1, 0) and (5, 3.5).
        let found = of(&[0, 0, 1], [0.9, 0.1, 0.8, 0.2]);
        assert!((found - 4.0_f64.hypot(3.5)).abs() < 1e-12, "{found}");
        assert_eq!(of(&[1, 1, 1], [0.9, 0.1, 0.8, 0.2]), f64::INFINITY);
    }
}
