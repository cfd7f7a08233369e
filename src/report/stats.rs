//! The statistics behind result tables: mean, deviation and confidence interval, paired tests, and Holm's
//! correction for several tests. Knows nothing of tables.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::metrics::rounding;
use crate::random;

/// Up to this many pairs, the permutation test looks at every choice of signs: at most 2^16.
const EXACT: usize = 16;

/// With more pairs, so many choices of signs are drawn at random.
const DRAWN: u32 = 100_000;

/// The mean and, for two or more values, the sample standard deviation. Equal values have exactly their value as the mean and
/// 0 as the deviation, whatever rounding makes of their sum.
#[expect(clippy::cast_precision_loss, reason = "counts of trials are small")]
pub fn mean_and_deviation(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    let is_one = |first: &f64| first.is_finite() && values.iter().all(|value| value == first);
    let mean = match values.first().filter(|first| values.len() > 1 && is_one(first)) {
        // A negative zero is a zero.
        Some(first) => first + 0.0,
        None => values.iter().sum::<f64>() / n,
    };
    match values.len() {
        0 => None,
        1 => Some((mean, None)),
        _ => {
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            Some((mean, Some((squares / (n - 1.0)).sqrt())))
        }
    }
}

/// Half the width of the 95 % interval of the mean of `n` values with the sample deviation `sd`, by
/// the t distribution with `n - 1` degrees of freedom; `None` for fewer than two values.
#[expect(clippy::cast_precision_loss, reason = "counts of trials are small")]
pub fn half_interval(sd: f64, n: usize) -> Option<f64> {
    let t = student(n)?.inverse_cdf(0.975);
    Some(t * sd / (n as f64).sqrt())
}

/// The outcome of a paired test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tested {
    /// The two-sided p value; `None` where the test says nothing.
    pub p: Option<f64>,
    /// The smallest p value that this many pairs can give.
    pub least: Option<f64>,
    /// Whether the p value is an estimate from drawn choices of signs.
    pub drawn: bool,
}

/// Student's two-sided t test of the hypothesis that the mean of paired differences is zero. It has no p
/// value for fewer than two pairs, or where all differences are the same and not zero.
#[expect(clippy::cast_precision_loss, reason = "counts of trials are small")]
pub fn paired_t(differences: &[f64]) -> Tested {
    let nothing = Tested { p: None, least: None, drawn: false };
    let Some((mean, Some(sd))) = mean_and_deviation(differences) else { return nothing };
    let n = differences.len();
    let scale = differences.iter().map(|it| it.abs()).fold(0.0, f64::max);
    if scale == 0.0 {
        return Tested { p: Some(1.0), ..nothing };
    }
    if rounding::is_noise(sd, scale) {
        return nothing;
    }
    let t = mean / (sd / (n as f64).sqrt());
    let p = student(n).map(|it| 2.0 * it.sf(t.abs()));
    Tested { p: p.map(|p| p.min(1.0)), ..nothing }
}

/// The two-sided permutation test of the hypothesis that paired differences have either sign with equal
/// probability: the share of all choices of signs whose sum is at least as far from zero. For more than 16
/// pairs it is the share of 100,000 choices drawn with `seed`, the observed one included.
pub fn sign_flips(differences: &[f64], seed: u64) -> Tested {
    let n = differences.len();
    if n == 0 {
        return Tested { p: None, least: None, drawn: false };
    }
    let found: f64 = differences.iter().sum();
    let scale: f64 = differences.iter().map(|it| it.abs()).sum();
    // Sums of the same numbers in another order may differ in the last bits.
    let as_far = |sum: f64| sum.abs() >= found.abs() - rounding::SHARE * scale;
    if n <= EXACT {
        // Turning all signs keeps the distance from zero, so the last sign can stay fixed.
        let all = 1_u32 << (n - 1);
        let far = (0..all).filter(|signs| as_far(signed_sum(differences, *signs))).count();
        let far = u32::try_from(far).unwrap_or(all);
        let all = f64::from(all);
        return Tested { p: Some(f64::from(far) / all), least: Some(1.0 / all), drawn: false };
    }
    let mut stream = random::stream(seed, "sign flips", 0, 0);
    let mut far = 1_u32;
    for _ in 0..DRAWN {
        let mut sum = 0.0;
        for chunk in differences.chunks(32) {
            sum += signed_sum(chunk, stream.bits());
        }
        far += u32::from(as_far(sum));
    }
    let all = f64::from(DRAWN + 1);
    Tested { p: Some(f64::from(far) / all), least: Some(1.0 / all), drawn: true }
}

/// The sum of at most 32 `values`, where those whose bit is set in the choice have their sign turned.
fn signed_sum(values: &[f64], signs: u32) -> f64 {
    let signed = values.iter().enumerate();
    signed.map(|(at, value)| if signs >> at & 1 == 1 { -value } else { *value }).sum()
}

/// Corrects p values by Holm's step-down method (1979), keeping their order.
#[expect(clippy::cast_precision_loss, reason = "counts of comparisons are small")]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut corrected = vec![0.0; p.len()];
    let mut least = 0.0_f64;
    for (rank, at) in order.into_iter().enumerate() {
        least = least.max((p.len() - rank) as f64 * p[at]).min(1.0);
        corrected[at] = least;
    }
    corrected
}

#[expect(clippy::cast_precision_loss, reason = "counts of trials are small")]
fn student(n: usize) -> Option<StudentsT> {
    let freedom = n.checked_sub(1).filter(|it| *it > 0)?;
    StudentsT::new(0.0, 1.0, freedom as f64).ok()
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
