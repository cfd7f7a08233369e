//! The GPU's memory in blocks that are used again. Lists of calls are done one after the other, so a block may be given to the next
//! one as soon as nobody names it, even while it is still being read. Within a list, though, calls wait for each other where they
//! name the same block, so a block that the list has not used yet comes first, and small ones are rather made anew.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use cudarc_19::driver::result;

/// Blocks up to so many bytes are made anew rather than used twice by a list: calls on larger ones take long in any case.
pub(super) const MOST_SPARED: usize = 4 << 20;
/// Bytes of such blocks, at most.
pub(super) const MOST_SPARE: usize = 256 << 20;

/// Which block it is in the order in which they were made, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    number: usize,
    pub at: u64,
}

impl Place {
    /// 64 bits that no other block is likely to have (the end of SplitMix64: Steele, Lea and Flood 2014).
    fn digest(self) -> u64 {
        let mix = |it: u64, by: u32, factor: u64| (it ^ (it >> by)).wrapping_mul(factor);
        let number = (self.number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = mix(mix(number, 30, 0xbf58_476d_1ce4_e5b9), 27, 0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Blocks that nobody names, by their size.
#[derive(Debug)]
pub(super) struct Pool {
    /// In the order of their classes: a step looks for hundreds of blocks, of a few dozen classes.
    free: Vec<Free>,
    /// Blocks that were made so far.
    made: usize,
    /// The size of every block, by its address.
    sizes: BTreeMap<u64, usize>,
    /// Bytes that were taken from the driver.
    held: usize,
    /// Bytes of blocks that may yet be made where another one could be used.
    spare: usize,
    /// A digest of the blocks that somebody names: a sum, so that it is the same in whatever order they came and went.
    live: u64,
}

/// Blocks of one size that nobody names.
#[derive(Debug)]
struct Free {
    class: usize,
    /// Those that the list of now has not used, the one that was made first on top.
    unused: BinaryHeap<Reverse<Place>>,
    /// Those that it has used, in the order in which they came back.
    used: VecDeque<Place>,
}

/// A block that was used before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Again {
    pub place: Place,
    /// Whether the list of now has used it.
    pub is_used: bool,
}

/// Sizes go up in eighths of a power of two, so that a batch that is a little larger finds blocks too.
pub(super) fn size_class(bytes: usize) -> usize {
    let bytes = bytes.max(256);
    let step = (bytes.next_power_of_two() / 16).max(256);
    bytes.next_multiple_of(step)
}

impl Pool {
    /// The pool of a GPU with so many bytes of memory: up to an eighth of them are for blocks that could have been others.
    pub fn new(memory: usize) -> Self {
        Self {
            free: Vec::new(),
            made: 0,
            sizes: BTreeMap::new(),
            held: 0,
            spare: MOST_SPARE.min(memory / 8),
            live: 0,
        }
    }

    /// A block that was used before, unless a new one is to be made: the one that was made first of those that the list of now
    /// has not used, whatever the order in which they came back, so that a step that needs the same as the one before gets the
    /// same blocks; else the one that has been free for longest.
    pub fn again(&mut self, class: usize) -> Option<Again> {
        let at = self.free.binary_search_by_key(&class, |it| it.class).ok()?;
        let free = &mut self.free[at];
        if let Some(Reverse(place)) = free.unused.pop() {
            self.live = self.live.wrapping_add(place.digest());
            return Some(Again { place, is_used: false });
        }
        if !free.used.is_empty() && class <= MOST_SPARED.min(self.spare) {
            self.spare -= class;
            return None;
        }
        let place = free.used.pop_front()?;
        self.live = self.live.wrapping_add(place.digest());
        Some(Again { place, is_used: true })
    }

    /// From here on no block is made where another one can be used, as there is no memory to spare.
    pub fn save(&mut self) {
        self.spare = 0;
    }

    /// Begins another list, which has used nothing.
    pub fn next_list(&mut self) {
        for free in &mut self.free {
            free.unused.extend(free.used.drain(..).map(Reverse));
        }
    }

    /// A new block of this class.
    pub fn new_block(&mut self, class: usize) -> Result<Place, result::DriverError> {
        // SAFETY: the size is not zero; the thread entered the GPU before.
        let at = unsafe { result::malloc_sync(class) }?;
        self.held += class;
        self.sizes.insert(at, class);
        self.made += 1;
        let place = Place { number: self.made, at };
        self.live = self.live.wrapping_add(place.digest());
        Ok(place)
    }

    /// Takes a block back, which the list of now has used or not.
    pub fn give(&mut self, place: Place, class: usize, is_used: bool) {
        self.live = self.live.wrapping_sub(place.digest());
        let at = self.free.binary_search_by_key(&class, |it| it.class).unwrap_or_else(|at| {
            let (unused, used) = Default::default();
            self.free.insert(at, Free { class, unused, used });
            at
        });
        let free = &mut self.free[at];
        if is_used {
            free.used.push_back(place);
        } else {
            free.unused.push(Reverse(place));
        }
    }

    /// Gives what nobody names back to the driver. Nothing that was asked of the GPU may still wait.
    pub fn trim(&mut self) {
        self.next_list();
        for Free { class, unused, .. } in self.free.drain(..) {
            for Reverse(Place { at, .. }) in unused {
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

    /// A digest of the blocks that somebody names.
    pub fn live(&self) -> u64 {
        self.live
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
