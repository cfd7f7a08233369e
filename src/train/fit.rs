//! The training loop.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use dfdx::prelude::*;
use indexmap::IndexMap;

use super::activations::{Activations, Caching};
use super::checkpoint::{Best, Checkpointed, Keeper, Position, Slot};
use super::epoch::{self, EpochLength, coverage};
use super::evaluate::evaluate;
use super::feed::{Batches, Feed};
use super::groups::{GroupError, Groups};
use super::monitor::{BestEpoch, EarlyStopping, Metric, Scores};
use super::optimizer::{Optimizer, OptimizerState};
use super::schedule::{Moment, Scheduled};
use super::target_scores::TargetScores;
use crate::adapt::{Method, Reading, Step};
use crate::config::Word;
use crate::data::augment::Augment;
use crate::data::{Dataset, Split, Unlabelled};
use crate::metrics::{Metrics, number};
use crate::nn::Model;
use crate::nn::model::host;
use crate::nn::ops::{Batch, Ops, Targets};
use crate::progress::{Progress, Unit};

/// How to train.
#[derive(Debug)]
pub struct Settings {
    /// Epochs, each as long as `epoch` says.
    pub epochs: usize,
    /// What an epoch is a pass over, where that was said.
    pub epoch: Option<EpochLength>,
    /// Images of each domain in a step.
    pub batch_size: usize,
    /// Who changes the weights.
    pub optimizer: Optimizer,
    /// Parameters that learn in another way than the rest.
    pub groups: Groups,
    /// The learning rate as time goes on.
    pub schedule: Scheduled,
    /// Random changes to the images that are trained on; validation sees them as they are.
    pub augment: Option<Augment>,
    /// Share of the target that is spread over all classes, 0 to below 1.
    pub label_smoothing: f32,
    /// When to end before the last epoch.
    pub early_stopping: Option<EarlyStopping>,
    /// By which metric the best epoch's weights are kept; `None` for the last ones.
    pub keep_best: Option<Metric>,
    /// What to say after each epoch of images without labels.
    pub target_scores: Option<TargetScores>,
    /// Steps between two rows of step metrics; `None` for epochs only.
    pub log_every: Option<usize>,
    /// Seed of shuffling and dropout.
    pub seed: u64,
}

/// What to train on.
pub struct Data<'a> {
    /// The labelled images, with the normalisation of their data set.
    pub source: (&'a Dataset, &'a Split),
    /// Images of the target domain, without labels.
    pub target: Option<Unlabelled<'a>>,
    /// Labelled images to watch progress on; nothing is learned from them.
    pub validate: Option<(&'a Dataset, &'a Split)>,
    /// Images that [`Settings::target_scores`] are of; nothing is learned from them.
    pub scored: Option<Unlabelled<'a>>,
}

/// Who watches, and may stop it.
pub struct Watch<'a> {
    /// Hears of steps and epochs.
    pub progress: &'a dyn Progress,
    /// Set to stop.
    pub cancel: &'a AtomicBool,
}

/// Training that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The loss or a weight is infinite or not a number.
    #[error("{what} is not finite in epoch {epoch}, step {step}{}", before(*last))]
    Diverged {
        /// What diverged.
        what: &'static str,
        /// Epoch from 1.
        epoch: usize,
        /// Step within the epoch from 1.
        step: usize,
        /// The last finite loss; `None` in the first step.
        last: Option<f64>,
    },
    /// A pattern of the settings does not fit the model.
    #[error(transparent)]
    Groups(#[from] GroupError),
    /// Too few images for one step.
    #[error("{count} {domain} images are too few to train on: a batch needs at least 2")]
    TooFew {
        /// Which images.
        domain: &'static str,
        /// How many there are.
        count: usize,
    },
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// It came as far as it was to come now; these are the rows of its metrics so far.
    #[error("paused")]
    Paused(Vec<Vec<String>>),
}

impl FitError {
    pub(super) fn device(error: impl Display) -> Self {
        Self::Device(error.to_string())
    }
}

/// Where the time went, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// Forward, backward and update.
    pub steps: f64,
    /// Waiting for batches: they are put together while the step before runs.
    pub waiting: f64,
    /// Validation, and scores of the target.
    pub validate: f64,
    /// What frozen layers make of the images, where it is computed once.
    pub frozen: f64,
}

impl Times {
    pub(super) fn parts(&self) -> [f64; 4] {
        [self.steps, self.waiting, self.validate, self.frozen]
    }

    pub(super) fn of_parts([steps, waiting, validate, frozen]: [f64; 4]) -> Self {
        Self { steps, waiting, validate, frozen }
    }
}

/// What spares work and moves no number.
#[derive(Clone, Copy, Default)]
pub struct Reuse<'a> {
    /// What frozen layers make of the images is computed once.
    pub caching: Option<Caching<'a>>,
    /// A training that was stopped goes on from the newest checkpoint, and ends with the bytes of
    /// one that was not.
    pub checkpoints: Option<&'a Slot>,
    /// Epochs after which it pauses, with a checkpoint; `None` to go on to the end.
    pub pause_after: Option<usize>,
}

/// Trains `model` in place and returns the rows of its metrics. The parameters named in `new` did not
/// come in with it.
///
/// Each epoch visits the images in an order drawn from (seed, epoch). Unless its length is given, an
/// epoch has as many steps as the domain with fewer batches, and says what it does not see; a last
/// batch of one image is left out, as batch norm has no variance to work with there. Nothing of it
/// depends on the number of threads.
///
/// # Errors
/// When the loss or a weight is not finite, there are too few images, the device fails, or the
/// user asked to stop.
pub fn fit<D: Ops>(
    model: &mut Model<D>,
    new: &[String],
    method: &Method,
    data: &Data,
    settings: &Settings,
    reuse: Reuse,
    watch: &Watch,
) -> Result<(Metrics, Times), FitError> {
    let mut fit = Fit::new(model, new, method, data, settings, watch)?;
    fit.keeper = reuse.checkpoints.map(Keeper::new);
    fit.pause_after = reuse.pause_after;
    fit.run(reuse.caching)
}

/// What is known of the images beyond their frozen layers.
#[derive(Default)]
struct Frozen {
    source: Option<Arc<Activations>>,
    target: Option<Arc<Activations>>,
    validate: Option<Arc<Activations>>,
}

struct Fit<'a, D: Ops> {
    model: &'a mut Model<D>,
    method: &'a Method,
    data: &'a Data<'a>,
    settings: &'a Settings,
    watch: &'a Watch<'a>,
    frozen: Frozen,
    keeper: Option<Keeper<'a>>,
    pause_after: Option<usize>,
    optimizer: OptimizerState<D>,
    /// What learned when training began.
    began: Vec<bool>,
    /// What validation gave after each epoch.
    validation: Vec<Scores>,
    best: Option<Best>,
    steps_per_epoch: usize,
    last_loss: Option<f64>,
    metrics: Metrics,
    times: Times,
}

impl<'a, D: Ops> Fit<'a, D> {
    fn new(
        model: &'a mut Model<D>,
        new: &[String],
        method: &'a Method,
        data: &'a Data<'a>,
        settings: &'a Settings,
        watch: &'a Watch<'a>,
    ) -> Result<Self, FitError> {
        let source = batches("source", data.source.1.labels.len(), settings.batch_size)?;
        let target = data.target.as_ref().map(Unlabelled::len);
        let target =
            target.map(|count| batches("target", count, settings.batch_size)).transpose()?;
        let steps_per_epoch = epoch::steps(settings.epoch, source, target);
        let rates = settings.groups.rates(&settings.optimizer, model, new)?;
        let began: Vec<bool> = model.parameters().iter().map(|it| it.trainable).collect();
        let learns = learning(&settings.groups, model, &began, usize::MAX)?;
        let optimizer = OptimizerState::with_rates(settings.optimizer, rates, model, &learns)
            .map_err(FitError::device)?;
        Ok(Self {
            model,
            method,
            data,
            settings,
            watch,
            frozen: Frozen::default(),
            keeper: None,
            pause_after: None,
            optimizer,
            began,
            validation: Vec::new(),
            best: None,
            steps_per_epoch,
            last_loss: None,
            metrics: Metrics::training(),
            times: Times::default(),
        })
    }

    fn run(mut self, caching: Option<Caching>) -> Result<(Metrics, Times), FitError> {
        let mut summary = Summary::default();
        let (first, mut from) = self.resume(&mut summary);
        // Gone further in another run than it is to go now.
        if first < self.settings.epochs && self.pause_after.is_some_and(|epochs| first >= epochs) {
            return Err(FitError::Paused(self.metrics.rows));
        }
        if let Some((line, _)) = coverage(self.data, self.settings.batch_size, self.settings.epoch)
        {
            self.watch.progress.note(&line);
        }
        self.thaw(first)?;
        self.freeze(caching)?;
        let total = (self.settings.epochs * self.steps_per_epoch) as u64;
        self.watch.progress.begin("train", Some(total), Unit::Steps);
        self.watch.progress.advance((first * self.steps_per_epoch + from) as u64);
        for epoch in first..self.settings.epochs {
            if self.thaw(epoch)? {
                self.freeze(caching)?;
                self.watch.progress.begin("train", Some(total), Unit::Steps);
                self.watch.progress.advance((epoch * self.steps_per_epoch + from) as u64);
            }
            self.epoch(epoch, from, std::mem::take(&mut summary))?;
            from = 0;
            if self.settings.early_stopping.is_some_and(|stop| stop.ends(&self.validation)) {
                self.watch.progress.note(&format!(
                    "stopped after epoch {} of {}: validation got no better",
                    epoch + 1,
                    self.settings.epochs
                ));
                break;
            }
            if epoch + 1 < self.settings.epochs && self.pause_after == Some(epoch + 1) {
                return Err(FitError::Paused(self.metrics.rows));
            }
        }
        if let (Some(best), Some(metric)) = (self.best.take(), self.settings.keep_best) {
            best.put_back(self.model, &self.optimizer);
            let BestEpoch { epoch, value, .. } = best.what;
            let (epoch, name) = (epoch - 1, metric.word());
            let step = (epoch + 1) * self.steps_per_epoch;
            self.row(epoch, step, "best", name, f64::from_bits(value));
            self.watch.progress.note(&format!("keeps the weights of epoch {}", epoch + 1));
        }
        Ok((self.metrics, self.times))
    }

    /// Goes back to the newest checkpoint; the epoch and the step to go on with.
    fn resume(&mut self, summary: &mut Summary) -> (usize, usize) {
        let Some(keeper) = self.keeper.take() else { return (0, 0) };
        let found = keeper.restore(&mut self.checkpointed(summary));
        self.keeper = Some(keeper);
        match found {
            Ok(None) => (0, 0),
            Ok(Some(Position { epoch, step, rows, .. })) => {
                self.metrics.rows = rows;
                self.show(0);
                let (epochs, steps) = (self.settings.epochs, self.steps_per_epoch);
                self.watch.progress.note(&format!(
                    "goes on from a checkpoint: epoch {} of {epochs}, {step} of {steps} steps",
                    (epoch + 1).min(epochs)
                ));
                (epoch, step)
            }
            Err(error) => {
                self.watch.progress.note(&format!("checkpoints cannot be read: {error}"));
                (0, 0)
            }
        }
    }

    fn checkpointed<'s>(&'s mut self, summary: &'s mut Summary) -> Checkpointed<'s, D> {
        Checkpointed {
            model: self.model,
            optimizer: &mut self.optimizer,
            validation: &mut self.validation,
            best: &mut self.best,
            summary,
            last_loss: &mut self.last_loss,
            times: &mut self.times,
        }
    }

    /// Writes a checkpoint before step `step` of epoch `epoch`. One that cannot be written does not
    /// stop the training, and is tried again when the next one is due: a disk that was full for a
    /// minute must not cost hours later.
    fn keep(&mut self, epoch: usize, step: usize, summary: &mut Summary) {
        let Some(mut keeper) = self.keeper.take() else { return };
        let steps = (epoch * self.steps_per_epoch + step) as u64;
        let at = Position::at(epoch, step, self.metrics.rows.clone());
        if let Some(error) = keeper.keep(at, steps, &mut self.checkpointed(summary)) {
            self.watch.progress.note(&format!(
                "a checkpoint could not be written ({error}): the next one is tried when it is due; \
                 a stop before that loses what was done since the last one"
            ));
        }
        self.keeper = Some(keeper);
    }

    /// Lets everything learn that does so in epoch `epoch` (from 0); says whether that is more than
    /// before.
    fn thaw(&mut self, epoch: usize) -> Result<bool, FitError> {
        let learns = learning(&self.settings.groups, self.model, &self.began, epoch + 1)?;
        if self.model.parameters().iter().map(|it| it.trainable).eq(learns.iter().copied()) {
            return Ok(false);
        }
        let parameters = self.model.parameters_mut().iter_mut();
        parameters.zip(learns).for_each(|(parameter, learns)| parameter.trainable = learns);
        Ok(true)
    }

    /// What frozen layers make of the images, as far as it is worth keeping. Source and target
    /// enter the network at the same place, so it is for both or for none.
    fn freeze(&mut self, caching: Option<Caching>) -> Result<(), FitError> {
        let Some(caching) = caching else { return Ok(()) };
        let start = Instant::now();
        let (dataset, split) = self.data.source;
        let (model, watch) = (&mut *self.model, self.watch);
        let mut frozen = Frozen::default();
        // Images that change from epoch to epoch leave nothing to keep.
        if self.settings.augment.is_none() {
            frozen.source = caching.of(model, &split.images, dataset, watch)?;
        }
        if let (Some(_), Some(target)) = (&frozen.source, &self.data.target) {
            frozen.target = caching.of(model, target.images(), target.normalisation(), watch)?;
            if frozen.target.is_none() {
                frozen.source = None;
            }
        }
        if let Some((dataset, split)) = self.data.validate {
            frozen.validate = caching.of(model, &split.images, dataset, watch)?;
        }
        self.frozen = frozen;
        self.times.frozen += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// An epoch from step `from` on, whose steps before it gave `summary`.
    fn epoch(&mut self, epoch: usize, from: usize, mut summary: Summary) -> Result<(), FitError> {
        let seed = self.settings.seed;
        let (source, target) = (self.frozen.source.clone(), self.frozen.target.clone());
        let activations = (source.as_deref(), target.as_deref());
        let (size, augment) = (self.settings.batch_size, self.settings.augment.as_ref());
        let feed = Feed::new(self.data, activations, size, augment, (seed, epoch));
        let start = Instant::now();
        let validation = self.validation.clone();
        let mut next = (from < self.steps_per_epoch).then(|| feed.step(from));
        self.times.waiting += start.elapsed().as_secs_f64();
        for step in from..self.steps_per_epoch {
            if self.watch.cancel.load(Ordering::Relaxed) {
                self.keep(epoch, step, &mut summary);
                return Err(FitError::Interrupted);
            }
            let moment = Moment {
                epoch,
                epochs: self.settings.epochs,
                step: epoch * self.steps_per_epoch + step,
                steps: self.settings.epochs * self.steps_per_epoch,
                validation: &validation,
            };
            let batches = next.take().expect("made during the step before");
            let (readings, ended) = rayon::in_place_scope(|scope| {
                if step + 1 < self.steps_per_epoch {
                    scope.spawn(|_| next = Some(feed.step(step + 1)));
                }
                (self.step(&moment, step, batches), Instant::now())
            });
            self.times.waiting += ended.elapsed().as_secs_f64();
            let mut readings = readings?;
            let (schedule, base) = (&self.settings.schedule, self.settings.optimizer.lr());
            readings.push(Reading { name: "lr", value: schedule.lr(base, &moment), weight: 0 });
            if let Some(value) = schedule.momentum(&moment) {
                readings.push(Reading { name: "momentum", value, weight: 0 });
            }
            summary.add(&readings);
            if self.settings.log_every.is_some_and(|every| (moment.step + 1).is_multiple_of(every))
            {
                for reading in &readings {
                    self.row(epoch, moment.step + 1, "train", reading.name, reading.value);
                }
            }
            self.watch.progress.advance(1);
            if let Some(loss) = self.last_loss {
                self.watch.progress.status(&format!("loss {loss:.3}"));
            }
            let ends = step + 1 == self.steps_per_epoch;
            if !ends && self.keeper.as_ref().is_some_and(|keeper| keeper.is_due(false)) {
                self.keep(epoch, step + 1, &mut summary);
            }
        }
        self.check_weights(epoch)?;
        let step = (epoch + 1) * self.steps_per_epoch;
        let rows = self.metrics.rows.len();
        let mut line = format!("epoch {:>2}/{}", epoch + 1, self.settings.epochs);
        for (name, value) in summary.values() {
            self.row(epoch, step, "train", &name, value);
            line.push_str(&format!("  {name} {}", short(value)));
        }
        if let Some(scores) = &self.settings.target_scores {
            let start = Instant::now();
            let Some(found) = scores.of(self.model, self.data, self.watch)? else {
                // As in validation below.
                self.metrics.rows.truncate(rows);
                self.keep(epoch, self.steps_per_epoch, &mut summary);
                return Err(FitError::Interrupted);
            };
            self.times.validate += start.elapsed().as_secs_f64();
            for (name, value) in found {
                self.row(epoch, step, "target", name, value);
                line.push_str(&format!("  target {name} {}", short(value)));
            }
        }
        if let Some((dataset, split)) = self.data.validate {
            let start = Instant::now();
            let cancel = self.watch.cancel;
            let frozen = self.frozen.validate.as_deref();
            let evaluation =
                evaluate(self.model, dataset, split, frozen, |_| !cancel.load(Ordering::Relaxed))
                    .map_err(FitError::device)?;
            let Some(evaluation) = evaluation else {
                // The epoch's rows are written again when it is taken up.
                self.metrics.rows.truncate(rows);
                self.keep(epoch, self.steps_per_epoch, &mut summary);
                return Err(FitError::Interrupted);
            };
            self.times.validate += start.elapsed().as_secs_f64();
            self.row(epoch, step, "validate", "accuracy", evaluation.accuracy());
            self.row(epoch, step, "validate", "loss", evaluation.loss);
            line.push_str(&format!("  validate {:.4}", evaluation.accuracy()));
            let scores = Scores { loss: evaluation.loss, accuracy: evaluation.accuracy() };
            self.validation.push(scores);
            if let Some(metric) = self.settings.keep_best {
                let value = scores.get(metric);
                let best = self.best.as_ref().map(|best| f64::from_bits(best.what.value));
                if best.is_none_or(|best| metric.is_better(value, best)) {
                    self.best = Some(Best::now(self.model, &self.optimizer, epoch + 1, value));
                }
            }
        }
        self.show(rows);
        self.watch.progress.note(&line);
        let ends = epoch + 1 == self.settings.epochs;
        let pauses = self.pause_after == Some(epoch + 1);
        if !ends && self.keeper.as_ref().is_some_and(|keeper| pauses || keeper.is_due(true)) {
            self.keep(epoch + 1, 0, &mut Summary::default());
        }
        Ok(())
    }

    fn step(
        &mut self,
        moment: &Moment,
        step: usize,
        batches: Batches,
    ) -> Result<Vec<Reading>, FitError> {
        let start = Instant::now();
        let Batches { entry, source, labels, mixed, target } = batches;
        let mixed = mixed.as_ref().map(|(labels, share)| (labels.as_slice(), *share));
        let source = self.tensor(source, labels.len())?;
        let target = target.map(|(values, count)| self.tensor(values, count)).transpose()?;
        let losses = self
            .method
            .losses(Step {
                model: self.model,
                entry,
                source,
                targets: Targets {
                    labels: &labels,
                    mixed,
                    smoothing: self.settings.label_smoothing,
                },
                target,
                progress: moment.progress(),
                seed: self.settings.seed,
                epoch: moment.epoch as u64,
                step: step as u64,
            })
            .map_err(FitError::device)?;
        let loss = f64::from(host(&losses.total)[0]);
        if !loss.is_finite() {
            return Err(self.diverged("the loss", moment.epoch, step));
        }
        self.last_loss = Some(loss);
        let mut gradients = losses.total.try_backward().map_err(FitError::device)?;
        let schedule = &self.settings.schedule;
        let (lr, momentum) = (|base| schedule.lr(base, moment), schedule.momentum(moment));
        self.optimizer.step(self.model, &mut gradients, lr, momentum).map_err(FitError::device)?;
        self.times.steps += start.elapsed().as_secs_f64();
        Ok(losses.readings)
    }

    fn tensor(&self, values: Vec<f32>, count: usize) -> Result<Batch<D>, FitError> {
        let shape = (count, values.len() / count);
        self.model.device().try_tensor_from_vec(values, shape).map_err(FitError::device)
    }

    /// ReLU and max pooling swallow NaN, so that the loss can look sane with ruined weights.
    fn check_weights(&self, epoch: usize) -> Result<(), FitError> {
        let finite = |values: Vec<f32>| values.iter().all(|value| value.is_finite());
        let parameters = self.model.parameters().iter().all(|p| finite(host(&p.value)));
        let stats =
            self.model.stats().iter().all(|s| finite(host(&s.mean)) && finite(host(&s.var)));
        if parameters && stats {
            return Ok(());
        }
        Err(self.diverged("a weight", epoch, self.steps_per_epoch - 1))
    }

    fn diverged(&self, what: &'static str, epoch: usize, step: usize) -> FitError {
        FitError::Diverged { what, epoch: epoch + 1, step: step + 1, last: self.last_loss }
    }

    /// Tells whoever watches what the epochs ended with whose rows begin at `first`.
    fn show(&self, first: usize) {
        let mut last = IndexMap::new();
        for row in &self.metrics.rows[first..] {
            // Rows of steps come before those of their epoch, which stand for it.
            last.insert((&row[0], &row[2], &row[3]), &row[4]);
        }
        for ((epoch, split, name), value) in last {
            if let (Ok(epoch), Ok(value)) = (epoch.parse(), value.parse()) {
                self.watch.progress.metric(epoch, split, name, value);
            }
        }
    }

    fn row(&mut self, epoch: usize, step: usize, split: &str, name: &str, value: f64) {
        self.metrics.push([
            (epoch + 1).to_string(),
            step.to_string(),
            split.to_owned(),
            name.to_owned(),
            number(value),
        ]);
    }
}

/// What learns in epoch `epoch` (from 1): what did at the start, and what was thawed since.
fn learning<D: Ops>(
    groups: &Groups,
    model: &Model<D>,
    began: &[bool],
    epoch: usize,
) -> Result<Vec<bool>, GroupError> {
    let names: Vec<&str> = model.parameters().iter().map(|it| it.name.as_str()).collect();
    let thawed = groups.thawed(epoch, &names)?;
    Ok(began.iter().zip(thawed).map(|(began, thawed)| *began || thawed).collect())
}

fn before(last: Option<f64>) -> String {
    last.map(|loss| format!(" (the loss was {loss:.4} before)")).unwrap_or_default()
}

/// A number for a person: a small learning rate is not 0.0000.
fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.001 { format!("{value:.1e}") } else { format!("{value:.4}") }
}

/// Number of batches of at least two images, of which there must be one.
fn batches(domain: &'static str, count: usize, size: usize) -> Result<usize, FitError> {
    match epoch::batches(count, size) {
        0 => Err(FitError::TooFew { domain, count }),
        batches => Ok(batches),
    }
}

/// Sums up the readings of an epoch's steps.
#[derive(Default)]
pub(super) struct Summary {
    sums: IndexMap<Cow<'static, str>, (f64, usize)>,
}

impl FromIterator<(String, f64, usize)> for Summary {
    fn from_iter<I: IntoIterator<Item = (String, f64, usize)>>(parts: I) -> Self {
        let sums = parts.into_iter().map(|(name, sum, weight)| (name.into(), (sum, weight)));
        Self { sums: sums.collect() }
    }
}

impl Summary {
    #[expect(clippy::cast_precision_loss, reason = "an epoch is far below 2^53 images")]
    fn add(&mut self, readings: &[Reading]) {
        for reading in readings {
            let (sum, weight) = self.sums.entry(reading.name.into()).or_default();
            if reading.weight == 0 {
                *sum = reading.value;
            } else {
                *sum += reading.value * reading.weight as f64;
                *weight += reading.weight;
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "an epoch is far below 2^53 images")]
    fn values(&self) -> Vec<(Cow<'static, str>, f64)> {
        self.sums
            .iter()
            .map(|(name, (sum, weight))| (name.clone(), sum / (*weight).max(1) as f64))
            .collect()
    }

    /// Name, sum and weight of every reading.
    pub(super) fn parts(&self) -> impl Iterator<Item = (String, f64, usize)> {
        self.sums.iter().map(|(name, (sum, weight))| (name.to_string(), *sum, *weight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_is_too_few_to_train_on() {
        assert_eq!(batches("source", 2, 256).unwrap(), 1);
        assert!(matches!(batches("source", 1, 256), Err(FitError::TooFew { count: 1, .. })));
    }

    #[test]
    fn small_numbers_keep_their_digits_on_the_epoch_line() {
        let shown = [0.0, 0.001, 3e-5, -2.5e-4, 12.345_67].map(short);
        assert_eq!(shown, ["0.0000", "0.0010", "3.0e-5", "-2.5e-4", "12.3457"]);
    }

    #[test]
    fn a_loss_that_is_not_finite_in_the_first_step_has_no_loss_before() {
        let error = |step, last| FitError::Diverged { what: "the loss", epoch: 1, step, last };
        assert_eq!(error(1, None).to_string(), "the loss is not finite in epoch 1, step 1");
        assert_eq!(
            error(2, Some(3.812_713)).to_string(),
            "the loss is not finite in epoch 1, step 2 (the loss was 3.8127 before)"
        );
    }

    #[test]
    fn an_epoch_weighs_its_batches_by_their_images_and_keeps_the_last_setting() {
        let mut summary = Summary::default();
        let step = |loss, weight, lambda| {
            [
                Reading { name: "class_loss", value: loss, weight },
                Reading { name: "lambda", value: lambda, weight: 0 },
            ]
        };
        summary.add(&step(1.0, 3, 0.1));
        summary.add(&step(5.0, 1, 0.2));
        assert_eq!(summary.values(), [("class_loss".into(), 2.0), ("lambda".into(), 0.2)]);
    }
}
