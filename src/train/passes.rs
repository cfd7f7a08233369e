//! The images of one domain in passes, each of which has every image once.

use std::sync::{Mutex, PoisonError};

use super::sampler::{DrawnBatch, Draws};
use crate::data::loader;

/// Batches of at least two images in `count`: batch norm has no variance in a batch of one.
pub(super) fn batches(count: usize, size: usize) -> usize {
    count / size + usize::from(count % size >= 2)
}

/// The images of one domain in an epoch: pass after pass, each in an order of its own.
pub(super) struct ImagePasses {
    seed: u64,
    epoch: u64,
    purpose: &'static str,
    count: usize,
    size: usize,
    /// The pass that was asked for last, and its order.
    order: Mutex<(u64, Vec<usize>)>,
}

impl ImagePasses {
    /// Those of `count` images in batches of `size`.
    pub fn new(
        (seed, epoch): (u64, u64),
        purpose: &'static str,
        (count, size): (usize, usize),
    ) -> Self {
        let order = loader::pass_order(seed, purpose, (epoch, 0), count);
        Self { seed, epoch, purpose, count, size, order: Mutex::new((0, order)) }
    }
}

impl Draws for ImagePasses {
    fn batch(&self, step: usize) -> DrawnBatch {
        let batches = batches(self.count, self.size);
        let (pass, at) = ((step / batches) as u64, step % batches);
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if order.0 != pass {
            let drawn = loader::pass_order(self.seed, self.purpose, (self.epoch, pass), self.count);
            *order = (pass, drawn);
        }
        let end = self.count.min((at + 1) * self.size);
        let indices = order.1[at * self.size..end].to_vec();
        DrawnBatch { passes: vec![pass; indices.len()], indices }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pass_has_every_image_once_and_an_order_of_its_own() {
        let passes = ImagePasses::new((1, 0), "shuffle target", (5, 2));
        // Two whole batches a pass; the fifth image has no partner.
        let of = |step| passes.batch(step);
        let first: Vec<usize> = [of(0).indices, of(1).indices].concat();
        let second: Vec<usize> = [of(2).indices, of(3).indices].concat();
        assert_eq!(
            (of(1).passes, of(2).passes, of(4).passes),
            (vec![0; 2], vec![1; 2], vec![2; 2])
        );
        assert_ne!(first, second);
        for pass in [&first, &second] {
            let mut sorted = pass.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), 4, "{pass:?}");
        }
        // Going back gives the same: a training that resumes may begin anywhere.
        assert_eq!([of(0).indices, of(1).indices].concat(), first);
        assert_eq!(first[..2], loader::epoch_order(1, "shuffle target", 0, 5)[..2]);
    }
}
