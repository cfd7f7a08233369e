//! Numbers of steps on their way to the host. A step writes them at the end of a ring, where the GPU itself counts, so that every
//! step asks for the same; they are read all at once, when someone wants one of them.

use std::cell::RefCell;
use std::rc::Rc;

use super::node::{Turn, at, block, size, values};
use super::{GpuOps, told};
use crate::nn::gpu::{Block, Grid, Kernel, Queue, SLOTS};
use crate::nn::ops::{Dims, OpError, Tensor};

/// Numbers that the ring holds.
const ROOM: usize = 1 << 14;

/// The ring and what was read of it.
pub(super) struct Log {
    ring: Block,
    count: Block,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Numbers that were written.
    written: usize,
    /// Those that were read, from number `begin` on.
    read: Vec<f32>,
    begin: usize,
}

/// A number of the log.
pub(super) struct Logged {
    log: Rc<Log>,
    number: usize,
}

impl Log {
    fn new(ops: &GpuOps) -> Result<Self, OpError> {
        let (ring, count) = (ops.room(ROOM)?, ops.room(1)?);
        ops.queue.zero(&count).map_err(told)?;
        Ok(Self { ring, count, state: RefCell::default() })
    }

    /// Reads what was not read yet.
    fn read(&self, queue: &Queue) -> Result<(), OpError> {
        let mut state = self.state.borrow_mut();
        let from = state.begin + state.read.len();
        if from == state.written {
            return Ok(());
        }
        let mut ring = vec![0.0; ROOM];
        queue.download(&self.ring, &mut ring).map_err(told)?;
        let new = (from..state.written).map(|number| ring[number % ROOM]);
        state.read.extend(new);
        Ok(())
    }
}

impl Log {
    /// Numbers that wait to be read, with `more` of them.
    fn unread(self: &Rc<Self>, more: usize) -> usize {
        let mut state = self.state.borrow_mut();
        // Nobody asks for numbers that nobody holds: this log's count is the queue's own and the caller's here.
        if Rc::strong_count(self) == 2 {
            state.begin = state.written;
            state.read.clear();
        }
        state.written + more - state.begin - state.read.len()
    }

    /// A number that was just asked to be written.
    fn next(self: &Rc<Self>, ops: &GpuOps, dims: Dims) -> Tensor {
        let mut state = self.state.borrow_mut();
        let held = Logged { log: Rc::clone(self), number: state.written };
        state.written += 1;
        Tensor::without_token(ops.this(), dims, Rc::new(held))
    }
}

impl Logged {
    /// The number.
    pub fn value(&self, queue: &Queue) -> Result<f32, OpError> {
        let is_read = |state: &State| self.number < state.begin + state.read.len();
        if !is_read(&self.log.state.borrow()) {
            self.log.read(queue)?;
        }
        let state = self.log.state.borrow();
        Ok(state.read[self.number - state.begin])
    }
}

impl GpuOps {
    /// The values on the host, row by row, of a tensor or of the log.
    pub(super) fn read(&self, x: &Tensor) -> Result<Vec<f32>, OpError> {
        if let Some(logged) = x.held.downcast_ref::<Logged>() {
            return Ok(vec![logged.value(&self.queue)?]);
        }
        let mut host = vec![0.0; x.len()];
        let rows = match x.dims {
            Dims::Maps(n, shape) => {
                Rc::new(self.turned(&values(x), Turn::plain(n, shape.area(), shape.channels))?)
            }
            Dims::Scalar | Dims::Flat(_) | Dims::Rows(..) => values(x),
        };
        self.queue.download(&rows, &mut host).map_err(told)?;
        Ok(host)
    }

    /// The same numbers in the log.
    pub(super) fn logged(&self, numbers: &[Tensor]) -> Result<Vec<Tensor>, OpError> {
        let log = {
            let mut log = self.log.borrow_mut();
            match &*log {
                Some(log) => Rc::clone(log),
                None => Rc::clone(log.insert(Rc::new(Log::new(self)?))),
            }
        };
        let mut logged = Vec::with_capacity(numbers.len());
        // As many as a launch writes (`log_numbers` in layout.cu).
        for some in numbers.chunks(SLOTS) {
            if log.unread(some.len()) > ROOM {
                log.read(&self.queue)?;
            }
            let mut given = vec![size(ROOM), block(&log.count), block(&log.ring)];
            for number in some {
                assert_eq!(number.len(), 1, "a tensor of one number");
                given.push(at(number));
            }
            let grid = Grid { blocks: [1, 1, 1], threads: 32 };
            self.launch(Kernel::LogNumbers, grid, &given)?;
            for number in some {
                let dims = if number.dims == Dims::Scalar { number.dims } else { Dims::Flat(1) };
                logged.push(log.next(self, dims));
                if let Some(notes) = &mut *self.noting.borrow_mut() {
                    notes.logged.push(dims);
                }
            }
        }
        Ok(logged)
    }

    /// Whether so many more numbers can be written before any is read.
    pub(super) fn has_log_room(&self, more: usize) -> bool {
        let log = self.log.borrow().clone();
        log.is_some_and(|log| log.unread(more) <= ROOM)
    }

    /// Numbers of these shapes that a step which was asked for again writes.
    pub(super) fn logged_again(&self, dims: &[Dims]) -> Vec<Tensor> {
        let log = self.log.borrow().clone().expect("a step has written to it");
        dims.iter().map(|dims| log.next(self, *dims)).collect()
    }
}
