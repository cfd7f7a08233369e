//! A training that is small enough for tests: six images of 4x4 pixels in two classes.

use indexmap::IndexMap;

use super::bench::{Batch, Bench};
use super::contract::FitError;
use super::method::{Learner, Method, Needs};
use super::networks::Group;
use super::optimizer::Optimizer;
use super::settings::TrainingSettings;
use crate::data::view::Domain;
use crate::data::{Dataset, Images, Split};
use crate::nn::ops::{Backend, CpuOps, Dims, Gradients, Tape};
use crate::nn::{Model, Part, Spec};

/// A network of one convolution, batch norm and one linear layer.
pub fn model() -> Model {
    model_on(&CpuOps::shared())
}

/// The same on any backend.
pub fn model_on(ops: &Backend) -> Model {
    let spec: Spec = serde_json::from_str(include_str!("../../fuzz/spec.json")).unwrap();
    Model::new(spec, ops, 0).unwrap()
}

/// Six images without a pattern.
pub fn split() -> Split {
    let pixels: Vec<u8> = (0..6 * 48).map(|it: u32| u8::try_from(it % 251).unwrap()).collect();
    Split { images: Images::same(3, (4, 4), pixels), labels: vec![0, 1, 0, 1, 0, 1] }
}

/// What the images are of.
pub fn dataset() -> Dataset {
    Dataset::plain(vec!["a".into(), "b".into()], 3, IndexMap::new(), Vec::new())
}

/// Three steps per epoch of plain descent.
pub fn settings(epochs: usize) -> TrainingSettings {
    let sgd = Optimizer::Sgd { lr: 0.01, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    TrainingSettings { epochs, ..TrainingSettings::plain(2, sgd) }
}

/// The gradients of a loss whose derivative along each parameter is what `of` gives for its place and
/// its length.
pub fn gradients(model: &Model, of: impl Fn(usize, usize) -> Vec<f32>) -> Gradients {
    let tape = Tape::default();
    let mut loss = model.ops().tensor(vec![0.0], Dims::Scalar).unwrap();
    for (at, parameter) in model.parameters().iter().enumerate() {
        let len = parameter.value.len();
        let slopes = model.ops().tensor(of(at, len), Dims::Flat(len)).unwrap();
        let part = parameter.value.on(&tape).mul(&slopes).unwrap().sum().unwrap();
        loss = part.add(&loss).unwrap();
    }
    tape.backward(&loss).unwrap()
}

/// Cross-entropy of the labelled images, without anything that is reported.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Method for Plain {
    fn needs(&self) -> Needs<'_> {
        Needs::SOURCE
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        Ok(Box::new(*self))
    }
}

impl Learner for Plain {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let source = batch.source();
        let features = bench.learn(&Part::FEATURES, &source.images, Domain::Source)?;
        let logits = bench.learn(&Part::CLASSIFIER, &features, Domain::Source)?;
        let loss = bench.ops().cross_entropy(&logits, &source.targets)?;
        bench.descend(&loss, &[Group::MAIN])
    }
}
