//! Multiplies the rate by `gamma` every `every` epochs (PyTorch's `StepLR`).

use super::{Moment, Schedule, ScheduleKind};
use crate::config::{Keys, Noted};

pub(super) const KIND: ScheduleKind =
    ScheduleKind { name: "step", about: "the rate falls by a factor every so many epochs", read };

#[derive(Debug)]
struct StepDecay {
    every: usize,
    gamma: f64,
}

fn read(keys: &mut Keys) -> Result<Box<dyn Schedule>, Noted> {
    keys.about(&[("every", "epochs between two falls"), ("gamma", "factor of each fall")]);
    let every = keys.count("every", 1..=usize::MAX).required();
    let gamma = keys.float("gamma").fraction().or(0.1);
    Ok(Box::new(StepDecay { every: every?, gamma: gamma? }))
}

impl Schedule for StepDecay {
    fn lr(&self, base: f64, moment: &Moment) -> f64 {
        let times = i32::try_from(moment.epoch / self.every).unwrap_or(i32::MAX);
        base * self.gamma.powi(times)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::at;
    use super::*;

    #[test]
    fn the_rate_drops_at_every_third_epoch() {
        let step = StepDecay { every: 3, gamma: 0.5 };
        let factors: Vec<f64> = (0..7).map(|epoch| step.lr(1.0, &at(epoch, 0))).collect();
        assert_eq!(factors, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]);
    }
}
