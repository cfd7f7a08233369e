//! (1 + gamma i)^-power with i the steps taken over all epochs: the `inv` policy of Caffe, with which Long
//! et al. 2015 trained, and which TLLib took over.
//! Ganin's schedule is the same function of the share of training instead, with gamma = 10.

use super::{Moment, Schedule, ScheduleKind};
use crate::config::{Keys, Noted};

pub(super) const KIND: ScheduleKind = ScheduleKind {
    name: "inverse",
    about: "the rate falls with the steps, as (1 + gamma step)^-power",
    read,
};

#[derive(Debug)]
struct Inverse {
    gamma: f64,
    power: f64,
}

fn read(keys: &mut Keys) -> Result<Box<dyn Schedule>, Noted> {
    keys.about(&[
        ("gamma", "how fast the rate falls from step to step"),
        ("power", "power with which it falls"),
    ]);
    let gamma = keys.float("gamma").at_least(0.0).or(0.001);
    let power = keys.float("power").at_least(0.0).or(0.75);
    Ok(Box::new(Inverse { gamma: gamma?, power: power? }))
}

impl Schedule for Inverse {
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    fn lr(&self, base: f64, moment: &Moment) -> f64 {
        base * (1.0 + self.gamma * moment.step as f64).powf(-self.power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_with_the_steps_taken_however_long_training_is() {
        let inverse = Inverse { gamma: 0.001, power: 0.75 };
        for (epochs, steps) in [(2, 2000), (20, 20_000)] {
            let moment = Moment { epoch: 1, epochs, step: 1000, steps, validation: &[] };
            assert!((inverse.lr(0.01, &moment) - 0.01 * 2_f64.powf(-0.75)).abs() < 1e-15);
        }
    }
}
