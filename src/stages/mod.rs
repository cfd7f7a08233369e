//! Stage kinds: one file each, registered in [`KINDS`].
//!
//! A stage knows its settings, its inputs, a device, a progress handle, a folder to build its artifact in,
//! another to keep what it needs to resume, and a budget. It knows neither the graph nor the store's
//! layout, the terminal or other stages.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::source::Span;
use crate::config::{Diagnostic, Keys, Noted, Reference};
use crate::data::fetch::Fetcher;
use crate::data::outside::Known;
use crate::data::{Dataset, statistics};
use crate::device::Device;
use crate::metrics::{Metrics, TrainingRow};
use crate::progress::{Interrupted, Progress, Watch};

mod classes;
mod command;
mod download;
mod environment;
mod evaluate;
mod failures;
mod features;
mod finetune;
mod freeze;
mod inputs;
mod layers;
mod normalize;
mod pretrain;
mod pretrained;
mod product;
mod pseudo_label;
mod source;
mod split;
mod synthesize;
mod training;
mod visualize;

/// The example of docs/extending.md, compiled and tested here, where such a file would be.
#[cfg(test)]
#[path = "../../docs/extending/invert.rs"]
mod invert;

pub use command::PROGRAMS;
pub use environment::{Budget, Environment};
pub use product::{DatasetShape, ModelShape, PredictionsShape, Product};

/// A reader of a stage's settings.
pub type Parse = fn(&mut Keys, &Defaults) -> Result<Box<dyn Stage>, Noted>;

/// A kind of stage: how it is called and how its settings are read.
#[derive(Debug)]
pub struct Kind {
    /// The word after `kind =`.
    pub name: &'static str,
    /// One line for `runner init` and the docs.
    pub about: &'static str,
    /// What its metrics say.
    pub measures: Measures,
    /// Reads the settings.
    pub parse: Parse,
}

/// What the metrics of a kind of stage say of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measures {
    /// Nothing: they are facts about data or parameters.
    Nothing,
    /// How a training went, by split and epoch.
    Training,
    /// How good models are on data sets; these make the result table.
    Scores,
}

/// Every stage kind. A new one is a file in this folder and a line here.
pub const KINDS: &[Kind] = &[
    download::KIND,
    synthesize::KIND,
    split::KIND,
    normalize::KIND,
    pretrain::KIND,
    freeze::KIND,
    finetune::KIND,
    pseudo_label::KIND,
    features::KIND,
    evaluate::KIND,
    visualize::KIND,
    command::KIND,
];

/// Splits of a stage that have images of other splits of its input than the one of their name, each with these.
pub type Renamed = Vec<(String, Vec<String>)>;

/// Of a stage that hands the images of its `input` on, such splits; `None` for one that makes images of its own. `setting`
/// gives what is recorded of its settings.
pub fn handed_on(kind: &str, setting: impl Fn(&str) -> Option<Value>) -> Option<Renamed> {
    match kind {
        _ if kind == normalize::KIND.name || kind == features::KIND.name => Some(Renamed::new()),
        _ if kind == split::KIND.name => Some(split::handed_on(setting)),
        _ => None,
    }
}

/// What the `[pipeline]` table gives to every stage that does not say otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// `pipeline.seed`.
    pub seed: u64,
}

impl Defaults {
    /// The `seed` key of a stage that draws random numbers.
    pub fn seed(&self, keys: &mut Keys) -> Result<u64, Noted> {
        let default = i64::try_from(self.seed).unwrap_or(i64::MAX);
        keys.about(&[("seed", "seed of the stage's random numbers")]);
        keys.integer("seed").not_negative().or(default).map(i64::unsigned_abs)
    }

    /// The `seed` key of a stage that draws random numbers only `if` so; else the key is allowed, but
    /// the pipeline's seed does not enter.
    pub fn seed_if(&self, keys: &mut Keys, draws: bool) -> Result<u64, Noted> {
        if draws || keys.has("seed") {
            return self.seed(keys);
        }
        keys.node("seed");
        Ok(self.seed)
    }
}

/// A stage with its settings.
///
/// # Examples
///
/// ```
/// use runner::stages::{Context, Described, Halt, Outcome, Problem, Product, Stage};
///
/// /// Passes its data set on.
/// #[derive(Debug)]
/// struct Same;
///
/// impl Stage for Same {
///     fn kind(&self) -> &'static str {
///         "same"
///     }
///
///     fn revision(&self) -> u32 {
///         1
///     }
///
///     fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
///         Ok(Product::Dataset(inputs.dataset("input")))
///     }
///
///     fn run(&self, context: &Context) -> Result<Outcome, Halt> {
///         Outcome::of_dataset(&context.dataset("input")?, context)
///     }
/// }
///
/// assert!(matches!(Same.describe(&Described::default()), Ok(Product::Dataset(_))));
/// ```
pub trait Stage: Send + Sync + fmt::Debug {
    /// The word after `kind =`.
    fn kind(&self) -> &'static str;

    /// Part of the fingerprint: raised whenever the same settings and inputs give other bytes.
    fn revision(&self) -> u32;

    /// Whether bytes of the artifact may depend on the backend, which then is part of the fingerprint. A stage that only
    /// moves, selects, counts or rounds data says no, and its artifact serves every device and processor. A test
    /// of each such stage compares the bytes (`tests/cli/backends.rs`).
    fn computes(&self) -> bool {
        true
    }

    /// Digest of every file outside the store that the stage reads, part of the fingerprint: changed
    /// files are other inputs. `known` spares reading those that look as before; `home` is the folder of the
    /// pipeline file.
    ///
    /// # Errors
    /// When the files cannot be read.
    fn external(&self, _known: &Known, _home: &Path) -> Result<Option<String>, Halt> {
        Ok(None)
    }

    /// What the stage needs of this machine that is not there, such as a program, each with its place in the pipeline
    /// file. `home` is the folder of that file.
    fn absent(&self, _home: &Path) -> Vec<Diagnostic> {
        Vec::new()
    }

    /// As [`Stage::absent`], what only a run of the stage needs, and not one that finds its artifact in the store.
    fn absent_to_build(&self) -> Vec<Diagnostic> {
        Vec::new()
    }

    /// What a glance at the stage's files outside the store tells of its artifact where [`Stage::describe`] leaves it
    /// open, such as splits by the names of folders. Never reads an image or unpacks anything.
    ///
    /// # Errors
    /// Where the names alone say that [`Stage::run`] would fail.
    fn glance(&self) -> Result<Option<Product>, Diagnostic> {
        Ok(None)
    }

    /// Keys of the stage's table that cannot change what it builds, and are no part of the fingerprint.
    fn apart(&self) -> &'static [&'static str] {
        &[]
    }

    /// The inputs whose labels the stage gives to a program outside of `runner`.
    fn hands_labels_of(&self) -> Vec<&Reference> {
        Vec::new()
    }

    /// What the stage will make, or everything that does not fit, from what is known before
    /// anything ran. No I/O.
    ///
    /// # Errors
    /// Every way in which the inputs do not fit the settings.
    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>>;

    /// Whether a run of it that was interrupted resumes from what it left in its scratch folder.
    fn keeps_checkpoints(&self) -> bool {
        false
    }

    /// The rows of its metrics, if what an earlier run left in `scratch` ([`Context::scratch`]) says that it has spent
    /// `budget` and would pause at once. Writes nothing: another process may be at work there.
    fn paused(&self, _scratch: &Path, _budget: Budget) -> Option<Vec<TrainingRow>> {
        None
    }

    /// Makes the artifact in [`Context::out`].
    ///
    /// # Errors
    /// Whatever kept it from being built; what was written is thrown away.
    fn run(&self, context: &Context) -> Result<Outcome, Halt>;
}

/// A mismatch between a stage's settings and its inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the key it hangs on, below the stage's table: `model.classes`.
    pub key: String,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do, a line each.
    pub help: Vec<String>,
}

impl Problem {
    /// A problem at `key`.
    pub fn at(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), help: Vec::new() }
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// The same for people, at its place in the pipeline file; `label` is printed under the place.
    pub fn placed(self, place: Span, label: String) -> Diagnostic {
        let mut diagnostic = Diagnostic::at(place, self.message, label);
        diagnostic.help = self.help;
        diagnostic
    }
}

/// What is known of a stage's inputs before anything ran, by the key they were named at
/// (`input`, `models.0`, `method.target`).
#[derive(Debug, Clone, Default)]
pub struct Described {
    /// Product and the split that the reference named.
    pub inputs: BTreeMap<String, (Product, Option<String>)>,
}

impl Described {
    /// The product at `key`; `None` when the input itself has a problem.
    pub fn product(&self, key: &str) -> Option<&Product> {
        self.inputs.get(key).map(|(product, _)| product)
    }

    /// The data set at `key`; [`DatasetShape::unknown`] when the input itself has a problem.
    pub fn dataset(&self, key: &str) -> DatasetShape {
        match self.inputs.get(key) {
            Some((Product::Dataset(shape), _)) => shape.clone(),
            _ => DatasetShape::unknown(),
        }
    }

    /// The split that the reference at `key` named.
    pub fn split(&self, key: &str) -> Option<&str> {
        self.inputs.get(key).and_then(|(_, split)| split.as_deref())
    }

    /// The model at `key`; unknown when the input itself has a problem.
    pub fn model(&self, key: &str) -> ModelShape {
        match self.inputs.get(key) {
            Some((Product::Model(shape), _)) => shape.clone(),
            _ => ModelShape::unknown(),
        }
    }

    /// What answers for images at `key`: a model, or predictions, of which only the classes are known.
    pub fn classifier(&self, key: &str) -> ModelShape {
        match self.inputs.get(key) {
            Some((Product::Predictions(shape), _)) => {
                ModelShape { classes: shape.classes.clone(), ..ModelShape::unknown() }
            }
            _ => self.model(key),
        }
    }
}

/// A finished input.
#[derive(Debug, Clone)]
pub struct Input {
    /// The key it was named at.
    pub key: String,
    /// Folder of the artifact; read only.
    pub path: PathBuf,
    /// The split that the reference named.
    pub split: Option<String>,
}

/// Everything a running stage may touch.
pub struct Context<'a> {
    /// The inputs, in the order of the references.
    pub inputs: &'a [Input],
    /// A private empty folder; what is in it at the end is the artifact.
    pub out: &'a Path,
    /// What [`Stage::external`] gave when the run was planned.
    pub external: Option<&'a str>,
    /// What all stages of the run share.
    pub environment: &'a Environment,
    /// A folder, made by the stage when it needs one, for what it resumes from. It stays between runs
    /// until the artifact is published, so a stage that was killed finds what it left.
    pub scratch: &'a Path,
    /// How far it goes before it pauses; `None` to go on to its end.
    pub budget: Option<Budget>,
    /// Where tensors live.
    pub device: Device,
    /// Where to say how far it got.
    pub progress: &'a dyn Progress,
    /// Set when the user asked to stop.
    pub cancel: &'a AtomicBool,
}

impl Context<'_> {
    /// The input at `key`.
    ///
    /// # Panics
    /// When the stage did not name that input in its settings.
    pub fn input(&self, key: &str) -> &Input {
        self.find(key)
            .unwrap_or_else(|| panic!("stage asked for input `{key}`, which it did not name"))
    }

    /// The input at `key`, if its settings named one.
    pub fn find(&self, key: &str) -> Option<&Input> {
        self.inputs.iter().find(|input| input.key == key)
    }

    /// The data set at `key`, all its splits.
    ///
    /// # Errors
    /// When the artifact cannot be read.
    pub fn dataset(&self, key: &str) -> Result<Dataset, Halt> {
        Ok(Dataset::open(&self.input(key).path)?)
    }

    /// Who watches long work on data.
    pub fn watch(&self) -> Watch<'_> {
        Watch { progress: self.progress, cancel: self.cancel }
    }

    /// Who fetches what the stage downloads.
    pub fn fetcher(&self) -> Fetcher<'_> {
        let Environment { downloads, offline, .. } = self.environment;
        Fetcher { folder: downloads, offline: *offline, watch: self.watch() }
    }

    /// Whether the user asked to stop.
    pub fn cancelled(&self) -> bool {
        self.watch().is_cancelled()
    }

    /// Halts when the user asked to stop.
    ///
    /// # Errors
    /// [`Halt::Interrupted`].
    pub fn check_cancelled(&self) -> Result<(), Halt> {
        Ok(self.watch().check()?)
    }
}

/// What a stage gave besides the files in [`Context::out`].
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rows for `<stage>.csv`. No times in it: the bytes must be the same on every run.
    pub metrics: Metrics,
    /// One line for the terminal: "10,000 train, 1,000 valid, 10,000 test images 1x28x28".
    pub summary: String,
    /// Seconds spent by named part, for `timings.csv`.
    pub timings: Vec<(String, f64)>,
    /// Seconds of these that were spent in attempts before this one, which it went on from.
    pub earlier: f64,
}

impl Outcome {
    /// Writes a data set to [`Context::out`] and says what is in it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn of_dataset(dataset: &Dataset, context: &Context) -> Result<Self, Halt> {
        context.check_cancelled()?;
        dataset.save(context.out)?;
        Ok(Self {
            metrics: statistics::facts(dataset),
            summary: statistics::summary(dataset),
            ..Self::default()
        })
    }
}

/// Why a stage ended without an artifact. Only a failure is an error: the other two are what was asked
/// for.
#[derive(Debug)]
pub enum Halt {
    /// The user asked to stop.
    Interrupted,
    /// It spent its [`Context::budget`].
    Paused {
        /// The rows of its metrics so far.
        rows: Vec<TrainingRow>,
    },
    /// It cannot be done.
    Failed(Failure),
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted"),
            Self::Paused { .. } => f.write_str("paused"),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for Halt {}

impl From<Interrupted> for Halt {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Problem> for Halt {
    fn from(problem: Problem) -> Self {
        Failure::from(problem).into()
    }
}

impl From<crate::device::DeviceError> for Halt {
    fn from(error: crate::device::DeviceError) -> Self {
        Failure::new(error.to_string()).into()
    }
}

impl From<crate::nn::ops::OpError> for Halt {
    fn from(error: crate::nn::ops::OpError) -> Self {
        Failure::new(error.to_string()).into()
    }
}

impl From<crate::data::DataError> for Halt {
    fn from(error: crate::data::DataError) -> Self {
        match error {
            crate::data::DataError::Interrupted => Self::Interrupted,
            error => Failure {
                message: error.to_string(),
                help: error.help(),
                killed: false,
                misplaced: false,
            }
            .into(),
        }
    }
}

/// Why a stage failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What failed, and why, outermost first.
    pub message: String,
    /// What to do, a line each.
    #[serde(default)]
    pub help: Vec<String>,
    /// Whether its processes were killed rather than that it failed itself: then the next run tries it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub killed: bool,
    /// Whether it was not begun, as it was planned for another backend than that of its process: where it can be built
    /// it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub misplaced: bool,
}

impl Failure {
    /// A failure with a message and no advice.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: Vec::new(), killed: false, misplaced: false }
    }

    /// Adds a line of advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { message: problem.message, help: problem.help, killed: false, misplaced: false }
    }
}
