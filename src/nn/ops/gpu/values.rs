//! Operations on single values.

use std::rc::Rc;

use smallvec::smallvec;

use super::GpuOps;
use super::node::{Back, Node, all, at, block, count, for_each, size, values};
use crate::nn::geometry::Rectifier;
use crate::nn::gpu::{Arg, Block, Given, Kernel};
use crate::nn::ops::varying::OfKnob;
use crate::nn::ops::{Dims, Dropout, Number, OpError, Tensor};

/// Random numbers that a thread draws (`random.cu`).
const WORDS: usize = 16;

/// A function of one value, in the order of the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unary {
    Scale(Number),
    DivideBy(f32),
    Shift(f32),
    Square,
    Abs,
    Exp,
    Log,
    Sqrt,
    Sigmoid,
    Clamp(f32, f32),
    Above(f32),
}

impl Unary {
    /// Its number, the numbers that come with it, and what the first of them follows from.
    fn parts(self) -> (usize, [f32; 2], Option<OfKnob>) {
        let (kind, by) = self.numbers();
        let origin = if let Self::Scale(by) = self { by.origin() } else { None };
        (kind, by, origin)
    }

    fn numbers(self) -> (usize, [f32; 2]) {
        match self {
            Self::Scale(by) => (0, [by.unseen(), 0.0]),
            Self::DivideBy(by) => (1, [by, 0.0]),
            Self::Shift(by) => (2, [by, 0.0]),
            Self::Square => (3, [0.0; 2]),
            Self::Abs => (4, [0.0; 2]),
            Self::Exp => (5, [0.0; 2]),
            Self::Log => (6, [0.0; 2]),
            Self::Sqrt => (7, [0.0; 2]),
            Self::Sigmoid => (8, [0.0; 2]),
            Self::Clamp(low, high) => (9, [low, high]),
            Self::Above(threshold) => (10, [threshold, 0.0]),
        }
    }
}

/// Arithmetic between two, in the order of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// Which values of the second operand go with those of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spread {
    Whole,
    Row,
    Column,
    Number,
}

impl Spread {
    fn of(a: &Tensor, b: &Tensor) -> Self {
        let (a, b) = ((a.rows(), a.columns()), (b.rows(), b.columns()));
        match b {
            _ if a == b => Self::Whole,
            (1, 1) => Self::Number,
            (1, _) => Self::Row,
            _ => Self::Column,
        }
    }

    /// Steps from a row to the next and from a column to the next.
    fn steps(self, columns: usize) -> (usize, usize) {
        match self {
            Self::Whole => (columns, 1),
            Self::Row => (0, 1),
            Self::Column => (1, 0),
            Self::Number => (0, 0),
        }
    }
}

impl GpuOps {
    pub(super) fn unary(&self, unary: Unary, x: &Tensor) -> Result<Tensor, OpError> {
        let (kind, by, origin) = unary.parts();
        let (len, y) = (x.len(), self.room(x.len())?);
        let numbers = Given::numbers(&by, self.source_of_number(origin));
        let given = [count(len), size(kind), numbers, at(x), block(&y)];
        self.launch(Kernel::Unary, for_each(len), &given)?;
        let (input, y) = (values(x), Rc::new(y));
        let output = self.wrap_shared(Rc::clone(&y), x.dims);
        if matches!(unary, Unary::Above(_)) {
            return Ok(output);
        }
        Ok(self.record(&[x], output, move |ops, dy, _| {
            let dx = ops.room(len)?;
            let (x, y, dy) = (block(&input), block(&y), block(&dy));
            let numbers = Given::numbers(&by, ops.source_of_number(origin));
            let given = [count(len), size(kind), numbers, x, y, dy, block(&dx)];
            ops.launch(Kernel::UnaryBack, for_each(len), &given)?;
            Ok(smallvec![Some(Rc::new(dx))])
        }))
    }

    pub(super) fn binary(
        &self,
        binary: Binary,
        a: &Tensor,
        b: &Tensor,
        dims: Dims,
    ) -> Result<Tensor, OpError> {
        let (rows, columns, spread) = (a.rows(), a.columns(), Spread::of(a, b));
        let (len, y) = (a.len(), self.room(a.len())?);
        let (down, right) = spread.steps(columns);
        let shape = [count(len), size(binary as usize), size(columns), size(down), size(right)];
        let given = all(&[&shape[..], &[at(a), at(b), block(&y)]]);
        self.launch(Kernel::Binary, for_each(len), &given)?;
        let y = self.wrap(y, dims);
        let (left, right) = (values(a), values(b));
        Ok(self.record(&[a, b], y, move |ops, dy, wanted| {
            if spread == Spread::Whole && binary == Binary::Add {
                return Ok(smallvec![Some(Rc::clone(&dy)), Some(dy)]);
            }
            let room = |wanted: bool| wanted.then(|| ops.room(len)).transpose();
            let (da, db) = (room(wanted[0])?, room(wanted[1])?);
            let of = |it: &Option<Block>| it.as_ref().map_or(Arg::Address(0), Block::arg).into();
            let given = [block(&left), block(&right), block(&dy), of(&da), of(&db)];
            let given = all(&[&shape[..], &given]);
            ops.launch(Kernel::BinaryBack, for_each(len), &given)?;
            let db = match (db, spread) {
                (None, _) => None,
                (Some(db), Spread::Whole) => Some(db),
                (Some(db), Spread::Row) => Some(ops.column_sums(&db, rows, columns)?),
                (Some(db), Spread::Column) => Some(ops.row_sums(&db, rows, columns)?),
                (Some(db), Spread::Number) => Some(ops.total(&db, len, 1.0)?),
            };
            Ok::<Back, OpError>(smallvec![da.map(Rc::new), db.map(Rc::new)])
        }))
    }

    pub(super) fn rectify(&self, x: &Tensor, rectifier: Rectifier) -> Result<Tensor, OpError> {
        let (len, ceiling) = (x.len(), Arg::Float(rectifier.ceiling()).into());
        let y = Rc::new(self.room(len)?);
        let given = [count(len), ceiling, at(x), block(&y)];
        self.launch(Kernel::Rectify, for_each(len), &given)?;
        let output = self.wrap_shared(Rc::clone(&y), x.dims);
        Ok(self.record(&[x], output, move |ops, dy, _| {
            let dx = ops.room(len)?;
            let given = [count(len), ceiling, block(&y), block(&dy), block(&dx)];
            ops.launch(Kernel::RectifyBack, for_each(len), &given)?;
            Ok(smallvec![Some(Rc::new(dx))])
        }))
    }

    /// Each plane of `x` times a number of its own, `[N, channels]`.
    pub(super) fn scale_planes(
        &self,
        x: &Tensor,
        scale: Block,
        channels: usize,
    ) -> Result<Tensor, OpError> {
        let (len, spatial) = (x.len(), size(x.columns() / channels));
        let y = self.room(len)?;
        let given = [count(len), spatial, block(&scale), at(x), block(&y)];
        self.launch(Kernel::ScalePlanes, for_each(len), &given)?;
        let y = self.wrap(y, Dims::Rows(x.rows(), x.columns()));
        Ok(self.record(&[x], y, move |ops, dy, _| {
            let dx = ops.room(len)?;
            let given = [count(len), spatial, block(&scale), block(&dy), block(&dx)];
            ops.launch(Kernel::ScalePlanes, for_each(len), &given)?;
            Ok(smallvec![Some(Rc::new(dx))])
        }))
    }

    /// The factors of dropout, `len` of them, which the GPU draws itself: the same that the processor draws.
    pub(super) fn dropout_scales(&self, dropout: Dropout, len: usize) -> Result<Block, OpError> {
        let scales = self.room(len)?;
        let numbers = [dropout.p, dropout.keep()].map(|it| Given::from(Arg::Float(it)));
        let key = dropout.key().words();
        let key = match self.source_of_mask(dropout) {
            Some(source) => Given::words(&key, source),
            None => Given::Words(&key),
        };
        let given = all(&[&[size(len)], &numbers[..], &[key, block(&scales)]]);
        self.launch(Kernel::DropoutScales, for_each(len.div_ceil(WORDS)), &given)?;
        Ok(scales)
    }

    /// `x` itself, whose gradient is multiplied.
    pub(super) fn scale_gradient(&self, x: &Tensor, factor: Number) -> Result<Tensor, OpError> {
        let len = x.len();
        let y = self.wrap_shared(Rc::clone(&Node::of(x).value), x.dims);
        Ok(self.record(&[x], y, move |ops, dy, _| {
            let dx = ops.room(len)?;
            let by = [factor.unseen()];
            let by = Given::numbers(&by, ops.source_of_number(factor.origin()));
            let given = [count(len), by, block(&dy), block(&dx)];
            ops.launch(Kernel::Scale, for_each(len), &given)?;
            Ok(smallvec![Some(Rc::new(dx))])
        }))
    }
}
