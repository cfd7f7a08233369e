//! The names of the metrics that scoring stages report, and which way is better. A new one is a line
//! here.

use std::cmp::Ordering;

/// Which values of a metric are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// As of accuracy.
    Higher,
    /// As of a loss.
    Lower,
    /// As of a count: neither.
    Neither,
}

impl Better {
    /// `Greater` when `a` is better than `b`; `None` when there is no better one.
    pub fn compare(self, a: f64, b: f64) -> Option<Ordering> {
        match self {
            Self::Higher => a.partial_cmp(&b),
            Self::Lower => b.partial_cmp(&a),
            Self::Neither => None,
        }
    }
}

/// Metrics by name.
const METRICS: &[(&str, Better)] = &[
    ("accuracy", Better::Higher),
    ("balanced_accuracy", Better::Higher),
    ("macro_f1", Better::Higher),
    ("loss", Better::Lower),
    ("ece", Better::Lower),
    ("proxy_a_distance", Better::Lower),
    ("os_star", Better::Higher),
    ("unk", Better::Higher),
    ("hos", Better::Higher),
    ("mixval", Better::Higher),
    ("mixval_intra", Better::Higher),
    ("mixval_inter", Better::Higher),
    ("ensv", Better::Higher),
    ("count", Better::Neither),
];

/// Those that need no labels and can be compared between the trials of a sweep. `ensv` cannot: it compares the models of
/// one stage with each other.
pub const WITHOUT_LABELS: [&str; 4] =
    ["proxy_a_distance", "mixval", "mixval_intra", "mixval_inter"];

/// Metrics with so many class numbers after their name: `class_accuracy.3`, `confusion.3.5`.
const OF_CLASSES: &[(&str, usize, Better)] =
    &[("class_accuracy", 1, Better::Higher), ("confusion", 2, Better::Neither)];

/// Every name, with `N` for a number of a class.
pub fn names() -> impl Iterator<Item = String> {
    let plain = METRICS.iter().map(|(name, _)| (*name).to_owned());
    plain.chain(
        OF_CLASSES.iter().map(|(name, numbers, _)| name.to_string() + &".N".repeat(*numbers)),
    )
}

/// Which way is better; `None` for what is no metric of scores.
pub fn better(metric: &str) -> Option<Better> {
    if let Some((_, better)) = METRICS.iter().find(|(name, _)| *name == metric) {
        return Some(*better);
    }
    let mut parts = metric.split('.');
    let first = parts.next()?;
    let numbers: Option<Vec<u32>> = parts.map(|part| part.parse().ok()).collect();
    let count = numbers?.len();
    OF_CLASSES.iter().find(|it| it.0 == first && it.1 == count).map(|it| it.2)
}

/// Whether the metric is a share that tables show in percent.
pub fn in_percent(metric: &str) -> bool {
    metric == "accuracy"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_of_classes_has_as_many_numbers_as_it_needs() {
        assert_eq!(better("class_accuracy.12"), Some(Better::Higher));
        assert_eq!(better("confusion.1.2"), Some(Better::Neither));
        for wrong in ["class_accuracy", "class_accuracy.1.2", "confusion.1", "confusion.a.b", "acc"]
        {
            assert_eq!(better(wrong), None, "{wrong}");
        }
        assert!(names().any(|name| name == "confusion.N.N"));
    }

    #[test]
    fn what_needs_no_labels_has_a_better_side() {
        let sides = WITHOUT_LABELS.map(|name| better(name).unwrap());
        assert_eq!(sides, [Better::Lower, Better::Higher, Better::Higher, Better::Higher]);
    }

    #[test]
    fn a_lower_loss_is_better_and_no_count_is() {
        assert_eq!(Better::Lower.compare(0.1, 0.2), Some(Ordering::Greater));
        assert_eq!(Better::Higher.compare(0.1, 0.2), Some(Ordering::Less));
        assert_eq!(Better::Neither.compare(1.0, 2.0), None);
    }
}
