//! The images of a set on their way into a network: as the numbers that the host makes of them, or as bytes where the device
//! makes the same numbers. Or the output of frozen layers for them. Draws nothing and changes no image.

use std::sync::Arc;

use super::activations::Activations;
use crate::data::{Images, Normalisation, loader};
use crate::nn::EntryLayer;
use crate::nn::ops::{Backend, Input, PixelTable};

/// The images of a set, and how they get into a network.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    images: &'a Images,
    normalisation: Normalisation<'a>,
    /// The numbers of bytes, where the device makes numbers of them.
    table: Option<Arc<PixelTable>>,
    /// The output of frozen layers, which goes in in their place.
    activations: Option<Arc<Activations>>,
}

impl<'a> Inputs<'a> {
    /// Images that go into networks on the device of `ops`.
    pub fn new(
        ops: &Backend,
        images: &'a Images,
        normalisation: impl Into<Normalisation<'a>>,
    ) -> Self {
        let normalisation = normalisation.into();
        let table = ops
            .takes_bytes()
            .then(|| Arc::new(PixelTable::new(loader::tables(normalisation, images.channels))));
        Self { images, normalisation, table, activations: None }
    }

    /// The same after frozen layers, where their output is given.
    #[must_use]
    pub fn after(self, activations: Option<Arc<Activations>>) -> Self {
        Self { activations, ..self }
    }

    /// Where they go into a network.
    pub fn entry(&self) -> EntryLayer {
        self.activations.as_ref().map_or(EntryLayer::IMAGES, |it| it.entry)
    }

    /// The images themselves.
    pub fn images(&self) -> &'a Images {
        self.images
    }

    /// Those at `indices`.
    ///
    /// # Panics
    /// When the images differ in size, or an index lies beyond them.
    pub fn batch(&self, indices: &[usize]) -> Input {
        match (&self.activations, &self.table) {
            (Some(activations), _) => Input::Values(activations.batch(indices)),
            (None, Some(table)) => {
                let table = Arc::clone(table);
                Input::Pixels { bytes: loader::bytes(self.images, indices), table }
            }
            (None, None) => Input::Values(self.values(indices)),
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
