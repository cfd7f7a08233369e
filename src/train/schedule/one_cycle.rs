//! Up to the full rate and down to almost nothing, step by step, while the momentum does the opposite
//! (Smith & Topin 2018; PyTorch's `OneCycleLR` with its cosine).

use std::f64::consts::PI;

use super::{Moment, Schedule, ScheduleKind};
use crate::config::{Keys, Noted};

pub(super) const KIND: ScheduleKind = ScheduleKind {
    name: "one_cycle",
    about: "the rate rises, then falls far below where it began (Smith and Topin, 2019)",
    read,
};

#[derive(Debug)]
struct OneCycle {
    /// Share of all steps that the rate rises for.
    rise: f64,
    /// The rate begins at this part of the full one.
    div_factor: f64,
    /// It ends at this part of where it began.
    final_div_factor: f64,
    /// The momentum at the full rate, and at the ends.
    momentum: Option<(f64, f64)>,
}

fn read(keys: &mut Keys) -> Result<Box<dyn Schedule>, Noted> {
    keys.about(&[
        ("pct_start", "share of the steps in which the rate rises"),
        ("div_factor", "the full rate over the rate at the start"),
        ("final_div_factor", "the rate at the start over the rate at the end"),
        ("cycle_momentum", "whether the momentum moves the other way"),
        ("base_momentum", "momentum at the full rate"),
        ("max_momentum", "momentum at the start and the end"),
    ]);
    let rise = keys.float("pct_start").below_one().or(0.3);
    let above_one = |keys: &mut Keys, key, default: f64| {
        keys.float(key)
            .such_that("a number of at least 1", |it| it.is_finite() && *it >= 1.0)
            .or(default)
    };
    let div_factor = above_one(keys, "div_factor", 25.0);
    let final_div_factor = above_one(keys, "final_div_factor", 1e4);
    let cycles = keys.boolean("cycle_momentum").or(true);
    let momentum = if cycles == Ok(false) {
        Ok(None)
    } else {
        let base = keys.float("base_momentum").below_one().or(0.85);
        let max = keys.float("max_momentum").below_one().or(0.95);
        base.and_then(|base| Ok(Some((base, max?))))
    };
    cycles?;
    Ok(Box::new(OneCycle {
        rise: rise?,
        div_factor: div_factor?,
        final_div_factor: final_div_factor?,
        momentum: momentum?,
    }))
}

impl OneCycle {
    /// The value at a moment of something that goes from `start` to `peak` and on to `end`.
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    fn at(&self, moment: &Moment, [start, peak, end]: [f64; 3]) -> f64 {
        let cosine =
            |from: f64, to: f64, part: f64| to + (from - to) / 2.0 * (1.0 + (PI * part).cos());
        let (step, steps) = (moment.step as f64, moment.steps as f64);
        let top = self.rise * steps - 1.0;
        if step <= top {
            cosine(start, peak, step / top)
        } else {
            cosine(peak, end, ((step - top) / (steps - 1.0 - top)).min(1.0))
        }
    }
}

impl Schedule for OneCycle {
    fn lr(&self, base: f64, moment: &Moment) -> f64 {
        let start = base / self.div_factor;
        self.at(moment, [start, base, start / self.final_div_factor])
    }

    fn momentum(&self, moment: &Moment) -> Option<f64> {
        let (base, max) = self.momentum?;
        Some(self.at(moment, [max, base, max]))
    }
}
