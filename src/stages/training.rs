//! What `pretrain` and `finetune` have in common: their settings, checks and the run itself.

use super::classes::{Uses, clash, named, names_of_both, note, renumber};
use super::{Context, DatasetShape, Defaults, Described, Failure, ModelShape, Outcome, Problem};
use crate::adapt::Method;
use crate::config::source::Span;
use crate::config::{Diagnostic, Keys, Reference, Wants};
use crate::data::augment::Augment;
use crate::data::classes::{Matched, match_classes};
use crate::data::{Dataset, Split};
use crate::metrics::Metrics;
use crate::nn::architecture::Architecture;
use crate::nn::dispatch::{DeviceWork, backend, dispatch};
use crate::nn::geometry::Chw;
use crate::nn::ops::Ops;
use crate::nn::placement::SpecError;
use crate::nn::spec::Layer;
use crate::nn::{Model, Saved, Spec, freeze, head};
use crate::train::activations::Caching;
use crate::train::groups::{self, Groups};
use crate::train::monitor::{EarlyStopping, Metric};
use crate::train::schedule::Scheduled;
use crate::train::{
    Data, EpochLength, FitError, Optimizer, Reuse, Settings, TargetScores, Watch, coverage, fit,
};

/// The key of the images that are scored without labels.
const SCORED: &str = "target_scores.on";

/// What to do where the data set comes without the split `valid`.
const HOLDS_OUT: &str = "where there is no such split, a `split` stage makes it: `holdout = 0.1`";

/// Settings of a training stage.
#[derive(Debug)]
pub(super) struct Training {
    settings: Settings,
    method: Method,
    train: Reference,
    validate: Option<Reference>,
}

/// Where the network comes from.
#[derive(Debug)]
pub(super) enum Start {
    /// Fresh weights.
    Fresh(Architecture),
    /// The model of the stage that `model` names, with a new classifier where `head` says so.
    Stage {
        /// Layers before the last one.
        head: Option<Vec<Layer>>,
    },
}

impl Training {
    pub(super) fn read(
        keys: &mut Keys,
        defaults: &Defaults,
        method: Option<Method>,
        comes_in: bool,
    ) -> Option<Self> {
        let span = keys.span();
        let train = keys.reference("train", Wants::Split("train"));
        let validate = keys.optional_reference("validate", Wants::Split("valid"));
        let method = match method {
            Some(method) => Some(method),
            None => Method::read(keys),
        };
        let epochs = keys.count("epochs", 1..=100_000).required();
        let epoch = EpochLength::read(keys);
        let epoch_span = keys.peek("epoch").map_or(span, |node| node.span);
        let batch_size = keys.count("batch_size", 2..=1_000_000).or(64_usize);
        let optimizer = Optimizer::read(keys);
        let schedule = Scheduled::read(keys);
        let augment = Augment::read(keys);
        let label_smoothing = keys.float("label_smoothing").below_one().or(0.0);
        let early_stopping = EarlyStopping::read(keys);
        let keep_best = Metric::read_optional(keys, "keep_best");
        let target_scores = TargetScores::read(keys);
        let (optimizer, groups) = optimizer.unzip();
        let groups = Groups::read(keys, groups.unwrap_or_default(), comes_in);
        let log_every = keys.count("log_every", 1..=usize::MAX).optional();
        let seed = defaults.seed(keys);
        #[expect(clippy::cast_possible_truncation, reason = "a share of targets in f32")]
        let settings = Settings {
            epochs: epochs?,
            epoch: epoch?,
            batch_size: batch_size?,
            optimizer: optimizer?,
            groups: groups?,
            schedule: schedule?,
            augment: augment?,
            label_smoothing: label_smoothing? as f32,
            early_stopping: early_stopping?,
            keep_best: keep_best?,
            target_scores: target_scores?,
            log_every: log_every?,
            seed: seed?,
        };
        let training = Self { settings, method: method?, train: train?, validate };
        let mut problems = training.contradictions(span);
        problems.extend(training.one_domain(epoch_span));
        let sound = problems.is_empty();
        problems.into_iter().for_each(|problem| keys.problem(problem));
        sound.then_some(training)
    }

    /// Why a length of epochs that compares two domains cannot be had with one.
    fn one_domain(&self, span: Span) -> Option<Diagnostic> {
        let compares = self.settings.epoch.is_some_and(EpochLength::compares_domains);
        (compares && self.method.target().is_none()).then(|| {
            let message = "`epoch` compares two domains, but there is no target domain";
            Diagnostic::at(span, message, "only `train`")
                .help("leave `epoch` out: an epoch is then a pass over `train`")
        })
    }

    /// Settings that ask for something that others do not give.
    fn contradictions(&self, span: Span) -> Vec<Diagnostic> {
        let settings = &self.settings;
        let watching = [
            ("schedule", settings.schedule.watches()),
            ("early_stopping", settings.early_stopping.is_some()),
            ("keep_best", settings.keep_best.is_some()),
        ];
        let mut problems = Vec::new();
        for (key, _) in watching.iter().filter(|(_, watches)| *watches) {
            let Some(validate) = &self.validate else {
                problems.push(
                    Diagnostic::at(
                        span,
                        format!("`{key}` goes by validation, but there is no `validate`"),
                        "in this table",
                    )
                    .help(self.on_the_source("add"))
                    .help(HOLDS_OUT),
                );
                continue;
            };
            if let Some(target) = self.method.target()
                && self.shares_domain(validate, target)
            {
                problems.push(
                    Diagnostic::at(
                        validate.span,
                        format!("`{key}` would go by labels of the target domain"),
                        "the images that the method adapts to without labels",
                    )
                    .help(self.on_the_source("validate on the source:"))
                    .help(HOLDS_OUT),
                );
            }
        }
        if let Some(scores) = &settings.target_scores
            && let Some(score) = scores.wants_source()
        {
            problems.extend(self.without_source_labels(score.word(), &scores.on));
        }
        if let Some(epoch) =
            settings.groups.thaw_at.iter().map(|it| it.0).find(|it| *it > settings.epochs)
        {
            problems.push(Diagnostic::at(
                span,
                format!("`thaw_at` names epoch {epoch}, but there are only {}", settings.epochs),
                "in this table",
            ));
        }
        if settings.schedule.moves_momentum() && !settings.optimizer.has_momentum() {
            problems.push(
                Diagnostic::at(
                    span,
                    "`schedule` moves the momentum, but the optimizer has none",
                    "in this table",
                )
                .help("add `momentum = 0.9` to `optimizer`")
                .help("or `cycle_momentum = false` to `schedule`"),
            );
        }
        let decays = settings.optimizer.weight_decay() > 0.0;
        if settings.groups.l2_sp.is_some() && decays {
            problems.push(
                Diagnostic::at(
                    span,
                    "`l2_sp` and `optimizer.weight_decay` exclude each other",
                    "decay leads to where training began, or to zero",
                )
                .help("leave `weight_decay` out, or set it to 0"),
            );
        }
        problems
    }

    /// Whether `validate` is of the domain of `target`: its data set, or its split where both domains are
    /// of the data set that is trained on.
    fn shares_domain(&self, validate: &Reference, target: &Reference) -> bool {
        let apart = target.stage == self.train.stage && validate.split != target.split;
        validate.stage == target.stage && !apart
    }

    /// How to validate on images like those of `train`.
    fn on_the_source(&self, words: &str) -> String {
        format!("{words} `validate = \"{}.valid\"`", self.train.stage)
    }

    /// Why a score that weighs losses of the source's validation images cannot be had.
    fn without_source_labels(&self, score: &str, on: &Reference) -> Option<Diagnostic> {
        let (span, message, label) = match &self.validate {
            None => {
                let message =
                    format!("`{score}` weighs losses of validation, but there is no `validate`");
                (on.span, message, "the images that are scored")
            }
            Some(validate) if self.shares_domain(validate, on) => {
                let message = format!("`{score}` would go by labels of the target domain");
                (validate.span, message, "the images that `target_scores` are of")
            }
            Some(_) => return None,
        };
        let help = self.on_the_source("validate on the source:");
        Some(Diagnostic::at(span, message, label).help(help).help(HOLDS_OUT))
    }

    /// The keys of the data sets, `train` first, and what of each is used.
    fn sets(&self) -> Vec<(&'static str, Uses)> {
        let mut sets = vec![("train", Uses::Labels)];
        sets.extend(self.validate.iter().map(|_| ("validate", Uses::Labels)));
        sets.extend(self.method.target().map(|_| ("method.target", Uses::Images)));
        sets.extend(self.settings.target_scores.iter().map(|_| (SCORED, Uses::Images)));
        sets
    }

    /// The network that comes out, or everything that does not fit.
    pub(super) fn describe(
        &self,
        inputs: &Described,
        start: &Start,
    ) -> Result<ModelShape, Vec<Problem>> {
        let data = inputs.dataset("train");
        let ModelShape { spec, mut classes, adversarial, frozen } = match start {
            Start::Stage { head: None } => inputs.model("model"),
            Start::Stage { head: Some(head) } => {
                with_head(inputs.model("model"), head, &data).map_err(|problem| vec![problem])?
            }
            Start::Fresh(architecture) => {
                let spec = fresh(architecture, &data).map_err(|problem| vec![problem])?;
                ModelShape { spec, classes: data.names, ..ModelShape::unknown() }
            }
        };
        let adversarial = adversarial || self.method.is_adversarial();
        let mut problems = Vec::new();
        for (key, uses) in self.sets() {
            let set = inputs.dataset(key);
            if let Some(spec) = &spec {
                problems.extend(misfits(spec, &set, key));
            }
            let of_model = (spec.as_ref(), classes.as_deref());
            problems.extend(unlike_classes(of_model, &set, key, uses));
            if let (Some(known), Some(found), true) = (&mut classes, &set.names, key == "train")
                && let Ok(matched) = match_classes(known, found, &set.empty)
            {
                *known = names_of_both(&matched, std::mem::take(known), found);
            }
        }
        if let Some(spec) = &spec {
            let names = freeze::names(spec, adversarial);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let of_groups = self.settings.groups.problems(&names).into_iter();
            problems.extend(of_groups.map(|(key, error)| Problem::at(key, error.to_string())));
        }
        if problems.is_empty() {
            Ok(ModelShape { spec, classes, adversarial, frozen })
        } else {
            Err(problems)
        }
    }

    pub(super) fn run(&self, context: &Context, start: &Start) -> Result<Outcome, Failure> {
        let settings = &self.settings;
        let sets = Sets {
            train: open(context, "train")?,
            validate: self.validate.as_ref().map(|_| open(context, "validate")).transpose()?,
            target: self.method.target().map(|_| open(context, "method.target")).transpose()?,
            scored: settings.target_scores.as_ref().map(|_| open(context, SCORED)).transpose()?,
        };
        dispatch(context.device, Run { training: self, context, start, sets })?
    }
}

/// The network of an architecture for a data set, as far as the data set is known.
fn fresh(architecture: &Architecture, data: &DatasetShape) -> Result<Option<Spec>, Problem> {
    if let (Some(wanted), Some(found)) = (architecture.classes, data.classes)
        && wanted != found
    {
        return Err(Problem::at(
            "model.classes",
            format!("the model has {wanted} classes, the data set of `train` has {found}"),
        )
        .help(format!(
            "write `classes = {found}`, or leave it out to take the data set's number"
        )));
    }
    let (Some(channels), Some((height, width)), Some(classes)) =
        (data.channels, data.size, data.classes)
    else {
        return Ok(None);
    };
    let input = Chw { channels, height, width };
    architecture.build(input, classes).map(Some).map_err(|reason| {
        let problem = Problem::at("model", reason);
        if channels == 1 {
            problem.help("a `normalize` stage with `channels = 3` repeats gray images to RGB")
        } else {
            problem.help("a `normalize` stage with `resize = [height, width]` changes the size")
        }
    })
}

/// A network with a new classifier for a data set, as far as both are known.
fn with_head(
    model: ModelShape,
    head: &[Layer],
    data: &DatasetShape,
) -> Result<ModelShape, Problem> {
    let ModelShape { spec, adversarial, frozen, .. } = model;
    let names = data.names.clone();
    let (Some(spec), Some((height, width)), Some(classes)) = (spec, data.size, data.classes) else {
        return Ok(ModelShape { spec: None, classes: names, adversarial, frozen });
    };
    // Other channels are said to be wrong where images and network are compared.
    let input = Chw { channels: spec.input.channels, height, width };
    let (spec, fresh) = spec.with_head(head, input, classes);
    let wrong = |reason: String| Problem::at("head", reason);
    spec.place()
        .map_err(|error| wrong(format!("{input} images do not fit the network: {error}")))?;
    let frozen = frozen.into_iter().filter(|name| !name.starts_with(&fresh)).collect();
    Ok(ModelShape { spec: Some(spec), classes: names, adversarial, frozen })
}

/// Why the classes of a data set are not among those of a model, as far as both are known.
pub(super) fn unlike_classes(
    (spec, known): (Option<&Spec>, Option<&[String]>),
    data: &DatasetShape,
    key: &str,
    uses: Uses,
) -> Option<Problem> {
    if let (Some(known), Some(found)) = (known, &data.names) {
        return clash(key, known, (found, &data.empty), uses);
    }
    let (spec, found) = (spec?, data.classes?);
    (uses == Uses::Labels && found > spec.classes).then(|| {
        let message = format!("the model has {} classes, this data set has {found}", spec.classes);
        Problem::at(key, message)
    })
}

/// Where images do not fit a network.
pub(super) fn misfits(spec: &Spec, data: &DatasetShape, key: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let input = spec.input;
    if let Some(channels) = data.channels
        && channels != input.channels
    {
        problems.push(
            Problem::at(
                key,
                format!(
                    "the model takes {} channels, these images have {channels}",
                    input.channels
                ),
            )
            .help(format!(
                "a `normalize` stage with `channels = {}` converts them",
                input.channels
            )),
        );
    }
    if let Some((height, width)) = data.size
        && (height, width) != (input.height, input.width)
    {
        let (h, w) = (input.height, input.width);
        problems.push(
            Problem::at(key, format!("the model takes {h}x{w} images, these are {height}x{width}"))
                .help(format!("a `normalize` stage with `resize = [{h}, {w}]` changes the size")),
        );
    }
    problems
}

/// A split with the data set that it is from.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) dataset: Dataset,
    split: String,
}

impl Opened {
    pub(super) fn split(&self) -> &Split {
        &self.dataset.splits[&self.split]
    }

    /// What is known now that it was read.
    fn shape(&self) -> DatasetShape {
        DatasetShape {
            splits: None,
            channels: Some(self.split().images.channels),
            size: self.split().images.size(),
            classes: Some(self.dataset.classes.len()),
            names: Some(self.dataset.classes.clone()),
            empty: self.dataset.empty_classes(),
        }
    }

    /// Gives the labels the numbers that a model with the classes `known` has for them.
    pub(super) fn renumber(&mut self, key: &str, known: &[String]) -> Result<Matched, Failure> {
        renumber(&mut self.dataset, &self.split, key, known)
    }

    /// Fails where the images do not fit the network: for what was not known before they were read.
    pub(super) fn check(&self, spec: &Spec, key: &str) -> Result<(), Failure> {
        let shape = self.shape();
        if shape.size.is_none() {
            return Err(unlike(key));
        }
        match misfits(spec, &shape, key).into_iter().next() {
            None => Ok(()),
            Some(problem) => Err(named(problem, key)),
        }
    }
}

/// Reads the data set at `key` and finds the split that the reference named.
pub(super) fn open(context: &Context, key: &str) -> Result<Opened, Failure> {
    let dataset = context.dataset(key)?;
    let split = context.input(key).split.clone().unwrap_or_default();
    if !dataset.splits.contains_key(&split) {
        let known: Vec<String> = dataset.splits.keys().map(|name| format!("`{name}`")).collect();
        return Err(Failure::new(format!("`{key}` names the split `{split}`, which is not there"))
            .help(format!("the data set has {}", known.join(", "))));
    }
    Ok(Opened { dataset, split })
}

struct Sets {
    train: Opened,
    validate: Option<Opened>,
    target: Option<Opened>,
    scored: Option<Opened>,
}

impl Sets {
    /// Fails where images do not fit the network or classes are not among those of the model, `known`;
    /// gives labels the model's numbers, and the model the names of its classes. `say` hears what
    /// people should know of how classes were matched.
    fn fit(
        &mut self,
        spec: &Spec,
        known: Vec<String>,
        mut say: impl FnMut(&Matched, &str),
    ) -> Result<Vec<String>, Failure> {
        self.train.check(spec, "train")?;
        let matched = self.train.renumber("train", &known)?;
        let found = &self.train.dataset.classes;
        if let Some(note) = note(&matched, "train", &known, found) {
            say(&matched, &note);
        }
        let known = names_of_both(&matched, known, found);
        if let Some(validate) = &mut self.validate {
            validate.check(spec, "validate")?;
            let matched = validate.renumber("validate", &known)?;
            if let Some(note) = note(&matched, "validate", &known, &validate.dataset.classes) {
                say(&matched, &note);
            }
        }
        for (set, key) in [(&self.target, "method.target"), (&self.scored, SCORED)] {
            let Some(set) = set else { continue };
            set.check(spec, key)?;
            let found = (&*set.dataset.classes, &*set.dataset.empty_classes());
            if let Some(problem) = clash(key, &known, found, Uses::Images) {
                return Err(named(problem, key));
            }
        }
        Ok(known)
    }
}

struct Run<'a> {
    training: &'a Training,
    context: &'a Context<'a>,
    start: &'a Start,
    sets: Sets,
}

impl DeviceWork for Run<'_> {
    type Output = Result<Outcome, Failure>;

    fn run<D: Ops>(self, device: &D) -> Self::Output {
        let (Saved { mut model, classes }, mut new) = self.model(device)?;
        let Self { training, context, mut sets, .. } = self;
        let mut by_number = false;
        let classes = sets.fit(model.spec(), classes, |matched, note| {
            by_number |= matches!(matched, Matched::ByNumber(_));
            context.progress.note(note);
        })?;
        if training.method.is_adversarial() && !model.has_domain_classifier() {
            let before = model.parameters().len();
            model.attach_domain_classifier(training.settings.seed);
            new.extend(model.parameters()[before..].iter().map(|it| it.name.clone()));
        }
        let (learning, all) = groups::counts(&model, &training.settings.groups);
        if learning == 0 {
            return Err(Failure::new("every parameter of the model is frozen")
                .help("thaw some of it with a `freeze` stage: `thaw = [\"classifier.*\"]`"));
        }
        let data = Data {
            source: (&sets.train.dataset, sets.train.split()),
            target: sets.target.as_ref().map(|set| set.split().unlabelled(&set.dataset)),
            validate: sets.validate.as_ref().map(|set| (&set.dataset, set.split())),
            scored: sets.scored.as_ref().map(|set| set.split().unlabelled(&set.dataset)),
        };
        let watch = Watch { progress: context.progress, cancel: context.cancel };
        let (settings, backend) = (&training.settings, backend(context.device));
        let uses = settings.epochs;
        let caching = context.activations.map(|cache| Caching { cache, backend: &backend, uses });
        let reuse =
            Reuse { caching, checkpoints: context.checkpoints, pause_after: context.pause_after };
        let (metrics, times) =
            fit(&mut model, &new, &training.method, &data, settings, reuse, &watch)
                .map_err(failure)?;
        Saved { model, classes }.save(context.out)?;
        let last = |split: &str, metric: &str| {
            let row = metrics.rows.iter().rev().find(|row| row[2] == split && row[3] == metric)?;
            row[4].parse::<f64>().ok()
        };
        let mut summary =
            format!("{} epochs, {learning} of {all} parameters trained", epochs_of(&metrics));
        if let Some((_, words)) = coverage(&data, settings.batch_size, settings.epoch) {
            summary.push_str(&format!(", {words}"));
        }
        if let Some(loss) = last("train", "class_loss") {
            summary.push_str(&format!(", class loss {loss:.4}"));
        }
        if let Some(accuracy) = last("validate", "accuracy") {
            summary.push_str(&format!(", validation accuracy {:.1} %", 100.0 * accuracy));
        }
        if by_number {
            summary.push_str(", classes matched by number");
        }
        let timings = vec![
            ("frozen layers".into(), times.frozen),
            ("steps".into(), times.steps),
            ("waiting for data".into(), times.waiting),
            ("validate".into(), times.validate),
        ];
        Ok(Outcome { metrics, summary, timings })
    }
}

impl Run<'_> {
    /// The model that training begins with, and the names of parameters that did not come in.
    fn model<D: Ops>(&self, device: &D) -> Result<(Saved<D>, Vec<String>), Failure> {
        let of_train = self.sets.train.dataset.classes.clone();
        let seed = self.training.settings.seed;
        let failure = |error: SpecError| Failure::new(error.to_string());
        let architecture = match self.start {
            Start::Stage { head } => {
                let old = Saved::open(&self.context.input("model").path, device)?;
                let Some(head) = head else { return Ok((old, Vec::new())) };
                let old = old.model;
                let shape = self.sets.train.shape();
                let (Some((height, width)), Some(classes)) = (shape.size, shape.classes) else {
                    return Err(unlike("train"));
                };
                let input = Chw { channels: old.spec().input.channels, height, width };
                let (model, new) =
                    head::replace(&old, head, input, classes, seed).map_err(failure)?;
                return Ok((Saved { model, classes: of_train }, new));
            }
            Start::Fresh(architecture) => architecture,
        };
        let spec = fresh(architecture, &self.sets.train.shape())
            .map_err(Failure::from)?
            .ok_or_else(|| unlike("train"))?;
        let model = Model::new(spec, device, seed).map_err(failure)?;
        let new = model.parameters().iter().map(|it| it.name.clone()).collect();
        Ok((Saved { model, classes: of_train }, new))
    }
}

fn unlike(key: &str) -> Failure {
    Failure::new(format!("the images of `{key}` differ in size"))
        .help("a `normalize` stage with `resize = [height, width]` makes them alike")
}

/// Number of epochs that left rows.
fn epochs_of(metrics: &Metrics) -> usize {
    let epochs = metrics.rows.iter().filter_map(|row| row[0].parse().ok());
    epochs.max().unwrap_or_default()
}

pub(super) fn failure(error: FitError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        FitError::Paused(rows) => Failure { paused: Some(rows), ..failure },
        FitError::Interrupted => Failure::interrupted(),
        FitError::Diverged { .. } => failure.help("try a smaller `optimizer.lr`"),
        FitError::Groups(_) | FitError::TooFew { .. } | FitError::Device(_) => failure,
    }
}

impl From<crate::nn::WeightsError> for Failure {
    fn from(error: crate::nn::WeightsError) -> Self {
        let mut failure = Self::new(error.to_string());
        failure.help = error.help();
        failure
    }
}
