//! Pooling: the largest or the mean value of windows, or of whole channels.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::matrix::DfdxMatrix;
use super::sums::sum;
use super::tape::record;
use super::{Dims, ELEMENTS, OpError, Tensor};
use crate::memory;
use crate::nn::geometry::{Chw, Pool2d};

/// [`Ops::max_pool2d`](super::Ops::max_pool2d) on the CPU. A NaN wins over every number, as in
/// PyTorch.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree with `shape`.
pub fn max_pool2d(x: &Tensor, shape: &Pool2d) -> Result<Tensor, OpError> {
    check((x.rows(), x.columns()), shape);
    let shape = *shape;
    let (area, pixels) = (shape.input.area(), shape.output().area());
    let input = x.values();
    let mut out = memory::take(x.rows() * shape.output().len());
    let mut winners = vec![0_u32; out.len()];
    let planes = ELEMENTS.div_ceil(area);
    let each = out.par_chunks_mut(planes * pixels).zip(winners.par_chunks_mut(planes * pixels));
    each.zip(input.par_chunks(planes * area)).for_each(|((out, winners), input)| {
        let each = out.chunks_exact_mut(pixels).zip(winners.chunks_exact_mut(pixels));
        for ((out, winners), input) in each.zip(input.chunks_exact(area)) {
            if shape.kernel == (2, 2) && shape.padding == (0, 0) && !shape.ceil {
                max_of_four(&shape, input, out, winners);
            } else {
                max_of_windows(&shape, input, out, winners);
            }
        }
    });
    let y = x.beside(out, Dims::Rows(x.rows(), shape.output().len()));
    Ok(record(&[x], y, move |dy, sums| {
        let Some(dx) = &mut sums[0] else { return };
        let each = dx.par_chunks_mut(planes * area).zip(dy.par_chunks(planes * pixels));
        each.zip(winners.par_chunks(planes * pixels)).for_each(|((dx, dy), winners)| {
            let each = dx.chunks_exact_mut(area).zip(dy.chunks_exact(pixels));
            for ((dx, dy), winners) in each.zip(winners.chunks_exact(pixels)) {
                for (dy, winner) in dy.iter().zip(winners) {
                    dx[*winner as usize] += dy;
                }
            }
        });
    }))
}

fn max_of_windows(shape: &Pool2d, input: &[f32], out: &mut [f32], winners: &mut [u32]) {
    let (output, width) = (shape.output(), shape.input.width);
    for row in 0..output.height {
        for column in 0..output.width {
            let (rows, columns) = shape.window(row, column);
            let mut winner = rows.start * width + columns.start;
            let mut largest = f32::NEG_INFINITY;
            for y in rows {
                for x in columns.clone() {
                    let value = input[y * width + x];
                    if value > largest || value.is_nan() {
                        (largest, winner) = (value, y * width + x);
                    }
                }
            }
            out[row * output.width + column] = largest;
            winners[row * output.width + column] = index(winner);
        }
    }
}

/// The commonest window without inner loops.
fn max_of_four(shape: &Pool2d, input: &[f32], out: &mut [f32], winners: &mut [u32]) {
    let (output, width) = (shape.output(), shape.input.width);
    let rows = out.chunks_exact_mut(output.width).zip(winners.chunks_exact_mut(output.width));
    for (row, (out, winners)) in rows.enumerate() {
        let start = row * shape.stride.0 * width;
        let (upper, lower) =
            (&input[start..start + width], &input[start + width..start + 2 * width]);
        for (column, (out, winner)) in out.iter_mut().zip(winners).enumerate() {
            let at = column * shape.stride.1;
            let candidates = [
                (upper[at], 0),
                (upper[at + 1], 1),
                (lower[at], width),
                (lower[at + 1], width + 1),
            ];
            let mut best = (f32::NEG_INFINITY, 0);
            for (value, offset) in candidates {
                if value > best.0 || value.is_nan() {
                    best = (value, offset);
                }
            }
            *out = best.0;
            *winner = index(start + at + best.1);
        }
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).expect("a channel has fewer than 2^32 pixels")
}

/// [`Ops::avg_pool2d`](super::Ops::avg_pool2d) on the CPU.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree with `shape`.
pub fn avg_pool2d(x: &Tensor, shape: &Pool2d) -> Result<Tensor, OpError> {
    check((x.rows(), x.columns()), shape);
    let shape = *shape;
    let (output, width) = (shape.output(), shape.input.width);
    let (area, pixels) = (shape.input.area(), output.area());
    let share = share(shape.kernel.0 * shape.kernel.1);
    let input = x.values();
    let mut out = memory::take(x.rows() * output.len());
    let planes = ELEMENTS.div_ceil(area);
    let each = out.par_chunks_mut(planes * pixels).zip(input.par_chunks(planes * area));
    each.for_each(|(out, input)| {
        for (out, input) in out.chunks_exact_mut(pixels).zip(input.chunks_exact(area)) {
            for (at, out) in out.iter_mut().enumerate() {
                let (rows, columns) = shape.window(at / output.width, at % output.width);
                let row = |y: usize| &input[y * width + columns.start..y * width + columns.end];
                *out = share * rows.map(|y| row(y).iter().sum::<f32>()).sum::<f32>();
            }
        }
    });
    let y = x.beside(out, Dims::Rows(x.rows(), output.len()));
    Ok(record(&[x], y, move |dy, sums| {
        let Some(dx) = &mut sums[0] else { return };
        let each = dx.par_chunks_mut(planes * area).zip(dy.par_chunks(planes * pixels));
        each.for_each(|(dx, dy)| {
            for (dx, dy) in dx.chunks_exact_mut(area).zip(dy.chunks_exact(pixels)) {
                for (at, dy) in dy.iter().enumerate() {
                    let (rows, columns) = shape.window(at / output.width, at % output.width);
                    for y in rows {
                        for dx in &mut dx[y * width + columns.start..y * width + columns.end] {
                            *dx += share * dy;
                        }
                    }
                }
            }
        });
    }))
}

/// [`Ops::global_avg_pool`](super::Ops::global_avg_pool) on the CPU.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When `x` is not `[N, input]`.
pub fn global_avg_pool(x: &Tensor, input: Chw) -> Result<Tensor, OpError> {
    check_images((x.rows(), x.columns()), input);
    let (n, area) = (x.rows(), input.area());
    let share = share(area);
    let planes = ELEMENTS.div_ceil(area);
    let from = x.values();
    let mut out = memory::take(n * input.channels);
    out.par_chunks_mut(planes).zip(from.par_chunks(planes * area)).for_each(|(out, from)| {
        for (out, plane) in out.iter_mut().zip(from.chunks_exact(area)) {
            #[expect(clippy::cast_possible_truncation, reason = "activations are f32")]
            let mean = (sum(plane) * f64::from(share)) as f32;
            *out = mean;
        }
    });
    let y = x.beside(out, Dims::Rows(n, input.channels));
    Ok(record(&[x], y, move |dy, sums| {
        let Some(dx) = &mut sums[0] else { return };
        dx.par_chunks_mut(planes * area).zip(dy.par_chunks(planes)).for_each(|(dx, dy)| {
            for (plane, dy) in dx.chunks_exact_mut(area).zip(dy) {
                for dx in plane {
                    *dx += share * dy;
                }
            }
        });
    }))
}

#[expect(clippy::cast_precision_loss, reason = "a window is far below 2^24 pixels")]
fn share(count: usize) -> f32 {
    1.0 / count as f32
}

/// [`Ops::max_pool2d`](super::Ops::max_pool2d) of dfdx's own operations: position by position of
/// the window, a larger value replaces the largest so far. A NaN never wins.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree with `shape`.
pub(super) fn max_pool2d_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: DfdxMatrix<D, T>,
    shape: &Pool2d,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    check(*x.shape(), shape);
    let columns = with_border_row(x, f32::NEG_INFINITY)?;
    let mut largest: Option<DfdxMatrix<D, T>> = None;
    for tap in 0..shape.kernel.0 * shape.kernel.1 {
        let candidate = at_tap(&columns, shape, tap)?;
        largest = Some(match largest {
            None => candidate,
            Some(largest) => {
                let (largest, tape) = largest.split_tape();
                let (candidate, more) = candidate.split_tape();
                let larger = candidate.try_gt(&largest)?;
                larger.try_choose(candidate.put_tape(more), largest.put_tape(tape))?
            }
        });
    }
    let (largest, tape) = largest.expect("a window has a pixel").split_tape();
    by_image(largest.put_tape(tape.merge(columns.split_tape().1)))
}

/// [`Ops::avg_pool2d`](super::Ops::avg_pool2d) of dfdx's own operations.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree with `shape`.
pub(super) fn avg_pool2d_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: DfdxMatrix<D, T>,
    shape: &Pool2d,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    check(*x.shape(), shape);
    let columns = with_border_row(x, 0.0)?;
    let taps = shape.kernel.0 * shape.kernel.1;
    let mut sum = at_tap(&columns, shape, 0)?;
    for tap in 1..taps {
        sum = sum.try_add(at_tap(&columns, shape, tap)?)?;
    }
    let (mean, tape) = sum.try_mul(share(taps))?.split_tape();
    by_image(mean.put_tape(tape.merge(columns.split_tape().1)))
}

/// [`Ops::global_avg_pool`](super::Ops::global_avg_pool) of dfdx's own operations.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When `x` is not `[N, input]`.
pub(super) fn global_avg_pool_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: DfdxMatrix<D, T>,
    input: Chw,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    check_images(*x.shape(), input);
    let n = x.shape().0;
    let planes = x.try_reshape_like(&(n * input.channels, input.area()))?;
    planes.try_mean::<_, Axis<1>>()?.try_reshape_like(&(n, input.channels))
}

/// `[N, input]` to `[input + 1, N]`, where the last row holds what padding is worth.
fn with_border_row<D: Device<f32>, T: Tape<f32, D>>(
    x: DfdxMatrix<D, T>,
    worth: f32,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    let n = x.shape().0;
    let border: DfdxMatrix<D> = x.device().try_tensor_from_vec(vec![worth; n], (1, n))?;
    (x.try_permute::<_, Axes2<1, 0>>()?.try_contiguous()?, border).try_concat_along(Axis::<0>)
}

/// What lies at one position of every window, `[output, N]`, on a tape of its own.
fn at_tap<D: Device<f32>, T: Tape<f32, D>>(
    columns: &DfdxMatrix<D, T>,
    shape: &Pool2d,
    tap: usize,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    let (input, output) = (shape.input, shape.output());
    let (down, right) = (tap / shape.kernel.1, tap % shape.kernel.1);
    let mut index = Vec::with_capacity(output.len());
    for at in 0..output.len() {
        let (channel, pixel) = (at / output.area(), at % output.area());
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
    let index: dfdx::tensor::Tensor<(usize,), usize, D> =
        columns.device().try_tensor_from_vec(index, (output.len(),))?;
    columns.with_empty_tape().try_gather(index)
}

fn by_image<D: Device<f32>, T: Tape<f32, D>>(
    columns: DfdxMatrix<D, T>,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    columns.try_permute::<_, Axes2<1, 0>>()?.try_contiguous()
}

fn check(x: (usize, usize), shape: &Pool2d) {
    assert_eq!(shape.validate(), Ok(()), "pooling: the shape is not valid");
    check_images(x, shape.input);
}

fn check_images(x: (usize, usize), input: Chw) {
    assert!(input.len() > 0 && x.1 == input.len(), "pooling: x is not [N, {input}]");
}
