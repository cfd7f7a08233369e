//! The same rate throughout.

use super::{Kind, Moment, Schedule};

pub(super) const KIND: Kind = Kind { name: "constant", read: |_| Some(Box::new(Constant)) };

#[derive(Debug)]
pub(super) struct Constant;

impl Schedule for Constant {
    fn lr(&self, base: f64, _: &Moment) -> f64 {
        base
    }
}
