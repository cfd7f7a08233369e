//! Half a cosine from the full rate to `min` times it, epoch by epoch
//! (Loshchilov & Hutter 2017; PyTorch's `CosineAnnealingLR` with `T_max` = epochs).

use super::{Moment, Schedule, ScheduleKind};
use crate::config::{Keys, Noted};

pub(super) const KIND: ScheduleKind = ScheduleKind {
    name: "cosine",
    about: "the rate falls along half a cosine (Loshchilov and Hutter, 2017)",
    read,
};

#[derive(Debug)]
struct Cosine {
    min: f64,
}

fn read(keys: &mut Keys) -> Result<Box<dyn Schedule>, Noted> {
    keys.about(&[("min", "share of the rate that is left at the end")]);
    let min = keys.float("min").below_one().or(0.0);
    Ok(Box::new(Cosine { min: min? }))
}

impl Schedule for Cosine {
    #[expect(clippy::cast_precision_loss, reason = "epochs are far below 2^53")]
    fn lr(&self, base: f64, moment: &Moment) -> f64 {
        let turn = std::f64::consts::PI * moment.epoch as f64 / moment.epochs as f64;
        base * (self.min + (1.0 - self.min) * (1.0 + turn.cos()) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::at;
    use super::*;

    #[test]
    fn the_rate_is_whole_at_first_and_half_way_between_in_the_middle() {
        let cosine = Cosine { min: 0.2 };
        assert!((cosine.lr(1.0, &at(0, 0)) - 1.0).abs() < 1e-12);
        assert!((cosine.lr(1.0, &at(5, 50)) - 0.6).abs() < 1e-12);
        // CosineAnnealingLR(T_max=10) of PyTorch after three epochs, eta_min = 0.2 of the rate.
        assert!((cosine.lr(1.0, &at(3, 30)) - 0.835_114_100_916_989_2).abs() < 1e-12);
    }
}
