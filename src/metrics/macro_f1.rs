//! Macro-averaged F1.

use super::confusion::Confusion;

/// The mean over classes of 2 TP / (2 TP + FP + FN), 0 to 1.
///
/// A class that no image has and none was taken for is left out, as scikit-learn does it; 0 without
/// images.
#[expect(clippy::cast_precision_loss, reason = "image counts are far below 2^53")]
pub fn macro_f1(confusion: &Confusion) -> f64 {
    let (mut sum, mut present) = (0.0, 0_usize);
    for (_, [images, taken, right]) in confusion.by_class() {
        if images + taken > 0 {
            // TP + FN are the images of the class, TP + FP those taken for it.
            sum += 2.0 * right as f64 / (images + taken) as f64;
            present += 1;
        }
    }
    sum / present.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_present_class_counts_the_same() {
        let of = |classes: usize, answers: &[(u32, u32)]| {
            let mut confusion = Confusion::new(classes);
            answers.iter().for_each(|(label, answer)| confusion.add(*label, *answer));
            macro_f1(&confusion)
        };
        // F1 of class 0 is 2*3/(4+3), of class 1 2*1/(1+2); class 2 does not occur.
        let found = of(3, &[(0, 0), (0, 0), (0, 0), (0, 1), (1, 1)]);
        assert!((found - (6.0 / 7.0 + 2.0 / 3.0) / 2.0).abs() < 1e-15);
        assert_eq!(of(2, &[(0, 1), (0, 1)]), 0.0);
        assert_eq!(of(1, &[]), 0.0);
    }
}
