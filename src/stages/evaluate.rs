//! `evaluate`: scores models on labelled splits.

use std::sync::Arc;

use super::training::{Opened, failure, misfits, open};
use super::{Context, Defaults, Described, Failure, Kind, Outcome, Problem, Product, Stage};
use crate::config::{Keys, Reference, Wants};
use crate::metrics::{Metrics, number};
use crate::nn::dispatch::{Job, dispatch};
use crate::nn::ops::Ops;
use crate::nn::{Model, Saved};
use crate::progress::Unit;
use crate::train::activations::{Activations, Caching};
use crate::train::{Evaluation, Watch, evaluate};

pub(super) const KIND: Kind =
    Kind { name: "evaluate", about: "score models on labelled splits", scores: true, parse };

#[derive(Debug)]
struct Evaluate {
    models: Vec<Reference>,
    on: Vec<Reference>,
}

fn parse(keys: &mut Keys, _: &Defaults) -> Option<Box<dyn Stage>> {
    let models = keys.references("models", Wants::Model);
    let on = keys.references("on", Wants::Split("test"));
    if models.is_empty() || on.is_empty() {
        return None;
    }
    Some(Box::new(Evaluate { models, on }))
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
        for dataset in &stage.on {
            let set = open(context, &dataset.key)?;
            for model in &stage.models {
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
    caching.of(model, &set.split().images, &set.dataset, &watch).map_err(|error| failure(&error))
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
