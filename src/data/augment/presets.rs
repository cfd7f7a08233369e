//! The changes of weak and of strong views, by name (Sohn et al. 2020, "FixMatch: Simplifying Semi-Supervised Learning with
//! Consistency and Confidence", section 2.3).

use super::{Steps, Transform, TransformKind, cutout, flip, randaugment};
use crate::config::{Keys, Noted};
use crate::nn::ops::{PixelChanges, Shift};
use crate::random::Stream;

pub(super) const WEAK: TransformKind = TransformKind {
    name: "weak",
    about: "a flip with probability 1/2 and a shift by up to an eighth of each side (Sohn et al., 2020)",
    read: |_: &mut Keys| -> Result<Steps, Noted> { Ok(weak()) },
};

pub(super) const STRONG: TransformKind = TransformKind {
    name: "strong",
    about: "`weak`, then `randaugment` with its defaults, then a square of half the shorter side set to zero (Sohn et al., 2020)",
    read: |_: &mut Keys| -> Result<Steps, Noted> {
        let mut steps = weak();
        steps.extend(randaugment::usual());
        steps.push(Box::new(HalfCutout));
        Ok(steps)
    },
};

/// A shift by up to so many parts of each side.
const PARTS: usize = 8;

fn weak() -> Steps {
    vec![Box::new(flip::Flip { p: 0.5 }), Box::new(ShiftByPart)]
}

/// Shifts an image by up to an eighth of each side, rounded down; zeros come in.
#[derive(Debug)]
struct ShiftByPart;

impl Transform for ShiftByPart {
    fn draw(&self, size: (usize, usize), streams: &mut [Stream]) -> PixelChanges {
        let draw = |stream: &mut Stream| {
            let mut by = |side: usize| {
                let most = side / PARTS;
                stream.below(2 * most + 1).cast_signed() - most.cast_signed()
            };
            Shift { down: by(size.0), right: by(size.1) }
        };
        PixelChanges::Window { each: streams.iter_mut().map(draw).collect(), size }
    }
}

/// Cutout whose square has half the shorter side of an image, a pixel at least.
#[derive(Debug)]
struct HalfCutout;

impl Transform for HalfCutout {
    fn draw(&self, size: (usize, usize), streams: &mut [Stream]) -> PixelChanges {
        let half = (size.0.min(size.1) / 2).max(1);
        cutout::Cutout { size: half }.draw(size, streams)
    }
}
