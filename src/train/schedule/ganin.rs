//! (1 + alpha p)^-beta with p the progress over all steps (Ganin et al. 2016, section 5.2.2:
//! alpha = 10, beta = 0.75, with a rate of 0.01).

use super::{Moment, Schedule, ScheduleKind};
use crate::config::{Keys, Noted};

pub(super) const KIND: ScheduleKind = ScheduleKind {
    name: "ganin",
    about: "the rate falls with the progress p, as (1 + alpha p)^-beta (Ganin et al., 2016)",
    read,
};

#[derive(Debug)]
struct Ganin {
    alpha: f64,
    beta: f64,
}

fn read(keys: &mut Keys) -> Result<Box<dyn Schedule>, Noted> {
    keys.about(&[("alpha", "how fast the rate falls"), ("beta", "power with which it falls")]);
    let alpha = keys.float("alpha").at_least(0.0).or(10.0);
    let beta = keys.float("beta").at_least(0.0).or(0.75);
    Ok(Box::new(Ganin { alpha: alpha?, beta: beta? }))
}

impl Schedule for Ganin {
    fn lr(&self, base: f64, moment: &Moment) -> f64 {
        base * (1.0 + self.alpha * moment.progress()).powf(-self.beta)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::at;
    use super::*;

    #[test]
    fn the_rate_falls_from_one_to_eleven_to_the_minus_three_quarters() {
        let ganin = Ganin { alpha: 10.0, beta: 0.75 };
        assert!((ganin.lr(1.0, &at(0, 0)) - 1.0).abs() < 1e-12);
        assert!((ganin.lr(1.0, &at(9, 100)) - 11_f64.powf(-0.75)).abs() < 1e-12);
    }
}
