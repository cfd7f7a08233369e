//! What `pretrain` and `finetune` have in common: their settings, and how these are checked against each
//! other and against what comes in.

mod network;
mod run;
mod without_source;

pub(super) use self::network::ModelSource;
use super::classes::{Uses, names_of_both};
use super::inputs::{misfits, unlike_classes};
use super::{
    Context, DatasetShape, Defaults, Described, Halt, ModelShape, Outcome, Problem, Product, Stage,
};
use crate::adapt;
use crate::config::diagnostic::suggest;
use crate::config::source::Span;
use crate::config::{Diagnostic, Keys, Noted, Reference, Wants, Word};
use crate::data::augment::Augment;
use crate::data::classes::match_classes;
use crate::nn::{Part, freeze};
use crate::train::groups::Groups;
use crate::train::monitor::{EarlyStopping, Metric};
use crate::train::sampler::{self, ImageSampler};
use crate::train::schedule::Scheduled;
use crate::train::{
    BatchNormFamily, EpochLength, Method, Optimizer, TargetScores, TrainingSettings,
};

/// The key of the images that are scored without labels.
const SCORED: &str = "target_scores.on";

/// What to do where the data set comes without the split `valid`.
const HOLDS_OUT: &str = "where there is no such split, a `split` stage makes it: `holdout = 0.1`";

/// The settings of a stage that trains.
#[derive(Debug)]
pub(super) struct Training {
    settings: TrainingSettings,
    method: Box<dyn Method>,
    source: ModelSource,
    validate: Option<Reference>,
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
        keys.about(&[
            ("train", "labelled images to learn from"),
            ("validate", "images that are scored after every epoch"),
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
            ("optimizer", "how gradients change the parameters"),
            ("optimizers", "other optimizers for some parts of the network, by the part's name"),
            ("schedule", "how the learning rate changes over time"),
            ("augment", "random changes to training images, one after the other"),
            (
                "batch_norm",
                "which images batch norm takes together when there are two domains: one pass for each domain (`separate`), one for both (`joint`), averages of the target's alone (`target`), or parameters and averages for each (`domain`)",
            ),
            ("label_smoothing", "share of each label that is spread over all classes"),
            ("early_stopping", "when to stop because validation no longer improves"),
            (
                "keep_best",
                "which metric of `validate` decides whose epoch's weights are kept; the last epoch's when left out",
            ),
            ("target_scores", "scores of a target domain after every epoch that need no labels"),
            ("lr_scale", "factors for the learning rate, by patterns of parameter names"),
            ("l2_sp", "weight decay toward the weights that came in (Li et al. 2018)"),
            ("thaw_at", "patterns of parameters that start learning at an epoch, from 1"),
            ("log_every", "steps between rows of the training loss; an epoch when left out"),
        ]);
        let train = match method {
            Some(_) => keys.reference("train", Wants::Split("train")).map(Some),
            None => keys.optional_reference("train", Wants::Split("train")),
        };
        let validate = keys.optional_reference("validate", Wants::Split("valid"));
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
        let optimizer = Optimizer::read(keys);
        let schedule = Scheduled::read(keys);
        let augment = Augment::read(keys);
        let batch_norm = keys.choice("batch_norm").optional();
        let batch_norm_span = keys.peek("batch_norm").map_or(span, |node| node.span);
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
        #[expect(clippy::cast_possible_truncation, reason = "a share of targets in f32")]
        let settings = TrainingSettings {
            epochs: epochs?,
            epoch: epoch?,
            sampler: sampler?,
            batch_size: batch_size?,
            optimizer: optimizer?,
            groups: groups?,
            batch_norm: batch_norm?.unwrap_or(BatchNormFamily::Separate),
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
        let task = TrainingTask { settings, method: method?, train: train?, validate: validate? };
        let mut problems = task.contradictions(span);
        problems.extend(task.without_source(keys, source.as_ref().ok()));
        problems.extend(task.one_domain(epoch_span));
        problems.extend(task.other_batch_norm(batch_norm_span));
        problems.extend(task.untrained(method_span).filter(|_| !comes_in));
        problems.extend(task.never_trained(keys, source.as_ref().ok()));
        keys.no_problems(problems)?;
        let TrainingTask { settings, method, validate, .. } = task;
        Ok(Self { settings, method, source: source?, validate })
    }

    /// The keys of the data sets, `train` first where there is one, and what of each is used.
    fn sets(&self) -> Vec<(&'static str, Uses)> {
        let needs = self.method.needs();
        let mut sets: Vec<_> =
            needs.source.then_some(("train", Uses::Labels)).into_iter().collect();
        sets.extend(self.validate.iter().map(|_| ("validate", Uses::Labels)));
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

    /// The network that comes out, or everything that does not fit.
    fn describe(&self, inputs: &Described) -> Result<ModelShape, Vec<Problem>> {
        let mut shape = self.source.describe(inputs).map_err(|problem| vec![problem])?;
        self.source.add_heads(&mut shape, &*self.method).map_err(|problem| vec![problem])?;
        let ModelShape { spec, mut classes, heads, frozen } = shape;
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
            let names = freeze::names(spec, &heads);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let of_groups = self.settings.groups.problems(&names).into_iter();
            problems.extend(of_groups.map(|(key, error)| Problem::at(key, error.to_string())));
            let parts = [Part::FEATURES].into_iter().chain(heads.iter().cloned());
            let parts: Vec<String> = parts.map(|part| part.name().to_owned()).collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            if let Some(unknown) = self.settings.groups.unknown_part(&parts) {
                let message = format!("the network has no part `{unknown}`");
                let mut problem = Problem::at(format!("optimizers.{unknown}"), message);
                problem.help.extend(suggest(unknown, parts.iter().copied()));
                let known: Vec<String> = parts.iter().map(|it| format!("`{it}`")).collect();
                problems.push(problem.help(format!("its parts are {}", known.join(", "))));
            }
        }
        problems.extend(self.too_few_classes(&inputs.dataset("train")));
        if problems.is_empty() {
            Ok(ModelShape { spec, classes, heads, frozen })
        } else {
            Err(problems)
        }
    }
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

/// What is learned and how, wherever the network comes from.
struct TrainingTask {
    settings: TrainingSettings,
    method: Box<dyn Method>,
    train: Option<Reference>,
    validate: Option<Reference>,
}

impl TrainingTask {
    /// Why a length of epochs that goes by a domain cannot be had without it.
    fn one_domain(&self, span: Span) -> Option<Diagnostic> {
        let needs = self.method.needs();
        let (missing, left) = match (needs.source, needs.target) {
            (true, None) => ("target", "train"),
            (false, _) => ("source", "method.target"),
            (true, Some(_)) => return None,
        };
        let why = match self.settings.epoch? {
            EpochLength::Shorter | EpochLength::Longer => "compares two domains",
            EpochLength::Target if missing == "target" => "is a pass over the target",
            EpochLength::Source if missing == "source" => "is a pass over the source",
            EpochLength::Source | EpochLength::Target | EpochLength::Steps(_) => return None,
        };
        let message = format!("`epoch` {why}, but there is no {missing} domain");
        Some(
            Diagnostic::at(span, message, format!("only `{left}`"))
                .help(format!("leave `epoch` out: an epoch is then a pass over `{left}`")),
        )
    }

    /// Why a method that goes on from a trained network cannot begin with a new one.
    fn untrained(&self, span: Span) -> Option<Diagnostic> {
        self.method.needs().comes_in.then(|| {
            let message = "this method goes on from a trained network, but `model` is a new one";
            Diagnostic::at(span, message, "with fresh weights it learns nothing")
                .help("train the network in a stage of its own, and name that stage in `model`")
        })
    }

    /// Why the classifier cannot be made new where the method keeps it as it is.
    fn never_trained(&self, keys: &Keys, network: Option<&ModelSource>) -> Option<Diagnostic> {
        let needs = self.method.needs();
        let Some(ModelSource::Stage(new)) = network else { return None };
        // Without labelled images these keys are of no use either way, which is said already.
        if !(needs.source && needs.keeps.contains(&Part::CLASSIFIER)) {
            return None;
        }
        let key = match (&new.head, &new.bottleneck) {
            (Some(_), _) => "head",
            (None, Some(_)) => "bottleneck",
            (None, None) => return None,
        };
        let span = keys.peek(key).map_or(keys.span(), |node| node.span);
        let message = format!("`{key}` makes a new classifier, which this method would not train");
        let label = "the classifier stays as it comes in";
        Some(Diagnostic::at(span, message, label).help(without_key(key)))
    }

    /// Why the method cannot treat batch norm in the way that was asked for.
    fn other_batch_norm(&self, span: Span) -> Option<Diagnostic> {
        let (family, needs) = (self.settings.batch_norm, self.method.needs());
        if needs.batch_norm.contains(&family) {
            return None;
        }
        let known: Vec<String> =
            needs.batch_norm.iter().map(|it| format!("\"{}\"", it.word())).collect();
        let message = format!("this method does not go with `batch_norm = \"{}\"`", family.word());
        let label = match needs.target {
            None => "there is no second domain",
            Some(_) => "it makes its passes in another way",
        };
        Some(
            Diagnostic::at(span, message, label)
                .help(format!("leave `batch_norm` out, or choose one of {}", known.join(", "))),
        )
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
            if let Some(target) = self.method.needs().target
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
        let of_both = self.train.as_ref().is_some_and(|train| train.stage == target.stage);
        let apart = of_both && validate.split != target.split;
        validate.stage == target.stage && !apart
    }

    /// How to validate on images like those of `train`, or like those that `model` was trained on.
    fn on_the_source(&self, words: &str) -> String {
        match &self.train {
            Some(train) => format!("{words} `validate = \"{}.valid\"`", train.stage),
            None => "let `validate` name labelled images like those that `model` learned from"
                .to_owned(),
        }
    }

    /// Why a score that weighs losses of the source's validation images cannot be had.
    fn without_source_labels(&self, score: &str, on: &Reference) -> Option<Diagnostic> {
        if !self.method.needs().source {
            let message =
                format!("`{score}` weighs labelled images, but this method learns without any");
            let label = "the images that are scored";
            return Some(Diagnostic::at(on.span, message, label).help(without_key(score)));
        }
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
}

/// What to do about something that is of no use.
fn without_key(key: &str) -> String {
    format!("leave `{key}` out")
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

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        self.training.run(context)
    }
}
