//! The training loop: it keeps the order of epochs, the time, the checkpoints and the early ends.
//!
//! It does not know what a step learns from, which is the method's business, nor what an epoch is
//! measured by, which is in `fit/measure.rs`.

mod frozen;
mod measure;
mod steps;

use std::time::Instant;

use self::frozen::{FrozenOutputs, TrainingInputs};
use super::activations::Caching;
use super::batch_norm::BatchNormFamily;
use super::bench::{Bench, Repeats};
use super::checkpoint::{BestWeights, Checkpointed, Keeper, Position, Slot};
use super::contract::{Data, Ended, FitError, Stop};
use super::epoch::{self, coverage};
use super::feed::DomainInputs;
use super::groups::{GroupError, Groups};
use super::method::{Learner, Method, Needs};
use super::monitor::{BestEpoch, ValidationScores};
use super::networks::NetId;
use super::optimizer_state::OptimizerState;
use super::settings::TrainingSettings;
use super::summary::{Summary, Times};
use crate::config::Word;
use crate::data::view::{Domain, ViewKind};
use crate::metrics::{TrainingRow, TrainingSplit};
use crate::nn::Model;
use crate::progress::{Unit, Watch};

/// What a training may use and how far it goes for now. None of it moves a number.
#[derive(Clone, Copy, Default)]
pub struct FitOptions<'a> {
    /// Where the output of frozen layers is kept, so that it is computed once per image.
    pub caching: Option<Caching<'a>>,
    /// Where checkpoints are. A training that was stopped resumes from the newest one, and ends with
    /// the bytes of one that was not.
    pub checkpoints: Option<&'a Slot>,
    /// The epoch after which it pauses, with a checkpoint; `None` to train to the end.
    pub pause_after: Option<usize>,
    /// Whether a device repeats steps without their code.
    pub repeats: Repeats,
}

/// Trains `model`. The parameters named in `new` did not come in with it.
///
/// Each epoch visits the images in an order drawn from (seed, epoch). Unless its length is given, an
/// epoch has as many steps as the domain with fewer batches, and says what it does not see; a last
/// batch of one image is left out, because batch norm has no variance to work with there. Nothing
/// depends on the number of threads.
///
/// # Errors
/// When the loss or a weight is not finite, there are too few images, a pattern of the settings does
/// not fit the model, or the device fails.
pub fn fit(
    model: Model,
    new: &[String],
    method: &dyn Method,
    data: &Data,
    settings: &TrainingSettings,
    options: FitOptions,
    watch: &Watch,
) -> Result<Ended, FitError> {
    let mut training = TrainingLoop::new(model, new, method, data, settings, watch)?;
    training.keeper = options.checkpoints.map(Keeper::new);
    training.pause_after = options.pause_after;
    training.bench.repeats = options.repeats;
    match training.run(options.caching) {
        Ok(ended) => Ok(ended),
        Err(Stop::Interrupted) => Ok(Ended::Interrupted),
        Err(Stop::Failed(error)) => Err(error),
    }
}

struct TrainingLoop<'a> {
    bench: Bench<'a>,
    learner: Box<dyn Learner + 'a>,
    needs: Needs<'a>,
    data: &'a Data<'a>,
    settings: &'a TrainingSettings,
    watch: &'a Watch<'a>,
    inputs: TrainingInputs<'a>,
    keeper: Option<Keeper<'a>>,
    pause_after: Option<usize>,
    /// Which parameters learned when training began.
    trainable_at_start: Vec<bool>,
    /// The learning rates by layer, for people.
    by_layer: Option<String>,
    /// What validation gave after each epoch.
    validation: Vec<ValidationScores>,
    best: Option<BestWeights>,
    steps_per_epoch: usize,
    rows: Vec<TrainingRow>,
    times: Times,
}

impl<'a> TrainingLoop<'a> {
    fn new(
        mut model: Model,
        new: &[String],
        method: &'a dyn Method,
        data: &'a Data<'a>,
        settings: &'a TrainingSettings,
        watch: &'a Watch<'a>,
    ) -> Result<Self, FitError> {
        let steps_per_epoch = epoch::steps_per_epoch(data, settings)?;
        let mut new = new.to_vec();
        if settings.batch_norm == BatchNormFamily::Domain {
            new.extend(model.split_norms()?);
        }
        let rates = settings.groups.rates(&settings.optimizer, &model, &new)?;
        let by_layer = settings.groups.shown_by_layer(&model, &new);
        let trainable_at_start: Vec<bool> =
            model.parameters().iter().map(|it| it.trainable).collect();
        let learns = learning(&settings.groups, &model, &trainable_at_start, usize::MAX)?;
        let optimizer = OptimizerState::with_rates(rates, &model, &learns)?;
        let mut bench = Bench::new(model, optimizer, settings);
        let learner = method.begin(&mut bench)?;
        let inputs = TrainingInputs::of(bench.model(NetId::MAIN), data, FrozenOutputs::default());
        Ok(Self {
            bench,
            learner,
            needs: method.needs(),
            data,
            settings,
            watch,
            inputs,
            keeper: None,
            pause_after: None,
            trainable_at_start,
            by_layer,
            validation: Vec::new(),
            best: None,
            steps_per_epoch,
            rows: Vec::new(),
            times: Times::default(),
        })
    }

    /// The network that the training is about.
    fn predictor(&mut self) -> &mut Model {
        let id = self.learner.predictor();
        self.bench.model_mut(id)
    }

    /// Finds the output of the layers that are frozen now, or computes it.
    fn compute_frozen(&mut self, caching: Option<Caching>) -> Result<(), Stop> {
        let Some(caching) = caching else { return Ok(()) };
        let start = Instant::now();
        // Images that change from epoch to epoch leave nothing to keep, and views are of pixels.
        let changes = self.settings.augment.is_some() || !self.needs.views.is_empty();
        let model = self.bench.model_mut(NetId::MAIN);
        let frozen = FrozenOutputs::of(model, self.data, changes, caching, self.watch)?;
        self.inputs = TrainingInputs::of(model, self.data, frozen);
        self.times.frozen += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// Lets the device keep what steps take from it, if they take as much as there is, and what every epoch is validated with.
    /// Images that the host changes as numbers are sent.
    fn keep_inputs(&mut self) -> Result<(), Stop> {
        let start = Instant::now();
        let (settings, views) = (self.settings, self.needs.views);
        let taken = settings.epochs * self.steps_per_epoch * settings.batch_size;
        let mixes = settings.augment.as_ref().is_some_and(|augment| augment.mixup().is_some());
        let is_taken = |domain| {
            let mut views = views.iter().filter(|view| view.domain == domain);
            let is_mixed = mixes && domain == Domain::Source;
            !is_mixed || views.any(|view| !matches!(view.kind, ViewKind::Masked { .. }))
        };
        let DomainInputs { source, target } = &mut self.inputs.domains;
        for (inputs, domain) in [(source, Domain::Source), (target, Domain::Target)] {
            if let Some(inputs) = inputs
                && is_taken(domain)
                && taken >= inputs.images().len()
            {
                inputs.keep(self.bench.ops())?;
            }
        }
        let TrainingInputs { validate, recorded, .. } = &mut self.inputs;
        for inputs in validate.iter_mut().chain(recorded).filter(|_| settings.epochs > 1) {
            inputs.keep(self.bench.ops())?;
        }
        self.times.waiting += start.elapsed().as_secs_f64();
        Ok(())
    }

    fn run(mut self, caching: Option<Caching>) -> Result<Ended, Stop> {
        let mut summary = Summary::default();
        let (first, mut from) = self.resume(&mut summary);
        // Another run may have gone further than this one is to go, which must not show.
        if let Some(pause) = self.pause_after.filter(|_| self.pauses_after(first)) {
            self.rows.retain(|row| row.epoch <= pause);
            return Ok(Ended::Paused { rows: self.rows });
        }
        if let Some((line, _)) = coverage(self.data, self.settings, &self.needs) {
            self.watch.progress.note(&line);
        }
        if let Some(line) = &self.by_layer {
            self.watch.progress.note(line);
        }
        self.thaw(first)?;
        self.compute_frozen(caching)?;
        self.keep_inputs()?;
        self.begin_counting(first, from);
        for epoch in first..self.settings.epochs {
            if self.thaw(epoch)? {
                self.compute_frozen(caching)?;
                self.keep_inputs()?;
                self.begin_counting(epoch, from);
            }
            let summary = self.steps(epoch, from, std::mem::take(&mut summary))?;
            self.measure(epoch, summary)?;
            from = 0;
            if self.ends_early() {
                self.watch.progress.note(&format!(
                    "stopped after epoch {} of {}: validation got no better",
                    epoch + 1,
                    self.settings.epochs
                ));
                break;
            }
            if self.pauses_after(epoch + 1) {
                return Ok(Ended::Paused { rows: self.rows });
            }
        }
        self.put_best_back();
        let predictor = self.learner.predictor();
        drop(self.learner);
        let mut model = Box::new(self.bench.into_model(predictor));
        model.drop_source_norms();
        Ok(Ended::Finished { model, rows: self.rows, times: self.times })
    }

    /// Whether validation got no better for so long that no epoch follows.
    fn ends_early(&self) -> bool {
        self.settings.early_stopping.is_some_and(|stop| stop.ends(&self.validation))
    }

    /// Whether it pauses, now that `epochs` epochs are over.
    fn pauses_after(&self, epochs: usize) -> bool {
        epochs < self.settings.epochs && self.pause_after.is_some_and(|pause| epochs >= pause)
    }

    /// Counts steps for whoever watches, from step `from` of epoch `epoch` on.
    fn begin_counting(&self, epoch: usize, from: usize) {
        let total = (self.settings.epochs * self.steps_per_epoch) as u64;
        self.watch.progress.begin("train", Some(total), Unit::Steps);
        self.watch.progress.advance((epoch * self.steps_per_epoch + from) as u64);
    }

    /// Restores the newest checkpoint; the epoch and the step to resume at.
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

    fn checkpointed<'s>(&'s mut self, summary: &'s mut Summary) -> Checkpointed<'s, 'a> {
        Checkpointed {
            bench: &mut self.bench,
            learner: Some(&mut *self.learner),
            validation: &mut self.validation,
            best: &mut self.best,
            summary,
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
    fn thaw(&mut self, epoch: usize) -> Result<bool, GroupError> {
        let model = self.bench.model_mut(NetId::MAIN);
        let learns = learning(&self.settings.groups, model, &self.trainable_at_start, epoch + 1)?;
        if model.parameters().iter().map(|it| it.trainable).eq(learns.iter().copied()) {
            return Ok(false);
        }
        let parameters = model.parameters_mut().iter_mut();
        parameters.zip(learns).for_each(|(parameter, learns)| parameter.trainable = learns);
        Ok(true)
    }

    /// Gives the model the weights of the best epoch, where those are to be kept.
    fn put_best_back(&mut self) {
        let (Some(best), Some(metric)) = (self.best.take(), self.settings.keep_best) else {
            return;
        };
        let predictor = self.learner.predictor();
        best.put_back(&mut self.bench.networks_mut()[&predictor]);
        let BestEpoch { epoch, value, .. } = best.what;
        let at = (epoch - 1, epoch * self.steps_per_epoch, TrainingSplit::Best);
        self.row(at, metric.word(), f64::from_bits(value));
        self.watch.progress.note(&format!("keeps the weights of epoch {epoch}"));
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
fn learning(
    groups: &Groups,
    model: &Model,
    at_start: &[bool],
    epoch: usize,
) -> Result<Vec<bool>, GroupError> {
    let names: Vec<&str> = model.parameters().iter().map(|it| it.name.as_str()).collect();
    let thawed = groups.thawed(epoch, &names)?;
    Ok(at_start.iter().zip(thawed).map(|(at_start, thawed)| *at_start || thawed).collect())
}
