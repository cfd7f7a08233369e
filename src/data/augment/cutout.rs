//! Sets a square to zero whose middle is anywhere in the image (DeVries & Taylor 2017).

use super::{Pixels, Transform, TransformKind};
use crate::config::{Keys, Noted};
use crate::random::Stream;

pub(super) const KIND: TransformKind = TransformKind { name: "cutout", read };

#[derive(Debug)]
struct Cutout {
    /// Side in pixels; what lies outside of the image is cut off.
    size: usize,
}

fn read(keys: &mut Keys) -> Result<Box<dyn Transform>, Noted> {
    keys.about(&[("size", "side of the square that is blanked out, in pixels")]);
    let size = keys.count("size", 1..=16_384).required();
    Ok(Box::new(Cutout { size: size? }))
}

impl Transform for Cutout {
    fn apply(&self, image: &mut Pixels, stream: &mut Stream) {
        let middle = (stream.below(image.height), stream.below(image.width));
        cut(image, self.size, middle);
    }
}

/// Sets the square of side `size` about `(row, column)` to zero.
pub(super) fn cut(image: &mut Pixels, size: usize, (row, column): (usize, usize)) {
    let span = |at: usize, end: usize| {
        let start = (at + size.div_ceil(2)).saturating_sub(size);
        start..(at + size.div_ceil(2)).min(end)
    };
    let columns = span(column, image.width);
    for row in span(row, image.height) {
        let start = row * image.width;
        let (from, to) =
            ((start + columns.start) * image.channels, (start + columns.end) * image.channels);
        image.values[from..to].fill(0);
    }
}
