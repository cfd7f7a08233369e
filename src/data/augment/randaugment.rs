//! Operations that are drawn one after the other out of fourteen, all with one magnitude (Cubuk et al. 2020, "RandAugment: Practical
//! automated data augmentation with a reduced search space"). Operations and ranges are those of torchvision's `RandAugment`.

use super::{Steps, Transform, TransformKind, rotation};
use crate::config::{Keys, Noted};
use crate::nn::ops::{Alteration, ColorChange, Map, PixelChanges};
use crate::random::Stream;

pub(super) const KIND: TransformKind = TransformKind {
    name: "randaugment",
    about: "operations that are drawn out of fourteen, with one magnitude (Cubuk et al., 2020)",
    read,
};

/// How many operations torchvision draws where nothing else is said.
const OPS: usize = 2;

/// torchvision's operation where nothing else is said.
const USUAL: RandAugment = RandAugment { magnitude: 9, bins: 31, fill: 0 };

/// More would not be told apart.
const MOST_BINS: usize = 1001;

fn read(keys: &mut Keys) -> Result<Steps, Noted> {
    keys.about(&[
        ("ops", "how many operations are drawn for an image, one after the other"),
        (
            "magnitude",
            "how strong they are, below `bins`: 0 changes least and the last one most; must be given with 9 bins or fewer",
        ),
        ("bins", "how many magnitudes the range of each operation is divided into"),
        (
            "fill",
            "value of what comes in from beyond the image, in each channel; 0 is black",
        ),
    ]);
    let ops = keys.count("ops", 1..=16).or(OPS);
    let bins = keys.count("bins", 2..=MOST_BINS).or(USUAL.bins);
    // Whoever asks what there is gets no `bins` but the default.
    let count = match &bins {
        Ok(bins) if !keys.is_describing() => *bins,
        _ => MOST_BINS,
    };
    let magnitude = keys.count("magnitude", 0..=count - 1);
    let usual = USUAL.magnitude;
    let magnitude = if count > usual { magnitude.or(usual) } else { magnitude.required() };
    let fill = keys.count("fill", 0..=255).or(usize::from(USUAL.fill));
    let fill = u8::try_from(fill?).expect("255 at most");
    Ok(steps(RandAugment { magnitude: magnitude?, bins: bins?, fill }, ops?))
}

/// What stands in a list where nothing but the name is said.
pub(super) fn usual() -> Steps {
    steps(USUAL, OPS)
}

fn steps(operation: RandAugment, count: usize) -> Steps {
    (0..count).map(|_| Box::new(operation) as Box<dyn Transform>).collect()
}

/// One operation of several.
#[derive(Debug, Clone, Copy)]
struct RandAugment {
    /// Below `bins`.
    magnitude: usize,
    bins: usize,
    fill: u8,
}

/// An operation before its magnitude is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

use Operation::{
    AutoContrast, Brightness, Color, Contrast, Equalize, Identity, Posterize, Rotate, Sharpness,
    ShearX, ShearY, Solarize, TranslateX, TranslateY,
};

const OPERATIONS: [Operation; 14] = [
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
];

impl Transform for RandAugment {
    fn draw(&self, size: (usize, usize), streams: &mut [Stream]) -> PixelChanges {
        let draw = |stream: &mut Stream| {
            let operation = OPERATIONS[stream.below(OPERATIONS.len())];
            // Drawn for every operation, though not all have a direction.
            let is_reversed = stream.below(2) == 1;
            self.alteration(operation, is_reversed, size)
        };
        PixelChanges::Alter(streams.iter_mut().map(draw).collect())
    }
}

impl RandAugment {
    /// How strong an operation is on images of `height` and `width`: a slope of a shear, pixels of a shift, degrees of a turn, what a
    /// factor differs from one by, bits that are kept, or the least value that is turned.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "small numbers"
    )]
    fn magnitude(&self, operation: Operation, (height, width): (usize, usize)) -> f32 {
        let along = |side: usize| (150.0 / 331.0 * side as f64) as f32;
        match operation {
            Identity | AutoContrast | Equalize => 0.0,
            ShearX | ShearY => self.spaced(0.0, 0.3),
            TranslateX => self.spaced(0.0, along(width)),
            TranslateY => self.spaced(0.0, along(height)),
            Rotate => self.spaced(0.0, 30.0),
            Brightness | Color | Contrast | Sharpness => self.spaced(0.0, 0.9),
            Posterize => {
                let quarter = ((self.bins - 1) as f64 / 4.0) as f32;
                8.0 - (self.magnitude as f32 / quarter).round_ties_even()
            }
            Solarize => self.spaced(255.0, 0.0),
        }
    }

    /// The place of the magnitude from `start` to `end`, counted from the nearer end as `torch.linspace` does.
    #[expect(clippy::cast_precision_loss, reason = "bins")]
    fn spaced(&self, start: f32, end: f32) -> f32 {
        let last = self.bins - 1;
        let step = (end - start) / last as f32;
        if self.magnitude < self.bins / 2 {
            start + step * self.magnitude as f32
        } else {
            end - step * (last - self.magnitude) as f32
        }
    }

    /// What an operation does to images of `size`, in the other direction where it has two and `is_reversed`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "factors of bytes and sides of images"
    )]
    fn alteration(
        &self,
        operation: Operation,
        is_reversed: bool,
        size: (usize, usize),
    ) -> Alteration {
        let unsigned = self.magnitude(operation, size);
        let magnitude = if is_reversed { -unsigned } else { unsigned };
        let (slope, pixels) = (f64::from(magnitude), f64::from(magnitude.trunc()));
        let factor = (1.0 + f64::from(magnitude)) as f32;
        let map = |column, row| Alteration::Map(Map { column, row, fill: self.fill });
        match operation {
            Identity => Alteration::Identity,
            // From the upper left corner, which lies half a pixel from the middle of the first one.
            ShearX => map([1.0, slope, slope / 2.0], [0.0, 1.0, 0.0]),
            ShearY => map([1.0, 0.0, 0.0], [slope, 1.0, slope / 2.0]),
            TranslateX => map([1.0, 0.0, -pixels], [0.0, 1.0, 0.0]),
            TranslateY => map([1.0, 0.0, 0.0], [0.0, 1.0, -pixels]),
            Rotate => {
                let turn = rotation::by(slope);
                let (y, x) = ((size.0 as f64 - 1.0) / 2.0, (size.1 as f64 - 1.0) / 2.0);
                map(
                    [turn.cos, -turn.sin, x - turn.cos * x + turn.sin * y],
                    [turn.sin, turn.cos, y - turn.sin * x - turn.cos * y],
                )
            }
            Brightness => Alteration::Recolor(ColorChange::Brightness(factor)),
            Color => Alteration::Recolor(ColorChange::Saturation(factor)),
            Contrast => Alteration::Recolor(ColorChange::Contrast(factor)),
            Sharpness => Alteration::Sharpness(factor),
            Posterize => Alteration::Posterize(u8::MAX << (8 - unsigned as u32)),
            Solarize => Alteration::Solarize(unsigned),
            AutoContrast => Alteration::AutoContrast,
            Equalize => Alteration::Equalize,
        }
    }
}

#[cfg(test)]
mod tests;
