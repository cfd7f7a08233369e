//! Counter-based random numbers.
//!
//! Every number is a pure function of (seed, purpose, epoch, index): nothing depends on the order
//! of calls or on the number of threads. The generator is ChaCha8 keyed by BLAKE3 of these four.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Stream(ChaCha8Rng);

/// What a stream follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; 32]);

/// The stream of (seed, purpose, epoch, index). `purpose` is a word such as `shuffle`.
pub fn stream(seed: u64, purpose: &str, epoch: u64, index: u64) -> Stream {
    key(seed, purpose, epoch, index).stream()
}

/// The key of the same stream.
pub fn key(seed: u64, purpose: &str, epoch: u64, index: u64) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&epoch.to_le_bytes());
    hasher.update(&index.to_le_bytes());
    hasher.update(purpose.as_bytes());
    Key(*hasher.finalize().as_bytes())
}

impl Key {
    /// Its stream, from the beginning.
    pub fn stream(self) -> Stream {
        Stream(ChaCha8Rng::from_seed(self.0))
    }

    /// It as ChaCha takes it.
    pub fn words(self) -> [u32; 8] {
        std::array::from_fn(|at| {
            u32::from_le_bytes(std::array::from_fn(|byte| self.0[4 * at + byte]))
        })
    }
}

impl Stream {
    /// 32 uniform bits.
    pub fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// The generator itself, for libraries that draw from one.
    pub fn generator(&mut self) -> &mut impl Rng {
        &mut self.0
    }

    /// Uniform in [0, 1), a multiple of 2^-24.
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit a float exactly")]
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / 16_777_216.0
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    pub fn uniform_f64(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0
    }

    /// Uniform in `0..end` without bias.
    ///
    /// # Panics
    /// When `end` is zero.
    pub fn below(&mut self, end: usize) -> usize {
        assert!(end > 0, "an empty range has no numbers");
        let end = end as u64;
        // The last, incomplete run of `end` numbers would favour small ones: draw again.
        let zone = u64::MAX - u64::MAX % end;
        loop {
            let number = self.0.next_u64();
            if number < zone {
                return usize::try_from(number % end).expect("below a usize");
            }
        }
    }

    /// A standard normal number (Box-Muller).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform_f64()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.uniform_f64();
        #[expect(clippy::cast_possible_truncation, reason = "a normal number is small")]
        let value = (radius * angle.cos()) as f32;
        value
    }

    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_each_part_of_its_key() {
        let first = |seed, purpose, epoch, index| stream(seed, purpose, epoch, index).bits();
        let all = [
            first(0, "shuffle", 0, 0),
            first(1, "shuffle", 0, 0),
            first(0, "dropout", 0, 0),
            first(0, "shuffle", 1, 0),
            first(0, "shuffle", 0, 1),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one));
        }
        assert_eq!(all[0], first(0, "shuffle", 0, 0));
    }

    #[test]
    fn a_shuffle_keeps_every_item_once() {
        let mut items: Vec<usize> = (0..1000).collect();
        stream(3, "shuffle", 0, 0).shuffle(&mut items);
        assert_ne!(items, (0..1000).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_deviation_one() {
        let mut stream = stream(0, "normal", 0, 0);
        let numbers: Vec<f64> = (0..100_000).map(|_| f64::from(stream.normal())).collect();
        let mean = numbers.iter().sum::<f64>() / 1e5;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }
}
