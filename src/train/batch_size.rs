//! How many images a step takes of a pass, and what becomes of those at its end.

/// How images are put into batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSize {
    /// Images of a batch.
    pub images: usize,
    /// Whether those at the end of a pass are left out that do not fill one.
    pub drop_last: bool,
}

impl BatchSize {
    /// The batches in `count` images, each of at least two: batch norm has no variance in a batch of one.
    pub fn batches(self, count: usize) -> usize {
        count / self.images + usize::from(!self.drop_last && count % self.images >= 2)
    }

    /// How many of `count` images a pass has.
    pub fn seen(self, count: usize) -> usize {
        count.min(self.batches(count) * self.images)
    }
}
