//! What `pretrain` and `finetune` have in common: their settings, and how these are checked against each
//! other and against what comes in.

mod crops;
mod network;
mod run;
mod task;
mod without_source;

use std::path::Path;

pub(super) use self::network::ModelSource;
use self::task::{TrainingTask, without_key};
use super::classes::{Uses, names_of_both};
use super::inputs::{misfits, unlike_classes};
use super::{
    Budget, Context, DatasetShape, Defaults, Described, Halt, ModelShape, Outcome, Problem,
    Product, Stage,
};
use crate::adapt;
use crate::config::diagnostic::suggest;
use crate::config::{Diagnostic, Keys, Noted, Reference, Wants};
use crate::data::augment::{AUGMENT, Augment};
use crate::data::classes::{match_classes, written};
use crate::data::view::ViewRequest;
use crate::metrics::TrainingRow;
use crate::nn::spec::Layer;
use crate::nn::{Part, Spec, freeze};
use crate::train::groups::Groups;
use crate::train::monitor::{EarlyStopping, Metric};
use crate::train::sampler::{self, ImageSampler};
use crate::train::schedule::Scheduled;
use crate::train::{
    BatchNormFamily, EpochLength, Method, Misfit, Optimizer, TargetScores, TrainingSettings,
};

/// The key of the images that are scored without labels.
const SCORED: &str = "target_scores.on";

/// The settings of a stage that trains.
#[derive(Debug)]
pub(super) struct Training {
    settings: TrainingSettings,
    method: Box<dyn Method>,
    source: ModelSource,
    /// What is scored after every epoch. What decides goes by the first.
    validate: Vec<Reference>,
}

impl Training {
    /// Reads everything but where the network comes from, which is `source`. `method` is the method of
    /// a stage that has no choice of it; a model `comes_in` from another stage, or it does not.
    pub(super) fn read(
        keys: &mut Keys,
        defaults: &Defaults,
        source: Result<ModelSource, Noted>,
        method: Option<Box<dyn Method>>,
        comes_in: bool,
    ) -> Result<Self, Noted> {
        let span = keys.span();
        keys.elsewhere(
            &["lr", "weight_decay", "momentum", "nesterov", "betas"],
            "of `optimizer`: `optimizer = { kind = \"sgd\", ... }`",
        );
        keys.elsewhere(
            &["patience", "min_delta"],
            "of `early_stopping`, and of the schedule `reduce_on_plateau`",
        );
        keys.elsewhere(&["device", "precision"], "of `[pipeline]`");
        keys.elsewhere(
            &["resize", "center_crop", "mean", "std"],
            "of a stage with `kind = \"normalize\"`, which comes before this one",
        );
        keys.about(&[
            ("train", "labelled images to learn from"),
            (
                "validate",
                "labelled images that are scored after every epoch; of several, whatever goes by validation goes by the first, and the others are recorded",
            ),
            ("method", "how to learn"),
            ("epochs", "number of epochs"),
            (
                "epoch",
                "what an epoch is with two domains: a pass over the longer or the shorter one, over the source or the target, or so many steps",
            ),
            ("steps_per_epoch", "steps of an epoch; another way to write `epoch` with a number"),
            (
                "sampler",
                "which labelled images a step takes: each once a pass, every class equally often, or so many images of so many classes",
            ),
            ("batch_size", "images per step, of each domain"),
            (
                "drop_last",
                "whether images at the end of a pass are left out that do not fill a batch",
            ),
            ("optimizer", "how gradients change the parameters"),
            ("optimizers", "other optimizers for some parts of the network, by the part's name"),
            ("schedule", "how the learning rate changes over time"),
            (AUGMENT, "random changes to training images, one after the other"),
            (
                "batch_norm",
                "which images batch norm takes together when there are two domains: one pass for each domain (`separate`), one for both (`joint`), averages of the target's alone (`target`), or parameters and averages for each (`domain`)",
            ),
            (
                "stochastic_norm",
                "probability that a channel of batch norm goes by its running averages in a step, drawn for each layer and step (Kou et al. 2020)",
            ),
            ("label_smoothing", "share of each label that is spread over all classes"),
            ("early_stopping", "when to stop because validation no longer improves"),
            (
                "keep_best",
                "which metric of `validate` decides whose epoch's weights are kept; the last epoch's when left out",
            ),
            ("target_scores", "scores of a target domain after every epoch that need no labels"),
            ("lr_scale", "factors for the learning rate, by patterns of parameter names"),
            (
                "layer_decay",
                "factor on the learning rate from each layer to the one before it, counted from the heads, which have the whole rate",
            ),
            ("l2_sp", "weight decay toward the weights that came in (Li et al. 2018)"),
            ("thaw_at", "patterns of parameters that start learning at an epoch, from 1"),
            ("log_every", "steps between rows of the training loss; an epoch when left out"),
        ]);
        let train = match method {
            Some(_) => keys.reference("train", Wants::Split("train")).map(Some),
            None => keys.optional_reference("train", Wants::Split("train")),
        };
        let validate = keys.ordered_references("validate", Wants::Split("valid"));
        let method = match method {
            Some(method) => Ok(method),
            None => adapt::read(keys),
        };
        let train = without_source::train_of(keys, train, method.as_deref().ok());
        let method_span = keys.peek("method").map_or(span, |node| node.span);
        let epochs = keys.count("epochs", 1..=100_000).required();
        let epoch = EpochLength::read(keys);
        let epoch_span = keys.peek("epoch").map_or(span, |node| node.span);
        let sampler = sampler::read(keys);
        let batch_size = read_batch_size(keys, sampler.as_deref().ok());
        let drop_last = read_drop_last(keys, sampler.as_deref().ok());
        let optimizer = Optimizer::read(keys);
        let schedule = Scheduled::read(keys);
        let augment = Augment::read(keys);
        let batch_norm = keys.choice("batch_norm").optional();
        let batch_norm_span = keys.peek("batch_norm").map_or(span, |node| node.span);
        let usual = method.as_ref().ok().and_then(|it| it.needs().batch_norm.first().copied());
        let stochastic_norm = match comes_in {
            true => keys.float("stochastic_norm").fraction().optional(),
            false => Ok(None),
        };
        let label_smoothing = keys.float("label_smoothing").below_one().or(0.0);
        let early_stopping = EarlyStopping::read(keys);
        let keep_best = Metric::read_optional(keys, "keep_best");
        let target_scores = TargetScores::read(keys);
        let (optimizer, groups) = match optimizer {
            Ok((optimizer, groups)) => (Ok(optimizer), groups),
            Err(noted) => (Err(noted), Vec::new()),
        };
        let groups = Groups::read(keys, groups, comes_in);
        let log_every = keys.count("log_every", 1..=usize::MAX).optional();
        let seed = defaults.seed(keys);
        #[expect(clippy::cast_possible_truncation, reason = "shares and probabilities are f32")]
        let settings = TrainingSettings {
            epochs: epochs?,
            epoch: epoch?,
            sampler: sampler?,
            batch_size: batch_size?,
            drop_last: drop_last?,
            optimizer: optimizer?,
            groups: groups?,
            batch_norm: batch_norm?.or(usual).unwrap_or(BatchNormFamily::Separate),
            stochastic_norm: stochastic_norm?.map(|p| p as f32),
            schedule: schedule?,
            augment: augment?,
            label_smoothing: label_smoothing? as f32,
            early_stopping: early_stopping?,
            keep_best: keep_best?,
            target_scores: target_scores?,
            log_every: log_every?,
            seed: seed?,
        };
        // What contradicts itself is told also where the network is wrong.
        let validate = validate?;
        let first = validate.first().cloned();
        let task = TrainingTask { settings, method: method?, train: train?, validate: first };
        let mut problems = task.contradictions(span);
        problems.extend(task.without_source(keys, source.as_ref().ok()));
        problems.extend(task.one_domain(epoch_span));
        problems.extend(task.other_batch_norm(batch_norm_span));
        problems.extend(task.untrained(method_span).filter(|_| !comes_in));
        problems.extend(task.never_trained(keys, source.as_ref().ok()));
        keys.no_problems(problems)?;
        let TrainingTask { settings, method, .. } = task;
        Ok(Self { settings, method, source: source?, validate })
    }

    /// The keys of the data sets, `train` first where there is one, and what of each is used.
    fn sets(&self) -> Vec<(&str, Uses)> {
        let needs = self.method.needs();
        let mut sets: Vec<_> =
            needs.source.then_some(("train", Uses::Labels)).into_iter().collect();
        sets.extend(self.validate.iter().map(|it| (it.key.as_str(), Uses::Labels)));
        sets.extend(needs.target.map(|_| ("method.target", Uses::Images)));
        sets.extend(self.settings.target_scores.iter().map(|_| (SCORED, Uses::Images)));
        sets
    }

    /// Why the sampler cannot have as many classes as it wants, as far as it is known how many have images.
    fn too_few_classes(&self, train: &DatasetShape) -> Option<Problem> {
        let (wanted, classes) = (self.settings.sampler.classes(), train.classes?);
        let found = classes.saturating_sub(train.empty.len());
        (wanted > found).then(|| {
            let message = format!(
                "the sampler takes {wanted} classes per step, but only {found} have images"
            );
            Problem::at("sampler", message).help(format!("write `classes = {found}`, or fewer"))
        })
    }

    /// Why a model of the classes `known`, which learns from those of `train`, has none for images of no
    /// class of the source, where the method wants one.
    fn without_unknown(&self, known: &[String], train: &[String]) -> Option<Problem> {
        let unknown = self.method.needs().unknown_class?;
        let has_it = |classes: &[String]| classes.last().is_some_and(|last| last == unknown);
        if has_it(known) {
            return None;
        }
        let message = format!(
            "this method wants `{unknown}` to be the last class of the model, for images of no other one"
        );
        let problem = Problem::at("method", message);
        Some(match has_it(train) {
            true => problem
                .help("`head = []` gives the model a new classifier with the classes of `train`"),
            false => problem.help(format!(
                "a `split` stage in front of `train` and `method.target` adds that class: `others = {}`",
                written(unknown)
            )),
        })
    }

    /// The network that comes out, or everything that does not fit.
    fn describe(&self, inputs: &Described) -> Result<ModelShape, Vec<Problem>> {
        let method = &*self.method;
        let train = inputs.dataset("train");
        let shape = self.source.describe(inputs, &self.cropped(train.clone()), method);
        let mut shape = shape.map_err(|problem| vec![problem])?;
        let learned = inputs.dataset(self.learns_from());
        if self.crop(&learned).is_some() && learned.size.is_none() {
            // Then it is not known what larger images the network takes.
            shape.spec = None;
        }
        if let Some(spec) = &mut shape.spec {
            spec.middle_of = self.middle_of(spec, &learned);
        }
        self.source.add_heads(&mut shape, method).map_err(|problem| vec![problem])?;
        let ModelShape { spec, mut classes, heads, frozen } = shape;
        let mut problems = Vec::new();
        for (key, uses) in self.sets() {
            let set = inputs.dataset(key);
            problems.extend(self.without_pixels(&set, key));
            let miscropped = self.miscropped(spec.as_ref(), &set, key);
            // A crop of another size says it all.
            if let Some(spec) = spec.as_ref().filter(|_| miscropped.is_empty()) {
                problems.extend(misfits(spec, &set, key));
            }
            problems.extend(miscropped);
            let of_model = (spec.as_ref(), classes.as_deref());
            problems.extend(unlike_classes(of_model, &set, key, uses));
            if let (Some(known), Some(found), true) = (&mut classes, &set.names, key == "train")
                && let Ok(matched) = match_classes(known, found, &set.empty)
            {
                *known = names_of_both(&matched, std::mem::take(known), found);
            }
        }
        if let Some(spec) = &spec {
            let names = freeze::names(spec, &heads);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let of_groups = self.settings.groups.problems(&names).into_iter();
            problems.extend(of_groups.map(|(key, error)| Problem::at(key, error.to_string())));
            problems.extend(unknown_part(&self.settings.groups, &heads));
            problems.extend(misfit(&*self.method, spec));
            problems.extend(without_batch_norm(&self.settings, &spec.only(&heads)));
        }
        problems.extend(self.too_few_classes(&train));
        let found = train.names.unwrap_or_default();
        problems.extend(classes.as_ref().and_then(|known| self.without_unknown(known, &found)));
        if problems.is_empty() {
            Ok(ModelShape { spec, classes, heads, frozen })
        } else {
            Err(problems)
        }
    }
}

impl Training {
    /// Settings that are of pixels, where the data set at `key` is known to hold features.
    fn without_pixels(&self, set: &DatasetShape, key: &str) -> Vec<Problem> {
        // Validation images are neither changed nor looked at by the method.
        if !set.features || !["train", "method.target"].contains(&key) {
            return Vec::new();
        }
        let mut problems = Vec::new();
        if self.settings.augment.as_ref().is_some_and(Augment::changes_pixels) {
            let message = format!("`augment` changes pixels, and `{key}` holds features");
            let advice = "leave `augment` out; `mixup` alone mixes features as well";
            problems.push(Problem::at(AUGMENT, message).help(advice));
        }
        if self.method.needs().views.iter().any(ViewRequest::needs_pixels) {
            let message =
                format!("this method changes pixels of its own, and `{key}` holds features");
            let advice = "choose a method that needs no pixels, such as `dann` or `coral`";
            problems.push(Problem::at("method", message).help(advice));
        }
        problems
    }
}

/// Why a method cannot go on from a network.
fn misfit(method: &dyn Method, spec: &Spec) -> Option<Problem> {
    let Misfit { message, help } = method.misfit(spec)?;
    Some(Problem::at("method", message).help(help))
}

/// Why a network has no use for a setting of batch norm.
fn without_batch_norm(settings: &TrainingSettings, spec: &Spec) -> Option<Problem> {
    settings.stochastic_norm?;
    let layers = spec.place().ok()?.layers;
    let has_norm = layers.iter().any(|it| matches!(it.layer, Layer::BatchNorm { .. }));
    let message = "the network has no batch norm layers";
    (!has_norm)
        .then(|| Problem::at("stochastic_norm", message).help(without_key("stochastic_norm")))
}

/// Why there is no part of a network with these heads that `optimizers` has one for.
fn unknown_part(groups: &Groups, heads: &[Part]) -> Option<Problem> {
    let features = Part::FEATURES;
    let parts: Vec<&str> = std::iter::once(&features).chain(heads).map(Part::name).collect();
    let unknown = groups.unknown_part(&parts)?;
    let message = format!("the network has no part `{unknown}`");
    let mut problem = Problem::at(format!("optimizers.{unknown}"), message);
    problem.help.extend(suggest(unknown, parts.iter().copied()));
    let known: Vec<String> = parts.iter().map(|it| format!("`{it}`")).collect();
    Some(problem.help(format!("its parts are {}", known.join(", "))))
}

/// The images of a step, of which a sampler may leave no choice.
fn read_batch_size(keys: &mut Keys, sampler: Option<&dyn ImageSampler>) -> Result<usize, Noted> {
    // What stands in for a sampler's settings when there is no file says nothing of the usual size.
    let fixed = sampler.and_then(ImageSampler::batch_size).filter(|_| !keys.is_describing());
    let written = keys.peek("batch_size").map(|node| node.span);
    let size = keys.count("batch_size", 2..=1_000_000).or(fixed.unwrap_or(64))?;
    if let (Some(fixed), Some(span)) = (fixed.filter(|fixed| *fixed != size), written) {
        let message = format!("the sampler takes {fixed} images per step, not {size}");
        return Err(keys.problem(
            Diagnostic::at(span, message, "another number than `classes` times `images`")
                .help(format!("leave it out, or write `batch_size = {fixed}`")),
        ));
    }
    Ok(size)
}

/// `drop_last`, which is not recorded where nothing is dropped: a training is the same whether or not somebody says so.
fn read_drop_last(keys: &mut Keys, sampler: Option<&dyn ImageSampler>) -> Result<bool, Noted> {
    let is_full = sampler.is_some_and(|it| it.batch_size().is_some()) && !keys.is_describing();
    let written = keys.peek("drop_last").map(|node| node.span);
    let drops = keys.boolean("drop_last").or(false)?;
    if let (true, Some(span)) = (is_full, written) {
        let message = "`drop_last` decides nothing: every batch of this sampler is full";
        return Err(keys.problem(Diagnostic::at(span, message, "of no use").help("leave it out")));
    }
    if !drops {
        keys.take("drop_last");
    }
    Ok(drops)
}

/// `pretrain` and `finetune` differ in what may be written in the file, not in what they do.
#[derive(Debug)]
pub(super) struct TrainingStage {
    /// The word after `kind =`.
    pub kind: &'static str,
    /// What was read.
    pub training: Training,
}

impl Stage for TrainingStage {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn revision(&self) -> u32 {
        5
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        self.training.describe(inputs).map(Product::Model)
    }

    fn keeps_checkpoints(&self) -> bool {
        true
    }

    fn paused(&self, scratch: &Path, budget: Budget) -> Option<Vec<TrainingRow>> {
        self.training.paused(scratch, budget)
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        self.training.run(context)
    }
}
