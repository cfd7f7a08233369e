//! What is asked of a GPU, written down before it is done: launches and copies with every argument. A list that comes again is
//! made a graph of CUDA's, which takes one call in place of one for each launch.

use std::collections::HashMap;
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

/// Lists that are shorter are not worth a graph.
const LEAST_CALLS: usize = 4;
/// Lists that are remembered. Those that come again and again are few: a step, one of the last batch, an evaluation.
const MOST_LISTS: usize = 64;

/// A list of calls. They are numbers, so that two lists are quickly compared.
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
            parameters
                .iter()
                .copied()
                .take(arguments.len())
                .eq(arguments.iter().map(|it| it.kind()))
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
            if joined(slots, past, own) {
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
        self.begin();
        self.words.extend([ZERO, into, bytes as u64]);
    }

    pub fn clear(&mut self) {
        self.words.clear();
        (self.count, self.last) = (0, 0);
    }

    /// Asks for each of the calls.
    fn run(&self, gpu: &Gpu, stream: sys::CUstream) -> Result<(), GpuError> {
        let mut rest = &self.words[..];
        #[expect(clippy::cast_possible_truncation, reason = "a half of a word")]
        let halves = |word: u64| (word as u32, (word >> 32) as u32);
        while let [head, after @ ..] = rest {
            #[expect(clippy::cast_possible_truncation, reason = "lengths of this machine's")]
            let size = |word: u64| word as usize;
            rest = match head & 0xff {
                LAUNCH => {
                    let kernel = Kernel::ALL[size(head >> 8 & 0x00ff_ffff)];
                    let shape = (halves(after[0]), halves(after[1]));
                    let (arguments, after) = after[2..].split_at(size(head >> 32));
                    let ((x, y), (z, threads)) = shape;
                    let mut pointers: Vec<*mut c_void> =
                        arguments.iter().map(|it| (&raw const *it).cast_mut().cast()).collect();
                    // SAFETY: there is an argument of the right kind for each parameter, as `launch` compared, and the pointers
                    // among them are of blocks that stay until the queue is dropped. The driver reads the arguments at once.
                    unsafe {
                        result::launch_kernel(
                            gpu.function(kernel),
                            (x, y, z),
                            (threads, 1, 1),
                            0,
                            stream,
                            &mut pointers,
                        )
                    }
                    .map_err(|error| GpuError::from(error).at(kernel))?;
                    after
                }
                COPY => {
                    // SAFETY: both blocks have so many bytes and stay until the queue is dropped.
                    unsafe {
                        result::memcpy_dtod_async(after[0], after[1], size(after[2]), stream)
                    }?;
                    &after[3..]
                }
                _ => {
                    // SAFETY: as above.
                    unsafe { result::memset_d8_async(after[0], 0, size(after[1]), stream) }?;
                    &after[2..]
                }
            };
        }
        Ok(())
    }
}

/// Gives what a launch, `own`, is to do to the call before it, if that is a launch of the same kernel which has the places for it,
/// and neither needs the other's results.
fn joined(slots: Slots, past: &mut [u64], own: &[u64]) -> bool {
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
        // The first argument of a place is a number of values.
        let names = |of: &[u64], it: u64| {
            of.chunks(slots.width).any(|place| it != 0 && place[1..].contains(&it))
        };
        if own.chunks(slots.width).any(|place| place[1..].iter().any(|it| names(past, *it))) {
            return false;
        }
        let x = (*shape & 0xffff_ffff).max(*own_shape & 0xffff_ffff);
        *shape = x | ((before + more).max(1) as u64) << 32;
    }
    free[..own.len()].copy_from_slice(own);
    true
}

/// A list that came before.
#[derive(Debug)]
struct Known {
    graph: Made,
    /// When it came last.
    last: u64,
}

/// The graph of a list.
#[derive(Debug, Clone, Copy)]
enum Made {
    /// It came once, which is not worth one.
    NotYet,
    /// It has one.
    Graph(sys::CUgraphExec),
    /// The driver has no room for one: its calls are asked for one by one.
    Never,
}

/// The lists that came before, with the graphs of those that came twice.
#[derive(Debug, Default)]
pub(super) struct Graphs {
    known: HashMap<Calls, Known>,
    now: u64,
}

impl Graphs {
    /// Asks for `calls`, by the graph of an equal list where there is one.
    pub fn run(&mut self, calls: &Calls, gpu: &Gpu, stream: sys::CUstream) -> Result<(), GpuError> {
        self.now += 1;
        if calls.len() < LEAST_CALLS {
            return calls.run(gpu, stream);
        }
        let Some(known) = self.known.get_mut(calls) else {
            self.make_room();
            let known = Known { graph: Made::NotYet, last: self.now };
            self.known.insert(calls.clone(), known);
            return calls.run(gpu, stream);
        };
        known.last = self.now;
        if let Made::NotYet = known.graph {
            known.graph = record(calls, gpu, stream).map_or(Made::Never, Made::Graph);
        }
        match known.graph {
            // SAFETY: the graph was made of this stream's calls, whose blocks stay until the queue is dropped.
            Made::Graph(graph) => Ok(unsafe { result::graph::launch(graph, stream) }?),
            Made::NotYet | Made::Never => calls.run(gpu, stream),
        }
    }

    /// Forgets the list that has not come for longest, when there are too many.
    fn make_room(&mut self) {
        if self.known.len() < MOST_LISTS {
            return;
        }
        let oldest = self.known.iter().min_by_key(|(_, known)| known.last);
        if let Some(oldest) = oldest.map(|(calls, _)| calls.clone())
            && let Some(known) = self.known.remove(&oldest)
        {
            known.forget();
        }
    }

    /// Forgets every list.
    pub fn clear(&mut self) {
        self.known.drain().for_each(|(_, known)| known.forget());
    }
}

impl Known {
    fn forget(self) {
        if let Made::Graph(graph) = self.graph {
            // SAFETY: the graph is no one else's; the driver keeps it until its launches are done.
            let _ = unsafe { result::graph::exec_destroy(graph) };
        }
    }
}

/// The graph of a list, which ran before.
fn record(calls: &Calls, gpu: &Gpu, stream: sys::CUstream) -> Result<sys::CUgraphExec, GpuError> {
    // SAFETY: the stream is the queue's, and nothing else is asked of it or of memory while it records.
    unsafe {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        result::stream::begin_capture(stream, mode)?;
        let asked = calls.run(gpu, stream);
        // Ends the capture in any case.
        let graph = result::stream::end_capture(stream);
        let graph = asked.and_then(|()| Ok(graph?))?;
        let exec = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
        let _ = result::graph::destroy(graph);
        Ok(exec?)
    }
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
        calls.copy(1, 2, 4);
        add(&mut calls, 10, 5000, 6000);
        assert_eq!(calls.len(), 5, "something else lies between");
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
