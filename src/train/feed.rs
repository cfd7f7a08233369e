//! The batches of an epoch: picks the images, augments them where that is asked for, and turns them into
//! numbers. Touches no device.

use super::activations::Activations;
use super::contract::Data;
use super::epoch::ImagePasses;
use crate::data::augment::Augment;
use crate::data::augment::mixup::Mix;
use crate::data::{Images, Normalisation, loader};
use crate::nn::EntryLayer;
use crate::random;

/// The batches of one epoch, in the orders drawn for it.
pub struct Feed<'a> {
    data: &'a Data<'a>,
    /// The output of frozen layers for the source and the target images.
    activations: (Option<&'a Activations>, Option<&'a Activations>),
    augment: Option<&'a Augment>,
    /// Seed and epoch of everything drawn.
    drawn: (u64, u64),
    source: ImagePasses,
    target: Option<ImagePasses>,
}

/// The batch of one step.
pub struct Batches {
    /// Where the network takes them in.
    pub entry: EntryLayer,
    /// Labelled images `[N, C*H*W]`, or the output of frozen layers for them.
    pub source: Vec<f32>,
    /// Their classes.
    pub labels: Vec<u32>,
    /// The classes of what was mixed into them, and the share of that.
    pub mixed: Option<(Vec<u32>, f32)>,
    /// The same of the target domain, and their number.
    pub target: Option<(Vec<f32>, usize)>,
}

impl<'a> Feed<'a> {
    /// The batches of `size` images of epoch `epoch`, from 0.
    pub fn new(
        data: &'a Data<'a>,
        activations: (Option<&'a Activations>, Option<&'a Activations>),
        size: usize,
        augment: Option<&'a Augment>,
        (seed, epoch): (u64, usize),
    ) -> Self {
        let drawn = (seed, epoch as u64);
        let passes = |purpose, count| ImagePasses::new(drawn, purpose, (count, size));
        Self {
            data,
            activations,
            augment,
            drawn,
            source: passes("shuffle source", data.source.1.labels.len()),
            target: data.target.as_ref().map(|images| passes("shuffle target", images.len())),
        }
    }

    /// The batches of step `step`, from 0. They do not depend on timing or on the number of threads.
    pub fn step(&self, step: usize) -> Batches {
        let (dataset, split) = self.data.source;
        let (pass, indices) = self.source.batch(step);
        let target = self.data.target.as_ref().zip(self.target.as_ref());
        let (of_source, of_target) = self.activations;
        let images = &split.images;
        let mut source = match of_source {
            Some(activations) => activations.batch(&indices),
            None => {
                self.images("augment source", dataset.normalisation(), images, (pass, &indices))
            }
        };
        let labels: Vec<u32> = indices.iter().map(|at| split.labels[*at]).collect();
        let mixed = self.augment.and_then(Augment::mixup).map(|alpha| {
            let (seed, epoch) = self.drawn;
            let mut stream = random::stream(seed, "mixup", epoch, step as u64);
            let mix = Mix::draw(alpha, indices.len(), &mut stream);
            let len = source.len() / indices.len();
            mix.apply(&mut source, len);
            (mix.partners.iter().map(|at| labels[*at]).collect(), 1.0 - mix.keeps)
        });
        Batches {
            entry: of_source.map_or(EntryLayer::IMAGES, |activations| activations.entry),
            source,
            labels,
            mixed,
            target: target.map(|(target, passes)| {
                let (pass, indices) = passes.batch(step);
                let values = match of_target {
                    Some(activations) => activations.batch(&indices),
                    None => self.images(
                        "augment target",
                        target.normalisation(),
                        target.images(),
                        (pass, &indices),
                    ),
                };
                (values, indices.len())
            }),
        }
    }
}

impl Feed<'_> {
    /// Images as numbers, changed as drawn for `purpose` in their pass of the epoch.
    fn images(
        &self,
        purpose: &str,
        normalisation: Normalisation,
        images: &Images,
        (pass, indices): (u64, &[usize]),
    ) -> Vec<f32> {
        let Some(augment) = self.augment else {
            return loader::batch(normalisation, images, indices);
        };
        let (seed, epoch) = self.drawn;
        loader::changed_batch(normalisation, images, indices, |index, image| {
            let index = pass << 32 | index as u64;
            augment.apply(image, &mut random::stream(seed, purpose, epoch, index));
        })
    }
}
