//! Expected calibration error.

/// Bins of equal width that confidences fall into.
pub const BINS: usize = 15;

/// Collects answers until [`Calibration::error`] says how far their confidence is from their accuracy.
#[derive(Debug, Clone, Default)]
pub struct Calibration {
    /// Answers, right ones, and the sum of confidences of each bin.
    bins: [(usize, usize, f64); BINS],
}

impl Calibration {
    /// An answer given with `confidence`, the largest class probability, 0 to 1. Bin m (from 1) holds
    /// confidences in ((m - 1) / 15, m / 15].
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 15")]
    #[expect(clippy::cast_precision_loss, reason = "15 is exact")]
    pub fn add(&mut self, confidence: f64, right: bool) {
        let bin = (confidence * BINS as f64).ceil().clamp(1.0, BINS as f64) as usize - 1;
        let (count, correct, sum) = &mut self.bins[bin];
        *count += 1;
        *correct += usize::from(right);
        *sum += confidence;
    }

    /// ECE = sum over bins of (n_m / n) |accuracy_m - confidence_m|, 0 (calibrated) to 1 (Guo et al.
    /// 2017, "On Calibration of Modern Neural Networks"); 0 without answers.
    #[expect(clippy::cast_precision_loss, reason = "image counts are far below 2^53")]
    pub fn error(&self) -> f64 {
        let all: usize = self.bins.iter().map(|bin| bin.0).sum();
        let gaps = self.bins.iter().map(|(_, right, sum)| (*right as f64 - sum).abs());
        gaps.sum::<f64>() / all.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_in_the_bin_that_ends_at_its_confidence() {
        let mut calibration = Calibration::default();
        // 0.2 = 3/15 ends the third bin, and 0.19 falls into it too; 1 ends the last one.
        calibration.add(0.2, true);
        calibration.add(0.19, false);
        calibration.add(1.0, true);
        let gap = (1.0_f64 - 0.39).abs();
        assert!((calibration.error() - gap / 3.0).abs() < 1e-12, "{calibration:?}");
        assert_eq!(Calibration::default().error(), 0.0);
    }
}
