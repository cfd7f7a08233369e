//! Sets a random part to zero (Zhong et al., AAAI 2020; torchvision's `RandomErasing` with its default `value`, but on
//! images of 8 bits: zero is black, and not the mean that `normalize` subtracts).

use super::part::Parts;
use super::{Steps, Transform, TransformKind};
use crate::config::{Keys, Noted};
use crate::nn::ops::{Area, PixelChanges};
use crate::random::Stream;

pub(super) const KIND: TransformKind = TransformKind {
    name: "random_erasing",
    about: "sets a random part to zero (Zhong et al., 2020)",
    read,
};

#[derive(Debug)]
struct RandomErasing {
    /// Probability that anything is erased.
    p: f64,
    /// What is erased; its ratio is height over width.
    parts: Parts,
}

fn read(keys: &mut Keys) -> Result<Steps, Noted> {
    keys.about(&[
        ("p", "probability that a part is erased"),
        ("scale", "share of the area that is erased, at least and at most"),
        ("ratio", "height over width of what is erased, at least and at most"),
    ]);
    let p = keys.float("p").fraction().or(0.5);
    let parts = Parts::read(keys, [0.02, 0.33], [0.3, 3.3]);
    Ok(vec![Box::new(RandomErasing { p: p?, parts: parts? })])
}

impl RandomErasing {
    /// Draws what is erased of an image of `height` and `width`: nothing where no part that was drawn fits into it.
    fn part(&self, size: (usize, usize), stream: &mut Stream) -> Area {
        let (height, width) = size;
        let is_drawn = stream.uniform_f64() < self.p;
        let fits = |(h, w)| h < height && w < width;
        let part = is_drawn.then(|| self.parts.draw(size, stream, |h, w| (h, w), fits));
        part.flatten().unwrap_or(Area { top: 0, left: 0, height: 0, width: 0 })
    }
}

impl Transform for RandomErasing {
    fn draw(&self, size: (usize, usize), streams: &mut [Stream]) -> PixelChanges {
        PixelChanges::Blank(streams.iter_mut().map(|stream| self.part(size, stream)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    fn parts_have_the_shares_and_shapes_asked_for_and_lie_in_the_image() {
        let parts = Parts { scale: [0.02, 0.33], ratio: [0.3, 3.3] };
        let erasing = RandomErasing { p: 0.25, parts };
        let size = (64, 48);
        let parts: Vec<Area> = (0..4000)
            .map(|index| erasing.part(size, &mut random::stream(1, "augment", 0, index)))
            .filter(|part| part.height > 0)
            .collect();
        // Four standard deviations of a binomial distribution of 4000 draws.
        assert!((890..=1110).contains(&parts.len()), "{}", parts.len());
        for Area { top, left, height, width } in &parts {
            assert!(top + height <= size.0 && left + width <= size.1);
            let share = (height * width) as f64 / (64.0 * 48.0);
            let ratio = *height as f64 / *width as f64;
            // Sides are rounded to whole pixels.
            assert!((0.017..0.35).contains(&share), "{share}");
            assert!((0.25..3.9).contains(&ratio), "{ratio}");
        }
        let tall = parts.iter().filter(|part| part.height > part.width).count();
        assert!((parts.len() / 3..parts.len() * 2 / 3).contains(&tall), "{tall}");
        // What never fits changes nothing.
        let large = RandomErasing { p: 1.0, parts: Parts { scale: [1.0, 1.0], ratio: [1.0, 1.0] } };
        assert_eq!(large.part((8, 8), &mut random::stream(1, "augment", 0, 0)).height, 0);
    }
}
