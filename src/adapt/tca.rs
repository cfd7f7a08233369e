//! Transfer component analysis (Pan, Tsang, Kwok and Yang 2011, "Domain Adaptation via Transfer Component
//! Analysis") with a linear kernel.
//!
//! The features are z-scored with the means and deviations of both domains together: n rows X `[n, d]` with column means
//! 0. With the kernel matrix K = X X^T, the centring matrix H and L = e e^T, where e is 1 / N for each of the N source
//! rows and -1 / M for each of the M target rows, the components are K W with the leading solutions w of
//!
//!   K H K w = theta (K L K + mu I) w:
//!
//! much variance, and domains whose means differ little. For a linear kernel, K w = X u: the components are linear in
//! the features, also for images that took no part. With G = X^T X, delta the difference of the domains' means
//! and u = G^(1/2) c, the problem of n rows becomes one of d:
//!
//!   G^2 c = theta (G^(1/2) delta delta^T G^(1/2) + mu I) c.
//!
//! The matrix on the right is of rank one but for mu I, so that its inverse root B is known: c = B y with the leading
//! eigenvectors y of the symmetric matrix B G^2 B. Every component is scaled to variance 1 over both domains, where the
//! paper has a sum of squares of 1: the classifier's penalty then weighs them alike whatever the number of images.

use super::linear_head::{Aligned, ClosedForm, ClosedFormMethod, DomainFeatures};
use super::linear_maps::{AffineMap, Matrix, RowMoments, Spectrum, ZScore, add, count};
use crate::config::{Keys, Noted};
use crate::metrics::symmetric::eigenvectors;
use crate::random::Stream;

/// Transfer component analysis as a method.
pub type Tca = ClosedFormMethod<TransferComponents>;

/// Settings of transfer component analysis.
#[derive(Debug, Clone, Copy)]
pub struct TransferComponents {
    /// Components that are kept, at most.
    pub dimensions: usize,
    /// Weight mu of the length of w beside the distance of the domains.
    pub mu: f64,
}

impl ClosedForm for TransferComponents {
    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("dimensions", "components that are kept, at most"),
            ("mu", "weight of the length of the solution beside the distance between the domains"),
        ]);
        let dimensions = keys.count("dimensions", 1..=100_000).or(80_usize);
        let mu = keys.float("mu").positive().or(1.0);
        Ok(Self { dimensions: dimensions?, mu: mu? })
    }

    fn readings(&self) -> &'static [&'static str] {
        &["dimensions"]
    }

    fn align(&self, features: &DomainFeatures, _: &dyn Fn(&str) -> Stream) -> Aligned {
        let score = ZScore::of(&[&features.source, &features.target]);
        let source = RowMoments::of(&features.source, &score);
        let target = RowMoments::of(&features.target, &score);
        let components = self.components(&source, &target);
        let kept = count(components.rows().len());
        let map = AffineMap::of_scores(&score, components);
        Aligned {
            rows: map.of_rows(&features.source),
            labels: features.labels.clone(),
            target: map,
            readings: vec![kept],
        }
    }
}

impl TransferComponents {
    /// The vectors u as rows, the leading ones first.
    fn components(&self, source: &RowMoments, target: &RowMoments) -> Matrix {
        let scatter = scatter(&[source, target]);
        let Spectrum { values, vectors } = Spectrum::of(&scatter);
        let axes = Matrix::of_rows(&vectors);
        let mut apart = source.mean.clone();
        add(&mut apart, -1.0, &target.mean);
        // G^(1/2) delta along the eigenvectors of G.
        let mut along = axes.times_vector(&apart);
        along.iter_mut().zip(&values).for_each(|(x, value)| *x *= value.sqrt());
        let inverse_root = inverse_root_of_rank_one(&along, self.mu);
        let mut scaled = inverse_root.clone();
        for (row, value) in scaled.values.chunks_exact_mut(values.len()).zip(&values) {
            row.iter_mut().for_each(|x| *x *= value * value);
        }
        // What is rounding is left out of G already, whose squares span twice as many orders.
        let (_, mut solutions) = eigenvectors(&inverse_root.times(&scaled).values, values.len());
        solutions.truncate(self.dimensions);
        let mut components = Matrix::of_rows(&solutions).times(&inverse_root);
        let degrees = source.count + target.count - 1.0;
        for c in components.values.chunks_exact_mut(values.len()) {
            let squares: f64 = c.iter().zip(&values).map(|(c, value)| (c * value).powi(2)).sum();
            let factor = (degrees / squares).sqrt();
            c.iter_mut().zip(&values).for_each(|(c, value)| *c *= factor * value.sqrt());
        }
        components.times(&axes)
    }
}

/// X^T X of the rows X that these are the moments of.
fn scatter(sets: &[&RowMoments]) -> Matrix {
    let width = sets[0].mean.len();
    let mut sums = Matrix::zeros(width, width);
    for RowMoments { count, mean, covariance } in sets {
        add(&mut sums.values, count - 1.0, &covariance.values);
        for (row, x) in sums.values.chunks_exact_mut(width).zip(mean) {
            add(row, count * x, mean);
        }
    }
    sums
}

/// (v v^T + mu I)^(-1/2), but for a factor.
fn inverse_root_of_rank_one(v: &[f64], mu: f64) -> Matrix {
    let mut root = Matrix::identity(v.len());
    let square: f64 = v.iter().map(|x| x * x).sum();
    if square > 0.0 {
        let share = (1.0 - (1.0 + square / mu).sqrt().recip()) / square;
        for (row, x) in root.values.chunks_exact_mut(v.len()).zip(v) {
            add(row, -share * x, v);
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::linear_head::tests::{aligned, form};
    use crate::adapt::linear_maps::FeatureRows;
    use crate::adapt::linear_maps::tests::{cloud, near};

    /// The components of both domains, one column after the other, and the z-scored rows.
    fn both(
        settings: TransferComponents,
        source: &FeatureRows,
        target: &FeatureRows,
    ) -> (Matrix, Matrix) {
        let found = aligned(&settings, source.clone(), target.clone());
        let score = ZScore::of(&[source, target]);
        let rows = [source, target].into_iter().flat_map(FeatureRows::rows);
        let x: Vec<f64> = rows.flat_map(|row| score.of_row(row).collect::<Vec<_>>()).collect();
        let mapped = [&found.rows, &found.target.of_rows(target)].map(|it| it.values.clone());
        let values = mapped.concat().into_iter().map(f64::from).collect();
        let components = Matrix { values, columns: found.rows.width };
        (components.transposed(), Matrix { values: x, columns: source.width })
    }

    /// K, H and L are built as they are defined, and w is the solution that gives these components.
    #[test]
    fn components_solve_the_generalised_problem_of_all_rows() {
        let (source, target) = (cloud(0, 14, 3, 0.0), cloud(1, 10, 3, 1.0));
        let settings = TransferComponents { dimensions: 2, mu: 0.7 };
        let (components, x) = both(settings, &source, &target);
        let n = 24;
        let kernel = x.times(&x.transposed());
        let mut centring = Matrix::identity(n);
        centring.values.iter_mut().for_each(|it| *it -= 1.0 / n as f64);
        let e: Vec<f64> = (0..n).map(|at| if at < 14 { 1.0 / 14.0 } else { -0.1 }).collect();
        let apart: Vec<f64> = (0..n * n).map(|at| e[at / n] * e[at % n]).collect();
        let apart = Matrix { values: apart, columns: n };
        let variance = kernel.times(&centring).times(&kernel);
        let mut other = kernel.times(&apart).times(&kernel);
        other.values.iter_mut().step_by(n + 1).for_each(|it| *it += 0.7);
        // The w of z = X u among combinations of the columns of X: X G^-1 u, which is X G^-2 X^T z.
        let gram = x.transposed().times(&x);
        let inverse = Spectrum::of(&gram).map(3, |value| 1.0 / (value * value));
        let back = x.times(&inverse).times(&x.transposed());
        let mut last = f64::INFINITY;
        for z in components.rows() {
            let w = back.times_vector(z);
            near(&kernel.times_vector(&w), z, 1e-4);
            let (left, right) = (variance.times_vector(&w), other.times_vector(&w));
            let dot = |a: &[f64]| a.iter().zip(&w).map(|(a, w)| a * w).sum::<f64>();
            let theta = dot(&left) / dot(&right);
            assert!(theta < last * 1.000_1, "{theta} after {last}");
            last = theta;
            let scaled: Vec<f64> = right.iter().map(|it| theta * it).collect();
            let size = left.iter().fold(0.0, |most: f64, it| most.max(it.abs()));
            near(&left, &scaled, 1e-4 * size);
            // Variance 1, and mean 0.
            let squares: f64 = z.iter().map(|it| it * it).sum();
            assert!((squares / 23.0 - 1.0).abs() < 1e-4, "{squares}");
            assert!(z.iter().sum::<f64>().abs() < 1e-4);
        }
    }

    #[test]
    fn a_small_mu_takes_the_difference_of_the_means_out_and_a_large_one_leaves_principal_axes() {
        let (source, target) = (cloud(2, 40, 4, 0.0), cloud(3, 40, 4, 3.0));
        let apart = |mu: f64| {
            let (components, _) = both(TransferComponents { dimensions: 1, mu }, &source, &target);
            let z = components.rows().next().unwrap();
            (z[..40].iter().sum::<f64>() - z[40..].iter().sum::<f64>()).abs() / 40.0
        };
        assert!(apart(1e-6) < 1e-3, "{}", apart(1e-6));
        assert!(apart(1e6) > 1.0, "{}", apart(1e6));
    }

    #[test]
    fn the_inverse_root_undoes_the_matrix() {
        let (v, mu) = ([0.5, -2.0, 1.0], 0.3);
        let root = inverse_root_of_rank_one(&v, mu);
        let mut matrix = Matrix::identity(3);
        matrix.values.iter_mut().for_each(|it| *it *= mu);
        for (row, x) in matrix.values.chunks_exact_mut(3).zip(&v) {
            add(row, *x, &v);
        }
        let unit = root.times(&matrix).times(&root);
        let expected: Vec<f64> = Matrix::identity(3).values.iter().map(|it| mu * it).collect();
        near(&unit.values, &expected, 1e-12);
        assert_eq!(inverse_root_of_rank_one(&[0.0; 2], 1.0), Matrix::identity(2));
    }

    #[test]
    fn fewer_images_than_features_give_fewer_components() {
        let found =
            aligned(&form::<TransferComponents>(""), cloud(4, 3, 8, 0.0), cloud(5, 3, 8, 0.5));
        assert!(found.readings[0] <= 5.0, "{:?}", found.readings);
        assert!(found.rows.values.iter().all(|it| it.is_finite()));
    }
}
