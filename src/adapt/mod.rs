//! Ways to learn from labelled source and unlabelled target images: one file each.
//!
//! A method sees target images only as a batch of pixels: their labels cannot reach it.

use dfdx::prelude::*;

use crate::config::{Keys, Noted, Reference, words};
use crate::nn::heads::NewHead;
use crate::nn::model::host;
use crate::nn::ops::{Batch, Ops, Scalar, Targets};
use crate::nn::{DropoutKey, EntryLayer, Model, Pass, Spec};

mod coral;
mod dann;
mod lambda;
mod supervised;

/// The example of docs/extending.md, compiled and tested here, where such a file would be.
#[cfg(test)]
#[path = "../../docs/extending/mean_distance.rs"]
mod mean_distance;

pub use coral::Coral;
pub use dann::Dann;
pub use lambda::LambdaSchedule;

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
pub struct Step<'a, D: Ops> {
    /// The network that learns.
    pub model: &'a mut Model<D>,
    /// Where it takes the images in.
    pub entry: EntryLayer,
    /// Labelled images `[N, C*H*W]`, or the output of frozen layers for them.
    pub source: Batch<D>,
    /// Their labels.
    pub targets: Targets<'a>,
    /// The same of the target domain, `[M, C*H*W]`, for methods that want it.
    pub target: Option<Batch<D>>,
    /// Share of all steps taken, 0 to below 1.
    pub progress: f64,
    /// Seed of the stage.
    pub seed: u64,
    /// Epoch from 0.
    pub epoch: u64,
    /// Step within the epoch from 0.
    pub step: u64,
}

impl<'a, D: Ops> Step<'a, D> {
    /// The pass of a domain's images through the network, with dropout masks of its own.
    fn pass(&self, domain: &'static str) -> Pass {
        let Self { seed, epoch, step, .. } = *self;
        Pass::Train(DropoutKey { seed, domain, epoch, step })
    }

    /// Both domains, for a method that compares them.
    ///
    /// # Panics
    /// When there are no target images, though the method said that it wants some.
    fn domains(self) -> Domains<'a, D> {
        let (source_pass, target_pass) = (self.pass("source"), self.pass("target"));
        let Self { model, entry, source, targets, target, .. } = self;
        let target = target.expect("training gives this method target images");
        Domains { model, entry, source, source_pass, targets, target, target_pass }
    }
}

/// The material of a step over two domains. They go through the network in separate passes, because
/// batch norm must see one domain at a time.
struct Domains<'a, D: Ops> {
    model: &'a mut Model<D>,
    entry: EntryLayer,
    source: Batch<D>,
    source_pass: Pass,
    targets: Targets<'a>,
    target: Batch<D>,
    target_pass: Pass,
}

/// How the labelled images of a step were classified.
struct Classified<D: Ops> {
    /// Their mean cross-entropy.
    loss: Scalar<D, OwnedTape<f32, D>>,
    /// The share of right answers.
    accuracy: f64,
    count: usize,
}

impl<D: Ops> Classified<D> {
    /// What the class logits `[N, classes]` of labelled images are worth.
    fn new(logits: Batch<D, OwnedTape<f32, D>>, targets: &Targets) -> Result<Self, D::Err> {
        let count = targets.labels.len();
        let accuracy = share(correct(&logits, targets.labels), count);
        Ok(Self { loss: D::cross_entropy(logits, targets)?, accuracy, count })
    }

    fn loss_reading(&self) -> Reading {
        Reading { name: "class_loss", value: value(&self.loss), weight: self.count }
    }

    fn accuracy_reading(&self) -> Reading {
        Reading { name: "accuracy", value: self.accuracy, weight: self.count }
    }
}

/// The loss of a step, and the numbers to report about it.
pub struct Losses<D: Ops> {
    /// The total loss, with its tape.
    pub total: Scalar<D, OwnedTape<f32, D>>,
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
    pub fn losses<D: Ops>(&self, step: Step<D>) -> Result<Losses<D>, D::Err> {
        match self {
            Self::Supervised => supervised::losses(step),
            Self::Dann(dann) => dann.losses(step),
            Self::Coral(coral) => coral.losses(step),
        }
    }
}

/// Number of rows whose largest logit is at their label; ties go to the first.
pub fn correct<D: Ops, T: Tape<f32, D>>(logits: &Batch<D, T>, labels: &[u32]) -> usize {
    let classes = logits.shape().1;
    let values = host(logits);
    labels
        .iter()
        .zip(values.chunks_exact(classes))
        .filter(|(label, row)| argmax(row) == **label as usize)
        .count()
}

/// Index of the first largest value; NaN never wins.
pub fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (at, value) in row.iter().enumerate() {
        if *value > row[best] || row[best].is_nan() {
            best = at;
        }
    }
    best
}

/// `part` of `whole` images, 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "image counts are far below 2^53")]
pub(crate) fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// The value of a loss.
fn value<D: Ops, T: Tape<f32, D>>(loss: &Scalar<D, T>) -> f64 {
    f64::from(host(loss)[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_values_is_the_largest() {
        assert_eq!(argmax(&[0.0, 2.0, 2.0]), 1);
        assert_eq!(argmax(&[f32::NAN, 0.5, 0.1]), 1);
    }
}
