//! The images of a set on their way into a network: as the numbers that the host makes of them, or as bytes where the device
//! makes the same numbers. Draws nothing; of images that are larger than the network takes, it hands on the middle.

use std::sync::Arc;

use crate::data::crop::middle;
use crate::data::{Images, Normalisation, loader};
use crate::nn::Model;
use crate::nn::ops::{Input, PixelChanges, PixelTable};

/// The images of a set, and how they become numbers.
#[derive(Debug, Clone)]
pub struct Pictures<'a> {
    /// The images.
    pub images: &'a Images,
    normalisation: Normalisation<'a>,
    /// The numbers of bytes, where the device makes numbers of them. Features are numbers already.
    pub table: Option<Arc<PixelTable>>,
    /// Rows and columns that the network takes, where the images have more.
    middle: Option<(usize, usize)>,
}

impl<'a> Pictures<'a> {
    /// Images that go into `model` and networks like it.
    pub fn new(
        model: &Model,
        images: &'a Images,
        normalisation: impl Into<Normalisation<'a>>,
    ) -> Self {
        let normalisation = normalisation.into();
        let takes_bytes = model.ops().takes_bytes() && !images.is_features();
        let table = takes_bytes
            .then(|| Arc::new(PixelTable::new(loader::tables(normalisation, images.channels))));
        let input = (model.spec().input.height, model.spec().input.width);
        let is_larger = |size: (usize, usize)| {
            size != input && size.0 >= input.0 && size.1 >= input.1 && !images.is_features()
        };
        let middle = images.size().filter(|size| is_larger(*size)).map(|_| input);
        Self { images, normalisation, table, middle }
    }

    /// Rows and columns of what the network takes.
    ///
    /// # Panics
    /// When the images differ in size.
    pub fn size(&self) -> (usize, usize) {
        let size = || self.images.size().expect("a batch has images of one size");
        self.middle.unwrap_or_else(size)
    }

    /// What becomes of `count` images that are not changed otherwise.
    pub fn middles(&self, count: usize) -> Vec<PixelChanges> {
        let Some((part, whole)) = self.middle.zip(self.images.size()) else { return Vec::new() };
        vec![PixelChanges::Window { each: vec![middle(whole, part); count], size: part }]
    }

    /// Those at `indices`.
    ///
    /// # Panics
    /// When the images differ in size, or an index lies beyond them.
    pub fn batch(&self, indices: &[usize]) -> Input {
        let middles = self.middles(indices.len());
        if !middles.is_empty() {
            return self.changed(&loader::changed(self.images, indices, &middles));
        }
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
        match &*self.middles(indices.len()) {
            [] => loader::batch(self.normalisation, self.images, indices),
            middles => self.changed_values(&loader::changed(self.images, indices, middles)),
        }
    }

    /// Images made of these as numbers, all of them.
    pub fn changed_values(&self, images: &Images) -> Vec<f32> {
        let all: Vec<usize> = (0..images.len()).collect();
        loader::batch(self.normalisation, images, &all)
    }
}
