//! The looks at an image that a method may ask for besides the one that it trains on.

use std::sync::Arc;

use super::augment::Augment;
use crate::random::Stream;

/// One of the two sets of images that an adaptation trains on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Domain {
    /// The labelled images.
    Source,
    /// The images without labels.
    Target,
}

/// A further look at the images of each step, with random numbers of its own.
#[derive(Debug)]
pub struct ViewRequest {
    /// Whose images.
    pub domain: Domain,
    /// What the method calls it. Its random numbers are drawn for this name: two views of a domain need
    /// two names.
    pub name: &'static str,
    /// What it looks like.
    pub kind: ViewKind,
}

/// What a view looks like. A view is never mixed with other images, whatever `augment` says of mixup.
#[derive(Debug)]
pub enum ViewKind {
    /// The images as they are.
    Plain,
    /// Changed as the stage's `augment` says, drawn anew; as they are where it says nothing.
    Augmented,
    /// Changed as the method says, in place of `augment`.
    Own(Arc<Augment>),
    /// What is trained on, with blocks of it hidden: see [`hide_blocks`].
    Masked {
        /// Height and width of a block, in pixels; `None` for four by four blocks whatever the size, as
        /// the authors have them in images of 224 pixels.
        block: Option<usize>,
        /// Probability that a block is hidden, 0 to 1.
        ratio: f32,
    },
}

impl ViewRequest {
    /// Whether it looks at pixels, which features have none of.
    pub fn needs_pixels(&self) -> bool {
        match &self.kind {
            // The changes of the stage are asked themselves.
            ViewKind::Plain | ViewKind::Augmented => false,
            ViewKind::Own(augment) => augment.changes_pixels(),
            ViewKind::Masked { .. } => true,
        }
    }
}

/// Blocks along each side of an image where their size is left open: 224 pixels by the 64 of the
/// paper, rounded.
const BLOCKS: usize = 4;

/// Sets whole blocks of a normalised image `values` `[C, height, width]` to zero in all channels, each
/// with probability `ratio` (MIC: Hoyer et al. 2023, "MIC: Masked Image Consistency for Context-Enhanced
/// Domain Adaptation", section 3.2).
///
/// As in the authors' code, the image has the whole number of blocks that is nearest to its size divided
/// by `block`, at least one; where that does not come out even, blocks are stretched to fill it. Without
/// `block` it has four by four.
///
/// # Panics
/// When `block` is zero or `values` are not of whole planes.
pub fn hide_blocks(
    values: &mut [f32],
    (height, width): (usize, usize),
    (block, ratio): (Option<usize>, f32),
    stream: &mut Stream,
) {
    // Halves go to the even number, as Python's `round` has it.
    let blocks = |length: usize| {
        let Some(block) = block else { return BLOCKS };
        let (whole, rest) = (length / block, 2 * (length % block));
        (whole + usize::from(rest > block || (rest == block && whole % 2 == 1))).max(1)
    };
    let (rows, columns) = (blocks(height), blocks(width));
    let hidden: Vec<bool> = (0..rows * columns).map(|_| stream.uniform() < ratio).collect();
    let plane = height * width;
    assert!(values.len().is_multiple_of(plane), "whole planes");
    for y in 0..height {
        for x in 0..width {
            if hidden[y * rows / height * columns + x * columns / width] {
                values.iter_mut().skip(y * width + x).step_by(plane).for_each(|it| *it = 0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    /// An image of ones with blocks hidden.
    fn hidden(
        size: (usize, usize),
        channels: usize,
        how: (Option<usize>, f32),
        index: u64,
    ) -> Vec<f32> {
        let mut values = vec![1.0; channels * size.0 * size.1];
        hide_blocks(&mut values, size, how, &mut random::stream(0, "mask", 0, index));
        values
    }

    #[test]
    fn blocks_are_hidden_whole_and_in_every_channel() {
        let values = hidden((8, 12), 3, (Some(4), 0.5), 1);
        let (first, others) = values.split_at(96);
        assert!(others.chunks(96).all(|plane| plane == first));
        for block in 0..6 {
            let (y, x) = (block / 3 * 4, block % 3 * 4);
            let of_block: Vec<f32> =
                (0..16).map(|at| first[(y + at / 4) * 12 + x + at % 4]).collect();
            assert!(of_block.iter().all(|it| it.to_bits() == of_block[0].to_bits()), "{block}");
        }
        assert!(first.contains(&0.0) && first.contains(&1.0));
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "a few values")]
    fn the_share_that_is_hidden_is_the_ratio() {
        assert!(!hidden((8, 8), 1, (Some(2), 0.0), 0).contains(&0.0));
        assert!(!hidden((8, 8), 1, (Some(2), 1.0), 0).contains(&1.0));
        let all: Vec<f32> = (0..500).flat_map(|at| hidden((8, 8), 1, (Some(2), 0.7), at)).collect();
        let share = 1.0 - all.iter().sum::<f32>() / all.len() as f32;
        assert!((share - 0.7).abs() < 0.02, "{share}");
    }

    #[test]
    fn blocks_that_do_not_come_out_even_are_stretched_as_the_authors_do() {
        // round(28 / 8) = 4 blocks of 7 pixels, where 8 would leave half a block over.
        let values = hidden((1, 28), 1, (Some(8), 0.5), 3);
        assert!(
            values.chunks(7).all(|block| block.iter().all(|it| it.to_bits() == block[0].to_bits()))
        );
        assert!(values.contains(&0.0) && values.contains(&1.0));
        // Four by four where nothing is said, of 2x3 pixels here.
        let open = |index: u64| hidden((8, 12), 1, (None, 0.5), index);
        let values = open(2);
        let of_block = |at: usize| values[at / 24 * 24 + at % 12 / 3 * 3];
        assert!((0..96).all(|at| values[at].to_bits() == of_block(at).to_bits()));
        for neighbour in [3, 24] {
            let apart = |index| open(index)[0].to_bits() != open(index)[neighbour].to_bits();
            assert!((0..20).any(apart), "{neighbour}");
        }
        // An image smaller than half a block is one block.
        let small = hidden((4, 4), 1, (Some(64), 0.5), 3);
        assert!(small.iter().all(|it| it.to_bits() == small[0].to_bits()));
    }
}
