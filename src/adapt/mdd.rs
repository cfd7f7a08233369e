//! Margin disparity discrepancy (Zhang, Liu, Long and Jordan 2019, "Bridging Theory and Algorithm for Domain
//! Adaptation").
//!
//! A second classifier f' looks at the features through a reversal of the gradient. With the likeliest class
//! y(x) = argmax f(x) of the first one, through which no gradient goes, the term is
//!
//!   margin mean CE(f'(x_s), y(x_s)) - mean ln min(1 - p'(x_t)[y(x_t)] + 1e-6, 1)
//!
//! with the probabilities p' of f'. f' goes down it at its full rate: it agrees with f on the source and
//! differs from it on the target. The features get the gradient multiplied by -lambda: they take the target
//! to where f' cannot differ. `margin` is the paper's gamma, whose logarithm is the margin rho; where domains
//! cannot be told apart, f' gives y the probability margin / (1 + margin). The 1e-6 is TLLib's, without which
//! the logarithm may be infinite. The network is evaluated with f.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use super::mcd::second_classifier;
use crate::config::{Keys, Noted};
use crate::nn::heads::NewHead;
use crate::nn::ops::{Dims, Number, OpError, Targets, Tensor, argmax};
use crate::nn::{Part, Spec};
use crate::train::{Bench, FitError};

/// What keeps the logarithm finite where the second classifier is sure, as in TLLib.
const EPS: f32 = 1e-6;

/// The least that a logarithm is taken of: rounding may leave less than [`EPS`].
const LEAST: f32 = 1e-7;

/// Settings of the margin disparity discrepancy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mdd {
    /// Weight of the source beside the target in what the second classifier learns: the gamma of the paper.
    pub margin: f32,
}

impl ReadTerm for Mdd {
    const WEIGHT: &'static str = "weight of the reversed gradient of the second classifier";
    const USUAL: Coefficient = Coefficient::Tanh { steps: 2000, max: 0.1 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[(
            "margin",
            "weight of the source in the second classifier's loss; its logarithm is the margin",
        )]);
        let margin = keys.float("margin").positive().or(4.0);
        #[expect(clippy::cast_possible_truncation, reason = "losses are f32")]
        let margin = margin? as f32;
        Ok(Self { margin })
    }
}

impl Term for Mdd {
    fn looks_at_target_logits(&self) -> bool {
        true
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        vec![second_classifier(spec)]
    }

    fn own_part(&self) -> Option<Part> {
        Some(Part::CLASSIFIER2)
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Mdd {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let logits = bench.both(&Part::CLASSIFIER2, &seen.features.reversed(lambda)?)?;
        let agreement = agreement(&logits.source, &likeliest(seen.source_logits()))?;
        let difference = difference(&logits.target, &likeliest(seen.target_logits()))?;
        bench.meter("source_disparity_loss", &agreement, logits.source.rows());
        bench.meter("target_disparity_loss", &difference, logits.target.rows());
        Ok(agreement.scale(self.margin)?.add(&difference)?)
    }
}

/// The likeliest class of each row of logits.
fn likeliest(logits: &Tensor) -> Vec<u32> {
    let rows = logits.host();
    let class = |row: &[f32]| u32::try_from(argmax(row)).expect("classes are numbered by u32");
    rows.chunks_exact(logits.columns()).map(class).collect()
}

/// What the second classifier loses where it differs from the first: its mean cross-entropy with the
/// first one's `classes`.
fn agreement(logits: &Tensor, classes: &[u32]) -> Result<Tensor, OpError> {
    logits.ops().cross_entropy(logits, &Targets::plain(classes))
}

/// What it loses where it agrees with the first: the mean of -ln(1 - p) of the first one's `classes`.
fn difference(logits: &Tensor, classes: &[u32]) -> Result<Tensor, OpError> {
    let own = Targets::plain(classes).shares(logits.columns());
    let own = logits.constant(own, Dims::Rows(logits.rows(), logits.columns()))?;
    let p = logits.softmax()?.mul(&own)?.row_sums()?;
    let other = p.scale(-1.0)?.shift(1.0)?.shift(EPS)?.clamp(LEAST, 1.0)?;
    other.log()?.mean()?.scale(-1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::step;
    use crate::nn::Tape;
    use crate::nn::ops::CpuOps;

    fn logits(values: &[f32], classes: usize) -> Tensor {
        let dims = Dims::Rows(values.len() / classes, classes);
        CpuOps::shared().tensor(values.to_vec(), dims).unwrap()
    }

    /// The slope along the first class's logit of what the second classifier goes down, where both domains
    /// have the same image, which the first one takes for the first of two classes and of which the second
    /// gives that class the probability `p`.
    fn slope(p: f32, margin: f32) -> f32 {
        let tape = Tape::default();
        let x = logits(&[(p / (1.0 - p)).ln(), 0.0], 2).on(&tape);
        let loss = agreement(&x, &[0]).unwrap().scale(margin).unwrap();
        let loss = loss.add(&difference(&x, &[0]).unwrap()).unwrap();
        tape.backward(&loss).unwrap().take(&x).unwrap().host()[0]
    }

    #[test]
    fn on_domains_that_are_alike_the_second_classifier_comes_to_rest_at_its_margin() {
        for margin in [1.0, 2.0, 4.0] {
            let rest = margin / (1.0 + margin);
            assert!(slope(rest, margin).abs() < 1e-4, "{margin}");
            assert!(slope(rest - 0.1, margin) < -1e-2, "{margin}: it becomes surer");
            assert!(slope(rest + 0.1, margin) > 1e-2, "{margin}: it becomes less sure");
        }
    }

    #[test]
    fn both_halves_are_the_published_formulas() {
        let values = [0.5_f32, -0.25, 1.5, 2.0, 0.0, -1.0];
        let classes = [2_u32, 1];
        let (mut agreed, mut differed) = (0.0, 0.0);
        for (row, class) in values.chunks(3).zip(classes) {
            let all: f64 = row.iter().map(|it| f64::from(*it).exp()).sum();
            let p = f64::from(row[class as usize]).exp() / all;
            agreed -= p.ln() / 2.0;
            differed -= (1.0 - p).ln() / 2.0;
        }
        let x = logits(&values, 3);
        let found = agreement(&x, &classes).unwrap().value();
        assert!((found - agreed).abs() < 1e-6, "{found} and {agreed}");
        let found = difference(&x, &classes).unwrap().value();
        assert!((found - differed).abs() < 1e-5, "{found} and {differed}");
        assert_eq!(likeliest(&x), [2, 0]);
    }

    #[test]
    fn a_sure_second_classifier_has_a_finite_loss_and_gradient() {
        for sure in [[200.0, 0.0], [0.0, 200.0]] {
            let tape = Tape::default();
            let x = logits(&sure, 2).on(&tape);
            let loss = difference(&x, &[0]).unwrap();
            assert!(loss.value().is_finite());
            let gradient = tape.backward(&loss).unwrap().take(&x).unwrap().host();
            assert!(gradient.iter().all(|it| it.is_finite()), "{gradient:?}");
        }
    }

    #[test]
    fn the_weight_is_the_features_alone_and_the_first_classifier_learns_nothing_of_it() {
        let gradients = |lambda: f64| {
            let kind = "kind = 'mdd', target = 'other.train'";
            step(&format!("method = {{ {kind}, lambda = {lambda} }}"), |_| {}).1.remove(0)
        };
        let (without, with) = (gradients(0.0), gradients(1.0));
        let unlike = without.iter().zip(&with).filter(|(one, other)| one.1 != other.1);
        let unlike: Vec<&str> = unlike.map(|(one, _)| one.0.as_str()).collect();
        assert!(!unlike.is_empty());
        assert!(unlike.iter().all(|it| it.starts_with("features.")), "{unlike:?}");
        let second = with.iter().filter(|it| it.0.starts_with("classifier2."));
        assert!(second.flat_map(|it| &it.1).any(|it| *it != 0.0));
    }
}
