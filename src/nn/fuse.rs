//! Which neighbouring layers run as one operation. Says what belongs together; runs nothing.

use super::ops::conv_block::MOST_POSITIONS;
use super::spec::{Layer, Placed};

/// A convolution and the layers after it that [`ConvBlock`](super::ops::ConvBlock) does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fused {
    /// Place of the batch normalisation.
    pub norm: Option<usize>,
    /// Place of the max pooling.
    pub pool: Option<usize>,
    /// Whether it ends in rectification.
    pub relu: bool,
    /// The first place that is not part of it.
    pub end: usize,
}

/// What the convolution at `layers[at]` takes along: batch normalisation right behind it, then max
/// pooling and rectification in any order.
pub fn fuse<'a>(layers: impl Fn(usize) -> Option<&'a Placed>, at: usize) -> Fused {
    let part = layers(at).map(|placed| placed.part);
    let layer = |at| layers(at).filter(|placed| Some(placed.part) == part);
    let mut fused = Fused { norm: None, pool: None, relu: false, end: at + 1 };
    if layer(fused.end).is_some_and(|it| matches!(it.layer, Layer::BatchNorm { .. })) {
        fused.norm = Some(fused.end);
        fused.end += 1;
    }
    while let Some(placed) = layer(fused.end) {
        match &placed.layer {
            Layer::Relu if !fused.relu => fused.relu = true,
            Layer::MaxPool { kernel, .. }
                if fused.pool.is_none() && kernel.0 * kernel.1 <= MOST_POSITIONS =>
            {
                fused.pool = Some(fused.end);
            }
            _ => break,
        }
        fused.end += 1;
    }
    fused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ops::Chw;
    use crate::nn::zoo;

    fn fused(arch: &str, at: usize) -> Fused {
        let input = Chw { channels: 3, height: 28, width: 28 };
        let placed = (zoo::find(arch).unwrap().build)(input, 10).place().unwrap();
        fuse(|at| placed.get(at), at)
    }

    #[test]
    fn a_convolution_takes_along_what_follows_in_either_order() {
        let first = Fused { norm: Some(1), pool: Some(2), relu: true, end: 4 };
        assert_eq!(fused("dacnn", 0), first);
        assert_eq!(fused("dacnn", 4), Fused { norm: Some(5), pool: Some(6), relu: true, end: 8 });
        assert_eq!(fused("lenet", 0), Fused { norm: None, pool: Some(2), relu: true, end: 3 });
    }
}
