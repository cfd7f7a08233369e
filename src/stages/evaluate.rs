//! `evaluate`: scores models on labelled splits.

use std::sync::Arc;

use super::training::{Opened, failure, misfits, open};
use super::visualize::wrong_layer;
use super::{Context, Defaults, Described, Failure, Kind, Outcome, Problem, Product, Stage};
use crate::config::{Keys, Reference, Wants};
use crate::data::loader;
use crate::metrics::calibration::Calibration;
use crate::metrics::label_free::images_for;
use crate::metrics::macro_f1::macro_f1;
use crate::metrics::proxy_a_distance::proxy_a_distance;
use crate::metrics::{Metrics, number};
use crate::nn::dispatch::{Job, dispatch};
use crate::nn::ops::Ops;
use crate::nn::{Model, Saved};
use crate::progress::Unit;
use crate::train::activations::{Activations, Caching};
use crate::train::{Answer, Evaluation, Watch, evaluate};

mod embedding;
mod features;
mod pictures;

use embedding::{Embedding, Planes};
use pictures::{Pictures, Shown};

pub(super) const KIND: Kind =
    Kind { name: "evaluate", about: "score models on labelled splits", scores: true, parse };

#[derive(Debug)]
struct Evaluate {
    models: Vec<Reference>,
    on: Vec<Reference>,
    /// The layer whose output is written.
    features: Option<String>,
    /// The layer whose output the embedding and the distance are of; `None` for what the classifier
    /// takes in.
    layer: Option<String>,
    proxy_a_distance: bool,
    embedding: Option<Embedding>,
    shown: Shown,
}

fn parse(keys: &mut Keys, _: &Defaults) -> Option<Box<dyn Stage>> {
    let models = keys.references("models", Wants::Model);
    let on = keys.references("on", Wants::Split("test"));
    let features = keys.string("features").optional();
    let layer = keys.string("layer").optional();
    let proxy_a_distance = keys.boolean("proxy_a_distance").or(false);
    let wants_embedding = keys.has("embedding");
    let embedding = keys.optional_nested("embedding", Embedding::read);
    let shown = Shown::read(keys);
    if models.is_empty() || on.is_empty() || (wants_embedding && embedding.is_none()) {
        return None;
    }
    Some(Box::new(Evaluate {
        models,
        on,
        features: features?,
        layer: layer?,
        proxy_a_distance: proxy_a_distance?,
        embedding,
        shown: shown?,
    }))
}

impl Evaluate {
    /// Settings that ask for something that others do not give.
    fn contradictions(&self, inputs: &Described) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.proxy_a_distance && self.on.len() < 2 {
            let message =
                "the distance is between the first data set of `on` and others: there are none";
            problems.push(
                Problem::at("proxy_a_distance", message).help("name source and target in `on`"),
            );
        }
        if self.layer.is_some() && !self.proxy_a_distance && self.embedding.is_none() {
            problems.push(
                Problem::at("layer", "nothing looks at the features after it")
                    .help("add `embedding = {}` or `proxy_a_distance = true`, or leave it out"),
            );
        }
        problems.extend(self.embedding.as_ref().and_then(|it| it.problem(&self.on, inputs)));
        problems
    }
}

impl Stage for Evaluate {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        3
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        let mut problems = self.contradictions(inputs);
        for (key, layer) in [("features", &self.features), ("layer", &self.layer)] {
            let Some(layer) = layer else { continue };
            for model in &self.models {
                let Some(spec) = inputs.model(&model.key).spec else { continue };
                if let Some(mut problem) = wrong_layer(&spec, layer, key) {
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

/// A data set with the answers of one model.
struct Scored {
    /// As it stands in the metrics.
    key: String,
    set: Arc<Opened>,
    answers: Vec<Answer>,
}

impl Job for Run<'_> {
    type Output = Result<Outcome, Failure>;

    fn run<D: Ops>(self, device: &D) -> Self::Output {
        let Self { stage, context } = self;
        let mut metrics = Metrics::scores();
        let mut best = Vec::new();
        let mut pictures = Pictures::default();
        // The data sets with the answers of each model.
        let mut scored: Vec<Vec<Scored>> = stage.models.iter().map(|_| Vec::new()).collect();
        for (at_set, dataset) in stage.on.iter().enumerate() {
            let set = Arc::new(open(context, &dataset.key)?);
            let key = format!("@{}", dataset.key);
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
                let name = format!("@{}", model.key);
                write(&mut metrics, &name, &key, &evaluation, &split.labels);
                best.push(evaluation.accuracy());
                if let Some(layer) = &stage.features {
                    let name = format!("features.{at_model}.{at_set}.safetensors");
                    let path = context.out.join(name);
                    features::write(context, &mut saved.model, &set, layer, &path)?;
                }
                let (key, set) = (key.clone(), Arc::clone(&set));
                let found = Scored { key, set, answers: evaluation.answers };
                pictures.mistakes(&stage.shown, context, (at_model, &name), at_set, &found)?;
                scored[at_model].push(found);
            }
            pictures.samples(&stage.shown, context, (at_set, &key), &set)?;
        }
        pictures.save(&stage.shown, context)?;
        stage.look_at_features(context, device, &scored, &mut metrics)?;
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

impl Evaluate {
    /// The metrics that are of features: the embedding and the distance of the domains.
    fn look_at_features<D: Ops>(
        &self,
        context: &Context,
        device: &D,
        scored: &[Vec<Scored>],
        metrics: &mut Metrics,
    ) -> Result<(), Failure> {
        if self.embedding.is_none() && !self.proxy_a_distance {
            return Ok(());
        }
        let mut planes = Planes::default();
        let layer = self.layer.as_deref();
        for (reference, sets) in self.models.iter().zip(scored) {
            let mut model = Saved::open(&context.input(&reference.key).path, device)?.model;
            let name = format!("@{}", reference.key);
            if self.proxy_a_distance {
                distances(context, (&name, &mut model), layer, sets, metrics)?;
            }
            if let Some(settings) = &self.embedding {
                planes.add(settings, context, (&name, &mut model), layer, sets)?;
            }
        }
        if self.embedding.is_some() { planes.save(context) } else { Ok(()) }
    }
}

/// The distance of every data set after the first from the first, on images drawn from each by a fixed
/// seed, [`images_for`] their features at most.
fn distances<D: Ops>(
    context: &Context,
    (name, model): (&str, &mut Model<D>),
    layer: Option<&str>,
    sets: &[Scored],
    metrics: &mut Metrics,
) -> Result<(), Failure> {
    context.progress.begin("distance of domains", None, Unit::Images);
    let mut first = None;
    for (at, Scored { key, set, .. }) in sets.iter().enumerate() {
        let one = features::rows(context, model, set, layer, &[0])?;
        let purpose = format!("proxy_a_distance {at}");
        let indices = loader::drawn(0, &purpose, set.split().len(), images_for(one.width));
        let rows = features::rows(context, model, set, layer, &indices)?;
        let Some(source) = &first else {
            first = Some(rows.values);
            continue;
        };
        let distance = proxy_a_distance(source, &rows.values, rows.width);
        let row = [name.to_owned(), key.clone(), "proxy_a_distance".into(), number(distance)];
        metrics.push(row);
    }
    Ok(())
}

/// Writes a table beside the metrics.
fn save(
    context: &Context,
    name: &str,
    header: &[&str],
    rows: Vec<Vec<String>>,
) -> Result<(), Failure> {
    let path = context.out.join(name);
    let write = || -> Result<(), csv::Error> {
        let mut writer = csv::Writer::from_path(&path)?;
        writer.write_record(header)?;
        for row in rows {
            writer.write_record(row)?;
        }
        Ok(writer.flush()?)
    };
    write().map_err(|error| Failure::new(format!("{}: {error}", path.display())))
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

/// Accuracy, loss, count, macro F1, calibration error, accuracy of each class, and the confusion matrix
/// (`confusion.3.5`: images of class 3 taken for class 5).
fn write(
    metrics: &mut Metrics,
    model: &str,
    dataset: &str,
    evaluation: &Evaluation,
    labels: &[u32],
) {
    let mut calibration = Calibration::default();
    for (answer, label) in evaluation.answers.iter().zip(labels) {
        calibration.add(f64::from(answer.confidence), answer.class == *label);
    }
    let mut row = |metric: String, value: String| {
        metrics.push([model.to_owned(), dataset.to_owned(), metric, value]);
    };
    row("accuracy".into(), number(evaluation.accuracy()));
    row("loss".into(), number(evaluation.loss));
    row("count".into(), evaluation.count().to_string());
    row("macro_f1".into(), number(macro_f1(&evaluation.confusion)));
    row("ece".into(), number(calibration.error()));
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
