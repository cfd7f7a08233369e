//! The two principal components of rows, without a covariance matrix: features may be wide.

use crate::metrics::symmetric::eigen;
use crate::random;

/// Directions followed at once: the more, the faster the first two settle.
const BLOCK: usize = 8;

/// Iterations at most.
const ROUNDS: usize = 500;

/// Where the first two directions have settled: the residual relative to the largest eigenvalue.
const TOLERANCE: f64 = 1e-9;

type Directions = Vec<[f64; BLOCK]>;

/// The coordinates of `rows` `[N, width]` along their first two principal components, centred; 0 along
/// a component that is not there. Of each component's two signs, the one whose largest weight (the
/// first of equal ones) is positive.
///
/// By subspace iteration with Rayleigh-Ritz steps (Golub & Van Loan, "Matrix Computations", 8.2) from
/// fixed random directions, on one thread.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn pca(rows: &[f32], width: usize) -> Vec<[f64; 2]> {
    let count = rows.len() / width.max(1);
    let mut mean = vec![0.0_f64; width];
    for row in rows.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    mean.iter_mut().for_each(|sum| *sum /= count.max(1) as f64);
    let mut stream = random::stream(0, "pca", 0, 0);
    let mut basis: Directions =
        (0..width).map(|_| std::array::from_fn(|_| f64::from(stream.normal()))).collect();
    orthonormalise(&mut basis);
    for _ in 0..ROUNDS {
        let image = apply(rows, &mean, &basis);
        let (values, turned) = ritz(&basis, &image);
        let settled = settled(&turned.0, &turned.1, values);
        basis = if settled { turned.0 } else { turned.1 };
        if settled {
            break;
        }
        orthonormalise(&mut basis);
    }
    let mut plane = vec![[0.0; 2]; count];
    for axis in 0..2 {
        let largest = basis
            .iter()
            .map(|it| it[axis])
            .fold(0.0_f64, |best, it| if it.abs() > best.abs() * (1.0 + 1e-6) { it } else { best });
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        for (point, row) in plane.iter_mut().zip(rows.chunks_exact(width)) {
            let terms = row.iter().zip(&mean).zip(&basis);
            point[axis] =
                sign * terms.map(|((x, mean), it)| (f64::from(*x) - mean) * it[axis]).sum::<f64>();
        }
    }
    plane
}

/// X^T X times the block, X being the centred rows.
fn apply(rows: &[f32], mean: &[f64], block: &Directions) -> Directions {
    let mut image = vec![[0.0; BLOCK]; block.len()];
    let mut centred = vec![0.0; block.len()];
    for row in rows.chunks_exact(block.len()) {
        for ((to, x), mean) in centred.iter_mut().zip(row).zip(mean) {
            *to = f64::from(*x) - mean;
        }
        let mut along = [0.0; BLOCK];
        for (x, direction) in centred.iter().zip(block) {
            for (along, direction) in along.iter_mut().zip(direction) {
                *along += x * direction;
            }
        }
        for (x, image) in centred.iter().zip(&mut image) {
            for (image, along) in image.iter_mut().zip(along) {
                *image += x * along;
            }
        }
    }
    image
}

/// The first two eigenvalues within the basis, and the basis and its image turned to the eigenvectors.
fn ritz(basis: &Directions, image: &Directions) -> ([f64; 2], (Directions, Directions)) {
    let mut small = vec![0.0; BLOCK * BLOCK];
    for (a, b) in basis.iter().zip(image) {
        for (i, a) in a.iter().enumerate() {
            for (j, b) in b.iter().enumerate() {
                // Symmetric but for rounding.
                small[i * BLOCK + j] += a * b / 2.0;
                small[j * BLOCK + i] += a * b / 2.0;
            }
        }
    }
    let (values, vectors) = eigen(&small, BLOCK);
    let turn = |block: &Directions| -> Directions {
        let turned = |row: &[f64; BLOCK]| {
            std::array::from_fn(|at| row.iter().zip(&vectors[at]).map(|(a, b)| a * b).sum())
        };
        block.iter().map(turned).collect()
    };
    ([values[0], values[1]], (turn(basis), turn(image)))
}

fn settled(basis: &Directions, image: &Directions, values: [f64; 2]) -> bool {
    (0..2).all(|at| {
        let terms = basis.iter().zip(image).map(|(a, b)| (b[at] - values[at] * a[at]).powi(2));
        terms.sum::<f64>().sqrt() <= TOLERANCE * values[0]
    })
}

/// Gram-Schmidt, twice against rounding; directions that depend on others become 0.
fn orthonormalise(block: &mut Directions) {
    let dot =
        |block: &Directions, i: usize, j: usize| block.iter().map(|it| it[i] * it[j]).sum::<f64>();
    for at in 0..BLOCK {
        let before = dot(block, at, at).sqrt();
        for _ in 0..2 {
            for other in 0..at {
                let share = dot(block, at, other);
                block.iter_mut().for_each(|it| it[at] -= share * it[other]);
            }
        }
        let norm = dot(block, at, at).sqrt();
        let factor = if norm > 1e-12 * before { 1.0 / norm } else { 0.0 };
        block.iter_mut().for_each(|it| it[at] *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_on_a_line_lie_on_the_first_axis() {
        let rows: Vec<f32> =
            (0..5_u8).flat_map(|at| [f32::from(at) * 3.0, f32::from(at) * 4.0]).collect();
        for (at, [x, y]) in pca(&rows, 2).into_iter().enumerate() {
            let expected = 5.0 * (f64::from(u8::try_from(at).unwrap()) - 2.0);
            assert!((x - expected).abs() < 1e-9 && y.abs() < 1e-9, "{x} {y}");
        }
        assert_eq!(pca(&[1.0, 2.0, 1.0, 2.0], 2), [[0.0; 2]; 2]);
        assert_eq!(pca(&[7.0], 1), [[0.0; 2]]);
    }
}
