//! Confusion between classes: how often two classes are both likely (Jin et al. 2020, "Minimum Class Confusion
//! for Versatile Domain Adaptation"), as a score of a model.

use super::entropy;

/// Lower is better. A method that minimises this very loss is not judged by it.
pub fn higher_is_better() -> bool {
    false
}

/// (sum C - tr C) / K of the probabilities P `[N, K]` of all images, the logits not being divided by a
/// temperature. C = P^T diag(w) P with w_i in proportion to 1 + exp(-H(p_i)), each row of C being divided by
/// its sum: 0 where answers are sure, 1 - 1 / K where all probabilities are equal. A class without any
/// probability confuses nothing.
#[expect(clippy::cast_precision_loss, reason = "classes are far below 2^53")]
pub fn mcc(probabilities: &[f64], classes: usize) -> f64 {
    // Of each row of C its sum and its diagonal element; the scale of the weights cancels between them.
    let mut rows = vec![(0.0, 0.0); classes];
    for p in probabilities.chunks_exact(classes) {
        let weight = 1.0 + (-entropy::of(p)).exp();
        let sum: f64 = p.iter().sum();
        for ((whole, alone), p) in rows.iter_mut().zip(p) {
            *whole += weight * p * sum;
            *alone += weight * p * p;
        }
    }
    let beside = rows.iter().filter(|row| row.0 > 0.0).map(|(whole, alone)| 1.0 - alone / whole);
    beside.sum::<f64>() / classes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_probabilities_confuse_all_classes_and_sure_answers_none() {
        assert!((mcc(&[0.25; 12], 4) - 0.75).abs() < 1e-12);
        assert_eq!(mcc(&[1.0, 0.0, 0.0, 1.0, 0.0, 1.0], 2), 0.0);
        // The last class has no probability at all.
        assert_eq!(mcc(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0], 3), 0.0);
    }

    #[test]
    fn sure_rows_weigh_more() {
        // Two rows: one sure, one even. C is [[w + v/4, v/4], [v/4, v/4]] with w = 2, v = 1 + 1/2.
        let (w, v) = (2.0, 1.5);
        let expected = (v / 4.0 / (w + v / 2.0) + 0.5) / 2.0;
        assert!((mcc(&[1.0, 0.0, 0.5, 0.5], 2) - expected).abs() < 1e-12);
    }
}
