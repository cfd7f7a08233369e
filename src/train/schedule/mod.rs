//! Learning-rate schedules: one file each, registered in `SCHEDULES`.

use std::fmt::Debug;

use super::monitor::ValidationScores;
use crate::config::{Keys, Noted, Word};

mod constant;
mod cosine;
mod exponential;
mod ganin;
mod inverse;
mod multi_step;
mod one_cycle;
mod reduce_on_plateau;
mod step;

/// Where training stands.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Epoch from 0.
    pub epoch: usize,
    /// Number of epochs.
    pub epochs: usize,
    /// Steps taken over all epochs.
    pub step: usize,
    /// Number of steps over all epochs.
    pub steps: usize,
    /// What validation gave after each epoch so far; empty without validation.
    pub validation: &'a [ValidationScores],
}

/// Where a training stands before a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingProgress {
    /// Share of all steps taken, 0 to below 1.
    pub share: f64,
    /// Steps taken over all epochs.
    pub step: usize,
}

impl Moment<'_> {
    /// Progress p of Ganin et al.: share of all steps taken, 0 to below 1.
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    pub fn progress(&self) -> f64 {
        self.step as f64 / self.steps as f64
    }
}

/// A learning rate that changes as training goes on. It remembers nothing: what it does follows from
/// the moment.
pub trait Schedule: Send + Sync + Debug {
    /// The rate at a moment of what has the rate `base` in the settings.
    fn lr(&self, base: f64, moment: &Moment) -> f64;

    /// The momentum at a moment (Adam's first beta), where it changes too.
    fn momentum(&self, _: &Moment) -> Option<f64> {
        None
    }

    /// Whether it goes by validation.
    fn watches(&self) -> bool {
        false
    }
}

/// A schedule's name, what it does in one line, and how its settings are read.
struct ScheduleKind {
    name: &'static str,
    about: &'static str,
    read: fn(&mut Keys) -> Result<Box<dyn Schedule>, Noted>,
}

/// Every schedule. A new one is a file in this folder and a line here.
const SCHEDULES: &[ScheduleKind] = &[
    constant::KIND,
    step::KIND,
    multi_step::KIND,
    exponential::KIND,
    cosine::KIND,
    one_cycle::KIND,
    reduce_on_plateau::KIND,
    ganin::KIND,
    inverse::KIND,
];

impl Word for &'static ScheduleKind {
    fn all() -> impl Iterator<Item = Self> {
        SCHEDULES.iter()
    }

    fn word(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> Option<&'static str> {
        Some(self.about)
    }
}

/// A schedule that first rises linearly over its warm-up.
#[derive(Debug)]
pub struct Scheduled {
    schedule: Box<dyn Schedule>,
    warmup_steps: usize,
}

impl Scheduled {
    /// The same rate throughout, without warm-up.
    pub fn constant() -> Self {
        Self { schedule: Box::new(constant::Constant), warmup_steps: 0 }
    }

    /// Reads `schedule = { kind = ..., warmup_steps = 0 }`.
    pub fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.kinded("schedule", "kind", Some(&constant::KIND), |kind, keys| {
            let schedule = (kind.read)(keys);
            keys.about(&[("warmup_steps", "steps over which the rate first rises linearly")]);
            let warmup_steps = keys.count("warmup_steps", 0..=usize::MAX).or(0_usize);
            Ok(Self { schedule: schedule?, warmup_steps: warmup_steps? })
        })
    }

    /// The momentum at a moment, where it changes.
    pub fn momentum(&self, moment: &Moment) -> Option<f64> {
        self.schedule.momentum(moment)
    }

    /// Whether it moves the momentum.
    pub fn moves_momentum(&self) -> bool {
        let begin = Moment { epoch: 0, epochs: 1, step: 0, steps: 2, validation: &[] };
        self.momentum(&begin).is_some()
    }

    /// Whether it goes by validation.
    pub fn watches(&self) -> bool {
        self.schedule.watches()
    }

    /// The rate of what has the rate `base` in the settings. During warm-up the schedule's own is
    /// multiplied by (step + 1) / `warmup_steps`.
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    pub fn lr(&self, base: f64, moment: &Moment) -> f64 {
        let rise = if moment.step < self.warmup_steps {
            (moment.step + 1) as f64 / self.warmup_steps as f64
        } else {
            1.0
        };
        rise * self.schedule.lr(base, moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn at(epoch: usize, step: usize) -> Moment<'static> {
        Moment { epoch, epochs: 10, step, steps: 100, validation: &[] }
    }

    #[test]
    fn warm_up_rises_linearly_to_the_full_rate() {
        let scheduled = Scheduled { schedule: Box::new(constant::Constant), warmup_steps: 4 };
        let factors: Vec<f64> = (0..6).map(|step| scheduled.lr(1.0, &at(0, step))).collect();
        assert_eq!(factors, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }
}
