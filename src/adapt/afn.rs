//! Adaptive feature norm (Xu, Li, Yang and Lin 2019, "Larger Norm More Transferable: An Adaptive Feature Norm
//! Approach for Unsupervised Domain Adaptation").
//!
//! The features of both domains are to be long. With the Euclidean norms n_i of the features of a batch,
//!
//! - `stepwise`: the term is lambda times the sum over both domains of mean_i (n_i - (sg n_i + step))^2, where no
//!   gradient goes through sg n_i. Its value is step^2 for each domain, whatever the features: only its gradient
//!   means anything, which makes each row longer, by the same amount for all of a batch.
//! - `hard`: the term is lambda times the sum over both domains of (mean_i n_i - radius)^2.
//!
//! Gradients go into the features alone. The norms have 1e-12 under the root, so that a row of zeros has a
//! gradient, which is 0. The authors train the features without momentum and, for their `L2-preserved` dropout,
//! with activations scaled by a further sqrt(1 - p): neither is done here.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use crate::config::{Diagnostic, Keys, Noted, words};
use crate::nn::ops::{Number, OpError, Tensor};
use crate::train::{Bench, FitError};

/// What keeps the gradient of the norm of a row of zeros finite.
const EPS: f32 = 1e-12;

/// Settings of adaptive feature norm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Afn {
    /// What norms are taken to.
    pub rule: NormRule,
    /// How much longer than it is a row is to be, with [`NormRule::Stepwise`].
    pub step: f32,
    /// The mean norm that is aimed at, with [`NormRule::Hard`].
    pub radius: f32,
}

words! {
    /// What the norms of features are taken to.
    pub(super) enum NormRule {
        /// A little more than they are.
        Stepwise = "stepwise",
        /// One number for their mean.
        Hard = "hard",
    }
}

impl ReadTerm for Afn {
    const WEIGHT: &'static str =
        "weight of the distance of the feature norms from where they are to be";
    const USUAL: Coefficient = Coefficient::Constant { max: 0.05 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            (
                "rule",
                "where feature norms are to be: a step above what they are, or hard at a radius",
            ),
            ("step", "how much longer than it is a feature vector is to be, with `stepwise`"),
            ("radius", "the mean norm of features that is aimed at, with `hard`"),
        ]);
        let rule = keys.choice("rule").or(NormRule::Stepwise);
        let step = keys.float("step").positive().or(1.0);
        let radius = keys.float("radius").positive().or(25.0);
        #[expect(clippy::cast_possible_truncation, reason = "features are f32")]
        let (step, radius) = (step? as f32, radius? as f32);
        let rule = rule?;
        let (other, belongs) = match rule {
            NormRule::Stepwise => ("radius", "`radius` belongs to the rule `hard`"),
            NormRule::Hard => ("step", "`step` belongs to the rule `stepwise`"),
        };
        keys.take(other);
        if let Some(written) = keys.peek(other) {
            let problem = Diagnostic::at(written.span, belongs, "it has no meaning for this rule");
            return Err(keys.problem(problem.help("leave it out, or choose the other `rule`")));
        }
        Ok(Self { rule, step, radius })
    }
}

impl Term for Afn {
    fn looks_at_target_logits(&self) -> bool {
        false
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Afn {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let source = norms(&seen.features.source)?;
        let target = norms(&seen.features.target)?;
        // Two measurements of one name are reported as their mean over all images.
        for norms in [&source, &target] {
            bench.meter("feature_norm", &norms.mean()?, norms.rows());
        }
        let loss = self.of(&source)?.add(&self.of(&target)?)?;
        bench.meter("feature_norm_loss", &loss, seen.images());
        Ok(loss.scale(lambda)?)
    }
}

impl Afn {
    /// One domain's part of the loss, without its weight, for norms `[N, 1]`.
    fn of(self, norms: &Tensor) -> Result<Tensor, OpError> {
        match self.rule {
            NormRule::Stepwise => norms.sub(&norms.detached().shift(self.step)?)?.square()?.mean(),
            NormRule::Hard => norms.mean()?.shift(-self.radius)?.square(),
        }
    }
}

/// The Euclidean norm of each row, `[N, 1]`.
fn norms(features: &Tensor) -> Result<Tensor, OpError> {
    features.square()?.row_sums()?.shift(EPS)?.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::read_lines;
    use crate::nn::ops::{CpuOps, Dims, Tape};

    const STEPWISE: Afn = Afn { rule: NormRule::Stepwise, step: 1.0, radius: 25.0 };
    const HARD: Afn = Afn { rule: NormRule::Hard, ..STEPWISE };

    /// What one domain's features of two columns lose, and the gradient with respect to them.
    fn loss(term: Afn, features: &[f32]) -> (f64, Vec<f32>) {
        let tape = Tape::default();
        let dims = Dims::Rows(features.len() / 2, 2);
        let features = CpuOps::shared().tensor(features.to_vec(), dims).unwrap().on(&tape);
        let loss = term.of(&norms(&features).unwrap()).unwrap();
        let gradient = tape.backward(&loss).unwrap().take(&features).unwrap().host();
        (loss.value(), gradient)
    }

    #[test]
    fn the_stepwise_loss_is_constant_and_makes_every_row_longer_by_as_much() {
        for step in [1.0, 0.5] {
            let (value, gradient) = loss(Afn { step, ..STEPWISE }, &[3.0, 4.0, -0.6, 0.8]);
            let step = f64::from(step);
            assert!((value - step * step).abs() < 1e-5, "{value}");
            // -2 step / N along f / |f|: the rows are 5 and 1 long.
            for (found, along) in gradient.iter().zip([0.6, 0.8, -0.6, 0.8]) {
                assert!((f64::from(*found) + step * along).abs() < 1e-5, "{gradient:?}");
            }
        }
    }

    #[test]
    fn the_hard_loss_takes_the_mean_norm_to_the_radius() {
        // The mean norm is (5 + 13) / 2; the mean comes before the square.
        let (value, gradient) = loss(HARD, &[3.0, 4.0, 5.0, 12.0]);
        assert!((value - 256.0).abs() < 1e-3, "{value}");
        for (found, along) in gradient.iter().zip([3.0 / 5.0, 4.0 / 5.0, 5.0 / 13.0, 12.0 / 13.0]) {
            // 2 (9 - 25) / 2 along f / |f|.
            assert!((f64::from(*found) + 16.0 * along).abs() < 1e-4, "{gradient:?}");
        }
        let (value, _) = loss(Afn { radius: 9.0, ..HARD }, &[3.0, 4.0, 5.0, 12.0]);
        assert!(value.abs() < 1e-8, "{value}");
    }

    #[test]
    fn rows_of_zeros_have_a_gradient_of_zero() {
        for term in [STEPWISE, HARD] {
            let (value, gradient) = loss(term, &[0.0, 0.0, 3.0, 4.0]);
            assert!(value.is_finite());
            assert_eq!(gradient[..2], [0.0, 0.0], "{term:?}");
            assert!(gradient[2] != 0.0 && gradient.iter().all(|it| it.is_finite()), "{term:?}");
        }
    }

    #[test]
    fn every_problem_of_its_settings_is_told() {
        let problems = |lines: &str| read_lines(lines, Afn::read).1.messages();
        assert_eq!(problems(""), Vec::<String>::new());
        let told = problems("rule = 'soft'\nstep = 0\nradius = -1.0");
        assert_eq!(
            told,
            [
                "`soft` is not a value of `rule`",
                "`step` must be a number above 0",
                "`radius` must be a number above 0"
            ]
        );
    }
}
