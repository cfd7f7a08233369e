//! Every image once a pass, in an order drawn for the pass.

use super::{Draws, ImageSampler, SamplerKind};
use crate::config::{Keys, Noted};
use crate::train::batch_size::BatchSize;
use crate::train::passes::ImagePasses;

pub(super) const KIND: SamplerKind =
    SamplerKind { name: "shuffled", about: "every image once a pass, in a new order", read };

/// The usual sampler.
#[derive(Debug)]
pub struct Shuffled;

fn read(_: &mut Keys) -> Result<Box<dyn ImageSampler>, Noted> {
    Ok(Box::new(Shuffled))
}

impl ImageSampler for Shuffled {
    fn batches(&self, labels: &[u32], size: BatchSize) -> usize {
        size.batches(labels.len())
    }

    fn sees(&self, _: &[u32]) -> Option<String> {
        None
    }

    fn epoch(&self, labels: &[u32], size: BatchSize, drawn: (u64, u64)) -> Box<dyn Draws> {
        Box::new(ImagePasses::new(drawn, "shuffle source", (labels.len(), size)))
    }
}
