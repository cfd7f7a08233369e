//! What `pretrain` and `finetune` have in common: their settings, checks and the run itself.

use super::{Context, DatasetShape, Defaults, Described, Failure, ModelShape, Outcome, Problem};
use crate::adapt::Method;
use crate::config::{Keys, Wants};
use crate::data::{Dataset, Split};
use crate::nn::architecture::Architecture;
use crate::nn::dispatch::{Job, dispatch};
use crate::nn::ops::{Chw, Ops};
use crate::nn::{Model, Saved, Spec, freeze};
use crate::system;
use crate::train::activations::Caching;
use crate::train::schedule::Scheduled;
use crate::train::{Data, FitError, Optimizer, Settings, Watch, fit};

/// Settings of a training stage.
#[derive(Debug)]
pub(super) struct Training {
    validates: bool,
    settings: Settings,
    method: Method,
}

/// Where the network comes from.
#[derive(Debug)]
pub(super) enum Start {
    /// Fresh weights.
    Fresh(Architecture),
    /// The model of the stage that `model` names.
    Stage,
}

impl Training {
    pub(super) fn read(
        keys: &mut Keys,
        defaults: &Defaults,
        method: Option<Method>,
    ) -> Option<Self> {
        let train = keys.reference("train", Wants::Split("train"));
        let validate = keys.optional_reference("validate", Wants::Split("valid"));
        let method = match method {
            Some(method) => Some(method),
            None => Method::read(keys),
        };
        let epochs = keys.count("epochs", 1..=100_000).required();
        let batch_size = keys.count("batch_size", 2..=1_000_000).or(64_usize);
        let optimizer = Optimizer::read(keys);
        let schedule = Scheduled::read(keys);
        let log_every = keys.count("log_every", 1..=usize::MAX).optional();
        let seed = defaults.seed(keys);
        let settings = Settings {
            epochs: epochs?,
            batch_size: batch_size?,
            optimizer: optimizer?,
            schedule: schedule?,
            log_every: log_every?,
            seed: seed?,
        };
        train?;
        Some(Self { validates: validate.is_some(), settings, method: method? })
    }

    /// The network that comes out, or everything that does not fit.
    pub(super) fn describe(
        &self,
        inputs: &Described,
        start: &Start,
    ) -> Result<ModelShape, Vec<Problem>> {
        let data = inputs.dataset("train");
        let ModelShape { spec, adversarial, frozen } = match start {
            Start::Stage => inputs.model("model"),
            Start::Fresh(architecture) => {
                let spec = fresh(architecture, &data).map_err(|problem| vec![problem])?;
                ModelShape { spec, ..ModelShape::unknown() }
            }
        };
        let adversarial = adversarial || self.method.is_adversarial();
        let mut problems = Vec::new();
        if let Some(spec) = &spec {
            problems.extend(misfits(spec, &data, "train", true));
            if self.validates {
                problems.extend(misfits(spec, &inputs.dataset("validate"), "validate", true));
            }
            if self.method.target().is_some() {
                let target = inputs.dataset("method.target");
                problems.extend(misfits(spec, &target, "method.target", false));
            }
        }
        if problems.is_empty() {
            Ok(ModelShape { spec, adversarial, frozen })
        } else {
            Err(problems)
        }
    }

    pub(super) fn run(&self, context: &Context, start: &Start) -> Result<Outcome, Failure> {
        let sets = Sets {
            train: open(context, "train")?,
            validate: self.validates.then(|| open(context, "validate")).transpose()?,
            target: self.method.target().map(|_| open(context, "method.target")).transpose()?,
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

/// Where a data set does not fit a network.
pub(super) fn misfits(spec: &Spec, data: &DatasetShape, key: &str, labels: bool) -> Vec<Problem> {
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
    if let Some(classes) = data.classes
        && labels
        && classes != spec.classes
    {
        problems.push(Problem::at(
            key,
            format!("the model has {} classes, this data set has {classes}", spec.classes),
        ));
    }
    problems
}

/// A split with the data set that it is from.
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
        }
    }

    /// Fails where the images do not fit the network: for what was not known before they were read.
    pub(super) fn check(&self, spec: &Spec, key: &str, labels: bool) -> Result<(), Failure> {
        let shape = self.shape();
        if shape.size.is_none() {
            return Err(Failure::new(format!("the images of `{key}` differ in size"))
                .help("a `normalize` stage with `resize = [height, width]` makes them alike"));
        }
        match misfits(spec, &shape, key, labels).into_iter().next() {
            None => Ok(()),
            Some(mut problem) => {
                problem.message = format!("`{key}`: {}", problem.message);
                Err(problem.into())
            }
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
}

struct Run<'a> {
    training: &'a Training,
    context: &'a Context<'a>,
    start: &'a Start,
    sets: Sets,
}

impl Job for Run<'_> {
    type Output = Result<Outcome, Failure>;

    fn run<D: Ops>(self, device: &D) -> Self::Output {
        let mut model = self.model(device)?;
        let Self { training, context, sets, .. } = self;
        sets.train.check(model.spec(), "train", true)?;
        if let Some(validate) = &sets.validate {
            validate.check(model.spec(), "validate", true)?;
        }
        if let Some(target) = &sets.target {
            target.check(model.spec(), "method.target", false)?;
        }
        if training.method.is_adversarial() {
            model.attach_domain_classifier(training.settings.seed);
        }
        let (learning, all) = freeze::counts(&model);
        if learning == 0 {
            return Err(Failure::new("every parameter of the model is frozen")
                .help("thaw some of it with a `freeze` stage: `thaw = [\"classifier.*\"]`"));
        }
        let data = Data {
            source: (&sets.train.dataset, sets.train.split()),
            target: sets.target.as_ref().map(|set| set.split().unlabelled(&set.dataset)),
            validate: sets.validate.as_ref().map(|set| (&set.dataset, set.split())),
        };
        let watch = Watch { progress: context.progress, cancel: context.cancel };
        let (settings, backend) = (&training.settings, context.device.backend());
        let uses = settings.epochs;
        let caching = context.activations.map(|cache| Caching { cache, backend: &backend, uses });
        let (metrics, times) = fit(
            &mut model,
            &training.method,
            &data,
            settings,
            caching,
            context.checkpoints,
            &watch,
        )
        .map_err(|error| failure(&error))?;
        let classes = sets.train.dataset.classes.clone();
        Saved { model, classes }.save(context.out)?;
        let last = |split: &str, metric: &str| {
            let row = metrics.rows.iter().rev().find(|row| row[2] == split && row[3] == metric)?;
            row[4].parse::<f64>().ok()
        };
        let mut summary =
            format!("{} epochs, {learning} of {all} parameters trained", training.settings.epochs);
        if let Some(loss) = last("train", "class_loss") {
            summary.push_str(&format!(", class loss {loss:.4}"));
        }
        if let Some(accuracy) = last("validate", "accuracy") {
            summary.push_str(&format!(", validation accuracy {:.1} %", 100.0 * accuracy));
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
    fn model<D: Ops>(&self, device: &D) -> Result<Model<D>, Failure> {
        let architecture = match self.start {
            Start::Stage => {
                return Ok(Saved::open(&self.context.input("model").path, device)?.model);
            }
            Start::Fresh(architecture) => architecture,
        };
        let spec = fresh(architecture, &self.sets.train.shape())
            .map_err(Failure::from)?
            .ok_or_else(|| {
                Failure::new("the images of `train` differ in size")
                    .help("a `normalize` stage with `resize = [height, width]` makes them alike")
            })?;
        Model::new(spec, device, self.training.settings.seed)
            .map_err(|error| Failure::new(error.to_string()))
    }
}

pub(super) fn failure(error: &FitError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        FitError::Interrupted => Failure::interrupted(),
        FitError::Diverged { .. } => failure.help("try a smaller `optimizer.lr`"),
        FitError::TooFew { .. } | FitError::Device(_) => failure,
    }
}

impl From<crate::nn::WeightsError> for Failure {
    fn from(error: crate::nn::WeightsError) -> Self {
        let mut failure = Self::new(error.to_string());
        if let crate::nn::WeightsError::Io { source, .. } = &error {
            failure.help.extend(system::shortage(source));
        }
        failure
    }
}
