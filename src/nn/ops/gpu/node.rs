//! Between the tape and the queue: values and gradients of tensors, and steps backward.

use std::rc::{Rc, Weak};

use super::{GpuOps, told};
use crate::nn::geometry::Chw;
use crate::nn::gpu::{Arg, Block, Given, Grid, Kernel};
use crate::nn::ops::passes::Passes;
use crate::nn::ops::tensor::PassId;
use crate::nn::ops::{Dims, OpError, Tensor};

/// Rows and columns of a product that a block of threads computes (`tile.cuh`).
pub(super) const TILE: usize = 64;

/// The values of a tensor, and its gradients.
pub(super) struct Node {
    pub value: Rc<Block>,
    /// Shared with what the tensor was before other values were written to it.
    pub gradients: Passes<Rc<Block>>,
}

impl Node {
    /// Those of a tensor.
    pub fn of(x: &Tensor) -> &Self {
        x.held()
    }

    /// The same tensor with other values.
    pub fn with(&self, block: Block) -> Self {
        Self { value: Rc::new(block), gradients: self.gradients.clone() }
    }
}

/// The values of `x` in the GPU's memory.
pub(super) fn values(x: &Tensor) -> Rc<Block> {
    Rc::clone(&Node::of(x).value)
}

/// A pointer to the values of `x`.
pub(super) fn at(x: &Tensor) -> Given<'static> {
    Node::of(x).value.arg().into()
}

/// A pointer to a block.
pub(super) fn block(block: &Block) -> Given<'static> {
    block.arg().into()
}

/// A pointer to a block that may be absent.
pub(super) fn maybe(it: Option<&Block>) -> Given<'static> {
    it.map_or(Arg::Address(0), Block::arg).into()
}

/// A size.
pub(super) fn size(size: usize) -> Given<'static> {
    Arg::size(size).into()
}

/// A number of values.
pub(super) fn count(count: usize) -> Given<'static> {
    Arg::count(count).into()
}

/// A thread for each of `count` values, in blocks of 256.
pub(super) fn for_each(count: usize) -> Grid {
    along(count, 256)
}

/// A thread for each of `count` values.
pub(super) fn along(count: usize, threads: u32) -> Grid {
    Grid { blocks: [blocks(count, threads as usize), 1, 1], threads }
}

/// Blocks of threads for a product of so many rows and columns, in so many layers, each of a tile (`tile.cuh`).
pub(super) fn tiles(rows: usize, columns: usize, layers: usize) -> Grid {
    Grid { blocks: [blocks(rows, TILE), blocks(columns, TILE), blocks(layers, 1)], threads: 128 }
}

/// A warp for each row, four of them in a block (`reduce.cu`).
pub(super) fn by_row(rows: usize) -> Grid {
    Grid { blocks: [blocks(rows, 4), 1, 1], threads: 128 }
}

/// How many blocks there must be so that each has `each`.
pub(super) fn blocks(count: usize, each: usize) -> u32 {
    u32::try_from(count.div_ceil(each)).expect("a number of blocks").max(1)
}

/// The gradients of an operation's inputs, in their order: absent where they are not wanted.
pub(super) type Back = Vec<Option<Rc<Block>>>;

impl GpuOps {
    /// A tensor on no tape.
    pub(super) fn wrap(&self, block: Block, dims: Dims) -> Tensor {
        self.wrap_shared(Rc::new(block), dims)
    }

    pub(super) fn wrap_shared(&self, value: Rc<Block>, dims: Dims) -> Tensor {
        let node = Node { value, gradients: Passes::default() };
        Tensor::new(self.this(), dims, Rc::new(node))
    }

    /// Memory for so many values.
    pub(super) fn room(&self, values: usize) -> Result<Block, OpError> {
        self.queue.block(values * size_of::<f32>()).map_err(told)
    }

    pub(super) fn launch(
        &self,
        kernel: Kernel,
        grid: Grid,
        given: &[Given],
    ) -> Result<(), OpError> {
        self.queue.launch(kernel, grid, given).map_err(told)
    }

    /// So many values, all the same.
    pub(super) fn filled(&self, len: usize, value: f32) -> Result<Block, OpError> {
        let room = self.room(len)?;
        let given = [count(len), Given::Numbers(&[value]), block(&room)];
        self.launch(Kernel::Fill, for_each(len), &given)?;
        Ok(room)
    }

    /// `[n, s, c]` as `[n, c, s]`.
    pub(super) fn swapped(
        &self,
        x: &Block,
        (n, c, s): (usize, usize, usize),
    ) -> Result<Block, OpError> {
        let (len, y) = (n * c * s, self.room(n * c * s)?);
        let given = [count(n), size(s), size(c), block(x), block(&y)];
        self.launch(Kernel::SwapAxes, for_each(len), &given)?;
        Ok(y)
    }

    pub(super) fn to_maps(&self, x: &Tensor, shape: Chw) -> Result<Tensor, OpError> {
        let (n, c, s) = (x.rows(), shape.channels, shape.area());
        let y = self.wrap(self.swapped(&values(x), (n, s, c))?, Dims::Maps(n, shape));
        Ok(self.record(&[x], y, move |ops, dy, _| {
            Ok(vec![Some(Rc::new(ops.swapped(&dy, (n, c, s))?))])
        }))
    }

    pub(super) fn to_rows(&self, x: &Tensor, shape: Chw) -> Result<Tensor, OpError> {
        let (n, c, s) = (x.rows(), shape.channels, shape.area());
        let y = self.wrap(self.swapped(&values(x), (n, c, s))?, Dims::Rows(n, c * s));
        Ok(self.record(&[x], y, move |ops, dy, _| {
            Ok(vec![Some(Rc::new(ops.swapped(&dy, (n, s, c))?))])
        }))
    }

    /// Puts `y` on the tape of `inputs`, with how its gradient becomes theirs; if none of them is on a tape, neither is `y`, and
    /// nothing is kept. The closure learns which gradients are wanted.
    pub(super) fn record<F>(&self, inputs: &[&Tensor], mut y: Tensor, back: F) -> Tensor
    where
        F: FnOnce(&Self, Rc<Block>, &[bool]) -> Result<Back, OpError> + 'static,
    {
        let Some(tape) = inputs.iter().find_map(|input| input.tape.clone()) else { return y };
        let wanted: Vec<bool> = inputs.iter().map(|it| it.is_recorded()).collect();
        let into: Vec<_> =
            inputs.iter().map(|it| (Node::of(it).gradients.clone(), it.len())).collect();
        let (pass, gradients, ops) = (tape.pass(), Node::of(&y).gradients.clone(), self.this());
        tape.record(move |_| {
            let Some(dy) = gradients.take(&pass) else { return Ok(()) };
            let found = back(&ops, dy, &wanted)?;
            for (((gradients, len), wanted), more) in into.iter().zip(&wanted).zip(found) {
                if let (true, Some(more)) = (*wanted, more) {
                    ops.add_gradient(gradients, &pass, more, *len)?;
                }
            }
            Ok(())
        });
        y.tape = Some(tape);
        y
    }

    /// Adds to the gradient of a pass; what is added becomes the gradient if it is the first.
    pub(super) fn add_gradient(
        &self,
        gradients: &Passes<Rc<Block>>,
        pass: &Weak<PassId>,
        more: Rc<Block>,
        len: usize,
    ) -> Result<(), OpError> {
        let sum = match gradients.take(pass) {
            None => more,
            Some(sum) => {
                // Another tensor may have the same block for its gradient.
                let sum = match Rc::strong_count(&sum) {
                    1 => sum,
                    _ => Rc::new(self.copied(&sum, len)?),
                };
                let given = [count(len), block(&more), block(&sum)];
                self.launch(Kernel::Accumulate, for_each(len), &given)?;
                sum
            }
        };
        gradients.put(pass, sum);
        Ok(())
    }

    pub(super) fn copied(&self, x: &Block, len: usize) -> Result<Block, OpError> {
        let copy = self.room(len)?;
        self.queue.copy(&copy, x, len * size_of::<f32>()).map_err(told)?;
        Ok(copy)
    }

    /// The values of `x`, to be changed: a copy of its own, where anyone else holds them.
    pub(super) fn own(&self, x: &mut Tensor) -> Result<Rc<Block>, OpError> {
        let alone = Rc::strong_count(&x.held) == 1 && Rc::strong_count(&Node::of(x).value) == 1;
        if !alone {
            let copy = self.copied(&Node::of(x).value, x.len())?;
            x.held = Rc::new(Node::of(x).with(copy));
        }
        Ok(values(x))
    }
}
