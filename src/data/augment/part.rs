//! A random part of an image, whose share of the area and whose shape are drawn.

use super::between;
use crate::config::{Keys, Noted};
use crate::nn::ops::Area;
use crate::random::Stream;

/// So often a part is drawn that is to fit into the image, as torchvision does.
const TRIES: usize = 10;

/// What parts there are.
#[derive(Debug)]
pub(super) struct Parts {
    /// Share of the area that a part has at least and at most.
    pub scale: [f64; 2],
    /// One side of a part over the other, at least and at most.
    pub ratio: [f64; 2],
}

impl Parts {
    /// Reads `scale` and `ratio`.
    pub fn read(keys: &mut Keys, scale: [f64; 2], ratio: [f64; 2]) -> Result<Self, Noted> {
        let scale = rising(keys, "scale", 1.0, scale);
        let ratio = rising(keys, "ratio", f64::INFINITY, ratio);
        Ok(Self { scale: scale?, ratio: ratio? })
    }

    /// Draws height and width of a part of an image of `height` and `width`, which `size` makes of the two sides that
    /// `ratio` is of, until they fit, and where it lies; nothing where none fits.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides of images"
    )]
    pub fn draw(
        &self,
        (height, width): (usize, usize),
        stream: &mut Stream,
        size: impl Fn(usize, usize) -> (usize, usize),
        fits: impl Fn((usize, usize)) -> bool,
    ) -> Option<Area> {
        let area = (height * width) as f64;
        for _ in 0..TRIES {
            let target = area * between(stream, self.scale[0], self.scale[1]);
            let ratio = between(stream, self.ratio[0].ln(), self.ratio[1].ln()).exp();
            let side = |square: f64| square.sqrt().round() as usize;
            let (h, w) = size(side(target * ratio), side(target / ratio));
            if fits((h, w)) {
                let (top, left) = (stream.below(height - h + 1), stream.below(width - w + 1));
                return Some(Area { top, left, height: h, width: w });
            }
        }
        None
    }
}

/// Reads two numbers above 0 and at most `most`, of which the second is not smaller.
fn rising(
    keys: &mut Keys,
    key: &'static str,
    most: f64,
    default: [f64; 2],
) -> Result<[f64; 2], Noted> {
    let expected = if most.is_finite() {
        "two numbers above 0 and at most 1, rising"
    } else {
        "two numbers above 0, rising"
    };
    let fits = move |it: &Vec<f64>| matches!(it[..], [a, b] if a > 0.0 && a <= b && b <= most && b.is_finite());
    let pair = keys.floats(key).such_that(expected, fits).or(default.to_vec())?;
    Ok([pair[0], pair[1]])
}
