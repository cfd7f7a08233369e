//! The weight that a method gives to one of its losses, over the course of a training.
//!
//! It remembers nothing: what it is follows from where the training stands.

use std::f64::consts::PI;

use crate::config::node::Value;
use crate::config::{Keys, Noted, words};
use crate::train::TrainingProgress;

words! {
    /// The word for the course of a coefficient.
    enum CoefficientKind {
        /// It rises as 2 / (1 + exp(-gamma p)) - 1 with the progress p (Ganin et al., 2016).
        Ganin = "ganin",
        /// The same throughout.
        Constant = "constant",
        /// It rises with the steps, as a hyperbolic tangent.
        Tanh = "tanh",
        /// It rises in a straight line.
        Linear = "linear",
        /// It rises as exp(-5 (1 - p / over)^2) (Laine and Aila, 2017).
        Ramp = "ramp",
        /// It rises along half a cosine.
        Cosine = "cosine",
        /// It is 0 at first, then the largest value.
        Delay = "delay",
    }
}

/// A coefficient as a function of the share p of training that is over, or of the number i of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Coefficient {
    /// max (2 / (1 + exp(-gamma p)) - 1) (Ganin et al. 2016, section 5.2.2).
    Ganin {
        /// Steepness.
        gamma: f64,
        /// Value it rises to.
        max: f64,
    },
    /// The same throughout.
    Constant {
        /// The value.
        max: f64,
    },
    /// max tanh(i / steps). With 2000 steps this is the coefficient 2 / (1 + exp(-i / 1000)) - 1 of
    /// TLLib's gradient reversal: unlike Ganin's it does not depend on how long the training is.
    Tanh {
        /// Steps in which it reaches 0.76 of its maximum.
        steps: usize,
        /// Value it rises to.
        max: f64,
    },
    /// From 0 to `max` in a straight line, which then stays.
    Linear {
        /// Share of training that it rises over, above 0 to 1.
        over: f64,
        /// Value it rises to.
        max: f64,
    },
    /// max exp(-5 (1 - p / over)^2) up to `over`, and `max` afterwards (Laine and Aila 2017; French et
    /// al. 2018). It begins at 0.0067 of `max`, not at 0.
    Ramp {
        /// Share of training that it rises over, above 0 to 1.
        over: f64,
        /// Value it rises to.
        max: f64,
    },
    /// max (1 - cos(pi p / over)) / 2 up to `over`, and `max` afterwards.
    Cosine {
        /// Share of training that it rises over, above 0 to 1.
        over: f64,
        /// Value it rises to.
        max: f64,
    },
    /// 0 before the share `from` of training is over, `max` from then on.
    Delay {
        /// Share of training, 0 to below 1.
        from: f64,
        /// The value afterwards.
        max: f64,
    },
}

impl Coefficient {
    /// What it is at each step, for [`Bench::knob`](crate::train::Bench::knob).
    pub fn over_time(self) -> impl Fn(&TrainingProgress) -> f32 + 'static {
        move |progress| self.at(progress)
    }

    /// The course of Ganin et al. 2016 up to 1, with their steepness of 10.
    pub const GANIN: Self = Self::Ganin { gamma: 10.0, max: 1.0 };

    /// Reads `lambda = { schedule = "ganin", gamma = 10.0, max = 1.0 }`, where `lambda` is `key`. A bare
    /// number stands for a constant, a bare word for that kind with its defaults. A key that is left
    /// out means `default`; a setting that a table leaves out is that of `default`, if it has one.
    ///
    /// # Errors
    /// When the file has another value there; `keys` then knows the problem and its place.
    pub fn read(keys: &mut Keys, key: &'static str, default: Self) -> Result<Self, Noted> {
        let is_number = |value: &Value| matches!(value, Value::Float(_) | Value::Integer(_));
        if keys.has_form(key, |node| is_number(&node.value)) {
            let Some(max) = keys.float(key).at_least(0.0).optional()? else { return Ok(default) };
            // The record is that of the table, so that both ways to write it are the same training.
            let mut table = toml::Table::new();
            table.insert("schedule".to_owned(), "constant".into());
            table.insert("max".to_owned(), max.into());
            keys.record(key, table);
            return Ok(Self::Constant { max });
        }
        keys.kinded(key, "schedule", Some(default.kind()), |kind, keys| {
            Self::settings(kind, keys, default)
        })
    }

    fn settings(kind: CoefficientKind, keys: &mut Keys, default: Self) -> Result<Self, Noted> {
        keys.about(&[
            ("max", "the largest value"),
            ("gamma", "how steeply it rises"),
            ("steps", "steps in which it rises to 0.76 of the largest value"),
            ("over", "share of training over which it rises"),
            ("from", "share of training before which it is 0"),
        ]);
        let max = keys.float("max").at_least(0.0).or(default.max());
        let over =
            |keys: &mut Keys| keys.float("over").fraction().or(default.over().unwrap_or(1.0));
        Ok(match kind {
            CoefficientKind::Constant => Self::Constant { max: max? },
            CoefficientKind::Ganin => {
                let usual = if let Self::Ganin { gamma, .. } = default { gamma } else { 10.0 };
                let gamma = keys.float("gamma").at_least(0.0).or(usual);
                Self::Ganin { gamma: gamma?, max: max? }
            }
            CoefficientKind::Tanh => {
                let usual = if let Self::Tanh { steps, .. } = default { steps } else { 2000 };
                let steps = keys.count("steps", 1..=usize::MAX).or(usual);
                Self::Tanh { steps: steps?, max: max? }
            }
            CoefficientKind::Linear => Self::Linear { over: over(keys)?, max: max? },
            CoefficientKind::Ramp => Self::Ramp { over: over(keys)?, max: max? },
            CoefficientKind::Cosine => Self::Cosine { over: over(keys)?, max: max? },
            CoefficientKind::Delay => {
                let from = keys.float("from").below_one();
                let from = match default {
                    Self::Delay { from: usual, .. } => from.or(usual),
                    _ => from.required(),
                };
                Self::Delay { from: from?, max: max? }
            }
        })
    }

    /// Its value where training stands at `progress`.
    #[expect(clippy::cast_possible_truncation, reason = "gradients are 32-bit")]
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    pub fn at(&self, progress: &TrainingProgress) -> f32 {
        let p = progress.share;
        let risen = |over: f64| (p / over).min(1.0);
        let value = match *self {
            Self::Constant { max } => max,
            Self::Ganin { gamma, max } => max * (2.0 / (1.0 + (-gamma * p).exp()) - 1.0),
            Self::Tanh { steps, max } => max * (progress.step as f64 / steps as f64).tanh(),
            Self::Linear { over, max } => max * risen(over),
            Self::Ramp { over, max } => max * (-5.0 * (1.0 - risen(over)).powi(2)).exp(),
            Self::Cosine { over, max } => max * (1.0 - (PI * risen(over)).cos()) / 2.0,
            Self::Delay { from, max } => {
                if p < from {
                    0.0
                } else {
                    max
                }
            }
        };
        value as f32
    }

    /// The largest value it can have.
    fn max(&self) -> f64 {
        match *self {
            Self::Constant { max }
            | Self::Ganin { max, .. }
            | Self::Tanh { max, .. }
            | Self::Linear { max, .. }
            | Self::Ramp { max, .. }
            | Self::Cosine { max, .. }
            | Self::Delay { max, .. } => max,
        }
    }

    /// The share of training that it rises over, for those that have one.
    fn over(&self) -> Option<f64> {
        match *self {
            Self::Linear { over, .. } | Self::Ramp { over, .. } | Self::Cosine { over, .. } => {
                Some(over)
            }
            Self::Ganin { .. } | Self::Constant { .. } | Self::Tanh { .. } | Self::Delay { .. } => {
                None
            }
        }
    }

    fn kind(&self) -> CoefficientKind {
        match self {
            Self::Constant { .. } => CoefficientKind::Constant,
            Self::Ganin { .. } => CoefficientKind::Ganin,
            Self::Tanh { .. } => CoefficientKind::Tanh,
            Self::Linear { .. } => CoefficientKind::Linear,
            Self::Ramp { .. } => CoefficientKind::Ramp,
            Self::Cosine { .. } => CoefficientKind::Cosine,
            Self::Delay { .. } => CoefficientKind::Delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::read_lines;

    /// What a line of TOML gives where `default` is the default, how it is recorded, and what is wrong.
    fn read(line: &str, default: Coefficient) -> (Option<Coefficient>, String, Vec<String>) {
        let (coefficient, gathered) =
            read_lines(line, |keys| Coefficient::read(keys, "lambda", default));
        (coefficient.ok(), gathered.resolved.to_string(), gathered.messages())
    }

    fn at(share: f64) -> TrainingProgress {
        TrainingProgress { share, step: 0 }
    }

    #[test]
    fn ganin_rises_from_zero_to_its_maximum_as_published() {
        let ganin = Coefficient::GANIN;
        assert!(ganin.at(&at(0.0)).abs() < 1e-7);
        assert!((ganin.at(&at(0.1)) - 0.462_117_16).abs() < 1e-6, "tanh(0.5)");
        assert!((ganin.at(&at(1.0)) - 0.999_909_2).abs() < 1e-6, "tanh(5)");
        let half = Coefficient::Ganin { gamma: 10.0, max: 0.5 };
        assert!((half.at(&at(0.1)) * 2.0 - ganin.at(&at(0.1))).abs() < 1e-6);
    }

    #[test]
    fn tanh_counts_steps_as_tllib_does_and_not_the_share_of_training() {
        let tanh = Coefficient::Tanh { steps: 2000, max: 0.5 };
        for step in [0, 1, 700, 2000, 20_000] {
            let i = f64::from(step);
            let tllib = 0.5 * (2.0 / (1.0 + (-i / 1000.0).exp()) - 1.0);
            for share in [0.0, 0.9] {
                let progress = TrainingProgress { share, step: usize::try_from(step).unwrap() };
                assert!((f64::from(tanh.at(&progress)) - tllib).abs() < 1e-7, "step {step}");
            }
        }
    }

    #[test]
    fn what_rises_over_a_share_of_training_has_its_published_values_and_then_stays() {
        let (over, max) = (0.5, 2.0);
        let courses = [
            (Coefficient::Linear { over, max }, [0.0, 1.0, 2.0]),
            // 2 exp(-5) and 2 exp(-5/4).
            (Coefficient::Ramp { over, max }, [0.013_475_894, 0.573_009_6, 2.0]),
            (Coefficient::Cosine { over, max }, [0.0, 1.0, 2.0]),
        ];
        for (course, expected) in courses {
            for (share, expected) in [0.0, 0.25, 0.5].into_iter().zip(expected) {
                let value = course.at(&at(share));
                assert!((value - expected).abs() < 1e-6, "{course:?} at {share}: {value}");
            }
            assert_eq!(course.at(&at(0.75)).to_bits(), 2_f32.to_bits(), "{course:?}");
        }
        // A quarter of the way tells the line from the half wave: 2 (1 - cos(pi / 4)) / 2.
        let cosine = Coefficient::Cosine { over, max }.at(&at(0.125));
        assert!((cosine - 0.292_893_2).abs() < 1e-6, "{cosine}");
    }

    #[test]
    fn a_delay_is_zero_until_its_share_of_training_is_over() {
        let delay = Coefficient::Delay { from: 0.3, max: 0.7 };
        let values = [0.0, 0.299, 0.3, 0.99].map(|share| delay.at(&at(share)).to_bits());
        assert_eq!(values, [0.0_f32, 0.0, 0.7, 0.7].map(f32::to_bits));
    }

    #[test]
    fn ganin_and_constant_are_recorded_as_ever() {
        let ganin = "[lambda]\nschedule = \"ganin\"\nmax = 1.0\ngamma = 10.0\n";
        for line in ["", "lambda = 'ganin'", "lambda = {}", "lambda = { gamma = 10 }"] {
            let (read, record, problems) = read(line, Coefficient::GANIN);
            assert_eq!((read, &*record), (Some(Coefficient::GANIN), ganin), "{line}: {problems:?}");
        }
        let line = "lambda = { schedule = 'constant', max = 0.3 }";
        let (read, record, _) = read(line, Coefficient::GANIN);
        assert_eq!(read, Some(Coefficient::Constant { max: 0.3 }));
        assert_eq!(record, "[lambda]\nschedule = \"constant\"\nmax = 0.3\n");
    }

    #[test]
    fn a_bare_number_is_a_constant_and_recorded_as_one() {
        let table = read("lambda = { schedule = 'constant', max = 3.0 }", Coefficient::GANIN);
        for line in ["lambda = 3", "lambda = 3.0"] {
            assert_eq!(read(line, Coefficient::GANIN), table, "{line}");
        }
        let (read, _, problems) = read("lambda = -1", Coefficient::GANIN);
        assert_eq!(read, None);
        assert_eq!(problems, ["`lambda` must be a number of at least 0"]);
    }

    #[test]
    fn what_a_table_leaves_out_is_that_of_the_default() {
        let default = Coefficient::Ramp { over: 0.4, max: 3.0 };
        let of = |line| read(line, default).0;
        assert_eq!(of(""), Some(default));
        assert_eq!(of("lambda = {}"), Some(default));
        assert_eq!(
            of("lambda = { schedule = 'linear' }"),
            Some(Coefficient::Linear { over: 0.4, max: 3.0 })
        );
        assert_eq!(of("lambda = 'tanh'"), Some(Coefficient::Tanh { steps: 2000, max: 3.0 }));
        let (_, _, problems) = read("lambda = 'delay'", default);
        assert_eq!(problems, ["missing key `lambda.from`"]);
        let (_, _, problems) = read("lambda = { over = 0 }", default);
        assert_eq!(problems, ["`lambda.over` must be a fraction above 0 and at most 1"]);
    }
}
