//! What is known of a step that may come again without its code: what it found, what it asked for and what it counted. Asks for nothing
//! itself.

use std::env::VarError;
use std::fmt;
use std::rc::Rc;

use super::meters::Plan;
use crate::nn::EntryLayer;
use crate::nn::ops::{Dims, NotedStep, StepNumbers, UpdateRule};
use crate::train::schedule::TrainingProgress;

#[cfg(test)]
thread_local! {
    /// Steps of this thread whose code did not run.
    pub(crate) static REPEATED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// An environment variable for tests.
const VARIABLE: &str = "RUNNER_REPEATS";

/// How a number follows from where the training stands.
#[derive(Clone)]
pub(super) struct Knob(pub Rc<dyn Fn(&TrainingProgress) -> f32>);

impl fmt::Debug for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Knob").finish_non_exhaustive()
    }
}

/// Whether steps are repeated without their code. It moves no byte of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// Wherever that can be.
    Always,
    /// The code of every so manieth of these steps runs nevertheless, and what it does is compared with what would have been done
    /// without it.
    Checked(usize),
    /// The code of every step runs.
    Never,
}

impl Default for Repeats {
    fn default() -> Self {
        if cfg!(debug_assertions) { Self::Checked(4) } else { Self::Always }
    }
}

impl Repeats {
    /// What the environment asks for: `RUNNER_REPEATS=never`, or `checked` for every second step.
    ///
    /// # Errors
    /// When it is another word.
    pub fn of_environment() -> Result<Self, String> {
        match std::env::var(VARIABLE).as_deref() {
            Err(VarError::NotPresent) => Ok(Self::default()),
            Ok("never") => Ok(Self::Never),
            Ok("checked") => Ok(Self::Checked(2)),
            other => Err(format!(
                "{VARIABLE} is `{}`, which is neither `never` nor `checked`",
                other.unwrap_or("no text")
            )),
        }
    }
}

/// One of the updates of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Update {
    /// The network's place among those of the bench.
    pub network: usize,
    /// The parameter's place among those of the network.
    pub parameter: usize,
    /// How often the step has moved it before.
    pub again: usize,
}

/// A step that may come again.
#[derive(Debug)]
pub(super) struct Repeatable {
    pub noted: Rc<dyn NotedStep>,
    /// What there must be when it comes again.
    pub scene: Scene,
    pub knobs: Vec<Knob>,
    /// Their values in this step.
    pub values: Vec<f32>,
    pub updates: Vec<Update>,
    /// Batches that it counted, of all running statistics of all networks.
    pub batches: Vec<i64>,
    pub losses: usize,
    pub meters: Vec<Plan>,
    /// Whether it is what the step before it foresaw, in every byte.
    pub is_proven: bool,
    /// Steps that were repeated since one was compared.
    pub unchecked: usize,
}

/// What the code of a step finds, as far as it may be another at the next step without the code's looking at it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scene {
    pub entry: EntryLayer,
    /// Whether there are images of the source, and of the target.
    pub domains: [bool; 2],
    /// The shapes of the images and their views.
    pub shapes: Vec<Dims>,
    /// Where the images and all tensors of networks and optimizers lie.
    pub places: Vec<u64>,
    /// Which of those of networks and optimizers nobody else holds.
    pub alone: Vec<bool>,
    /// Which parameters learn.
    pub learning: Vec<bool>,
}

/// What is another at a step that comes again.
pub(super) struct Numbers {
    pub knobs: Vec<f32>,
    pub updates: Vec<(UpdateRule, i32)>,
}

impl Repeatable {
    /// What else this step, foreseen with `numbers`, does than `other`, which was taken in its place.
    pub fn differs(
        &self,
        other: &Self,
        numbers: &Numbers,
        of_step: &StepNumbers,
    ) -> Option<String> {
        let bits = |values: &[f32]| values.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
        if bits(&numbers.knobs) != bits(&other.values) {
            return Some("a knob has another value".to_owned());
        }
        let counted = |it: &Self| (it.updates.clone(), it.batches.clone(), it.losses);
        if counted(self) != counted(other) || self.meters != other.meters {
            return Some("it counts or reports something else".to_owned());
        }
        self.noted.differs(&*other.noted, of_step)
    }
}
