//! Correlation alignment of features in closed form (Sun, Feng and Saenko 2016, "Return of Frustratingly Easy Domain
//! Adaptation"): CORAL, of which `coral` is the form with a loss.
//!
//! The features of each domain are z-scored with its own means and deviations. With the covariances C_s and C_t
//! of these, a source row z becomes
//!
//!   z (C_s + r I)^(-1/2) (C_t + r I)^(1/2),    r = 1 in the paper:
//!
//! it is whitened, and coloured as the target is. Target rows stay as they are. At r = 0 the covariance of the source
//! becomes C_t, if C_s has an inverse; else directions in which the source does not vary are left out.

use super::linear_head::{Aligned, ClosedForm, ClosedFormMethod, DomainFeatures};
use super::linear_maps::{AffineMap, FeatureRows, Matrix, RowMoments, Spectrum, ZScore};
use crate::config::{Keys, Noted};
use crate::random::Stream;

/// Correlation alignment in closed form as a method.
pub type FeatureCoral = ClosedFormMethod<Recolouring>;

/// Settings of correlation alignment in closed form.
#[derive(Debug, Clone, Copy)]
pub struct Recolouring {
    /// What is added to every variance, r.
    pub regularisation: f64,
}

impl ClosedForm for Recolouring {
    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[(
            "regularisation",
            "what is added to the variance of each feature of both domains before their covariances are compared",
        )]);
        let regularisation = keys.float("regularisation").at_least(0.0).or(1.0);
        Ok(Self { regularisation: regularisation? })
    }

    fn readings(&self) -> &'static [&'static str] {
        &[]
    }

    fn align(&self, features: &DomainFeatures, _: &dyn Fn(&str) -> Stream) -> Aligned {
        let width = features.source.width;
        let (of_source, source) = self.regularised(&features.source);
        let (of_target, target) = self.regularised(&features.target);
        let whitening = source.map(width, |variance| 1.0 / variance.sqrt());
        let recoloured = target.map(width, f64::sqrt).times(&whitening);
        Aligned {
            rows: AffineMap::of_scores(&of_source, recoloured).of_rows(&features.source),
            labels: features.labels.clone(),
            target: AffineMap::of_scores(&of_target, Matrix::identity(width)),
            readings: Vec::new(),
        }
    }
}

impl Recolouring {
    /// The z-scores of a domain, and the spectrum of their regularised covariance.
    fn regularised(&self, rows: &FeatureRows) -> (ZScore, Spectrum) {
        let score = ZScore::of(&[rows]);
        let mut covariance = RowMoments::of(rows, &score).covariance;
        let diagonal = covariance.values.iter_mut().step_by(rows.width + 1);
        diagonal.for_each(|variance| *variance += self.regularisation);
        (score, Spectrum::of(&covariance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::linear_head::tests::{aligned, form, problems};
    use crate::adapt::linear_maps::tests::{cloud, near};

    /// The covariance of rows as they are.
    fn covariance(rows: &FeatureRows) -> Matrix {
        let plain = ZScore { mean: vec![0.0; rows.width], scale: vec![1.0; rows.width] };
        RowMoments::of(rows, &plain).covariance
    }

    #[test]
    fn without_regularisation_the_source_gets_the_covariance_of_the_target() {
        let (source, target) = (cloud(0, 80, 5, 0.5), cloud(1, 60, 5, -1.0));
        let found = aligned(&form::<Recolouring>("regularisation = 0.0"), source, target.clone());
        let expected = covariance(&found.target.of_rows(&target));
        near(&covariance(&found.rows).values, &expected.values, 1e-5);
        let paper = aligned(&form::<Recolouring>(""), cloud(0, 80, 5, 0.5), target);
        let with = covariance(&paper.rows);
        let off = with.values.iter().zip(&expected.values);
        assert!(off.map(|(one, other)| (one - other).abs()).fold(0.0, f64::max) > 1e-2);
    }

    #[test]
    fn a_source_of_fewer_images_than_features_is_finite_and_identical_domains_stay_as_they_are() {
        for lines in ["", "regularisation = 0.0"] {
            let rows = cloud(2, 4, 6, 0.0);
            let found = aligned(&form::<Recolouring>(lines), rows.clone(), rows.clone());
            let target = found.target.of_rows(&rows);
            for (source, target) in found.rows.values.iter().zip(&target.values) {
                assert!((source - target).abs() < 1e-5, "{lines}: {source} and {target}");
            }
        }
        let wrong = problems::<Recolouring>("regularisation = -1.0");
        assert_eq!(wrong.len(), 1, "{wrong:?}");
    }

    /// Two features, for which roots of matrices have a closed form: A^(1/2) = (A + s I) / t with s = det^(1/2)
    /// and t = (trace + 2 s)^(1/2).
    #[test]
    fn rows_are_those_of_the_formula_with_roots_in_closed_form() {
        let (source, target) = (cloud(3, 30, 2, 0.0), cloud(4, 25, 2, 2.0));
        let found = aligned(&Recolouring { regularisation: 1.0 }, source.clone(), target.clone());
        let correlation = |rows: &FeatureRows| {
            let score = ZScore::of(&[rows]);
            let products = rows.rows().map(|row| score.of_row(row).product::<f64>());
            products.sum::<f64>() / (rows.images() as f64 - 1.0)
        };
        // Variances are 1, and 1 is added.
        let root = |r: f64| {
            let s = (4.0 - r * r).sqrt();
            let t = (4.0 + 2.0 * s).sqrt();
            [(2.0 + s) / t, r / t]
        };
        let [a, b] = root(correlation(&target));
        let [c, d] = root(correlation(&source));
        let det = c * c - d * d;
        let score = ZScore::of(&[&source]);
        for (row, mapped) in source.rows().zip(found.rows.rows()) {
            let z: Vec<f64> = score.of_row(row).collect();
            let white = [(c * z[0] - d * z[1]) / det, (c * z[1] - d * z[0]) / det];
            let expected = [a * white[0] + b * white[1], b * white[0] + a * white[1]];
            for (found, expected) in mapped.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} and {expected}");
            }
        }
    }
}
