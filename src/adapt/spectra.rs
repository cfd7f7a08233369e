//! Singular values of a batch in a loss, with exact gradients: their sum, and the largest and the smallest of
//! their squares.
//!
//! The singular vectors are found on the host in double precision and are constants in the loss. That is
//! exact: for X = U S V^T the gradient of the sum of all singular values is U V^T, and that of s_i^2 is
//! 2 s_i u_i v_i^T, whatever way the vectors themselves turn. No decomposition is differentiated, which
//! would divide by the differences of singular values.

use crate::metrics::symmetric::{eigen, eigenvectors};
use crate::nn::ops::{Dims, OpError, Tensor};
use crate::random;

/// Eigenvalues of X^T X count as at least this share of the largest one where the gradient divides by their
/// roots: X loses rank where a class has no image.
const FLOOR: f64 = 1e-10;

/// Rows of a symmetric matrix of which all eigenvectors are computed. Work grows with their cube.
const SMALL: usize = 32;

/// Directions that are followed besides those that are wanted: the more, the faster these settle.
const SPARE: usize = 6;

/// Iterations at most.
const ROUNDS: usize = 300;

/// Where a direction has settled: the residual relative to the largest eigenvalue.
const TOLERANCE: f64 = 1e-9;

/// The nuclear norm of `x` `[N, K]`: the sum of its singular values.
pub(super) fn nuclear_norm(x: &Tensor) -> Result<Tensor, OpError> {
    let shape = (x.rows(), x.columns());
    let factor = x.constant(polar_factor(&x.host(), shape), Dims::Rows(shape.0, shape.1))?;
    x.mul(&factor)?.sum()
}

/// The sum of the squares of the `count` largest singular values of `x` `[N, d]`, or of all of them where
/// there are fewer.
pub(super) fn largest_squared_singular_values(x: &Tensor, count: usize) -> Result<Tensor, OpError> {
    let is_wide = x.rows() <= x.columns();
    let constant = x.detached();
    let turned = constant.transposed()?;
    let gram = if is_wide { constant.matmul(&turned)? } else { turned.matmul(&constant)? };
    let side = gram.rows();
    let vectors = leading(&symmetric(&gram.host(), side), side, count);
    squares_along(x, vectors)
}

/// The sum of the squares of the `count` smallest singular values of `x` `[N, d]`, of which there are as many
/// as the smaller of N and d, or of all of them where there are fewer.
pub(super) fn smallest_squared_singular_values(
    x: &Tensor,
    count: usize,
) -> Result<Tensor, OpError> {
    let lines = lines(&x.host(), (x.rows(), x.columns()));
    // Products of both in single precision would hide small eigenvalues behind the rounding of the largest one.
    let (_, mut vectors) = eigenvectors(&products(&lines), lines.len());
    let larger = vectors.len().saturating_sub(count);
    squares_along(x, vectors.split_off(larger))
}

/// The sum of |X v|^2 over unit vectors v that are as long as the rows of `x`, or |v X|^2 over vectors as long
/// as its columns where it has fewer rows than columns: the squared singular values of singular vectors.
fn squares_along(x: &Tensor, vectors: Vec<Vec<f64>>) -> Result<Tensor, OpError> {
    let is_wide = x.rows() <= x.columns();
    let shape = Dims::Rows(vectors.len(), x.rows().min(x.columns()));
    #[expect(clippy::cast_possible_truncation, reason = "activations are f32")]
    let vectors = vectors.into_iter().flatten().map(|it| it as f32).collect();
    let vectors = x.constant(vectors, shape)?;
    let stretched = if is_wide { vectors.matmul(x)? } else { x.matmul(&vectors.transposed()?)? };
    stretched.square()?.sum()
}

/// The rows of `x` `[rows, columns]` or, where there are fewer of them, its columns.
fn lines(x: &[f32], (rows, columns): (usize, usize)) -> Vec<Vec<f64>> {
    let is_wide = rows <= columns;
    let (count, len) = if is_wide { (rows, columns) } else { (columns, rows) };
    let at = |line: usize, k: usize| if is_wide { line * columns + k } else { k * columns + line };
    let line = |i: usize| (0..len).map(|k| f64::from(x[at(i, k)])).collect();
    (0..count).map(line).collect()
}

/// The inner products of `lines`, `[n, n]`.
fn products(lines: &[Vec<f64>]) -> Vec<f64> {
    lines.iter().flat_map(|a| lines.iter().map(move |b| dot(a, b))).collect()
}

/// U V^T of `x` `[rows, columns]` = U S V^T.
fn polar_factor(x: &[f32], (rows, columns): (usize, usize)) -> Vec<f32> {
    // The rows of `x` or, where there are fewer of them, its columns: U V^T = (x x^T)^(-1/2) x.
    let is_wide = rows <= columns;
    let (count, len) = if is_wide { (rows, columns) } else { (columns, rows) };
    let at = |line: usize, k: usize| if is_wide { line * columns + k } else { k * columns + line };
    let lines = lines(x, (rows, columns));
    let root = inverse_root(&products(&lines), count);
    let mut factor = vec![0.0; x.len()];
    for (i, shares) in root.chunks_exact(count).enumerate() {
        for k in 0..len {
            let sum: f64 = shares.iter().zip(&lines).map(|(share, line)| share * line[k]).sum();
            #[expect(clippy::cast_possible_truncation, reason = "activations are f32")]
            let value = sum as f32;
            factor[at(i, k)] = value;
        }
    }
    factor
}

/// The matrix to the power -1/2, its eigenvalues being kept from 0.
fn inverse_root(gram: &[f64], n: usize) -> Vec<f64> {
    let (values, vectors) = eigen(gram, n);
    let floor = (FLOOR * values[0]).max(f64::MIN_POSITIVE);
    let mut root = vec![0.0; n * n];
    for (value, vector) in values.iter().zip(&vectors) {
        let weight = value.max(floor).sqrt().recip();
        for (sums, a) in root.chunks_exact_mut(n).zip(vector) {
            sums.iter_mut().zip(vector).for_each(|(sum, b)| *sum += weight * a * b);
        }
    }
    root
}

/// The mean of a matrix `[n, n]` and its transpose: a product of both may round to either side.
fn symmetric(gram: &[f32], n: usize) -> Vec<f64> {
    let at = |i: usize, j: usize| f64::from(gram[i * n + j]);
    (0..n * n).map(|it| f64::midpoint(at(it / n, it % n), at(it % n, it / n))).collect()
}

/// The eigenvectors of the `count` largest eigenvalues of a symmetric `matrix` `[n, n]` that has no negative
/// ones. By subspace iteration with Rayleigh-Ritz steps (Golub & Van Loan, "Matrix Computations", 8.2) from
/// fixed random directions where the matrix is not small, on one thread.
fn leading(matrix: &[f64], n: usize, count: usize) -> Vec<Vec<f64>> {
    let count = count.min(n);
    if n <= SMALL {
        let mut vectors = eigen(matrix, n).1;
        vectors.truncate(count);
        return vectors;
    }
    let block = (count + SPARE).min(n);
    let mut stream = random::stream(0, "spectra", 0, 0);
    let mut basis: Vec<Vec<f64>> =
        (0..block).map(|_| (0..n).map(|_| f64::from(stream.normal())).collect()).collect();
    orthonormalise(&mut basis);
    for _ in 0..ROUNDS {
        let apply =
            |x: &Vec<f64>| -> Vec<f64> { matrix.chunks_exact(n).map(|row| dot(row, x)).collect() };
        let image: Vec<Vec<f64>> = basis.iter().map(apply).collect();
        let within: Vec<f64> =
            basis.iter().flat_map(|a| image.iter().map(move |b| dot(a, b))).collect();
        let (values, turns) = eigen(&within, block);
        basis = combined(&turns, &basis);
        let image = combined(&turns, &image);
        let has_settled = |at: usize| {
            let off = image[at].iter().zip(&basis[at]).map(|(y, x)| (y - values[at] * x).powi(2));
            off.sum::<f64>().sqrt() <= TOLERANCE * values[0]
        };
        if (0..count).all(has_settled) {
            break;
        }
        basis = image;
        orthonormalise(&mut basis);
    }
    basis.truncate(count);
    basis
}

/// For each of `turns`, the sum of `rows` with these weights.
fn combined(turns: &[Vec<f64>], rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let combine = |turn: &Vec<f64>| {
        let mut sum = vec![0.0; rows[0].len()];
        for (weight, row) in turn.iter().zip(rows) {
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
        }
        sum
    };
    turns.iter().map(combine).collect()
}

/// Makes rows orthonormal, one after the other and twice each, because rounding leaves something of the
/// others in a row that is nearly one of them. A row of zeros stays one.
fn orthonormalise(rows: &mut [Vec<f64>]) {
    for at in 0..rows.len() {
        let (before, rest) = rows.split_at_mut(at);
        let row = &mut rest[0];
        for _ in 0..2 {
            for other in &*before {
                let along = dot(other, row);
                row.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
            }
            let norm = dot(row, row).sqrt();
            if norm > 0.0 {
                row.iter_mut().for_each(|x| *x /= norm);
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Tape;
    use crate::nn::ops::CpuOps;

    /// Numbers without a pattern, from -1 to 1.
    fn numbers(len: usize, salt: u64) -> Vec<f32> {
        let mut stream = random::stream(salt, "test", 0, 0);
        (0..len).map(|_| 2.0 * stream.uniform() - 1.0).collect()
    }

    /// The squares of all singular values, the largest first.
    fn squares(x: &[f64], (rows, columns): (usize, usize)) -> Vec<f64> {
        let gram: Vec<f64> = (0..columns * columns)
            .map(|at| {
                let (i, j) = (at / columns, at % columns);
                (0..rows).map(|row| x[row * columns + i] * x[row * columns + j]).sum()
            })
            .collect();
        eigen(&gram, columns).0
    }

    /// The value of a loss of `x` and its gradient.
    fn with_gradient(
        x: &[f32],
        (rows, columns): (usize, usize),
        loss: impl Fn(&Tensor) -> Result<Tensor, OpError>,
    ) -> (f64, Vec<f32>) {
        let tape = Tape::default();
        let x = CpuOps::shared().tensor(x.to_vec(), Dims::Rows(rows, columns)).unwrap().on(&tape);
        let loss = loss(&x).unwrap();
        let gradient = tape.backward(&loss).unwrap().take(&x).unwrap();
        (loss.value(), gradient.host())
    }

    /// Compares a loss with what `expected` gives in double precision, and its gradient with differences.
    fn check(
        shape: (usize, usize),
        loss: impl Fn(&Tensor) -> Result<Tensor, OpError>,
        expected: impl Fn(&[f64]) -> f64,
    ) {
        let x = numbers(shape.0 * shape.1, 1);
        let (value, gradient) = with_gradient(&x, shape, loss);
        let exact: Vec<f64> = x.iter().copied().map(f64::from).collect();
        let known = expected(&exact);
        assert!((value - known).abs() < 1e-5 * known, "{shape:?}: {value} and {known}");
        for (at, slope) in gradient.iter().enumerate() {
            let moved = |by: f64| {
                let mut x = exact.clone();
                x[at] += by;
                expected(&x)
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            let off = (f64::from(*slope) - difference).abs();
            assert!(off < 1e-4, "{shape:?}, {at}: {slope} and {difference}");
        }
    }

    #[test]
    fn the_nuclear_norm_has_the_gradient_of_finite_differences() {
        for shape in [(8, 5), (5, 5), (3, 7), (1, 4)] {
            // Where there are fewer rows than columns, the other singular values are 0.
            let norm = |x: &[f64]| -> f64 {
                let squares = squares(x, shape);
                squares.iter().take(shape.0).map(|it| it.max(0.0).sqrt()).sum()
            };
            check(shape, nuclear_norm, norm);
        }
    }

    #[test]
    fn the_largest_squares_have_the_gradient_of_finite_differences() {
        for shape in [(8, 5), (5, 8)] {
            for count in [1, 2, 5] {
                let sum = |x: &[f64]| -> f64 { squares(x, shape).iter().take(count).sum() };
                check(shape, |x| largest_squared_singular_values(x, count), sum);
            }
        }
    }

    #[test]
    fn the_gradient_of_one_square_is_twice_its_singular_triple() {
        // 3 u v^T + 1 u' v'^T with vectors that can be read off.
        let x = [0.0, 3.0, 1.0, 0.0];
        let (value, gradient) =
            with_gradient(&x, (2, 2), |x| largest_squared_singular_values(x, 1));
        assert!((value - 9.0).abs() < 1e-5, "{value}");
        for (found, expected) in gradient.iter().zip([0.0_f32, 6.0, 0.0, 0.0]) {
            assert!((found - expected).abs() < 1e-5, "{gradient:?}");
        }
    }

    #[test]
    fn directions_that_are_followed_are_those_of_the_whole_decomposition() {
        let n = SMALL + 18;
        let x: Vec<f64> = numbers(n * 70, 2).into_iter().map(f64::from).collect();
        let rows: Vec<&[f64]> = x.chunks_exact(70).collect();
        let gram: Vec<f64> =
            rows.iter().flat_map(|a| rows.iter().map(move |b| dot(a, b))).collect();
        let (values, whole) = eigen(&gram, n);
        for count in [1, 4] {
            let found = leading(&gram, n, count);
            assert_eq!(found.len(), count);
            for (at, vector) in found.iter().enumerate() {
                // Either sign will do.
                let along = dot(vector, &whole[at]).abs();
                assert!(1.0 - along < 1e-10, "{at}: {along}, of {}", values[at]);
            }
        }
    }

    #[test]
    fn the_smallest_squares_have_the_gradient_along_their_singular_vectors() {
        // Rows at right angles: s = (3, 2, 1), whose left vectors are the unit vectors; and its transpose.
        let x = [0.0, 2.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        let turned = [0, 3, 6, 1, 4, 7, 2, 5, 8];
        for (count, value, kept) in [(1, 1.0, &[8][..]), (2, 5.0, &[1, 8][..])] {
            let expected: Vec<f32> =
                (0..9).map(|at| if kept.contains(&at) { 2.0 * x[at] } else { 0.0 }).collect();
            let smallest = |x: &Tensor| smallest_squared_singular_values(x, count);
            let (found, gradient) = with_gradient(&x, (3, 3), smallest);
            assert!((found - value).abs() < 1e-5, "{found}");
            let of_turned: Vec<f32> = turned.iter().map(|at| x[*at]).collect();
            let (again, of_turned) = with_gradient(&of_turned, (3, 3), smallest);
            assert!((again - value).abs() < 1e-5, "{again}");
            for at in 0..9 {
                assert!((gradient[at] - expected[at]).abs() < 1e-4, "{gradient:?}");
                assert!((of_turned[at] - expected[turned[at]]).abs() < 1e-4, "{of_turned:?}");
            }
        }
    }

    #[test]
    fn the_smallest_squares_have_the_gradient_of_finite_differences() {
        for shape in [(8, 5), (5, 8)] {
            for count in [1, 2, 5] {
                let sum =
                    |x: &[f64]| -> f64 { squares(x, shape).iter().take(5).rev().take(count).sum() };
                check(shape, |x| smallest_squared_singular_values(x, count), sum);
            }
        }
    }

    #[test]
    fn matrices_without_full_rank_have_finite_values_and_gradients() {
        for rows in [2, SMALL + 8] {
            let alike: Vec<f32> = numbers(6, 3).into_iter().cycle().take(rows * 6).collect();
            let wide: Vec<f32> = (0..rows).flat_map(|_| numbers(50, 4)).collect();
            for (x, columns) in [(alike, 6), (vec![0.0; rows * 6], 6), (wide, 50)] {
                let shape = (rows, columns);
                let row: f64 = x[..columns].iter().map(|it| f64::from(*it).powi(2)).sum();
                let square = rows as f64 * row;
                let (norm, slopes) = with_gradient(&x, shape, nuclear_norm);
                assert!((norm - square.sqrt()).abs() < 1e-4 * (1.0 + norm), "{shape:?}: {norm}");
                assert!(slopes.iter().all(|it| it.is_finite() && it.abs() < 1.1));
                let (sum, slopes) =
                    with_gradient(&x, shape, |x| largest_squared_singular_values(x, 3));
                assert!((sum - square).abs() < 1e-3 * (1.0 + square), "{shape:?}: {sum}");
                assert!(slopes.iter().all(|it| it.is_finite()));
                let (sum, slopes) =
                    with_gradient(&x, shape, |x| smallest_squared_singular_values(x, 1));
                assert!(sum.abs() < 1e-6 * (1.0 + square), "{shape:?}: {sum}");
                assert!(slopes.iter().all(|it| it.abs() < 1e-2), "{shape:?}: {slopes:?}");
            }
        }
    }
}
