//! 2-D convolution as matrix products of filters and image patches.
//!
//! The CPU kernel never holds the patches of a whole batch: it walks over groups of a few images
//! and over blocks of channels, so that a block of patches stays in the processor's cache.

use std::ops::Range;

use dfdx::prelude::*;
use rayon::prelude::*;

use super::matmul::{Strided, add_product, set_product};
use super::patches::Padded;
use super::sums::sum;
use super::tape::{self, Sums, values};
use super::{Batch, Conv2d, Flat, Needs};
use crate::memory;

/// Images whose weight gradients are summed by one task. Sums depend on it, never on the number of
/// threads.
const CHUNK: usize = 16;

/// Output pixels that make a matrix product worth its overhead.
const PIXELS: usize = 480;

/// Values of a block of patches: half a megabyte.
const BLOCK: usize = 1 << 17;

/// [`Ops::conv2d`](super::Ops::conv2d) on the CPU.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree with `shape`.
pub fn conv2d<T: Tape<f32, Cpu>>(
    x: Batch<Cpu, T>,
    weight: &Flat<Cpu>,
    bias: Option<&Flat<Cpu>>,
    shape: &Conv2d,
    needs: Needs,
) -> Result<Batch<Cpu, T>, CpuError> {
    check(x.shape(), weight.shape().0, bias.map(|bias| bias.shape().0), shape);
    let (x, tape) = x.split_tape();
    let walk = Walk::new(shape);
    let n = x.shape().0;
    let (input, filters) = (values(&x), values(weight));
    let offsets = bias.map_or_else(|| vec![0.0; shape.filters], values);
    let mut out = memory::take(n * shape.output().len());
    walk.forward(&input, &filters, &offsets, &mut out);
    let y = x.device().try_tensor_from_vec(out, (n, shape.output().len()))?;

    if !T::OWNS_TAPE || needs.nothing() {
        memory::give(input);
        memory::give(filters);
        return Ok(y.put_tape(tape));
    }
    let parameters: Vec<_> = [Some(weight), bias].into_iter().flatten().collect();
    Ok(tape::record(tape, &x, &parameters, y, needs, move |dy, sums: Sums<'_>| {
        if let Some(dx) = sums.input {
            walk.backward_input(dy, &filters, dx);
        }
        if let [dw, rest @ ..] = sums.parameters {
            walk.backward_weight(dy, &input, dw);
            if let [db] = rest {
                walk.backward_bias(dy, db);
            }
        }
        memory::give(input);
        memory::give(filters);
    }))
}

/// How a convolution's work is cut: it depends on the shape alone.
struct Walk {
    shape: Conv2d,
    padded: Padded,
    /// Output pixels of an image.
    pixels: usize,
    /// Images of one matrix product.
    together: usize,
    /// Channels of one block of patches, within a group.
    block: usize,
}

impl Walk {
    fn new(shape: &Conv2d) -> Self {
        let output = shape.output();
        let pixels = output.area();
        let together =
            if shape.is_pointwise() { 1 } else { PIXELS.div_ceil(pixels).clamp(1, CHUNK) };
        let area = shape.kernel.0 * shape.kernel.1;
        let channels = shape.input.channels / shape.groups;
        let block = (BLOCK / (area * pixels * together)).clamp(1, channels);
        Self { shape: *shape, padded: Padded::new(shape), pixels, together, block }
    }

    /// Filters of group `g`.
    fn filters(&self, g: usize) -> Range<usize> {
        let each = self.shape.filters / self.shape.groups;
        g * each..(g + 1) * each
    }

    /// Blocks of channels of group `g`, each with its first patch row within the group.
    fn blocks(&self, g: usize) -> impl Iterator<Item = (Range<usize>, usize)> + use<> {
        let each = self.shape.input.channels / self.shape.groups;
        let (block, area) = (self.block, self.shape.kernel.0 * self.shape.kernel.1);
        (0..each).step_by(block).map(move |start| {
            let end = (start + block).min(each);
            (g * each + start..g * each + end, start * area)
        })
    }

    /// Calls `visit` with the patches of every block of `images`: filters of the block, its first
    /// patch row, its number of rows, and the patches `[rows, images * pixels]`.
    fn visit(
        &self,
        images: &[f32],
        room: &mut Room,
        mut visit: impl FnMut(Range<usize>, usize, usize, &[f32]),
    ) {
        let count = images.len() / self.shape.input.len();
        let area = self.shape.kernel.0 * self.shape.kernel.1;
        if self.shape.is_pointwise() {
            for g in 0..self.shape.groups {
                for (channels, first) in self.blocks(g) {
                    let patches = &images[channels.start * self.pixels..];
                    visit(self.filters(g), first, channels.len(), patches);
                }
            }
            return;
        }
        let len = self.padded.len(count);
        self.padded.pad(images, &mut room.padded[..len]);
        for g in 0..self.shape.groups {
            for (channels, first) in self.blocks(g) {
                let rows = channels.len() * area;
                self.padded.unfold(&room.padded[..len], count, channels, &mut room.patches);
                visit(self.filters(g), first, rows, &room.patches);
            }
        }
    }

    fn forward(&self, input: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
        let (from, to) = (self.shape.input.len(), self.shape.filters * self.pixels);
        let patch = self.shape.patch();
        input.par_chunks(CHUNK * from).zip(out.par_chunks_mut(CHUNK * to)).for_each(
            |(input, out)| {
                let mut room = Room::new(self);
                let mut rows = std::mem::take(&mut room.rows);
                let groups = input.chunks(self.together * from);
                for (images, out) in groups.zip(out.chunks_mut(self.together * to)) {
                    let count = images.len() / from;
                    let across = count * self.pixels;
                    let alone = count == 1;
                    let sums = if alone { &mut *out } else { &mut rows[..out.len()] };
                    for (row, bias) in sums.chunks_exact_mut(across).zip(bias) {
                        row.fill(*bias);
                    }
                    self.visit(images, &mut room, |filters, first, k, patches| {
                        add_product(
                            (filters.len(), k, across),
                            &mut sums[filters.start * across..],
                            across,
                            Strided::rows(&weight[filters.start * patch + first..], patch),
                            Strided::rows(patches, across),
                        );
                    });
                    if !alone {
                        self.to_images(&rows, count, out);
                    }
                }
                room.rows = rows;
                room.give();
            },
        );
    }

    fn backward_input(&self, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
        let (from, to) = (self.shape.input.len(), self.shape.filters * self.pixels);
        let patch = self.shape.patch();
        let area = self.shape.kernel.0 * self.shape.kernel.1;
        dx.par_chunks_mut(CHUNK * from).zip(dy.par_chunks(CHUNK * to)).for_each(|(dx, dy)| {
            let mut room = Room::new(self);
            let groups = dx.chunks_mut(self.together * from);
            for (dx, dy) in groups.zip(dy.chunks(self.together * to)) {
                let count = dx.len() / from;
                let across = count * self.pixels;
                let Room { padded, patches, rows } = &mut room;
                let dy = self.to_rows(dy, count, rows);
                let pointwise = self.shape.is_pointwise();
                let len = if pointwise { 0 } else { self.padded.len(count) };
                let padded = &mut padded[..len];
                padded.fill(0.0);
                for g in 0..self.shape.groups {
                    let filters = self.filters(g);
                    for (channels, first) in self.blocks(g) {
                        let k = channels.len() * area;
                        let weights = &weight[filters.start * patch + first..];
                        let weights = Strided::rows(weights, patch).transposed();
                        let dy = Strided::rows(&dy[filters.start * across..], across);
                        let size = (k, filters.len(), across);
                        if pointwise {
                            let dx = &mut dx[channels.start * self.pixels..];
                            add_product(size, dx, across, weights, dy);
                        } else {
                            set_product(size, patches, across, weights, dy);
                            self.padded.fold(patches, count, channels, padded);
                        }
                    }
                }
                if !pointwise {
                    self.padded.add_unpadded(padded, dx);
                }
            }
            room.give();
        });
    }

    fn backward_weight(&self, dy: &[f32], input: &[f32], dw: &mut [f32]) {
        let (from, to) = (self.shape.input.len(), self.shape.filters * self.pixels);
        let patch = self.shape.patch();
        let partial: Vec<Vec<f32>> = input
            .par_chunks(CHUNK * from)
            .zip(dy.par_chunks(CHUNK * to))
            .map(|(input, dy)| {
                let mut room = Room::new(self);
                let mut rows = std::mem::take(&mut room.rows);
                let mut dw = vec![0.0; self.shape.weight_len()];
                let groups = input.chunks(self.together * from);
                for (images, dy) in groups.zip(dy.chunks(self.together * to)) {
                    let count = images.len() / from;
                    let across = count * self.pixels;
                    let dy = self.to_rows(dy, count, &mut rows);
                    self.visit(images, &mut room, |filters, first, k, patches| {
                        add_product(
                            (filters.len(), across, k),
                            &mut dw[filters.start * patch + first..],
                            patch,
                            Strided::rows(&dy[filters.start * across..], across),
                            Strided::rows(patches, across).transposed(),
                        );
                    });
                }
                room.rows = rows;
                room.give();
                dw
            })
            .collect();
        for partial in partial {
            for (sum, value) in dw.iter_mut().zip(partial) {
                *sum += value;
            }
        }
    }

    fn backward_bias(&self, dy: &[f32], db: &mut [f32]) {
        let to = self.shape.filters * self.pixels;
        let partial: Vec<Vec<f64>> = dy
            .par_chunks(CHUNK * to)
            .map(|dy| {
                let mut sums = vec![0.0; self.shape.filters];
                for image in dy.chunks_exact(to) {
                    for (total, plane) in sums.iter_mut().zip(image.chunks_exact(self.pixels)) {
                        *total += sum(plane);
                    }
                }
                sums
            })
            .collect();
        for (at, db) in db.iter_mut().enumerate() {
            let sum: f64 = partial.iter().map(|sums| sums[at]).sum();
            #[expect(clippy::cast_possible_truncation, reason = "gradients are f32")]
            let sum = sum as f32;
            *db += sum;
        }
    }

    /// `[filters, images, pixels]` to `[images, filters, pixels]`.
    fn to_images(&self, rows: &[f32], count: usize, images: &mut [f32]) {
        let (filters, pixels) = (self.shape.filters, self.pixels);
        for (image, out) in images.chunks_exact_mut(filters * pixels).enumerate() {
            for (filter, out) in out.chunks_exact_mut(pixels).enumerate() {
                let start = (filter * count + image) * pixels;
                out.copy_from_slice(&rows[start..start + pixels]);
            }
        }
    }

    /// `[images, filters, pixels]` to `[filters, images, pixels]`, in `rows` if it must move.
    fn to_rows<'a>(&self, images: &'a [f32], count: usize, rows: &'a mut [f32]) -> &'a [f32] {
        if count == 1 {
            return images;
        }
        let (filters, pixels) = (self.shape.filters, self.pixels);
        for (image, from) in images.chunks_exact(filters * pixels).enumerate() {
            for (filter, from) in from.chunks_exact(pixels).enumerate() {
                let start = (filter * count + image) * pixels;
                rows[start..start + pixels].copy_from_slice(from);
            }
        }
        rows
    }
}

/// What a task works in; reused by the thread's next task.
struct Room {
    padded: Vec<f32>,
    patches: Vec<f32>,
    rows: Vec<f32>,
}

impl Room {
    fn new(walk: &Walk) -> Self {
        let alone = walk.together == 1;
        let rows = if alone { 0 } else { walk.together * walk.shape.filters * walk.pixels };
        if walk.shape.is_pointwise() {
            return Self { padded: Vec::new(), patches: Vec::new(), rows: Vec::new() };
        }
        Self {
            padded: memory::take(walk.padded.len(walk.together)),
            patches: memory::take(walk.padded.patches_len(walk.together, walk.block)),
            rows: memory::take(rows),
        }
    }

    fn give(self) {
        memory::give(self.padded);
        memory::give(self.patches);
        memory::give(self.rows);
    }
}

/// [`Ops::conv2d`](super::Ops::conv2d) of dfdx's own operations: patches by `gather`, one product a
/// group. If the weight's or the input's gradient is needed, dfdx computes the other one of the
/// product too.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree with `shape`.
pub fn conv2d_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: Batch<D, T>,
    weight: &Flat<D>,
    bias: Option<&Flat<D>>,
    shape: &Conv2d,
    needs: Needs,
) -> Result<Batch<D, T>, D::Err> {
    check(x.shape(), weight.shape().0, bias.map(|bias| bias.shape().0), shape);
    if T::OWNS_TAPE && needs.nothing() {
        let (x, tape) = x.split_tape();
        return Ok(conv2d_generic(x, weight, bias, shape, needs)?.put_tape(tape));
    }
    if T::OWNS_TAPE && !needs.input {
        // Patches made off the tape spare the way back to the input.
        let (x, tape) = x.split_tape();
        let columns = with_zero_row(x)?;
        return multiply_groups(columns.put_tape(tape), weight, bias, shape);
    }
    multiply_groups(with_zero_row(x)?, weight, bias, shape)
}

/// `[N, input]` to `[input + 1, N]`, the last row zeros: where patches find the padding.
fn with_zero_row<D: Device<f32>, T: Tape<f32, D>>(x: Batch<D, T>) -> Result<Batch<D, T>, D::Err> {
    let zeros: Batch<D> = x.device().try_zeros_like(&(1, x.shape().0))?;
    (x.try_permute::<_, Axes2<1, 0>>()?.try_contiguous()?, zeros).try_concat_along(Axis::<0>)
}

fn multiply_groups<D: Device<f32>, T: Tape<f32, D>>(
    columns: Batch<D, T>,
    weight: &Flat<D>,
    bias: Option<&Flat<D>>,
    shape: &Conv2d,
) -> Result<Batch<D, T>, D::Err> {
    let n = columns.shape().1;
    let device = columns.device().clone();
    let (each, patch) = (shape.filters / shape.groups, shape.patch());
    let across = shape.output().area() * n;
    let weight = weight.retaped::<T>().try_reshape_like(&(shape.filters, patch))?;
    let mut rows: Option<Batch<D, T>> = None;
    for g in 0..shape.groups {
        let index = patch_index(shape, g);
        let len = index.len();
        let index: Tensor<(usize,), usize, D> = device.try_tensor_from_vec(index, (len,))?;
        let patches: Batch<D, T> = columns.with_empty_tape().try_gather(index)?;
        let patches = patches.try_reshape_like(&(patch, across))?;
        let filters: Vec<usize> = (g * each..(g + 1) * each).collect();
        let filters: Tensor<(usize,), usize, D> = device.try_tensor_from_vec(filters, (each,))?;
        let filters: Batch<D, T> = weight.with_empty_tape().try_gather(filters)?;
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

fn check(x: &(usize, usize), weight: usize, bias: Option<usize>, shape: &Conv2d) {
    assert_eq!(shape.validate(), Ok(()), "conv2d: the shape is not valid");
    assert_eq!(x.1, shape.input.len(), "conv2d: x is not [N, {}]", shape.input);
    assert_eq!(weight, shape.weight_len(), "conv2d: the weight's length is wrong");
    if let Some(bias) = bias {
        assert_eq!(bias, shape.filters, "conv2d: the bias is not [{}]", shape.filters);
    }
}
