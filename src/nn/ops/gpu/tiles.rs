//! Which of the kernels of a product is the fastest for a shape, by what they took on an H200 (`benches/gpu/h200/tiles.txt`). The sums
//! of an output are the same in all tiles; into how many parts they are cut decides their last bits, and depends on the shape and
//! the kernels alone.

use crate::nn::gpu::{Kernel, Tile};

/// Multiprocessors of the GPU that the estimates are for.
const MULTIPROCESSORS: usize = 132;
/// Operations in a microsecond with which memory would keep up, for each byte.
const BYTES_PER_MICROSECOND: f64 = 3e6;
/// Terms of a sum that are not worth a block of threads of their own.
const LEAST_TERMS: usize = 256;
/// Depths that beginning and ending a tile costs as much as.
const ENDS: usize = 400;

/// A kernel, how many of its blocks of threads a multiprocessor has at once, and what all of them compute in a microsecond, in
/// millions of operations.
pub(super) struct Candidate(pub Kernel, pub usize, pub f64);

impl Candidate {
    fn tile(&self) -> Tile {
        self.0.tile().expect("a product has tiles")
    }

    /// Blocks that are there at once.
    fn slots(&self) -> usize {
        self.1 * MULTIPROCESSORS
    }

    /// Microseconds for so many tiles of sums with so many terms.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn time(&self, tiles: usize, terms: usize) -> f64 {
        let (tile, slots) = (self.tile(), self.slots());
        let beside = (tiles % slots).div_ceil(MULTIPROCESSORS);
        // Few blocks do not make full use of a multiprocessor.
        let rest = match beside {
            0 => 0.0,
            _ => 0.4 + 0.6 * beside as f64 / self.1 as f64,
        };
        let products = slots * tile.rows * tile.columns * terms;
        ((tiles / slots) as f64 + rest) * 2.0 * products as f64 / (self.2 * 1e6)
    }
}

/// The best of some for a product of so many rows and columns, in so many layers. Those that come first are taken where others are
/// hardly better.
pub(super) fn best(candidates: &[Candidate], [rows, columns, layers]: [usize; 3]) -> Kernel {
    let mut found: Option<(Kernel, f64)> = None;
    for candidate in candidates {
        let tiles = candidate.tile().count(rows, columns) * layers;
        let time = candidate.time(tiles, ENDS);
        if found.is_none_or(|(_, best)| time < 0.9 * best) {
            found = Some((candidate.0, time));
        }
    }
    found.expect("a kernel").0
}

/// The best of some for a product of so many rows and columns, in so many layers, whose sums have so many terms, and into how many
/// parts they are cut.
pub(super) fn best_in_parts(
    candidates: &[Candidate],
    product: [usize; 3],
    terms: usize,
) -> (Kernel, usize) {
    let mut found: Option<(Kernel, usize, f64)> = None;
    for candidate in candidates {
        let (parts, time) = candidate.in_parts(product, terms);
        if found.is_none_or(|(_, _, best)| time < 0.98 * best) {
            found = Some((candidate.0, parts, time));
        }
    }
    let (kernel, parts, _) = found.expect("a kernel");
    (kernel, parts)
}

impl Candidate {
    /// Into how many parts the sums are best cut.
    pub fn parts(&self, product: [usize; 3], terms: usize) -> usize {
        self.in_parts(product, terms).0
    }

    /// The same with the microseconds that it takes.
    fn in_parts(&self, [rows, columns, layers]: [usize; 3], terms: usize) -> (usize, f64) {
        let tiles = self.tile().count(rows, columns) * layers;
        let mut found: Option<(usize, f64)> = None;
        // As many parts as make full use of the GPU, once or several times.
        for rounds in 1..=6 {
            let most = terms.div_ceil(LEAST_TERMS).max(1);
            let parts = (rounds * self.slots() / tiles).clamp(1, most);
            let part = terms.div_ceil(parts) + ENDS;
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let added = (2 * parts * rows * columns * layers * size_of::<f32>()) as f64;
            let time = self.time(tiles * parts, part) + added / BYTES_PER_MICROSECOND;
            if found.is_none_or(|(_, best)| time < 0.98 * best) {
                found = Some((parts, time));
            }
        }
        found.expect("some parts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Candidate = Candidate(Kernel::ConvForwardGroupLarge, 2, 235.0);
    const SMALL: Candidate = Candidate(Kernel::ConvForwardGroupSmall, 4, 155.0);

    #[test]
    fn large_products_have_large_tiles_and_small_ones_small_tiles() {
        let best = |rows, columns| best(&[LARGE, SMALL], [rows, columns, 1]);
        assert_eq!(best(100_000, 256), Kernel::ConvForwardGroupLarge);
        assert_eq!(best(1000, 128), Kernel::ConvForwardGroupSmall);
    }

    #[test]
    fn sums_are_cut_where_there_are_few_of_them() {
        let parts =
            |rows, columns, terms| best_in_parts(&[LARGE, SMALL], [rows, columns, 1], terms).1;
        assert!(parts(100, 64, 1_000_000) > 100);
        assert_eq!(parts(100, 64, 700), 3);
        assert_eq!(parts(20_000, 20_000, 1000), 1);
    }
}
