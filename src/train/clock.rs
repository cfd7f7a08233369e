//! Where a step stands in a training.

use super::contract::FitError;
use super::monitor::ValidationScores;
use super::schedule::Moment;

/// Where a step stands in the training.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    /// Epoch from 0.
    pub epoch: usize,
    pub epochs: usize,
    /// Step of the epoch from 0.
    pub step: usize,
    pub steps_per_epoch: usize,
}

impl Clock {
    /// The moment that schedules go by, given what validation gave so far.
    pub fn moment<'v>(&self, validation: &'v [ValidationScores]) -> Moment<'v> {
        Moment {
            epoch: self.epoch,
            epochs: self.epochs,
            step: self.epoch * self.steps_per_epoch + self.step,
            steps: self.epochs * self.steps_per_epoch,
            validation,
        }
    }

    /// Takes the loss of this step for the `last` one; it must be a number to go on with.
    ///
    /// # Errors
    /// When it is not finite.
    pub fn check(&self, loss: f64, last: &mut Option<f64>) -> Result<(), FitError> {
        if !loss.is_finite() {
            let (epoch, step) = (self.epoch + 1, self.step + 1);
            return Err(FitError::Diverged { what: "the loss", epoch, step, last: *last });
        }
        *last = Some(loss);
        Ok(())
    }
}
