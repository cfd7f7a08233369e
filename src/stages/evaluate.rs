//! `evaluate`: scores models on labelled splits.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::classes::{Uses, meet, note};
use super::inputs::{OpenedSplit, misfits, open, unlike_classes, wrong_layer};
use super::{
    Context, Defaults, Described, Failure, Halt, Kind, Measures, Outcome, Problem, Product, Stage,
};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::data;
use crate::data::classes::Matched;
use crate::metrics::calibration::Calibration;
use crate::metrics::label_free::ensv::Ensemble;
use crate::metrics::macro_f1::macro_f1;
use crate::metrics::{Metrics, ScoreRow};
use crate::nn::Backend;
use crate::nn::Model;
use crate::nn::dispatch::{self, backend};
use crate::progress::Unit;
use crate::train::activations::{Activations, Caching};
use crate::train::{Evaluation, Inputs, evaluate};

mod boundary;
mod embedding;
mod features;
mod numbering;
mod open_set;
mod pictures;
mod rated;
mod scored;
mod unlabelled;

use boundary::Boundary;
use embedding::{Embedding, Planes};
use numbering::Numbering;
use open_set::{no_unknown, open_set_rows};
use pictures::{PictureCounts, Pictures};
use rated::{Rated, classes_of, not_of_predictions, not_predicted, predicted};
use scored::Scored;
use unlabelled::{distances, no_ensemble, of_ensemble, of_mixes};

pub(super) const KIND: Kind = Kind {
    name: "evaluate",
    about: "score models, or predictions of a program, on labelled splits",
    measures: Measures::Scores,
    parse,
};

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
    mixval: bool,
    ensv: bool,
    /// The class of images of no other class, for the scores of open sets.
    unknown: Option<String>,
    boundary: Option<Boundary>,
    embedding: Option<Embedding>,
    shown: PictureCounts,
}

fn parse(keys: &mut Keys, _: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    keys.about(&[
        ("models", "networks to score, and predictions of programs"),
        ("on", "data sets to score them on"),
        ("features", "layer whose output is written to the artifact"),
        (
            "layer",
            "layer whose output the embedding and the distance look at; the classifier's input when left out",
        ),
        (
            "proxy_a_distance",
            "whether to measure how well a linear classifier tells further data sets from the first",
        ),
        (
            "mixval",
            "whether to measure without labels how often mixes of two images are taken for what the one with the larger share is taken for",
        ),
        (
            "ensv",
            "whether to measure without labels how much each network agrees with the mean of all of `models`",
        ),
        (
            "unknown",
            "class of images that are of none of the other classes, for the scores of open sets",
        ),
        (
            "boundary",
            "the class of every point of the plane by each model, for data sets of two features",
        ),
        ("embedding", "features in two dimensions"),
        ("samples", "images of each data set to draw"),
        ("mistakes", "most confident wrong answers to draw"),
    ]);
    let models = keys.references("models", Wants::Classifier);
    let on = keys.references("on", Wants::Split("test"));
    let features = keys.string("features").optional();
    let layer = keys.string("layer").optional();
    let proxy_a_distance = keys.boolean("proxy_a_distance").or(false);
    let mixval = keys.boolean("mixval").or(false);
    let ensv = keys.boolean("ensv").or(false);
    let unknown = keys.string("unknown").optional();
    let boundary = keys.optional_nested("boundary", Boundary::read);
    let embedding = keys.optional_nested("embedding", Embedding::read);
    let shown = PictureCounts::read(keys);
    Ok(Box::new(Evaluate {
        models: models?,
        on: on?,
        features: features?,
        layer: layer?,
        proxy_a_distance: proxy_a_distance?,
        mixval: mixval?,
        ensv: ensv?,
        unknown: unknown?,
        boundary: boundary?,
        embedding: embedding?,
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
        if self.ensv {
            let classes = self.models.iter().map(|model| inputs.classifier(&model.key).classes);
            problems.extend(no_ensemble(&self.models, &classes.collect::<Vec<_>>()));
        }
        if let Some(unknown) = &self.unknown {
            for model in &self.models {
                let known = inputs.classifier(&model.key).classes;
                problems.extend(known.and_then(|it| no_unknown(unknown, &model.stage, &it)));
            }
        }
        if self.boundary.is_some() {
            problems.extend(Boundary::problems(&self.on, inputs));
        }
        problems.extend(self.embedding.as_ref().and_then(|it| it.problem(&self.on, inputs)));
        problems.extend(self.without_networks(inputs));
        problems
    }
}

impl Evaluate {
    /// Settings that ask for something of networks where there are only predictions.
    fn without_networks(&self, inputs: &Described) -> Vec<Problem> {
        let is_predicted =
            |it: &Reference| matches!(inputs.product(&it.key), Some(Product::Predictions(_)));
        if !self.models.iter().all(is_predicted) {
            return Vec::new();
        }
        let asked = [
            ("features", self.features.is_some()),
            ("proxy_a_distance", self.proxy_a_distance),
            ("mixval", self.mixval),
            ("boundary", self.boundary.is_some()),
            ("embedding", self.embedding.is_some()),
        ];
        let problem = |(key, _): (&str, bool)| {
            let message = format!("`{key}` needs a network, and `models` has only predictions");
            Problem::at(key, message).help(format!("leave `{key}` out"))
        };
        asked.into_iter().filter(|(_, is_asked)| *is_asked).map(problem).collect()
    }
}

impl Stage for Evaluate {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    /// The order of the images that the distance of domains is measured on moves nothing else.
    fn revision(&self) -> u32 {
        if self.proxy_a_distance { 6 } else { 5 }
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        let mut problems = self.contradictions(inputs);
        for (key, layer) in [("features", &self.features), ("layer", &self.layer)] {
            let Some(layer) = layer else { continue };
            for model in &self.models {
                let Some(spec) = inputs.classifier(&model.key).spec else { continue };
                if let Some(mut problem) = wrong_layer(&spec, layer, key) {
                    problem.message = format!("model `{}`: {}", model.stage, problem.message);
                    problems.push(problem);
                }
            }
        }
        for dataset in &self.on {
            for model in &self.models {
                let shape = inputs.classifier(&model.key);
                let (images, key) = (inputs.dataset(&dataset.key), &dataset.key);
                let of_model = (shape.spec.as_ref(), shape.classes.as_deref());
                let mut found: Vec<Problem> =
                    unlike_classes(of_model, &images, key, Uses::Labels).into_iter().collect();
                found.extend(shape.spec.iter().flat_map(|spec| misfits(spec, &images, key)));
                found.extend(not_predicted(inputs.product(&model.key), dataset));
                for mut problem in found {
                    problem.message = format!("model `{}`: {}", model.stage, problem.message);
                    problems.push(problem);
                }
            }
        }
        if problems.is_empty() { Ok(Product::Scores) } else { Err(problems) }
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        let run = ScoringRun { stage: self, context };
        dispatch::on(context.device, |ops| run.run(ops))
    }
}

struct ScoringRun<'a> {
    stage: &'a Evaluate,
    context: &'a Context<'a>,
}

impl ScoringRun<'_> {
    fn run(self, ops: &Backend) -> Result<Outcome, Halt> {
        let Self { stage, context } = self;
        let mut rows = Vec::new();
        let (mut accuracies, mut parts) = (Vec::new(), BTreeSet::new());
        let (mut pictures, mut numbering) = (Pictures::default(), Numbering::default());
        // Said before hours of work, not after those on the first pairs.
        stage.compare_classes(context)?;
        // The data sets with the answers of each model.
        let mut scored: Vec<Vec<Scored>> = stage.models.iter().map(|_| Vec::new()).collect();
        for (at_set, dataset) in stage.on.iter().enumerate() {
            let set = Arc::new(open(context, &dataset.key)?);
            let key = format!("@{}", dataset.key);
            let mut ensemble = None;
            for (at_model, model) in stage.models.iter().enumerate() {
                let mut rated = Rated::open(&context.input(&model.key).path, ops)?;
                if let Rated::Network(saved) = &rated {
                    set.check(saved.model.spec(), &dataset.key)?;
                    let part = set.part(saved.model.spec());
                    parts.extend(part.map(|part| format!("{part} by {}", model.stage)));
                }
                let name = format!("@{}", model.key);
                let (known, found) = (rated.classes().to_vec(), &set.dataset.classes);
                let known = &known;
                let empty = set.dataset.empty_classes();
                let matched = meet((found, &empty), &dataset.key, known)?;
                numbering.add((&name, known), (&key, found), &matched);
                let set = set.numbered(&dataset.key, known, &matched)?;
                let phase = format!("{} on {}", model.stage, dataset.stage);
                if stage.ensv {
                    let classes = known.len();
                    ensemble.get_or_insert_with(|| Ensemble::new(set.split().len(), classes));
                }
                let evaluation = score(context, &mut rated, &set, &phase, ensemble.as_mut())?;
                rows.extend(score_rows(&name, &key, &evaluation, &set.split().labels));
                if let Some(unknown) = &stage.unknown {
                    let (pair, confusion) = ((&*name, &*key), &evaluation.confusion);
                    rows.extend(open_set_rows(unknown, known, pair, confusion));
                }
                match &mut rated {
                    Rated::Network(saved) if stage.mixval => {
                        let (model, of) = ((&*name, &mut saved.model), (&*key, &*set));
                        rows.extend(of_mixes(context, &phase, model, of, &evaluation.answers)?);
                    }
                    Rated::Predictions(_) if stage.mixval => {
                        not_of_predictions(
                            context,
                            &phase,
                            "mixval",
                            "nobody predicted mixes of images",
                        );
                    }
                    Rated::Network(_) | Rated::Predictions(_) => {}
                }
                accuracies.push(evaluation.accuracy());
                if let Some(layer) = &stage.features {
                    let name = format!("features.{at_model}.{at_set}.safetensors");
                    let path = context.out.join(name);
                    match &mut rated {
                        Rated::Network(saved) => {
                            features::write(context, &mut saved.model, &set, layer, &path)?;
                        }
                        Rated::Predictions(_) => {
                            not_of_predictions(
                                context,
                                &phase,
                                "features",
                                "predictions have no layers",
                            );
                        }
                    }
                }
                let (key, set) = (key.clone(), Arc::clone(&set));
                let found = Scored { key, set, answers: evaluation.answers };
                pictures.mistakes(&stage.shown, context, (at_model, &name), at_set, &found)?;
                scored[at_model].push(found);
            }
            if let Some(ensemble) = ensemble {
                let names = stage.models.iter().map(|model| format!("@{}", model.key));
                match ensemble.is_finite() {
                    true => rows.extend(of_ensemble(&ensemble, names, &scored, at_set)),
                    false => context.progress.note(&format!(
                        "no `ensv` on {key}: the probabilities of a model are not numbers"
                    )),
                }
            }
            if set.dataset.is_features() && stage.shown.any() {
                let name = &dataset.stage;
                context.progress.note(&format!("no pictures of `{name}`, which holds features"));
            }
            pictures.samples(&stage.shown, context, (at_set, &key), &set)?;
        }
        pictures.save(&stage.shown, context)?;
        numbering.save(context)?;
        if let Some(boundary) = &stage.boundary {
            boundary.save(context, ops, &stage.models, &scored)?;
        }
        stage.look_at_features(context, ops, &scored, &mut rows)?;
        let mut summary = format!(
            "{} models on {} splits, accuracy {:.1} to {:.1} %",
            stage.models.len(),
            stage.on.len(),
            100.0 * accuracies.iter().copied().fold(f64::INFINITY, f64::min),
            100.0 * accuracies.iter().copied().fold(0.0, f64::max),
        );
        parts.iter().for_each(|part| summary += &format!(", {part}"));
        Ok(Outcome { metrics: Metrics::Scores(rows), summary, ..Outcome::default() })
    }
}

/// Evaluates a model on a data set; its progress is shown under the name `phase`. Its probabilities are added to
/// the `ensemble`, where there is one.
fn score(
    context: &Context,
    rated: &mut Rated,
    set: &OpenedSplit,
    phase: &str,
    mut ensemble: Option<&mut Ensemble>,
) -> Result<Evaluation, Halt> {
    let (split, classes) = (set.split(), rated.classes().len());
    context.progress.begin(phase, Some(split.labels.len() as u64), Unit::Images);
    let mut first = 0;
    let mut done = |logs: &[f32]| {
        if let Some(ensemble) = &mut ensemble {
            ensemble.add(first, logs.iter().map(|log| f64::from(*log).exp()));
        }
        first += logs.len() / classes;
        context.progress.advance((logs.len() / classes) as u64);
        !context.cancelled()
    };
    let model = match rated {
        Rated::Network(saved) => &mut saved.model,
        Rated::Predictions(predictions) => return predicted(predictions, set, phase, &mut done),
    };
    let frozen = frozen(context, model, set)?;
    let inputs = Inputs::new(model, &split.images, &set.dataset).after(frozen);
    evaluate(model, &inputs, &split.labels, done)
        .map_err(|error| Failure::new(format!("the device failed: {error:?}")))?
        .ok_or(Halt::Interrupted)
}

impl OpenedSplit {
    /// The set with its labels in the numbers of a model with the classes `known`.
    fn numbered(
        self: &Arc<Self>,
        key: &str,
        known: &[String],
        matched: &Matched,
    ) -> Result<Arc<Self>, Halt> {
        if !matches!(matched, Matched::ByName(_)) {
            return Ok(Arc::clone(self));
        }
        let mut set = Self::clone(self);
        set.renumber(key, known)?;
        Ok(Arc::new(set))
    }
}

impl Evaluate {
    /// Compares the classes of every model with those of every data set, and of each other where the ensemble asks
    /// for it, by their descriptions alone.
    fn compare_classes(&self, context: &Context) -> Result<(), Halt> {
        let classes = |model: &Reference| classes_of(&context.input(&model.key).path);
        let classes = self.models.iter().map(classes).collect::<Result<Vec<_>, _>>()?;
        if self.ensv {
            let classes: Vec<_> = classes.iter().cloned().map(Some).collect();
            if let Some(problem) = no_ensemble(&self.models, &classes) {
                return Err(problem.into());
            }
        }
        if let Some(unknown) = &self.unknown {
            for (model, known) in self.models.iter().zip(&classes) {
                if let Some(problem) = no_unknown(unknown, &model.stage, known) {
                    return Err(problem.into());
                }
            }
        }
        for dataset in &self.on {
            let outline = data::DatasetOutline::read(&context.input(&dataset.key).path)?;
            let (found, empty) = (outline.classes, outline.empty);
            for (model, known) in self.models.iter().zip(&classes) {
                let matched =
                    meet((&found, &empty), &dataset.key, known).map_err(|mut failure| {
                        failure.message = format!("model `{}`: {}", model.stage, failure.message);
                        failure
                    })?;
                if let Some(note) = note(&matched, &dataset.key, known, &found) {
                    context.progress.note(&format!("model `{}`: {note}", model.stage));
                }
            }
        }
        Ok(())
    }

    /// The metrics that are of features: the embedding and the distance of the domains.
    fn look_at_features(
        &self,
        context: &Context,
        ops: &Backend,
        scored: &[Vec<Scored>],
        rows: &mut Vec<ScoreRow>,
    ) -> Result<(), Halt> {
        if self.embedding.is_none() && !self.proxy_a_distance {
            return Ok(());
        }
        let mut planes = Planes::default();
        let layer = self.layer.as_deref();
        for (reference, sets) in self.models.iter().zip(scored) {
            let name = format!("@{}", reference.key);
            let mut model = match Rated::open(&context.input(&reference.key).path, ops)? {
                Rated::Network(saved) => saved.model,
                Rated::Predictions(_) => {
                    let reason = "predictions have no features";
                    not_of_predictions(context, &reference.stage, "embedding or distance", reason);
                    continue;
                }
            };
            if self.proxy_a_distance {
                distances(context, (&name, &mut model), layer, sets, rows)?;
            }
            if let Some(settings) = &self.embedding {
                planes.add(settings, context, (&name, &mut model), layer, sets)?;
            }
        }
        if self.embedding.is_some() {
            planes.save(context)?;
        }
        Ok(())
    }
}

/// The output of the model's frozen layers for the images; models with the same layers share it.
fn frozen(
    context: &Context,
    model: &mut Model,
    set: &OpenedSplit,
) -> Result<Option<Arc<Activations>>, Halt> {
    let Some(cache) = &context.environment.activations else { return Ok(None) };
    let backend = backend(context.device);
    let caching = Caching { cache, backend: &backend, uses: 1 };
    Ok(caching.of(model, &set.split().images, &set.dataset, &context.watch())?)
}

/// With more classes than this, the cells of a confusion matrix without images are left out: there are
/// as many as the square of the classes.
const EVERY_CELL: usize = 100;

/// Accuracy, also as the mean over classes, loss, count, macro F1, calibration error, accuracy of each class,
/// and the confusion matrix (`confusion.3.5`: images of class 3 taken for class 5; of more than [`EVERY_CELL`]
/// classes, only where there are some).
#[expect(clippy::cast_precision_loss, reason = "a split is far below 2^53 images")]
fn score_rows(
    model: &str,
    dataset: &str,
    evaluation: &Evaluation,
    labels: &[u32],
) -> Vec<ScoreRow> {
    let mut rows = Vec::new();
    let mut calibration = Calibration::default();
    for (answer, label) in evaluation.answers.iter().zip(labels) {
        calibration.add(f64::from(answer.confidence), answer.class == *label);
    }
    let mut row = |metric: String, value: f64| {
        rows.push(ScoreRow { model: model.into(), dataset: dataset.into(), metric, value });
    };
    row("accuracy".into(), evaluation.accuracy());
    row("balanced_accuracy".into(), evaluation.balanced_accuracy());
    row("loss".into(), evaluation.loss);
    row("count".into(), evaluation.count() as f64);
    row("macro_f1".into(), macro_f1(&evaluation.confusion));
    row("ece".into(), calibration.error());
    for (class, accuracy) in evaluation.class_accuracies() {
        row(format!("class_accuracy.{class}"), accuracy);
    }
    let confusion = &evaluation.confusion;
    let mut cell = |class: u32, other: u32, count: usize| {
        row(format!("confusion.{class}.{other}"), count as f64);
    };
    if confusion.classes() > EVERY_CELL {
        confusion.cells().for_each(|(class, other, count)| cell(class, other, count));
        return rows;
    }
    let all = || (0..confusion.classes()).map(|class| u32::try_from(class).unwrap_or(u32::MAX));
    for class in all() {
        all().for_each(|other| cell(class, other, confusion.cell(class, other)));
    }
    rows
}
