//! Dropout (Srivastava et al. 2014): values, or channels, are zero at random, and the others larger for it.

use crate::random::Key;

/// Which are zero.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// What the random numbers follow from.
    pub key: Key,
    /// The probability of each, from 0 to below 1.
    pub p: f32,
}

impl Dropout {
    /// What the others are multiplied by.
    pub fn keep(self) -> f32 {
        1.0 / (1.0 - self.p)
    }

    /// `len` factors, 0 with the probability, else [`Dropout::keep`].
    pub fn scales(self, len: usize) -> Vec<f32> {
        let (mut stream, keep) = (self.key.stream(), self.keep());
        (0..len).map(|_| if stream.uniform() < self.p { 0.0 } else { keep }).collect()
    }
}
