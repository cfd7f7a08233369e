//! Linear maps of features in double precision, for methods that align two domains in closed form: z-scores,
//! covariances and their roots, and maps that follow one another. The same bits at any number of threads.

use rayon::prelude::*;

use crate::metrics::symmetric::eigenvectors;

/// Rows that are centred at a time; it changes no number but by the order of a sum.
const BLOCK: usize = 64;

/// A feature whose deviation is this small beside its mean varies by rounding alone.
const CONSTANT: f64 = 1e-5;

/// An eigenvalue this small beside the largest one is rounding of f32 features.
const NOTHING: f64 = 1e-8;

/// The features of some images, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureRows {
    /// `[N, width]`.
    pub values: Vec<f32>,
    /// Numbers in a row, one at least.
    pub width: usize,
}

impl FeatureRows {
    /// Number of rows N.
    pub fn images(&self) -> usize {
        self.values.len() / self.width
    }

    /// The rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }

    /// The rows at `indices`, in their order.
    pub fn at(&self, indices: &[usize]) -> Self {
        let row = |at: &usize| &self.values[at * self.width..][..self.width];
        Self { values: indices.iter().flat_map(row).copied().collect(), width: self.width }
    }
}

/// A matrix, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// `[rows, columns]`.
    pub values: Vec<f64>,
    /// Numbers in a row, one at least.
    pub columns: usize,
}

impl Matrix {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { values: vec![0.0; rows * columns], columns }
    }

    /// The square matrix that leaves every vector of `width` numbers as it is.
    pub fn identity(width: usize) -> Self {
        let mut matrix = Self::zeros(width, width);
        matrix.values.iter_mut().step_by(width + 1).for_each(|x| *x = 1.0);
        matrix
    }

    /// A matrix of these rows, one at least.
    pub fn of_rows(rows: &[Vec<f64>]) -> Self {
        Self { values: rows.concat(), columns: rows[0].len() }
    }

    /// The rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.columns)
    }

    /// The matrix with rows for columns.
    pub fn transposed(&self) -> Self {
        let count = self.values.len() / self.columns;
        let mut values = vec![0.0; self.values.len()];
        for (i, row) in self.rows().enumerate() {
            row.iter().enumerate().for_each(|(j, x)| values[j * count + i] = *x);
        }
        Self { values, columns: count }
    }

    /// The product of this matrix and `other`.
    pub fn times(&self, other: &Self) -> Self {
        let rows = self.values.len() / self.columns;
        let mut product = Self::zeros(rows, other.columns);
        let sums = product.values.par_chunks_exact_mut(other.columns);
        sums.zip(self.values.par_chunks_exact(self.columns)).for_each(|(sums, row)| {
            row.iter().zip(other.rows()).for_each(|(share, other)| add(sums, *share, other));
        });
        product
    }

    /// The product of this matrix and a column `x`.
    pub fn times_vector(&self, x: &[f64]) -> Vec<f64> {
        self.rows().map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum()).collect()
    }
}

/// Adds `factor` times `what`.
pub(super) fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

/// A symmetric matrix by its eigenvalues and eigenvectors.
#[derive(Debug)]
pub struct Spectrum {
    /// In falling order.
    pub values: Vec<f64>,
    /// An eigenvector for each, as rows.
    pub vectors: Vec<Vec<f64>>,
}

impl Spectrum {
    /// That of a symmetric matrix, of which values and vectors that are rounding are left out where it has no
    /// negative eigenvalues.
    pub fn of(matrix: &Matrix) -> Self {
        let (mut values, mut vectors) = eigenvectors(&matrix.values, matrix.columns);
        let least = NOTHING * values.first().copied().unwrap_or_default();
        let rank = values.iter().take_while(|value| **value > least).count();
        values.truncate(rank);
        vectors.truncate(rank);
        Self { values, vectors }
    }

    /// The matrix `[width, width]` with these eigenvectors whose eigenvalues are `of` these, and 0 for all
    /// others.
    pub fn map(&self, width: usize, of: impl Fn(f64) -> f64) -> Matrix {
        if self.vectors.is_empty() {
            return Matrix::zeros(width, width);
        }
        let vectors = Matrix::of_rows(&self.vectors);
        let mut scaled = vectors.clone();
        for (row, value) in scaled.values.chunks_exact_mut(width).zip(&self.values) {
            let factor = of(*value);
            row.iter_mut().for_each(|x| *x *= factor);
        }
        vectors.transposed().times(&scaled)
    }
}

/// What takes each feature to mean 0 and variance 1.
#[derive(Debug, Clone, PartialEq)]
pub struct ZScore {
    /// The mean of each feature.
    pub mean: Vec<f64>,
    /// The inverse of its deviation; 0 for one that does not vary.
    pub scale: Vec<f64>,
}

impl ZScore {
    /// That of the rows of `sets` together, which have the same width; the variance is divided by the number
    /// of rows less one.
    pub fn of(sets: &[&FeatureRows]) -> Self {
        let width = sets[0].width;
        let rows = || sets.iter().flat_map(|set| set.rows());
        let all = count(sets.iter().map(|set| set.images()).sum());
        let mut mean = vec![0.0; width];
        for row in rows() {
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        mean.iter_mut().for_each(|sum| *sum /= all);
        let mut squares = vec![0.0; width];
        for row in rows() {
            for ((sum, x), mean) in squares.iter_mut().zip(row).zip(&mean) {
                *sum += (f64::from(*x) - mean).powi(2);
            }
        }
        let scale = |(mean, squares): (&f64, f64)| {
            let deviation = (squares / (all - 1.0)).sqrt();
            if deviation > CONSTANT * mean.abs() { 1.0 / deviation } else { 0.0 }
        };
        let scale = mean.iter().zip(squares).map(scale).collect();
        Self { mean, scale }
    }

    /// The z-scores of a row.
    pub fn of_row(&self, row: &[f32]) -> impl Iterator<Item = f64> {
        let parts = row.iter().zip(&self.mean).zip(&self.scale);
        parts.map(|((x, mean), scale)| (f64::from(*x) - mean) * scale)
    }
}

/// Mean and covariance of some rows of numbers.
#[derive(Debug, Clone)]
pub struct RowMoments {
    /// Number of rows N.
    pub count: f64,
    /// `[width]`.
    pub mean: Vec<f64>,
    /// `[width, width]`, divided by N - 1.
    pub covariance: Matrix,
}

impl RowMoments {
    /// Those of the z-scores of two rows at least.
    pub fn of(rows: &FeatureRows, score: &ZScore) -> Self {
        let (width, count) = (rows.width, count(rows.images()));
        let mut mean = vec![0.0; width];
        for row in rows.rows() {
            mean.iter_mut().zip(score.of_row(row)).for_each(|(sum, z)| *sum += z);
        }
        mean.iter_mut().for_each(|sum| *sum /= count);
        let mut sums = Matrix::zeros(width, width);
        for block in rows.values.chunks(BLOCK * width) {
            let scores = block.chunks_exact(width).flat_map(|row| score.of_row(row).zip(&mean));
            let centred: Vec<f64> = scores.map(|(z, mean)| z - mean).collect();
            sums.values.par_chunks_exact_mut(width).enumerate().for_each(|(i, sums)| {
                for row in centred.chunks_exact(width) {
                    add(&mut sums[..=i], row[i], &row[..=i]);
                }
            });
        }
        for i in 0..width {
            for j in 0..=i {
                let value = sums.values[i * width + j] / (count - 1.0);
                sums.values[i * width + j] = value;
                sums.values[j * width + i] = value;
            }
        }
        Self { count, mean, covariance: sums }
    }
}

/// x -> A x + b.
#[derive(Debug, Clone, PartialEq)]
pub struct AffineMap {
    /// A, `[outputs, inputs]`.
    pub matrix: Matrix,
    /// b, `[outputs]`.
    pub shift: Vec<f64>,
}

impl AffineMap {
    /// What makes `matrix` z of a row of features with the z-scores z.
    pub fn of_scores(score: &ZScore, mut matrix: Matrix) -> Self {
        for row in matrix.values.chunks_exact_mut(score.scale.len()) {
            row.iter_mut().zip(&score.scale).for_each(|(a, scale)| *a *= scale);
        }
        let shift = matrix.times_vector(&score.mean).into_iter().map(|it| -it).collect();
        Self { matrix, shift }
    }

    /// This map after `first`.
    pub fn after(&self, first: &Self) -> Self {
        let mut shift = self.matrix.times_vector(&first.shift);
        add(&mut shift, 1.0, &self.shift);
        Self { matrix: self.matrix.times(&first.matrix), shift }
    }

    /// What it makes of rows.
    pub fn of_rows(&self, rows: &FeatureRows) -> FeatureRows {
        let (turned, width) = (self.matrix.transposed(), self.shift.len());
        let mut values = vec![0.0_f32; rows.images() * width];
        let all = values.par_chunks_exact_mut(width);
        all.zip(rows.values.par_chunks_exact(rows.width)).for_each(|(out, row)| {
            let mut sums = self.shift.clone();
            for (x, column) in row.iter().zip(turned.rows()).filter(|(x, _)| **x != 0.0) {
                add(&mut sums, f64::from(*x), column);
            }
            out.copy_from_slice(&single(&sums));
        });
        FeatureRows { values, width }
    }
}

/// Numbers in single precision, as features and parameters are.
#[expect(clippy::cast_possible_truncation, reason = "features and parameters are f32")]
pub(super) fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|it| *it as f32).collect()
}

/// A number of rows.
#[expect(clippy::cast_precision_loss, reason = "image counts are far below 2^53")]
pub(super) fn count(rows: usize) -> f64 {
    rows as f64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::random;

    /// Rows without a pattern whose coordinates hang together, around `shift`.
    pub fn cloud(salt: u64, count: usize, width: usize, shift: f32) -> FeatureRows {
        let mut stream = random::stream(salt, "cloud", 0, 0);
        let mix: Vec<f32> = (0..width * width).map(|_| 0.5 * stream.normal()).collect();
        let mut values = Vec::new();
        for _ in 0..count {
            let own: Vec<f32> = (0..width).map(|_| stream.normal()).collect();
            for (at, row) in mix.chunks_exact(width).enumerate() {
                let mixed: f32 = row.iter().zip(&own).map(|(a, b)| a * b).sum();
                values.push(mixed + own[at] + shift);
            }
        }
        FeatureRows { values, width }
    }

    /// Fails where two matrices of numbers differ by more than `bound`.
    #[track_caller]
    pub fn near(found: &[f64], expected: &[f64], bound: f64) {
        assert_eq!(found.len(), expected.len());
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() < bound, "{at}: {found} and {expected}");
        }
    }

    #[test]
    fn z_scores_of_both_domains_together_have_mean_0_and_variance_1() {
        let (one, other) = (cloud(0, 100, 3, 2.0), cloud(1, 70, 3, -1.0));
        let score = ZScore::of(&[&one, &other]);
        let rows = [one.rows(), other.rows()].into_iter().flatten();
        let scores: Vec<Vec<f64>> = rows.map(|row| score.of_row(row).collect()).collect();
        for at in 0..3 {
            let mean = scores.iter().map(|row| row[at]).sum::<f64>() / 170.0;
            let squares = scores.iter().map(|row| (row[at] - mean).powi(2)).sum::<f64>();
            assert!(mean.abs() < 1e-12 && (squares / 169.0 - 1.0).abs() < 1e-12);
        }
        let constant = FeatureRows { values: vec![0.1, 7.0, 0.3, 7.000_001], width: 2 };
        assert_eq!(ZScore::of(&[&constant]).scale[1], 0.0);
    }

    #[test]
    fn a_covariance_is_that_of_the_definition_over_more_rows_than_a_block() {
        let rows = cloud(2, 2 * BLOCK + 7, 4, 0.5);
        let plain = ZScore { mean: vec![0.0; 4], scale: vec![1.0; 4] };
        let moments = RowMoments::of(&rows, &plain);
        let exact: Vec<Vec<f64>> =
            rows.rows().map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
        let n = exact.len() as f64;
        let mean = |at: usize| exact.iter().map(|row| row[at]).sum::<f64>() / n;
        near(&moments.mean, &[0, 1, 2, 3].map(mean), 1e-12);
        let pairs = (0..16).map(|at| (at / 4, at % 4));
        let expected = pairs.map(|(i, j)| {
            let products = exact.iter().map(|row| (row[i] - mean(i)) * (row[j] - mean(j)));
            products.sum::<f64>() / (n - 1.0)
        });
        near(&moments.covariance.values, &expected.collect::<Vec<f64>>(), 1e-12);
    }

    #[test]
    fn the_square_of_a_root_is_the_matrix_and_of_a_singular_one_too() {
        for count in [50, 4] {
            let rows = cloud(3, count, 6, 0.0);
            let plain = ZScore { mean: vec![0.0; 6], scale: vec![1.0; 6] };
            let covariance = RowMoments::of(&rows, &plain).covariance;
            let spectrum = Spectrum::of(&covariance);
            assert_eq!(spectrum.values.len(), (count - 1).min(6));
            let root = spectrum.map(6, f64::sqrt);
            near(&root.times(&root).values, &covariance.values, 1e-10);
        }
        assert_eq!(Spectrum::of(&Matrix::zeros(3, 3)).map(3, f64::sqrt), Matrix::zeros(3, 3));
    }

    #[test]
    fn maps_that_follow_one_another_are_one_map() {
        let rows = cloud(4, 9, 3, 1.0);
        let score = ZScore::of(&[&rows]);
        let turn = Matrix { values: vec![1.0, 2.0, -1.0, 0.5, 0.0, 3.0], columns: 3 };
        let first = AffineMap::of_scores(&score, turn);
        let last = Matrix { values: vec![2.0, -1.0], columns: 2 };
        let second = AffineMap { matrix: last, shift: vec![0.25] };
        let at_once = second.after(&first).of_rows(&rows);
        let one_by_one = second.of_rows(&first.of_rows(&rows));
        for ((row, found), expected) in rows.rows().zip(&at_once.values).zip(&one_by_one.values) {
            assert!((found - expected).abs() < 1e-5, "{found} and {expected}");
            let z: Vec<f64> = score.of_row(row).collect();
            let by_hand = 2.0 * (z[0] + 2.0 * z[1] - z[2]) - (0.5 * z[0] + 3.0 * z[2]) + 0.25;
            assert!((f64::from(*found) - by_hand).abs() < 1e-5, "{found} and {by_hand}");
        }
    }
}
