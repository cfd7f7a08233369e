//! Pseudo labels: classes that a network itself gives images without labels, by the nearest of class
//! centroids in the space of its features (Liang, Hu and Feng 2020, "Do We Really Need to Access the
//! Source Data? Source Hypothesis Transfer for Unsupervised Domain Adaptation", section 3.3).
//!
//! Everything is computed in double precision and in an order that the data fix, so that no label
//! depends on the number of threads.

use rayon::prelude::*;

use crate::train::WholeSet;

/// What keeps the mean of no rows from being a division by zero.
const EPS: f64 = 1e-8;

/// A label for each image of a set.
#[derive(Debug, Clone, PartialEq)]
pub struct PseudoLabels {
    /// Whether a class may be given, `[K]`.
    pub candidates: Vec<bool>,
    /// By centroids that are means weighted by the network's probabilities.
    pub first: Clusters,
    /// By centroids that are means of the rows which the first labels put into a class. These count.
    pub second: Clusters,
}

/// Class centroids, and the images that are nearest to each.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    /// `[K, width + 1]`; zeros for a class without rows.
    pub centroids: Vec<f64>,
    /// The class of each image, `[N]`.
    pub labels: Vec<u32>,
}

impl PseudoLabels {
    /// Labels what a network makes of a set. A row is its features with a 1 appended, divided by their
    /// norm, and near is what has a large cosine; of two centroids as near, the lower class counts. A
    /// class may be given where it is the likeliest one of `least` images or more, and of one at least;
    /// `None` where there is no such class.
    ///
    /// # Examples
    ///
    /// ```
    /// use runner::adapt::pseudo_labels::PseudoLabels;
    /// use runner::train::WholeSet;
    ///
    /// let features = vec![5.0, 0.0, 4.0, 0.0, 0.0, 5.0];
    /// // The network is unsure of the second image, which lies beside the first.
    /// let probabilities = vec![0.9, 0.1, 0.4, 0.6, 0.1, 0.9];
    /// let seen = WholeSet { features, width: 2, probabilities, classes: 2 };
    /// assert_eq!(PseudoLabels::of(&seen, 0).unwrap().second.labels, [0, 0, 1]);
    /// ```
    pub fn of(seen: &WholeSet, least: usize) -> Option<Self> {
        let mut members = vec![0_usize; seen.classes];
        for row in seen.probabilities.chunks_exact(seen.classes) {
            members[likeliest(row)] += 1;
        }
        let candidates: Vec<bool> = members.iter().map(|count| *count >= least.max(1)).collect();
        if !candidates.contains(&true) {
            return None;
        }
        let norms: Vec<f64> = rows(seen).map(|row| (1.0 + dot(row, row)).sqrt()).collect();
        let classes = seen.classes;
        let probability = |row: usize, class| f64::from(seen.probabilities[row * classes + class]);
        let first = Clusters::of(seen, &norms, &candidates, probability);
        let is_in = |row: usize, class: usize| f64::from(first.labels[row] as usize == class);
        let second = Clusters::of(seen, &norms, &candidates, is_in);
        Some(Self { candidates, first, second })
    }
}

impl Clusters {
    /// The centroids of rows of these norms, weighted by `share` of a row and a class, and the nearest
    /// of those of `candidates`.
    fn of(
        seen: &WholeSet,
        norms: &[f64],
        candidates: &[bool],
        share: impl Fn(usize, usize) -> f64 + Sync,
    ) -> Self {
        let width = seen.width + 1;
        let mean = |class: usize| {
            let (mut sums, mut whole) = (vec![0.0; width], EPS);
            for (at, (row, norm)) in rows(seen).zip(norms).enumerate() {
                let share = share(at, class);
                whole += share;
                let by = share / norm;
                if by == 0.0 {
                    continue;
                }
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += by * f64::from(*value));
                sums[width - 1] += by;
            }
            sums.into_iter().map(move |sum| sum / whole)
        };
        let centroids: Vec<f64> = (0..seen.classes).into_par_iter().flat_map_iter(mean).collect();
        let lengths: Vec<f64> = centroids
            .chunks_exact(width)
            .map(|centroid| centroid.iter().map(|value| value * value).sum::<f64>().sqrt())
            .collect();
        // A class that lost its rows to others has no direction.
        let offered: Vec<usize> =
            (0..seen.classes).filter(|class| candidates[*class] && lengths[*class] > 0.0).collect();
        let nearest = |row: &[f32]| {
            let mut best = (f64::NEG_INFINITY, offered.first().copied().unwrap_or_default());
            for class in &offered {
                let centroid = &centroids[class * width..][..width];
                // The row's own norm is the same for every class.
                let values = row.iter().zip(centroid).map(|(x, c)| f64::from(*x) * c);
                let cosine = (values.sum::<f64>() + centroid[width - 1]) / lengths[*class];
                if cosine > best.0 {
                    best = (cosine, *class);
                }
            }
            u32::try_from(best.1).expect("classes are numbered in 32 bits")
        };
        let labels = seen.features.par_chunks_exact(seen.width).map(nearest).collect();
        Self { centroids, labels }
    }
}

/// The features of each image.
fn rows(seen: &WholeSet) -> impl Iterator<Item = &[f32]> {
    seen.features.chunks_exact(seen.width)
}

fn dot(one: &[f32], other: &[f32]) -> f64 {
    one.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// The first of the largest values of a row.
fn likeliest(row: &[f32]) -> usize {
    let better = |best, at| if row[at] > row[best] { at } else { best };
    (1..row.len()).fold(0, better)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set without a pattern, with rows that lean to a class each.
    fn seen(count: usize) -> WholeSet {
        let (width, classes) = (5, 4);
        let number = |salt: usize, at: usize| {
            let hash = (at as u32 + 1).wrapping_mul(2_654_435_761) ^ (salt as u32 * 40_503);
            hash.wrapping_mul(hash >> 13 | 1) as f32 / u32::MAX as f32
        };
        let features = (0..count * width).map(|at| 2.0 * number(1, at) - 1.0).collect();
        let mut probabilities = Vec::new();
        for row in 0..count {
            let values: Vec<f32> =
                (0..classes).map(|k| number(2, row * classes + k) + 0.01).collect();
            let sum: f32 = values.iter().sum();
            probabilities.extend(values.iter().map(|value| value / sum));
        }
        WholeSet { features, width, probabilities, classes }
    }

    /// The rows of `seen` in another order.
    fn in_order(seen: &WholeSet, order: &[usize]) -> WholeSet {
        let pick = |values: &[f32], of: usize| {
            order.iter().flat_map(|at| values[at * of..][..of].to_vec()).collect()
        };
        WholeSet {
            features: pick(&seen.features, seen.width),
            probabilities: pick(&seen.probabilities, seen.classes),
            ..*seen
        }
    }

    #[test]
    fn labels_of_a_set_in_another_order_are_the_same_in_that_order() {
        let set = seen(40);
        let labels = PseudoLabels::of(&set, 0).unwrap().second.labels;
        let mut order: Vec<usize> = (0..40).rev().collect();
        order.rotate_left(7);
        let other = PseudoLabels::of(&in_order(&set, &order), 0).unwrap().second.labels;
        let expected: Vec<u32> = order.iter().map(|at| labels[*at]).collect();
        assert_eq!(other, expected);
        assert_ne!(other, labels);
    }

    #[test]
    fn centroids_are_the_published_means_and_labels_the_nearest_by_cosine() {
        let set = seen(12);
        let found = PseudoLabels::of(&set, 0).unwrap();
        let unit: Vec<Vec<f64>> = rows(&set)
            .map(|row| {
                let row: Vec<f64> = row.iter().map(|it| f64::from(*it)).chain([1.0]).collect();
                let norm = row.iter().map(|it| it * it).sum::<f64>().sqrt();
                row.iter().map(|it| it / norm).collect()
            })
            .collect();
        let cosine = |a: &[f64], b: &[f64]| {
            let length = |it: &[f64]| it.iter().map(|v| v * v).sum::<f64>().sqrt();
            a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / length(a) / length(b)
        };
        for class in 0..4 {
            let share = |row: usize| f64::from(set.probabilities[row * 4 + class]);
            let whole: f64 = (0..12).map(share).sum();
            for (at, centroid) in found.first.centroids[class * 6..][..6].iter().enumerate() {
                let mean = (0..12).map(|row| share(row) * unit[row][at]).sum::<f64>() / whole;
                assert!((centroid - mean).abs() < 1e-7);
            }
        }
        for (row, label) in unit.iter().zip(&found.first.labels) {
            let of = |class: usize| cosine(row, &found.first.centroids[class * 6..][..6]);
            let best = (0..4).filter(|class| found.candidates[*class]).map(of).fold(-1.0, f64::max);
            assert!((of(*label as usize) - best).abs() < 1e-12);
        }
    }

    #[test]
    fn a_class_with_too_few_members_is_given_to_nobody() {
        let set = seen(40);
        let mut members = [0; 4];
        set.probabilities.chunks(4).for_each(|row| members[likeliest(row)] += 1);
        let most = *members.iter().max().unwrap();
        assert!(members.iter().any(|count| *count < most), "{members:?}");
        let found = PseudoLabels::of(&set, most).unwrap();
        let expected: Vec<bool> = members.iter().map(|count| *count >= most).collect();
        assert_eq!(found.candidates, expected);
        for label in found.first.labels.iter().chain(&found.second.labels) {
            assert!(found.candidates[*label as usize]);
        }
        assert_eq!(PseudoLabels::of(&set, 41), None);
    }

    #[test]
    fn a_candidate_without_rows_after_the_first_round_is_not_near_to_anything() {
        // All rows are alike: the first class takes them all, and the second has no centroid left.
        let features = [1.0, 2.0].repeat(3);
        let probabilities = vec![0.6, 0.4, 0.6, 0.4, 0.4, 0.6];
        let set = WholeSet { features, width: 2, probabilities, classes: 2 };
        let found = PseudoLabels::of(&set, 0).unwrap();
        assert_eq!(found.candidates, [true, true]);
        let one = found.first.labels[0];
        assert_eq!(found.second.labels, [one; 3]);
        assert!(found.second.centroids.iter().all(|value| value.is_finite()));
    }
}
