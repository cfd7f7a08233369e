//! Shifts an image by up to `padding` pixels each way, zeros following (torchvision's `RandomCrop` of
//! the image's own size).

use super::{Pixels, Transform, TransformKind};
use crate::config::{Keys, Noted};
use crate::random::Stream;

pub(super) const KIND: TransformKind = TransformKind { name: "random_crop", read };

#[derive(Debug)]
struct RandomCrop {
    padding: usize,
}

fn read(keys: &mut Keys) -> Result<Box<dyn Transform>, Noted> {
    keys.about(&[("padding", "border of zeros that the image is moved within, in pixels")]);
    let padding = keys.count("padding", 1..=4096).or(4_usize);
    Ok(Box::new(RandomCrop { padding: padding? }))
}

impl Transform for RandomCrop {
    fn apply(&self, image: &mut Pixels, stream: &mut Stream) {
        let most = 2 * self.padding + 1;
        let (down, right) = (stream.below(most), stream.below(most));
        shift(image, self.padding, (down, right));
    }
}

/// What a window of the image's size sees of the image with a border of `padding` zeros, `(down,
/// right)` from the border's corner.
pub(super) fn shift(image: &mut Pixels, padding: usize, (down, right): (usize, usize)) {
    let Pixels { values, height, width, channels } = image;
    let old = std::mem::replace(values, vec![0; values.len()]);
    let first = padding.saturating_sub(right).min(*width);
    let from = right.saturating_sub(padding);
    let Some(len) = width.checked_sub(first.max(from)) else { return };
    for row in 0..*height {
        let Some(source) = (row + down).checked_sub(padding).filter(|row| row < height) else {
            continue;
        };
        let (to, from) = ((row * *width + first) * *channels, (source * *width + from) * *channels);
        let len = len * *channels;
        values[to..to + len].copy_from_slice(&old[from..from + len]);
    }
}
