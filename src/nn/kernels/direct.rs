//! Convolution straight from its definition, for any kernel, stride, padding and groups.
//!
//! A block's maps are first laid into a buffer with a border of zeros, so that no kernel asks where
//! the image ends. Forward, a tile of a few filters by three vectors of neighbouring output pixels
//! stays in registers while all weights of a filter pass by: the tile of a matrix product whose
//! second matrix is never built, only pointed at. The input's gradient is the same operation on the
//! output's gradient, spread out by the stride, with flipped filters. For the weights' gradient a
//! tile of filters by neighbouring kernel columns stays in registers while all pixels of a block
//! pass by.

use std::ops::Range;

use super::LANES;
use super::finish::Finish;
use super::frame::Frame;
use super::product::{PackedRows, TILE_COLUMNS, Tile, TileRows, TileStart, tile_rows};
use super::vector::Vector;
use crate::memory;
use crate::nn::geometry::Conv2d;

/// Numbers that may be counted on to stay in the first-level cache: half of 32 kB.
const CACHED: usize = 4096;

/// A convolution without padding on a framed buffer.
#[derive(Debug, Clone)]
pub struct Direct {
    /// How maps are laid into the buffer.
    pub frame: Frame,
    filters: usize,
    groups: usize,
    kernel: (usize, usize),
    stride: (usize, usize),
    /// Rows and columns of the output.
    output: (usize, usize),
    /// Where the weights of a filter look, from the pixel at their top left: `[c, kh, kw]`.
    offsets: Vec<usize>,
}

impl Direct {
    /// The forward pass of `shape`.
    pub fn forward_of(shape: &Conv2d) -> Self {
        let output = shape.output();
        let buffer =
            (shape.input.height + 2 * shape.padding.0, shape.input.width + 2 * shape.padding.1);
        let frame = Frame {
            channels: shape.input.channels,
            input: (shape.input.height, shape.input.width),
            buffer,
            origin: (shape.padding.0.cast_signed(), shape.padding.1.cast_signed()),
            spread: (1, 1),
        };
        Self {
            frame,
            filters: shape.filters,
            groups: shape.groups,
            kernel: shape.kernel,
            stride: shape.stride,
            output: (output.height, output.width),
            offsets: offsets(shape.input.channels / shape.groups, shape.kernel, buffer),
        }
    }

    /// The gradient of the input of `shape`, as a convolution of the output's gradient.
    pub fn input_gradient_of(shape: &Conv2d) -> Self {
        let output = shape.output();
        let (rows, columns) = shape.kernel;
        let buffer = (shape.input.height + rows - 1, shape.input.width + columns - 1);
        let origin =
            |kernel: usize, padding: usize| (kernel - 1).cast_signed() - padding.cast_signed();
        let frame = Frame {
            channels: shape.filters,
            input: (output.height, output.width),
            buffer,
            origin: (origin(rows, shape.padding.0), origin(columns, shape.padding.1)),
            spread: shape.stride,
        };
        Self {
            frame,
            filters: shape.input.channels,
            groups: shape.groups,
            kernel: shape.kernel,
            stride: (1, 1),
            output: (shape.input.height, shape.input.width),
            offsets: offsets(shape.filters / shape.groups, shape.kernel, buffer),
        }
    }

    /// Packs weights `[filters, channels / groups, kh, kw]` for [`Direct::run`], a matrix a group.
    pub fn pack<V: Vector>(&self, weight: &[f32]) -> Vec<PackedRows> {
        let (each, patch) = (self.filters / self.groups, self.offsets.len());
        let group = |g: usize| {
            PackedRows::new(each, patch, tile_rows::<V>(), |row, column| {
                weight[(g * each + row) * patch + column]
            })
        };
        (0..self.groups).map(group).collect()
    }

    /// As [`Direct::pack`] for [`Direct::input_gradient_of`] `shape`: flipped, channels and filters
    /// exchanged.
    pub fn pack_flipped<V: Vector>(&self, weight: &[f32]) -> Vec<PackedRows> {
        let area = self.kernel.0 * self.kernel.1;
        let (each, theirs) = (self.filters / self.groups, self.frame.channels / self.groups);
        let group = |g: usize| {
            PackedRows::new(each, theirs * area, tile_rows::<V>(), |row, column| {
                let (filter, at) = (column / area, column % area);
                weight[((g * theirs + filter) * each + row) * area + area - 1 - at]
            })
        };
        (0..self.groups).map(group).collect()
    }

    /// Convolves a buffer with packed weights and writes `[filters, H, W, 16]` to `out`, each
    /// filter's sums beginning with its `bias` and finished by `finish`; adds to `out` with `add`.
    ///
    /// # Panics
    /// When a length does not agree.
    ///
    /// # Safety
    /// To be called from what [`Isa::run`](super::isa::Isa::run) runs with `V`, with weights that
    /// were packed for it.
    #[inline(always)]
    pub unsafe fn run<V: Vector>(
        &self,
        buffer: &[f32],
        weights: &[PackedRows],
        (bias, finish): (Option<&[f32]>, Option<Finish>),
        out: &mut [f32],
        add: bool,
    ) {
        let (rows, columns) = self.output;
        let plane = rows * columns * LANES;
        assert!(finish.is_none_or(|it| it.fits(self.filters, out.len())));
        let row_len = self.frame.buffer.1 * LANES;
        assert!(buffer.len() >= self.frame.len() && out.len() == self.filters * plane);
        assert!(weights.len() == self.groups && bias.is_none_or(|it| it.len() == self.filters));
        let each = self.filters / self.groups;
        let of_group = self.frame.channels / self.groups * self.frame.buffer.0 * row_len;
        let halves = LANES / V::LEN;
        let vectors = columns * halves;
        for (g, weights) in weights.iter().enumerate() {
            let weights = weights.panels();
            assert!(weights.rows == each && weights.k == self.offsets.len());
            for filter in (0..each).step_by(weights.group) {
                let count = (each - filter).min(weights.group);
                let first = g * each + filter;
                let start = match bias {
                    _ if add => TileStart::Sum,
                    Some(bias) => TileStart::Rows(&bias[first..first + count]),
                    None => TileStart::Zero,
                };
                for y in 0..rows {
                    for vector in (0..vectors).step_by(TILE_COLUMNS) {
                        // SAFETY: a window that begins at an output pixel ends inside the buffer.
                        unsafe {
                            let group = weights.group_at(filter).as_ptr();
                            let place = first * plane + y * columns * LANES;
                            let tile = Tile {
                                a: TileRows::Packed(group),
                                rows: count,
                                k: weights.k,
                                b: buffer.as_ptr().add(g * of_group + y * self.stride.0 * row_len),
                                c: out.as_mut_ptr().add(place),
                                c_row: plane,
                                start,
                                finish: finish.map(|finish| finish.rows(first, place)),
                            };
                            let from = |at: usize| {
                                let at = vector + at;
                                at / halves * self.stride.1 * LANES + at % halves * V::LEN
                            };
                            let last = (vectors - vector).min(TILE_COLUMNS);
                            let offset = |i: usize| *self.offsets.get_unchecked(i);
                            tile.run::<V>(last, from, (vector * V::LEN, offset));
                        }
                    }
                }
            }
        }
    }

    /// Adds the gradient of the weights of filters `first..` to `dw`, `[filters, patch]`, from a
    /// buffer and those filters' output gradient `dy`, `[count, H, W, 16]`.
    ///
    /// # Panics
    /// When a length does not agree.
    ///
    /// # Safety
    /// To be called from what [`Isa::run`](super::isa::Isa::run) runs with `V`.
    #[inline(always)]
    pub unsafe fn add_weight_gradient<V: Vector>(
        &self,
        buffer: &[f32],
        dy: &[f32],
        first: usize,
        dw: &mut [f32],
    ) {
        let plane = self.output.0 * self.output.1 * LANES;
        let (count, patch) = (dy.len() / plane, self.offsets.len());
        assert!(buffer.len() >= self.frame.len() && dy.len() == count * plane);
        assert!(first + count <= self.filters && dw.len() == self.filters * patch);
        let each = self.filters / self.groups;
        let of_group =
            self.frame.channels / self.groups * self.frame.buffer.0 * self.frame.buffer.1 * LANES;
        let most = if V::REGISTERS >= 32 { 4 } else { 2 };
        let mut filter = 0;
        while filter < count {
            let g = (first + filter) / each;
            let left = ((g + 1) * each - first - filter).min(count - filter);
            let tile = if left >= most { most } else { 1 };
            let mut sums = memory::take(tile * patch * V::LEN);
            sums.fill(0.0);
            // So few rows that the gradients of the tile stay in the first-level cache.
            let together = (CACHED / (tile * self.output.1 * LANES)).max(1);
            for top in (0..self.output.0).step_by(together) {
                let rows = top..(top + together).min(self.output.0);
                for from in (0..patch).step_by(self.kernel.1) {
                    let mut column = 0;
                    while column < self.kernel.1 {
                        let wide = (self.kernel.1 - column).min(5);
                        // SAFETY: `dy` holds `tile` planes from `filter` on, every window lies
                        // inside the buffer, and `sums` holds a vector for each weight.
                        unsafe {
                            let at = g * of_group + self.offsets[from + column];
                            let x = buffer.as_ptr().add(at);
                            let dy = dy.as_ptr().add(filter * plane);
                            let sums = sums.as_mut_ptr().add((from + column) * tile * V::LEN);
                            let rows = rows.clone();
                            match (tile, wide) {
                                (4, 5) => self.sum_windows::<V, 4, 5>(rows, x, dy, sums),
                                (4, 4) => self.sum_windows::<V, 4, 4>(rows, x, dy, sums),
                                (4, 3) => self.sum_windows::<V, 4, 3>(rows, x, dy, sums),
                                (4, 2) => self.sum_windows::<V, 4, 2>(rows, x, dy, sums),
                                (4, _) => self.sum_windows::<V, 4, 1>(rows, x, dy, sums),
                                (2, 5) => self.sum_windows::<V, 2, 5>(rows, x, dy, sums),
                                (2, 4) => self.sum_windows::<V, 2, 4>(rows, x, dy, sums),
                                (2, 3) => self.sum_windows::<V, 2, 3>(rows, x, dy, sums),
                                (2, 2) => self.sum_windows::<V, 2, 2>(rows, x, dy, sums),
                                (2, _) => self.sum_windows::<V, 2, 1>(rows, x, dy, sums),
                                (_, 5) => self.sum_windows::<V, 1, 5>(rows, x, dy, sums),
                                (_, 4) => self.sum_windows::<V, 1, 4>(rows, x, dy, sums),
                                (_, 3) => self.sum_windows::<V, 1, 3>(rows, x, dy, sums),
                                (_, 2) => self.sum_windows::<V, 1, 2>(rows, x, dy, sums),
                                (_, _) => self.sum_windows::<V, 1, 1>(rows, x, dy, sums),
                            }
                        }
                        column += wide;
                    }
                }
            }
            for (weight, sums) in sums.chunks_exact(tile * V::LEN).enumerate() {
                for (at, sum) in sums.chunks_exact(V::LEN).enumerate() {
                    // SAFETY: a chunk is a vector.
                    let sum = unsafe { V::load(sum.as_ptr()).sum() };
                    dw[(first + filter + at) * patch + weight] += sum;
                }
            }
            memory::give(sums);
            filter += tile;
        }
    }

    /// Adds to `sums`, for each of `COLUMNS` neighbouring weights a vector for each of `FILTERS`.
    ///
    /// # Safety
    /// As [`Direct::add_weight_gradient`]; `x` is the window of the first output pixel, `dy` holds
    /// `FILTERS` planes.
    #[inline(always)]
    unsafe fn sum_windows<V: Vector, const FILTERS: usize, const COLUMNS: usize>(
        &self,
        pixel_rows: Range<usize>,
        x: *const f32,
        dy: *const f32,
        to: *mut f32,
    ) {
        let (rows, columns) = self.output;
        let plane = rows * columns * LANES;
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[V::zero(); COLUMNS]; FILTERS];
            for (filter, sums) in sums.iter_mut().enumerate() {
                for (column, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(to.add((column * FILTERS + filter) * V::LEN));
                }
            }
            for y in pixel_rows {
                let x = x.add(y * self.stride.0 * self.frame.buffer.1 * LANES);
                let dy = dy.add(y * columns * LANES);
                for at in (0..columns * LANES).step_by(V::LEN) {
                    let x = x.add(at / LANES * self.stride.1 * LANES + at % LANES);
                    let mut windows = [V::zero(); COLUMNS];
                    for (column, window) in windows.iter_mut().enumerate() {
                        *window = V::load(x.add(column * LANES));
                    }
                    for (filter, sums) in sums.iter_mut().enumerate() {
                        let dy = V::load(dy.add(filter * plane + at));
                        for (sum, window) in sums.iter_mut().zip(windows) {
                            *sum = window.mul_add(dy, *sum);
                        }
                    }
                }
            }
            for (filter, sums) in sums.into_iter().enumerate() {
                for (column, sum) in sums.into_iter().enumerate() {
                    sum.store(to.add((column * FILTERS + filter) * V::LEN));
                }
            }
        }
    }
}

fn offsets(channels: usize, kernel: (usize, usize), buffer: (usize, usize)) -> Vec<usize> {
    let mut offsets = Vec::with_capacity(channels * kernel.0 * kernel.1);
    for channel in 0..channels {
        for y in 0..kernel.0 {
            for x in 0..kernel.1 {
                offsets.push(((channel * buffer.0 + y) * buffer.1 + x) * LANES);
            }
        }
    }
    offsets
}
