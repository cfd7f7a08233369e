//! Matrix norm of the normalised logits: sure answers have a large one (Xie et al. 2024, "MaNo: Exploiting
//! Matrix Norm for Unsupervised Accuracy Estimation Under Distribution Shifts").
//!
//! The logits are always normalised by softmax. The paper changes to a Taylor polynomial where a criterion of
//! the logits is at most 5, which needs more of a model than its probabilities.

/// Higher is better.
pub fn higher_is_better() -> bool {
    true
}

/// The paper's exponent p.
const EXPONENT: i32 = 4;

/// ((1 / (N K)) sum_ik q_ik^p)^(1/p) with p = 4 and q the probabilities `[N, K]`: 1 / K where all are equal,
/// to K^(-1/4) where all answers are sure.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn mano(probabilities: &[f64]) -> f64 {
    let powers: f64 = probabilities.iter().map(|q| q.powi(EXPONENT)).sum();
    (powers / probabilities.len() as f64).powf(1.0 / f64::from(EXPONENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_from_equal_probabilities_to_sure_answers() {
        assert!((mano(&[0.25; 12]) - 0.25).abs() < 1e-12);
        assert!((mano(&[0.0, 1.0, 1.0, 0.0]) - 0.5_f64.powf(0.25)).abs() < 1e-12);
    }
}
