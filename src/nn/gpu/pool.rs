//! The GPU's memory in blocks that are used again. What is asked of a GPU happens in one order, so a block may be given to the
//! next one as soon as nobody names it, even while it is still being read.

use std::collections::{BTreeMap, HashMap};

use cudarc_19::driver::result;

/// Where a block lies, and which one it is in the order in which they were made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub at: u64,
    number: usize,
}

/// Blocks that nobody names, by their size.
#[derive(Debug, Default)]
pub(super) struct Pool {
    free: HashMap<usize, BTreeMap<usize, u64>>,
    /// Blocks that were made so far.
    made: usize,
    /// The size of every block, by its address.
    sizes: BTreeMap<u64, usize>,
    /// Bytes that were taken from the driver.
    held: usize,
}

/// Sizes go up in eighths of a power of two, so that a batch that is a little larger finds blocks too.
pub(super) fn size_class(bytes: usize) -> usize {
    let bytes = bytes.max(256);
    let step = (bytes.next_power_of_two() / 16).max(256);
    bytes.next_multiple_of(step)
}

impl Pool {
    /// A block that was used before, if there is one of this class: the one that was made first, whatever the order in which they
    /// came back, so that a step that needs the same as the one before gets the same blocks.
    pub fn again(&mut self, class: usize) -> Option<Place> {
        let (number, at) = self.free.get_mut(&class)?.pop_first()?;
        Some(Place { at, number })
    }

    /// A new block of this class.
    pub fn new_block(&mut self, class: usize) -> Result<Place, result::DriverError> {
        // SAFETY: the size is not zero; the thread entered the GPU before.
        let at = unsafe { result::malloc_sync(class) }?;
        self.held += class;
        self.sizes.insert(at, class);
        self.made += 1;
        Ok(Place { at, number: self.made })
    }

    /// Takes a block back.
    pub fn give(&mut self, place: Place, class: usize) {
        self.free.entry(class).or_default().insert(place.number, place.at);
    }

    /// Gives what nobody names back to the driver. Nothing that was asked of the GPU may still wait.
    pub fn trim(&mut self) {
        for (class, blocks) in self.free.drain() {
            for at in blocks.into_values() {
                // SAFETY: the block is of `malloc_sync` and nobody names it. One that is not taken back is lost.
                let _ = unsafe { result::free_sync(at) };
                self.held -= class;
                self.sizes.remove(&at);
            }
        }
    }

    /// The address of the block that holds this address.
    pub fn block_of(&self, at: u64) -> Option<u64> {
        let (begin, bytes) = self.sizes.range(..=at).next_back()?;
        (at - begin < *bytes as u64).then_some(*begin)
    }

    /// Bytes that were taken from the driver.
    pub fn held(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_at_most_an_eighth_larger_than_what_was_asked_for() {
        for bytes in (1..5000).chain([1 << 20, (1 << 20) + 1, 123_456_789]) {
            let class = size_class(bytes);
            assert!(class >= bytes && class <= (bytes + bytes / 8 + 256), "{bytes}: {class}");
            assert_eq!(size_class(class), class);
        }
    }
}
