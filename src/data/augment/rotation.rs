//! Turns an image about its middle, zeros coming in (torchvision's `RandomRotation`, bilinear).

use super::{Pixels, Steps, Transform, TransformKind, between};
use crate::config::{Keys, Noted};
use crate::nn::ops::{PixelChanges, Turn};
use crate::random::Stream;

pub(super) const KIND: TransformKind =
    TransformKind { name: "rotation", about: "turns an image about its middle", read };

#[derive(Debug)]
struct Rotation {
    degrees: f64,
}

fn read(keys: &mut Keys) -> Result<Steps, Noted> {
    keys.about(&[("degrees", "largest turn to either side")]);
    let degrees = keys
        .float("degrees")
        .such_that("degrees above 0 and at most 180", |it| *it > 0.0 && *it <= 180.0)
        .or(10.0);
    Ok(vec![Box::new(Rotation { degrees: degrees? })])
}

impl Transform for Rotation {
    fn draw(&self, _: (usize, usize), streams: &mut [Stream]) -> PixelChanges {
        let draw = |stream: &mut Stream| by(between(stream, -self.degrees, self.degrees));
        PixelChanges::Turn(streams.iter_mut().map(draw).collect())
    }
}

/// A turn counterclockwise.
pub(super) fn by(degrees: f64) -> Turn {
    let (sin, cos) = degrees.to_radians().sin_cos();
    Turn { sin, cos }
}

/// Turns an image. Each pixel is read where it comes from, between four neighbours of which
/// those outside are zero.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "sides of images")]
pub(super) fn rotate(image: &mut Pixels, Turn { sin, cos }: Turn) {
    let Pixels { values, height, width, channels } = image;
    let (height, width, channels) = (*height, *width, *channels);
    let (middle_y, middle_x) = ((height as f64 - 1.0) / 2.0, (width as f64 - 1.0) / 2.0);
    let old = std::mem::take(values);
    let at = |y: isize, x: isize, channel: usize| {
        let inside = |at: isize, size: usize| usize::try_from(at).ok().filter(|at| *at < size);
        let place = inside(y, height).zip(inside(x, width));
        place.map_or(0.0, |(y, x)| f32::from(old[(y * width + x) * channels + channel]))
    };
    let mut new = Vec::with_capacity(old.len());
    for row in 0..height {
        for column in 0..width {
            let (y, x) = (row as f64 - middle_y, column as f64 - middle_x);
            let (from_x, from_y) = (cos * x - sin * y + middle_x, sin * x + cos * y + middle_y);
            let (left, top) = (from_x.floor(), from_y.floor());
            let (right, down) = ((from_x - left) as f32, (from_y - top) as f32);
            let (left, top) = (left as isize, top as isize);
            for channel in 0..channels {
                let upper =
                    at(top, left, channel) * (1.0 - right) + at(top, left + 1, channel) * right;
                let lower = at(top + 1, left, channel) * (1.0 - right)
                    + at(top + 1, left + 1, channel) * right;
                new.push(super::byte((upper * (1.0 - down) + lower * down).round_ties_even()));
            }
        }
    }
    *values = new;
}
