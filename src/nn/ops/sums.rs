//! Sums of many values, in double precision and in an order fixed by the data.

/// Values added side by side; the compiler makes vector instructions of them.
const LANES: usize = 8;

/// The sum of `values`.
pub(super) fn sum(values: &[f32]) -> f64 {
    fold(values, values, |x, _| x)
}

/// The sum of the products of `a` and `b`.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    fold(a, b, |a, b| a * b)
}

fn fold(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] += term(f64::from(a[lane]), f64::from(b[lane]));
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| term((*a).into(), (*b).into())).sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_counts_once() {
        let values: Vec<f32> = (1..=19).map(|i| i as f32).collect();
        assert!((sum(&values) - 190.0).abs() < 1e-12);
        assert!((dot(&values, &values) - 2470.0).abs() < 1e-12);
    }
}
