//! A random part of an image at the size of the whole (torchvision's `RandomResizedCrop` with
//! antialiasing; Szegedy et al. 2015).

use super::part::Parts;
use super::{Pixels, Transform, TransformKind};
use crate::config::{Keys, Noted};
use crate::data::Image;
use crate::data::resize::Resizer;
use crate::nn::ops::{Area, PixelChanges};
use crate::random::Stream;

pub(super) const KIND: TransformKind = TransformKind {
    name: "resized_crop",
    about: "a random part of an image at the size of the whole",
    read,
};

#[derive(Debug)]
struct ResizedCrop {
    /// What is cut out; its ratio is width over height.
    parts: Parts,
}

fn read(keys: &mut Keys) -> Result<Box<dyn Transform>, Noted> {
    keys.about(&[
        ("scale", "share of the area that the part has, at least and at most"),
        ("ratio", "width over height of the part, at least and at most"),
    ]);
    let parts = Parts::read(keys, [0.08, 1.0], [0.75, 4.0 / 3.0]);
    Ok(Box::new(ResizedCrop { parts: parts? }))
}

impl ResizedCrop {
    /// Draws a part of an image of `height` and `width`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides of images"
    )]
    fn part(&self, (height, width): (usize, usize), stream: &mut Stream) -> Area {
        let fits = |(h, w): (usize, usize)| (1..=width).contains(&w) && (1..=height).contains(&h);
        let drawn = self.parts.draw((height, width), stream, |w, h| (h, w), fits);
        if let Some(part) = drawn {
            return part;
        }
        // The middle, as far as the ratio lets it.
        let ratio = self.parts.ratio;
        let now = width as f64 / height as f64;
        let (h, w) = if now < ratio[0] {
            ((width as f64 / ratio[0]).round() as usize, width)
        } else if now > ratio[1] {
            (height, (height as f64 * ratio[1]).round() as usize)
        } else {
            (height, width)
        };
        let (h, w) = (h.clamp(1, height), w.clamp(1, width));
        Area { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
    }
}

impl Transform for ResizedCrop {
    fn draw(&self, size: (usize, usize), streams: &mut [Stream]) -> PixelChanges {
        PixelChanges::Enlarge(streams.iter_mut().map(|stream| self.part(size, stream)).collect())
    }
}

/// Makes a part as large as the whole image.
pub(super) fn enlarge(image: &mut Pixels, Area { top, left, height, width }: Area) {
    let mut pixels = Vec::with_capacity(height * width * image.channels);
    for row in top..top + height {
        let start = (row * image.width + left) * image.channels;
        pixels.extend_from_slice(&image.values[start..start + width * image.channels]);
    }
    let part = Image { height, width, pixels: &pixels };
    let size = (image.height, image.width);
    image.values = Resizer::new((height, width), size).apply(&part, image.channels);
}
