//! Spherical k-means (Dhillon and Modha 2001, "Concept Decompositions for Large Sparse Text Data Using
//! Clustering"): clusters of features by their direction, which begin at the centres of known classes.
//!
//! Everything is computed in double precision and in an order that the data fix, so that no label
//! depends on the number of threads.

use rayon::prelude::*;

use crate::train::WholeSet;

/// Rounds at most; features that fall into clusters settle in a few.
const ROUNDS: usize = 100;

/// The least norm that features are divided by.
const LEAST_NORM: f64 = 1e-12;

/// Directions of classes: each the sum of the features of its rows, these divided by their norms, itself
/// divided by its norm.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Centres {
    /// Numbers in a direction.
    width: usize,
    /// `[K, width]`; zeros for a class without rows.
    directions: Vec<f64>,
}

/// The rows of a set by the nearest centre.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SphericalClusters {
    /// The class of each row.
    pub labels: Vec<u32>,
    /// How far each row is from the centre of its class: (1 - cosine) / 2, from 0 to 1; infinite where no
    /// class has a centre.
    pub distances: Vec<f64>,
}

impl Centres {
    /// Those of rows with these labels.
    pub(super) fn of(seen: &WholeSet, labels: &[u32]) -> Self {
        let width = seen.width;
        let direction = |class: usize| {
            let mut sums = vec![0.0; width];
            for (row, label) in seen.features.chunks_exact(width).zip(labels) {
                if *label as usize == class {
                    let norm = norm(row);
                    sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) / norm);
                }
            }
            let norm = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt().max(LEAST_NORM);
            sums.into_iter().map(move |sum| sum / norm)
        };
        let directions = (0..seen.classes).into_par_iter().flat_map_iter(direction).collect();
        Self { width, directions }
    }

    /// The directions of the classes that have one.
    fn all(&self) -> impl Iterator<Item = (u32, &[f64])> {
        let all = (0..).zip(self.directions.chunks_exact(self.width));
        all.filter(|(_, direction)| direction.iter().any(|it| *it != 0.0))
    }

    /// These, with those of `begun` for classes that have none.
    fn or(mut self, begun: &Self) -> Self {
        let own = self.directions.chunks_exact_mut(self.width);
        for (own, begun) in own.zip(begun.directions.chunks_exact(self.width)) {
            if own.iter().all(|it| *it == 0.0) {
                own.copy_from_slice(begun);
            }
        }
        self
    }

    /// The rows of a set by the nearest of these; of two centres as near, the lower class counts.
    fn nearest(&self, seen: &WholeSet) -> SphericalClusters {
        let nearest = |row: &[f32]| {
            let mut best = (f64::NEG_INFINITY, 0);
            for (class, direction) in self.all() {
                let products = row.iter().zip(direction).map(|(x, c)| f64::from(*x) * c);
                let product = products.sum::<f64>();
                if product > best.0 {
                    best = (product, class);
                }
            }
            (best.1, (1.0 - best.0 / norm(row)) / 2.0)
        };
        let found = seen.features.par_chunks_exact(seen.width).map(nearest);
        let (labels, distances) = found.unzip();
        SphericalClusters { labels, distances }
    }
}

impl SphericalClusters {
    /// Those that a set falls into when its centres begin at `begun`, one for each class: every row joins
    /// the nearest centre, every centre becomes that of its rows, and so on until no row changes. A cluster
    /// that loses all its rows goes back to where it began.
    pub(super) fn of(seen: &WholeSet, begun: &Centres) -> Self {
        let mut found = begun.nearest(seen);
        // Without any centre no row has a class that a centre could be of.
        let rounds = if begun.all().next().is_some() { ROUNDS } else { 0 };
        for _ in 0..rounds {
            let next = Centres::of(seen, &found.labels).or(begun).nearest(seen);
            let settled = next.labels == found.labels;
            found = next;
            if settled {
                break;
            }
        }
        found
    }
}

fn norm(row: &[f32]) -> f64 {
    let squares = row.iter().map(|x| f64::from(*x) * f64::from(*x));
    squares.sum::<f64>().sqrt().max(LEAST_NORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set of plane vectors at these angles in degrees, each of a length of its own.
    fn at(angles: &[f64], classes: usize) -> WholeSet {
        let lengths = [1.0, 7.0, 0.3, 2.0, 40.0].into_iter().cycle();
        let features = angles.iter().zip(lengths).flat_map(|(angle, length)| {
            let (sin, cos) = angle.to_radians().sin_cos();
            [(length * cos) as f32, (length * sin) as f32]
        });
        let probabilities = vec![1.0 / classes as f32; angles.len() * classes];
        WholeSet { features: features.collect(), width: 2, probabilities, classes }
    }

    #[test]
    fn centres_are_mean_directions_whatever_the_lengths() {
        let centres = Centres::of(&at(&[10.0, 50.0, 200.0], 3), &[0, 0, 2]);
        for (class, angle) in [(0, 30.0_f64), (2, 200.0)] {
            let (sin, cos) = angle.to_radians().sin_cos();
            let found = &centres.directions[2 * class..][..2];
            assert!((found[0] - cos).abs() < 1e-6 && (found[1] - sin).abs() < 1e-6, "{found:?}");
        }
        assert_eq!(centres.directions[2..4], [0.0, 0.0], "a class without rows has none");
        assert_eq!(centres.all().map(|(class, _)| class).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn clusters_move_until_no_row_changes() {
        // The centres begin at 0 and 90 degrees, from where the row at 40 is nearer to the first. That one
        // then loses it, as the other goes where its rows are.
        let begun = Centres::of(&at(&[0.0, 90.0], 2), &[0, 1]);
        let set = at(&[-30.0, -20.0, 40.0, 50.0, 55.0, 60.0], 2);
        assert_eq!(begun.nearest(&set).labels, [0, 0, 0, 1, 1, 1]);
        let found = SphericalClusters::of(&set, &begun);
        assert_eq!(found.labels, [0, 0, 1, 1, 1, 1]);
        // Mean directions of -30 and -20, and of 40, 50, 55 and 60, the latter from its sum of sines.
        let mean = |angles: &[f64]| {
            let sum = |of: fn(f64) -> f64| angles.iter().map(|it| of(it.to_radians())).sum::<f64>();
            sum(f64::sin).atan2(sum(f64::cos))
        };
        let of_last = 60_f64.to_radians() - mean(&[40.0, 50.0, 55.0, 60.0]);
        for (row, apart) in [(0, 5_f64.to_radians()), (5, of_last)] {
            let expected = (1.0 - apart.cos()) / 2.0;
            let distance = found.distances[row];
            assert!((distance - expected).abs() < 1e-6, "{distance} and {expected}");
        }
    }

    #[test]
    fn opposite_rows_are_one_apart_and_rows_without_a_direction_half() {
        let begun = Centres::of(&at(&[0.0], 1), &[0]);
        let mut set = at(&[0.0, 90.0, 180.0, 0.0], 1);
        set.features[6..].fill(0.0);
        let found = begun.nearest(&set).distances;
        for (found, expected) in found.iter().zip([0.0, 0.5, 1.0, 0.5]) {
            assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        }
    }

    #[test]
    fn a_class_without_centre_takes_no_row_and_one_without_rows_keeps_where_it_began() {
        let begun = Centres::of(&at(&[0.0, 180.0], 3), &[0, 2]);
        let found = SphericalClusters::of(&at(&[-5.0, 5.0, 80.0], 3), &begun);
        assert_eq!(found.labels, [0, 0, 0]);
        let again = Centres::of(&at(&[-5.0, 5.0], 3), &[0, 0]).or(&begun);
        assert_eq!(again.directions[4..], begun.directions[4..]);
        // Not even the first class takes a row when nothing was known.
        let nowhere = Centres::of(&at(&[], 2), &[]);
        let found = SphericalClusters::of(&at(&[3.0, 4.0], 2), &nowhere);
        assert!(found.distances.iter().all(|it| it.is_infinite()), "{found:?}");
    }

    #[test]
    fn a_set_in_another_order_has_the_same_clusters_in_that_order() {
        let angles: Vec<f64> = (0..40_i32).map(|it| f64::from(it * it * 37 % 360)).collect();
        let begun = Centres::of(&at(&[20.0, 140.0, 260.0], 3), &[0, 1, 2]);
        let of = |angles: &[f64]| SphericalClusters::of(&at(angles, 3), &begun).labels;
        let labels = of(&angles);
        let turned: Vec<f64> = angles.iter().rev().copied().collect();
        let mut other = of(&turned);
        other.reverse();
        assert_eq!(other, labels);
        assert!((0..3).all(|class| labels.contains(&class)), "{labels:?}");
    }
}
