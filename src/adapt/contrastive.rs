//! Contrastive domain discrepancy (Kang, Jiang, Yang and Hauptmann 2019, "Contrastive Adaptation Network
//! for Unsupervised Domain Adaptation"): how far the images of one class lie apart in two domains, and how
//! far those of different classes do.
//!
//! With the rows S_c of class c in the source and T_k of class k in the target,
//!
//! D(c, k) = mean k(s, s') + mean k(t, t') - 2 mean k(s, t),    s, s' of S_c and t, t' of T_k,
//!
//! where every row is also paired with itself, and k(a, b) = sum_u exp(-|a - b|^2 / (2^u m)) for u = -2 to
//! 2. m is the mean squared distance between different rows of S_c and T_k together, for each pair of
//! classes its own; no gradient goes through it, and no 2^u m is taken to be less than 1e-5. For M classes,
//!
//! intra = mean_c D(c, c),    inter = mean_{c != k} D(c, k),
//!
//! the latter being 0 for a single class. The discrepancy is intra - inter. The authors' code divides by
//! the number of all classes where these are means over the classes of a batch, as the paper has them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::kernels::squared_distances;
use crate::nn::ops::{Dims, OpError, Tensor};

/// The squared widths of the Gaussians, of the mean squared distance.
const SQUARES: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];

/// The least squared width, as in the authors' code: rows of a class may all have the same probabilities.
const LEAST_SQUARE: f64 = 1e-5;

/// Rows of a batch of either domain, by the classes that both have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SharedClasses {
    /// The source's rows of each class.
    source: Vec<Vec<usize>>,
    /// The target's.
    target: Vec<Vec<usize>>,
}

impl SharedClasses {
    /// Those of rows of these classes; a target row without one is left out.
    pub(super) fn of(source: &[u32], target: &[Option<u32>]) -> Self {
        let mut rows: BTreeMap<u32, [Vec<usize>; 2]> = BTreeMap::new();
        for (row, class) in source.iter().enumerate() {
            rows.entry(*class).or_default()[0].push(row);
        }
        for (row, class) in target.iter().enumerate() {
            if let Some(class) = class {
                rows.entry(*class).or_default()[1].push(row);
            }
        }
        let shared = rows.into_values().filter(|of_both| of_both.iter().all(|it| !it.is_empty()));
        let (source, target) = shared.map(|[source, target]| (source, target)).unzip();
        Self { source, target }
    }

    /// Number of classes.
    pub(super) fn count(&self) -> usize {
        self.source.len()
    }

    /// The discrepancies within classes and between them, of what a layer makes of the rows, `[N, d]`
    /// and `[M, d]`.
    ///
    /// # Panics
    /// When there are no classes.
    pub(super) fn discrepancies(
        &self,
        source: &Tensor,
        target: &Tensor,
    ) -> Result<[Tensor; 2], OpError> {
        let source = source.gather_rows(self.source.concat())?;
        let rows = source.concat_rows(&target.gather_rows(self.target.concat())?)?;
        let (distances, _) = squared_distances(&rows)?;
        let blocks = Blocks::new(self);
        let pairs = blocks.pairs(&distances.host());
        let distances = distances.reshaped(Dims::Rows(distances.len(), 1));
        let [intra, inter] = blocks.within(&pairs).sums(&distances)?;
        let [of_both, between] = blocks.across(&pairs).sums(&distances)?;
        Ok([intra.add(&of_both)?, inter.add(&between)?])
    }
}

/// Where the rows of each class lie when those of the source, class by class, come before those of the
/// target.
struct Blocks {
    source: Vec<Range<usize>>,
    target: Vec<Range<usize>>,
}

/// A class of the source and one of the target.
struct ClassPair {
    /// The mean squared distance between different rows of both together.
    square: f64,
    /// What its discrepancy counts within classes and between them.
    shares: [f64; 2],
}

impl Blocks {
    fn new(classes: &SharedClasses) -> Self {
        let mut start = 0;
        let mut blocks = |rows: &[Vec<usize>]| -> Vec<Range<usize>> {
            let block = |rows: &Vec<usize>| {
                let block = start..start + rows.len();
                start = block.end;
                block
            };
            rows.iter().map(block).collect()
        };
        Self { source: blocks(&classes.source), target: blocks(&classes.target) }
    }

    /// Number of all rows.
    fn all(&self) -> usize {
        self.target.last().map_or(0, |block| block.end)
    }

    /// Every class of the source with every one of the target, given the squared distances between all
    /// rows.
    #[expect(clippy::cast_precision_loss, reason = "rows of a batch are far below 2^26")]
    fn pairs(&self, distances: &[f32]) -> Vec<ClassPair> {
        let (all, classes) = (self.all(), self.source.len());
        let sum = |rows: &Range<usize>, columns: &Range<usize>| -> f64 {
            let row = |at: usize| {
                let row = &distances[at * all..][columns.clone()];
                row.iter().map(|it| f64::from(*it)).sum::<f64>()
            };
            rows.clone().map(row).sum()
        };
        let within = |blocks: &[Range<usize>]| -> Vec<f64> {
            blocks.iter().map(|block| sum(block, block)).collect()
        };
        let (of_source, of_target) = (within(&self.source), within(&self.target));
        let (each, others) = (1.0 / classes as f64, (classes * (classes - 1)) as f64);
        let pair = |at: usize| {
            let (class, other) = (at / classes, at % classes);
            let (s, t) = (&self.source[class], &self.target[other]);
            let (rows, sums) = (s.len() + t.len(), of_source[class] + of_target[other]);
            let square = (sums + 2.0 * sum(s, t)) / (rows * (rows - 1)) as f64;
            let shares = if class == other { [each, 0.0] } else { [0.0, 1.0 / others] };
            ClassPair { square, shares }
        };
        (0..classes * classes).map(pair).collect()
    }

    /// The pairs of rows of one class and domain, each as part of all pairs of classes that it is in.
    fn within(&self, pairs: &[ClassPair]) -> RowPairs {
        let classes = self.source.len();
        let mut found = RowPairs::seen_as(classes);
        for (class, block) in self.source.iter().enumerate() {
            let pairs = &pairs[class * classes..][..classes];
            found.add((block, block), self.all(), &pairs.iter(), 1.0);
        }
        for (class, block) in self.target.iter().enumerate() {
            let pairs = pairs.iter().skip(class).step_by(classes);
            found.add((block, block), self.all(), &pairs, 1.0);
        }
        found
    }

    /// The pairs of a row of the source and one of the target.
    fn across(&self, pairs: &[ClassPair]) -> RowPairs {
        let classes = self.source.len();
        let mut found = RowPairs::seen_as(1);
        for (at, pair) in pairs.iter().enumerate() {
            let blocks = (&self.source[at / classes], &self.target[at % classes]);
            found.add(blocks, self.all(), &std::iter::once(pair), -2.0);
        }
        found
    }
}

/// Pairs of rows, each of which is part of as many pairs of classes as there are `columns`.
struct RowPairs {
    columns: usize,
    /// Where their distances lie.
    places: Vec<usize>,
    /// The mean squared distance of each pair of classes, `[pairs, columns]`.
    squares: Vec<f64>,
    /// What a kernel counts within classes and between them, `[pairs, columns]`.
    weights: [Vec<f32>; 2],
}

impl RowPairs {
    fn seen_as(columns: usize) -> Self {
        let (places, squares, weights) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
        Self { columns, places, squares, weights }
    }

    /// Adds all pairs of a row of one block and one of another, whose mean counts `weight`.
    #[expect(clippy::cast_precision_loss, reason = "rows of a batch are far below 2^26")]
    #[expect(clippy::cast_possible_truncation, reason = "losses are f32")]
    fn add<'p>(
        &mut self,
        (rows, columns): (&Range<usize>, &Range<usize>),
        all: usize,
        pairs: &(impl Iterator<Item = &'p ClassPair> + Clone),
        weight: f64,
    ) {
        let each = weight / (rows.len() * columns.len()) as f64;
        for row in rows.clone() {
            for column in columns.clone() {
                self.places.push(row * all + column);
                for pair in pairs.clone() {
                    self.squares.push(pair.square);
                    for (weights, share) in self.weights.iter_mut().zip(pair.shares) {
                        weights.push((each * share) as f32);
                    }
                }
            }
        }
    }

    /// The sums of the kernels of these pairs with either weights, given all squared distances in a
    /// column.
    fn sums(&self, distances: &Tensor) -> Result<[Tensor; 2], OpError> {
        let apart = distances.gather_rows(self.places.clone())?;
        let dims = Dims::Rows(self.places.len(), self.columns);
        let gaussian = |factor: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "kernels are f32")]
            let by = |square: &f64| (-1.0 / (factor * square).max(LEAST_SQUARE)) as f32;
            let by = distances.constant(self.squares.iter().map(by).collect(), dims)?;
            by.mul(&apart)?.exp()
        };
        let [first, others @ ..] = SQUARES;
        let mut kernel = gaussian(first)?;
        for factor in others {
            kernel = kernel.add(&gaussian(factor)?)?;
        }
        let weighted = |weights: &[f32]| {
            let weights = distances.constant(weights.to_vec(), dims)?;
            kernel.mul(&weights)?.row_sums()?.sum()
        };
        let [intra, inter] = &self.weights;
        Ok([weighted(intra)?, weighted(inter)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::kernels::tests::{batch, rows_of};
    use crate::nn::ops::{CpuOps, Tape};

    /// Classes of six rows of the source and five of the target: 2 and 5 are those of both.
    const SOURCE: [u32; 6] = [5, 2, 5, 0, 2, 5];
    const TARGET: [Option<u32>; 5] = [Some(2), Some(7), None, Some(5), Some(2)];

    /// D(c, k) of rows by its formula.
    fn discrepancy(source: &[&Vec<f64>], target: &[&Vec<f64>]) -> f64 {
        let square =
            |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum() };
        let all = [source, target].concat();
        let mut sum = 0.0;
        for (i, a) in all.iter().enumerate() {
            for (_, b) in all.iter().enumerate().filter(|(j, _)| *j != i) {
                sum += square(a, b);
            }
        }
        let mean = sum / (all.len() * (all.len() - 1)) as f64;
        let kernel = |a: &[f64], b: &[f64]| {
            (-2..=2).map(|u| (-square(a, b) / (2_f64.powi(u) * mean)).exp()).sum::<f64>()
        };
        let mean_of = |one: &[&Vec<f64>], other: &[&Vec<f64>]| {
            let mut sum = 0.0;
            for a in one {
                sum += other.iter().map(|b| kernel(a, b)).sum::<f64>();
            }
            sum / (one.len() * other.len()) as f64
        };
        mean_of(source, source) + mean_of(target, target) - 2.0 * mean_of(source, target)
    }

    #[test]
    fn rows_count_where_both_domains_have_their_class() {
        let shared = SharedClasses::of(&SOURCE, &TARGET);
        let expected = SharedClasses {
            source: vec![vec![1, 4], vec![0, 2, 5]],
            target: vec![vec![0, 4], vec![3]],
        };
        assert_eq!(shared, expected);
        assert_eq!(SharedClasses::of(&[0, 1], &[None, Some(2)]).count(), 0);
    }

    #[test]
    fn the_discrepancies_are_the_published_formula() {
        let (source, target) = (batch(1, (6, 4)), batch(2, (5, 4)));
        let found = SharedClasses::of(&SOURCE, &TARGET).discrepancies(&source, &target).unwrap();
        let [s, t] = [rows_of(&source), rows_of(&target)];
        let of_source = [vec![&s[1], &s[4]], vec![&s[0], &s[2], &s[5]]];
        let of_target = [vec![&t[0], &t[4]], vec![&t[3]]];
        let d = |class: usize, other: usize| discrepancy(&of_source[class], &of_target[other]);
        let expected = [(d(0, 0) + d(1, 1)) / 2.0, (d(0, 1) + d(1, 0)) / 2.0];
        assert!((expected[0] - expected[1]).abs() > 0.05, "{expected:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!((found.value() - expected).abs() < 1e-5, "{} and {expected}", found.value());
        }
    }

    #[test]
    fn domains_that_are_alike_differ_between_classes_alone() {
        let rows = batch(3, (6, 4));
        let target = SOURCE.map(Some);
        let [intra, inter] =
            SharedClasses::of(&SOURCE, &target).discrepancies(&rows, &rows).unwrap();
        assert!(intra.value().abs() < 1e-5, "{}", intra.value());
        assert!(inter.value() > 0.1, "{}", inter.value());
        let one = SharedClasses::of(&[1; 6], &[Some(1); 6]);
        let [intra, inter] = one.discrepancies(&rows, &batch(4, (6, 4))).unwrap();
        assert!(intra.value() > 0.01, "{}", intra.value());
        assert!(inter.value() == 0.0, "there are no others");
    }

    #[test]
    fn a_common_scale_changes_nothing_and_goes_through_no_gradient() {
        let (source, target) = (batch(5, (6, 3)), batch(6, (5, 3)));
        let shared = SharedClasses::of(&SOURCE, &TARGET);
        let of = |by: f32| {
            let [intra, inter] = shared
                .discrepancies(&source.scale(by).unwrap(), &target.scale(by).unwrap())
                .unwrap();
            (intra.value(), inter.value())
        };
        assert!((of(1.0).0 - of(30.0).0).abs() < 1e-5 && (of(1.0).1 - of(30.0).1).abs() < 1e-5);
        // With a gradient through the mean distances there would be none along the rows themselves.
        let tape = Tape::default();
        let (x, y) = (source.on(&tape), target.on(&tape));
        let [intra, _] = shared.discrepancies(&x, &y).unwrap();
        let mut gradients = tape.backward(&intra).unwrap();
        let [dx, dy] = [&x, &y].map(|it| gradients.take(it).unwrap().host());
        let along = |x: &Tensor, dx: &[f32]| {
            let product = |(x, dx): (&f32, &f32)| f64::from(*x) * f64::from(*dx);
            x.host().iter().zip(dx).map(product).sum::<f64>()
        };
        assert!((along(&x, &dx) + along(&y, &dy)).abs() > 1e-3);
        // Rows whose class the other domain lacks pull at nothing.
        assert_eq!(dx[9..12], [0.0; 3]);
        assert_eq!(dy[3..9], [0.0; 6]);
        assert!(dx[..9].iter().chain(&dy[..3]).all(|it| *it != 0.0));
    }

    #[test]
    fn rows_that_are_all_alike_have_finite_gradients() {
        let tape = Tape::default();
        let rows = |count: usize| {
            let rows = CpuOps::shared().tensor(vec![0.7; 4 * count], Dims::Rows(count, 4));
            rows.unwrap().on(&tape)
        };
        let (x, y) = (rows(6), rows(5));
        let [intra, inter] = SharedClasses::of(&SOURCE, &TARGET).discrepancies(&x, &y).unwrap();
        let loss = intra.sub(&inter).unwrap();
        assert!(loss.value().abs() < 1e-4, "{}", loss.value());
        let gradient = tape.backward(&loss).unwrap().take(&x).unwrap().host();
        assert!(gradient.iter().all(|it| it.is_finite()), "{gradient:?}");
    }
}
