//! What is asked of a GPU, written down before it is done: launches and copies with every argument, as numbers, so that two
//! lists are quickly compared.

use std::ffi::c_void;

use cudarc_19::driver::{result, sys};

use super::driver::{Gpu, GpuError};
use super::kernel::{Arg, Kernel, Slots};

/// How many blocks there are, and threads in each.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct Grid {
    /// Blocks along x, y and z.
    pub blocks: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
}

/// One call of a list.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call<'a> {
    /// A kernel, with an argument for each of its parameters, the way a pointer to it finds it.
    Launch { kernel: Kernel, grid: Grid, arguments: &'a [u64] },
    /// So many bytes from one address to another.
    Copy { into: u64, from: u64, bytes: usize },
    /// So many bytes become zero.
    Zero { into: u64, bytes: usize },
}

/// An address that a call reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub at: u64,
    /// Whether it may write there; it may read there in any case.
    pub is_write: bool,
}

/// A list of calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Calls {
    words: Vec<u64>,
    count: usize,
    /// Where the last call begins.
    last: usize,
}

const LAUNCH: u64 = 0;
const COPY: u64 = 1;
const ZERO: u64 = 2;

impl Calls {
    pub fn len(&self) -> usize {
        self.count
    }

    /// A kernel with places is given what fills the first of them; nothing is in the others, which zeros say.
    pub fn launch(&mut self, kernel: Kernel, grid: Grid, arguments: &[Arg]) {
        let parameters = kernel.parameters().as_bytes();
        debug_assert!(
            parameters.iter().copied().zip(arguments).all(|(letter, it)| it.fits(letter))
                && (arguments.len() == parameters.len() || kernel.slots().is_some()),
            "{}: {arguments:?}",
            kernel.name()
        );
        let [x, y, z] = grid.blocks.map(u64::from);
        let head = LAUNCH | (kernel as u64) << 8 | (parameters.len() as u64) << 32;
        let (last, begin) = (self.last, self.words.len());
        self.begin();
        self.words.extend([head, x | y << 32, z | u64::from(grid.threads) << 32]);
        self.words.extend(arguments.iter().map(|it| it.bits()));
        self.words.resize(begin + 3 + parameters.len(), 0);
        if let Some(slots) = kernel.slots() {
            let (past, own) = self.words[last..].split_at_mut(begin - last);
            let letters = &parameters[slots.before..][..slots.width];
            if joined(slots, letters, past, own) {
                self.words.truncate(begin);
                self.last = last;
                self.count -= 1;
            }
        }
    }

    /// Begins a call.
    fn begin(&mut self) {
        self.last = self.words.len();
        self.count += 1;
    }

    pub fn copy(&mut self, into: u64, from: u64, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.begin();
        self.words.extend([COPY, into, from, bytes as u64]);
    }

    pub fn zero(&mut self, into: u64, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.begin();
        self.words.extend([ZERO, into, bytes as u64]);
    }

    /// How much is written down.
    pub fn size(&self) -> usize {
        self.words.len()
    }

    /// Whether the first calls are those of `other`.
    pub fn begins_with(&self, other: &Self) -> bool {
        self.words.starts_with(&other.words)
    }

    pub fn clear(&mut self) {
        self.words.clear();
        (self.count, self.last) = (0, 0);
    }

    /// The calls in their order.
    pub fn iter(&self) -> impl Iterator<Item = Call<'_>> {
        let mut rest = &self.words[..];
        std::iter::from_fn(move || {
            let (call, after) = read(rest)?;
            rest = after;
            Some(call)
        })
    }

    /// Asks for each of the calls.
    pub fn run(&self, gpu: &Gpu, stream: sys::CUstream) -> Result<(), GpuError> {
        self.iter().try_for_each(|call| call.run(gpu, stream))
    }
}

/// The first call of `words`, and the words after it.
fn read(words: &[u64]) -> Option<(Call<'_>, &[u64])> {
    #[expect(clippy::cast_possible_truncation, reason = "a half of a word")]
    let halves = |word: u64| [word as u32, (word >> 32) as u32];
    #[expect(clippy::cast_possible_truncation, reason = "lengths of this machine's")]
    let size = |word: u64| word as usize;
    let (head, after) = words.split_first()?;
    Some(match head & 0xff {
        LAUNCH => {
            let ([x, y], [z, threads]) = (halves(after[0]), halves(after[1]));
            let (arguments, after) = after[2..].split_at(size(head >> 32));
            let kernel = Kernel::ALL[size(head >> 8 & 0x00ff_ffff)];
            (Call::Launch { kernel, grid: Grid { blocks: [x, y, z], threads }, arguments }, after)
        }
        COPY => (Call::Copy { into: after[0], from: after[1], bytes: size(after[2]) }, &after[3..]),
        _ => (Call::Zero { into: after[0], bytes: size(after[1]) }, &after[2..]),
    })
}

/// Pointers to the arguments of a launch, as the driver takes them.
pub(super) fn pointers(arguments: &[u64]) -> Vec<*mut c_void> {
    arguments.iter().map(|it| (&raw const *it).cast_mut().cast()).collect()
}

impl Call<'_> {
    /// Asks for it.
    fn run(self, gpu: &Gpu, stream: sys::CUstream) -> Result<(), GpuError> {
        match self {
            Self::Launch { kernel, grid: Grid { blocks: [x, y, z], threads }, arguments } => {
                let (function, mut pointers) = (gpu.function(kernel), pointers(arguments));
                let (grid, block) = ((x, y, z), (threads, 1, 1));
                // SAFETY: there is an argument of the right kind for each parameter, as `launch` compared, and the pointers among
                // them are of blocks that stay until the queue is dropped. The driver reads the arguments at once.
                unsafe {
                    let shared = kernel.shared();
                    result::launch_kernel(function, grid, block, shared, stream, &mut pointers)
                }
                .map_err(|error| GpuError::from(error).at(kernel))
            }
            Self::Copy { into, from, bytes } => {
                // SAFETY: both blocks have so many bytes and stay until the queue is dropped.
                Ok(unsafe { result::memcpy_dtod_async(into, from, bytes, stream) }?)
            }
            Self::Zero { into, bytes } => {
                // SAFETY: as above.
                Ok(unsafe { result::memset_d8_async(into, 0, bytes, stream) }?)
            }
        }
    }

    /// Every address that it is given.
    pub fn accesses(self) -> Vec<Access> {
        let (read, write) =
            (|at| Access { at, is_write: false }, |at| Access { at, is_write: true });
        match self {
            Self::Launch { kernel, arguments, .. } => {
                addresses(kernel.parameters().as_bytes(), arguments).collect()
            }
            Self::Copy { into, from, .. } => vec![read(from), write(into)],
            Self::Zero { into, .. } => vec![write(into)],
        }
    }
}

/// The addresses among arguments for parameters of these letters.
fn addresses(letters: &[u8], arguments: &[u64]) -> impl Iterator<Item = Access> {
    letters.iter().zip(arguments).filter_map(|(letter, at)| match letter {
        _ if *at == 0 => None,
        b'r' => Some(Access { at: *at, is_write: false }),
        b'w' => Some(Access { at: *at, is_write: true }),
        _ => None,
    })
}

/// Gives what a launch, `own`, is to do to the call before it, if that is a launch of the same kernel which has the places for it,
/// and neither needs the other's results. `letters` are those of the parameters of a place.
fn joined(slots: Slots, letters: &[u8], past: &mut [u64], own: &[u64]) -> bool {
    let ([head, shape, threads, past @ ..], [own_head, own_shape, own_threads, own @ ..]) =
        (past, own)
    else {
        return false;
    };
    if head != own_head || threads != own_threads || past[..slots.before] != own[..slots.before] {
        return false;
    }
    let (past, own) = (&mut past[slots.before..], &own[slots.before..]);
    let filled = |of: &[u64]| of.chunks(slots.width).take_while(|place| place[0] != 0).count();
    let (before, more) = (filled(past), filled(own));
    let own = &own[..more * slots.width];
    let (past, free) = past.split_at_mut(before * slots.width);
    if free.len() < own.len() {
        return false;
    }
    if slots.is_row {
        let named = |of: &[u64], meets: &dyn Fn(Access) -> bool| {
            of.chunks(slots.width).flat_map(|place| addresses(letters, place)).any(meets)
        };
        let needs =
            |own: Access| named(past, &|it| it.at == own.at && (it.is_write || own.is_write));
        if named(own, &needs) {
            return false;
        }
        let x = (*shape & 0xffff_ffff).max(*own_shape & 0xffff_ffff);
        *shape = x | ((before + more).max(1) as u64) << 32;
    }
    free[..own.len()].copy_from_slice(own);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gpu::SLOTS;

    /// Asks for the sum of `from` and `into`, of `len` values, in the first place of a launch.
    fn add(calls: &mut Calls, len: usize, from: u64, into: u64) {
        let arguments = [Arg::count(len), Arg::Address(from), Arg::Address(into)];
        let blocks = u32::try_from(len.div_ceil(256)).unwrap();
        calls.launch(Kernel::Accumulate, Grid { blocks: [blocks, 1, 1], threads: 256 }, &arguments);
    }

    /// Asks for numbers to be written to the log at `ring`.
    fn log(calls: &mut Calls, ring: u64, numbers: &[u64]) {
        let mut arguments = vec![Arg::Int(100), Arg::Address(ring), Arg::Address(ring + 8)];
        arguments.extend(numbers.iter().map(|it| Arg::Address(*it)));
        calls.launch(Kernel::LogNumbers, Grid { blocks: [1, 1, 1], threads: 32 }, &arguments);
    }

    #[test]
    fn launches_that_follow_each_other_are_one_while_there_are_places() {
        let mut calls = Calls::default();
        for at in 0..SLOTS as u64 {
            add(&mut calls, 300 + 300 * (at % 3) as usize, 1000 * (at + 1), 1000 * (at + 1) + 500);
        }
        assert_eq!(calls.len(), 1);
        // As many blocks along x as the longest needs, a row of them for each.
        assert_eq!(calls.words[1], 4 | (SLOTS as u64) << 32);
        add(&mut calls, 10, 90_000, 90_500);
        assert_eq!(calls.len(), 2, "there is no place left");
    }

    #[test]
    fn launches_are_not_joined_where_one_may_need_the_others_result() {
        let mut calls = Calls::default();
        add(&mut calls, 10, 1000, 2000);
        add(&mut calls, 10, 2000, 3000);
        assert_eq!(calls.len(), 2, "what the first wrote is read");
        add(&mut calls, 10, 4000, 3000);
        assert_eq!(calls.len(), 3, "both write to one block");
        add(&mut calls, 10, 7000, 4000);
        assert_eq!(calls.len(), 4, "what the first reads is written");
        add(&mut calls, 10, 7000, 8000);
        assert_eq!(calls.len(), 4, "both read one block");
        calls.copy(1, 2, 4);
        add(&mut calls, 10, 5000, 6000);
        assert_eq!(calls.len(), 6, "something else lies between");
    }

    #[test]
    fn numbers_of_one_log_are_written_together_and_in_order() {
        let mut calls = Calls::default();
        log(&mut calls, 64, &[1, 2]);
        log(&mut calls, 64, &[3]);
        assert_eq!(calls.len(), 1);
        assert_eq!(calls.words[6..10], [1, 2, 3, 0]);
        assert_eq!(calls.words[1], 1 | 1 << 32, "one block writes all");
        log(&mut calls, 64, &[4, 5, 6, 7, 8, 9]);
        assert_eq!(calls.len(), 2, "there are not so many places left");
        log(&mut calls, 128, &[4]);
        assert_eq!(calls.len(), 3, "another log");
    }
}
