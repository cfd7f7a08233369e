//! What goes into a network, in the form in which the host hands it over.

use std::any::Any;
use std::sync::Arc;

use super::pixel_changes::PixelChanges;

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
        /// Which rows.
        rows: KeptRows,
    },
}

/// Rows of a set that is on a device, and what becomes of them.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptRows {
    /// The places of the rows in the set.
    pub places: Vec<usize>,
    /// Changes of images, one after the other, each with one for each row.
    pub changes: Vec<PixelChanges>,
}

impl KeptRows {
    /// Rows as they are in the set.
    pub fn plain(places: &[usize]) -> Self {
        Self { places: places.to_vec(), changes: Vec::new() }
    }
}

/// What a device may keep: a row for each image of a set.
#[derive(Debug, Clone)]
pub enum SetRows<'a> {
    /// Images `[H, W, C]`.
    Pixels {
        /// Their bytes.
        bytes: &'a [u8],
        /// Rows and columns of an image.
        size: (usize, usize),
        /// The numbers of the bytes.
        table: Arc<PixelTable>,
    },
    /// Numbers.
    Values(&'a [f32]),
}

impl SetRows<'_> {
    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Pixels { bytes, .. } => bytes.len(),
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
    /// For images.
    pub(super) images: Option<KeptImages>,
}

/// Images of a set on a device.
#[derive(Debug, Clone)]
pub(super) struct KeptImages {
    /// Rows and columns of an image.
    pub size: (usize, usize),
    /// The numbers of their bytes.
    pub table: Arc<PixelTable>,
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
