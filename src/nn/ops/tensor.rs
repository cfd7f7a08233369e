//! The one struct that holds activations, parameters and losses on every backend, and the tape that
//! remembers how they came about.
//!
//! dfdx's tape keeps the order of operations and the gradients; the values lie in a buffer of the
//! backend. So a tensor is a token, which has a place on the tape and a gradient but no values, beside
//! a shape and the buffer. Nothing here computes.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};

use dfdx::prelude::{
    Cpu, CpuError, Gradients as DfdxGradients, OwnedTape, PutTape as _, Tape as _,
    Tensor as DfdxTensor, TensorFrom as _, ZerosTensor as _,
};

use super::Ops;
use crate::nn::geometry::Chw;

/// The operations of a device. Tensors stay on the thread that made them, as the streams of a GPU do.
pub type Backend = Rc<dyn Ops>;

/// What the tape knows of a tensor: an identity, and a gradient once there is one. It has no numbers of
/// its own, so that an absent gradient is told from one of zeros.
pub(super) type Token = DfdxTensor<(usize,), f32, Cpu>;

thread_local! {
    static TOKENS: Cpu = Cpu::default();
}

/// A token that no other tensor has.
pub(super) fn token() -> Token {
    TOKENS.with(|device| device.zeros_like(&(0,)))
}

/// Why an operation failed: the device ran out of memory, or its driver reports an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the device failed: {0}")]
pub struct OpError(String);

impl OpError {
    /// The error of a device, in its own words.
    pub fn new(error: impl fmt::Debug) -> Self {
        Self(format!("{error:?}"))
    }
}

/// The shape of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dims {
    /// One number: a loss.
    Scalar,
    /// So many numbers: a parameter.
    Flat(usize),
    /// `[N, features]`: a row for each image.
    Rows(usize, usize),
    /// Feature maps of N images in the layout that the backend's convolutions want.
    Maps(usize, Chw),
}

impl Dims {
    /// Number of rows, or of images; 1 for a parameter and for a loss.
    pub fn rows(self) -> usize {
        match self {
            Self::Scalar | Self::Flat(_) => 1,
            Self::Rows(rows, _) | Self::Maps(rows, _) => rows,
        }
    }

    /// Numbers in a row.
    pub fn columns(self) -> usize {
        match self {
            Self::Scalar => 1,
            Self::Flat(columns) | Self::Rows(_, columns) => columns,
            Self::Maps(_, shape) => shape.len(),
        }
    }

    /// Number of values.
    pub fn len(self) -> usize {
        self.rows() * self.columns()
    }

    /// Whether there are no values.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// An activation, a parameter or a loss. A clone shares the values and the place on the tape.
#[derive(Clone)]
pub struct Tensor {
    /// Absent where gradients are not in dfdx's keeping: it costs more than everything else here.
    pub(super) token: Option<Token>,
    pub(super) tape: Option<Tape>,
    pub(super) dims: Dims,
    pub(super) held: Rc<dyn Any>,
    pub(super) ops: Backend,
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tape, dims, ops, .. } = self;
        f.debug_struct("Tensor")
            .field("dims", dims)
            .field("recorded", &tape.is_some())
            .field("ops", ops)
            .finish_non_exhaustive()
    }
}

impl Tensor {
    /// A tensor that is not on a tape, of values which the backend `ops` holds.
    pub(super) fn new(ops: Backend, dims: Dims, held: Rc<dyn Any>) -> Self {
        Self { token: Some(token()), ..Self::without_token(ops, dims, held) }
    }

    /// The same for a backend that keeps gradients itself.
    pub(super) fn without_token(ops: Backend, dims: Dims, held: Rc<dyn Any>) -> Self {
        Self { token: None, tape: None, dims, held, ops }
    }

    /// What dfdx's tape knows of it.
    ///
    /// # Panics
    /// When its backend keeps gradients itself.
    pub(super) fn token(&self) -> &Token {
        self.token.as_ref().expect("a tensor of a backend whose gradients dfdx keeps")
    }

    /// Its shape.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// Number of rows, or of images.
    pub fn rows(&self) -> usize {
        self.dims.rows()
    }

    /// Numbers in a row.
    pub fn columns(&self) -> usize {
        self.dims.columns()
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.dims.len()
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.dims.is_empty()
    }

    /// The operations of the device that it lives on.
    pub fn ops(&self) -> &Backend {
        &self.ops
    }

    /// Whether a gradient flows into it.
    pub fn is_recorded(&self) -> bool {
        self.tape.is_some()
    }

    /// The same values as a constant: no gradient flows into it.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { tape: None, ..self.clone() }
    }

    /// The same tensor as one whose gradient is wanted on `tape`.
    #[must_use]
    pub fn on(&self, tape: &Tape) -> Self {
        Self { tape: Some(tape.clone()), ..self.clone() }
    }

    /// The same values under another shape of as many.
    ///
    /// # Panics
    /// When the numbers of values differ, or either shape is one of feature maps.
    #[must_use]
    pub fn reshaped(&self, dims: Dims) -> Self {
        let maps = |dims| matches!(dims, Dims::Maps(..));
        assert!(!maps(self.dims) && !maps(dims), "feature maps lie in an order of their own");
        assert_eq!(self.dims.len(), dims.len(), "a shape of another length");
        Self { dims, ..self.clone() }
    }

    /// The values on the host, row by row.
    pub fn host(&self) -> Vec<f32> {
        self.ops.host(self)
    }

    /// Overwrites the values; the tensor keeps its place on the tape.
    ///
    /// # Panics
    /// When there are not as many values.
    pub fn write(&mut self, values: &[f32]) {
        assert_eq!(values.len(), self.len(), "as many values as there are");
        let ops = Rc::clone(&self.ops);
        ops.write(self, values);
    }

    /// The values that the backend holds.
    ///
    /// # Panics
    /// When they are of another backend.
    pub(super) fn held<T: Any>(&self) -> &T {
        self.held.downcast_ref().expect("a tensor of this backend")
    }

    /// The value of a tensor of one number, such as a loss.
    ///
    /// # Panics
    /// When it has more than one.
    pub fn value(&self) -> f64 {
        assert_eq!(self.len(), 1, "a tensor of one number");
        f64::from(self.host()[0])
    }
}

/// A tape: what was computed, in order, so that gradients can go back through it. Clones are the same
/// tape.
#[derive(Clone)]
pub struct Tape(Rc<TapeParts>);

/// An identity of what lies on a tape until it goes backward, and of the gradients that come of it: as long
/// as those are held, so is it.
#[derive(Debug, Default)]
pub(super) struct PassId(());

struct TapeParts {
    pass: RefCell<Rc<PassId>>,
    operations: RefCell<OwnedTape<f32, Cpu>>,
    /// Why a step backward failed; dfdx's own error type has no room for it.
    failure: Cell<Option<OpError>>,
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape").finish_non_exhaustive()
    }
}

impl Default for Tape {
    fn default() -> Self {
        let (pass, operations, failure) = (RefCell::default(), RefCell::default(), Cell::default());
        Self(Rc::new(TapeParts { pass, operations, failure }))
    }
}

impl Tape {
    /// The pass that what is recorded now will go backward in.
    pub(super) fn pass(&self) -> Weak<PassId> {
        Rc::downgrade(&self.0.pass.borrow())
    }

    /// Remembers how a gradient goes back through an operation. The closure must not keep the tape
    /// itself, which would never be freed.
    pub(super) fn record(
        &self,
        backward: impl FnOnce(&mut DfdxGradients<f32, Cpu>) -> Result<(), OpError> + 'static,
    ) {
        let tape = Rc::downgrade(&self.0);
        self.0.operations.borrow_mut().add_backward_op(move |gradients| {
            backward(gradients).map_err(|error| {
                if let Some(tape) = tape.upgrade() {
                    tape.failure.set(Some(error));
                }
                CpuError::OutOfMemory
            })
        });
    }

    /// Takes gradients from `loss` back to everything that it was computed from, which uses the tape
    /// up: it is empty afterwards. A `loss` that is not on this tape has none.
    ///
    /// # Errors
    /// When the device fails.
    ///
    /// # Panics
    /// When `loss` is more than one number.
    pub fn backward(&self, loss: &Tensor) -> Result<Gradients, OpError> {
        assert_eq!(loss.len(), 1, "only a loss has a way back");
        let recorded = loss.tape.as_ref().is_some_and(|tape| Rc::ptr_eq(&tape.0, &self.0));
        if recorded {
            loss.ops.seed(self, loss);
        }
        let (operations, pass) = (self.0.operations.take(), self.0.pass.take());
        let root: DfdxTensor<(), f32, Cpu> = TOKENS.with(|device| device.tensor(0.0));
        let done = dfdx::prelude::Backward::try_backward(root.put_tape(operations));
        let gradients =
            done.map_err(|error| self.0.failure.take().unwrap_or_else(|| OpError::new(error)))?;
        Ok(Gradients { pass, host: gradients })
    }
}

/// The gradients of a loss.
#[derive(Debug)]
pub struct Gradients {
    /// What tells them from those of other passes.
    pub(super) pass: Rc<PassId>,
    /// Those of a backend whose memory is the host's.
    pub(super) host: DfdxGradients<f32, Cpu>,
}

impl Gradients {
    /// Takes the gradient of `tensor` out, in its shape; `None` where none reached it.
    pub fn take(&mut self, tensor: &Tensor) -> Option<Tensor> {
        tensor.ops.gradient(self, tensor)
    }
}
