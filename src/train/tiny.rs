//! A training that is small enough for tests: six images of 4x4 pixels in two classes.

use indexmap::IndexMap;

use super::groups::Groups;
use super::optimizer::Optimizer;
use super::sampler::Shuffled;
use super::schedule::Scheduled;
use super::settings::TrainingSettings;
use crate::config::Keys;
use crate::config::node::Table;
use crate::config::source::{SourceId, Span};
use crate::data::{Dataset, Images, Split};
use crate::nn::ops::{CpuOps, Dims, Gradients, Tape};
use crate::nn::{Model, Spec};

/// A network of one convolution, batch norm and one linear layer.
pub fn model() -> Model {
    let spec: Spec = serde_json::from_str(include_str!("../../fuzz/spec.json")).unwrap();
    Model::new(spec, &CpuOps::shared(), 0).unwrap()
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
    TrainingSettings {
        epochs,
        epoch: None,
        sampler: Box::new(Shuffled),
        batch_size: 2,
        optimizer: Optimizer::Sgd { lr: 0.01, momentum: 0.0, nesterov: false, weight_decay: 0.0 },
        groups: Groups::default(),
        schedule: constant(),
        augment: None,
        label_smoothing: 0.0,
        early_stopping: None,
        keep_best: None,
        target_scores: None,
        log_every: None,
        seed: 0,
    }
}

/// The schedule of a table that says nothing of it.
fn constant() -> Scheduled {
    let table = Table::default();
    Scheduled::read(&mut Keys::new(&table, Span::new(SourceId(0), 0..0))).unwrap()
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
