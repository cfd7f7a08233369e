//! Counts and moments of a data set: what its stages report, and `"auto"` normalisation.
//!
//! Sums are of whole numbers, so that no order of adding can change them.

use super::dataset::{Dataset, Split};
use crate::metrics::{FactRow, Metrics};

/// Mean and deviation of a channel, in units where pixels are 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelMoments {
    /// Mean.
    pub mean: f64,
    /// Deviation over all pixels (not the sample's n - 1).
    pub std: f64,
}

/// Moments of each channel over every pixel of a split, exact but for the last rounding.
#[expect(clippy::cast_precision_loss, reason = "rounding to a double is the last step")]
pub fn moments(split: &Split) -> Vec<PixelMoments> {
    let channels = split.images.channels;
    let mut histograms = vec![[0_u64; 256]; channels];
    for pixel in split.images.pixels.chunks_exact(channels) {
        for (histogram, value) in histograms.iter_mut().zip(pixel) {
            histogram[usize::from(*value)] += 1;
        }
    }
    let moments = |histogram: &[u64; 256]| {
        let (mut count, mut sum, mut squares) = (0_u128, 0_u128, 0_u128);
        for (value, times) in histogram.iter().enumerate() {
            let (value, times) = (value as u128, u128::from(*times));
            count += times;
            sum += times * value;
            squares += times * value * value;
        }
        // n Σp² - (Σp)² in whole numbers: nothing cancels.
        let spread = (count * squares - sum * sum) as f64;
        let n = count.max(1) as f64;
        PixelMoments { mean: sum as f64 / n / 255.0, std: spread.sqrt() / n / 255.0 }
    };
    histograms.iter().map(moments).collect()
}

/// Rows for a data stage: images, images by class, mean and deviation by channel, of every split.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn facts(dataset: &Dataset) -> Metrics {
    let mut rows = Vec::new();
    for (name, split) in &dataset.splits {
        let mut row = |metric: String, value: f64| {
            rows.push(FactRow { split: name.clone(), metric, value });
        };
        row("images".into(), split.len() as f64);
        let counts = split.class_counts(dataset.classes.len());
        for (class, count) in dataset.classes.iter().zip(counts) {
            row(format!("class.{class}"), count as f64);
        }
        for (channel, moments) in moments(split).iter().enumerate() {
            row(format!("mean.{channel}"), moments.mean);
            row(format!("std.{channel}"), moments.std);
        }
    }
    Metrics::Facts(rows)
}

/// One line: `10,000 train, 1,000 valid, 10,000 test images 1x28x28, 10 classes`.
pub fn summary(dataset: &Dataset) -> String {
    let counts: Vec<String> = dataset
        .splits
        .iter()
        .map(|(name, split)| format!("{} {name}", grouped(split.len())))
        .collect();
    let size = match dataset.size() {
        Some((height, width)) => format!("{}x{height}x{width}", dataset.channels()),
        None => format!("with {} channels, of several sizes", dataset.channels()),
    };
    let classes = dataset.classes.len();
    let plural = if classes == 1 { "class" } else { "classes" };
    format!("{} images {size}, {} {plural}", counts.join(", "), grouped(classes))
}

/// A number with commas between thousands.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;
    use crate::data::Images;

    fn set() -> Dataset {
        let images = Images::same(3, (1, 1), vec![0, 255, 51, 255, 255, 51]);
        let splits = IndexMap::from([("train".into(), Split { images, labels: vec![1, 1] })]);
        Dataset::plain(vec!["cat".into(), "dog".into()], 3, splits, Vec::new())
    }

    #[test]
    fn moments_are_those_of_each_channel() {
        let moments = moments(&set().splits[0]);
        assert_eq!(moments[0], PixelMoments { mean: 0.5, std: 0.5 });
        assert_eq!(moments[1], PixelMoments { mean: 1.0, std: 0.0 });
        assert_eq!(moments[2], PixelMoments { mean: 0.2, std: 0.0 });
    }

    #[test]
    fn facts_count_every_class_also_the_empty_ones() {
        let text = facts(&set()).csv().unwrap();
        let rows: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(rows[..3], ["train,images,2", "train,class.cat,0", "train,class.dog,2"]);
        assert_eq!(rows.len(), 3 + 6);
    }

    #[test]
    fn a_summary_reads_like_a_sentence() {
        assert_eq!(summary(&set()), "2 train images 3x1x1, 2 classes");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(999), "999");
    }
}
