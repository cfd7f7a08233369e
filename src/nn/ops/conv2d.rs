//! 2-D convolution composed of dfdx's own operations: matrix products of filters and image patches.
//! The CPU uses [`super::conv_block`] instead.

use dfdx::prelude::*;

use super::matrix::{DfdxFlat, DfdxMatrix, Wanted};
use crate::nn::geometry::Conv2d;

/// [`Ops::conv2d`](super::Ops::conv2d) of dfdx's own operations: patches by `gather`, one product a
/// group. If the weight's or the input's gradient is needed, dfdx computes the other one of the
/// product too.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree with `shape`.
pub(super) fn conv2d_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: DfdxMatrix<D, T>,
    weight: &DfdxFlat<D>,
    bias: Option<&DfdxFlat<D>>,
    shape: &Conv2d,
    wanted: Wanted,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    check(x.shape().1, weight.shape().0, bias.map(|bias| bias.shape().0), shape);
    if T::OWNS_TAPE && wanted.nothing() {
        let (x, tape) = x.split_tape();
        return Ok(conv2d_generic(x, weight, bias, shape, wanted)?.put_tape(tape));
    }
    if T::OWNS_TAPE && !wanted.input {
        // Patches made off the tape spare the way back to the input.
        let (x, tape) = x.split_tape();
        let columns = with_zero_row(x)?;
        return multiply_groups(columns.put_tape(tape), weight, bias, shape);
    }
    multiply_groups(with_zero_row(x)?, weight, bias, shape)
}

/// `[N, input]` to `[input + 1, N]`, the last row zeros: where patches find the padding.
fn with_zero_row<D: Device<f32>, T: Tape<f32, D>>(
    x: DfdxMatrix<D, T>,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    let zeros: DfdxMatrix<D> = x.device().try_zeros_like(&(1, x.shape().0))?;
    (x.try_permute::<_, Axes2<1, 0>>()?.try_contiguous()?, zeros).try_concat_along(Axis::<0>)
}

fn multiply_groups<D: Device<f32>, T: Tape<f32, D>>(
    columns: DfdxMatrix<D, T>,
    weight: &DfdxFlat<D>,
    bias: Option<&DfdxFlat<D>>,
    shape: &Conv2d,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    let n = columns.shape().1;
    let device = columns.device().clone();
    let (each, patch) = (shape.filters / shape.groups, shape.patch());
    let across = shape.output().area() * n;
    let weight = weight.retaped::<T>().try_reshape_like(&(shape.filters, patch))?;
    let mut rows: Option<DfdxMatrix<D, T>> = None;
    for g in 0..shape.groups {
        let index = patch_index(shape, g);
        let len = index.len();
        let index: dfdx::tensor::Tensor<(usize,), usize, D> =
            device.try_tensor_from_vec(index, (len,))?;
        let patches: DfdxMatrix<D, T> = columns.with_empty_tape().try_gather(index)?;
        let patches = patches.try_reshape_like(&(patch, across))?;
        let filters: Vec<usize> = (g * each..(g + 1) * each).collect();
        let filters: dfdx::tensor::Tensor<(usize,), usize, D> =
            device.try_tensor_from_vec(filters, (each,))?;
        let filters: DfdxMatrix<D, T> = weight.with_empty_tape().try_gather(filters)?;
        let product = filters.try_matmul(patches)?;
        rows = Some(match rows {
            None => product,
            Some(rows) => (rows, product).try_concat_along(Axis::<0>)?,
        });
    }
    let (rows, mut tape) = rows.expect("there is at least one group").split_tape();
    tape = tape.merge(columns.split_tape().1).merge(weight.split_tape().1);
    let mut rows = rows.put_tape(tape);
    if let Some(bias) = bias {
        let bias = bias.retaped::<T>().try_broadcast_like::<_, Axis<1>>(rows.shape())?;
        rows = rows.try_add(bias)?;
    }
    rows.try_reshape_like(&(shape.output().len(), n))?
        .try_permute::<_, Axes2<1, 0>>()?
        .try_contiguous()
}

/// Rows of [`with_zero_row`] that make the patches of a group: `[patch, output pixels]`.
fn patch_index(shape: &Conv2d, group: usize) -> Vec<usize> {
    let (input, output) = (shape.input, shape.output());
    let each = input.channels / shape.groups;
    let mut index = Vec::with_capacity(shape.patch() * output.area());
    for channel in group * each..(group + 1) * each {
        for tap in 0..shape.kernel.0 * shape.kernel.1 {
            let (down, right) = (tap / shape.kernel.1, tap % shape.kernel.1);
            for pixel in 0..output.area() {
                let row = pixel / output.width * shape.stride.0 + down;
                let column = pixel % output.width * shape.stride.1 + right;
                let inside = (shape.padding.0..shape.padding.0 + input.height).contains(&row)
                    && (shape.padding.1..shape.padding.1 + input.width).contains(&column);
                index.push(if inside {
                    let row = channel * input.height + row - shape.padding.0;
                    row * input.width + column - shape.padding.1
                } else {
                    input.len()
                });
            }
        }
    }
    index
}

pub(super) fn check(features: usize, weight: usize, bias: Option<usize>, shape: &Conv2d) {
    assert_eq!(shape.validate(), Ok(()), "conv2d: the shape is not valid");
    assert_eq!(features, shape.input.len(), "conv2d: x is not [N, {}]", shape.input);
    assert_eq!(weight, shape.weight_len(), "conv2d: the weight's length is wrong");
    if let Some(bias) = bias {
        assert_eq!(bias, shape.filters, "conv2d: the bias is not [{}]", shape.filters);
    }
}
