//! The training loop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use dfdx::prelude::*;
use indexmap::IndexMap;

use super::activations::{Activations, Caching};
use super::checkpoint::{Best, Checkpointed, Keeper, Position, Slot};
use super::contract::{Data, FitError};
use super::epoch::{self, coverage};
use super::evaluate::evaluate;
use super::feed::{Batches, Feed};
use super::groups::{GroupError, Groups};
use super::monitor::{BestEpoch, Scores};
use super::optimizer::OptimizerState;
use super::schedule::Moment;
use super::settings::Settings;
use super::summary::{Summary, Times, short};
use crate::adapt::{Method, Reading, Step};
use crate::data::Unlabelled;
use crate::metrics::{TrainingRow, TrainingSplit};
use crate::nn::Model;
use crate::nn::model::host;
use crate::nn::ops::{Batch, Ops, Targets};
use crate::progress::{Unit, Watch};

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
) -> Result<(Vec<TrainingRow>, Times), FitError> {
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
    rows: Vec<TrainingRow>,
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
            rows: Vec::new(),
            times: Times::default(),
        })
    }

    fn run(mut self, caching: Option<Caching>) -> Result<(Vec<TrainingRow>, Times), FitError> {
        let mut summary = Summary::default();
        let (first, mut from) = self.resume(&mut summary);
        // Gone further in another run than it is to go now.
        if first < self.settings.epochs && self.pause_after.is_some_and(|epochs| first >= epochs) {
            return Err(FitError::Paused(self.rows));
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
                return Err(FitError::Paused(self.rows));
            }
        }
        if let (Some(best), Some(metric)) = (self.best.take(), self.settings.keep_best) {
            best.put_back(self.model, &self.optimizer);
            let BestEpoch { epoch, value, .. } = best.what;
            let step = epoch * self.steps_per_epoch;
            let of = (epoch - 1, step, TrainingSplit::Best);
            self.row(of, metric.word(), f64::from_bits(value));
            self.watch.progress.note(&format!("keeps the weights of epoch {epoch}"));
        }
        Ok((self.rows, self.times))
    }

    /// Goes back to the newest checkpoint; the epoch and the step to go on with.
    fn resume(&mut self, summary: &mut Summary) -> (usize, usize) {
        let Some(keeper) = self.keeper.take() else { return (0, 0) };
        let found = keeper.restore(&mut self.checkpointed(summary));
        self.keeper = Some(keeper);
        match found {
            Ok(None) => (0, 0),
            Ok(Some(Position { epoch, step, rows, .. })) => {
                self.rows = rows;
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
        let at = Position::at(epoch, step, self.rows.clone());
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
                    self.row(
                        (epoch, moment.step + 1, TrainingSplit::Train),
                        reading.name,
                        reading.value,
                    );
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
        let rows = self.rows.len();
        let mut line = format!("epoch {:>2}/{}", epoch + 1, self.settings.epochs);
        for (name, value) in summary.values() {
            self.row((epoch, step, TrainingSplit::Train), &name, value);
            line.push_str(&format!("  {name} {}", short(value)));
        }
        if let Some(scores) = &self.settings.target_scores {
            let start = Instant::now();
            let Some(found) = scores.of(self.model, self.data, self.watch)? else {
                // As in validation below.
                self.rows.truncate(rows);
                self.keep(epoch, self.steps_per_epoch, &mut summary);
                return Err(FitError::Interrupted);
            };
            self.times.validate += start.elapsed().as_secs_f64();
            for (name, value) in found {
                self.row((epoch, step, TrainingSplit::Target), name, value);
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
                self.rows.truncate(rows);
                self.keep(epoch, self.steps_per_epoch, &mut summary);
                return Err(FitError::Interrupted);
            };
            self.times.validate += start.elapsed().as_secs_f64();
            let of = (epoch, step, TrainingSplit::Validate);
            self.row(of, "accuracy", evaluation.accuracy());
            self.row(of, "loss", evaluation.loss);
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
        for row in &self.rows[first..] {
            // Rows of steps come before those of their epoch, which stand for it.
            last.insert((row.epoch, row.split, &row.metric), row.value);
        }
        for ((epoch, split, metric), value) in last {
            self.watch.progress.metric(epoch, split.word(), metric, value);
        }
    }

    /// Adds a row of epoch `epoch` (from 0), after `step` steps over all epochs.
    fn row(
        &mut self,
        (epoch, step, split): (usize, usize, TrainingSplit),
        metric: &str,
        value: f64,
    ) {
        let (epoch, metric) = (epoch + 1, metric.to_owned());
        self.rows.push(TrainingRow { epoch, step, split, metric, value });
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

/// Number of batches of at least two images, of which there must be one.
fn batches(domain: &'static str, count: usize, size: usize) -> Result<usize, FitError> {
    match epoch::batches(count, size) {
        0 => Err(FitError::TooFew { domain, count }),
        batches => Ok(batches),
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
}
