//! Multiplies the rate by `gamma` at each of some epochs (PyTorch's `MultiStepLR`).

use super::{Moment, Schedule, ScheduleKind};
use crate::config::{Keys, Noted};

pub(super) const KIND: ScheduleKind = ScheduleKind {
    name: "multi_step",
    about: "the rate falls by a factor after the epochs that are named",
    read,
};

#[derive(Debug)]
struct MultiStep {
    /// Epochs that are over when the rate falls.
    milestones: Vec<usize>,
    gamma: f64,
}

fn read(keys: &mut Keys) -> Result<Box<dyn Schedule>, Noted> {
    keys.about(&[
        ("milestones", "epochs after which the rate falls"),
        ("gamma", "factor of each fall"),
    ]);
    let milestones = keys
        .counts("milestones")
        .such_that("an array of at least one epoch, rising", |epochs| {
            !epochs.is_empty() && epochs.is_sorted()
        })
        .required();
    let gamma = keys.float("gamma").fraction().or(0.1);
    Ok(Box::new(MultiStep { milestones: milestones?, gamma: gamma? }))
}

impl Schedule for MultiStep {
    fn lr(&self, base: f64, moment: &Moment) -> f64 {
        let passed = self.milestones.partition_point(|epoch| *epoch <= moment.epoch);
        base * self.gamma.powi(i32::try_from(passed).unwrap_or(i32::MAX))
    }
}
