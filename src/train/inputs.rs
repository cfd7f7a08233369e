//! What goes into a network for the images of a set: they themselves, or the output of frozen layers for them, from the host or from
//! where the device keeps it.

use std::sync::Arc;

use super::activations::Activations;
use super::pictures::Pictures;
use crate::data::{Images, Normalisation, loader};
use crate::nn::ops::{Backend, Input, KeptRows, KeptSet, OpError, PixelChanges, SetRows};
use crate::nn::{EntryLayer, Model};

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
    /// Images that go into `model` and networks like it. Of larger ones than it takes the middle goes in, where they are not
    /// changed otherwise.
    pub fn new(
        model: &Model,
        images: &'a Images,
        normalisation: impl Into<Normalisation<'a>>,
    ) -> Self {
        let pictures = Pictures::new(model, images, normalisation);
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
        let features = (images.is_features() && self.activations.is_none())
            .then(|| self.pictures.values(&(0..images.len()).collect::<Vec<_>>()));
        let rows = match (&self.activations, &self.pictures.table, images.size()) {
            (Some(activations), _, _) => SetRows::Values(activations.values()),
            _ if features.is_some() => SetRows::Values(features.as_deref().unwrap_or_default()),
            (None, Some(table), Some(size)) => {
                SetRows::Pixels { bytes: &images.pixels, size, table: Arc::clone(table) }
            }
            (None, _, _) => return Ok(()),
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

    /// Rows and columns of what the network takes.
    ///
    /// # Panics
    /// When the images differ in size.
    pub fn size(&self) -> (usize, usize) {
        self.pictures.size()
    }

    /// Those at `indices`.
    ///
    /// # Panics
    /// When the images differ in size, or an index lies beyond them.
    pub fn batch(&self, indices: &[usize]) -> Input {
        if let Some(set) = &self.kept {
            let changes = match &self.activations {
                Some(_) => Vec::new(),
                None => self.pictures.middles(indices.len()),
            };
            let rows = KeptRows { places: indices.to_vec(), changes };
            return Input::Kept { set: set.clone(), rows };
        }
        match &self.activations {
            Some(activations) => Input::Values(activations.batch(indices)),
            None => self.pictures.batch(indices),
        }
    }

    /// The images at `indices` after changes, which the device carries out where it keeps the images.
    ///
    /// # Panics
    /// When the output of layers goes in in their place, the images differ in size, an index lies beyond them, or there are fewer
    /// changes than indices.
    pub fn changed(&self, indices: &[usize], changes: &[PixelChanges]) -> Input {
        assert!(self.activations.is_none(), "changes are of images");
        let Some(set) = &self.kept else {
            return self.pictures.changed(&loader::changed(self.images(), indices, changes));
        };
        let rows = KeptRows { places: indices.to_vec(), changes: changes.to_vec() };
        Input::Kept { set: set.clone(), rows }
    }

    /// The images at `indices` as numbers `[N, C*H*W]` after changes, whatever the device takes.
    ///
    /// # Panics
    /// When the images differ in size, an index lies beyond them, or there are fewer changes than indices.
    pub fn values(&self, indices: &[usize], changes: &[PixelChanges]) -> Vec<f32> {
        if changes.is_empty() {
            return self.pictures.values(indices);
        }
        self.pictures.changed_values(&loader::changed(self.images(), indices, changes))
    }
}
