//! Dropout (Srivastava et al. 2014): values, or channels, are zero at random, and the others larger for it.

use crate::random::{self, Key};

/// Which are zero: those of a pass of a step.
#[derive(Debug, Clone, Copy)]
pub struct Dropout<'a> {
    /// Seed of the stage.
    pub seed: u64,
    /// What the random numbers are for: no two layers and passes of a step share it.
    pub purpose: &'a str,
    /// Epoch from 0.
    pub epoch: u64,
    /// Step within the epoch from 0.
    pub step: u64,
    /// The probability of each, from 0 to below 1.
    pub p: f32,
}

impl Dropout<'_> {
    /// What the random numbers follow from.
    pub fn key(self) -> Key {
        random::key(self.seed, self.purpose, self.epoch, self.step)
    }

    /// What the others are multiplied by.
    pub fn keep(self) -> f32 {
        1.0 / (1.0 - self.p)
    }

    /// `len` factors, 0 with the probability, else [`Dropout::keep`].
    pub fn scales(self, len: usize) -> Vec<f32> {
        let (mut stream, keep) = (self.key().stream(), self.keep());
        (0..len).map(|_| if stream.uniform() < self.p { 0.0 } else { keep }).collect()
    }
}
