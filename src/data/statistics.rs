//! Counts and moments of a data set: what its stages report, and `"auto"` normalisation.
//!
//! Sums are of whole numbers, so that no order of adding can change them.

use super::dataset::{Dataset, Split};
use crate::metrics::{FactRow, Metrics};

/// Mean and deviation of a channel, in units where pixels are 0 to 1, or of a feature, in its own unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelMoments {
    /// Mean.
    pub mean: f64,
    /// Deviation over all pixels (not the sample's n - 1).
    pub std: f64,
}

/// Mean and deviation of each feature over every row of a split, computed in double precision from the first row to
/// the last, so that they are the same everywhere. The deviation is that over all rows (not the sample's n - 1), as
/// scikit-learn's `StandardScaler` has it.
///
/// # Panics
/// When the split holds pixels.
#[expect(clippy::cast_precision_loss, reason = "a split is far below 2^53 rows")]
pub fn feature_moments(split: &Split) -> Vec<PixelMoments> {
    let (images, count) = (&split.images, split.len().max(1) as f64);
    let mut means = vec![0.0; images.channels];
    for index in 0..images.len() {
        for (sum, value) in means.iter_mut().zip(images.feature_row(index)) {
            *sum += f64::from(value);
        }
    }
    means.iter_mut().for_each(|sum| *sum /= count);
    let mut squares = vec![0.0; images.channels];
    for index in 0..images.len() {
        for ((square, mean), value) in squares.iter_mut().zip(&means).zip(images.feature_row(index))
        {
            *square += (f64::from(value) - mean).powi(2);
        }
    }
    let moments = |(mean, square): (f64, f64)| PixelMoments { mean, std: (square / count).sqrt() };
    means.into_iter().zip(squares).map(moments).collect()
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

/// Rows for a data stage: images, images by class, mean and deviation by channel, of every split. Of features, whose
/// moments would be thousands of rows: rows, rows by class, and the number of features.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn facts(dataset: &Dataset) -> Metrics {
    let mut rows = Vec::new();
    for (name, split) in &dataset.splits {
        let mut row = |metric: String, value: f64| {
            rows.push(FactRow { split: name.clone(), metric, value });
        };
        let is_features = split.images.is_features();
        row(if is_features { "rows" } else { "images" }.into(), split.len() as f64);
        let counts = split.class_counts(dataset.classes.len());
        for (class, count) in dataset.classes.iter().zip(counts) {
            row(format!("class.{class}"), count as f64);
        }
        if is_features {
            row("features".into(), split.images.channels as f64);
            continue;
        }
        for (channel, moments) in moments(split).iter().enumerate() {
            row(format!("mean.{channel}"), moments.mean);
            row(format!("std.{channel}"), moments.std);
        }
    }
    Metrics::Facts(rows)
}

/// One line: `10,000 train, 1,000 valid, 10,000 test images 1x28x28, 10 classes`, or `958 train rows of 800 features,
/// 10 classes`.
pub fn summary(dataset: &Dataset) -> String {
    let counts: Vec<String> = dataset
        .splits
        .iter()
        .map(|(name, split)| format!("{} {name}", grouped(split.len())))
        .collect();
    let channels = dataset.channels();
    let size = match dataset.size() {
        _ if dataset.is_features() => {
            let plural = if channels == 1 { "feature" } else { "features" };
            format!("rows of {} {plural}", grouped(channels))
        }
        Some((height, width)) => format!("images {channels}x{height}x{width}"),
        None => format!("images with {channels} channels, of several sizes"),
    };
    let classes = dataset.classes.len();
    let plural = if classes == 1 { "class" } else { "classes" };
    format!("{} {size}, {} {plural}", counts.join(", "), grouped(classes))
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
    fn moments_of_features_are_those_over_all_rows() {
        let images = Images::features(2, &[1.0, 1e6, 3.0, 1e6, 8.0, 1e6]);
        let split = Split { images, labels: vec![0, 0, 1] };
        let found = feature_moments(&split);
        // numpy: np.std([1, 3, 8])
        assert_eq!(found[0], PixelMoments { mean: 4.0, std: 2.943_920_288_775_949 });
        assert_eq!(found[1], PixelMoments { mean: 1e6, std: 0.0 });
        let splits = IndexMap::from([("train".into(), split)]);
        let set = Dataset::plain(vec!["cat".into(), "dog".into()], 2, splits, Vec::new());
        assert_eq!(summary(&set), "3 train rows of 2 features, 2 classes");
        let text = facts(&set).csv().unwrap();
        let rows: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            rows,
            ["train,rows,3", "train,class.cat,2", "train,class.dog,1", "train,features,2"]
        );
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
