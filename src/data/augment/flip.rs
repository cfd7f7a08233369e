//! Left becomes right with probability `p` (torchvision's `RandomHorizontalFlip`).

use super::{Pixels, Steps, Transform, TransformKind};
use crate::config::{Keys, Noted};
use crate::nn::ops::PixelChanges;
use crate::random::Stream;

pub(super) const KIND: TransformKind =
    TransformKind { name: "flip", about: "left becomes right", read };

#[derive(Debug)]
pub(super) struct Flip {
    /// Probability of a flip.
    pub p: f64,
}

fn read(keys: &mut Keys) -> Result<Steps, Noted> {
    keys.about(&[("p", "probability of a flip from left to right")]);
    let p = keys.float("p").fraction().or(0.5);
    Ok(vec![Box::new(Flip { p: p? })])
}

impl Transform for Flip {
    fn draw(&self, _: (usize, usize), streams: &mut [Stream]) -> PixelChanges {
        let draw = |stream: &mut Stream| stream.uniform_f64() < self.p;
        PixelChanges::Flip(streams.iter_mut().map(draw).collect())
    }
}

/// Exchanges left and right.
pub(super) fn flip(image: &mut Pixels) {
    let (width, channels) = (image.width, image.channels);
    for row in image.values.chunks_exact_mut(width * channels) {
        for left in 0..width / 2 {
            for channel in 0..channels {
                row.swap(left * channels + channel, (width - 1 - left) * channels + channel);
            }
        }
    }
}
