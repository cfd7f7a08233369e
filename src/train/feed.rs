//! The batches of an epoch: which images, put together as numbers. Touches no device.

use super::activations::Activations;
use super::fit::Data;
use crate::data::loader;
use crate::nn::Entry;

/// The batches of one epoch, in the orders drawn for it.
pub struct Feed<'a> {
    data: &'a Data<'a>,
    /// What frozen layers made of the source and the target images.
    activations: (Option<&'a Activations>, Option<&'a Activations>),
    size: usize,
    source: Vec<usize>,
    target: Option<Vec<usize>>,
}

/// What one step is fed.
pub struct Batches {
    /// Where the network takes them in.
    pub entry: Entry,
    /// Labelled images `[N, C*H*W]`, or what frozen layers made of them.
    pub source: Vec<f32>,
    /// Their classes.
    pub labels: Vec<u32>,
    /// The same of the target domain, and their number.
    pub target: Option<(Vec<f32>, usize)>,
}

impl<'a> Feed<'a> {
    /// The batches of `size` images of epoch `epoch`, from 0.
    pub fn new(
        data: &'a Data<'a>,
        activations: (Option<&'a Activations>, Option<&'a Activations>),
        size: usize,
        seed: u64,
        epoch: usize,
    ) -> Self {
        let order = |purpose, count| loader::epoch_order(seed, purpose, epoch as u64, count);
        Self {
            data,
            activations,
            size,
            source: order("shuffle source", data.source.1.labels.len()),
            target: data.target.as_ref().map(|images| order("shuffle target", images.len())),
        }
    }

    /// The batches of step `step`, from 0. Nothing of it depends on who else works at the time.
    pub fn step(&self, step: usize) -> Batches {
        let (dataset, split) = self.data.source;
        let indices = nth_batch(&self.source, step, self.size);
        let target = self.data.target.as_ref().zip(self.target.as_ref());
        let (of_source, of_target) = self.activations;
        Batches {
            entry: of_source.map_or(Entry::IMAGES, |activations| activations.entry),
            source: match of_source {
                Some(activations) => activations.batch(indices),
                None => loader::batch(dataset.normalisation(), &split.images, indices),
            },
            labels: indices.iter().map(|at| split.labels[*at]).collect(),
            target: target.map(|(target, order)| {
                let indices = nth_batch(order, step, self.size);
                let values = match of_target {
                    Some(activations) => activations.batch(indices),
                    None => loader::batch(target.normalisation(), target.images(), indices),
                };
                (values, indices.len())
            }),
        }
    }
}

fn nth_batch(order: &[usize], step: usize, size: usize) -> &[usize] {
    &order[step * size..order.len().min((step + 1) * size)]
}
