//! Changes the size of images: bilinear with antialiasing.
//!
//! The filter is a triangle as wide as an output pixel (an input pixel when enlarging), first
//! along rows, then along columns, as in torchvision's `resize(..., antialias=True)` on tensors.

use rayon::prelude::*;

use super::Watch;
use super::dataset::{Image, Images};
use super::error::DataError;
use crate::bytes::Collector;

/// Images between two looks at whether the user asked to stop.
const BATCH: usize = 256;

/// The sizes that images get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewSize {
    /// All get this height and width.
    Fixed(usize, usize),
    /// The shorter side of each becomes so long, and the longer one follows (torchvision's `Resize` with one number).
    Shorter(usize),
}

impl NewSize {
    /// The size that an image of `height` and `width` gets; `None` when that is more than can be counted.
    pub fn of(self, (height, width): (usize, usize)) -> Option<(usize, usize)> {
        let side = match self {
            Self::Fixed(height, width) => return Some((height, width)),
            Self::Shorter(side) => side,
        };
        let longer = |long: usize, short: usize| side.checked_mul(long)?.checked_div(short);
        match height <= width {
            true => Some((side, longer(width, height)?)),
            false => Some((longer(height, width)?, side)),
        }
    }
}

/// Every image at its new size.
///
/// # Errors
/// When the user asked to stop, or the images are many and cannot be written to a file.
pub fn resize(images: &Images, new: NewSize, watch: &Watch) -> Result<Images, DataError> {
    let all: Vec<Image> = images.iter().collect();
    let too_large = || DataError::rejected("the resized images are larger than any memory");
    let sizes: Option<Vec<_>> = all.iter().map(|it| new.of((it.height, it.width))).collect();
    let sizes = sizes.ok_or_else(too_large)?;
    let bytes =
        |&(height, width): &(usize, usize)| height.checked_mul(width)?.checked_mul(images.channels);
    let total = sizes.iter().try_fold(0_usize, |sum, size| sum.checked_add(bytes(size)?));
    let mut pixels = Collector::new(total.ok_or_else(too_large)?).map_err(DataError::spilled)?;
    // Images of one size share their weights.
    let shared = images.size().zip(sizes.first()).map(|(size, new)| Resizer::new(size, *new));
    for (images_of_batch, sizes) in all.chunks(BATCH).zip(sizes.chunks(BATCH)) {
        watch.check()?;
        let resized: Vec<Vec<u8>> = images_of_batch
            .par_iter()
            .zip(sizes)
            .map(|(image, size)| match &shared {
                Some(resizer) => resizer.apply(image, images.channels),
                None => {
                    Resizer::new((image.height, image.width), *size).apply(image, images.channels)
                }
            })
            .collect();
        for image in &resized {
            pixels.push(image).map_err(DataError::spilled)?;
        }
        watch.progress.advance(images_of_batch.len() as u64);
    }
    let pixels = pixels.finish().map_err(DataError::spilled)?;
    Ok(match new {
        NewSize::Fixed(height, width) => Images::same(images.channels, (height, width), pixels),
        NewSize::Shorter(_) => Images::new(images.channels, sizes, pixels),
    })
}

pub(super) struct Resizer {
    rows: Vec<Taps>,
    columns: Vec<Taps>,
}

/// What an output pixel is made of along one axis.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

impl Resizer {
    pub(super) fn new(from: (usize, usize), to: (usize, usize)) -> Self {
        Self { rows: taps(from.0, to.0), columns: taps(from.1, to.1) }
    }

    pub(super) fn apply(&self, image: &Image, channels: usize) -> Vec<u8> {
        let width = self.columns.len();
        let mut wide = vec![0.0_f32; image.height * width * channels];
        let stride = image.width * channels;
        for (row, out) in
            image.pixels.chunks_exact(stride).zip(wide.chunks_exact_mut(width * channels))
        {
            for (taps, out) in self.columns.iter().zip(out.chunks_exact_mut(channels)) {
                let inputs = row[taps.first * channels..].chunks_exact(channels);
                for (weight, pixel) in taps.weights.iter().zip(inputs) {
                    for (sum, value) in out.iter_mut().zip(pixel) {
                        *sum += weight * f32::from(*value);
                    }
                }
            }
        }
        let stride = width * channels;
        let mut pixels = Vec::with_capacity(self.rows.len() * stride);
        let mut sums = vec![0.0_f32; stride];
        for taps in &self.rows {
            sums.fill(0.0);
            let inputs = wide[taps.first * stride..].chunks_exact(stride);
            for (weight, row) in taps.weights.iter().zip(inputs) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += weight * value;
                }
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to a byte"
            )]
            pixels.extend(sums.iter().map(|sum| sum.round_ties_even().clamp(0.0, 255.0) as u8));
        }
        pixels
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "lengths of images"
)]
fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    (0..to)
        .map(|at| {
            let centre = (at as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let raw: Vec<f64> = (first..end)
                .map(|input| (1.0 - ((input as f64 + 0.5 - centre) / support).abs()).max(0.0))
                .collect();
            let total: f64 = raw.iter().sum();
            Taps { first, weights: raw.iter().map(|weight| (weight / total) as f32).collect() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::progress::Silent;

    fn resized(images: &Images, size: (usize, usize)) -> Images {
        let cancel = AtomicBool::new(false);
        let new = NewSize::Fixed(size.0, size.1);
        resize(images, new, &Watch { progress: &Silent, cancel: &cancel }).unwrap()
    }

    /// `int(side * long / short)`, as torchvision has it.
    #[test]
    fn the_longer_side_follows_the_shorter_one() {
        let shorter = NewSize::Shorter(256);
        assert_eq!(shorter.of((375, 500)), Some((256, 341)));
        assert_eq!(shorter.of((500, 333)), Some((384, 256)));
        assert_eq!(shorter.of((10, 10)), Some((256, 256)));
        assert_eq!(NewSize::Shorter(usize::MAX).of((1, 2)), None);
        let images = Images::new(1, vec![(2, 3), (4, 2)], vec![5; 14]);
        let cancel = AtomicBool::new(false);
        let watch = Watch { progress: &Silent, cancel: &cancel };
        let found = resize(&images, NewSize::Shorter(4), &watch).unwrap();
        assert_eq!((found.size_of(0), found.size_of(1)), ((4, 6), (8, 4)));
        assert!(found.pixels.iter().all(|pixel| *pixel == 5));
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let images = Images::same(3, (5, 7), (0..105).collect::<Vec<u8>>());
        assert_eq!(resized(&images, (5, 7)), images);
    }

    #[test]
    fn a_flat_image_stays_flat() {
        let images = Images::new(1, vec![(3, 9), (40, 2)], vec![77; 27 + 80]);
        let resized = resized(&images, (11, 5));
        assert_eq!(resized.len(), 2);
        assert!(resized.pixels.iter().all(|pixel| *pixel == 77));
    }

    #[test]
    fn halving_takes_every_input_pixel_into_account() {
        // Antialiased: weights 1/8, 3/8, 3/8, 1/8 around the middle of four pixels.
        let images = Images::same(1, (1, 8), vec![0, 0, 0, 80, 0, 0, 0, 0]);
        assert_eq!(resized(&images, (1, 4)).pixels, [0, 30, 10, 0]);
    }
}
