//! Steps outside a training: those that are compared with other implementations, or timed.

use super::{Batch, Bench, Gradient, Reading, Repeats};
use crate::nn::Model;
use crate::train::clock::Clock;
use crate::train::contract::FitError;
use crate::train::method::Learner;
use crate::train::optimizer_state::OptimizerState;
use crate::train::settings::TrainingSettings;

impl<'a> Bench<'a> {
    /// A bench outside a training, for steps that are compared with other implementations or timed.
    ///
    /// # Errors
    /// When the device fails (out of memory), or settings of single parameters do not fit the network.
    pub fn alone(model: Model, settings: &'a TrainingSettings) -> Result<Self, FitError> {
        let rates = settings.groups.rates(&settings.optimizer, &model, &[])?;
        let learns: Vec<bool> = model.parameters().iter().map(|it| it.trainable).collect();
        let optimizer = OptimizerState::with_rates(rates, &model, &learns)?;
        Ok(Self::new(model, optimizer, settings))
    }

    /// Says which steps a device repeats without their code.
    pub fn set_repeats(&mut self, repeats: Repeats) {
        self.repeats = repeats;
    }

    /// One step of `learner` as step `step` of an epoch of `steps`: its readings, and the gradients of its
    /// descents in their order where `traced`.
    ///
    /// # Errors
    /// Those of the step.
    pub fn step_alone(
        &mut self,
        learner: &mut dyn Learner,
        batch: &Batch,
        (step, steps): (usize, usize),
        traced: bool,
    ) -> Result<(Vec<Reading>, Vec<Gradient>), FitError> {
        self.descents = traced.then(Vec::new);
        let clock = Clock { epoch: 0, epochs: 1, step, steps_per_epoch: steps };
        let done = self.step(learner, batch, clock, &[])?;
        let mut last = self.last_loss;
        let readings = done.read(&mut last)?;
        self.last_loss = last;
        Ok((readings, self.descents.take().unwrap_or_default()))
    }

    /// One step of `learner` as step `step` of an epoch of `steps`, whose readings nobody reads: the device may still be at work on
    /// it when this returns.
    ///
    /// # Errors
    /// Those of the step.
    pub fn step_unread(
        &mut self,
        learner: &mut dyn Learner,
        batch: &Batch,
        (step, steps): (usize, usize),
    ) -> Result<(), FitError> {
        let clock = Clock { epoch: 0, epochs: 1, step, steps_per_epoch: steps };
        self.step(learner, batch, clock, &[])?;
        Ok(())
    }
}
