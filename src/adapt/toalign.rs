//! Task-oriented alignment (Wei, Lan, Zeng, Zhang and Chen 2021, "ToAlign: Task-oriented Alignment for
//! Unsupervised Domain Adaptation").
//!
//! Domain-adversarial training as in [`dann`](super::dann), in which the domain classifier sees of a source
//! image what speaks for its class. Its features f are replaced by
//!
//!   f' = (f * w) sqrt((|f|^2 + 1e-12) / (|f * w|^2 + 1e-12)),    the products value by value,
//!
//! which have the length of f; the target's are left alone. w, through which no gradient goes, is the
//! gradient of the logit of the image's own class by its features, with the classifier as at test time. For
//! a classifier of one linear layer it is that class's row of the weights, which the paper takes; for one of
//! several layers the row does not live among the features, and the gradient is what takes its place. The
//! class loss goes by f itself. The term is
//!
//!   CE(D(f'), source) + CE(D(f_t), target)
//!
//! where the gradient that D sends into f' and f_t is multiplied by -lambda. The authors put this on top of
//! a method of theirs with further heads, whose domain classifier sees class probabilities, and pass the source
//! through the network a second time; here it is the features' domain classifier, and the features are reused.

use super::Coefficient;
use super::dann::{Dann, domain_loss};
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use crate::config::{Keys, Noted};
use crate::data::view::Domain;
use crate::nn::heads::NewHead;
use crate::nn::ops::{Dims, Number, OpError, Targets, Tensor};
use crate::nn::{Part, Spec, Tape};
use crate::train::{Bench, Domains, FitError, Mode, NetId};

/// What keeps the ratio of lengths finite where there are no features.
const EPS: f32 = 1e-12;

/// Settings of task-oriented alignment: those of domain-adversarial training.
#[derive(Debug, Clone)]
pub(super) struct ToAlign(Dann);

impl ReadTerm for ToAlign {
    const WEIGHT: &'static str = Dann::WEIGHT;
    const USUAL: Coefficient = Dann::USUAL;

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        Dann::read(keys).map(Self)
    }
}

impl Term for ToAlign {
    fn looks_at_target_logits(&self) -> bool {
        self.0.looks_at_target_logits()
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        self.0.heads(spec)
    }

    fn own_part(&self) -> Option<Part> {
        self.0.own_part()
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &ToAlign {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let Domains { source, target } = &seen.features;
        let weights = class_directions(bench, source, &seen.targets().labels)?;
        let source = task_oriented(source, &weights)?;
        let aligned = Domains { source, target: target.clone() };
        let logits = bench.both(&Part::DOMAIN, &aligned.reversed(lambda)?)?;
        Ok(domain_loss(bench, &logits)?)
    }
}

/// The gradient of the logit of each image's own class by its features, `[N, d]`, on a tape of its own:
/// that of the step is left alone.
fn class_directions(
    bench: &mut Bench,
    features: &Tensor,
    labels: &[u32],
) -> Result<Tensor, FitError> {
    let tape = Tape::default();
    let features = features.on(&tape);
    let logits =
        bench.pass(NetId::MAIN, &Part::CLASSIFIER, &features, Domain::Source, Mode::EVAL)?;
    let own = Targets::plain(labels).shares(logits.columns());
    let own = logits.constant(own, Dims::Rows(logits.rows(), logits.columns()))?;
    let mut gradients = tape.backward(&logits.mul(&own)?.sum()?)?;
    Ok(gradients.take(&features).expect("logits are computed from features"))
}

/// The products of `features` and `weights`, each row as long as that of `features`.
fn task_oriented(features: &Tensor, weights: &Tensor) -> Result<Tensor, OpError> {
    let product = features.mul(weights)?;
    let square = |x: &Tensor| x.square()?.row_sums()?.shift(EPS);
    product.mul(&square(features)?.div(&square(&product)?)?.sqrt()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::step;
    use crate::nn::Model;
    use crate::nn::geometry::Chw;
    use crate::nn::ops::CpuOps;
    use crate::nn::zoo::{self, ArchSettings};
    use crate::train::{Optimizer, TrainingSettings};

    fn numbers(count: usize, columns: usize) -> Tensor {
        let values = (0..count * columns).map(|at| (at * 37 % 101) as f32 / 50.0 - 1.0);
        CpuOps::shared().tensor(values.collect(), Dims::Rows(count, columns)).unwrap()
    }

    /// A bench with a network, whose optimizer does nothing.
    fn with_bench<T>(model: Model, work: impl FnOnce(&mut Bench) -> T) -> T {
        let still = Optimizer::Sgd { lr: 0.0, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        let settings = TrainingSettings::plain(4, still);
        work(&mut Bench::alone(model, &settings).unwrap())
    }

    #[test]
    fn directions_of_a_linear_classifier_are_the_rows_of_its_weights() {
        let model = crate::train::tiny::model();
        let weight = model.parameters().iter().find(|it| it.name == "classifier.0.weight");
        let weight = weight.unwrap().value.host();
        let found = with_bench(model, |bench| {
            class_directions(bench, &numbers(3, 8), &[1, 0, 1]).unwrap().host()
        });
        for (row, label) in found.chunks(8).zip([1, 0, 1]) {
            assert_eq!(row, &weight[8 * label..8 * (label + 1)]);
        }
    }

    #[test]
    fn directions_of_a_deeper_classifier_are_its_slopes() {
        let input = Chw { channels: 1, height: 28, width: 28 };
        let spec = (zoo::find("lenet").unwrap().build)(ArchSettings::new(input, 10));
        let width = spec.feature_len().unwrap();
        let mut model = Model::new(spec, &CpuOps::shared(), 0).unwrap();
        let x = numbers(2, width);
        let labels = [3_u32, 8];
        let found =
            with_bench(model.clone(), |bench| class_directions(bench, &x, &labels).unwrap().host());
        let mut logit = |row: usize, at: usize, by: f32| {
            let mut values = x.host();
            values[row * width + at] += by;
            let x = CpuOps::shared().tensor(values, Dims::Rows(2, width)).unwrap();
            let logits = model.forward(&Part::CLASSIFIER, &x, crate::nn::Pass::EVAL).unwrap();
            f64::from(logits.host()[row * 10 + labels[row] as usize])
        };
        // A few of the steps go across an edge of a rectification.
        let (mut off, mut whole) = (0.0, 0.0);
        for (row, at) in (0..60).map(|it| (it % 2, it * 19 % width)) {
            let difference = (logit(row, at, 1e-2) - logit(row, at, -1e-2)) / 2e-2;
            off += (f64::from(found[row * width + at]) - difference).powi(2);
            whole += difference.powi(2);
        }
        assert!(off.sqrt() < 0.1 * whole.sqrt(), "{off} of {whole}");
    }

    #[test]
    fn a_row_keeps_its_length_and_is_finite_without_features_or_weights() {
        let f = numbers(4, 5);
        let weights = numbers(5, 5).host()[5..].to_vec();
        let weights = f.constant(weights, Dims::Rows(4, 5)).unwrap();
        let squares = |x: &Tensor| x.square().unwrap().row_sums().unwrap().host();
        let found = task_oriented(&f, &weights).unwrap();
        for (found, expected) in squares(&found).iter().zip(squares(&f)) {
            assert!((found - expected).abs() < 1e-4 * expected, "{found} and {expected}");
        }
        // As (1, 2) weighed by (3, 1) is (3, 2), with the length of the former.
        let row = |values: [f32; 2]| f.constant(values.to_vec(), Dims::Rows(1, 2)).unwrap();
        let found = task_oriented(&row([1.0, 2.0]), &row([3.0, 1.0])).unwrap().host();
        let scale = (5.0_f32 / 13.0).sqrt();
        assert!((found[0] - 3.0 * scale).abs() < 1e-6 && (found[1] - 2.0 * scale).abs() < 1e-6);
        for (x, weights) in [([0.0, 0.0], [3.0, 1.0]), ([1.0, 2.0], [0.0, 0.0])] {
            let tape = Tape::default();
            let x = row(x).on(&tape);
            let loss = task_oriented(&x, &row(weights)).unwrap().sum().unwrap();
            let gradient = tape.backward(&loss).unwrap().take(&x).unwrap().host();
            assert!(loss.value() == 0.0 && gradient.iter().all(|it| it.is_finite()));
        }
    }

    #[test]
    fn the_directions_leave_the_gradients_of_the_step_alone() {
        let gradients = |lambda: f64| {
            let kind = "kind = 'toalign', target = 'other.train'";
            step(&format!("method = {{ {kind}, lambda = {lambda} }}"), |_| {}).1.remove(0)
        };
        let (without, with) = (gradients(0.0), gradients(1.0));
        let unlike = without.iter().zip(&with).filter(|(one, other)| one.1 != other.1);
        let unlike: Vec<&str> = unlike.map(|(one, _)| one.0.as_str()).collect();
        assert!(!unlike.is_empty());
        assert!(unlike.iter().all(|it| it.starts_with("features.")), "{unlike:?}");
    }
}
