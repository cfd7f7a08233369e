//! Lowers the rate when a validation metric has stopped getting better (PyTorch's
//! `ReduceLROnPlateau`).

use super::{Moment, Schedule, ScheduleKind};
use crate::config::{Keys, Noted};
use crate::train::monitor::{Improvement, Metric};

pub(super) const KIND: ScheduleKind = ScheduleKind {
    name: "reduce_on_plateau",
    about: "the rate falls when validation gets no better",
    read,
};

#[derive(Debug)]
struct ReduceOnPlateau {
    metric: Metric,
    improvement: Improvement,
    factor: f64,
    /// Epochs without improvement that are forgiven.
    patience: usize,
    /// Epochs after a fall in which nothing is counted.
    cooldown: usize,
    min_lr: f64,
    /// A smaller fall is left out.
    eps: f64,
}

fn read(keys: &mut Keys) -> Result<Box<dyn Schedule>, Noted> {
    keys.about(&[
        ("metric", "metric of validation to go by"),
        ("factor", "factor of each fall"),
        ("patience", "epochs without improvement that are tolerated"),
        ("cooldown", "epochs after a fall in which none is counted"),
        ("min_lr", "rate below which it does not fall"),
        ("eps", "smaller falls are left out"),
    ]);
    let metric = Metric::read(keys, "metric");
    let factor = keys
        .float("factor")
        .such_that("a number above 0 and below 1", |it| *it > 0.0 && *it < 1.0)
        .or(0.1);
    let patience = keys.count("patience", 0..=usize::MAX).or(10_usize);
    let improvement = Improvement::read(keys, metric.unwrap_or(Metric::Loss));
    let cooldown = keys.count("cooldown", 0..=usize::MAX).or(0_usize);
    let min_lr = keys.float("min_lr").at_least(0.0).or(0.0);
    let eps = keys.float("eps").at_least(0.0).or(1e-8);
    Ok(Box::new(ReduceOnPlateau {
        metric: metric?,
        improvement: improvement?,
        factor: factor?,
        patience: patience?,
        cooldown: cooldown?,
        min_lr: min_lr?,
        eps: eps?,
    }))
}

impl Schedule for ReduceOnPlateau {
    fn lr(&self, base: f64, moment: &Moment) -> f64 {
        let (mut lr, mut best) = (base, self.improvement.worst());
        let (mut bad, mut cooling) = (0, 0);
        for scores in moment.validation {
            let value = scores.get(self.metric);
            if self.improvement.is_improved(value, best) {
                (best, bad) = (value, 0);
            } else {
                bad += 1;
            }
            if cooling > 0 {
                cooling -= 1;
                bad = 0;
            }
            if bad > self.patience {
                let lower = (lr * self.factor).max(self.min_lr);
                if lr - lower > self.eps {
                    lr = lower;
                }
                (cooling, bad) = (self.cooldown, 0);
            }
        }
        lr
    }

    fn watches(&self) -> bool {
        true
    }
}
