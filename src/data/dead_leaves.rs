//! Backgrounds that look like photographs to a network: the dead leaves model.
//!
//! Opaque discs fall one over the other until nothing shines through, with radii of density
//! r^-3, which gives edges and flat parts the scale-free statistics of natural images
//! (Lee, Mumford & Huang, "Occlusion models for natural images", IJCV 2001). Colours are muted
//! and correlated between channels, as in photographs: luminance varies widely, chroma little.

use rayon::prelude::*;

use super::Watch;
use super::dataset::Images;
use super::error::DataError;
use crate::bytes::Collector;
use crate::progress::Unit;
use crate::random::{self, Stream};

/// Settings of the model. Lengths are in pixels, colours in units of pixel values (0 to 255).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeadLeaves {
    /// Number of images for each split.
    pub images: usize,
    /// Height and width of an image.
    pub size: usize,
    /// Smallest radius.
    pub radius_min: f64,
    /// Largest radius.
    pub radius_max: f64,
    /// Exponent of the density of radii, r^-exponent.
    pub exponent: f64,
    /// Mean luminance.
    pub luminance_mean: f64,
    /// Deviation of an image's mean luminance from it.
    pub exposure_sd: f64,
    /// Deviation of a disc's luminance from its image's mean.
    pub luminance_sd: f64,
    /// Deviation of a disc's channels from its luminance.
    pub chroma_sd: f64,
}

/// Images between two looks at whether the user asked to stop.
const BATCH: usize = 32;

impl DeadLeaves {
    /// RGB images, each a function of (seed, split, index) alone.
    ///
    /// # Errors
    /// When the user asked to stop.
    pub fn generate(&self, seed: u64, split: &str, watch: &Watch) -> Result<Images, DataError> {
        let purpose = format!("dead leaves {split}");
        let phase = format!("backgrounds for {split}");
        watch.progress.begin(&phase, Some(self.images as u64), Unit::Images);
        let total = self.images * self.size * self.size * 3;
        let mut pixels = Collector::new(total).map_err(DataError::spilled)?;
        for start in (0..self.images).step_by(BATCH) {
            watch.check()?;
            let end = self.images.min(start + BATCH);
            let images: Vec<Vec<u8>> = (start..end)
                .into_par_iter()
                .map(|index| self.image(&mut random::stream(seed, &purpose, 0, index as u64)))
                .collect();
            for image in &images {
                pixels.push(image).map_err(DataError::spilled)?;
            }
            watch.progress.advance((end - start) as u64);
        }
        let pixels = pixels.finish().map_err(DataError::spilled)?;
        Ok(Images::same(3, (self.size, self.size), pixels))
    }

    /// One image `[size, size, 3]`, painted from the top disc down: a pixel keeps the first colour
    /// it gets, and the last pixel to get one ends it.
    fn image(&self, stream: &mut Stream) -> Vec<u8> {
        let exposure = self.luminance_mean + self.exposure_sd * f64::from(stream.normal());
        let mut canvas = LeafCanvas::new(self.size);
        let span = self.size as f64 + 2.0 * self.radius_max;
        while canvas.bare > 0 {
            let radius = self.radius(stream.uniform_f64());
            let x = span * stream.uniform_f64() - self.radius_max;
            let y = span * stream.uniform_f64() - self.radius_max;
            canvas.paint(x, y, radius, self.colour(exposure, stream));
        }
        canvas.pixels
    }

    /// The radius below which a share `u` of all radii lies.
    fn radius(&self, u: f64) -> f64 {
        let (low, high) = (self.radius_min, self.radius_max);
        let power = 1.0 - self.exponent;
        if power.abs() < 1e-9 {
            return low * (high / low).powf(u);
        }
        let (from, to) = (low.powf(power), high.powf(power));
        (from + u * (to - from)).powf(1.0 / power).clamp(low, high)
    }

    fn colour(&self, exposure: f64, stream: &mut Stream) -> [u8; 3] {
        let luminance = exposure + self.luminance_sd * f64::from(stream.normal());
        // Less their mean, three numbers of deviation s have the deviation s sqrt(2/3).
        let chroma: [f64; 3] =
            std::array::from_fn(|_| self.chroma_sd * 1.5_f64.sqrt() * f64::from(stream.normal()));
        let mean = chroma.iter().sum::<f64>() / 3.0;
        chroma.map(|chroma| {
            let value = (luminance + chroma - mean).round().clamp(0.0, 255.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to a byte"
            )]
            let byte = value as u8;
            byte
        })
    }
}

struct LeafCanvas {
    size: usize,
    pixels: Vec<u8>,
    painted: Vec<bool>,
    bare: usize,
}

impl LeafCanvas {
    fn new(size: usize) -> Self {
        let area = size * size;
        Self { size, pixels: vec![0; area * 3], painted: vec![false; area], bare: area }
    }

    /// Gives the bare pixels whose centres lie in a disc its colour.
    fn paint(&mut self, x: f64, y: f64, radius: f64, colour: [u8; 3]) {
        for row in self.covered(y, radius) {
            let dy = row as f64 + 0.5 - y;
            let half = (radius * radius - dy * dy).max(0.0).sqrt();
            for column in self.covered(x, half) {
                let at = row * self.size + column;
                if !self.painted[at] {
                    self.painted[at] = true;
                    self.bare -= 1;
                    self.pixels[at * 3..at * 3 + 3].copy_from_slice(&colour);
                }
            }
        }
    }

    /// Pixels along an axis whose centres lie within `half` of `centre`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the canvas"
    )]
    fn covered(&self, centre: f64, half: f64) -> std::ops::Range<usize> {
        let end = self.size as f64;
        let first = (centre - half - 0.5).ceil().clamp(0.0, end);
        let last = ((centre + half - 0.5).floor() + 1.0).clamp(first, end);
        first as usize..last as usize
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::progress::Silent;

    pub(crate) const DEFAULTS: DeadLeaves = DeadLeaves {
        images: 24,
        size: 96,
        radius_min: 4.0,
        radius_max: 80.0,
        exponent: 3.0,
        luminance_mean: 110.0,
        exposure_sd: 30.0,
        luminance_sd: 40.0,
        chroma_sd: 15.0,
    };

    fn generate(model: DeadLeaves, seed: u64, split: &str) -> Images {
        let cancel = AtomicBool::new(false);
        model.generate(seed, split, &Watch { progress: &Silent, cancel: &cancel }).unwrap()
    }

    fn deviation(values: &[f64]) -> f64 {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt()
    }

    #[test]
    fn colours_are_muted_and_luminance_varies_widely() {
        let images = generate(DEFAULTS, 0, "train");
        let (mut chroma, mut luminance) = (Vec::new(), Vec::new());
        for pixel in images.pixels.chunks_exact(3) {
            let mean = pixel.iter().map(|value| f64::from(*value)).sum::<f64>() / 3.0;
            luminance.push(mean);
            chroma.extend(pixel.iter().map(|value| f64::from(*value) - mean));
        }
        let (chroma, luminance) = (deviation(&chroma), deviation(&luminance));
        assert!((12.0..17.0).contains(&chroma), "{chroma}");
        assert!((38.0..60.0).contains(&luminance), "{luminance}");
    }

    #[test]
    fn radii_follow_the_power_law() {
        // Of density r^-3 on [4, 80], a share (1 - (4/r)^2) / (1 - (4/80)^2) lies below r.
        for radius in [4.5_f64, 6.0, 10.0, 50.0] {
            let share = (1.0 - (4.0_f64 / radius).powi(2)) / (1.0 - (4.0_f64 / 80.0).powi(2));
            assert!((DEFAULTS.radius(share) - radius).abs() < 1e-9 * radius.powi(3));
        }
        let flat = DeadLeaves { exponent: 1.0, ..DEFAULTS };
        assert!((flat.radius(0.5) - (4.0_f64 * 80.0).sqrt()).abs() < 1e-9);
    }

    #[test]
    fn images_depend_on_seed_split_and_index_but_not_on_their_number() {
        let few = generate(DeadLeaves { images: 2, ..DEFAULTS }, 0, "train");
        let more = generate(DeadLeaves { images: 3, ..DEFAULTS }, 0, "train");
        assert_eq!(few.pixels, more.pixels[..few.pixels.len()]);
        let first = |images: &Images| images.iter().next().unwrap().pixels.to_vec();
        assert_ne!(first(&few), few.iter().nth(1).unwrap().pixels);
        assert_ne!(first(&few), first(&generate(DEFAULTS, 1, "train")));
        assert_ne!(first(&few), first(&generate(DEFAULTS, 0, "test")));
    }

    #[test]
    fn a_disc_covers_the_pixels_whose_centres_it_holds() {
        let mut canvas = LeafCanvas::new(4);
        canvas.paint(2.0, 2.0, 1.0, [9, 9, 9]);
        let painted: Vec<usize> =
            canvas.painted.iter().enumerate().filter(|(_, is)| **is).map(|(at, _)| at).collect();
        assert_eq!(painted, [5, 6, 9, 10]);
        assert_eq!(canvas.bare, 12);
        canvas.paint(-50.0, 2.0, 3.0, [1, 1, 1]);
        assert_eq!(canvas.bare, 12);
    }
}
