//! Subspace alignment (Fernando, Habrard, Sebban and Tuytelaars 2013, "Unsupervised Visual Domain Adaptation Using
//! Subspace Alignment").
//!
//! The features of each domain are z-scored with its own means and deviations. With the m leading eigenvectors of each
//! covariance as the columns of P_s and P_t `[d, m]`, a source row z becomes z P_s (P_s^T P_t), and a target row z P_t:
//! the source's principal axes are turned onto the target's. The classifier is fitted to these m numbers.
//!
//! No more axes are kept than both domains vary along. The paper chooses m by a bound on the stability of the
//! eigenvectors, or on labelled images.

use super::linear_head::{Aligned, ClosedForm, ClosedFormMethod, DomainFeatures};
use super::linear_maps::{AffineMap, Matrix, RowMoments, Spectrum, ZScore, count};
use crate::config::{Keys, Noted};
use crate::random::Stream;

/// Subspace alignment as a method.
pub type SubspaceAlignment = ClosedFormMethod<Subspaces>;

/// Settings of subspace alignment.
#[derive(Debug, Clone, Copy)]
pub struct Subspaces {
    /// Principal axes m of each domain that are kept, at most.
    pub dimensions: usize,
}

impl ClosedForm for Subspaces {
    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[("dimensions", "principal axes of each domain that are kept, at most")]);
        let dimensions = keys.count("dimensions", 1..=100_000).or(80_usize);
        Ok(Self { dimensions: dimensions? })
    }

    fn readings(&self) -> &'static [&'static str] {
        &["dimensions"]
    }

    fn align(&self, features: &DomainFeatures, _: &dyn Fn(&str) -> Stream) -> Aligned {
        let axes = |rows| {
            let score = ZScore::of(&[rows]);
            let spectrum = Spectrum::of(&RowMoments::of(rows, &score).covariance);
            (score, spectrum.vectors)
        };
        let (of_source, source_axes) = axes(&features.source);
        let (of_target, target_axes) = axes(&features.target);
        let kept = self.dimensions.min(source_axes.len()).min(target_axes.len());
        // Axes as rows.
        let [source, target] = [source_axes, target_axes].map(|it| Matrix::of_rows(&it[..kept]));
        let turned = target.times(&source.transposed()).times(&source);
        Aligned {
            rows: AffineMap::of_scores(&of_source, turned).of_rows(&features.source),
            labels: features.labels.clone(),
            target: AffineMap::of_scores(&of_target, target),
            readings: vec![count(kept)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::linear_head::tests::{aligned, form};
    use crate::adapt::linear_maps::FeatureRows;
    use crate::adapt::linear_maps::tests::cloud;
    use crate::metrics::symmetric::eigen;

    #[test]
    fn identical_domains_give_the_same_representation() {
        let rows = cloud(0, 60, 5, 1.0);
        let found = aligned(&form::<Subspaces>("dimensions = 3"), rows.clone(), rows.clone());
        let target = found.target.of_rows(&rows);
        assert_eq!(target.width, 3);
        for (source, target) in found.rows.values.iter().zip(&target.values) {
            assert!((source - target).abs() < 1e-5, "{source} and {target}");
        }
        // A domain that is another one scaled and shifted is the same after z-scoring.
        let values = rows.values.iter().map(|x| 3.0 * x - 7.0).collect();
        let moved = FeatureRows { values, width: 5 };
        let again = aligned(&form::<Subspaces>("dimensions = 3"), rows, moved.clone());
        let target = again.target.of_rows(&moved);
        for (source, target) in again.rows.values.iter().zip(&target.values) {
            assert!((source - target).abs() < 1e-4, "{source} and {target}");
        }
    }

    /// Whatever the signs of the axes: the products of rows are those of the formula.
    #[test]
    fn rows_are_those_of_the_formula_with_eigenvectors_found_in_another_way() {
        let (source, target) = (cloud(1, 40, 4, 0.0), cloud(2, 50, 4, 1.0));
        let found = aligned(&Subspaces { dimensions: 2 }, source.clone(), target.clone());
        assert_eq!(found.readings, [2.0]);
        let scores = |rows: &FeatureRows| -> Vec<Vec<f64>> {
            let score = ZScore::of(&[rows]);
            rows.rows().map(|row| score.of_row(row).collect()).collect()
        };
        let axes = |scores: &[Vec<f64>]| -> Vec<Vec<f64>> {
            let pairs = (0..16).map(|at| (at / 4, at % 4));
            let product = |(i, j): (usize, usize)| -> f64 {
                scores.iter().map(|row| row[i] * row[j]).sum()
            };
            let mut vectors = eigen(&pairs.map(product).collect::<Vec<f64>>(), 4).1;
            vectors.truncate(2);
            vectors
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (z_s, z_t) = (scores(&source), scores(&target));
        let (p_s, p_t) = (axes(&z_s), axes(&z_t));
        // z P_s (P_s^T P_t), number by number.
        let of_source = |z: &[f64], axis: usize| -> f64 {
            (0..2).map(|it| dot(z, &p_s[it]) * dot(&p_s[it], &p_t[axis])).sum()
        };
        let mapped = found.target.of_rows(&target);
        for (i, row) in found.rows.rows().enumerate() {
            for (j, other) in mapped.rows().enumerate() {
                let product: f64 = (0..2).map(|at| f64::from(row[at] * other[at])).sum();
                let expected: f64 =
                    (0..2).map(|axis| of_source(&z_s[i], axis) * dot(&z_t[j], &p_t[axis])).sum();
                assert!((product - expected).abs() < 1e-4, "{product} and {expected}");
            }
        }
    }

    #[test]
    fn no_more_axes_are_kept_than_there_are() {
        let found = aligned(&form::<Subspaces>(""), cloud(3, 4, 6, 0.0), cloud(4, 30, 6, 0.0));
        assert_eq!(found.readings, [3.0]);
        assert_eq!(found.rows.width, 3);
    }
}
