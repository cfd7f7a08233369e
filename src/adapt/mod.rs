//! Ways to learn from labelled source and unlabelled target images: one file each.
//!
//! A method sees target images only as a batch of pixels: their labels cannot reach it.

use crate::config::{Keys, Noted, Reference, words};
use crate::nn::heads::NewHead;
use crate::nn::ops::{OpError, Tape, Targets, Tensor};
use crate::nn::{DropoutKey, EntryLayer, Model, Pass, Spec};

mod coefficient;
mod coral;
mod dann;
mod supervised;

/// The example of docs/extending.md, compiled and tested here, where such a file would be.
#[cfg(test)]
#[path = "../../docs/extending/mean_distance.rs"]
mod mean_distance;

pub use coefficient::{Coefficient, TrainingProgress};
pub use coral::Coral;
pub use dann::Dann;

/// A method with its settings. A new one is a file in this folder, a word in `MethodKind` and its line
/// in each `match`: the compiler asks for those.
///
/// # Examples
///
/// ```
/// use runner::adapt::Method;
/// use runner::config::Keys;
/// use runner::config::document;
/// use runner::config::node::Value;
/// use runner::config::source::Sources;
///
/// let text = "method = { kind = 'dann', target = 'mnist_m.train' }";
/// let root = document::parse(Sources::default().add("method.toml", text), text).unwrap();
/// let Value::Table(table) = &root.value else { unreachable!("a document is a table") };
/// let method = Method::read(&mut Keys::new(table, root.span)).unwrap();
/// assert!(method.target().is_some());
/// ```
#[derive(Debug, Clone)]
pub enum Method {
    /// Cross-entropy on the labelled images.
    Supervised,
    /// Domain-adversarial training.
    Dann(Dann),
    /// Correlation alignment.
    Coral(Coral),
}

words! {
    /// The word for a method, before its settings are read.
    pub(crate) enum MethodKind {
        /// [`Method::Supervised`].
        Supervised = "supervised",
        /// [`Method::Dann`].
        Dann = "dann",
        /// [`Method::Coral`].
        Coral = "coral",
    }
}

/// The material of one step.
pub struct Step<'a> {
    /// The network that learns.
    pub model: &'a mut Model,
    /// Where the way from its parameters to the loss is recorded.
    pub tape: &'a Tape,
    /// Where it takes the images in.
    pub entry: EntryLayer,
    /// Labelled images `[N, C*H*W]`, or the output of frozen layers for them.
    pub source: Tensor,
    /// Their labels.
    pub targets: Targets<'a>,
    /// The same of the target domain, `[M, C*H*W]`, for methods that want it.
    pub target: Option<Tensor>,
    /// Where the training stands.
    pub progress: TrainingProgress,
    /// Seed of the stage.
    pub seed: u64,
    /// Epoch from 0.
    pub epoch: u64,
    /// Step within the epoch from 0.
    pub step: u64,
}

impl<'a> Step<'a> {
    /// The pass of a domain's images through the network, with dropout masks of its own.
    fn pass(&self, domain: &'static str) -> Pass<'a> {
        let Self { seed, epoch, step, .. } = *self;
        Pass::train(self.tape, DropoutKey { seed, pass: domain, epoch, step })
    }

    /// Both domains, for a method that compares them.
    ///
    /// # Panics
    /// When there are no target images, though the method said that it wants some.
    fn domains(self) -> Domains<'a> {
        let (source_pass, target_pass) = (self.pass("source"), self.pass("target"));
        let Self { model, entry, source, targets, target, .. } = self;
        let target = target.expect("training gives this method target images");
        Domains { model, entry, source, source_pass, targets, target, target_pass }
    }
}

/// The material of a step over two domains. They go through the network in separate passes, because
/// batch norm must see one domain at a time.
struct Domains<'a> {
    model: &'a mut Model,
    entry: EntryLayer,
    source: Tensor,
    source_pass: Pass<'a>,
    targets: Targets<'a>,
    target: Tensor,
    target_pass: Pass<'a>,
}

/// How the labelled images of a step were classified.
struct Classified {
    /// Their mean cross-entropy.
    loss: Tensor,
    /// The share of right answers.
    accuracy: f64,
    count: usize,
}

impl Classified {
    /// What the class logits `[N, classes]` of labelled images are worth.
    fn new(logits: &Tensor, targets: &Targets) -> Result<Self, OpError> {
        let count = targets.labels.len();
        let accuracy = accuracy(logits, targets.labels)?;
        Ok(Self { loss: logits.ops().cross_entropy(logits, targets)?, accuracy, count })
    }

    fn loss_reading(&self) -> Reading {
        Reading { name: "class_loss", value: self.loss.value(), weight: self.count }
    }

    fn accuracy_reading(&self) -> Reading {
        Reading { name: "accuracy", value: self.accuracy, weight: self.count }
    }
}

/// The loss of a step, and the numbers to report about it.
pub struct Losses {
    /// The total loss, with its tape.
    pub total: Tensor,
    /// Named numbers of this step.
    pub readings: Vec<Reading>,
}

/// A number of one step, and how it enters the mean over an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Its name in the metrics: `class_loss`.
    pub name: &'static str,
    /// The number.
    pub value: f64,
    /// How many images it is a mean over; 0 for a setting, of which the epoch has the last value.
    pub weight: usize,
}

impl Method {
    /// Reads `method = "supervised"` or `{ kind = "dann", ... }`.
    pub fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.kinded("method", "kind", Some(MethodKind::Supervised), |kind, keys| match kind {
            MethodKind::Supervised => Ok(Self::Supervised),
            MethodKind::Dann => Dann::read(keys).map(Self::Dann),
            MethodKind::Coral => Coral::read(keys).map(Self::Coral),
        })
    }

    /// Where the target images come from, for methods that want them.
    pub fn target(&self) -> Option<&Reference> {
        match self {
            Self::Supervised => None,
            Self::Dann(dann) => Some(&dann.target),
            Self::Coral(coral) => Some(&coral.target),
        }
    }

    /// The heads that it trains besides the classifier, for a network of `spec`.
    pub fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        match self {
            Self::Supervised | Self::Coral(_) => Vec::new(),
            Self::Dann(dann) => vec![dann.head(spec)],
        }
    }

    /// The loss of one step.
    ///
    /// # Errors
    /// When the device fails (out of memory).
    pub fn losses(&self, step: Step) -> Result<Losses, OpError> {
        match self {
            Self::Supervised => supervised::losses(step),
            Self::Dann(dann) => dann.losses(step),
            Self::Coral(coral) => coral.losses(step),
        }
    }
}

/// The share of rows whose largest logit is at their label; ties go to the first.
fn accuracy(logits: &Tensor, labels: &[u32]) -> Result<f64, OpError> {
    let hits = logits.ops().hits(logits, labels)?.value();
    #[expect(clippy::cast_precision_loss, reason = "image counts are far below 2^53")]
    let count = labels.len() as f64;
    Ok(hits / count)
}

/// `part` of `whole` images, 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "image counts are far below 2^53")]
pub(crate) fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}
