//! The same rate throughout.

use super::{Moment, Schedule, ScheduleKind};

pub(super) const KIND: ScheduleKind = ScheduleKind {
    name: "constant",
    about: "the rate stays as it is",
    read: |_| Ok(Box::new(Constant)),
};

#[derive(Debug)]
pub(super) struct Constant;

impl Schedule for Constant {
    fn lr(&self, base: f64, _: &Moment) -> f64 {
        base
    }
}
