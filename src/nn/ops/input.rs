//! What goes into a network, in the form in which the host hands it over.

use std::any::Any;
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
    /// Rows of a set that is on the device.
    Kept {
        /// The set.
        set: KeptSet,
        /// The places of the rows in it.
        places: Vec<usize>,
    },
}

/// What a device may keep: a row for each image of a set.
#[derive(Debug, Clone)]
pub enum SetRows<'a> {
    /// Images `[H, W, C]`, with the numbers of their bytes.
    Pixels(&'a [u8], Arc<PixelTable>),
    /// Numbers.
    Values(&'a [f32]),
}

impl SetRows<'_> {
    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Pixels(bytes, _) => bytes.len(),
            Self::Values(values) => size_of_val(*values),
        }
    }
}

/// A set whose rows are on a device.
#[derive(Debug, Clone)]
pub struct KeptSet {
    /// The device's own.
    pub(super) held: Arc<dyn Any + Send + Sync>,
    /// Number of rows.
    pub(super) count: usize,
    /// Values per row.
    pub(super) len: usize,
    /// The numbers of bytes, for images.
    pub(super) table: Option<Arc<PixelTable>>,
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
