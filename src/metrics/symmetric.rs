//! Eigenvalues of symmetric matrices, with their vectors or alone.

use rayon::prelude::*;

/// Sweeps at most; convergence is quadratic and takes about eight.
const SWEEPS: usize = 60;

/// Steps of the QR method for each eigenvalue at most.
const QR_STEPS: usize = 60;

/// Eigenvalues in falling order and the eigenvectors as rows, of a symmetric `matrix` `[n, n]`, by
/// Jacobi's method with cyclic rotations (Golub & Van Loan, "Matrix Computations", 8.5): work in some 50 n^3,
/// for small matrices.
pub fn eigen(matrix: &[f64], n: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mut a = matrix.to_vec();
    let mut vectors: Vec<Vec<f64>> =
        (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    let whole: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..SWEEPS {
        let off: f64 = (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| a[i * n + j].powi(2))
            .sum();
        if off <= 1e-30 * whole {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut vectors, n, p, q);
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|i, j| a[j * n + j].total_cmp(&a[i * n + i]));
    let values = order.iter().map(|i| a[i * n + i]).collect();
    (values, order.iter().map(|i| std::mem::take(&mut vectors[*i])).collect())
}

/// Turns the plane of `p` and `q` so that the element between them becomes 0.
fn rotate(a: &mut [f64], vectors: &mut [Vec<f64>], n: usize, p: usize, q: usize) {
    let between = a[p * n + q];
    if between == 0.0 {
        return;
    }
    let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * between);
    let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let c = 1.0 / t.hypot(1.0);
    let s = t * c;
    for k in 0..n {
        let (x, y) = (a[k * n + p], a[k * n + q]);
        a[k * n + p] = c * x - s * y;
        a[k * n + q] = s * x + c * y;
    }
    for k in 0..n {
        let (x, y) = (a[p * n + k], a[q * n + k]);
        a[p * n + k] = c * x - s * y;
        a[q * n + k] = s * x + c * y;
    }
    let (before, after) = vectors.split_at_mut(q);
    for (x, y) in before[p].iter_mut().zip(&mut after[0]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

/// Eigenvalues in falling order of a symmetric `matrix` `[n, n]`, each with an error of about rounding of the
/// largest one. Work in 2 n^3, the same bits at any number of threads.
///
/// Householder reflections bring the matrix to tridiagonal form (Golub & Van Loan, "Matrix Computations", 8.3),
/// whose eigenvalues are found by bisection (Barth, Martin & Wilkinson 1967).
pub fn eigenvalues(matrix: &[f64], n: usize) -> Vec<f64> {
    let tridiagonal = Tridiagonal::of(matrix.to_vec(), n);
    (0..n).into_par_iter().rev().map(|at| tridiagonal.eigenvalue(at)).collect()
}

/// Eigenvalues in falling order and the eigenvectors as rows, of a symmetric `matrix` `[n, n]` that may be larger
/// than one for [`eigen`]: work in some 10 n^3, the same bits at any number of threads.
///
/// The tridiagonal form of [`eigenvalues`] becomes diagonal by implicit QR steps with Wilkinson's shift (Golub &
/// Van Loan, 8.3), whose rotations the eigenvectors are made of, and the reflections are undone.
pub fn eigenvectors(matrix: &[f64], n: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let tridiagonal = Tridiagonal::of(matrix.to_vec(), n);
    let (values, turned) = tridiagonal.diagonalised();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|i, j| values[*j].total_cmp(&values[*i]));
    let vector = |at: &usize| {
        let mut x: Vec<f64> = turned.iter().skip(*at).step_by(n).copied().collect();
        for (column, reflection) in tridiagonal.reflections.iter().enumerate().rev() {
            let Some((v, factor)) = reflection else { continue };
            let below = &mut x[column + 1..];
            let share = factor * dot(v, below);
            below.iter_mut().zip(v).for_each(|(x, v)| *x -= share * v);
        }
        x
    };
    let vectors = order.par_iter().map(vector).collect();
    (order.iter().map(|at| values[*at]).collect(), vectors)
}

/// A symmetric matrix that is 0 beside its diagonal and what lies right beside that.
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// The elements between neighbours on the diagonal, one fewer.
    beside: Vec<f64>,
    /// Their squares.
    squares: Vec<f64>,
    /// What a square can be divided by without overflow.
    least: f64,
    /// For each column of the matrix that it was made of, the v and 2 / v v of the reflection of what lies below
    /// the diagonal; `None` where that had its place already.
    reflections: Vec<Option<(Vec<f64>, f64)>>,
}

impl Tridiagonal {
    /// The matrix with the same eigenvalues as the symmetric `a` `[n, n]`.
    fn of(mut a: Vec<f64>, n: usize) -> Self {
        let mut squares = Vec::with_capacity(n.saturating_sub(1));
        let (mut beside, mut reflections) = (Vec::new(), Vec::new());
        for column in 0..n.saturating_sub(1) {
            // The reflection x - v (v x) (2 / v v) takes what is below the diagonal to its first element.
            let first = column + 1;
            let mut v: Vec<f64> = a[column * n + first..(column + 1) * n].to_vec();
            let square = dot(&v, &v);
            squares.push(square);
            if dot(&v[1..], &v[1..]) < f64::MIN_POSITIVE {
                beside.push(v[0]);
                reflections.push(None);
                continue;
            }
            let length = square.sqrt().copysign(v[0]);
            beside.push(-length);
            v[0] += length;
            let factor = 2.0 / dot(&v, &v);
            let below = &mut a[first * n..];
            let mut w: Vec<f64> =
                below.par_chunks_exact(n).map(|row| factor * dot(&row[first..], &v)).collect();
            let share = factor / 2.0 * dot(&w, &v);
            w.iter_mut().zip(&v).for_each(|(w, v)| *w -= share * v);
            below.par_chunks_exact_mut(n).zip(&v).zip(&w).for_each(|((row, v_row), w_row)| {
                for ((x, v), w) in row[first..].iter_mut().zip(&v).zip(&w) {
                    *x -= v_row * w + w_row * v;
                }
            });
            reflections.push(Some((v, factor)));
        }
        let least = f64::MIN_POSITIVE * squares.iter().copied().fold(1.0, f64::max);
        let diagonal = (0..n).map(|at| a[at * n + at]).collect();
        Self { diagonal, beside, squares, least, reflections }
    }

    /// The eigenvalues in no order, and the eigenvectors as columns `[n, n]`.
    fn diagonalised(&self) -> (Vec<f64>, Vec<f64>) {
        let n = self.diagonal.len();
        let (mut diagonal, mut beside) = (self.diagonal.clone(), self.beside.clone());
        let mut vectors = vec![0.0; n * n];
        vectors.iter_mut().step_by(n + 1).for_each(|x| *x = 1.0);
        let largest = diagonal.iter().chain(&beside).fold(0.0, |most: f64, x| most.max(x.abs()));
        let floor = f64::EPSILON.powi(2) * largest;
        let mut last = n.saturating_sub(1);
        // Two steps for each eigenvalue are usual.
        for _ in 0..QR_STEPS * n {
            let is_nothing = |at: usize| {
                let around = diagonal[at].abs() + diagonal[at + 1].abs();
                beside[at].abs() <= f64::EPSILON * around + floor
            };
            while last > 0 && is_nothing(last - 1) {
                last -= 1;
            }
            if last == 0 {
                break;
            }
            let first = (0..last).rev().find(|at| is_nothing(*at)).map_or(0, |at| at + 1);
            let turns = qr_step(&mut diagonal, &mut beside, first, last);
            vectors.par_chunks_exact_mut(n).for_each(|row| {
                for (at, (c, s)) in (first..last).zip(&turns) {
                    let (x, y) = (row[at], row[at + 1]);
                    (row[at], row[at + 1]) = (c * x + s * y, c * y - s * x);
                }
            });
        }
        (diagonal, vectors)
    }

    /// The eigenvalue that `rank` others are below.
    fn eigenvalue(&self, rank: usize) -> f64 {
        let (mut low, mut high) = self.range();
        // Halving more often would not show beside the ends of the range.
        for _ in 0..64 {
            let middle = f64::midpoint(low, high);
            if middle <= low || middle >= high {
                break;
            }
            if self.below(middle) > rank {
                high = middle;
            } else {
                low = middle;
            }
        }
        f64::midpoint(low, high)
    }

    /// What all eigenvalues lie between (Gershgorin).
    fn range(&self) -> (f64, f64) {
        let beside = |at: usize| self.squares.get(at).copied().unwrap_or_default().sqrt();
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for (at, x) in self.diagonal.iter().enumerate() {
            let radius = at.checked_sub(1).map_or(0.0, beside) + beside(at);
            low = low.min(x - radius);
            high = high.max(x + radius);
        }
        (low, high)
    }

    /// How many eigenvalues are below `x`: the number of negative pivots of this matrix minus x.
    fn below(&self, x: f64) -> usize {
        let (mut count, mut pivot) = (0, 1.0);
        let before = std::iter::once(0.0).chain(self.squares.iter().copied());
        for (element, square) in self.diagonal.iter().zip(before) {
            pivot = element - x - square / pivot;
            if pivot.abs() < self.least {
                pivot = -self.least;
            }
            count += usize::from(pivot < 0.0);
        }
        count
    }
}

/// A step of the QR method on the rows from `first` to `last` of a tridiagonal matrix, between which no element
/// beside the diagonal is 0. The cosine and the sine by which it turns each plane of neighbours.
fn qr_step(diagonal: &mut [f64], beside: &mut [f64], first: usize, last: usize) -> Vec<(f64, f64)> {
    let half = (diagonal[last - 1] - diagonal[last]) / 2.0;
    let end = beside[last - 1];
    let shift = diagonal[last] - end * end / (half + half.hypot(end).copysign(half));
    let (mut x, mut bulge) = (diagonal[first] - shift, beside[first]);
    let mut turns = Vec::with_capacity(last - first);
    for at in first..last {
        let length = x.hypot(bulge);
        let (c, s) = if length > 0.0 { (x / length, bulge / length) } else { (1.0, 0.0) };
        if at > first {
            beside[at - 1] = length;
        }
        let (a, b, d) = (diagonal[at], beside[at], diagonal[at + 1]);
        diagonal[at] = c * c * a + 2.0 * c * s * b + s * s * d;
        diagonal[at + 1] = s * s * a - 2.0 * c * s * b + c * c * d;
        beside[at] = c * s * (d - a) + (c * c - s * s) * b;
        if at + 1 < last {
            (x, bulge) = (beside[at], s * beside[at + 1]);
            beside[at + 1] *= c;
        }
        turns.push((c, s));
    }
    turns
}

/// In eight sums side by side, in an order that never changes.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_blocks, b_blocks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a_blocks.remainder().iter().zip(b_blocks.remainder());
    let rest: f64 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a_blocks.zip(b_blocks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    fn eigenvectors_are_stretched_by_their_eigenvalues() {
        let matrix = [4.0, 1.0, -2.0, 1.0, 2.0, 0.5, -2.0, 0.5, 3.0];
        let (values, vectors) = eigen(&matrix, 3);
        assert!(values.is_sorted_by(|a, b| a >= b));
        assert!((values.iter().sum::<f64>() - 9.0).abs() < 1e-12);
        for (value, vector) in values.iter().zip(&vectors) {
            for i in 0..3 {
                let product: f64 = (0..3).map(|j| matrix[i * 3 + j] * vector[j]).sum();
                assert!((product - value * vector[i]).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn eigenvalues_alone_are_those_that_come_with_vectors() {
        let mut stream = random::stream(0, "symmetric", 0, 0);
        for n in [1, 2, 3, 9, 20] {
            // Rows of fewer numbers than rows: the last eigenvalues are 0.
            let width = n.min(12);
            let rows: Vec<f64> = (0..n * width).map(|_| f64::from(stream.normal())).collect();
            let row = |at: usize| &rows[at * width..(at + 1) * width];
            let gram: Vec<f64> = (0..n * n).map(|at| dot(row(at / n), row(at % n))).collect();
            let (expected, _) = eigen(&gram, n);
            let found = eigenvalues(&gram, n);
            assert_eq!(found.len(), n);
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-12 * expected.max(100.0), "{n}: {found}");
            }
        }
    }

    #[test]
    fn eigenvectors_of_larger_matrices_are_orthonormal_and_make_the_matrix_again() {
        let mut stream = random::stream(1, "symmetric", 0, 0);
        let mut gram = |n: usize, width: usize| -> Vec<f64> {
            let rows: Vec<f64> = (0..n * width).map(|_| f64::from(stream.normal())).collect();
            let row = |at: usize| &rows[at * width..(at + 1) * width];
            (0..n * n).map(|at| dot(row(at / n), row(at % n))).collect()
        };
        let matrices = [
            (gram(1, 3), 1),
            (gram(2, 2), 2),
            (gram(40, 60), 40),
            // Of rank 5: all others are 0.
            (gram(30, 5), 30),
            (vec![0.0; 16], 4),
            (vec![1.0; 100], 10),
            (vec![2.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 2.0], 3),
            (Vec::new(), 0),
        ];
        for (matrix, n) in matrices {
            let (values, vectors) = eigenvectors(&matrix, n);
            assert_eq!((values.len(), vectors.len()), (n, n));
            assert!(values.is_sorted_by(|a, b| a >= b), "{values:?}");
            let (expected, _) = eigen(&matrix, n);
            let scale = matrix.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
            for (found, expected) in values.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-12 * scale, "{n}: {found} and {expected}");
            }
            for i in 0..n {
                for j in 0..n {
                    let product = dot(&vectors[i], &vectors[j]);
                    let expected = f64::from(u8::from(i == j));
                    assert!((product - expected).abs() < 1e-12, "{n}: {i}, {j}");
                    let of_both = (0..n).map(|at| values[at] * vectors[at][i] * vectors[at][j]);
                    let element: f64 = of_both.sum();
                    assert!((element - matrix[i * n + j]).abs() < 1e-12 * scale, "{n}: {i}, {j}");
                }
            }
        }
    }

    #[test]
    fn equal_eigenvalues_and_none_at_all_are_found_too() {
        assert_eq!(eigenvalues(&[0.0; 9], 3), [0.0; 3]);
        assert!(eigenvalues(&[], 0).is_empty());
        let diagonal = [2.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 2.0];
        for (found, expected) in eigenvalues(&diagonal, 3).iter().zip([2.0, 2.0, -1.0]) {
            assert!((found - expected).abs() < 1e-12, "{found}");
        }
        // All alike: one eigenvalue of n, and n - 1 of 0.
        let found = eigenvalues(&[1.0; 100], 10);
        assert!((found[0] - 10.0).abs() < 1e-12, "{found:?}");
        assert!(found[1..].iter().all(|it| it.abs() < 1e-12), "{found:?}");
    }
}
