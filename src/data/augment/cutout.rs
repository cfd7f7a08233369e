//! Sets a square to zero whose middle is anywhere in the image (DeVries & Taylor 2017).

use super::{Pixels, Steps, Transform, TransformKind};
use crate::config::{Keys, Noted};
use crate::nn::ops::{Area, PixelChanges};
use crate::random::Stream;

pub(super) const KIND: TransformKind = TransformKind {
    name: "cutout",
    about: "sets a square to zero (DeVries and Taylor, 2017)",
    read,
};

#[derive(Debug)]
pub(super) struct Cutout {
    /// Side in pixels; what lies outside of the image is cut off.
    pub size: usize,
}

fn read(keys: &mut Keys) -> Result<Steps, Noted> {
    keys.about(&[("size", "side of the square that is blanked out, in pixels")]);
    let size = keys.count("size", 1..=16_384).required();
    Ok(vec![Box::new(Cutout { size: size? })])
}

impl Transform for Cutout {
    fn draw(&self, (height, width): (usize, usize), streams: &mut [Stream]) -> PixelChanges {
        let draw = |stream: &mut Stream| {
            let middle = (stream.below(height), stream.below(width));
            square(self.size, middle, (height, width))
        };
        PixelChanges::Blank(streams.iter_mut().map(draw).collect())
    }
}

/// The square of side `size` about `(row, column)`, as far as it lies in an image of `height` and `width`.
pub(super) fn square(
    size: usize,
    (row, column): (usize, usize),
    (height, width): (usize, usize),
) -> Area {
    let span = |at: usize, end: usize| {
        let start = (at + size.div_ceil(2)).saturating_sub(size);
        (start, (at + size.div_ceil(2)).min(end) - start)
    };
    let ((top, height), (left, width)) = (span(row, height), span(column, width));
    Area { top, left, height, width }
}

/// Sets an area to zero.
pub(super) fn blank(image: &mut Pixels, Area { top, left, height, width }: Area) {
    for row in top..top + height {
        let start = (row * image.width + left) * image.channels;
        image.values[start..start + width * image.channels].fill(0);
    }
}
