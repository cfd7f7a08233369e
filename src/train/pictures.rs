//! The images of a set on their way into a network: as the numbers that the host makes of them, or as bytes where the device
//! makes the same numbers. Draws nothing and changes no image.

use std::sync::Arc;

use crate::data::{Images, Normalisation, loader};
use crate::nn::ops::{Backend, Input, PixelTable};

/// The images of a set, and how they become numbers.
#[derive(Debug, Clone)]
pub struct Pictures<'a> {
    /// The images.
    pub images: &'a Images,
    normalisation: Normalisation<'a>,
    /// The numbers of bytes, where the device makes numbers of them. Features are numbers already.
    pub table: Option<Arc<PixelTable>>,
}

impl<'a> Pictures<'a> {
    /// Images that go into networks on the device of `ops`.
    pub fn new(
        ops: &Backend,
        images: &'a Images,
        normalisation: impl Into<Normalisation<'a>>,
    ) -> Self {
        let normalisation = normalisation.into();
        let takes_bytes = ops.takes_bytes() && !images.is_features();
        let table = takes_bytes
            .then(|| Arc::new(PixelTable::new(loader::tables(normalisation, images.channels))));
        Self { images, normalisation, table }
    }

    /// Those at `indices`.
    ///
    /// # Panics
    /// When the images differ in size, or an index lies beyond them.
    pub fn batch(&self, indices: &[usize]) -> Input {
        match &self.table {
            Some(table) => {
                let table = Arc::clone(table);
                Input::Pixels { bytes: loader::bytes(self.images, indices), table }
            }
            None => Input::Values(self.values(indices)),
        }
    }

    /// Images made of these, all of them.
    pub fn changed(&self, images: &Images) -> Input {
        match &self.table {
            Some(table) => {
                Input::Pixels { bytes: images.pixels.to_vec(), table: Arc::clone(table) }
            }
            None => Input::Values(self.changed_values(images)),
        }
    }

    /// The images at `indices` as numbers `[N, C*H*W]`, whatever the device takes.
    ///
    /// # Panics
    /// When the images differ in size, or an index lies beyond them.
    pub fn values(&self, indices: &[usize]) -> Vec<f32> {
        loader::batch(self.normalisation, self.images, indices)
    }

    /// Images made of these as numbers, all of them.
    pub fn changed_values(&self, images: &Images) -> Vec<f32> {
        let all: Vec<usize> = (0..images.len()).collect();
        loader::batch(self.normalisation, images, &all)
    }
}
