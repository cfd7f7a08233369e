//! What goes into a network, in the form in which the host hands it over.

use std::sync::Arc;

/// The images of a batch, or the output of layers for them.
#[derive(Debug, Clone)]
pub enum Input {
    /// Numbers `[N, C*H*W]`.
    Values(Vec<f32>),
    /// Bytes `[N, H, W, C]`, which the device turns into numbers `[N, C*H*W]`.
    Pixels {
        /// The bytes.
        bytes: Vec<u8>,
        /// Their numbers.
        table: Arc<PixelTable>,
    },
}

/// The number of each of the 256 values of a byte, for each channel of an image.
#[derive(Debug)]
pub struct PixelTable(Vec<[f32; 256]>);

impl PixelTable {
    /// The numbers of the bytes of each channel.
    pub fn new(channels: Vec<[f32; 256]>) -> Self {
        Self(channels)
    }

    /// Channels of an image.
    pub fn channels(&self) -> usize {
        self.0.len()
    }

    /// All numbers, channel by channel.
    pub fn values(&self) -> &[f32] {
        self.0.as_flattened()
    }

    /// Whether it has the same numbers, bit by bit.
    pub fn is_same(&self, other: &Self) -> bool {
        let bits = |it: &f32| it.to_bits();
        self.values().iter().map(bits).eq(other.values().iter().map(bits))
    }
}
