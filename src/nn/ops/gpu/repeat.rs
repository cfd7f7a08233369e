//! Steps that are asked for again without their code: what the queue noted, and where the bytes come from that are others at every
//! step. Everything else that was sent is sent again as it was.

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use super::update::numbers_of;
use super::{GpuOps, told};
use crate::nn::gpu::{NotedCalls, Source};
use crate::nn::ops::varying::OfKnob;
use crate::nn::ops::{Dims, Dropout, NotedStep, OpError, StepNumbers, Tensor, UpdateRule, Varying};
use crate::random;

/// Where bytes that are sent come from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Origin {
    /// A number that follows from a knob.
    Number(OfKnob),
    /// The classes of the labelled images, each below a number.
    Labels { count: usize, below: usize },
    /// The key of the masks of a layer in a pass.
    Mask { seed: u64, purpose: Rc<str> },
    /// The numbers of a parameter's update, which is this one of the step's and has so many moments.
    Update { number: usize, moments: usize },
}

/// What is noted of a step beside the queue's lists.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Notes {
    origins: Vec<Origin>,
    updates: usize,
    /// The shapes of the numbers that were set aside.
    pub logged: Vec<Dims>,
}

/// A step, to be asked for again.
struct GpuStep {
    ops: Rc<GpuOps>,
    calls: NotedCalls,
    notes: Notes,
}

impl fmt::Debug for GpuStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuStep").field("notes", &self.notes).finish_non_exhaustive()
    }
}

impl GpuOps {
    /// A source for bytes of this origin, while a step is noted.
    fn source(&self, origin: impl FnOnce(&mut Notes) -> Origin) -> Option<Source> {
        let mut noting = self.noting.borrow_mut();
        let notes = noting.as_mut()?;
        let origin = origin(notes);
        notes.origins.push(origin);
        Some(notes.origins.len() - 1)
    }

    /// That of a number, where it follows from a knob.
    pub(super) fn source_of_number(&self, origin: Option<OfKnob>) -> Option<Source> {
        let origin = origin?;
        self.source(|_| Origin::Number(origin))
    }

    /// That of labels of so many classes, where they are those of the step's images.
    pub(super) fn source_of_labels(&self, labels: Varying<u32>, below: usize) -> Option<Source> {
        let count = labels.len();
        labels.is_of_step().then(|| self.source(|_| Origin::Labels { count, below }))?
    }

    pub(super) fn source_of_mask(&self, Dropout { seed, purpose, .. }: Dropout) -> Option<Source> {
        self.source(|_| Origin::Mask { seed, purpose: purpose.into() })
    }

    pub(super) fn source_of_update(&self, rule: &UpdateRule) -> Option<Source> {
        self.source(|notes| {
            notes.updates += 1;
            Origin::Update { number: notes.updates - 1, moments: rule.moments() }
        })
    }

    pub(super) fn begin_notes(&self) {
        self.queue.note();
        *self.noting.borrow_mut() = Some(Notes::default());
    }

    pub(super) fn end_notes(&self) -> Option<Rc<dyn NotedStep>> {
        let notes = self.noting.take()?;
        let calls = self.queue.noted()?;
        Some(Rc::new(GpuStep { ops: self.this(), calls, notes }))
    }
}

impl Notes {
    /// Whether these numbers are of a step of this shape.
    fn fits(&self, numbers: &StepNumbers) -> bool {
        let has_updates = numbers.updates.len() == self.updates;
        has_updates
            && self.origins.iter().all(|origin| match origin {
                Origin::Labels { count, below } => {
                    let labels = numbers.labels.unseen();
                    labels.len() == *count && labels.iter().all(|it| (*it as usize) < *below)
                }
                Origin::Update { number, moments } => {
                    numbers.updates[*number].0.moments() == *moments
                }
                Origin::Number(of) => of.is_among(numbers.knobs),
                Origin::Mask { .. } => true,
            })
    }

    /// Writes the bytes that come from a source, at the beginning of those that are sent.
    fn fill(&self, numbers: &StepNumbers, source: Source, sent: &mut [u8]) {
        match &self.origins[source] {
            Origin::Number(of) => write([of.at(numbers.knobs).to_ne_bytes()], sent),
            // They are below 2^31, where both kinds of whole numbers have the same bits.
            Origin::Labels { .. } => {
                let labels = numbers.labels.unseen().iter();
                write(labels.map(|it| it.to_ne_bytes()), sent);
            }
            Origin::Mask { seed, purpose } => {
                let key = random::key(*seed, purpose, numbers.epoch, numbers.step);
                write(key.words().map(u32::to_ne_bytes), sent);
            }
            Origin::Update { number, .. } => {
                let (rule, step) = &numbers.updates[*number];
                write(numbers_of(rule, *step).iter().map(|it| it.to_ne_bytes()), sent);
            }
        }
    }
}

fn write(values: impl IntoIterator<Item = [u8; 4]>, sent: &mut [u8]) {
    for (place, value) in sent.chunks_exact_mut(4).zip(values) {
        place.copy_from_slice(&value);
    }
}

impl NotedStep for GpuStep {
    fn can_repeat(&self, numbers: &StepNumbers) -> bool {
        let Self { ops, calls, notes } = self;
        let fits = notes.fits(numbers) && ops.has_log_room(notes.logged.len());
        fits && ops.queue.can_repeat(calls)
    }

    fn repeat(&self, numbers: &StepNumbers) -> Result<Option<Vec<Tensor>>, OpError> {
        if !self.can_repeat(numbers) {
            return Ok(None);
        }
        let Self { ops, calls, notes } = self;
        let fill = |source, sent: &mut [u8]| notes.fill(numbers, source, sent);
        ops.queue.repeat(calls, fill).map_err(told)?;
        Ok(Some(ops.logged_again(&notes.logged)))
    }

    fn differs(&self, other: &dyn NotedStep, numbers: &StepNumbers) -> Option<String> {
        let other: &dyn Any = other;
        let Some(other) = other.downcast_ref::<Self>() else {
            return Some("it is another device's".to_owned());
        };
        if self.notes != other.notes || !self.notes.fits(numbers) {
            return Some("what varies comes from elsewhere".to_owned());
        }
        self.calls.differs(&other.calls, |source, sent| self.notes.fill(numbers, source, sent))
    }
}
