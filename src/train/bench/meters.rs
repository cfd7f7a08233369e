//! The numbers of a step on their way from the device to the metrics.
//!
//! They stay on the device until someone reads them: after each step where that costs nothing, else at the
//! end of an epoch or when a row of steps is due.

use crate::nn::ops::OpError;
use crate::nn::{Backend, Tensor};
use crate::train::clock::Clock;
use crate::train::contract::FitError;
use crate::train::reading::Reading;

/// A reading that was not read yet.
pub(super) struct Meter {
    name: &'static str,
    what: What,
    weight: usize,
}

enum What {
    /// A number of the host, and the knob of the step that it is the value of.
    Setting { value: f64, knob: Option<usize> },
    /// The sum of numbers of the device, divided.
    Mean { of: Vec<Tensor>, divided_by: usize },
}

impl Meter {
    /// A number that is set, not measured.
    pub(super) fn setting(name: &'static str, value: f64) -> Self {
        Self { name, what: What::Setting { value, knob: None }, weight: 0 }
    }

    /// The value of a knob of the step.
    pub(super) fn knob(name: &'static str, value: f32, knob: usize) -> Self {
        let what = What::Setting { value: f64::from(value), knob: Some(knob) };
        Self { name, what, weight: 0 }
    }

    /// How the same is made when the step comes again; `None` for what is set by no knob.
    pub(super) fn plan(&self) -> Option<Plan> {
        let Self { name, weight, .. } = *self;
        match &self.what {
            What::Setting { knob, .. } => knob.map(|knob| Plan::Knob { name, knob }),
            What::Mean { of, divided_by } => {
                Some(Plan::Mean { name, numbers: of.len(), divided_by: *divided_by, weight })
            }
        }
    }

    /// The sum of some numbers divided by another, as a mean over `weight` images.
    pub(super) fn mean(
        name: &'static str,
        of: Vec<Tensor>,
        divided_by: usize,
        weight: usize,
    ) -> Self {
        Self { name, what: What::Mean { of, divided_by }, weight }
    }

    #[expect(clippy::cast_precision_loss, reason = "image counts are far below 2^53")]
    fn read(&self) -> Reading {
        let value = match &self.what {
            What::Setting { value, .. } => *value,
            What::Mean { of, divided_by } => {
                of.iter().map(Tensor::value).sum::<f64>() / *divided_by as f64
            }
        };
        Reading { name: self.name, value, weight: self.weight }
    }
}

/// How a meter is made when its step comes again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Knob { name: &'static str, knob: usize },
    Mean { name: &'static str, numbers: usize, divided_by: usize, weight: usize },
}

impl Plan {
    /// The meter, where the knobs have these values and the device logs these numbers.
    pub(super) fn meter(&self, knobs: &[f32], logged: &mut impl Iterator<Item = Tensor>) -> Meter {
        match *self {
            Self::Knob { name, knob } => Meter::knob(name, knobs[knob], knob),
            Self::Mean { name, numbers, divided_by, weight } => {
                Meter::mean(name, logged.take(numbers).collect(), divided_by, weight)
            }
        }
    }
}

/// A step whose numbers were not read yet.
pub(in crate::train) struct PendingStep {
    pub(super) clock: Clock,
    pub(super) meters: Vec<Meter>,
    pub(super) losses: Vec<Tensor>,
}

impl PendingStep {
    /// Puts the step's numbers aside on their device.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn set_aside(&mut self, ops: &Backend) -> Result<(), OpError> {
        self.losses = ops.set_aside(std::mem::take(&mut self.losses))?;
        for meter in &mut self.meters {
            if let What::Mean { of, .. } = &mut meter.what {
                *of = ops.set_aside(std::mem::take(of))?;
            }
        }
        Ok(())
    }

    /// Where the step stood.
    pub(in crate::train) fn clock(&self) -> Clock {
        self.clock
    }

    /// Its readings, each name once: what was measured before what was set, and several measurements of
    /// one name as their mean. `last` is the loss before, and becomes the last one of this step.
    ///
    /// # Errors
    /// When a loss is not finite.
    pub(in crate::train) fn read(self, last: &mut Option<f64>) -> Result<Vec<Reading>, FitError> {
        for loss in &self.losses {
            self.clock.check(loss.value(), last)?;
        }
        let mut readings: Vec<Reading> = Vec::with_capacity(self.meters.len());
        let all = self.meters.iter().map(Meter::read);
        let (measured, set): (Vec<Reading>, Vec<Reading>) = all.partition(|it| it.weight > 0);
        for reading in measured {
            match readings.iter_mut().find(|it| it.name == reading.name) {
                Some(before) => before.join(reading),
                None => readings.push(reading),
            }
        }
        for setting in set {
            match readings.iter_mut().find(|it| it.name == setting.name) {
                Some(before) => *before = setting,
                None => readings.push(setting),
            }
        }
        Ok(readings)
    }
}
