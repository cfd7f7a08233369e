//! The small operations on matrices: sums, products, and rows that are moved.

use std::rc::Rc;

use smallvec::smallvec;

use super::node::{
    Back, TILE_DEPTH, Turn, all, along, at, block, blocks, by_row, count, for_each, maybe, size,
    tiles, values, width,
};
use super::values::{Binary, Unary};
use super::{GpuOps, told};
use crate::device::Precision;
use crate::nn::gpu::{Arg, Block, Grid, Kernel};
use crate::nn::ops::{Dims, OpError, Ops as _, Primitive, Tensor};

/// Values that a block of threads adds up (`reduce.cu`).
const SUM_PART: usize = 8192;
/// Blocks that a product is cut into, at least, where it has the terms for it: one for each multiprocessor of a large GPU.
const MANY: usize = 132;
/// Terms that are not worth a part of their own.
const LEAST_TERMS: usize = 64;
/// Columns that a block of threads sums (`reduce.cu`).
const COLUMNS: usize = 32;
/// Blocks that the sums of columns are cut into, at most.
const MOST_PARTS: usize = 512;
/// Rows that the sum of columns is not cut below.
const LEAST_ROWS: usize = 256;

/// Threads of a block that adds up parts (`reduce.cu`).
const THREADS: u32 = 256;
/// Threads of such a block that have different values, at least.
const LEAST_LANES: usize = 8;
/// Parts that a thread adds up, where there are enough for that.
const PARTS_EACH: usize = 8;
/// Channels of such a block, at least, where it has all of their taps.
const LEAST_TILE: usize = 16;

/// So many parts of `[n, taps, wide]`, whose sum is wanted as `[n, channels, taps]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    pub n: usize,
    pub channels: usize,
    pub wide: usize,
    pub taps: usize,
    pub count: usize,
}

impl Parts {
    /// How many threads of a block have different values, the others having other parts of them; how many channels a block has, or
    /// 0 where it has whatever lies beside each other; and the blocks.
    fn shared(self) -> (usize, usize, usize) {
        let (all, width) = (THREADS as usize, width(self.wide));
        let pieces = self.n * self.taps * (self.wide / width);
        // Channels of a block must be enough to fill a line of memory.
        let tile = all / self.taps * width;
        if self.taps > 1 && self.count <= PARTS_EACH && tile >= LEAST_TILE {
            return (all, tile, self.n * self.wide.div_ceil(tile));
        }
        let others = self.count.div_ceil(PARTS_EACH).next_power_of_two();
        let most = (all / others).max(LEAST_LANES);
        let mut lanes = pieces.next_power_of_two().clamp(LEAST_LANES, most);
        // A block for each multiprocessor, while there are parts for its threads.
        while lanes > LEAST_LANES && pieces.div_ceil(lanes) < MANY && all / lanes < self.count {
            lanes /= 2;
        }
        (lanes, 0, pieces.div_ceil(lanes))
    }
}

/// Which operands of a product lie transposed.
#[derive(Debug, Clone, Copy)]
enum Product {
    /// `[m, k]` and `[n, k]`.
    Nt,
    /// `[m, k]` and `[k, n]`.
    Nn,
    /// `[k, m]` and `[k, n]`.
    Tn,
}

impl GpuOps {
    /// A small operation.
    pub(super) fn small(
        &self,
        primitive: &Primitive,
        inputs: &[&Tensor],
    ) -> Result<Tensor, OpError> {
        let dims: Vec<Dims> = inputs.iter().map(|input| input.dims).collect();
        let output = primitive.output(&dims);
        let x = inputs[0];
        let binary = |kind| self.binary(kind, x, inputs[1], output);
        let maps = |it: &&Tensor| matches!(it.dims, Dims::Maps(..));
        match primitive {
            // Value by value, so that the layout does not matter where it is the same.
            Primitive::Add if x.dims == inputs[1].dims => binary(Binary::Add),
            Primitive::Subtract if x.dims == inputs[1].dims => binary(Binary::Subtract),
            Primitive::Multiply if x.dims == inputs[1].dims => binary(Binary::Multiply),
            Primitive::Divide if x.dims == inputs[1].dims => binary(Binary::Divide),
            Primitive::Scale(by) => self.unary(Unary::Scale(*by), x),
            Primitive::DivideBy(by) => self.unary(Unary::DivideBy(*by), x),
            Primitive::Shift(by) => self.unary(Unary::Shift(*by), x),
            Primitive::Square => self.unary(Unary::Square, x),
            Primitive::Abs => self.unary(Unary::Abs, x),
            Primitive::Exp => self.unary(Unary::Exp, x),
            Primitive::Log => self.unary(Unary::Log, x),
            Primitive::Sqrt => self.unary(Unary::Sqrt, x),
            Primitive::Sigmoid => self.unary(Unary::Sigmoid, x),
            Primitive::Clamp(low, high) => self.unary(Unary::Clamp(*low, *high), x),
            Primitive::Above(threshold) => self.unary(Unary::Above(*threshold), x),
            Primitive::ConcatColumns => {
                // Maps that lie by pixels are rows of channels.
                let rows = match output {
                    Dims::Maps(n, shape) => n * shape.area(),
                    Dims::Scalar | Dims::Flat(_) | Dims::Rows(..) => x.rows(),
                };
                self.side_by_side(inputs, rows, output)
            }
            _ if inputs.iter().any(maps) => {
                let rows: Vec<Tensor> =
                    inputs.iter().map(|it| self.flat_rows(it)).collect::<Result<_, _>>()?;
                self.small(primitive, &rows.iter().collect::<Vec<_>>())
            }
            Primitive::Add => binary(Binary::Add),
            Primitive::Subtract => binary(Binary::Subtract),
            Primitive::Multiply => binary(Binary::Multiply),
            Primitive::Divide => binary(Binary::Divide),
            Primitive::Softmax => self.softmax(x, false),
            Primitive::LogSoftmax => self.softmax(x, true),
            Primitive::RowMax => self.row_max(x),
            Primitive::Sum => self.sum_of_all(x),
            Primitive::SumOfRows => self.sum_of_rows(x),
            Primitive::RowSums => self.sums_of_rows(x),
            Primitive::MatMul => self.product_of(x, inputs[1]),
            Primitive::Transpose => self.transposed(x),
            Primitive::ConcatRows => self.below_each_other(inputs, output),
            Primitive::GatherRows(indices) => self.gathered(x, indices),
        }
    }

    fn softmax(&self, x: &Tensor, logarithm: bool) -> Result<Tensor, OpError> {
        let (rows, columns) = (x.rows(), x.columns());
        let shape = [size(rows), size(columns), size(usize::from(logarithm))];
        let y = Rc::new(self.room(x.len())?);
        let given = all(&[&shape[..], &[at(x), block(&y)]]);
        self.launch(Kernel::Softmax, by_row(rows), &given)?;
        let output = self.wrap_shared(Rc::clone(&y), x.dims);
        Ok(self.record(&[x], output, move |ops, dy, _| {
            let dx = ops.room(rows * columns)?;
            let given = all(&[&shape[..], &[block(&y), block(&dy), block(&dx)]]);
            ops.launch(Kernel::SoftmaxBack, by_row(rows), &given)?;
            Ok(smallvec![Some(Rc::new(dx))])
        }))
    }

    fn row_max(&self, x: &Tensor) -> Result<Tensor, OpError> {
        let (rows, columns) = (x.rows(), x.columns());
        let y = Rc::new(self.room(rows)?);
        let given = [size(rows), size(columns), at(x), block(&y)];
        self.launch(Kernel::RowMax, by_row(rows), &given)?;
        let (input, output) = (values(x), self.wrap_shared(Rc::clone(&y), Dims::Rows(rows, 1)));
        Ok(self.record(&[x], output, move |ops, dy, _| {
            let len = rows * columns;
            let dx = ops.room(len)?;
            let (x, y, dy) = (block(&input), block(&y), block(&dy));
            let given = [count(len), size(columns), x, y, dy, block(&dx)];
            ops.launch(Kernel::RowMaxBack, for_each(len), &given)?;
            Ok(smallvec![Some(Rc::new(dx))])
        }))
    }

    /// `by` times the sum of `len` values.
    pub(super) fn total(&self, x: &Block, len: usize, by: f32) -> Result<Block, OpError> {
        let y = self.room(1)?;
        let one = along(1, 256);
        if len <= SUM_PART {
            let given = [size(len), Arg::Float(by).into(), block(x), block(&y)];
            self.launch(Kernel::SumAll, one, &given)?;
            return Ok(y);
        }
        let parts = len.div_ceil(SUM_PART);
        let sums = self.room(parts)?;
        let grid = Grid { blocks: [blocks(parts, 1), 1, 1], threads: 256 };
        self.launch(Kernel::SumParts, grid, &[count(len), block(x), block(&sums)])?;
        let given = [size(parts), Arg::Float(by).into(), block(&sums), block(&y)];
        self.launch(Kernel::SumAll, one, &given)?;
        Ok(y)
    }

    fn sum_of_all(&self, x: &Tensor) -> Result<Tensor, OpError> {
        let len = x.len();
        let y = self.wrap(self.total(&values(x), len, 1.0)?, Dims::Scalar);
        Ok(self.record(&[x], y, move |ops, dy, _| {
            Ok(smallvec![Some(Rc::new(ops.spread(&dy, len, (0, 0), 1)?))])
        }))
    }

    /// `len` values in rows of `columns`, each that of `y` at its row times the first step and its column times the second.
    fn spread(
        &self,
        y: &Block,
        len: usize,
        (down, right): (usize, usize),
        columns: usize,
    ) -> Result<Block, OpError> {
        let dx = self.zeros(len)?;
        let shape =
            [count(len), size(Binary::Add as usize), size(columns), size(down), size(right)];
        let given = all(&[&shape[..], &[block(&dx), block(y), block(&dx)]]);
        self.launch(Kernel::Binary, for_each(len), &given)?;
        Ok(dx)
    }

    pub(super) fn column_sums(
        &self,
        x: &Block,
        rows: usize,
        columns: usize,
    ) -> Result<Block, OpError> {
        if rows * columns == 0 {
            return self.zeros(columns);
        }
        let most = MOST_PARTS.div_ceil(columns.div_ceil(COLUMNS));
        let part = rows.div_ceil(most).max(LEAST_ROWS);
        let parts = rows.div_ceil(part);
        let sums = self.room(parts * columns)?;
        let grid = Grid { blocks: [blocks(columns, COLUMNS), blocks(parts, 1), 1], threads: 256 };
        let given = [count(rows), size(columns), size(part), block(x), block(&sums)];
        self.launch(Kernel::ColumnParts, grid, &given)?;
        self.added_parts(sums, parts, (1, columns), None)
    }

    /// The sum of parts of so many rows and columns, in an order that follows from their number, plus a number of each column;
    /// there may be none.
    pub(super) fn added_parts(
        &self,
        sums: Block,
        parts: usize,
        (rows, columns): (usize, usize),
        bias: Option<&Block>,
    ) -> Result<Block, OpError> {
        if parts == 1 && bias.is_none() {
            return Ok(sums);
        }
        let values = rows * columns;
        let of = Parts { n: 1, channels: values, wide: values, taps: 1, count: parts };
        self.added(&sums, of, bias.map(|bias| (bias, columns)))
    }

    /// The sum of parts, in an order that follows from their shape, plus so many numbers over and over; there may be none.
    pub(super) fn added(
        &self,
        sums: &Block,
        parts: Parts,
        bias: Option<(&Block, usize)>,
    ) -> Result<Block, OpError> {
        let Parts { n, channels, wide, taps, count: terms } = parts;
        let y = self.room(n * channels * taps)?;
        if n * channels * taps == 0 {
            return Ok(y);
        }
        let (lanes, tile, count) = parts.shared();
        let shape =
            [n, channels, wide, taps, terms, bias.map_or(1, |(_, count)| count), tile, lanes];
        let rest = [block(sums), maybe(bias.map(|(bias, _)| bias)), block(&y)];
        let given = all(&[&shape.map(size)[..], &rest]);
        let grid = Grid { blocks: [blocks(count, 1), 1, 1], threads: THREADS };
        self.launch(Kernel::AddParts, grid, &given)?;
        Ok(y)
    }

    pub(super) fn row_sums(
        &self,
        x: &Block,
        rows: usize,
        columns: usize,
    ) -> Result<Block, OpError> {
        let y = self.room(rows)?;
        let given = [size(rows), size(columns), block(x), block(&y)];
        self.launch(Kernel::RowSums, by_row(rows), &given)?;
        Ok(y)
    }

    fn sum_of_rows(&self, x: &Tensor) -> Result<Tensor, OpError> {
        let (len, columns) = (x.len(), x.columns());
        let sums = self.column_sums(&values(x), x.rows(), columns)?;
        let y = self.wrap(sums, Dims::Rows(1, columns));
        Ok(self.record(&[x], y, move |ops, dy, _| {
            Ok(smallvec![Some(Rc::new(ops.spread(&dy, len, (0, 1), columns)?))])
        }))
    }

    fn sums_of_rows(&self, x: &Tensor) -> Result<Tensor, OpError> {
        let (len, columns) = (x.len(), x.columns());
        let sums = self.row_sums(&values(x), x.rows(), columns)?;
        let y = self.wrap(sums, Dims::Rows(x.rows(), 1));
        Ok(self.record(&[x], y, move |ops, dy, _| {
            Ok(smallvec![Some(Rc::new(ops.spread(&dy, len, (1, 0), columns)?))])
        }))
    }

    /// The product of two matrices, `[m, n]`, whose sums have `k` terms. Its factors are rounded to bf16 or not at all.
    fn product(
        &self,
        (product, precision): (Product, Precision),
        (m, n, k): (usize, usize, usize),
        (a, b): (&Block, &Block),
        bias: Option<&Block>,
    ) -> Result<Block, OpError> {
        let kernel = match product {
            Product::Nt => Kernel::MatmulNt,
            Product::Nn => Kernel::MatmulNn,
            Product::Tn => Kernel::MatmulTn,
        }
        .in_precision(precision);
        // A small product would leave most of the GPU idle: its terms are cut into parts, which are added up afterwards.
        let tile = kernel.tile().expect("a product has tiles");
        let most = (MANY / tile.count(m, n)).clamp(1, k.div_ceil(LEAST_TERMS).max(1));
        let part = k.div_ceil(most).next_multiple_of(TILE_DEPTH).max(TILE_DEPTH);
        let parts = k.div_ceil(part).max(1);
        let y = self.room(parts * m * n)?;
        let own_bias = if parts == 1 { bias } else { None };
        let shape = [size(m), size(n), size(k), size(part)];
        let given = all(&[&shape[..], &[block(a), block(b), maybe(own_bias), block(&y)]]);
        self.launch(kernel, tiles(kernel, [m, n, 1, parts]), &given)?;
        match parts {
            1 => Ok(y),
            _ => self.added_parts(y, parts, (m, n), bias),
        }
    }

    /// A product of two tensors, of which losses are made: in single precision always.
    fn product_of(&self, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
        const PRECISION: Precision = Precision::Float32;
        let (m, k, n) = (a.rows(), a.columns(), b.columns());
        let (left, right) = (values(a), values(b));
        let y = self.product((Product::Nn, PRECISION), (m, n, k), (&left, &right), None)?;
        let y = self.wrap(y, Dims::Rows(m, n));
        Ok(self.record(&[a, b], y, move |ops, dy, wanted| {
            let mut gradients: Back = smallvec![None, None];
            if wanted[0] {
                let da = ops.product((Product::Nt, PRECISION), (m, k, n), (&dy, &right), None)?;
                gradients[0] = Some(Rc::new(da));
            }
            if wanted[1] {
                let db = ops.product((Product::Tn, PRECISION), (k, n, m), (&left, &dy), None)?;
                gradients[1] = Some(Rc::new(db));
            }
            Ok(gradients)
        }))
    }

    pub(super) fn linear_layer(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        outputs: usize,
    ) -> Result<Tensor, OpError> {
        let (rows, features) = (x.rows(), x.columns());
        assert_eq!(weight.len(), outputs * features, "linear: weights");
        let (input, matrix) = (values(x), values(weight));
        let shape = (rows, outputs, features);
        let bias_values = bias.map(values);
        let y = self.product(
            (Product::Nt, self.precision),
            shape,
            (&input, &matrix),
            bias_values.as_deref(),
        )?;
        let y = self.wrap(y, Dims::Rows(rows, outputs));
        let inputs: Vec<&Tensor> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
        Ok(self.record(&inputs, y, move |ops, dy, wanted| {
            let mut gradients: Back = smallvec![None; wanted.len()];
            let product = |product: Product, shape, factors: (&Block, &Block)| {
                ops.product((product, ops.precision), shape, factors, None).map(Rc::new)
            };
            if wanted[0] {
                gradients[0] =
                    Some(product(Product::Nn, (rows, features, outputs), (&dy, &matrix))?);
            }
            if wanted[1] {
                gradients[1] =
                    Some(product(Product::Tn, (outputs, features, rows), (&dy, &input))?);
            }
            if wanted.get(2) == Some(&true) {
                gradients[2] = Some(Rc::new(ops.column_sums(&dy, rows, outputs)?));
            }
            Ok(gradients)
        }))
    }

    fn transposed(&self, x: &Tensor) -> Result<Tensor, OpError> {
        let (rows, columns) = (x.rows(), x.columns());
        let y = self.wrap(
            self.turned(&values(x), Turn::plain(1, rows, columns))?,
            Dims::Rows(columns, rows),
        );
        Ok(self.record(&[x], y, move |ops, dy, _| {
            Ok(smallvec![Some(Rc::new(ops.turned(&dy, Turn::plain(1, columns, rows))?))])
        }))
    }

    /// Copies `rows` of `columns` values between matrices with rows of these lengths, beginning at these values.
    fn copy_block(
        &self,
        (rows, columns): (usize, usize),
        (from, from_step, from_start): (&Block, usize, usize),
        (into, into_step, into_start): (&Block, usize, usize),
    ) -> Result<(), OpError> {
        let given = [
            count(rows),
            size(columns),
            size(from_step),
            from.arg_at(from_start).into(),
            size(into_step),
            into.arg_at(into_start).into(),
        ];
        self.launch(Kernel::CopyBlock, for_each(rows * columns), &given)
    }

    /// `rows` rows of each part, one part after the other within each row.
    fn side_by_side(
        &self,
        parts: &[&Tensor],
        rows: usize,
        output: Dims,
    ) -> Result<Tensor, OpError> {
        let same =
            |it: &Tensor| matches!(it.dims, Dims::Maps(..)) == matches!(output, Dims::Maps(..));
        let parts: Vec<Tensor> = parts
            .iter()
            .map(|it| if same(it) { Ok((*it).clone()) } else { self.flat_rows(it) })
            .collect::<Result<_, _>>()?;
        let parts: Vec<&Tensor> = parts.iter().collect();
        let widths: Vec<usize> = parts.iter().map(|it| it.len() / rows.max(1)).collect();
        let width: usize = widths.iter().sum();
        let y = self.room(output.len())?;
        let mut start = 0;
        for (part, own) in parts.iter().zip(&widths) {
            self.copy_block((rows, *own), (&values(part), *own, 0), (&y, width, start))?;
            start += own;
        }
        let y = self.wrap(y, output);
        Ok(self.record(&parts, y, move |ops, dy, wanted| {
            let (mut start, mut gradients) = (0, Back::with_capacity(widths.len()));
            for (own, wanted) in widths.iter().zip(wanted.iter()) {
                gradients.push(match wanted {
                    false => None,
                    true => {
                        let part = ops.room(rows * own)?;
                        ops.copy_block((rows, *own), (&dy, width, start), (&part, *own, 0))?;
                        Some(Rc::new(part))
                    }
                });
                start += own;
            }
            Ok(gradients)
        }))
    }

    fn below_each_other(&self, parts: &[&Tensor], output: Dims) -> Result<Tensor, OpError> {
        let lens: Vec<usize> = parts.iter().map(|it| it.len()).collect();
        let y = self.room(output.len())?;
        let mut start = 0;
        for (part, len) in parts.iter().zip(&lens) {
            self.copy_block((1, *len), (&values(part), *len, 0), (&y, *len, start))?;
            start += len;
        }
        let y = self.wrap(y, output);
        Ok(self.record(parts, y, move |ops, dy, wanted| {
            let (mut start, mut gradients) = (0, Back::with_capacity(lens.len()));
            for (len, wanted) in lens.iter().zip(wanted.iter()) {
                gradients.push(match wanted {
                    false => None,
                    true => {
                        let part = ops.room(*len)?;
                        ops.copy_block((1, *len), (&dy, *len, start), (&part, *len, 0))?;
                        Some(Rc::new(part))
                    }
                });
                start += len;
            }
            Ok(gradients)
        }))
    }

    fn gathered(&self, x: &Tensor, indices: &[usize]) -> Result<Tensor, OpError> {
        let (total, columns, chosen) = (x.rows(), x.columns(), indices.len());
        let indices: Vec<i32> = indices
            .iter()
            .map(|it| i32::try_from(*it).expect("a batch is far below 2^31 rows"))
            .collect();
        let rows = self.queue.upload(&indices).map_err(told)?;
        let y = self.room(chosen * columns)?;
        let given = [size(chosen), size(columns), block(&rows), at(x), block(&y)];
        self.launch(Kernel::GatherRows, for_each(chosen * columns), &given)?;
        let y = self.wrap(y, Dims::Rows(chosen, columns));
        Ok(self.record(&[x], y, move |ops, dy, _| {
            let dx = ops.room(total * columns)?;
            let places = ops.queue.upload(&places(total, &indices)).map_err(told)?;
            let (places, dy) = (block(&places), block(&dy));
            let given = [size(total), size(columns), places, dy, block(&dx)];
            ops.launch(Kernel::ScatterRows, for_each(total * columns), &given)?;
            Ok(smallvec![Some(Rc::new(dx))])
        }))
    }
}

/// Where among gathered rows each of `total` rows is, as `scatter_rows` has it.
fn places(total: usize, gathered: &[i32]) -> Vec<i32> {
    let row = |at: &i32| usize::try_from(*at).expect("a row's number");
    let mut places = vec![0; total + 1 + gathered.len()];
    let (begins, of_rows) = places.split_at_mut(total + 1);
    gathered.iter().for_each(|at| begins[row(at) + 1] += 1);
    (0..total).for_each(|row| begins[row + 1] += begins[row]);
    let mut next: Vec<i32> = begins.to_vec();
    for (place, at) in (0..).zip(gathered) {
        of_rows[row(&next[row(at)])] = place;
        next[row(at)] += 1;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::super::in_its_place;
    use super::super::node::Node;
    use super::super::trial::numbers;
    use super::*;

    #[test]
    fn parts_are_added_in_every_shape() {
        let Some(ops) = in_its_place() else { return };
        // By channels with their taps and by what lies beside each other; few parts and many; padded and not; not by fours; none.
        let shapes = [
            (1, 0, 0, 1, 3),
            (1, 1, 1, 1, 2),
            (1, 4000, 4000, 1, 3),
            (1, 30, 30, 1, 700),
            (1, 7, 7, 1, 5),
            (5, 3, 4, 25, 90),
            (3, 130, 132, 9, 2),
            (2, 30, 32, 25, 8),
            (2, 30, 32, 100, 2),
            (4, 6, 8, 1, 4),
        ];
        for (n, channels, wide, taps, count) in shapes {
            let parts = Parts { n, channels, wide, taps, count };
            let values = numbers(5, count * n * taps * wide);
            let bias = numbers(6, 7);
            let tensor = |values: &[f32]| ops.tensor(values.to_vec(), Dims::Flat(values.len()));
            let (x, added) = (tensor(&values).unwrap(), tensor(&bias).unwrap());
            let own = Node::of(&added).value.clone();
            for bias_of in [None, Some((&*own, 7))] {
                let y = ops.added(&Node::of(&x).value, parts, bias_of).unwrap();
                let found = ops.host(&ops.wrap(y, Dims::Flat(n * channels * taps)));
                for (at, found) in found.into_iter().enumerate() {
                    let (k, channel, tap) = (at / taps / channels, at / taps % channels, at % taps);
                    let from = (k * taps + tap) * wide + channel;
                    let of = |part: usize| f64::from(values[part * n * taps * wide + from]);
                    let sum = (0..count).map(of).sum::<f64>();
                    let wanted = sum + bias_of.map_or(0.0, |_| f64::from(bias[channel % 7]));
                    assert!((f64::from(found) - wanted).abs() < 1e-4, "{parts:?}: {at}");
                }
            }
        }
    }

    #[test]
    fn sums_of_no_rows_are_zero() {
        let Some(ops) = in_its_place() else { return };
        let x = ops.tensor(Vec::new(), Dims::Flat(0)).unwrap();
        let sums = ops.column_sums(&Node::of(&x).value, 0, 100).unwrap();
        assert_eq!(ops.host(&ops.wrap(sums, Dims::Flat(100))), [0.0; 100]);
    }

    #[test]
    fn each_row_knows_where_it_was_gathered_to_in_their_order() {
        assert_eq!(places(4, &[2, 0, 2, 3, 2]), [0, 1, 1, 4, 5, 1, 0, 2, 4, 3]);
        assert_eq!(places(2, &[]), [0, 0, 0]);
    }
}
