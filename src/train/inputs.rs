//! What goes into a network for the images of a set: they themselves, or the output of frozen layers for them, from the host or from
//! where the device keeps it.

use std::sync::Arc;

use super::activations::Activations;
use super::pictures::Pictures;
use crate::data::{Images, Normalisation};
use crate::nn::EntryLayer;
use crate::nn::ops::{Backend, Input, KeptSet, OpError, SetRows};

/// The images of a set, and how they get into a network.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    pictures: Pictures<'a>,
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
        let pictures = Pictures::new(ops, images, normalisation);
        Self { pictures, activations: None, kept: None }
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
        let images = self.pictures.images;
        let rows = match (&self.activations, &self.pictures.table) {
            (Some(activations), _) => SetRows::Values(activations.values()),
            (None, Some(table)) if images.size().is_some() => {
                SetRows::Pixels(&images.pixels, Arc::clone(table))
            }
            (None, _) => return Ok(()),
        };
        if rows.bytes() > ops.most_kept() {
            return Ok(());
        }
        let name = match &self.activations {
            Some(activations) => activations.key(),
            None => blake3::Hasher::new().update_rayon(&images.pixels).finalize(),
        };
        self.kept = ops.keep(name, &rows, images.len())?;
        Ok(())
    }

    /// Where they go into a network.
    pub fn entry(&self) -> EntryLayer {
        self.activations.as_ref().map_or(EntryLayer::IMAGES, |it| it.entry)
    }

    /// The images themselves.
    pub fn images(&self) -> &'a Images {
        self.pictures.images
    }

    /// Those at `indices`.
    ///
    /// # Panics
    /// When the images differ in size, or an index lies beyond them.
    pub fn batch(&self, indices: &[usize]) -> Input {
        if let Some(set) = &self.kept {
            return Input::Kept { set: set.clone(), places: indices.to_vec() };
        }
        match &self.activations {
            Some(activations) => Input::Values(activations.batch(indices)),
            None => self.pictures.batch(indices),
        }
    }

    /// Images made of these, all of them.
    pub fn changed(&self, images: &Images) -> Input {
        self.pictures.changed(images)
    }

    /// The images at `indices` as numbers `[N, C*H*W]`, whatever the device takes.
    ///
    /// # Panics
    /// When the images differ in size, or an index lies beyond them.
    pub fn values(&self, indices: &[usize]) -> Vec<f32> {
        self.pictures.values(indices)
    }

    /// Images made of these as numbers, all of them.
    pub fn changed_values(&self, images: &Images) -> Vec<f32> {
        self.pictures.changed_values(images)
    }
}
