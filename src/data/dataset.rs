//! A labelled set of images in named splits.

use std::path::Path;

use indexmap::IndexMap;

use super::Error;

/// A data set: every split with the same channels and classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Names of the classes; a label is an index into it.
    pub classes: Vec<String>,
    /// Mean of each channel to subtract when batches are made, in units where pixels are 0 to 1.
    pub mean: Vec<f32>,
    /// Deviation of each channel to divide by afterwards.
    pub std: Vec<f32>,
    /// The splits in order.
    pub splits: IndexMap<String, Split>,
}

/// Images with their labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The pixels.
    pub images: Images,
    /// A class for each image.
    pub labels: Vec<u32>,
}

/// Pixels of a split, 8 bits a channel, rows of pixels with their channels side by side
/// (`[height, width, channels]`), one image after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Channels: 1 or 3.
    pub channels: usize,
    /// Height and width of each image.
    pub sizes: Sizes,
    /// All pixels.
    pub pixels: Vec<u8>,
}

/// Heights and widths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sizes {
    /// All images alike.
    Same {
        /// Number of images.
        count: usize,
        /// Pixels.
        height: usize,
        /// Pixels.
        width: usize,
    },
    /// (height, width) of each.
    Each(Vec<(usize, usize)>),
}

impl Dataset {
    /// Reads an artifact's folder.
    ///
    /// # Errors
    /// When a file is missing or malformed.
    pub fn open(_folder: &Path) -> Result<Self, Error> {
        unimplemented!()
    }
}
