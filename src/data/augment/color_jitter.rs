//! Brightness, contrast, saturation and hue by random factors in random order (torchvision's
//! `ColorJitter` on 8-bit images). Gray images have brightness and contrast only.

use super::{Pixels, Steps, Transform, TransformKind, between, byte};
use crate::config::{Keys, Noted};
use crate::nn::ops::{ColorChange, PixelChanges};
use crate::random::Stream;

pub(super) const KIND: TransformKind = TransformKind {
    name: "color_jitter",
    about: "brightness, contrast, saturation and hue by random factors",
    read,
};

#[derive(Debug)]
struct ColorJitter {
    /// Factors are uniform in 1 ± this, not below 0.
    brightness: f64,
    contrast: f64,
    saturation: f64,
    /// Turns of the colour wheel, uniform in ± this, at most half a turn.
    hue: f64,
}

fn read(keys: &mut Keys) -> Result<Steps, Noted> {
    keys.about(&[
        ("brightness", "largest relative change of brightness"),
        ("contrast", "largest relative change of contrast"),
        ("saturation", "largest relative change of saturation"),
        ("hue", "largest turn of the hue, as a part of the circle"),
    ]);
    let brightness = keys.float("brightness").at_least(0.0).or(0.2);
    let contrast = keys.float("contrast").at_least(0.0).or(0.2);
    let saturation = keys.float("saturation").at_least(0.0).or(0.2);
    let hue = keys
        .float("hue")
        .such_that("a number from 0 to 0.5", |it| (0.0..=0.5).contains(it))
        .or(0.0);
    Ok(vec![Box::new(ColorJitter {
        brightness: brightness?,
        contrast: contrast?,
        saturation: saturation?,
        hue: hue?,
    })])
}

impl Transform for ColorJitter {
    fn draw(&self, _: (usize, usize), streams: &mut [Stream]) -> PixelChanges {
        PixelChanges::Recolor(streams.iter_mut().map(|stream| self.changes(stream)).collect())
    }
}

impl ColorJitter {
    /// Draws the changes of an image. What is not to change is left out, as even a hue that is turned by nothing is rounded.
    #[expect(clippy::cast_possible_truncation, reason = "factors of bytes")]
    fn changes(&self, stream: &mut Stream) -> [Option<ColorChange>; 4] {
        let mut order = [0, 1, 2, 3];
        stream.shuffle(&mut order);
        let mut factor =
            |amount: f64| between(stream, (1.0 - amount).max(0.0), 1.0 + amount) as f32;
        let factors = [self.brightness, self.contrast, self.saturation].map(&mut factor);
        let turn = between(stream, -self.hue, self.hue) as f32;
        let changes = [
            (self.brightness > 0.0).then_some(ColorChange::Brightness(factors[0])),
            (self.contrast > 0.0).then_some(ColorChange::Contrast(factors[1])),
            (self.saturation > 0.0).then_some(ColorChange::Saturation(factors[2])),
            (self.hue > 0.0).then_some(ColorChange::Hue(turn)),
        ];
        order.map(|what: usize| changes[what])
    }
}

/// Changes an image's colours.
pub(super) fn recolor(image: &mut Pixels, change: ColorChange) {
    match change {
        ColorChange::Brightness(factor) => brightness(image, factor),
        ColorChange::Contrast(factor) => contrast(image, factor),
        ColorChange::Saturation(factor) => saturation(image, factor),
        ColorChange::Hue(turn) => hue(image, turn),
    }
}

/// Luma of a pixel (ITU-R BT.601, as torchvision has it), cut off at its point.
fn gray(pixel: &[u8]) -> f32 {
    match pixel {
        [red, green, blue] => {
            (0.2989 * f32::from(*red) + 0.587 * f32::from(*green) + 0.114 * f32::from(*blue))
                .floor()
        }
        _ => f32::from(pixel[0]),
    }
}

/// A value away from `other` by a factor.
pub(super) fn blend(value: u8, other: f32, factor: f32) -> u8 {
    byte(factor * f32::from(value) + (1.0 - factor) * other)
}

fn brightness(image: &mut Pixels, factor: f32) {
    image.values.iter_mut().for_each(|value| *value = blend(*value, 0.0, factor));
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a mean of bytes")]
fn contrast(image: &mut Pixels, factor: f32) {
    let sum: f64 = image.values.chunks_exact(image.channels).map(|it| f64::from(gray(it))).sum();
    let mean = (sum / (image.height * image.width) as f64) as f32;
    image.values.iter_mut().for_each(|value| *value = blend(*value, mean, factor));
}

fn saturation(image: &mut Pixels, factor: f32) {
    if image.channels != 3 {
        return;
    }
    for pixel in image.values.chunks_exact_mut(3) {
        let gray = gray(pixel);
        pixel.iter_mut().for_each(|value| *value = blend(*value, gray, factor));
    }
}

/// Turns the hue by way of HSV.
fn hue(image: &mut Pixels, turn: f32) {
    if image.channels != 3 {
        return;
    }
    for pixel in image.values.chunks_exact_mut(3) {
        let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(|it| f32::from(it) / 255.0);
        let (largest, smallest) = (red.max(green).max(blue), red.min(green).min(blue));
        let range = largest - smallest;
        if range == 0.0 {
            continue;
        }
        let sector = if largest == red {
            (green - blue) / range
        } else if largest == green {
            2.0 + (blue - red) / range
        } else {
            4.0 + (red - green) / range
        };
        let at = ((sector / 6.0 + turn).rem_euclid(1.0)) * 6.0;
        let saturation = range / largest;
        let part = at - at.floor();
        let low = largest * (1.0 - saturation);
        let (falling, rising) =
            (largest * (1.0 - saturation * part), largest * (1.0 - saturation * (1.0 - part)));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 6")]
        let rgb = match at.floor() as u32 % 6 {
            0 => [largest, rising, low],
            1 => [falling, largest, low],
            2 => [low, largest, rising],
            3 => [low, falling, largest],
            4 => [rising, low, largest],
            _ => [largest, low, falling],
        };
        for (value, new) in pixel.iter_mut().zip(rgb) {
            // torchvision's conversion to bytes: equal parts of 0 to 1 for each of 256 values.
            *value = byte(new * (256.0 - 1e-3));
        }
    }
}
