//! `evaluate`: scores models on labelled splits.

use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype, TensorView};

use super::training::{Opened, failure, misfits, open};
use super::visualize::{place_after, wrong_layer};
use super::{Context, Defaults, Described, Failure, Kind, Outcome, Problem, Product, Stage};
use crate::adapt::argmax;
use crate::bytes::Collector;
use crate::config::{Keys, Reference, Wants};
use crate::data::loader;
use crate::metrics::{Metrics, number};
use crate::nn::dispatch::{Job, dispatch};
use crate::nn::model::host;
use crate::nn::ops::Ops;
use crate::nn::weights::little_endian;
use crate::nn::{Model, Saved};
use crate::progress::Unit;
use crate::train::activations::{Activations, Caching};
use crate::train::{Evaluation, Watch, evaluate};

pub(super) const KIND: Kind =
    Kind { name: "evaluate", about: "score models on labelled splits", scores: true, parse };

/// Images that go through a network at a time for their features; it changes no number.
const BATCH: usize = 64;

#[derive(Debug)]
struct Evaluate {
    models: Vec<Reference>,
    on: Vec<Reference>,
    /// The layer whose output is written.
    features: Option<String>,
}

fn parse(keys: &mut Keys, _: &Defaults) -> Option<Box<dyn Stage>> {
    let models = keys.references("models", Wants::Model);
    let on = keys.references("on", Wants::Split("test"));
    let features = keys.string("features").optional();
    if models.is_empty() || on.is_empty() {
        return None;
    }
    Some(Box::new(Evaluate { models, on, features: features? }))
}

impl Stage for Evaluate {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        2
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        let mut problems = Vec::new();
        if let Some(layer) = &self.features {
            for model in &self.models {
                let Some(spec) = inputs.model(&model.key).spec else { continue };
                if let Some(mut problem) = wrong_layer(&spec, layer, "features") {
                    problem.message = format!("model `{}`: {}", model.stage, problem.message);
                    problems.push(problem);
                }
            }
        }
        for dataset in &self.on {
            for model in &self.models {
                let Some(spec) = inputs.model(&model.key).spec else { continue };
                for mut problem in misfits(&spec, &inputs.dataset(&dataset.key), &dataset.key, true)
                {
                    problem.message = format!("model `{}`: {}", model.stage, problem.message);
                    problems.push(problem);
                }
            }
        }
        if problems.is_empty() { Ok(Product::Scores) } else { Err(problems) }
    }

    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        dispatch(context.device, Run { stage: self, context })?
    }
}

struct Run<'a> {
    stage: &'a Evaluate,
    context: &'a Context<'a>,
}

impl Job for Run<'_> {
    type Output = Result<Outcome, Failure>;

    fn run<D: Ops>(self, device: &D) -> Self::Output {
        let Self { stage, context } = self;
        let mut metrics = Metrics::scores();
        let mut best = Vec::new();
        for (at_set, dataset) in stage.on.iter().enumerate() {
            let set = open(context, &dataset.key)?;
            for (at_model, model) in stage.models.iter().enumerate() {
                let mut saved = Saved::open(&context.input(&model.key).path, device)?;
                set.check(saved.model.spec(), &dataset.key, true)?;
                let phase = format!("{} on {}", model.stage, dataset.stage);
                let count = set.split().labels.len() as u64;
                let done = |images: usize| {
                    context.progress.advance(images as u64);
                    !context.cancelled()
                };
                let frozen = frozen(context, &mut saved.model, &set)?;
                context.progress.begin(&phase, Some(count), Unit::Images);
                let (images, split) = (&set.dataset, set.split());
                let evaluation = evaluate(&mut saved.model, images, split, frozen.as_deref(), done)
                    .map_err(|error| Failure::new(format!("the device failed: {error:?}")))?
                    .ok_or_else(Failure::interrupted)?;
                write(
                    &mut metrics,
                    &format!("@{}", model.key),
                    &format!("@{}", dataset.key),
                    &evaluation,
                );
                best.push(evaluation.accuracy());
                if let Some(layer) = &stage.features {
                    let name = format!("features.{at_model}.{at_set}.safetensors");
                    features(context, &mut saved.model, &set, layer, &context.out.join(name))?;
                }
            }
        }
        let summary = format!(
            "{} models on {} splits, accuracy {:.1} to {:.1} %",
            stage.models.len(),
            stage.on.len(),
            100.0 * best.iter().copied().fold(f64::INFINITY, f64::min),
            100.0 * best.iter().copied().fold(0.0, f64::max),
        );
        Ok(Outcome { metrics, summary, timings: Vec::new() })
    }
}

/// What the model's frozen layers make of the images: models that share them share it.
fn frozen<D: Ops>(
    context: &Context,
    model: &mut Model<D>,
    set: &Opened,
) -> Result<Option<Arc<Activations>>, Failure> {
    let Some(cache) = context.activations else { return Ok(None) };
    let backend = context.device.backend();
    let caching = Caching { cache, backend: &backend, uses: 1 };
    let watch = Watch { progress: context.progress, cancel: context.cancel };
    caching.of(model, &set.split().images, &set.dataset, &watch).map_err(failure)
}

/// Writes what comes out of `layer` for every image of a split, with labels and answers: `features`
/// (f32, `[N, C, H, W]`), `labels` and `predictions` (i64, `[N]`).
fn features<D: Ops>(
    context: &Context,
    model: &mut Model<D>,
    set: &Opened,
    layer: &str,
    path: &Path,
) -> Result<(), Failure> {
    let entry = place_after(model, layer)?;
    let shape = model.entry_shape(entry);
    let (split, normalisation) = (set.split(), set.dataset.normalisation());
    let failed = |error: D::Err| Failure::new(format!("the device failed: {error:?}"));
    let spilled = |error| Failure::from(crate::data::Error::spilled(error));
    let count = split.len();
    let mut rows = Collector::new(count * shape.len() * size_of::<f32>()).map_err(spilled)?;
    let mut predictions = Vec::with_capacity(count * size_of::<i64>());
    context.progress.begin(&format!("features after {layer}"), Some(count as u64), Unit::Images);
    let all: Vec<usize> = (0..count).collect();
    for indices in all.chunks(BATCH) {
        context.check_cancelled()?;
        let values = loader::batch(normalisation, &split.images, indices);
        let width = values.len() / indices.len();
        let x = model.device().try_tensor_from_vec(values, (indices.len(), width));
        let found = model.features_up_to(entry, x.map_err(failed)?).map_err(failed)?;
        rows.push(&little_endian(&host(&found))).map_err(spilled)?;
        let logits = host(&model.logits_from(entry, found).map_err(failed)?);
        for row in logits.chunks_exact(model.spec().classes) {
            let class = i64::try_from(argmax(row)).unwrap_or(i64::MAX);
            predictions.extend(class.to_le_bytes());
        }
        context.progress.advance(indices.len() as u64);
    }
    let rows = rows.finish().map_err(spilled)?;
    let labels: Vec<u8> =
        split.labels.iter().flat_map(|label| i64::from(*label).to_le_bytes()).collect();
    let view = |kind, shape, bytes| TensorView::new(kind, shape, bytes).expect("whole rows");
    let dimensions = vec![count, shape.channels, shape.height, shape.width];
    let tensors = [
        ("features", view(Dtype::F32, dimensions, &*rows)),
        ("labels", view(Dtype::I64, vec![count], &labels)),
        ("predictions", view(Dtype::I64, vec![count], &predictions)),
    ];
    safetensors::serialize_to_file(tensors, None, path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

/// Accuracy, loss, count, accuracy of each class, and the confusion matrix (`confusion.3.5`: images
/// of class 3 taken for class 5).
fn write(metrics: &mut Metrics, model: &str, dataset: &str, evaluation: &Evaluation) {
    let mut row = |metric: String, value: String| {
        metrics.push([model.to_owned(), dataset.to_owned(), metric, value]);
    };
    row("accuracy".into(), number(evaluation.accuracy()));
    row("loss".into(), number(evaluation.loss));
    row("count".into(), evaluation.count().to_string());
    for class in 0..evaluation.confusion.len() {
        if let Some(accuracy) = evaluation.class_accuracy(class) {
            row(format!("class_accuracy.{class}"), number(accuracy));
        }
    }
    for (class, taken) in evaluation.confusion.iter().enumerate() {
        for (other, count) in taken.iter().enumerate() {
            row(format!("confusion.{class}.{other}"), count.to_string());
        }
    }
}
