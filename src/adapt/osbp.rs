//! Open set domain adaptation by backpropagation (Saito, Yamamoto, Ushiku and Harada 2018, "Open Set Domain
//! Adaptation by Backpropagation"), for a target that also has images of none of the source's classes.
//!
//! The network's last class is that of such images. The source has none, so that its cross-entropy teaches the
//! other classes alone. With the probability u_j of the last class for target image j and a boundary t, the
//! term is
//!
//! -lambda mean_j (t ln(u_j + 1e-6) + (1 - t) ln(1 - u_j + 1e-6)).
//!
//! The classifier goes down it, and draws its boundary at u = t through the target. The gradient that
//! reaches the features is reversed: these go up it, and choose for each target image to lie with the source
//! or away from it. Gradients go through all logits.
//!
//! As in TLLib, the classifier runs once on the source's features and once on the target's reversed ones. The paper
//! has no weight, which is 1 here and in TLLib; 1e-6 is TLLib's. With `batch_norm = "joint"` both passes are of both
//! domains, so that the running averages of batch norm in the classifier move twice in a step.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use crate::config::{Keys, Noted};
use crate::nn::Part;
use crate::nn::ops::{Dims, Number, OpError, Tensor};
use crate::train::{Bench, FitError};

/// What keeps the logarithm of a probability of 0 finite, as in TLLib.
const EPS: f32 = 1e-6;

/// Settings of open set domain adaptation by backpropagation.
#[derive(Debug, Clone)]
pub(super) struct Osbp {
    /// The name of the class of images that are of none of the others.
    pub unknown: String,
    /// The probability t of that class at which the classifier draws its boundary.
    pub boundary: f32,
}

impl ReadTerm for Osbp {
    const WEIGHT: &'static str = "weight of the boundary between known classes and the unknown one";
    const USUAL: Coefficient = Coefficient::Constant { max: 1.0 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("unknown", "the network's last class: that of images which are of none of the others"),
            ("boundary", "probability of that class at which the classifier draws its boundary"),
        ]);
        let unknown = keys
            .string("unknown")
            .such_that("the name of a class", |name| !name.is_empty())
            .or("unknown");
        let boundary = keys
            .float("boundary")
            .such_that("a number above 0 and below 1", |it| *it > 0.0 && *it < 1.0)
            .or(0.5);
        #[expect(clippy::cast_possible_truncation, reason = "losses are f32")]
        let (unknown, boundary) = (unknown?, boundary? as f32);
        Ok(Self { unknown, boundary })
    }
}

impl Term for Osbp {
    /// It runs the classifier on them itself.
    fn looks_at_target_logits(&self) -> bool {
        false
    }

    fn unknown_class(&self) -> Option<&str> {
        Some(&self.unknown)
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Osbp {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let logits = bench.target_of(&Part::CLASSIFIER, &seen.features.reversed(1.0)?)?;
        let unknown = probabilities_of_last(&logits)?;
        let loss = boundary_loss(&unknown, self.boundary)?;
        bench.meter("boundary_loss", &loss, logits.rows());
        bench.meter("unknown_probability", &unknown.mean()?, logits.rows());
        Ok(loss.scale(lambda)?)
    }
}

/// The probability of the last class of each row of logits, `[M, 1]`.
fn probabilities_of_last(logits: &Tensor) -> Result<Tensor, OpError> {
    let classes = logits.columns();
    let is_last = (0..classes).map(|class| if class + 1 == classes { 1.0 } else { 0.0 });
    let is_last = logits.constant(is_last.collect(), Dims::Rows(1, classes))?;
    logits.softmax()?.mul(&is_last)?.row_sums()
}

/// The mean cross-entropy of probabilities `[M, 1]` with a probability of `boundary`.
fn boundary_loss(unknown: &Tensor, boundary: f32) -> Result<Tensor, OpError> {
    let known = unknown.scale(-1.0)?.shift(1.0)?;
    let [of_unknown, of_known] = [unknown, &known].map(|it| it.shift(EPS)?.log()?.mean());
    of_unknown?.scale(-boundary)?.add(&of_known?.scale(boundary - 1.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::{rows, step};
    use crate::config::testing::read_lines;
    use crate::nn::Model;
    use crate::nn::ops::Tape;

    const LOGITS: [f32; 12] = [0.5, -1.0, 2.0, 0.0, 0.0, 0.0, 3.0, 1.0, -4.0, -0.5, 0.25, 0.75];

    #[test]
    fn the_loss_is_the_published_formula() {
        for t in [0.5, 0.2] {
            let mut expected = 0.0;
            for row in LOGITS.chunks(3) {
                let exps: Vec<f64> = row.iter().map(|z| f64::from(*z).exp()).collect();
                let u = exps[2] / exps.iter().sum::<f64>();
                expected -= t * (u + 1e-6).ln() + (1.0 - t) * (1.0 - u + 1e-6).ln();
            }
            let unknown = probabilities_of_last(&rows(LOGITS, 3)).unwrap();
            let found = boundary_loss(&unknown, t as f32).unwrap().value();
            assert!((found - expected / 4.0).abs() < 1e-5, "{found} and {}", expected / 4.0);
        }
    }

    #[test]
    fn it_is_least_at_the_boundary() {
        let gradient = |probability: f64, t: f32| {
            // Two classes whose logits differ by the log odds.
            let odds = (probability / (1.0 - probability)).ln() as f32;
            let tape = Tape::default();
            let logits = rows([0.0, odds], 2).on(&tape);
            let loss = boundary_loss(&probabilities_of_last(&logits).unwrap(), t).unwrap();
            tape.backward(&loss).unwrap().take(&logits).unwrap().host()[1]
        };
        assert!(gradient(0.3, 0.3).abs() < 1e-5 && gradient(0.5, 0.5).abs() < 1e-5);
        assert!(gradient(0.2, 0.3) < -1e-3 && gradient(0.4, 0.3) > 1e-3);
    }

    #[test]
    fn rows_that_are_sure_have_a_finite_gradient() {
        let tape = Tape::default();
        let logits = rows([300.0, 0.0, 0.0, 300.0], 2).on(&tape);
        let loss = boundary_loss(&probabilities_of_last(&logits).unwrap(), 0.5).unwrap();
        assert!((loss.value() + 0.5 * 1e-6_f64.ln()).abs() < 0.05, "{}", loss.value());
        let gradient = tape.backward(&loss).unwrap().take(&logits).unwrap().host();
        assert!(gradient.iter().all(|it| it.is_finite()), "{gradient:?}");
    }

    /// The parameters are moved a little way along what the term adds to their gradient, and back.
    #[test]
    fn the_classifier_goes_down_the_loss_and_the_features_go_up() {
        let kind = "kind = 'osbp', target = 'other.train', boundary = 0.999";
        let line = |lambda: f64| format!("method = {{ {kind}, lambda = {lambda} }}");
        let loss_at = |change: &dyn Fn(&mut Model)| {
            let readings = step(&line(1.0), change).0;
            readings.iter().find(|it| it.name == "boundary_loss").unwrap().value
        };
        let alone = step("method = 'supervised'", |_| {}).1.remove(0);
        let with = step(&line(1.0), |_| {}).1.remove(0);
        let half = step(&line(0.5), |_| {}).1.remove(0);
        for (part, sign) in [(Part::CLASSIFIER, -1.0), (Part::FEATURES, 1.0)] {
            let mut squares = 0.0;
            let mut added = Vec::new();
            for (((name, with), (_, half)), (_, alone)) in with.iter().zip(&half).zip(&alone) {
                for (half, (with, alone)) in half.iter().zip(with.iter().zip(alone)) {
                    assert!((half - (with + alone) / 2.0).abs() < 1e-5, "{name}");
                }
                let more = with.iter().zip(alone).map(|(with, alone)| with - alone);
                let more: Vec<f32> = more.collect();
                if name.starts_with(part.name()) {
                    squares += more.iter().map(|it| f64::from(*it).powi(2)).sum::<f64>();
                    added.push((name.clone(), more));
                }
            }
            let moved = |by: f32| {
                loss_at(&|model: &mut Model| {
                    for parameter in model.parameters_mut() {
                        let more = added.iter().find(|it| it.0 == parameter.name);
                        let Some((_, more)) = more else { continue };
                        let values = parameter.value.host();
                        let values = values.iter().zip(more).map(|(value, more)| value - by * more);
                        parameter.value.write(&values.collect::<Vec<f32>>());
                    }
                })
            };
            assert!(squares > 1e-5, "{part:?}: {squares}");
            let by = 0.005 / squares.sqrt();
            let rise = (moved(by as f32) - moved(-by as f32)) / (2.0 * by);
            let expected = sign * squares;
            assert!((rise - expected).abs() < 0.1 * squares, "{part:?}: {rise} and {expected}");
        }
    }

    #[test]
    fn the_class_and_the_boundary_are_read_and_checked() {
        let of = |line: &str| {
            let (method, gathered) = read_lines(line, crate::adapt::read);
            let unknown = method.ok().and_then(|it| it.needs().unknown_class.map(str::to_owned));
            (unknown, gathered.messages())
        };
        let line = |more: &str| format!("method = {{ kind = 'osbp', target = 'other'{more} }}");
        assert_eq!(of(&line("")), (Some("unknown".to_owned()), Vec::new()));
        assert_eq!(of(&line(", unknown = 'rest'")), (Some("rest".to_owned()), Vec::new()));
        let wrong = of(&line(", boundary = 1.0")).1;
        assert_eq!(wrong, ["`method.boundary` must be a number above 0 and below 1"]);
        let (none, _) = of("method = { kind = 'dann', target = 'other' }");
        assert_eq!(none, None);
        let plus = "method = { kind = 'dann', target = 'other', plus = ['osbp'] }";
        assert_eq!(of(plus).0, Some("unknown".to_owned()));
    }
}
