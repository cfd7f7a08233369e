//! The steps of an epoch: batches are put together while the step before runs, a step descends the
//! method's loss, and what it gave is added up. Measures nothing on images that are not trained on.

use std::time::Instant;

use super::TrainingLoop;
use crate::data::view::Domain;
use crate::metrics::TrainingSplit;
use crate::nn::Model;
use crate::nn::ops::{Input, OpError, Targets, Varying};
use crate::train::bench::{Batch, PendingStep, SourceBatch, TargetBatch};
use crate::train::clock::Clock;
use crate::train::contract::{FitError, Stop};
use crate::train::feed::{Batches, DomainBatch, Feed};
use crate::train::method::{When, WholeSetPasses};
use crate::train::monitor::ValidationScores;
use crate::train::networks::NetId;
use crate::train::summary::Summary;
use crate::train::whole_set::whole_set;

impl TrainingLoop<'_> {
    /// The steps of epoch `epoch` from `from` on; those before it gave `summary`. Returns what all of
    /// them add up to.
    pub(super) fn steps(
        &mut self,
        epoch: usize,
        from: usize,
        mut summary: Summary,
    ) -> Result<Summary, Stop> {
        let inputs = self.inputs.domains.clone();
        let (data, settings, needs) = (self.data, self.settings, self.needs);
        // Schedules go by the epochs before this one.
        let validation = self.validation.clone();
        let (mut feed, mut next) = (None, None);
        let mut pending = Vec::new();
        for step in from..self.steps_per_epoch {
            if self.watch.is_cancelled() {
                self.read(&mut pending, &mut summary)?;
                self.keep(epoch, step, &mut summary);
                return Err(Stop::Interrupted);
            }
            self.see_whole_set(epoch, step)?;
            // Which images it has may depend on what the method has just seen.
            let feed: &Feed = feed.get_or_insert_with(|| {
                let feed = Feed::new(data, &inputs, settings, needs.views, epoch);
                match needs.matches_classes {
                    true => feed.matching(self.learner.target_classes(), settings.batch_size),
                    false => feed,
                }
            });
            let clock = Clock {
                epoch,
                epochs: self.settings.epochs,
                step,
                steps_per_epoch: self.steps_per_epoch,
            };
            let start = Instant::now();
            let batches = next.take().unwrap_or_else(|| feed.step(step));
            self.times.waiting += start.elapsed().as_secs_f64();
            let (done, ended) = rayon::in_place_scope(|scope| {
                if step + 1 < self.steps_per_epoch {
                    scope.spawn(|_| next = Some(feed.step(step + 1)));
                }
                (self.step(clock, &validation, batches), Instant::now())
            });
            self.times.waiting += ended.elapsed().as_secs_f64();
            pending.push(done?);
            let due = self.is_row_due(clock) || self.bench.ops().reads_are_free();
            if due || step + 1 == self.steps_per_epoch {
                self.read(&mut pending, &mut summary)?;
            }
            self.watch.progress.advance(1);
            if let Some(loss) = self.bench.last_loss {
                self.watch.progress.status(&format!("loss {loss:.3}"));
            }
            let ends = step + 1 == self.steps_per_epoch;
            if !ends && self.keeper.as_ref().is_some_and(|keeper| keeper.is_due(false)) {
                self.read(&mut pending, &mut summary)?;
                self.keep(epoch, step + 1, &mut summary);
            }
        }
        self.check_weights(epoch)?;
        self.see_whole_set_at_end()?;
        Ok(summary)
    }

    /// One step: the method takes it, and what it gave is read later.
    fn step(
        &mut self,
        clock: Clock,
        validation: &[ValidationScores],
        batches: Batches,
    ) -> Result<PendingStep, FitError> {
        let start = Instant::now();
        let Batches { entry, source, labels, mixed, target } = batches;
        self.bench.enter_at(entry);
        let model = self.bench.model(NetId::MAIN);
        let tensor = |input: Input, count: usize| model.take_in(entry, input, count);
        let mixed = mixed.as_ref().map(|(labels, share)| (labels.as_slice(), *share));
        let smoothing = self.settings.label_smoothing;
        let targets = Targets { labels: Varying::of_step(&labels), mixed, smoothing };
        let on_device = |batch: DomainBatch| -> Result<_, OpError> {
            let DomainBatch { images, count, indices, views } = batch;
            let views = views.into_iter().map(|view| tensor(view, count));
            Ok((tensor(images, count)?, indices, views.collect::<Result<Vec<_>, _>>()?))
        };
        let source = source.map(on_device).transpose()?;
        let target = target.map(on_device).transpose()?;
        let batch = Batch {
            source: source.as_ref().map(|(images, indices, views)| SourceBatch {
                images: images.clone(),
                targets,
                indices: Varying::of_step(indices),
                views: views.clone(),
            }),
            target: target.as_ref().map(|(images, indices, views)| TargetBatch {
                images: images.clone(),
                indices: Varying::of_step(indices),
                views: views.clone(),
            }),
        };
        let done = self.bench.step(&mut *self.learner, &batch, clock, validation)?;
        self.times.steps += start.elapsed().as_secs_f64();
        Ok(done)
    }

    /// Whether a row of steps is asked for after the step at `clock`.
    fn is_row_due(&self, clock: Clock) -> bool {
        let step = clock.moment(&[]).step + 1;
        self.settings.log_every.is_some_and(|every| step.is_multiple_of(every))
    }

    /// Reads what steps gave, adds it up, and keeps it where rows of steps are asked for.
    fn read(
        &mut self,
        pending: &mut Vec<PendingStep>,
        summary: &mut Summary,
    ) -> Result<(), FitError> {
        for step in pending.drain(..) {
            let clock = step.clock();
            let readings = step.read(&mut self.bench.last_loss)?;
            summary.add(&readings);
            if self.is_row_due(clock) {
                let step = clock.moment(&[]).step + 1;
                for reading in &readings {
                    let at = (clock.epoch, step, TrainingSplit::Train);
                    self.row(at, reading.name, reading.value);
                }
            }
        }
        Ok(())
    }

    /// Shows the method a whole set before step `step` of epoch `epoch`, where it asked for that.
    fn see_whole_set(&mut self, epoch: usize, step: usize) -> Result<(), Stop> {
        let all = epoch * self.steps_per_epoch + step;
        self.show_sets(|when| match when {
            When::Begin => all == 0,
            When::EpochStart => step == 0,
            When::EpochEnd => false,
            When::Steps(every) => all.is_multiple_of(every),
        })
    }

    /// The same after the last step of an epoch.
    fn see_whole_set_at_end(&mut self) -> Result<(), Stop> {
        self.show_sets(|when| when == When::EpochEnd)
    }

    /// Shows the method the sets that it wants to see at a moment that `is_now` holds for.
    fn show_sets(&mut self, is_now: impl Fn(When) -> bool) -> Result<(), Stop> {
        if self.needs.labelled_set.is_some_and(&is_now) {
            self.show_set(Domain::Source, true)?;
        }
        match self.needs.whole_set {
            Some(WholeSetPasses { of, when }) if is_now(when) => self.show_set(of, false),
            _ => Ok(()),
        }
    }

    /// Shows the method all images of a domain, `labelled` ones with their classes.
    fn show_set(&mut self, of: Domain, labelled: bool) -> Result<(), Stop> {
        let inputs = match of {
            Domain::Source => self.inputs.domains.source.clone(),
            Domain::Target => self.inputs.domains.target.clone(),
        };
        let inputs = inputs.expect("a method is shown images of domains that it learns from");
        let (start, watch) = (Instant::now(), self.watch);
        let seen = whole_set(self.predictor(), of, &inputs, watch)?;
        self.bench.forget_step();
        match self.data.source.filter(|_| labelled) {
            Some((_, split)) => {
                self.learner.refresh_labelled(&mut self.bench, &seen, &split.labels)?;
            }
            None => self.learner.refresh(&mut self.bench, &seen)?,
        }
        self.times.steps += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// ReLU and max pooling swallow NaN, so that the loss can look sane with ruined weights.
    fn check_weights(&self, epoch: usize) -> Result<(), FitError> {
        let finite = |values: Vec<f32>| values.iter().all(|value| value.is_finite());
        let whole = |model: &Model| {
            let parameters = model.parameters().iter().all(|p| finite(p.value.host()));
            let mut stats = model.stats().iter();
            parameters && stats.all(|s| finite(s.mean.host()) && finite(s.var.host()))
        };
        if self.bench.networks().values().all(|network| whole(&network.model)) {
            return Ok(());
        }
        let (what, step) = ("a weight", self.steps_per_epoch);
        Err(FitError::Diverged { what, epoch: epoch + 1, step, last: self.bench.last_loss })
    }
}
