//! Gaussian kernels between the rows of two batches, and the estimates of a squared maximum mean
//! discrepancy that are taken from them (Gretton et al. 2012, "A Kernel Two-Sample Test"). `dan` and
//! `jan` share them; no method of its own is in here.

use std::iter;

use crate::config::{Keys, Noted, words};
use crate::nn::ops::{OpError, Tensor};

/// Added to the mean squared distance, which is 0 where all rows are equal.
const EPS: f32 = 1e-8;

/// Settings of the kernel on features and of the estimate.
///
/// The kernel is k(a, b) = sum_u exp(-|a - b|^2 / (2 factor^u m)), where m is the mean of the squared
/// distances between all N + M rows of both batches, each pair taken in both orders and each row with
/// itself, as in TLLib. No gradient goes through m: the network could otherwise shrink the loss by
/// moving rows apart that it has nothing to do with. With K kernels, u rises in steps of 1 from
/// -(floor(K / 2) + 1): K = 5 gives -3 to 1, K = 1 gives exp(-|a - b|^2 factor / (2 m)).
#[derive(Debug, Clone, Copy)]
pub(super) struct FeatureKernel {
    /// Number K of Gaussians.
    pub kernels: usize,
    /// Ratio of the squared widths of one Gaussian and of the next narrower one.
    pub factor: f64,
    /// How the discrepancy is estimated.
    pub estimate: Estimate,
}

words! {
    /// How a discrepancy is estimated from the kernel between all rows.
    pub(super) enum Estimate {
        /// From all pairs of different rows.
        Quadratic = "quadratic",
        /// From rows that follow each other in their batches.
        Linear = "linear",
    }
}

impl FeatureKernel {
    /// Reads `kernels`, `factor` and `estimate`.
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("kernels", "number of Gaussians whose sum is the kernel on the features"),
            ("factor", "ratio of the squared widths of one Gaussian and the next"),
            ("estimate", "which pairs of images the discrepancy is estimated from"),
        ]);
        let kernels = keys.count("kernels", 1..=33).or(5_usize);
        let factor = keys
            .float("factor")
            .such_that("a number from 1 to 10", |it| (1.0..=10.0).contains(it))
            .or(2.0);
        let estimate = keys.choice("estimate").or(Estimate::Quadratic);
        Ok(Self { kernels: kernels?, factor: factor?, estimate: estimate? })
    }

    /// Batches `[N, d]` and `[M, d]` one after the other, without the rows that the estimate leaves out.
    pub(super) fn together(&self, source: &Tensor, target: &Tensor) -> Result<Tensor, OpError> {
        let (n, m) = self.estimate.rows((source.rows(), target.rows()));
        first_rows(source, n)?.concat_rows(&first_rows(target, m)?)
    }

    /// The kernel between all rows of `x`, `[N + M, N + M]`.
    pub(super) fn between(&self, x: &Tensor) -> Result<Tensor, OpError> {
        let (distances, mean) = squared_distances(x)?;
        let relative = distances.div(&mean.shift(EPS)?)?;
        let mut gaussians = self.exponents().map(|by| relative.scale(by)?.exp());
        let first = gaussians.next().expect("there is at least one kernel")?;
        gaussians.try_fold(first, |sum, next| sum.add(&next?))
    }

    /// What the squared distance over its mean is multiplied by in each Gaussian.
    #[expect(clippy::cast_possible_truncation, reason = "kernels are f32")]
    fn exponents(&self) -> impl Iterator<Item = f32> {
        let factor = self.factor;
        let narrowest = (0..=self.kernels / 2).fold(1.0, |square, _| square / factor);
        let squares = iter::successors(Some(narrowest), move |square| Some(square * factor));
        squares.take(self.kernels).map(|square| (-0.5 / square) as f32)
    }

    /// The squared discrepancy of batches of N and M rows, from a kernel between all rows that
    /// [`Self::together`] leaves of them.
    pub(super) fn discrepancy(
        &self,
        kernel: &Tensor,
        rows: (usize, usize),
    ) -> Result<Tensor, OpError> {
        let weights = self.estimate.weights(self.estimate.rows(rows));
        let weights = kernel.constant(weights, kernel.dims())?;
        kernel.mul(&weights)?.row_sums()?.sum()
    }
}

impl Estimate {
    /// How many rows it looks at in batches of N and M. The linear estimate needs as many in both, and
    /// leaves out the last ones of the larger batch.
    fn rows(self, (n, m): (usize, usize)) -> (usize, usize) {
        match self {
            Self::Quadratic => (n, m),
            Self::Linear => (n.min(m), n.min(m)),
        }
    }

    /// What the kernel of each pair of rows counts, `[N + M, N + M]` row by row. A row is never paired
    /// with itself, so that a batch of one row adds nothing of its own.
    fn weights(self, (n, m): (usize, usize)) -> Vec<f32> {
        let all = n + m;
        match self {
            Self::Quadratic => {
                let weight = |at: usize| match (at / all, at % all) {
                    (i, j) if i == j => 0.0,
                    (i, j) if i < n && j < n => one_of(n * (n - 1)),
                    (i, j) if i >= n && j >= n => one_of(m * (m - 1)),
                    _ => -one_of(n * m),
                };
                (0..all * all).map(weight).collect()
            }
            Self::Linear => {
                let mut weights = vec![0.0; all * all];
                let each = one_of(n);
                for i in 0..n {
                    let next = (i + 1) % n;
                    if next != i {
                        weights[i * all + next] += each;
                        weights[(n + i) * all + n + next] += each;
                    }
                    weights[i * all + n + next] -= each;
                    weights[next * all + n + i] -= each;
                }
                weights
            }
        }
    }
}

/// exp(-|a - b|^2 / (2 width^2)) between all rows of `x` `[n, d]`, `[n, n]`.
pub(super) fn gaussian(x: &Tensor, width: f64) -> Result<Tensor, OpError> {
    #[expect(clippy::cast_possible_truncation, reason = "kernels are f32")]
    let by = (-0.5 / (width * width)) as f32;
    squared_distances(x)?.0.scale(by)?.exp()
}

/// The squared distances between all rows of `x`, `[n, n]`, and their mean, through which no gradient
/// goes.
pub(super) fn squared_distances(x: &Tensor) -> Result<(Tensor, Tensor), OpError> {
    // A common shift changes no distance, and products of rows near 0 round less.
    let x = x.sub(&x.detached().mean_of_rows()?)?;
    let squares = x.square()?.row_sums()?;
    let products = x.matmul(&x.transposed()?)?;
    let distances = products.scale(-2.0)?.add(&squares)?.add(&squares.transposed()?)?;
    // Around their mean, rows are on average half as far squared as they are from each other.
    let mean = squares.detached().mean()?.scale(2.0)?;
    Ok((distances.clamp(0.0, f32::MAX)?, mean))
}

fn first_rows(x: &Tensor, rows: usize) -> Result<Tensor, OpError> {
    if rows == x.rows() { Ok(x.clone()) } else { x.slice_rows(0, rows) }
}

#[expect(clippy::cast_precision_loss, reason = "pairs of a batch are far below 2^24")]
fn one_of(many: usize) -> f32 {
    1.0 / many as f32
}

#[cfg(test)]
pub(super) mod tests {
    use std::ops::Range;

    use super::*;
    use crate::nn::ops::{CpuOps, Dims, Tape};

    /// The usual settings.
    pub const USUAL: FeatureKernel =
        FeatureKernel { kernels: 5, factor: 2.0, estimate: Estimate::Quadratic };

    /// Its squared widths, of the mean squared distance: 2^-3 to 2^1.
    pub const USUAL_SQUARES: [f64; 5] = [0.125, 0.25, 0.5, 1.0, 2.0];

    /// Numbers without a pattern, from -1 to 1.
    pub fn batch(salt: u32, shape: (usize, usize)) -> Tensor {
        let values = (0..shape.0 * shape.1).map(|at| {
            let hash = (at as u32 + 1).wrapping_mul(2_654_435_761).wrapping_add(salt * 40_503);
            f64::from(hash.wrapping_mul(hash >> 13 | 1)) / f64::from(u32::MAX) * 2.0 - 1.0
        });
        let values = values.map(|value| value as f32).collect();
        CpuOps::shared().tensor(values, Dims::Rows(shape.0, shape.1)).unwrap()
    }

    /// The rows in double precision.
    pub fn rows_of(x: &Tensor) -> Vec<Vec<f64>> {
        let double = |row: &[f32]| row.iter().map(|it| f64::from(*it)).collect();
        x.host().chunks(x.columns()).map(double).collect()
    }

    /// `of` the squared distance of each pair of rows, over the mean of all of these where `relative`.
    pub fn pairs(rows: &[Vec<f64>], relative: bool, of: impl Fn(f64) -> f64) -> Vec<Vec<f64>> {
        let square = |(a, b): (&f64, &f64)| (a - b).powi(2);
        let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(square).sum::<f64>();
        let distances: Vec<Vec<f64>> =
            rows.iter().map(|a| rows.iter().map(|b| distance(a, b)).collect()).collect();
        let sum: f64 = distances.iter().flatten().sum();
        let unit = if relative { sum / (rows.len() * rows.len()) as f64 } else { 1.0 };
        distances.iter().map(|row| row.iter().map(|it| of(it / unit)).collect()).collect()
    }

    /// The sum of Gaussians of these squared widths at a squared distance.
    pub fn gaussians(squares: &[f64], distance: f64) -> f64 {
        squares.iter().map(|square| (-distance / (2.0 * square)).exp()).sum()
    }

    /// The unbiased estimate by its formula: means over pairs of different rows, of which the first `n`
    /// are the source's.
    pub fn unbiased(kernel: &[Vec<f64>], n: usize) -> f64 {
        let mean = |rows: Range<usize>, columns: Range<usize>| {
            let (mut sum, mut count) = (0.0, 0.0);
            for i in rows {
                for j in columns.clone().filter(|j| *j != i) {
                    sum += kernel[i][j];
                    count += 1.0;
                }
            }
            sum / count
        };
        let all = kernel.len();
        mean(0..n, 0..n) + mean(n..all, n..all) - 2.0 * mean(0..n, n..all)
    }

    #[test]
    fn the_kernel_is_a_sum_of_gaussians_whose_widths_follow_the_mean_distance() {
        let x = batch(1, (7, 4));
        let three = FeatureKernel { kernels: 2, factor: 3.0, ..USUAL };
        let one = FeatureKernel { kernels: 1, ..USUAL };
        let settings: [(FeatureKernel, &[f64]); 3] =
            [(USUAL, &USUAL_SQUARES), (three, &[1.0 / 9.0, 1.0 / 3.0]), (one, &[0.5])];
        for (kernel, squares) in settings {
            let found = rows_of(&kernel.between(&x).unwrap());
            let expected = pairs(&rows_of(&x), true, |it| gaussians(squares, it));
            for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                assert!((found - expected).abs() < 1e-5, "{kernel:?}: {found} and {expected}");
            }
        }
        let found = rows_of(&gaussian(&x, 0.92).unwrap());
        let expected = pairs(&rows_of(&x), false, |it| gaussians(&[0.92 * 0.92], it));
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-5, "{found} and {expected}");
        }
    }

    /// All rows twice as far apart have the same kernel, so that with a gradient through the mean
    /// distance there would be none in that direction.
    #[test]
    fn no_gradient_goes_through_the_mean_distance() {
        let tape = Tape::default();
        let x = batch(8, (7, 3)).on(&tape);
        let loss = USUAL.discrepancy(&USUAL.between(&x).unwrap(), (4, 3)).unwrap();
        let gradient = tape.backward(&loss).unwrap().take(&x).unwrap().host();
        let product = |(x, dx): (&f32, &f32)| f64::from(*x) * f64::from(*dx);
        let found: f64 = x.host().iter().zip(&gradient).map(product).sum();
        // Along x itself, a squared distance d changes by 2 d.
        let change = |distance: f64| {
            let one = |square: &f64| -distance / square * (-distance / (2.0 * square)).exp();
            USUAL_SQUARES.iter().map(one).sum::<f64>()
        };
        let expected = unbiased(&pairs(&rows_of(&x), true, change), 4);
        assert!(expected.abs() > 0.05, "{expected}");
        assert!((found - expected).abs() < 1e-5, "{found} and {expected}");
    }

    #[test]
    fn equal_rows_have_a_kernel_and_a_finite_gradient() {
        let tape = Tape::default();
        let x = CpuOps::shared().tensor(vec![0.3; 20], Dims::Rows(5, 4)).unwrap().on(&tape);
        let kernel = USUAL.between(&x).unwrap();
        assert!(kernel.host().iter().all(|it| (it - 5.0).abs() < 1e-3), "{:?}", kernel.host());
        let loss = USUAL.discrepancy(&kernel, (3, 2)).unwrap();
        assert!(loss.value().abs() < 1e-3, "{}", loss.value());
        let gradient = tape.backward(&loss).unwrap().take(&x).unwrap().host();
        assert!(gradient.iter().all(|it| it.is_finite()), "{gradient:?}");
    }

    #[test]
    fn the_linear_estimate_takes_neighbours_and_leaves_out_what_has_no_partner() {
        let linear = FeatureKernel { estimate: Estimate::Linear, ..USUAL };
        let (source, target) = (batch(3, (3, 2)), batch(4, (5, 2)));
        let x = linear.together(&source, &target).unwrap();
        assert_eq!(x.host(), [source.host(), target.host()[..6].to_vec()].concat());
        let kernel = linear.between(&x).unwrap();
        let found = linear.discrepancy(&kernel, (3, 5)).unwrap().value();
        let k = rows_of(&kernel);
        let quadruple = |[i, j]: [usize; 2]| k[i][j] + k[3 + i][3 + j] - k[i][3 + j] - k[j][3 + i];
        let expected = [[0, 1], [1, 2], [2, 0]].map(quadruple).iter().sum::<f64>() / 3.0;
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
    }

    #[test]
    fn a_single_row_has_no_pair_within_its_batch() {
        // The kernel is symmetric: one place stands for both.
        assert_eq!(Estimate::Linear.weights((1, 1)), [0.0, -2.0, 0.0, 0.0]);
        let weights = Estimate::Quadratic.weights((1, 2));
        assert_eq!(weights, [0.0, -0.5, -0.5, -0.5, 0.0, 0.5, -0.5, 0.5, 0.0]);
    }
}
