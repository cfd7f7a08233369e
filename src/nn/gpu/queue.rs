//! What a training asks of a GPU, in order, on a stream of its own: launches, copies, and the memory that they name.

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::mem::take;
use std::rc::Rc;
use std::sync::Arc;

use cudarc_19::driver::{result, sys};

use super::dependencies::Lies;
use super::driver::{Gpu, GpuError};
use super::graph::Graphs;
use super::kernel::{Arg, Kernel};
use super::noting::{Memory, NotedCalls, NotedList, Noting, Pending, Source, Span};
use super::pool::{Again, Place, Pool, size_class};
use super::recording::{Calls, Grid};
use super::resident::{Name, Resident};
use super::staging::Staging;

/// A list is handed over when it has so many calls, so that the GPU begins while the rest of a step is being written down.
const MOST_CALLS: usize = 48;
/// What is larger is sent by itself.
pub(in crate::nn) const MOST_STAGED: usize = 64 << 20;

/// A stream of a GPU with its memory.
pub(in crate::nn) struct Queue {
    gpu: Arc<Gpu>,
    stream: sys::CUstream,
    /// The number of the list that is being written down.
    list: Cell<u64>,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    calls: Calls,
    /// Those of the last launch: memory that is used again.
    arguments: Vec<Arg>,
    graphs: Graphs,
    staging: Staging,
    pool: Pool,
    /// Data of the GPU that calls have named.
    residents: Vec<Arc<Resident>>,
    /// How often memory that calls may name was given back, or what is sent got another place.
    moved: u64,
    /// What it is asked for, while somebody wants to ask for it again.
    noting: Option<Noting>,
    /// Why the GPU gave up. Nothing can be asked of it afterwards.
    failure: Option<GpuError>,
}

impl State {
    fn memory(&self) -> Memory {
        Memory { live: self.pool.live(), moved: self.moved }
    }

    /// Says that what is being noted cannot be asked for again.
    fn cannot_note(&mut self) {
        if let Some(noting) = &mut self.noting {
            noting.is_whole = false;
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("gpu", &self.gpu).finish_non_exhaustive()
    }
}

/// Memory of a GPU. Its queue has it again when this is dropped.
pub(in crate::nn) struct Block {
    place: Place,
    bytes: usize,
    /// The number of the last list that names it, or that named the same memory; 0 where none did.
    named: Cell<u64>,
    queue: Rc<Queue>,
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let is_used = self.named.get() == self.queue.list.get();
        self.queue.state.borrow_mut().pool.give(self.place, size_class(self.bytes), is_used);
    }
}

impl Block {
    /// Its address, which the list that is being written down is about to name.
    fn at(&self) -> u64 {
        self.named.set(self.queue.list.get());
        self.place.at
    }

    /// Its address, which nothing is about to name.
    pub fn place(&self) -> u64 {
        self.place.at
    }

    /// Its address, as an argument.
    pub fn arg(&self) -> Arg {
        Arg::Address(self.at())
    }

    /// The address of one of its numbers.
    pub fn arg_at(&self, number: usize) -> Arg {
        let bytes = number * size_of::<f32>();
        assert!(bytes <= self.bytes, "a number that it holds");
        Arg::Address(self.at() + bytes as u64)
    }
}

/// An argument of a launch, or what it is to find at an address.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) enum Given<'a> {
    /// An argument.
    Arg(Arg),
    /// Numbers that may be others at the next step, by a pointer to them.
    Numbers(&'a [f32]),
    /// Words that may be others at the next step, by a pointer to them.
    Words(&'a [u32]),
    /// Bytes that may be others at the next step, by a pointer to them.
    Bytes(&'a [u8]),
    /// Places that may be others at the next step, by a pointer to them.
    Places(&'a [i32]),
    /// Bytes by a pointer to them, which come from a source.
    From(Source, &'a [u8]),
}

impl<'a> Given<'a> {
    /// Numbers by a pointer to them, which come from a source where one is known.
    pub fn numbers(numbers: &'a [f32], source: Option<Source>) -> Self {
        match source {
            Some(source) => Self::From(source, as_bytes(numbers)),
            None => Self::Numbers(numbers),
        }
    }

    /// Words by a pointer to them, which come from a source.
    pub fn words(words: &'a [u32], source: Source) -> Self {
        Self::From(source, as_bytes(words))
    }
    /// What is sent with the call.
    fn sent(&self) -> &[u8] {
        match self {
            Self::Arg(_) => &[],
            Self::Numbers(numbers) => as_bytes(numbers),
            Self::Words(words) => as_bytes(words),
            Self::Bytes(bytes) | Self::From(_, bytes) => bytes,
            Self::Places(places) => as_bytes(places),
        }
    }
}

impl From<Arg> for Given<'_> {
    fn from(arg: Arg) -> Self {
        Self::Arg(arg)
    }
}

impl Queue {
    /// A queue of its own on a GPU.
    ///
    /// # Errors
    /// What the driver reports.
    pub fn new(gpu: Arc<Gpu>) -> Result<Rc<Self>, GpuError> {
        gpu.enter()?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)?;
        let state = State {
            calls: Calls::default(),
            arguments: Vec::new(),
            graphs: Graphs::default(),
            staging: Staging::default(),
            pool: Pool::new(gpu.memory()),
            residents: Vec::new(),
            moved: 0,
            noting: None,
            failure: None,
        };
        Ok(Rc::new(Self { gpu, stream, list: Cell::new(1), state: RefCell::new(state) }))
    }

    /// Whether its GPU has the kernels that multiply for four warps at once.
    pub fn has_warpgroups(&self) -> bool {
        self.gpu.has_warpgroups()
    }

    /// Memory for so many bytes, which holds anything.
    ///
    /// # Errors
    /// When there is not so much, or the GPU gave up before.
    pub fn block(self: &Rc<Self>, bytes: usize) -> Result<Block, GpuError> {
        let class = size_class(bytes);
        let again = self.state.borrow_mut().pool.again(class);
        let Again { place, is_used } = match again {
            Some(again) => again,
            None => self.kept(|queue| queue.new_block(class))?,
        };
        let named = Cell::new(if is_used { self.list.get() } else { 0 });
        Ok(Block { place, bytes, named, queue: Rc::clone(self) })
    }

    /// A block of a size of which there is none, or none that the list has not used.
    fn new_block(&self, class: usize) -> Result<Again, GpuError> {
        let mut state = self.working()?;
        self.gpu.enter()?;
        const FULL: sys::CUresult = sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
        let place = match state.pool.new_block(class) {
            Err(result::DriverError(FULL)) => {
                state.pool.save();
                if let Some(again) = state.pool.again(class) {
                    return Ok(again);
                }
                // What nobody names any more may be of other sizes. Graphs name it.
                self.hand_over(&mut state)?;
                self.wait()?;
                state.graphs.clear();
                state.pool.trim();
                state.moved += 1;
                state.residents.retain(|it| Arc::strong_count(it) > 1);
                state.pool.new_block(class).map_err(|error| match error {
                    result::DriverError(FULL) => GpuError::Memory(format!(
                        "{} MB more were asked for beside {} MB, of {} MB in all",
                        class >> 20,
                        state.pool.held() >> 20,
                        self.gpu.memory() >> 20
                    )),
                    other => other.into(),
                })?
            }
            asked => asked?,
        };
        Ok(Again { place, is_used: false })
    }

    /// Does what may fail, and keeps why it did: from then on everything fails for that reason, so that nothing that was
    /// computed without it is taken for a result.
    fn kept<T>(&self, ask: impl FnOnce(&Self) -> Result<T, GpuError>) -> Result<T, GpuError> {
        let asked = ask(self);
        if let Err(error) = &asked {
            self.state.borrow_mut().failure.get_or_insert_with(|| error.clone());
        }
        asked
    }

    /// The state of a queue that has not failed.
    fn working(&self) -> Result<RefMut<'_, State>, GpuError> {
        let state = self.state.borrow_mut();
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(state),
        }
    }

    /// Asks for a kernel.
    ///
    /// # Errors
    /// Those of what was asked for before, and of this.
    pub fn launch(&self, kernel: Kernel, grid: Grid, given: &[Given]) -> Result<(), GpuError> {
        self.kept(|queue| queue.ask(kernel, grid, given))
    }

    fn ask(&self, kernel: Kernel, grid: Grid, given: &[Given]) -> Result<(), GpuError> {
        let mut state = self.working()?;
        let bytes = given.iter().map(|it| it.sent().len().next_multiple_of(16));
        self.make_room(&mut state, bytes.sum())?;
        let State { calls, arguments, staging, noting, .. } = &mut *state;
        arguments.clear();
        arguments.extend(given.iter().map(|it| match it {
            Given::Arg(arg) => *arg,
            _ => {
                if let (Some(noting), Given::From(source, bytes)) = (&mut *noting, it) {
                    let (at, len, source) = (staging.collected().len(), bytes.len(), *source);
                    noting.spans.push(Span { at, len, source });
                }
                Arg::Address(staging.put(it.sent()))
            }
        }));
        calls.launch(kernel, grid, arguments);
        match state.calls.len() >= MOST_CALLS {
            true => self.hand_over(&mut state),
            false => Ok(()),
        }
    }

    /// Room for bytes that are sent with the calls.
    fn make_room(&self, state: &mut State, bytes: usize) -> Result<(), GpuError> {
        if bytes == 0 || state.staging.has_room(bytes) {
            return Ok(());
        }
        self.hand_over(state)?;
        if !state.staging.has_room(bytes) {
            state.staging.grow(bytes)?;
            state.moved += 1;
        }
        Ok(())
    }

    /// Copies one block into another.
    ///
    /// # Errors
    /// Those of what was asked for before.
    pub fn copy(&self, into: &Block, from: &Block, bytes: usize) -> Result<(), GpuError> {
        assert!(bytes <= into.bytes && bytes <= from.bytes, "as much as both hold");
        self.working()?.calls.copy(into.at(), from.at(), bytes);
        Ok(())
    }

    /// Makes a block zeros.
    ///
    /// # Errors
    /// Those of what was asked for before.
    pub fn zero(&self, into: &Block) -> Result<(), GpuError> {
        self.working()?.calls.zero(into.at(), into.bytes);
        Ok(())
    }

    /// Sends values of the host.
    ///
    /// # Errors
    /// When there is no memory for them, and those of what was asked for before.
    pub fn upload<T: Plain>(self: &Rc<Self>, values: &[T]) -> Result<Block, GpuError> {
        self.upload_from(None, values)
    }

    /// The same of values that come from a source.
    ///
    /// # Errors
    /// As [`Queue::upload`].
    pub fn upload_from<T: Plain>(
        self: &Rc<Self>,
        source: Option<Source>,
        values: &[T],
    ) -> Result<Block, GpuError> {
        let block = self.block(size_of_val(values))?;
        if values.is_empty() {
            return Ok(block);
        }
        self.kept(|queue| queue.send(&block, source, values))?;
        Ok(block)
    }

    fn send<T: Plain>(
        &self,
        into: &Block,
        source: Option<Source>,
        values: &[T],
    ) -> Result<(), GpuError> {
        let mut state = self.working()?;
        if size_of_val(values) > MOST_STAGED {
            state.cannot_note();
            self.hand_over(&mut state)?;
            // SAFETY: the block has so many bytes; the copy comes after all that was asked for before, and is waited for while
            // the values are here.
            unsafe { result::memcpy_htod_async(into.place.at, values, self.stream) }?;
            return self.wait();
        }
        self.make_room(&mut state, size_of_val(values))?;
        if let Some(source) = source {
            let (at, len) = (state.staging.collected().len(), size_of_val(values));
            if let Some(noting) = &mut state.noting {
                noting.spans.push(Span { at, len, source });
            }
        }
        let from = state.staging.put(as_bytes(values));
        state.calls.copy(into.at(), from, size_of_val(values));
        Ok(())
    }

    /// Data that stay in the GPU's memory, which `name` stands for: sent where no queue of that GPU has sent them before. They
    /// stay for as long as someone holds them, as each queue does whose calls have named them. `None` where there is no room.
    ///
    /// # Errors
    /// What the driver reports, but for memory that it does not have.
    pub fn keep<T: Plain>(
        &self,
        name: Name,
        values: &[T],
    ) -> Result<Option<Arc<Resident>>, GpuError> {
        self.kept(|queue| {
            queue.working()?.cannot_note();
            Resident::of(&queue.gpu, name, as_bytes(values), queue.stream)
        })
    }

    /// Where data that stay are, as an argument of a call that reads them.
    ///
    /// # Panics
    /// When they are another GPU's.
    pub fn resident(&self, data: &Arc<Resident>) -> Arg {
        assert!(data.is_of(&self.gpu), "data of this GPU");
        let mut state = self.state.borrow_mut();
        // Graphs name them from here on.
        if !state.residents.iter().any(|it| Arc::ptr_eq(it, data)) {
            state.residents.push(Arc::clone(data));
        }
        Arg::Address(data.at())
    }

    /// Bytes that data may have in all to stay in the GPU's memory.
    pub fn room_for_residents(&self) -> usize {
        self.gpu.room_for_residents()
    }

    /// Reads values back, which waits for everything that was asked for.
    ///
    /// # Errors
    /// What the driver reports.
    pub fn download(&self, from: &Block, into: &mut [f32]) -> Result<(), GpuError> {
        assert!(size_of_val(into) <= from.bytes, "as much as it holds");
        if into.is_empty() {
            return Ok(());
        }
        self.kept(|queue| {
            let mut state = queue.working()?;
            state.cannot_note();
            queue.hand_over(&mut state)?;
            // SAFETY: the block holds so many bytes; the values are waited for before anyone reads them.
            unsafe { result::memcpy_dtoh_async(into, from.place.at, queue.stream) }?;
            queue.wait()
        })
    }

    /// Hands over what was asked for so far: the GPU begins with it. A list that came before is one call.
    ///
    /// # Errors
    /// What the driver reports.
    pub fn submit(&self) -> Result<(), GpuError> {
        self.kept(|queue| queue.hand_over(&mut *queue.working()?))
    }

    /// Waits until everything that was asked for is done.
    ///
    /// # Errors
    /// What the driver reports, of anything that was asked for.
    pub fn finish(&self) -> Result<(), GpuError> {
        self.submit()?;
        self.kept(Self::wait)
    }

    /// Asks the driver for what was written down; the thread has entered the GPU afterwards.
    fn hand_over(&self, state: &mut State) -> Result<(), GpuError> {
        self.gpu.enter()?;
        let State { calls, graphs, staging, pool, residents, noting, .. } = state;
        // Nothing is sent that no call reads.
        let noting = noting.as_mut().filter(|_| calls.len() > 0);
        let sent = noting.as_ref().map(|_| staging.collected().to_vec());
        let asked = staging.send(self.stream).and_then(|()| {
            let lies = |at| match pool.block_of(at) {
                Some(block) => Lies::InBlock(block),
                None if staging.holds(at) => Lies::Sent,
                None if residents.iter().any(|it| it.holds(at)) => Lies::Resident,
                None => Lies::Nowhere,
            };
            graphs.run(calls, lies, &self.gpu, self.stream)
        });
        if let (Some(noting), Some(sent), Ok(place)) = (noting, sent, &asked) {
            let (list, spans) = (graphs.remembered(calls, *place), take(&mut noting.spans));
            noting.lists.push(NotedList { list, sent, spans });
        }
        calls.clear();
        pool.next_list();
        self.list.set(self.list.get() + 1);
        asked.map(|_| ())
    }

    /// Begins to note what is asked for.
    pub fn note(&self) {
        let mut state = self.state.borrow_mut();
        let pending = Pending { words: state.calls.size(), sent: state.staging.collected().len() };
        let (begin, lists, spans) = (state.memory(), Vec::new(), Vec::new());
        state.noting = Some(Noting { begin, pending, lists, spans, is_whole: true });
    }

    /// Ends that: what was asked for and handed over since; `None` where it cannot be asked for again, because something was
    /// read back or because blocks are in use that were not, or the other way round.
    pub fn noted(&self) -> Option<NotedCalls> {
        let mut state = self.state.borrow_mut();
        let Noting { begin, pending, lists, is_whole, .. } = state.noting.take()?;
        let is_over = state.calls.len() == 0 && state.failure.is_none();
        let is_noted = is_whole && is_over && begin == state.memory();
        is_noted.then_some(NotedCalls { begin, pending, lists })
    }

    /// Whether it can be asked again for what was noted: the same blocks are in use and the same was asked for before as then, and
    /// no list has been forgotten.
    pub fn can_repeat(&self, noted: &NotedCalls) -> bool {
        let state = self.state.borrow();
        let (words, sent) = (state.calls.size(), state.staging.collected().len());
        let Some(first) = noted.lists.first() else { return false };
        state.memory() == noted.begin
            && noted.pending == Pending { words, sent }
            && first.list.begins_with(&state.calls)
            && noted.lists.iter().all(|it| state.graphs.knows(&it.list))
    }

    /// Asks again for what was noted; `fill` writes the bytes that come from a source.
    ///
    /// # Errors
    /// What the driver reports.
    ///
    /// # Panics
    /// When it cannot be asked for.
    pub fn repeat(
        &self,
        noted: &NotedCalls,
        mut fill: impl FnMut(Source, &mut [u8]),
    ) -> Result<(), GpuError> {
        assert!(self.can_repeat(noted), "what is asked for again can be");
        self.kept(|queue| {
            let mut state = queue.working()?;
            queue.gpu.enter()?;
            // The first list has what was asked for before.
            state.calls.clear();
            state.pool.next_list();
            queue.list.set(queue.list.get() + 1);
            for list in &noted.lists {
                list.fill(state.staging.collect_again(&list.sent), &mut fill);
                state.staging.send(queue.stream)?;
                state.graphs.run_again(&list.list, &queue.gpu, queue.stream)?;
            }
            Ok(())
        })
    }

    fn wait(&self) -> Result<(), GpuError> {
        // SAFETY: the stream is the queue's own.
        Ok(unsafe { result::stream::synchronize(self.stream) }?)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        // A driver that has failed, or that has gone because the process ends, takes nothing back.
        if self.gpu.enter().is_err() {
            return;
        }
        // SAFETY: the stream is the queue's own, and nothing is asked of it any more.
        unsafe {
            let _ = result::stream::synchronize(self.stream);
            state.graphs.clear();
            state.staging.free();
            state.pool.trim();
            let _ = result::stream::destroy(self.stream);
        }
    }
}

/// Numbers that are nothing but their bytes.
pub(in crate::nn) trait Plain: Copy {}
impl Plain for f32 {}
impl Plain for i32 {}
impl Plain for u32 {}
impl Plain for u8 {}

fn as_bytes<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: plain numbers have no padding, and every byte may be read.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

#[cfg(test)]
mod tests;
