//! A random part of an image at the size of the whole, or at one that is given (torchvision's `RandomResizedCrop` with
//! antialiasing; Szegedy et al. 2015).

use super::part::Parts;
use super::{Pixels, Steps, Transform, TransformKind};
use crate::config::{Keys, Noted, pixels};
use crate::data::Image;
use crate::data::resize::Resizer;
use crate::nn::ops::{Area, PixelChanges};
use crate::random::Stream;

pub(super) const KIND: TransformKind = TransformKind {
    name: "resized_crop",
    about: "a random part of an image at the size of the whole, or at `size`",
    read,
};

#[derive(Debug)]
struct ResizedCrop {
    /// What is cut out; its ratio is width over height.
    parts: Parts,
    /// The size that the part gets.
    size: Option<(usize, usize)>,
}

fn read(keys: &mut Keys) -> Result<Steps, Noted> {
    keys.about(&[
        (
            "size",
            "height and width that the part gets, which images have from then on; one number for both, the image's own when left out",
        ),
        ("scale", "share of the area that the part has, at least and at most"),
        ("ratio", "width over height of the part, at least and at most"),
    ]);
    let size = pixels::height_and_width(keys, "size");
    let parts = Parts::read(keys, [0.08, 1.0], [0.75, 4.0 / 3.0]);
    Ok(vec![Box::new(ResizedCrop { parts: parts?, size: size? })])
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
        let each = streams.iter_mut().map(|stream| self.part(size, stream)).collect();
        PixelChanges::Resize { each, size: self.size.unwrap_or(size) }
    }

    fn size(&self) -> Option<(usize, usize)> {
        self.size
    }
}

/// Takes a part, at a size.
pub(super) fn resize(
    image: &mut Pixels,
    Area { top, left, height, width }: Area,
    size: (usize, usize),
) {
    let mut pixels = Vec::with_capacity(height * width * image.channels);
    for row in top..top + height {
        let start = (row * image.width + left) * image.channels;
        pixels.extend_from_slice(&image.values[start..start + width * image.channels]);
    }
    let part = Image { height, width, pixels: &pixels };
    image.values = Resizer::new((height, width), size).apply(&part, image.channels);
    (image.height, image.width) = size;
}
