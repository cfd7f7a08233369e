//! Maximum mean discrepancy: how far the features of the two domains are from being drawn alike (Gretton et al.
//! 2012, "A Kernel Two-Sample Test"), as a score of a model.

use rayon::prelude::*;

use crate::metrics::embedding::square_distance;

/// Lower is better. It looks at no class, and is small for features that are all alike.
pub fn higher_is_better() -> bool {
    false
}

/// MMD^2, 0 or more but for rounding, of features `[N, width]` and `[M, width]` with the kernel
/// k(a, b) = exp(-||a - b||^2 / (2 m^2)), m being the median distance of two rows of both domains together,
/// the upper one of two: the mean of k over pairs of the source, plus that over pairs of the target, minus twice
/// that between the two. A row makes a pair with itself as well (the biased estimate). Where the median is 0,
/// k is 1 for equal rows and else 0.
///
/// Memory is in (N + M)^2.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn mmd(source: &[f32], target: &[f32], width: usize) -> f64 {
    let (sources, targets) = (source.len() / width, target.len() / width);
    let rows: Vec<&[f32]> = source.chunks_exact(width).chain(target.chunks_exact(width)).collect();
    let before = |(at, row): (usize, &&[f32])| -> Vec<f64> {
        rows[..at].iter().map(|other| square_distance(row, other)).collect()
    };
    let squares: Vec<Vec<f64>> = rows.par_iter().enumerate().map(before).collect();
    let mut all = squares.concat();
    let middle = all.len() / 2;
    let median = *all.select_nth_unstable_by(middle, f64::total_cmp).1;
    let kernel = |square: f64| if square == 0.0 { 1.0 } else { (-square / (2.0 * median)).exp() };
    // Pairs of the source, of both domains, and of the target.
    let mut sums = [0.0; 3];
    for (at, squares) in squares.iter().enumerate() {
        for (other, square) in squares.iter().enumerate() {
            sums[usize::from(at >= sources) + usize::from(other >= sources)] += kernel(*square);
        }
    }
    let (n, m) = (sources as f64, targets as f64);
    let within = |count: f64, sum: f64| (count + 2.0 * sum) / (count * count);
    within(n, sums[0]) + within(m, sums[2]) - 2.0 * sums[1] / (n * m)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_0_for_equal_domains_and_grows_with_their_distance() {
        let rows = [0.0, 1.0, 2.0, 5.0];
        assert!(mmd(&rows, &[5.0, 2.0, 0.0, 1.0], 1).abs() < 1e-12);
        assert_eq!(mmd(&[3.0; 8], &[3.0; 4], 2), 0.0);
        let by = |shift: f32| mmd(&rows, &rows.map(|x| x + shift), 1);
        assert!(by(1.0) > 0.01 && by(4.0) > by(1.0), "{} and {}", by(1.0), by(4.0));
    }

    #[test]
    fn two_rows_are_a_median_apart_and_a_median_of_0_tells_equal_rows_from_others() {
        // k = exp(-1/2) between the two, and 1 with themselves.
        let found = mmd(&[0.0], &[7.0], 1);
        assert!((found - (2.0 - 2.0 * (-0.5_f64).exp())).abs() < 1e-12, "{found}");
        // One row of the target lies elsewhere: 1 + (9 + 1) / 16 - 2 * 3 / 4.
        let found = mmd(&[0.0; 4], &[0.0, 0.0, 0.0, 1.0], 1);
        assert!((found - 0.125).abs() < 1e-12, "{found}");
    }
}
