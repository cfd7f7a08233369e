//! The steps of an epoch: batches are put together while the step before runs, a step descends the
//! method's loss, and what it gave is added up. Measures nothing on images that are not trained on.

use std::time::Instant;

use super::TrainingLoop;
use crate::adapt::{Reading, Step, TrainingProgress};
use crate::metrics::TrainingSplit;
use crate::nn::ops::{Dims, Tape, Targets, Tensor};
use crate::train::contract::{FitError, Stop};
use crate::train::feed::{Batches, Feed};
use crate::train::monitor::ValidationScores;
use crate::train::schedule::Moment;
use crate::train::summary::Summary;

impl TrainingLoop<'_> {
    /// The steps of epoch `epoch` from `from` on; those before it gave `summary`. Returns what all of
    /// them add up to.
    pub(super) fn steps(
        &mut self,
        epoch: usize,
        from: usize,
        mut summary: Summary,
    ) -> Result<Summary, Stop> {
        let (source, target) = (self.frozen.source.clone(), self.frozen.target.clone());
        let feed =
            Feed::new(self.data, (source.as_deref(), target.as_deref()), self.settings, &[], epoch);
        // Schedules go by the epochs before this one.
        let validation = self.validation.clone();
        let start = Instant::now();
        let mut next = (from < self.steps_per_epoch).then(|| feed.step(from));
        self.times.waiting += start.elapsed().as_secs_f64();
        for step in from..self.steps_per_epoch {
            if self.watch.is_cancelled() {
                self.keep(epoch, step, &mut summary);
                return Err(Stop::Interrupted);
            }
            let moment = self.moment((epoch, step), &validation);
            let batches = next.take().expect("put together during the step before");
            let (readings, ended) = rayon::in_place_scope(|scope| {
                if step + 1 < self.steps_per_epoch {
                    scope.spawn(|_| next = Some(feed.step(step + 1)));
                }
                (self.step(&moment, step, batches), Instant::now())
            });
            self.times.waiting += ended.elapsed().as_secs_f64();
            let mut readings = readings?;
            readings.extend(self.rates(&moment));
            summary.add(&readings);
            self.report_step(&moment, &readings);
            let ends = step + 1 == self.steps_per_epoch;
            if !ends && self.keeper.as_ref().is_some_and(|keeper| keeper.is_due(false)) {
                self.keep(epoch, step + 1, &mut summary);
            }
        }
        self.check_weights(epoch)?;
        Ok(summary)
    }

    /// Where training stands before step `step` of epoch `epoch`.
    fn moment<'v>(
        &self,
        (epoch, step): (usize, usize),
        validation: &'v [ValidationScores],
    ) -> Moment<'v> {
        Moment {
            epoch,
            epochs: self.settings.epochs,
            step: epoch * self.steps_per_epoch + step,
            steps: self.settings.epochs * self.steps_per_epoch,
            validation,
        }
    }

    /// One step: the loss of a batch, its gradients, and the update.
    fn step(
        &mut self,
        moment: &Moment,
        step: usize,
        batches: Batches,
    ) -> Result<Vec<Reading>, FitError> {
        let start = Instant::now();
        let Batches { entry, source, labels, mixed, target } = batches;
        let mixed = mixed.as_ref().map(|(labels, share)| (labels.as_slice(), *share));
        let source = source.expect("every method learns from labelled images");
        let source = self.tensor(source.values, source.count)?;
        let target = target.map(|it| self.tensor(it.values, it.count)).transpose()?;
        let smoothing = self.settings.label_smoothing;
        let tape = Tape::default();
        let losses = self
            .method
            .losses(Step {
                model: self.model,
                tape: &tape,
                entry,
                source,
                targets: Targets { labels: &labels, mixed, smoothing },
                target,
                progress: TrainingProgress { share: moment.progress(), step: moment.step },
                seed: self.settings.seed,
                epoch: moment.epoch as u64,
                step: step as u64,
            })
            .map_err(FitError::device)?;
        let loss = losses.total.value();
        if !loss.is_finite() {
            return Err(self.diverged("the loss", moment.epoch, step));
        }
        self.last_loss = Some(loss);
        let mut gradients = tape.backward(&losses.total).map_err(FitError::device)?;
        let schedule = &self.settings.schedule;
        let (lr, momentum) = (|base| schedule.lr(base, moment), schedule.momentum(moment));
        self.optimizer.step(self.model, &mut gradients, lr, momentum).map_err(FitError::device)?;
        self.times.steps += start.elapsed().as_secs_f64();
        Ok(losses.readings)
    }

    fn tensor(&self, values: Vec<f32>, count: usize) -> Result<Tensor, FitError> {
        let dims = Dims::Rows(count, values.len() / count);
        self.model.ops().tensor(values, dims).map_err(FitError::device)
    }

    /// What the schedule says of a step.
    fn rates(&self, moment: &Moment) -> impl Iterator<Item = Reading> + use<> {
        let schedule = &self.settings.schedule;
        let lr = schedule.lr(self.settings.optimizer.lr(), moment);
        let lr = Reading { name: "lr", value: lr, weight: 0 };
        let momentum = schedule.momentum(moment);
        let momentum = momentum.map(|value| Reading { name: "momentum", value, weight: 0 });
        std::iter::once(lr).chain(momentum)
    }

    /// Keeps what a step gave where rows of steps are asked for, and tells whoever watches.
    fn report_step(&mut self, moment: &Moment, readings: &[Reading]) {
        let step = moment.step + 1;
        if self.settings.log_every.is_some_and(|every| step.is_multiple_of(every)) {
            for reading in readings {
                let at = (moment.epoch, step, TrainingSplit::Train);
                self.row(at, reading.name, reading.value);
            }
        }
        self.watch.progress.advance(1);
        if let Some(loss) = self.last_loss {
            self.watch.progress.status(&format!("loss {loss:.3}"));
        }
    }

    /// ReLU and max pooling swallow NaN, so that the loss can look sane with ruined weights.
    fn check_weights(&self, epoch: usize) -> Result<(), FitError> {
        let finite = |values: Vec<f32>| values.iter().all(|value| value.is_finite());
        let parameters = self.model.parameters().iter().all(|p| finite(p.value.host()));
        let stats =
            self.model.stats().iter().all(|s| finite(s.mean.host()) && finite(s.var.host()));
        if parameters && stats {
            return Ok(());
        }
        Err(self.diverged("a weight", epoch, self.steps_per_epoch - 1))
    }

    fn diverged(&self, what: &'static str, epoch: usize, step: usize) -> FitError {
        FitError::Diverged { what, epoch: epoch + 1, step: step + 1, last: self.last_loss }
    }
}
