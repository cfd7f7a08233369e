//! The images of a set on their way into a network: as the numbers that the host makes of them, or as bytes where the device
//! makes the same numbers. Or the output of frozen layers for them. Draws nothing and changes no image.

use std::sync::Arc;

use super::activations::Activations;
use crate::data::{Images, Normalisation, loader};
use crate::nn::EntryLayer;
use crate::nn::ops::{Backend, Input, KeptSet, OpError, PixelTable, SetRows};

/// The images of a set, and how they get into a network.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    images: &'a Images,
    normalisation: Normalisation<'a>,
    /// The numbers of bytes, where the device makes numbers of them.
    table: Option<Arc<PixelTable>>,
    /// The output of frozen layers, which goes in in their place.
    activations: Option<Arc<Activations>>,
    /// What goes in, where the device keeps it.
    kept: Option<KeptSet>,
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
        Self { images, normalisation, table, activations: None, kept: None }
    }

    /// The same after frozen layers, where their output is given.
    #[must_use]
    pub fn after(self, activations: Option<Arc<Activations>>) -> Self {
        Self { activations, kept: None, ..self }
    }

    /// Lets the device keep all of it, where it has room: then only places go there for a batch. Worth it for what goes in again
    /// and again.
    ///
    /// # Errors
    /// When the device fails. One without room is no error.
    pub fn keep(&mut self, ops: &Backend) -> Result<(), OpError> {
        let rows = match (&self.activations, &self.table) {
            (Some(activations), _) => SetRows::Values(activations.values()),
            (None, Some(table)) if self.images.size().is_some() => {
                SetRows::Pixels(&self.images.pixels, Arc::clone(table))
            }
            (None, _) => return Ok(()),
        };
        if rows.bytes() > ops.most_kept() {
            return Ok(());
        }
        let name = match &self.activations {
            Some(activations) => activations.key(),
            None => blake3::Hasher::new().update_rayon(&self.images.pixels).finalize(),
        };
        self.kept = ops.keep(name, &rows, self.images.len())?;
        Ok(())
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
        if let Some(set) = &self.kept {
            return Input::Kept { set: set.clone(), places: indices.to_vec() };
        }
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
