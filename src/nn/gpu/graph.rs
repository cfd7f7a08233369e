//! Lists of calls that come again, as graphs of CUDA's: one call in place of one for each launch, and calls that need nothing of
//! each other run side by side. Never changes what a list does: where the driver makes no graph, its calls run one by one.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;
use std::rc::Rc;

use cudarc_19::driver::{result, sys};

use super::dependencies::{Lies, needs};
use super::driver::{Gpu, GpuError};
use super::kernel::Kernel;
use super::recording::{Call, Calls, Grid, pointers};

/// Lists that are shorter are not worth a graph.
const LEAST_CALLS: usize = 4;
/// Lists that are remembered: those of a step of thousands of calls, of one of the last batch, and of an evaluation.
const MOST_LISTS: usize = 512;

/// A list that came before.
#[derive(Debug)]
struct Known {
    calls: Rc<Calls>,
    graph: Made,
    /// When it came last.
    last: u64,
    /// The place of the list that came after it then.
    next: usize,
}

/// The graph of a list.
#[derive(Debug, Clone, Copy)]
enum Made {
    /// It came once, which is not worth one.
    NotYet,
    /// It has one.
    Graph(sys::CUgraphExec),
    /// The driver makes none: its calls are asked for one by one.
    Never,
}

/// A list that was asked for and can be asked for again, without its being written down. Two are equal when their calls are.
#[derive(Debug)]
pub(super) struct Again {
    calls: Rc<Calls>,
    place: Option<usize>,
}

impl Again {
    /// Whether its first calls are these.
    pub fn begins_with(&self, calls: &Calls) -> bool {
        self.calls.begins_with(calls)
    }
}

impl PartialEq for Again {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.calls, &other.calls) || self.calls == other.calls
    }
}

/// The lists that came before, with the graphs of those that came twice.
#[derive(Debug, Default)]
pub(super) struct Graphs {
    known: Vec<Known>,
    places: HashMap<Rc<Calls>, usize>,
    /// The place of the list that came last.
    newest: Option<usize>,
    now: u64,
}

impl Graphs {
    /// Asks for `calls`, by the graph of an equal list where there is one; the list's place, where it is remembered. `lies` says
    /// where an address lies.
    pub fn run(
        &mut self,
        calls: &Calls,
        lies: impl Fn(u64) -> Lies,
        gpu: &Gpu,
        stream: sys::CUstream,
    ) -> Result<Option<usize>, GpuError> {
        self.now += 1;
        if calls.len() < LEAST_CALLS {
            calls.run(gpu, stream)?;
            return Ok(None);
        }
        let found = self.find(calls);
        let place = found.unwrap_or_else(|| self.add(calls));
        let known = &mut self.known[place];
        if let (Made::NotYet, Some(_)) = (known.graph, found) {
            known.graph = made(calls, &needs(calls, lies), gpu).map_or(Made::Never, Made::Graph);
        }
        self.ask(place, gpu, stream)?;
        Ok(Some(place))
    }

    /// Asks for the list at a place.
    fn ask(&mut self, place: usize, gpu: &Gpu, stream: sys::CUstream) -> Result<(), GpuError> {
        if let Some(before) = self.newest.replace(place) {
            self.known[before].next = place;
        }
        let known = &mut self.known[place];
        known.last = self.now;
        match known.graph {
            // SAFETY: the graph was made of this queue's calls, whose blocks stay until the queue is dropped.
            Made::Graph(graph) => Ok(unsafe { result::graph::launch(graph, stream) }?),
            Made::NotYet | Made::Never => known.calls.run(gpu, stream),
        }
    }

    /// A list that was asked for, to be asked for again; `place` is what [`Graphs::run`] gave.
    pub fn remembered(&self, calls: &Calls, place: Option<usize>) -> Again {
        match place {
            Some(place) => Again { calls: Rc::clone(&self.known[place].calls), place: Some(place) },
            None => Again { calls: Rc::new(calls.clone()), place: None },
        }
    }

    /// Whether a list is still remembered, with its graph where the driver makes one.
    pub fn knows(&self, list: &Again) -> bool {
        let is_it = |known: &Known| {
            Rc::ptr_eq(&known.calls, &list.calls) && !matches!(known.graph, Made::NotYet)
        };
        list.place.is_none_or(|place| self.known.get(place).is_some_and(is_it))
    }

    /// Asks for a list that is known.
    pub fn run_again(
        &mut self,
        list: &Again,
        gpu: &Gpu,
        stream: sys::CUstream,
    ) -> Result<(), GpuError> {
        self.now += 1;
        match list.place {
            Some(place) => self.ask(place, gpu, stream),
            None => list.calls.run(gpu, stream),
        }
    }

    /// The place of an equal list. What came last after the list before is looked at first: a digest of a list takes longer than
    /// to compare it.
    fn find(&self, calls: &Calls) -> Option<usize> {
        let next = self.newest.map(|newest| self.known[newest].next);
        let is_it = |place: &usize| self.known.get(*place).is_some_and(|it| *it.calls == *calls);
        next.filter(is_it).or_else(|| self.places.get(calls).copied())
    }

    /// Adds a list; its place. The one that has not come for longest is forgotten when there are too many.
    fn add(&mut self, calls: &Calls) -> usize {
        let calls = Rc::new(calls.clone());
        let known =
            Known { calls: Rc::clone(&calls), graph: Made::NotYet, last: self.now, next: 0 };
        let place = if self.known.len() < MOST_LISTS {
            self.known.push(known);
            self.known.len() - 1
        } else {
            let last = |place: &usize| self.known[*place].last;
            let oldest = (0..self.known.len()).min_by_key(last).expect("there are many");
            let forgotten = std::mem::replace(&mut self.known[oldest], known);
            self.places.remove(&forgotten.calls);
            forgotten.forget();
            oldest
        };
        self.places.insert(calls, place);
        place
    }

    /// Forgets every list.
    pub fn clear(&mut self) {
        (self.newest, self.places) = (None, HashMap::new());
        self.known.drain(..).for_each(Known::forget);
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

/// The graph of a list, in which each call waits for those that `needs` names, by their places in the list.
fn made(calls: &Calls, needs: &[Vec<usize>], gpu: &Gpu) -> Result<sys::CUgraphExec, GpuError> {
    let draft = Draft::new()?;
    let mut nodes: Vec<sys::CUgraphNode> = Vec::with_capacity(calls.len());
    for (call, needs) in calls.iter().zip(needs) {
        let after: Vec<sys::CUgraphNode> = needs.iter().map(|place| nodes[*place]).collect();
        nodes.push(draft.add(call, &after, gpu)?);
    }
    // SAFETY: the graph is complete. What is made of it does not need it any more.
    Ok(unsafe { result::graph::instantiate(draft.0, sys::CUgraphInstantiate_flags(0)) }?)
}

/// A graph while nodes are added to it.
struct Draft(sys::CUgraph);

impl Drop for Draft {
    fn drop(&mut self) {
        // SAFETY: the graph is this struct's own. One that the driver does not take back is lost.
        let _ = unsafe { result::graph::destroy(self.0) };
    }
}

impl Draft {
    fn new() -> Result<Self, GpuError> {
        let mut graph = ptr::null_mut();
        // SAFETY: the pointer is to a handle of ours; there are no flags.
        unsafe { sys::cuGraphCreate(&raw mut graph, 0) }.result()?;
        Ok(Self(graph))
    }

    /// Adds a call that waits for the nodes `after`, none of which comes twice.
    fn add(
        &self,
        call: Call<'_>,
        after: &[sys::CUgraphNode],
        gpu: &Gpu,
    ) -> Result<sys::CUgraphNode, GpuError> {
        let (mut node, context) = (ptr::null_mut(), gpu.context());
        let (count, after) =
            (after.len(), if after.is_empty() { ptr::null() } else { after.as_ptr() });
        match call {
            Call::Launch { kernel, grid, arguments } => {
                let mut pointers = pointers(arguments);
                let what = launch_of(kernel, gpu, grid, &mut pointers);
                // SAFETY: the nodes are this graph's; there is an argument of the right kind for each parameter, as
                // `Calls::launch` compared, and the driver copies the arguments at once.
                unsafe {
                    sys::cuGraphAddKernelNode_v2(
                        &raw mut node,
                        self.0,
                        after,
                        count,
                        &raw const what,
                    )
                }
                .result()
                .map_err(|error| GpuError::from(error).at(kernel))?;
            }
            Call::Copy { into, from, bytes } => {
                let what = copy_of(into, from, bytes);
                // SAFETY: the nodes are this graph's; both blocks have so many bytes.
                unsafe {
                    sys::cuGraphAddMemcpyNode(
                        &raw mut node,
                        self.0,
                        after,
                        count,
                        &raw const what,
                        context,
                    )
                }
                .result()?;
            }
            Call::Zero { into, bytes } => {
                let what = zeros_of(into, bytes);
                // SAFETY: as above.
                unsafe {
                    sys::cuGraphAddMemsetNode(
                        &raw mut node,
                        self.0,
                        after,
                        count,
                        &raw const what,
                        context,
                    )
                }
                .result()?;
            }
        }
        Ok(node)
    }
}

/// A launch as a node. `pointers` are to its arguments.
fn launch_of(
    kernel: Kernel,
    gpu: &Gpu,
    Grid { blocks: [x, y, z], threads }: Grid,
    pointers: &mut [*mut c_void],
) -> sys::CUDA_KERNEL_NODE_PARAMS {
    sys::CUDA_KERNEL_NODE_PARAMS {
        func: gpu.function(kernel),
        gridDimX: x,
        gridDimY: y,
        gridDimZ: z,
        blockDimX: threads,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: kernel.shared(),
        kernelParams: pointers.as_mut_ptr(),
        extra: ptr::null_mut(),
        // Both are for kernels of libraries; `func` has the context of its module.
        kern: ptr::null_mut(),
        ctx: ptr::null_mut(),
    }
}

/// A copy as a node: one row within the GPU's memory, which needs neither a pitch nor a height of what it lies in.
fn copy_of(into: u64, from: u64, bytes: usize) -> sys::CUDA_MEMCPY3D {
    let device = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
    sys::CUDA_MEMCPY3D {
        srcXInBytes: 0,
        srcY: 0,
        srcZ: 0,
        srcLOD: 0,
        srcMemoryType: device,
        srcHost: ptr::null(),
        srcDevice: from,
        srcArray: ptr::null_mut(),
        reserved0: ptr::null_mut(),
        srcPitch: 0,
        srcHeight: 0,
        dstXInBytes: 0,
        dstY: 0,
        dstZ: 0,
        dstLOD: 0,
        dstMemoryType: device,
        dstHost: ptr::null_mut(),
        dstDevice: into,
        dstArray: ptr::null_mut(),
        reserved1: ptr::null_mut(),
        dstPitch: 0,
        dstHeight: 0,
        WidthInBytes: bytes,
        Height: 1,
        Depth: 1,
    }
}

/// Zeros as a node: one row, of words where it is whole words.
fn zeros_of(dst: u64, bytes: usize) -> sys::CUDA_MEMSET_NODE_PARAMS {
    let is_words = dst.is_multiple_of(4) && bytes.is_multiple_of(4);
    let (element, width) = if is_words { (4, bytes / 4) } else { (1, bytes) };
    sys::CUDA_MEMSET_NODE_PARAMS { dst, pitch: 0, value: 0, elementSize: element, width, height: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gpu::{Arg, Kernel, Queue};
    use crate::stand_in;

    /// What a graph of these dependencies makes of three blocks of ten numbers, one after the other.
    fn run(needs: impl FnOnce(&Calls, &[u64; 4]) -> Vec<Vec<usize>>) -> Vec<f32> {
        let gpu = Gpu::open(0).unwrap();
        let queue = Queue::new(gpu.clone()).unwrap();
        let blocks = [1.0_f32, 2.0, 10.0, -1.0].map(|it| queue.upload(&[it; 10]).unwrap());
        queue.finish().unwrap();
        let at = blocks.each_ref().map(|it| it.arg().bits());
        let [a, b, c, d] = at;
        let mut calls = Calls::default();
        let add = |calls: &mut Calls, from, into| {
            let arguments = [Arg::count(10), Arg::Address(from), Arg::Address(into)];
            let grid = Grid { blocks: [1, 1, 1], threads: 256 };
            calls.launch(Kernel::Accumulate, grid, &arguments);
        };
        // c = a + b, which is added to d; b becomes zero when it has been read, and then a's.
        calls.copy(c, a, 40);
        add(&mut calls, b, c);
        calls.zero(b, 40);
        add(&mut calls, c, d);
        calls.copy(b, a, 40);
        let graph = made(&calls, &needs(&calls, &at), &gpu).unwrap();
        // SAFETY: the stream and the graph are this test's own, and everything that they name outlives them.
        unsafe {
            let stream = result::stream::create(result::stream::StreamKind::NonBlocking).unwrap();
            result::graph::launch(graph, stream).unwrap();
            result::stream::synchronize(stream).unwrap();
            result::graph::exec_destroy(graph).unwrap();
            result::stream::destroy(stream).unwrap();
        }
        let mut found = Vec::new();
        for block in &blocks[1..] {
            let mut values = [0.0; 10];
            queue.download(block, &mut values).unwrap();
            assert_eq!(values, [values[0]; 10]);
            found.push(values[0]);
        }
        found
    }

    fn all(calls: &Calls, at: &[u64; 4]) -> Vec<Vec<usize>> {
        needs(calls, |it| if at.contains(&it) { Lies::InBlock(it) } else { Lies::Nowhere })
    }

    #[test]
    fn a_graph_gives_the_same_in_every_order_and_each_of_its_edges_is_needed() {
        let Some(stand_in) = stand_in::here() else { return };
        for order in ["given", "last", "random:1", "random:2"] {
            stand_in.set("STAND_IN_GRAPH_ORDER", order);
            assert_eq!(run(all), [1.0, 3.0, 2.0], "{order}");
        }
        stand_in.set("STAND_IN_GRAPH_ORDER", "last");
        let mut edges = Vec::new();
        run(|calls, at| {
            let needs = all(calls, at);
            edges.extend(
                (0..needs.len())
                    .flat_map(|to| needs[to].iter().map(|it| (*it, to)).collect::<Vec<_>>()),
            );
            needs
        });
        assert_eq!(edges, [(0, 1), (1, 2), (1, 3), (2, 4)]);
        for (from, to) in edges {
            let without = run(|calls, at| {
                let mut needs = all(calls, at);
                needs[to].retain(|it| *it != from);
                needs
            });
            assert_ne!(without, [1.0, 3.0, 2.0], "without {from} before {to}");
        }
        stand_in.set("STAND_IN_GRAPH_ORDER", "given");
    }

    #[test]
    fn a_graph_that_the_driver_does_not_make_is_refused() {
        if stand_in::here().is_none() {
            return;
        }
        let gpu = Gpu::open(0).unwrap();
        gpu.enter().unwrap();
        let refused = |ask: &dyn Fn(&mut Calls)| {
            let mut calls = Calls::default();
            ask(&mut calls);
            made(&calls, &vec![vec![]; calls.len()], &gpu).is_err()
        };
        let fill = |threads: u32, blocks: [u32; 3]| {
            let arguments = [Arg::count(1), Arg::Address(1), Arg::Address(1)];
            let grid = Grid { blocks, threads };
            refused(&|calls| calls.launch(Kernel::Fill, grid, &arguments))
        };
        assert!(!fill(256, [1, 1, 1]));
        assert!(fill(2048, [1, 1, 1]), "more threads than a block may have");
        assert!(fill(256, [1, 65_536, 1]) && fill(256, [0, 1, 1]), "no such grid");
        assert!(refused(&|calls| calls.copy(4096, 8192, 4)), "no memory of the GPU's");
        assert!(refused(&|calls| calls.zero(4096, 4)), "no memory of the GPU's");
        // A node of another graph.
        let (one, other) = (Draft::new().unwrap(), Draft::new().unwrap());
        let mut calls = Calls::default();
        let arguments = [Arg::count(0), Arg::Address(1), Arg::Address(1)];
        calls.launch(Kernel::Fill, Grid { blocks: [1, 1, 1], threads: 256 }, &arguments);
        let call = calls.iter().next().unwrap();
        let node = one.add(call, &[], &gpu).unwrap();
        assert!(one.add(call, &[node], &gpu).is_ok());
        assert!(
            one.add(call, &[node, node], &gpu).is_err() && other.add(call, &[node], &gpu).is_err()
        );
    }
}
