//! A labelled set of images, or of features that were made of some, in named splits, as it is held in memory.
//!
//! Knows nothing of files: those are the business of `disk` and `readers`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::error::DataError;
use crate::bytes::{Bytes, Collector};

/// A data set: every split with the same channels and classes.
///
/// # Examples
///
/// ```
/// use indexmap::IndexMap;
/// use runner::data::{Dataset, Images, Split};
///
/// // Two images of 2 by 2 grey pixels, one of each class.
/// let images = Images::same(1, (2, 2), vec![0, 0, 0, 0, 255, 255, 255, 255]);
/// let train = Split { images, labels: vec![0, 1] };
/// let classes = vec!["dark".to_owned(), "light".to_owned()];
/// let splits = IndexMap::from([("train".to_owned(), train)]);
/// let dataset = Dataset::plain(classes, 1, splits, Vec::new());
///
/// let folder = tempfile::tempdir()?;
/// dataset.save(folder.path())?;
/// assert_eq!(Dataset::open(folder.path())?.split("train")?.labels, [0, 1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Names of the classes; a label is an index into it.
    pub classes: Vec<String>,
    /// Mean of each channel to subtract when batches are made, in units where pixels are 0 to 1; of features, the
    /// mean of each in their own unit.
    pub mean: Vec<f32>,
    /// Deviation of each channel to divide by afterwards.
    pub std: Vec<f32>,
    /// The splits in order.
    pub splits: IndexMap<String, Split>,
    /// Where it came from; a set built from several carries those of all.
    pub provenance: Vec<Provenance>,
}

/// Where images came from, and on what terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// What it is called.
    pub title: String,
    /// Terms of use; empty when unknown.
    pub licence: String,
    /// The paper to cite; empty when unknown.
    pub citation: String,
    /// Address, or how it was made.
    pub source: String,
}

/// Images with their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The pixels.
    pub images: Images,
    /// A class for each image.
    pub labels: Vec<u32>,
}

/// Images of a split without their labels: all that adaptation may see of its target.
#[derive(Debug, Clone, Copy)]
pub struct Unlabelled<'a> {
    images: &'a Images,
    normalisation: Normalisation<'a>,
}

/// What is done to pixels on their way into a batch: `(p / 255 - mean) / std` by channel; to features,
/// `(x - mean) / std` by feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation<'a> {
    /// Mean of each channel, in units where pixels are 0 to 1.
    pub mean: &'a [f32],
    /// Deviation of each channel.
    pub std: &'a [f32],
}

/// Pixels of a split, 8 bits a channel, rows of pixels with their channels side by side
/// (`[height, width, channels]`), one image after the other. Or features, `[N, D]`: numbers in single precision
/// instead of pixels, which networks take for images of one pixel with D channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Channels: 1 or 3; of features, their number D.
    pub channels: usize,
    /// Height and width of each image.
    pub sizes: Sizes,
    /// All pixels; of features, four bytes a number, little-endian.
    pub pixels: Bytes,
}

/// Heights and widths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sizes {
    /// All images alike.
    Same {
        /// Number of images.
        count: usize,
        /// Pixels.
        height: usize,
        /// Pixels.
        width: usize,
    },
    /// (height, width) of each.
    Each(Vec<(usize, usize)>),
    /// No pixels: features.
    Features {
        /// Number of feature vectors.
        count: usize,
    },
}

/// One image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image<'a> {
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// `[height, width, channels]`.
    pub pixels: &'a [u8],
}

impl Dataset {
    /// A set whose batches hold plain pixels, 0 to 1.
    pub fn plain(
        classes: Vec<String>,
        channels: usize,
        splits: IndexMap<String, Split>,
        provenance: Vec<Provenance>,
    ) -> Self {
        Self { classes, mean: vec![0.0; channels], std: vec![1.0; channels], splits, provenance }
    }

    /// Channels per image: 1 or 3; of features, their number.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Whether it holds features and no pixels.
    pub fn is_features(&self) -> bool {
        self.splits.values().any(|split| split.images.is_features())
    }

    /// Height and width, if all images of all splits agree.
    pub fn size(&self) -> Option<(usize, usize)> {
        let mut sizes = self.splits.values().map(|split| split.images.size());
        let first = sizes.next()??;
        sizes.all(|size| size == Some(first)).then_some(first)
    }

    /// What is done to its pixels on their way into a batch.
    pub fn normalisation(&self) -> Normalisation<'_> {
        Normalisation { mean: &self.mean, std: &self.std }
    }

    /// The split called `name`.
    ///
    /// # Errors
    /// When there is none; the advice lists those that are there.
    pub fn split(&self, name: &str) -> Result<&Split, DataError> {
        self.splits.get(name).ok_or_else(|| {
            let known: Vec<String> = self.splits.keys().map(|name| format!("`{name}`")).collect();
            DataError::rejected(format!("the data set has no split `{name}`"))
                .advise(format!("it has {}", known.join(", ")))
        })
    }

    /// The classes that no image of any split is of, in order.
    pub fn empty_classes(&self) -> Vec<usize> {
        let mut empty = vec![true; self.classes.len()];
        for label in self.splits.values().flat_map(|split| &split.labels) {
            empty[*label as usize] = false;
        }
        (0..empty.len()).filter(|class| empty[*class]).collect()
    }

    /// Everything that must hold of a data set, whoever made it.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&self) -> Result<(), String> {
        if self.classes.is_empty() {
            return Err("it has no classes".into());
        }
        let channels = self.channels();
        if self.is_features() {
            if !self.splits.values().all(|split| split.images.is_features()) {
                return Err("some splits hold images and others features".into());
            }
        } else if !matches!(channels, 1 | 3) {
            return Err(format!("images must have 1 or 3 channels, not {channels}"));
        }
        if self.std.len() != channels {
            return Err(format!("mean has {channels} numbers, std has {}", self.std.len()));
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(format!("mean {mean} is not a finite number"));
        }
        if let Some(std) = self.std.iter().find(|std| !(std.is_finite() && **std > 0.0)) {
            return Err(format!("std {std} is not a finite number above 0"));
        }
        if self.splits.is_empty() {
            return Err("it has no splits".into());
        }
        for (name, split) in &self.splits {
            split
                .check(channels, self.classes.len())
                .map_err(|reason| format!("split `{name}`: {reason}"))?;
        }
        Ok(())
    }
}

impl Split {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether it has no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Its images without their labels; `dataset` is the set it is from.
    pub fn unlabelled<'a>(&'a self, dataset: &'a Dataset) -> Unlabelled<'a> {
        Unlabelled { images: &self.images, normalisation: dataset.normalisation() }
    }

    /// Number of images of each of `classes` classes.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for label in &self.labels {
            counts[*label as usize] += 1;
        }
        counts
    }

    /// The images at `indices` with their labels, in that order.
    ///
    /// # Errors
    /// When they are many and cannot be written to a file.
    pub fn select(&self, indices: &[usize]) -> Result<Self, DataError> {
        Ok(Self {
            images: self.images.select(indices)?,
            labels: indices.iter().map(|at| self.labels[*at]).collect(),
        })
    }

    fn check(&self, channels: usize, classes: usize) -> Result<(), String> {
        let images = &self.images;
        if images.is_empty() {
            return Err("it has no images".into());
        }
        if images.channels != channels {
            let what = if images.is_features() { "features" } else { "channels" };
            return Err(format!("its images have {} {what}, not {channels}", images.channels));
        }
        if images.len() != self.labels.len() {
            return Err(format!("{} images but {} labels", images.len(), self.labels.len()));
        }
        if let Some(label) = self.labels.iter().find(|label| **label as usize >= classes) {
            return Err(format!("label {label} with only {classes} classes"));
        }
        images.check()
    }
}

impl<'a> Unlabelled<'a> {
    /// The pixels.
    pub fn images(&self) -> &'a Images {
        self.images
    }

    /// What is done to the pixels on their way into a batch.
    pub fn normalisation(&self) -> Normalisation<'a> {
        self.normalisation
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }
}

impl<'a> From<&'a Dataset> for Normalisation<'a> {
    fn from(dataset: &'a Dataset) -> Self {
        dataset.normalisation()
    }
}

impl Images {
    /// Images of the given sizes; those all alike become [`Sizes::Same`].
    pub fn new(channels: usize, sizes: Vec<(usize, usize)>, pixels: impl Into<Bytes>) -> Self {
        let pixels = pixels.into();
        let sizes = match sizes.first() {
            Some(&(height, width)) if sizes.iter().all(|size| *size == (height, width)) => {
                Sizes::Same { count: sizes.len(), height, width }
            }
            _ => Sizes::Each(sizes),
        };
        Self { channels, sizes, pixels }
    }

    /// Images all of one size.
    pub fn same(
        channels: usize,
        (height, width): (usize, usize),
        pixels: impl Into<Bytes>,
    ) -> Self {
        let pixels = pixels.into();
        let count = pixels.len() / (height * width * channels).max(1);
        Self { channels, sizes: Sizes::Same { count, height, width }, pixels }
    }

    /// Feature vectors of `width` numbers each, one after the other.
    ///
    /// # Panics
    /// When the numbers do not make whole vectors.
    pub fn features(width: usize, values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::features_of_bytes(width, bytes)
    }

    /// As [`Images::features`], of numbers of four bytes each, little-endian.
    ///
    /// # Panics
    /// When the bytes do not make whole vectors.
    pub fn features_of_bytes(width: usize, bytes: impl Into<Bytes>) -> Self {
        let (pixels, row) = (bytes.into(), width * size_of::<f32>());
        assert!(row > 0 && pixels.len().is_multiple_of(row), "whole vectors of {width} numbers");
        let count = pixels.len() / row;
        Self { channels: width, sizes: Sizes::Features { count }, pixels }
    }

    /// Whether these are features and not pixels.
    pub fn is_features(&self) -> bool {
        matches!(self.sizes, Sizes::Features { .. })
    }

    /// The numbers of the feature vector at `index`.
    ///
    /// # Panics
    /// When these are pixels, or there are not as many vectors.
    pub fn feature_row(&self, index: usize) -> impl Iterator<Item = f32> {
        assert!(self.is_features(), "pixels are no features");
        let row = self.channels * size_of::<f32>();
        let bytes = &self.pixels[index * row..(index + 1) * row];
        bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
    }

    /// Bytes of one number.
    fn bytes_per_value(&self) -> usize {
        if self.is_features() { size_of::<f32>() } else { 1 }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        match &self.sizes {
            Sizes::Same { count, .. } | Sizes::Features { count } => *count,
            Sizes::Each(sizes) => sizes.len(),
        }
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height and width when all images are alike.
    pub fn size(&self) -> Option<(usize, usize)> {
        match self.sizes {
            Sizes::Same { height, width, .. } => Some((height, width)),
            Sizes::Features { .. } => Some((1, 1)),
            Sizes::Each(_) => None,
        }
    }

    /// Height and width of the image at `index`.
    pub fn size_of(&self, index: usize) -> (usize, usize) {
        match &self.sizes {
            Sizes::Same { height, width, .. } => (*height, *width),
            Sizes::Features { .. } => (1, 1),
            Sizes::Each(sizes) => sizes[index],
        }
    }

    /// Every image in order.
    pub fn iter(&self) -> impl Iterator<Item = Image<'_>> {
        let mut rest = &*self.pixels;
        (0..self.len()).map(move |index| {
            let (height, width) = self.size_of(index);
            let length = height * width * self.channels * self.bytes_per_value();
            let (pixels, after) = rest.split_at(length);
            rest = after;
            Image { height, width, pixels }
        })
    }

    /// The images at `indices`, in that order.
    ///
    /// # Errors
    /// When they are many and cannot be written to a file.
    pub fn select(&self, indices: &[usize]) -> Result<Self, DataError> {
        let all: Vec<Image> = self.iter().collect();
        let total = indices.iter().map(|at| all[*at].pixels.len()).sum();
        let mut pixels = Collector::new(total).map_err(DataError::spilled)?;
        for at in indices {
            pixels.push(all[*at].pixels).map_err(DataError::spilled)?;
        }
        let pixels = pixels.finish().map_err(DataError::spilled)?;
        if self.is_features() {
            return Ok(Self::features_of_bytes(self.channels, pixels));
        }
        let sizes = indices.iter().map(|at| self.size_of(*at)).collect();
        Ok(Self::new(self.channels, sizes, pixels))
    }

    /// BLAKE3 over the channels, the sizes and the pixels: which images these are.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut number = |number: usize| {
            hasher.update(&(number as u64).to_le_bytes());
        };
        number(self.channels);
        number(self.len());
        for at in 0..self.len() {
            let (height, width) = self.size_of(at);
            number(height);
            number(width);
        }
        hasher.update_rayon(&self.pixels);
        hasher.finalize().to_hex().to_string()
    }

    /// Whether there are as many pixels as the sizes say, and no image is empty.
    fn check(&self) -> Result<(), String> {
        let mut total = 0_usize;
        for index in 0..self.len() {
            let (height, width) = self.size_of(index);
            if height == 0 || width == 0 {
                return Err(format!("image {index} is {height}x{width} pixels"));
            }
            total = height
                .checked_mul(width)
                .and_then(|area| area.checked_mul(self.channels))
                .and_then(|values| values.checked_mul(self.bytes_per_value()))
                .and_then(|bytes| total.checked_add(bytes))
                .ok_or_else(|| format!("image {index} of {height}x{width} pixels is too large"))?;
        }
        if total != self.pixels.len() {
            let found = self.pixels.len();
            return Err(format!("{found} bytes of pixels where the sizes ask for {total}"));
        }
        match self.is_features() {
            true => self.check_numbers(),
            false => Ok(()),
        }
    }

    /// Whether every feature is a finite number.
    fn check_numbers(&self) -> Result<(), String> {
        for index in 0..self.len() {
            let odd = self.feature_row(index).enumerate().find(|(_, value)| !value.is_finite());
            if let Some((feature, value)) = odd {
                return Err(format!(
                    "feature {feature} of row {index} (both from 0) is {value}, not a finite number \
                     in single precision"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(labels: &[u32]) -> Split {
        let pixels =
            (0..labels.len() * 4).map(|at| u8::try_from(at % 256).unwrap()).collect::<Vec<u8>>();
        Split { images: Images::same(1, (2, 2), pixels), labels: labels.to_vec() }
    }

    fn dataset(train: Split) -> Dataset {
        let classes = vec!["a".into(), "b".into()];
        Dataset::plain(classes, 1, IndexMap::from([("train".into(), train)]), Vec::new())
    }

    #[test]
    fn a_label_beyond_the_classes_is_found() {
        assert_eq!(dataset(split(&[0, 1])).check(), Ok(()));
        let error = dataset(split(&[0, 2])).check().unwrap_err();
        assert_eq!(error, "split `train`: label 2 with only 2 classes");
    }

    #[test]
    fn lost_pixels_empty_splits_and_odd_deviations_are_found() {
        let mut short = dataset(split(&[0, 1]));
        short.splits[0].images.pixels = short.splits[0].images.pixels.part(0..7);
        assert!(short.check().unwrap_err().contains("7 bytes of pixels"));
        assert!(dataset(split(&[])).check().unwrap_err().contains("no images"));
        let mut odd = dataset(split(&[0]));
        odd.std = vec![0.0];
        assert!(odd.check().unwrap_err().contains("std 0 is not"));
        odd.std = vec![f32::NAN];
        assert!(odd.check().is_err());
    }

    #[test]
    fn selected_images_keep_their_pixels_and_sizes() {
        let images = Images::new(1, vec![(1, 1), (1, 2), (2, 1)], vec![1, 2, 3, 4, 5]);
        let chosen = images.select(&[2, 0]).unwrap();
        assert_eq!(chosen.pixels, [4, 5, 1]);
        assert_eq!(chosen.sizes, Sizes::Each(vec![(2, 1), (1, 1)]));
        assert_eq!(images.select(&[1, 1]).unwrap().size(), Some((1, 2)));
    }

    #[test]
    fn features_are_numbers_of_one_width_in_every_split() {
        let images = Images::features(2, &[0.5, -1.0, 2.0, 3e9, 0.0, 7.0]);
        assert_eq!((images.len(), images.size(), images.channels), (3, Some((1, 1)), 2));
        let chosen = images.select(&[2, 0]).unwrap();
        assert_eq!(chosen, Images::features(2, &[0.0, 7.0, 0.5, -1.0]));
        assert_eq!(chosen.feature_row(1).collect::<Vec<_>>(), [0.5, -1.0]);
        let of = |images: Images| {
            let labels = vec![0; images.len()];
            let splits = IndexMap::from([("train".into(), Split { images, labels })]);
            Dataset::plain(vec!["a".into()], 2, splits, Vec::new())
        };
        let mut set = of(images);
        assert!(set.is_features());
        assert_eq!(set.check(), Ok(()));
        set.splits.insert("test".into(), split(&[0]));
        assert!(set.check().unwrap_err().contains("others features"));
        let error = of(Images::features(2, &[0.0, 1.0, 2.0, f32::NAN])).check().unwrap_err();
        assert!(error.contains("feature 1 of row 1 (both from 0) is NaN"), "{error}");
        let narrow = of(Images::features(3, &[0.0; 3])).check().unwrap_err();
        assert!(narrow.contains("have 3 features, not 2"), "{narrow}");
    }

    #[test]
    fn sizes_agree_only_when_all_splits_do() {
        let mut set = dataset(split(&[0, 1]));
        assert_eq!(set.size(), Some((2, 2)));
        let other = Split { images: Images::same(1, (1, 2), vec![0, 0]), labels: vec![0] };
        set.splits.insert("test".into(), other);
        assert_eq!(set.size(), None);
    }
}
