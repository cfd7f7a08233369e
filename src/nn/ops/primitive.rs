//! The small operations that losses are put together from, each in terms of dfdx's own. They work on
//! batches of class probabilities or features, which are small beside the images, so that one form
//! serves every backend.

use dfdx::prelude::*;

use super::matrix::Taped;
use super::{Dims, Number};
use crate::nn::geometry::Chw;

/// A small operation on matrices `[N, C]`.
///
/// The second operand of the arithmetic between two may also be one row `[1, C]`, one column `[N, 1]` or one
/// number: it then counts for every row, column or value.
#[derive(Debug, Clone, PartialEq)]
pub enum Primitive {
    /// `a + b`.
    Add,
    /// `a - b`.
    Subtract,
    /// `a * b`, value by value.
    Multiply,
    /// `a / b`, value by value.
    Divide,
    /// `c a`.
    Scale(Number),
    /// `a / c`.
    DivideBy(f32),
    /// `a + c`.
    Shift(f32),
    /// `a^2`.
    Square,
    /// `|a|`; the gradient at 0 is 0.
    Abs,
    /// `e^a`.
    Exp,
    /// The natural logarithm.
    Log,
    /// The square root.
    Sqrt,
    /// `1 / (1 + e^-a)`.
    Sigmoid,
    /// `a` kept between two numbers; the gradient is 0 where it was not between them.
    Clamp(f32, f32),
    /// 1 where `a` is greater than a number, else 0. It has no gradient.
    Above(f32),
    /// Softmax over each row.
    Softmax,
    /// Its logarithm.
    LogSoftmax,
    /// The largest value of each row, `[N, 1]`.
    RowMax,
    /// The sum of all values, one number.
    Sum,
    /// The sum over the rows, `[1, C]`.
    SumOfRows,
    /// The sum of each row, `[N, 1]`.
    RowSums,
    /// The product of matrices: `[N, K]` and `[K, C]`.
    MatMul,
    /// The transpose, `[C, N]`.
    Transpose,
    /// Batches one after the other: `[N, C]` and `[M, C]` to `[N + M, C]`.
    ConcatRows,
    /// Features one after the other: `[N, A]` and `[N, B]` to `[N, A + B]`, or feature maps of one size
    /// along their channels. Any number of inputs.
    ConcatColumns,
    /// The rows of these numbers, in this order; a row may come more than once.
    GatherRows(Vec<usize>),
}

impl Primitive {
    /// The shape that comes of inputs of these shapes.
    ///
    /// # Panics
    /// When they do not fit the operation or each other.
    pub(super) fn output(&self, inputs: &[Dims]) -> Dims {
        let first = inputs[0];
        let (rows, columns) = (first.rows(), first.columns());
        match self {
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide => {
                let other = (inputs[1].rows(), inputs[1].columns());
                let fits = [(rows, columns), (1, columns), (rows, 1), (1, 1)].contains(&other);
                assert!(fits, "{self:?}: [{rows}, {columns}] and {other:?}");
                first
            }
            Self::RowMax | Self::RowSums => Dims::Rows(rows, 1),
            Self::Sum => Dims::Scalar,
            Self::SumOfRows => Dims::Rows(1, columns),
            Self::MatMul => {
                assert_eq!(columns, inputs[1].rows(), "a product of matrices that do not fit");
                Dims::Rows(rows, inputs[1].columns())
            }
            Self::Transpose => Dims::Rows(columns, rows),
            Self::ConcatRows => {
                assert!(inputs.iter().all(|it| it.columns() == columns), "rows of one width");
                Dims::Rows(inputs.iter().map(|it| it.rows()).sum(), columns)
            }
            Self::ConcatColumns => {
                assert!(inputs.iter().all(|it| it.rows() == rows), "parts of one batch");
                let channels = inputs.iter().map(|it| match (it, first) {
                    (Dims::Maps(_, it), Dims::Maps(_, first)) => {
                        let sizes = [(it.height, it.width), (first.height, first.width)];
                        assert_eq!(sizes[0], sizes[1], "maps of one size");
                        Some(it.channels)
                    }
                    _ => None,
                });
                match (channels.sum(), first) {
                    (Some(channels), Dims::Maps(_, shape)) => {
                        Dims::Maps(rows, Chw { channels, ..shape })
                    }
                    _ => Dims::Rows(rows, inputs.iter().map(|it| it.columns()).sum()),
                }
            }
            Self::GatherRows(indices) => {
                assert!(indices.iter().all(|at| *at < rows), "rows that are there");
                Dims::Rows(indices.len(), columns)
            }
            _ => first,
        }
    }

    /// Whether a gradient goes back through it.
    pub(super) fn has_gradient(&self) -> bool {
        !matches!(self, Self::Above(_))
    }

    /// The operation on dfdx's tensors.
    pub(super) fn run<D: Device<f32>>(&self, inputs: Vec<Taped<D>>) -> Result<Taped<D>, D::Err> {
        let mut inputs = inputs.into_iter();
        let a = inputs.next().expect("an operation has an input");
        let (rows, columns) = *a.shape();
        let mut b = || inputs.next().expect("an operation of two inputs");
        match self {
            Self::Add => a.try_add(spread(b(), (rows, columns))?),
            Self::Subtract => a.try_sub(spread(b(), (rows, columns))?),
            Self::Multiply => a.try_mul(spread(b(), (rows, columns))?),
            Self::Divide => a.try_div(spread(b(), (rows, columns))?),
            Self::Scale(by) => a.try_mul(by.unseen()),
            Self::DivideBy(by) => a.try_div(*by),
            Self::Shift(by) => a.try_add(*by),
            Self::Square => a.try_square(),
            Self::Abs => a.try_abs(),
            Self::Exp => a.try_exp(),
            Self::Log => a.try_ln(),
            Self::Sqrt => a.try_sqrt(),
            Self::Sigmoid => a.try_sigmoid(),
            Self::Clamp(low, high) => a.try_clamp(*low, *high),
            Self::Above(threshold) => {
                let (a, tape) = a.split_tape();
                let (ones, zeros) =
                    (a.clone().try_mul(0.0)?.try_add(1.0)?, a.clone().try_mul(0.0)?);
                let above = a.try_gt(*threshold)?;
                Ok(above.try_choose(ones, zeros)?.put_tape(tape))
            }
            Self::Softmax => a.try_softmax::<Axis<1>>(),
            Self::LogSoftmax => a.try_log_softmax::<Axis<1>>(),
            Self::RowMax => a.try_max::<(usize,), Axis<1>>()?.try_reshape_like(&(rows, 1)),
            Self::Sum => a.try_sum::<(), Axes2<0, 1>>()?.try_reshape_like(&(1, 1)),
            Self::SumOfRows => a.try_sum::<(usize,), Axis<0>>()?.try_reshape_like(&(1, columns)),
            Self::RowSums => a.try_sum::<(usize,), Axis<1>>()?.try_reshape_like(&(rows, 1)),
            Self::MatMul => a.try_matmul(b()),
            Self::Transpose => a.try_permute::<_, Axes2<1, 0>>()?.try_contiguous(),
            Self::ConcatRows => inputs.try_fold(a, |all, it| (all, it).try_concat_along(Axis::<0>)),
            Self::ConcatColumns => {
                inputs.try_fold(a, |all, it| (all, it).try_concat_along(Axis::<1>))
            }
            Self::GatherRows(indices) => {
                let index: dfdx::tensor::Tensor<(usize,), usize, D> =
                    a.device().try_tensor_from_vec(indices.clone(), (indices.len(),))?;
                a.try_gather(index)
            }
        }
    }
}

/// One row, one column or one number as a whole matrix.
fn spread<D: Device<f32>>(b: Taped<D>, like: (usize, usize)) -> Result<Taped<D>, D::Err> {
    let shape = *b.shape();
    if shape == like {
        return Ok(b);
    }
    match shape {
        (1, 1) => b.try_reshape_like(&())?.try_broadcast_like::<_, Axes2<0, 1>>(&like),
        (1, columns) => b.try_reshape_like(&(columns,))?.try_broadcast_like::<_, Axis<0>>(&like),
        (rows, _) => b.try_reshape_like(&(rows,))?.try_broadcast_like::<_, Axis<1>>(&like),
    }
}
