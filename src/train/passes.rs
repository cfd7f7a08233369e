//! The images of one domain in passes, each of which has every image once.

use std::sync::{Mutex, PoisonError};

use super::batch_size::BatchSize;
use super::sampler::{DrawnBatch, Draws};
use crate::data::loader;

/// The images of one domain in an epoch: pass after pass, each in an order of its own.
pub(super) struct ImagePasses {
    seed: u64,
    epoch: u64,
    purpose: &'static str,
    count: usize,
    size: BatchSize,
    /// The pass that was asked for last, and its order.
    order: Mutex<(u64, Vec<usize>)>,
}

impl ImagePasses {
    /// Those of `count` images in batches of `size`.
    pub fn new(
        (seed, epoch): (u64, u64),
        purpose: &'static str,
        (count, size): (usize, BatchSize),
    ) -> Self {
        let order = loader::pass_order(seed, purpose, (epoch, 0), count);
        Self { seed, epoch, purpose, count, size, order: Mutex::new((0, order)) }
    }
}

impl Draws for ImagePasses {
    fn batch(&self, step: usize) -> DrawnBatch {
        let batches = self.size.batches(self.count);
        let (pass, at) = ((step / batches) as u64, step % batches);
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if order.0 != pass {
            let drawn = loader::pass_order(self.seed, self.purpose, (self.epoch, pass), self.count);
            *order = (pass, drawn);
        }
        let (start, end) = (at * self.size.images, (at + 1) * self.size.images);
        let indices = order.1[start..self.count.min(end)].to_vec();
        DrawnBatch { passes: vec![pass; indices.len()], indices }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of so many images, and what is left over.
    fn whole(images: usize) -> BatchSize {
        BatchSize { images, drop_last: false }
    }

    #[test]
    fn what_does_not_fill_a_batch_may_be_left_out() {
        let dropping = BatchSize { images: 4, drop_last: true };
        assert_eq!([3, 4, 7, 8, 11].map(|count| dropping.batches(count)), [0, 1, 1, 2, 2]);
        assert_eq!([7, 8].map(|count| dropping.seen(count)), [4, 8]);
        assert_eq!([7, 9].map(|count| whole(4).seen(count)), [7, 8]);
        let passes = ImagePasses::new((1, 0), "shuffle target", (7, dropping));
        let of_three: Vec<usize> = (0..3).flat_map(|step| passes.batch(step).indices).collect();
        assert_eq!(of_three.len(), 12, "every step has a whole batch");
        assert_eq!(passes.batch(2).passes, [2; 4]);
    }

    #[test]
    fn each_pass_has_every_image_once_and_an_order_of_its_own() {
        let passes = ImagePasses::new((1, 0), "shuffle target", (5, whole(2)));
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
