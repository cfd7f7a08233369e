//! Between the tape and the queue: values and gradients of tensors, and steps backward.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::{Rc, Weak};

use smallvec::{SmallVec, smallvec};

use super::{GpuOps, told};
use crate::nn::geometry::Chw;
use crate::nn::gpu::{Arg, Block, Given, Grid, Kernel};
use crate::nn::ops::passes::Passes;
use crate::nn::ops::tensor::PassId;
use crate::nn::ops::{Dims, OpError, Tensor};

/// Terms of their sums that tiles take at once, or a part of as many.
pub(super) const TILE_DEPTH: usize = 32;
/// Values that a block of threads turns (`layout.cu`).
const TURNED: usize = 1024;
/// Blocks of threads along y or z, at most: CUDA allows so many.
pub(super) const MOST_LAYERS: usize = 65_535;

/// The values of a tensor, and its gradients.
pub(super) struct Node {
    pub value: Rc<Block>,
    /// Shared with what the tensor was before other values were written to it.
    pub gradients: Passes<Rc<Block>>,
    /// The same values in the layouts of a convolution's weights, until they change.
    pub turned: RefCell<Vec<(Turn, Rc<Block>)>>,
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
    pub rounding: Rounding,
}

/// How values are rounded when their layout changes, by the numbers that `swap_axes` knows (`layout.cu`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    /// Not at all.
    None = 0,
    Tf32 = 1,
    /// To bf16, of which two are in the room of one value.
    Bf16 = 2,
}

impl Turn {
    /// Axes that are exchanged.
    pub fn plain(n: usize, c: usize, s: usize) -> Self {
        Self { n, c, s, step: s, wide: c, rounding: Rounding::None }
    }

    /// The same as one matrix, where nothing changes its place.
    fn as_few(self) -> Self {
        if self.s == 1 && self.step == 1 && self.wide == self.c {
            let c = self.n * self.c;
            return Self { n: 1, c, wide: c, ..self };
        }
        self
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

/// Values of a row of so many that a thread has at once (`width_for` in values.cuh).
pub(super) fn width(channels: usize) -> usize {
    [4, 2].into_iter().find(|it| channels.is_multiple_of(*it)).unwrap_or(1)
}

/// What a launch is given; few kernels have more parameters.
pub(super) type List<'a> = SmallVec<[Given<'a>; 36]>;

/// Some lists, one after the other.
pub(super) fn all<'a>(parts: &[&[Given<'a>]]) -> List<'a> {
    let mut all = List::new();
    parts.iter().for_each(|part| all.extend_from_slice(part));
    all
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
pub(super) type Back = SmallVec<[Option<Rc<Block>>; 3]>;

/// A tensor's gradients, and how many values it has.
type Into = (Passes<Rc<Block>>, usize);

/// Which of an operation's inputs want a gradient.
pub(super) struct Wanted<'a> {
    flags: &'a [bool],
    into: &'a [Into],
    pass: &'a Weak<PassId>,
}

impl Deref for Wanted<'_> {
    type Target = [bool];

    fn deref(&self) -> &[bool] {
        self.flags
    }
}

impl Wanted<'_> {
    /// Takes what an input has of its gradient so far: whoever does so adds its own to it.
    pub fn so_far(&self, input: usize) -> Option<Rc<Block>> {
        self.into[input].0.take(self.pass)
    }
}

/// Whether kernels can count so many values.
fn countable(values: usize) -> Result<(), OpError> {
    match i32::try_from(values) {
        Ok(_) => Ok(()),
        Err(_) => Err(OpError::new(format_args!(
            "a layer's output of {values} values: a GPU's kernels count up to 2^31 of them; a smaller batch helps"
        ))),
    }
}

impl GpuOps {
    /// A tensor on no tape.
    pub(super) fn wrap(&self, block: Block, dims: Dims) -> Tensor {
        self.wrap_shared(Rc::new(block), dims)
    }

    pub(super) fn wrap_shared(&self, value: Rc<Block>, dims: Dims) -> Tensor {
        let node = Node { value, gradients: Passes::default(), turned: RefCell::default() };
        Tensor::without_token(self.this(), dims, Rc::new(node))
    }

    /// Memory for so many values, fewer than 2^31: kernels count them by `int`.
    pub(super) fn room(&self, values: usize) -> Result<Block, OpError> {
        countable(values)?;
        self.queue.block(values * size_of::<f32>()).map_err(told)
    }

    /// The same for bytes.
    pub(super) fn room_for_bytes(&self, bytes: usize) -> Result<Block, OpError> {
        countable(bytes)?;
        self.queue.block(bytes).map_err(told)
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

    pub(super) fn zeros(&self, len: usize) -> Result<Block, OpError> {
        let room = self.room(len)?;
        self.queue.zero(&room).map_err(told)?;
        Ok(room)
    }

    /// Values in another layout.
    pub(super) fn turned(&self, x: &Block, turn: Turn) -> Result<Block, OpError> {
        let Turn { n, c, s, step, wide, rounding } = turn.as_few();
        let values = n * s * wide;
        let y = self.room(if rounding == Rounding::Bf16 { values.div_ceil(2) } else { values })?;
        if values == 0 {
            return Ok(y);
        }
        let shape = [c, s, step, wide, rounding as usize].map(size);
        let given = all(&[&[count(n)], &shape[..], &[block(x), block(&y)]]);
        // Tiles as the kernel has them.
        let few = wide.min(32);
        let (along, across) = match s {
            0..32 => (s, TURNED / s),
            _ if few < 32 => (TURNED / few, few),
            _ => (32, 32),
        };
        let tiles = s.div_ceil(along) * wide.div_ceil(across);
        let grid = Grid { blocks: [blocks(n * tiles, 1), 1, 1], threads: 256 };
        self.launch(Kernel::SwapAxes, grid, &given)?;
        Ok(y)
    }

    /// The values of `x` in another layout, turned once until they change.
    pub(super) fn turned_once(&self, x: &Tensor, turn: Turn) -> Result<Rc<Block>, OpError> {
        let node = Node::of(x);
        let found = node.turned.borrow().iter().find(|(of, _)| *of == turn).cloned();
        if let Some((_, turned)) = found {
            return Ok(turned);
        }
        let turned = Rc::new(self.turned(&node.value, turn)?);
        node.turned.borrow_mut().push((turn, Rc::clone(&turned)));
        Ok(turned)
    }

    pub(super) fn to_maps(&self, x: &Tensor, shape: Chw) -> Result<Tensor, OpError> {
        let (n, c, s) = (x.rows(), shape.channels, shape.area());
        let y = self.wrap(self.turned(&values(x), Turn::plain(n, c, s))?, Dims::Maps(n, shape));
        Ok(self.record(&[x], y, move |ops, dy, _| {
            Ok(smallvec![Some(Rc::new(ops.turned(&dy, Turn::plain(n, s, c))?))])
        }))
    }

    pub(super) fn to_rows(&self, x: &Tensor, shape: Chw) -> Result<Tensor, OpError> {
        let (n, c, s) = (x.rows(), shape.channels, shape.area());
        let y = self.wrap(self.turned(&values(x), Turn::plain(n, s, c))?, Dims::Rows(n, c * s));
        Ok(self.record(&[x], y, move |ops, dy, _| {
            Ok(smallvec![Some(Rc::new(ops.turned(&dy, Turn::plain(n, c, s))?))])
        }))
    }

    /// Puts `y` on the tape of `inputs`, with how its gradient becomes theirs; if none of them is on a tape, neither is `y`, and
    /// nothing is kept. The closure learns which gradients are wanted.
    pub(super) fn record<F>(&self, inputs: &[&Tensor], mut y: Tensor, back: F) -> Tensor
    where
        F: FnOnce(&Self, Rc<Block>, &Wanted) -> Result<Back, OpError> + 'static,
    {
        let Some(tape) = inputs.iter().find_map(|input| input.tape.clone()) else { return y };
        // Few operations have more inputs.
        let wanted: SmallVec<[bool; 4]> = inputs.iter().map(|it| it.is_recorded()).collect();
        let into: SmallVec<[Into; 4]> =
            inputs.iter().map(|it| (Node::of(it).gradients.clone(), it.len())).collect();
        let (pass, gradients, ops) = (tape.pass(), Node::of(&y).gradients.clone(), self.this());
        tape.record(move |_| {
            let Some(dy) = gradients.take(&pass) else { return Ok(()) };
            let found = back(&ops, dy, &Wanted { flags: &wanted, into: &into, pass: &pass })?;
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
                self.launch(Kernel::Accumulate, for_each(len.div_ceil(4)), &given)?;
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
        if !is_alone(x) {
            let copy = self.copied(&Node::of(x).value, x.len())?;
            x.held = Rc::new(Node::of(x).with(copy));
        }
        Node::of(x).turned.borrow_mut().clear();
        Ok(values(x))
    }
}

/// Whether nobody else holds the values of `x`.
pub(super) fn is_alone(x: &Tensor) -> bool {
    Rc::strong_count(&x.held) == 1 && Rc::strong_count(&Node::of(x).value) == 1
}

#[cfg(test)]
mod tests {
    use super::super::in_its_place;
    use super::super::trial::numbers;
    use super::*;
    use crate::nn::ops::Ops as _;

    #[test]
    fn axes_are_exchanged_in_tiles_of_every_shape() {
        let Some(ops) = in_its_place() else { return };
        // Few of one, of the other, of both, and many, in one tile and in several, padded and not; none.
        let shapes = [
            (1, 0, 8, 8, 0),
            (1, 1, 1, 1, 1),
            (3, 5, 1, 1, 8),
            (2, 3, 1500, 1500, 3),
            (2, 2, 700, 700, 4),
            (1, 1100, 9, 9, 1100),
            (2, 70, 33, 33, 72),
            (1, 40, 64, 70, 40),
            (5, 600, 2, 2, 600),
        ];
        for (n, c, s, step, wide) in shapes {
            let turn = Turn { n, c, s, step, wide, rounding: Rounding::None };
            let values = numbers(7, n * c * step);
            let x = ops.tensor(values.clone(), Dims::Flat(values.len())).unwrap();
            let y = ops.turned(&Node::of(&x).value, turn).unwrap();
            let found = ops.host(&ops.wrap(y, Dims::Flat(n * s * wide)));
            for (at, found) in found.into_iter().enumerate() {
                let (k, i, j) = (at / wide / s, at / wide % s, at % wide);
                let wanted = if j < c { values[(k * c + j) * step + i] } else { 0.0 };
                assert!(found.to_bits() == wanted.to_bits(), "{turn:?}: {at}");
            }
        }
    }

    #[test]
    fn layouts_are_made_once_until_the_values_change() {
        let Some(ops) = in_its_place() else { return };
        let mut x = ops.tensor(numbers(7, 12), Dims::Flat(12)).unwrap();
        let turn = Turn::plain(1, 3, 4);
        let first = ops.turned_once(&x, turn).unwrap();
        assert!(Rc::ptr_eq(&first, &ops.turned_once(&x, turn).unwrap()));
        ops.turned_once(&x, Turn::plain(1, 4, 3)).unwrap();
        assert!(Rc::ptr_eq(&first, &ops.turned_once(&x, turn).unwrap()), "another one beside it");
        ops.own(&mut x).unwrap();
        assert!(!Rc::ptr_eq(&first, &ops.turned_once(&x, turn).unwrap()));
    }
}
