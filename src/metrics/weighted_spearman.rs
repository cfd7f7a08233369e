//! Weighted Spearman correlation of scores with accuracies: how well a score that needs no labels ranks models.
//! A model counts more the better it is, or the better the score says it is, so that a score loses most by
//! putting bad models on top (Musgrave et al. 2022, "Three New Validators and a Large-Scale Benchmark Ranking
//! for Unsupervised Domain Adaptation").

/// The correlation, -1 to 1, of `scores`, of which more is better, with `accuracies` of the same models: for a
/// score of which less is better, give its negative. A score that is not finite counts as the smallest finite
/// one. `None` where the correlation is not defined: without a finite score, or where all scores or all
/// accuracies are equal.
///
/// With v and t the dense ranks of score and accuracy, from 1 for the smallest value and equal ones sharing
/// theirs, each divided by its maximum, the weight of a model is w = max(v, t)^2. As in the authors' program,
/// Pearson's correlation with these weights is not taken of v and t but of weighted ranks: of a value that c
/// models have, W being the sum of their weights, the sum of the weights of all smaller values plus
/// (c + 1) / 2 W / c.
///
/// ```
/// use runner::metrics::weighted_spearman::weighted_spearman;
///
/// let accuracies = [0.1, 0.5, 0.7, 0.9];
/// assert_eq!(weighted_spearman(&[-2.0, 2.0, 3.0, 9.0], &accuracies), Some(1.0));
/// // A mistake at the top costs more than one at the bottom.
/// let top = weighted_spearman(&[1.0, 2.0, 4.0, 3.0], &accuracies).unwrap();
/// let bottom = weighted_spearman(&[2.0, 1.0, 3.0, 4.0], &accuracies).unwrap();
/// assert!(top < bottom);
/// ```
///
/// # Panics
/// When there are not as many scores as accuracies.
pub fn weighted_spearman(scores: &[f64], accuracies: &[f64]) -> Option<f64> {
    assert_eq!(scores.len(), accuracies.len(), "a score and an accuracy of each model");
    let finite = scores.iter().copied().filter(|it| it.is_finite());
    let least = finite.reduce(f64::min)?;
    let finite = |score: &f64| if score.is_finite() { *score } else { least };
    let scores: Vec<f64> = scores.iter().map(finite).collect();
    let (v, t) = (Values::of(&scores), Values::of(accuracies));
    if v.distinct.len() < 2 || t.distinct.len() < 2 {
        return None;
    }
    let pairs = v.dense_ranks().zip(t.dense_ranks());
    let weights: Vec<f64> = pairs.map(|(v, t)| v.max(t).powi(2)).collect();
    Some(pearson(&v.weighted_ranks(&weights), &t.weighted_ranks(&weights), &weights))
}

/// Numbers that can be ranked.
struct Values {
    /// Each number once, in rising order.
    distinct: Vec<f64>,
    /// The place of each number among those.
    places: Vec<usize>,
}

impl Values {
    fn of(values: &[f64]) -> Self {
        let mut distinct = values.to_vec();
        distinct.sort_unstable_by(f64::total_cmp);
        distinct.dedup();
        let place = |value: &f64| distinct.partition_point(|it| it < value);
        let places = values.iter().map(place).collect();
        Self { distinct, places }
    }

    /// Above 0, and 1 for the largest value.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    fn dense_ranks(&self) -> impl Iterator<Item = f64> {
        self.places.iter().map(|place| (place + 1) as f64 / self.distinct.len() as f64)
    }

    fn weighted_ranks(&self, weights: &[f64]) -> Vec<f64> {
        let mut groups = vec![(0.0, 0.0); self.distinct.len()];
        for (place, weight) in self.places.iter().zip(weights) {
            groups[*place].0 += weight;
            groups[*place].1 += 1.0;
        }
        let mut before = 0.0_f64;
        let rank = |(weight, count): &(f64, f64)| {
            let rank = before + (count + 1.0) / 2.0 * (weight / count);
            before += weight;
            rank
        };
        let ranks: Vec<f64> = groups.iter().map(rank).collect();
        self.places.iter().map(|place| ranks[*place]).collect()
    }
}

/// The correlation of two lists that are not constant, with a weight for each pair.
fn pearson(x: &[f64], y: &[f64], weights: &[f64]) -> f64 {
    let sum: f64 = weights.iter().sum();
    let mean = |values: &[f64]| {
        values.iter().zip(weights).map(|(value, weight)| weight * value).sum::<f64>() / sum
    };
    let (of_x, of_y) = (mean(x), mean(y));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for ((x, y), weight) in x.iter().zip(y).zip(weights) {
        let (x, y) = (x - of_x, y - of_y);
        xx += weight * x * x;
        xy += weight * x * y;
        yy += weight * y * y;
    }
    // Rounding does not take it past its bounds.
    (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_order_correlates_fully_and_the_opposite_one_fully_against() {
        let accuracies = [0.3, 0.1, 0.9, 0.5];
        let scores = accuracies.map(|it: f64| it.powi(3));
        assert!((weighted_spearman(&scores, &accuracies).unwrap() - 1.0).abs() < 1e-12);
        // Weighted ranks of the opposite order are not on a line, unless weights are equal.
        let against = weighted_spearman(&scores.map(|it| -it), &accuracies).unwrap();
        assert!((-1.0..-0.95).contains(&against), "{against}");
    }

    #[test]
    fn the_worst_model_on_top_costs_more_than_one_in_the_middle() {
        let accuracies: Vec<f64> = (0..10_u8).map(f64::from).collect();
        let mut top = accuracies.clone();
        top[0] = 10.0;
        let mut middle = accuracies.clone();
        middle.swap(0, 4);
        let of = |scores: &[f64]| weighted_spearman(scores, &accuracies).unwrap();
        assert!(of(&top) < of(&middle), "{} and {}", of(&top), of(&middle));
    }

    #[test]
    fn ties_share_the_mean_of_their_weighted_ranks() {
        let (scores, accuracies) = ([2.0, 2.0, 1.0], [0.4, 0.8, 0.8]);
        // v = (1, 1, 1/2) and t = (1/2, 1, 1): all weights are 1, the ranks (2.5, 2.5, 1) and
        // (1, 2.5, 2.5), their means 2.
        let found = weighted_spearman(&scores, &accuracies).unwrap();
        assert!((found - (-0.75 / 1.5)).abs() < 1e-12, "{found}");
        // v = (1/3, 1, 2/3) and t = (1/3, 2/3, 1): weights (1/9, 1, 1), and ranks that count by them.
        let found = weighted_spearman(&[1.0, 3.0, 2.0], &[1.0, 2.0, 3.0]).unwrap();
        let w = [1.0 / 9.0, 1.0, 1.0];
        let (x, y) = ([w[0], w[0] + 2.0, w[0] + 1.0], [w[0], w[0] + 1.0, w[0] + 2.0]);
        let all: f64 = w.iter().sum();
        let mean: f64 = (0..3).map(|at| w[at] * x[at]).sum::<f64>() / all;
        let xy: f64 = (0..3).map(|at| w[at] * (x[at] - mean) * (y[at] - mean)).sum();
        let xx: f64 = (0..3).map(|at| w[at] * (x[at] - mean).powi(2)).sum();
        assert!((found - xy / xx).abs() < 1e-12, "{found}");
    }

    #[test]
    fn what_is_not_finite_counts_as_the_smallest_score_and_what_does_not_vary_has_no_correlation() {
        let accuracies = [0.2, 0.4, 0.1, 0.3];
        let with = |odd: f64| weighted_spearman(&[0.5, 0.9, odd, 0.6], &accuracies);
        assert_eq!(with(f64::NAN), with(0.5));
        assert_eq!(with(f64::INFINITY), with(0.5));
        assert_ne!(with(f64::NEG_INFINITY), with(0.7));
        assert_eq!(weighted_spearman(&[f64::NAN; 4], &accuracies), None);
        assert_eq!(weighted_spearman(&[1.0, f64::NAN, 1.0, 1.0], &accuracies), None);
        assert_eq!(weighted_spearman(&accuracies, &[0.5; 4]), None);
        assert_eq!(weighted_spearman(&[], &[]), None);
    }
}
