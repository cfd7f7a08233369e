//! Steps that a device repeats without their code: what it notes of a step, and what it must be told to do the same again.

use std::any::Any;
use std::fmt::Debug;

use super::{OpError, Tensor, UpdateRule, Varying};

/// What is another when a step comes again.
#[derive(Debug, Clone)]
pub struct StepNumbers<'a> {
    /// The values of its knobs, in the order in which these were asked for.
    pub knobs: &'a [f32],
    /// The classes of its labelled images.
    pub labels: Varying<'a, u32>,
    /// Epoch from 0.
    pub epoch: u64,
    /// Step of the epoch from 0.
    pub step: u64,
    /// How it moves each parameter, with the number of the update, in the order of [`Ops::update`](super::Ops::update).
    pub updates: &'a [(UpdateRule, i32)],
}

/// What a device was asked for in a step.
pub trait NotedStep: Debug + Any {
    /// Whether it can ask for it once more with these numbers, after the same calls.
    fn can_repeat(&self, numbers: &StepNumbers) -> bool;

    /// Asks for it once more, with other numbers, and hands it over; the numbers that the step set aside, in their order. `None`
    /// where it cannot be asked for, and was not.
    ///
    /// # Errors
    /// Those of the device.
    fn repeat(&self, numbers: &StepNumbers) -> Result<Option<Vec<Tensor>>, OpError>;

    /// Why this, asked for again with these numbers, would not be `other`; `None` where it would be, in every byte.
    fn differs(&self, other: &dyn NotedStep, numbers: &StepNumbers) -> Option<String>;
}
