//! Shifts an image by up to `padding` pixels each way, zeros following (torchvision's `RandomCrop` of
//! the image's own size).

use super::{Pixels, Transform, TransformKind};
use crate::config::{Keys, Noted};
use crate::nn::ops::{PixelChanges, Shift};
use crate::random::Stream;

pub(super) const KIND: TransformKind = TransformKind {
    name: "random_crop",
    about: "shifts an image by up to `padding` pixels each way",
    read,
};

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
    fn draw(&self, _: (usize, usize), streams: &mut [Stream]) -> PixelChanges {
        let most = 2 * self.padding + 1;
        let draw = |stream: &mut Stream| {
            let mut by = || stream.below(most).cast_signed() - self.padding.cast_signed();
            Shift { down: by(), right: by() }
        };
        PixelChanges::Shift(streams.iter_mut().map(draw).collect())
    }
}

/// What a window of the image's size sees that lies elsewhere, zeros beyond the image.
pub(super) fn shift(image: &mut Pixels, Shift { down, right }: Shift) {
    let Pixels { values, height, width, channels } = image;
    let old = std::mem::replace(values, vec![0; values.len()]);
    let by = right.unsigned_abs();
    let (first, from) = if right < 0 { (by.min(*width), 0) } else { (0, by) };
    let Some(len) = width.checked_sub(first.max(from)) else { return };
    for row in 0..*height {
        let source = row.checked_add_signed(down).filter(|row| row < height);
        let Some(source) = source else { continue };
        let (to, from) = ((row * *width + first) * *channels, (source * *width + from) * *channels);
        let len = len * *channels;
        values[to..to + len].copy_from_slice(&old[from..from + len]);
    }
}
