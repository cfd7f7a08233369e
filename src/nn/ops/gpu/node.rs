//! Between the tape and the queue: values and gradients of tensors, and steps backward.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::{GpuOps, told};
use crate::nn::geometry::Chw;
use crate::nn::gpu::{Arg, Block, Given, Grid, Kernel};
use crate::nn::ops::passes::Passes;
use crate::nn::ops::tensor::PassId;
use crate::nn::ops::{Dims, OpError, Tensor};

/// Terms of their sums that tiles take at once, or a part of as many.
pub(super) const TILE_DEPTH: usize = 32;
/// Blocks of threads along y or z, at most: CUDA allows so many.
pub(super) const MOST_LAYERS: usize = 65_535;

/// The values of a tensor, and its gradients.
pub(super) struct Node {
    pub value: Rc<Block>,
    /// Shared with what the tensor was before other values were written to it.
    pub gradients: Passes<Rc<Block>>,
    /// The same values in the layout of a convolution's weights, until they change.
    pub turned: RefCell<Option<(Turn, Rc<Block>)>>,
}

/// `[n, c, s]` as `[n, s, c]`, where the last becomes `wide`, by zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub n: usize,
    pub c: usize,
    pub s: usize,
    /// Values from one to the next of the `c`.
    pub step: usize,
    pub wide: usize,
    /// Whether values are rounded to TF32.
    pub is_rounded: bool,
}

impl Turn {
    /// Axes that are exchanged.
    pub fn plain(n: usize, c: usize, s: usize) -> Self {
        Self { n, c, s, step: s, wide: c, is_rounded: false }
    }
}

impl Node {
    /// Those of a tensor.
    pub fn of(x: &Tensor) -> &Self {
        x.held()
    }

    /// The same tensor with other values.
    pub fn with(&self, block: Block) -> Self {
        let turned = RefCell::default();
        Self { value: Rc::new(block), gradients: self.gradients.clone(), turned }
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

/// The blocks of threads of a kernel that multiplies matrices, for so many rows and columns in so many parts, and in so many layers.
pub(super) fn tiles(kernel: Kernel, [rows, columns, parts, layers]: [usize; 4]) -> Grid {
    let tile = kernel.tile().expect("a product has tiles");
    let count = blocks(tile.count(rows, columns) * parts, 1);
    Grid { blocks: [count, 1, blocks(layers, 1)], threads: tile.threads }
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
        let node = Node { value, gradients: Passes::default(), turned: RefCell::default() };
        Tensor::new(self.this(), dims, Rc::new(node))
    }

    /// Memory for so many values, fewer than 2^31: kernels count them by `int`.
    pub(super) fn room(&self, values: usize) -> Result<Block, OpError> {
        if i32::try_from(values).is_err() {
            return Err(OpError::new(format_args!(
                "a layer's output of {values} values: a GPU's kernels count up to 2^31 of them; a smaller batch helps"
            )));
        }
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

    /// Values in another layout.
    pub(super) fn turned(&self, x: &Block, turn: Turn) -> Result<Block, OpError> {
        let Turn { n, c, s, step, wide, is_rounded } = turn;
        let y = self.room(n * s * wide)?;
        let shape = [c, s, step, wide, usize::from(is_rounded)].map(size);
        let given = [&[count(n)], &shape[..], &[block(x), block(&y)]].concat();
        let mut grid = for_each(s * wide);
        grid.blocks[1] = blocks(n.min(MOST_LAYERS), 1);
        self.launch(Kernel::SwapAxes, grid, &given)?;
        Ok(y)
    }

    pub(super) fn to_maps(&self, x: &Tensor, shape: Chw) -> Result<Tensor, OpError> {
        let (n, c, s) = (x.rows(), shape.channels, shape.area());
        let y = self.wrap(self.turned(&values(x), Turn::plain(n, c, s))?, Dims::Maps(n, shape));
        Ok(self.record(&[x], y, move |ops, dy, _| {
            Ok(vec![Some(Rc::new(ops.turned(&dy, Turn::plain(n, s, c))?))])
        }))
    }

    pub(super) fn to_rows(&self, x: &Tensor, shape: Chw) -> Result<Tensor, OpError> {
        let (n, c, s) = (x.rows(), shape.channels, shape.area());
        let y = self.wrap(self.turned(&values(x), Turn::plain(n, s, c))?, Dims::Rows(n, c * s));
        Ok(self.record(&[x], y, move |ops, dy, _| {
            Ok(vec![Some(Rc::new(ops.turned(&dy, Turn::plain(n, c, s))?))])
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
        Node::of(x).turned.take();
        Ok(values(x))
    }
}
