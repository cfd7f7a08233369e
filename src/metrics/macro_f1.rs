//! Macro-averaged F1.

/// The mean over classes of 2 TP / (2 TP + FP + FN), 0 to 1, of a confusion matrix `[classes, classes]`
/// whose rows are what the images are and whose columns what they were taken for.
///
/// A class that no image has and none was taken for is left out, as scikit-learn does it; 0 without
/// images.
#[expect(clippy::cast_precision_loss, reason = "image counts are far below 2^53")]
pub fn macro_f1(confusion: &[Vec<usize>]) -> f64 {
    let (mut sum, mut present) = (0.0, 0_usize);
    for (class, row) in confusion.iter().enumerate() {
        let images: usize = row.iter().sum();
        let taken: usize = confusion.iter().map(|row| row[class]).sum();
        if images + taken > 0 {
            // TP + FN are the images of the class, TP + FP those taken for it.
            sum += 2.0 * row[class] as f64 / (images + taken) as f64;
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
        // F1 of class 0 is 2*3/(4+3), of class 1 2*1/(1+2); class 2 does not occur.
        let confusion = [vec![3, 1, 0], vec![0, 1, 0], vec![0, 0, 0]];
        assert!((macro_f1(&confusion) - (6.0 / 7.0 + 2.0 / 3.0) / 2.0).abs() < 1e-15);
        assert_eq!(macro_f1(&[vec![0, 2], vec![0, 0]]), 0.0);
        assert_eq!(macro_f1(&[vec![0]]), 0.0);
    }
}
