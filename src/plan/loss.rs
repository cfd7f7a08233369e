//! What configurations of a sweep are compared by: the goal's mean over the trials of each, and with `by = "auto"`
//! whether predicted classes collapse and what decides between equals. Reads no results.

use std::cmp::Ordering;

use super::goal::Merit;
use crate::metrics::rounding;

/// What a configuration had to show, turned so that less is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Loss {
    /// Whether the predicted classes of any of its trials collapse, where the goal looks at that.
    pub collapsed: bool,
    /// The goal's mean over its trials.
    value: f64,
    /// What decides between equal values, where the goal has that.
    tie: f64,
}

impl Loss {
    /// That of trials that showed this, `rises` saying whether more is better; `None` where one failed.
    #[expect(clippy::cast_precision_loss, reason = "a few repeats")]
    pub fn of(merits: &[Option<Merit>], rises: bool) -> Option<Self> {
        let merits: Vec<Merit> = merits.iter().copied().collect::<Option<_>>()?;
        let mean = |number: &dyn Fn(&Merit) -> f64| {
            let sum = merits.iter().fold(0.0, |sum, merit| sum + number(merit));
            sum / merits.len() as f64
        };
        let value = mean(&|merit| merit.value);
        let agreement = mean(&|merit| merit.check.map_or(0.0, |check| check.class_ami));
        Some(Self {
            collapsed: merits.iter().any(|merit| merit.check.is_some_and(|it| it.collapsed)),
            value: if rises { -value } else { value },
            tie: if agreement.is_nan() { f64::INFINITY } else { -agreement },
        })
    }

    /// Collapsed ones last, then by value, then by what decides between equals. Of losses that came out of [`in_order`],
    /// those are equal that only rounding tells apart.
    pub fn compare(&self, other: &Self) -> Ordering {
        let number = |a: f64, b: f64| a.partial_cmp(&b).unwrap_or(Ordering::Equal);
        self.collapsed
            .cmp(&other.collapsed)
            .then(number(self.value, other.value))
            .then(number(self.tie, other.tie))
    }

    /// One number for a search that learns from numbers. An accuracy is at most 1, so that adding as much puts
    /// what collapsed behind all else.
    pub fn number(&self) -> f64 {
        self.value + f64::from(u8::from(self.collapsed))
    }
}

/// Puts the numbers of configurations in the order of their losses, and equal ones in the order of their numbers. Losses
/// that only rounding tells apart become equal here: a rule that compared them in pairs would be none by which to sort, as it
/// is not transitive.
pub(super) fn in_order(mut all: Vec<(Loss, usize)>) -> Vec<(Loss, usize)> {
    let numbers: [fn(&mut Loss) -> &mut f64; 2] = [|it| &mut it.value, |it| &mut it.tie];
    for number in numbers {
        all.sort_by(|a, b| a.0.compare(&b.0));
        let mut first = f64::NAN;
        for (loss, _) in &mut all {
            let number = number(loss);
            if rounding::equal(*number, first) {
                *number = first;
            }
            first = *number;
        }
    }
    all.sort_by(|a, b| a.0.compare(&b.0).then(a.1.cmp(&b.1)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::goal::AutoCheck;

    /// Accuracy, whether it collapsed, and ClassAMI of every trial.
    fn auto(trials: &[(f64, bool, f64)]) -> Loss {
        let merit = |(value, collapsed, class_ami): &(f64, bool, f64)| {
            let check = AutoCheck { collapsed: *collapsed, class_ami: *class_ami };
            Some(Merit { value: *value, check: Some(check) })
        };
        Loss::of(&trials.iter().map(merit).collect::<Vec<_>>(), true).unwrap()
    }

    #[test]
    fn what_collapses_comes_last_then_accuracy_decides_and_between_equals_class_ami() {
        let collapsed = auto(&[(0.99, true, 0.9)]);
        let good = auto(&[(0.9, false, 0.1)]);
        let clustered = auto(&[(0.9, false, 0.3)]);
        let poor = auto(&[(0.2, false, 0.9)]);
        let mut all = [collapsed, poor, good, clustered];
        all.sort_by(Loss::compare);
        assert_eq!(all, [clustered, good, poor, collapsed]);
        let numbered = vec![(collapsed, 0), (poor, 1), (good, 2), (clustered, 3), (good, 4)];
        let order: Vec<usize> = in_order(numbered).into_iter().map(|it| it.1).collect();
        assert_eq!(order, [3, 2, 4, 1, 0]);
        // A search that learns from one number sees what collapses behind all else.
        assert!(collapsed.number() > poor.number() && poor.number() > good.number());
    }

    #[test]
    fn a_configuration_has_the_means_of_its_trials_and_fails_or_collapses_with_one_of_them() {
        let both = auto(&[(0.5, false, 0.2), (0.75, false, 0.6)]);
        assert_eq!((both.value, both.tie, both.collapsed), (-0.625, -0.4, false));
        assert!(auto(&[(0.5, false, 0.2), (0.75, true, 0.6)]).collapsed);
        assert_eq!(auto(&[(0.5, false, f64::NAN)]).tie, f64::INFINITY, "the worst of equals");
        assert_eq!(Loss::of(&[Some(0.5.into()), None], true), None);
        let plain = Loss::of(&[Some(0.5.into()), Some(1.5.into())], false).unwrap();
        assert_eq!((plain.value, plain.collapsed, plain.number()), (1.0, false, 1.0));
    }

    #[test]
    fn means_that_only_rounding_tells_apart_are_equal_and_the_first_of_them_comes_first() {
        let of = |values: [f64; 3]| auto(&values.map(|value| (value, false, 0.5)));
        let (down, up) = (of([0.3, 0.2, 0.1]), of([0.1, 0.2, 0.3]));
        assert!(up.value < down.value, "the same values, added in another order");
        let better = auto(&[(0.201, false, 0.0)]);
        let order = in_order(vec![(down, 0), (up, 1), (better, 2), (up, 3)]);
        assert_eq!(order.iter().map(|it| it.1).collect::<Vec<_>>(), [2, 0, 1, 3]);
        assert_eq!(order[1].0.compare(&order[2].0), Ordering::Equal);
        // What decides between equals does so between these, too.
        let clustered = auto(&[(0.3, false, 0.6), (0.2, false, 0.6), (0.1, false, 0.6)]);
        let order = in_order(vec![(up, 0), (clustered, 1)]);
        assert_eq!(order.iter().map(|it| it.1).collect::<Vec<_>>(), [1, 0]);
    }
}
