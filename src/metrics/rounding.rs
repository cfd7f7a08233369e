//! When two numbers differ by no more than rounding. The mean of the same values in another order, or of other values with
//! the same sum, often differs in its last bits: that is no difference to decide by.

/// Numbers that differ by at most this share of the larger one are equal: thousands of roundings of a double, and far less
/// than one image in all that anybody scores.
pub const SHARE: f64 = 1e-12;

/// Whether `difference` is no more than rounding leaves of numbers as large as `scale`.
pub fn is_noise(difference: f64, scale: f64) -> bool {
    scale.is_finite() && difference.abs() <= SHARE * scale
}

/// Whether two numbers differ by no more than rounding. Not a number equals nothing.
pub fn equal(a: f64, b: f64) -> bool {
    a == b || is_noise(a - b, a.abs().max(b.abs()))
}

/// `a - b`, and 0 where only rounding is between them.
pub fn difference(a: f64, b: f64) -> f64 {
    if equal(a, b) { 0.0 } else { a - b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_the_same_numbers_are_equal_and_what_differs_is_not() {
        let (up, down) = (0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1);
        assert!(up != down && equal(up, down) && difference(up, down) == 0.0);
        // One of a billion images.
        assert!(!equal(0.5, 0.500_000_001));
        assert!(!equal(0.0, f64::MIN_POSITIVE) && equal(0.0, -0.0));
        assert!(equal(f64::INFINITY, f64::INFINITY) && !equal(f64::INFINITY, 1.0));
        assert!(!equal(f64::NAN, f64::NAN) && difference(f64::NAN, 1.0).is_nan());
    }
}
