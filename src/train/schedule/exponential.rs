//! Multiplies the rate by `gamma` after every epoch (PyTorch's `ExponentialLR`).

use super::{Moment, Schedule, ScheduleKind};
use crate::config::{Keys, Noted};

pub(super) const KIND: ScheduleKind = ScheduleKind {
    name: "exponential",
    about: "the rate falls by a factor after every epoch",
    read,
};

#[derive(Debug)]
struct Exponential {
    gamma: f64,
}

fn read(keys: &mut Keys) -> Result<Box<dyn Schedule>, Noted> {
    keys.about(&[("gamma", "factor of each epoch")]);
    let gamma = keys.float("gamma").fraction().required();
    Ok(Box::new(Exponential { gamma: gamma? }))
}

impl Schedule for Exponential {
    fn lr(&self, base: f64, moment: &Moment) -> f64 {
        base * self.gamma.powi(i32::try_from(moment.epoch).unwrap_or(i32::MAX))
    }
}
