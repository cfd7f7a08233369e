//! Optimal transport of the source's features to the target's (Courty, Flamary, Tuia and Rakotomamonjy 2017, "Optimal
//! Transport for Domain Adaptation").
//!
//! The features are z-scored with the means and deviations of both domains together; target rows stay so.
//!
//! `form = "linear"` is the transport between two Gaussians with the domains' means and covariances C_s and C_t. A
//! source row z becomes m_t + (z - m_s) A with
//!
//!   A = C_s^(-1/2) (C_s^(1/2) C_t C_s^(1/2))^(1/2) C_s^(-1/2),
//!
//! so that the source gets the mean and the covariance of the target. Directions in which the source does not vary are
//! left out.
//!
//! `form = "sinkhorn"` transports single rows: n of the source and m of the target, drawn once. With the costs
//! c_ij = |z_i - z_j|^2 divided by their median, the plan is the p of least
//!
//!   sum_ij p_ij c_ij + r sum_ij p_ij ln p_ij + w mean_j sum_k (m sum_{i of class k} p_ij)^(1/2)
//!
//! among those whose rows sum to 1 / n and whose columns sum to 1 / m, and a source row becomes the mean of the target
//! rows with the weights of its row of p. The last sum, over the classes k of the source, keeps rows of different
//! classes from going to the same target image. It is concave, so that it is replaced by its tangent again and
//! again, from none at first; 0.001 is added under the root. Each of these problems is solved by Sinkhorn's iterations on
//! the logarithms of the scaling factors.
//!
//! The paper and its code have costs that are not divided, and powers of p itself where these are powers of the share of a
//! target image, which does not depend on how many there are. The classifier is fitted to the rows that were drawn:
//! no map is needed for others.

use super::linear_head::{Aligned, ClosedForm, ClosedFormMethod, DomainFeatures};
use super::linear_maps::{AffineMap, FeatureRows, Matrix, RowMoments, Spectrum, ZScore, add, count};
use super::sinkhorn::Plan;
use crate::config::{Diagnostic, Keys, Noted, words};
use crate::random::Stream;

/// Keys of `form = "sinkhorn"` alone.
const OF_SINKHORN: &[&str] = &["regularisation", "class_weight", "samples"];

/// Optimal transport of features as a method.
pub type OptimalTransport = ClosedFormMethod<Transport>;

/// Settings of the transport.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transport {
    /// Between two Gaussians.
    Linear,
    /// Of single rows.
    Sinkhorn {
        /// Weight r of the negative entropy of the plan; above 0.
        regularisation: f64,
        /// Weight w of what keeps classes apart; 0 or above.
        class_weight: f64,
        /// Rows of each domain at most; two at least.
        samples: usize,
    },
}

words! {
    /// The word for a form of transport.
    enum TransportForm {
        /// [`Transport::Linear`].
        Linear = "linear",
        /// [`Transport::Sinkhorn`].
        Sinkhorn = "sinkhorn",
    }
}

impl ClosedForm for Transport {
    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("form", "what is transported: single images, or two Gaussians like the domains"),
            ("regularisation", "weight of the entropy of the plan, beside a median cost of 1"),
            (
                "class_weight",
                "weight of what keeps classes of the source from going to the same target image",
            ),
            ("samples", "images of each domain that the plan is of, at most"),
        ]);
        let form = keys.choice("form").or(TransportForm::Sinkhorn);
        let regularisation = keys.float("regularisation").positive().or(0.05);
        let class_weight = keys.float("class_weight").at_least(0.0).or(0.1);
        let samples = keys.count("samples", 2..=10_000).or(2000_usize);
        let (form, regularisation) = (form?, regularisation?);
        let (class_weight, samples) = (class_weight?, samples?);
        if form == TransportForm::Sinkhorn {
            return Ok(Self::Sinkhorn { regularisation, class_weight, samples });
        }
        OF_SINKHORN.iter().for_each(|key| drop(keys.take(key)));
        let written = OF_SINKHORN.iter().find_map(|key| Some((key, keys.peek(key)?.span)));
        let Some((key, span)) = written else { return Ok(Self::Linear) };
        let message = format!("`{key}` belongs to `form = \"sinkhorn\"`");
        let problem = Diagnostic::at(span, message, "the linear form has no plan");
        Err(keys.problem(problem.help(format!("leave `form` out, or leave `{key}` out"))))
    }

    fn readings(&self) -> &'static [&'static str] {
        match self {
            Self::Linear => &[],
            Self::Sinkhorn { .. } => &["source_samples", "target_samples", "marginal_error"],
        }
    }

    fn align(&self, features: &DomainFeatures, draws: &dyn Fn(&str) -> Stream) -> Aligned {
        let score = ZScore::of(&[&features.source, &features.target]);
        let identity = Matrix::identity(features.source.width);
        let target = AffineMap::of_scores(&score, identity);
        let (rows, labels, readings) = match *self {
            Self::Linear => {
                let rows = between_gaussians(features, &score).of_rows(&features.source);
                (rows, features.labels.clone(), Vec::new())
            }
            Self::Sinkhorn { regularisation, class_weight, samples } => {
                let drawn = |rows: &FeatureRows, purpose: &str| {
                    let mut order: Vec<usize> = (0..rows.images()).collect();
                    draws(purpose).shuffle(&mut order);
                    order.truncate(samples);
                    order.sort_unstable();
                    order
                };
                let of_source = drawn(&features.source, "transport source");
                let of_target = drawn(&features.target, "transport target");
                let labels: Vec<u32> = of_source.iter().map(|at| features.labels[*at]).collect();
                let from = scores(&features.source.at(&of_source), &score);
                let to = scores(&features.target.at(&of_target), &score);
                let plan = Plan::between(&from, &to, &labels, regularisation, class_weight);
                let counts = [of_source.len(), of_target.len()].map(count);
                (plan.means(&to), labels, vec![counts[0], counts[1], plan.marginal_error()])
            }
        };
        Aligned { rows, labels, target, readings }
    }
}

/// The z-scores of rows.
fn scores(rows: &FeatureRows, score: &ZScore) -> Matrix {
    let values = rows.rows().flat_map(|row| score.of_row(row)).collect();
    Matrix { values, columns: rows.width }
}

/// From features of the source to z-scores that are distributed as the target's.
fn between_gaussians(features: &DomainFeatures, score: &ZScore) -> AffineMap {
    let width = features.source.width;
    let source = RowMoments::of(&features.source, score);
    let target = RowMoments::of(&features.target, score);
    let of_source = Spectrum::of(&source.covariance);
    let root = of_source.map(width, f64::sqrt);
    let inverse = of_source.map(width, |variance| 1.0 / variance.sqrt());
    let between = root.times(&target.covariance).times(&root);
    let between = Spectrum::of(&between).map(width, f64::sqrt);
    let matrix = inverse.times(&between).times(&inverse);
    let mut shift = target.mean;
    add(&mut shift, -1.0, &matrix.times_vector(&source.mean));
    let mut map = AffineMap::of_scores(score, matrix);
    add(&mut map.shift, 1.0, &shift);
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::linear_head::tests::{aligned, form, problems};
    use crate::adapt::linear_maps::tests::{cloud, near};

    fn plain(rows: &FeatureRows) -> ZScore {
        ZScore { mean: vec![0.0; rows.width], scale: vec![1.0; rows.width] }
    }

    #[test]
    fn the_linear_form_gives_the_source_the_mean_and_the_covariance_of_the_target() {
        let (source, target) = (cloud(0, 90, 5, 0.0), cloud(1, 70, 5, 2.0));
        let found = aligned(&form::<Transport>("form = 'linear'"), source, target.clone());
        let target = found.target.of_rows(&target);
        let [ours, theirs] =
            [&found.rows, &target].map(|rows| RowMoments::of(rows, &plain(rows)));
        near(&ours.mean, &theirs.mean, 1e-5);
        near(&ours.covariance.values, &theirs.covariance.values, 1e-5);
    }

    #[test]
    fn a_linear_form_of_fewer_images_than_features_is_finite() {
        let found = aligned(&Transport::Linear, cloud(0, 4, 7, 0.0), cloud(1, 5, 7, 1.0));
        assert!(found.rows.values.iter().all(|it| it.is_finite() && it.abs() < 100.0));
    }

    #[test]
    fn much_entropy_takes_every_row_to_the_mean_of_the_target() {
        let (source, target) = (cloud(4, 10, 3, 0.0), cloud(5, 10, 3, 1.0));
        let lines = "regularisation = 1e6\nclass_weight = 0.0";
        let even = aligned(&form::<Transport>(lines), source, target.clone());
        let rows = even.target.of_rows(&target);
        let mean = |at: usize| rows.rows().map(|row| f64::from(row[at])).sum::<f64>() / 10.0;
        for row in even.rows.rows() {
            let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            near(&row, &[0, 1, 2].map(mean), 1e-4);
        }
    }

    #[test]
    fn no_more_rows_than_asked_for_are_drawn_and_that_is_told() {
        let (source, target) = (cloud(8, 30, 3, 0.0), cloud(9, 6, 3, 1.0));
        let found = aligned(&form::<Transport>("samples = 10"), source, target);
        assert_eq!(found.readings[..2], [10.0, 6.0]);
        assert_eq!((found.rows.images(), found.labels.len()), (10, 10));
        assert!(found.readings[2] < 1e-3, "{:?}", found.readings);
    }

    #[test]
    fn settings_of_the_other_form_are_an_error() {
        let wrong = problems::<Transport>("form = 'linear'\nsamples = 10");
        assert_eq!(wrong, ["`samples` belongs to `form = \"sinkhorn\"`"]);
        assert_eq!(form::<Transport>("form = 'linear'"), Transport::Linear);
    }
}
