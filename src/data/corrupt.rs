//! Corruptions of images, in five severities where the literature has them.
//!
//! The severities are those of CIFAR-10-C (Hendrycks and Dietterich, "Benchmarking neural network
//! robustness to common corruptions and perturbations", ICLR 2019), with the constants of the authors'
//! script `make_cifar_c.py`. Values are rounded to the nearest pixel value, where the script cuts the
//! fraction off. Channels, sizes, labels and normalisation stay as they are.

use indexmap::IndexMap;
use rayon::prelude::*;

use super::Watch;
use super::dataset::{Dataset, Image, Images, Split};
use super::error::DataError;
use crate::bytes::Collector;
use crate::config::words;
use crate::progress::Unit;
use crate::random::{self, Stream};

words! {
    /// What is done to every image.
    pub enum CorruptionKind {
        /// A normal number is added to every value.
        GaussianNoise = "gaussian_noise",
        /// Every value is a Poisson number of photons.
        ShotNoise = "shot_noise",
        /// A Gaussian blur.
        Blur = "blur",
        /// Values come closer to the mean of their channel.
        Contrast = "contrast",
        /// The V of HSV rises.
        Brightness = "brightness",
        /// Light becomes dark.
        Invert = "invert",
    }
}

/// The highest severity; the lowest is 1.
pub const SEVERITIES: usize = 5;

/// Images between two looks at whether the user asked to stop, and the bytes that they may take.
const BATCH: usize = 512;
const IN_FLIGHT: usize = 64 << 20;

impl CorruptionKind {
    /// Whether it comes in severities.
    pub fn has_severity(self) -> bool {
        self != Self::Invert
    }

    /// Whether it draws random numbers.
    pub fn is_random(self) -> bool {
        matches!(self, Self::GaussianNoise | Self::ShotNoise)
    }
}

/// A corruption of one strength.
#[derive(Debug)]
pub struct Corruption(Effect);

#[derive(Debug)]
enum Effect {
    /// Standard deviation of the noise, where values go from 0 to 1.
    GaussianNoise(f64),
    ShotNoise(Photons),
    /// Weights of a value's neighbours along an axis, itself in the middle.
    Blur(Vec<f32>),
    /// What a value's distance from the mean is multiplied by.
    Contrast(f64),
    /// What is added to V, where values go from 0 to 1.
    Brightness(f64),
    Invert,
}

impl Corruption {
    /// `kind` in a severity from 1 to [`SEVERITIES`], which counts for kinds that have one.
    ///
    /// # Panics
    /// When there is no such severity.
    pub fn new(kind: CorruptionKind, severity: usize) -> Self {
        let of = |constants: [f64; SEVERITIES]| constants[severity - 1];
        Self(match kind {
            CorruptionKind::GaussianNoise => {
                Effect::GaussianNoise(of([0.04, 0.06, 0.08, 0.09, 0.10]))
            }
            CorruptionKind::ShotNoise => {
                Effect::ShotNoise(Photons::new([500, 250, 100, 75, 50][severity - 1]))
            }
            CorruptionKind::Blur => Effect::Blur(gaussian(of([0.4, 0.6, 0.7, 0.8, 1.0]))),
            CorruptionKind::Contrast => Effect::Contrast(of([0.75, 0.5, 0.4, 0.3, 0.15])),
            CorruptionKind::Brightness => Effect::Brightness(of([0.05, 0.1, 0.15, 0.2, 0.3])),
            CorruptionKind::Invert => Effect::Invert,
        })
    }

    /// The image `[height, width, channels]` after it.
    fn apply(&self, image: &Image, channels: usize, stream: &mut Stream) -> Vec<u8> {
        let pixels = image.pixels;
        match &self.0 {
            Effect::GaussianNoise(sd) => pixels
                .iter()
                .map(|value| byte(f64::from(*value) + 255.0 * sd * f64::from(stream.normal())))
                .collect(),
            Effect::ShotNoise(photons) => {
                pixels.iter().map(|value| photons.draw(*value, stream)).collect()
            }
            Effect::Blur(weights) => blurred(image, channels, weights),
            Effect::Contrast(factor) => flattened(pixels, channels, *factor),
            Effect::Brightness(added) => pixels
                .chunks_exact(channels)
                .flat_map(|pixel| brightened(pixel, 255.0 * added))
                .collect(),
            Effect::Invert => pixels.iter().map(|value| 255 - value).collect(),
        }
    }
}

/// `dataset` with every image of every split corrupted. The noise of an image follows from `seed`,
/// its split and its place there.
///
/// # Errors
/// When there are many images and they cannot be written to a file, or the user asked to stop.
pub fn corrupt(
    dataset: &Dataset,
    corruption: &Corruption,
    seed: u64,
    watch: &Watch,
) -> Result<Dataset, DataError> {
    let mut splits = IndexMap::new();
    for (name, split) in &dataset.splits {
        watch.progress.begin(&format!("corrupt {name}"), Some(split.len() as u64), Unit::Images);
        let images = corrupt_split(&split.images, corruption, seed, name, watch)?;
        splits.insert(name.clone(), Split { images, labels: split.labels.clone() });
    }
    let Dataset { classes, mean, std, provenance, .. } = dataset;
    Ok(Dataset {
        classes: classes.clone(),
        mean: mean.clone(),
        std: std.clone(),
        splits,
        provenance: provenance.clone(),
    })
}

fn corrupt_split(
    images: &Images,
    corruption: &Corruption,
    seed: u64,
    split: &str,
    watch: &Watch,
) -> Result<Images, DataError> {
    // Two kinds of noise, one after the other, do not share their draws.
    let noise = if let Effect::ShotNoise(_) = corruption.0 { "shot noise" } else { "noise" };
    let purpose = format!("corrupt {noise} {split}");
    let all: Vec<Image> = images.iter().collect();
    let largest = all.iter().map(|image| image.pixels.len()).max().unwrap_or(1);
    let size = (IN_FLIGHT / largest.max(1)).clamp(1, BATCH);
    let mut pixels = Collector::new(images.pixels.len()).map_err(DataError::spilled)?;
    for (batch, some) in all.chunks(size).enumerate() {
        watch.check()?;
        let corrupted: Vec<Vec<u8>> = some
            .par_iter()
            .enumerate()
            .map(|(at, image)| {
                let index = (batch * size + at) as u64;
                let mut stream = random::stream(seed, &purpose, 0, index);
                corruption.apply(image, images.channels, &mut stream)
            })
            .collect();
        for image in &corrupted {
            pixels.push(image).map_err(DataError::spilled)?;
        }
        watch.progress.advance(some.len() as u64);
    }
    let pixels = pixels.finish().map_err(DataError::spilled)?;
    Ok(Images { channels: images.channels, sizes: images.sizes.clone(), pixels })
}

/// The nearest pixel value.
fn byte(value: f64) -> u8 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to a byte"
    )]
    let byte = value.round().clamp(0.0, 255.0) as u8;
    byte
}

/// Numbers of photons for each pixel value: of mean `value / 255 * most`, where `most` and more of them
/// are white.
#[derive(Debug)]
struct Photons {
    most: u32,
    /// For each pixel value the probability of at most 0, 1, ..., `most` - 1 photons.
    at_most: Vec<Vec<f64>>,
}

impl Photons {
    fn new(most: u32) -> Self {
        let at_most = |value: u8| {
            let mean = f64::from(value) / 255.0 * f64::from(most);
            let (mut exactly, mut sum) = ((-mean).exp(), 0.0);
            (0..most)
                .map(|count| {
                    let count = f64::from(count);
                    if count > 0.0 {
                        exactly *= mean / count;
                    }
                    // All that is left is rarer than any random number, but the sum may lack more of 1.
                    let is_last = count > mean && exactly < f64::EPSILON / 4.0;
                    sum = if is_last { 1.0 } else { (sum + exactly).min(1.0) };
                    sum
                })
                .collect::<Vec<f64>>()
        };
        Self { most, at_most: (0..=u8::MAX).map(at_most).collect() }
    }

    /// A Poisson number by inversion of its distribution, as a pixel value.
    #[expect(clippy::cast_precision_loss, reason = "at most 500 photons")]
    fn draw(&self, value: u8, stream: &mut Stream) -> u8 {
        let number = stream.uniform_f64();
        let count = self.at_most[usize::from(value)].partition_point(|sum| *sum <= number);
        byte(255.0 * count as f64 / f64::from(self.most))
    }
}

/// Weights of a Gaussian of standard deviation `sd` pixels, cut off at four of them, of sum 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a few pixels, and weights of at most 1"
)]
fn gaussian(sd: f64) -> Vec<f32> {
    let radius = (4.0 * sd).round() as usize;
    let raw: Vec<f64> = (0..=2 * radius)
        .map(|at| {
            let distance = at as f64 - radius as f64;
            (-distance * distance / (2.0 * sd * sd)).exp()
        })
        .collect();
    let total: f64 = raw.iter().sum();
    raw.iter().map(|weight| (weight / total) as f32).collect()
}

/// Each channel blurred along the width and then along the height; beyond the edge, its pixels repeat.
fn blurred(image: &Image, channels: usize, weights: &[f32]) -> Vec<u8> {
    let pixels = image.pixels;
    let wide: Vec<f32> =
        smoothed(|at| f32::from(pixels[at]), pixels.len(), (image.width, channels), weights)
            .collect();
    smoothed(|at| wide[at], wide.len(), (image.height, image.width * channels), weights)
        .map(|value| byte(f64::from(value)))
        .collect()
}

/// The weighted mean of each of `count` values and its neighbours along an axis of `length` values that
/// lie `step` apart.
fn smoothed(
    value: impl Fn(usize) -> f32,
    count: usize,
    (length, step): (usize, usize),
    weights: &[f32],
) -> impl Iterator<Item = f32> {
    let radius = weights.len() / 2;
    (0..count).map(move |at| {
        let place = at / step % length;
        let first = at - place * step;
        let neighbour = |tap: usize| (place + tap).saturating_sub(radius).min(length - 1);
        weights
            .iter()
            .enumerate()
            .map(|(tap, weight)| weight * value(first + neighbour(tap) * step))
            .sum::<f32>()
    })
}

/// Values that are `factor` times as far from the mean of their channel.
#[expect(clippy::cast_precision_loss, reason = "sums of pixels are below 2^53")]
fn flattened(pixels: &[u8], channels: usize, factor: f64) -> Vec<u8> {
    let mut sums = vec![0_u64; channels];
    for pixel in pixels.chunks_exact(channels) {
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += u64::from(*value);
        }
    }
    let count = (pixels.len() / channels) as f64;
    let means: Vec<f64> = sums.iter().map(|sum| *sum as f64 / count).collect();
    let near = |(value, mean): (&u8, &f64)| byte(mean + factor * (f64::from(*value) - mean));
    pixels.iter().zip(means.iter().cycle()).map(near).collect()
}

/// A pixel with `added` more of HSV's V, the largest of its values, and the same hue and saturation:
/// its values keep their ratio. Black has none and becomes gray.
fn brightened(pixel: &[u8], added: f64) -> impl Iterator<Item = u8> {
    let largest = f64::from(pixel.iter().copied().max().unwrap_or(0));
    let brighter = (largest + added).min(255.0);
    pixel.iter().map(move |value| {
        if largest > 0.0 { byte(f64::from(*value) * brighter / largest) } else { byte(brighter) }
    })
}

#[cfg(test)]
mod tests;
