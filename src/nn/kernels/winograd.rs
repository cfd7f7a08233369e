//! Convolution of stride 1 with 3x3 and 5x5 kernels by Winograd's minimal filtering, F(4x4, 3x3)
//! and F(4x4, 5x5): 4 and 6.25 times fewer multiplications than the definition.
//!
//! A tile of inputs, a filter and a tile of outputs become values at `COUNT²` points, where the
//! convolution is a product of matrices: channels by filters, a column for each tile and lane. A
//! block's tiles go through in strips that fit the second-level cache together with what is made of
//! them: transform, one product a point, transform back. A lane is an image, so transforms are
//! plain vector arithmetic. For the weights' gradient, channels take the place of lanes in the
//! inputs, so that this too is a product with columns in vectors.
//!
//! Rounding: about 1e-5 of the largest output forward, against 1e-6 by definition.

mod points;
mod weights;

use super::finish::{Finish, FinishRows};
use super::frame::Frame;
use super::product::{ProductColumns, TILE_COLUMNS, Tile, TileRows, TileStart, product, tile_rows};
use super::vector::Vector;
use super::{Fresh, LANES, transpose};
use crate::memory;
use crate::nn::geometry::Conv2d;
use points::{
    Five, InputBackTransform, InputTransform, MOST, OUTPUTS, OutputBackTransform, OutputTransform,
    Points, Three, TileTransform,
};
pub use weights::PointWeights;

/// Bytes that a strip's values may take: most of a second-level cache.
const STRIP_BYTES: usize = 3 << 19;

/// Weights beyond these bytes come from memory for every strip: strips must be long then.
const HEAVY_BYTES: usize = 1 << 22;

/// A convolution of stride 1, ungrouped, with a 3x3 or 5x5 kernel.
#[derive(Debug, Clone)]
pub struct Winograd {
    channels: usize,
    filters: usize,
    kernel: usize,
    /// Rows and columns of tiles.
    tiles: (usize, usize),
    /// Rows and columns of the output.
    output: (usize, usize),
    /// How inputs are laid out for whole tiles.
    pub input: Frame,
    /// How output gradients are.
    pub gradient: Frame,
    /// Tiles of a strip.
    strip: usize,
}

impl Winograd {
    /// For `shape`, if it is of the kind and has channels and filters enough to gain by it.
    pub fn new(shape: &Conv2d) -> Option<Self> {
        let kernel = shape.kernel.0;
        let fits = shape.kernel == (kernel, kernel)
            && matches!(kernel, 3 | 5)
            && shape.stride == (1, 1)
            && shape.groups == 1
            && shape.input.channels >= LANES
            && shape.filters >= LANES;
        if !fits {
            return None;
        }
        let output = shape.output();
        let tiles = (output.height.div_ceil(OUTPUTS), output.width.div_ceil(OUTPUTS));
        let (channels, filters) = (shape.input.channels, shape.filters);
        let whole = (tiles.0 * OUTPUTS, tiles.1 * OUTPUTS);
        let points = (OUTPUTS + kernel - 1).pow(2);
        let tile_bytes = points * (channels + filters) * LANES * size_of::<f32>();
        let heavy = points * channels * filters * size_of::<f32>() > HEAVY_BYTES;
        let least = if heavy { 4 * TILE_COLUMNS } else { TILE_COLUMNS };
        let strip = (STRIP_BYTES / tile_bytes / TILE_COLUMNS * TILE_COLUMNS).max(least);
        Some(Self {
            channels,
            filters,
            kernel,
            tiles,
            output: (output.height, output.width),
            input: Frame {
                channels,
                input: (shape.input.height, shape.input.width),
                buffer: (whole.0 + kernel - 1, whole.1 + kernel - 1),
                origin: (shape.padding.0.cast_signed(), shape.padding.1.cast_signed()),
                spread: (1, 1),
            },
            gradient: Frame {
                channels: filters,
                input: (output.height, output.width),
                buffer: whole,
                origin: (0, 0),
                spread: (1, 1),
            },
            strip: strip.min(tiles.0 * tiles.1),
        })
    }

    fn points(&self) -> usize {
        (OUTPUTS + self.kernel - 1).pow(2)
    }

    /// Convolves an input laid by [`Winograd::input`] to `out` `[filters, H, W, 16]`, with `bias`
    /// and finished by `finish`.
    ///
    /// # Panics
    /// When a length does not agree.
    ///
    /// # Safety
    /// To be called from what [`Isa::run`](super::isa::Isa::run) runs with `V`, with weights that
    /// were packed for it.
    #[inline(always)]
    pub unsafe fn forward<V: Vector>(
        &self,
        buffer: &[f32],
        weights: &PointWeights,
        with: (Option<&[f32]>, Option<Finish>),
        out: &mut [f32],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.kernel {
                3 => self.forward_by::<V, Three>(buffer, weights, with, out),
                _ => self.forward_by::<V, Five>(buffer, weights, with, out),
            }
        }
    }

    #[inline(always)]
    unsafe fn forward_by<V: Vector, P: Points>(
        &self,
        buffer: &[f32],
        weights: &PointWeights,
        with: (Option<&[f32]>, Option<Finish>),
        out: &mut [f32],
    ) {
        assert!(buffer.len() >= self.input.len());
        assert!(with.1.is_none_or(|it| it.fits(self.filters, out.len())));
        assert_eq!(out.len(), self.filters * self.output.0 * self.output.1 * LANES);
        let (ins, outs) = (self.room(self.channels), self.room(self.filters));
        let (mut before, mut after) = (memory::take(ins), memory::take(outs));
        for strip in self.strips() {
            let count = strip.len() * LANES;
            // A row more than needed keeps the points apart in the cache's sets.
            let (b_point, c_point) = (self.channels * count + LANES, self.filters * count + LANES);
            // SAFETY: the caller's promise; rooms hold a whole strip.
            unsafe {
                self.inputs::<V, P>(buffer, &strip, &mut before, b_point);
                for (point, weights) in weights.matrices().enumerate() {
                    let columns = ProductColumns { count, b_row: count, c_row: count };
                    let (b, c) = (&before[point * b_point..], &mut after[point * c_point..]);
                    product::<V>(weights, b, c, columns, false);
                }
                self.outputs::<V, P>(&after, c_point, &strip, with, out);
            }
        }
        memory::give(before);
        memory::give(after);
    }

    /// From output gradients laid by [`Winograd::gradient`]: adds the input's gradient to `dx`, a
    /// buffer as [`Winograd::input`] lays it, and the weights' gradient at the points to `sums`,
    /// or writes it there where they are fresh.
    ///
    /// # Panics
    /// When a length does not agree.
    ///
    /// # Safety
    /// As [`Winograd::forward`].
    #[inline(always)]
    pub unsafe fn backward<V: Vector>(
        &self,
        dy: &[f32],
        dx: Option<(&PointWeights, &mut [f32])>,
        sums: Option<(&[f32], &mut [f32], Fresh)>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.kernel {
                3 => self.backward_by::<V, Three>(dy, dx, sums),
                _ => self.backward_by::<V, Five>(dy, dx, sums),
            }
        }
    }

    #[inline(always)]
    unsafe fn backward_by<V: Vector, P: Points>(
        &self,
        dy: &[f32],
        mut dx: Option<(&PointWeights, &mut [f32])>,
        mut sums: Option<(&[f32], &mut [f32], Fresh)>,
    ) {
        assert!(dy.len() >= self.gradient.len());
        let wide = self.channels.next_multiple_of(LANES);
        let mut gradients = memory::take(self.room(self.filters));
        let mut inputs = memory::take(self.room(wide));
        let mut turned = Vec::new();
        if let Some((buffer, sums, _)) = &sums {
            assert!(buffer.len() >= self.input.len() && sums.len() == self.sums_len());
            turned = memory::take(self.input.buffer.0 * self.input.buffer.1 * LANES * wide);
            transpose::to_channels(buffer, self.channels, &mut turned);
        }
        for strip in self.strips() {
            let count = strip.len() * LANES;
            let (p_point, q_point) = (self.filters * count + LANES, wide * count + LANES);
            // SAFETY: the caller's promise; rooms hold a whole strip.
            unsafe {
                self.output_gradients::<V, P>(dy, &strip, &mut gradients, p_point);
                if let Some((weights, dx)) = &mut dx {
                    assert!(dx.len() >= self.input.len());
                    for (point, weights) in weights.matrices().enumerate() {
                        let columns = ProductColumns { count, b_row: count, c_row: count };
                        let b = &gradients[point * p_point..];
                        product::<V>(weights, b, &mut inputs[point * q_point..], columns, false);
                    }
                    self.input_gradients::<V, P>(&inputs, q_point, &strip, dx);
                }
                if let Some((_, sums, Fresh(fresh))) = &mut sums {
                    self.turned_inputs::<V, P>(&turned, wide, &strip, &mut inputs, q_point);
                    for point in 0..P::COUNT * P::COUNT {
                        let a = gradients.as_ptr().add(point * p_point);
                        let b = inputs.as_ptr().add(point * q_point);
                        let c = sums.as_mut_ptr().add(point * self.filters * wide);
                        let start = if *fresh { TileStart::Zero } else { TileStart::Sum };
                        self.add_outer::<V>(a, b, (c, start), count, wide);
                    }
                    *fresh = false;
                }
            }
        }
        memory::give(gradients);
        memory::give(inputs);
        memory::give(turned);
    }

    /// `c [filters, wide]`, which begins with `start`, `+= a [filters, count] b [count, wide]`.
    #[inline(always)]
    unsafe fn add_outer<V: Vector>(
        &self,
        a: *const f32,
        b: *const f32,
        (c, start): (*mut f32, TileStart),
        count: usize,
        wide: usize,
    ) {
        let vectors = wide / V::LEN;
        for row in (0..self.filters).step_by(tile_rows::<V>()) {
            let rows = (self.filters - row).min(tile_rows::<V>());
            for first in (0..vectors).step_by(TILE_COLUMNS) {
                // SAFETY: the caller's matrices are of these sizes.
                unsafe {
                    let a = TileRows::Apart(a.add(row * count), count);
                    let c = c.add(row * wide);
                    let tile = Tile { a, rows, k: count, b, c, c_row: wide, start, finish: None };
                    let last = (vectors - first).min(TILE_COLUMNS);
                    tile.run::<V>(last, |at| (first + at) * V::LEN, (first * V::LEN, |i| i * wide));
                }
            }
        }
    }

    /// Room for a strip of `rows` rows at every point.
    fn room(&self, rows: usize) -> usize {
        self.points() * (rows * self.strip * LANES + LANES)
    }

    fn strips(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let (all, strip) = (self.tiles.0 * self.tiles.1, self.strip);
        (0..all).step_by(strip).map(move |first| first..(first + strip).min(all))
    }

    /// Row and column of the first pixel of a tile.
    fn corner(&self, tile: usize) -> (usize, usize) {
        (tile / self.tiles.1 * OUTPUTS, tile % self.tiles.1 * OUTPUTS)
    }

    /// Bᵀ d B of a strip's inputs, `[points, channels, tiles, 16]`.
    #[inline(always)]
    unsafe fn inputs<V: Vector, P: Points>(
        &self,
        buffer: &[f32],
        strip: &std::ops::Range<usize>,
        to: &mut [f32],
        point: usize,
    ) {
        let (rows, columns) = self.input.buffer;
        for channel in 0..self.channels {
            for (at, tile) in strip.clone().enumerate() {
                let (y, x) = self.corner(tile);
                let from = ((channel * rows + y) * columns + x) * LANES;
                let place = (channel * strip.len() + at) * LANES;
                for half in (0..LANES).step_by(V::LEN) {
                    // SAFETY: a tile lies inside the buffer, its points inside the room.
                    unsafe {
                        let first = buffer.as_ptr().add(from + half);
                        let from = Square { first, row: columns * LANES, column: LANES };
                        let first = to.as_mut_ptr().add(place + half);
                        let to = Square { first, row: P::COUNT * point, column: point };
                        both_ways::<V, InputTransform<P>>(from, to, Write::Set);
                    }
                }
            }
        }
    }

    /// The same with channels in lanes, `[points, tiles, 16 images, wide]`.
    #[inline(always)]
    unsafe fn turned_inputs<V: Vector, P: Points>(
        &self,
        turned: &[f32],
        wide: usize,
        strip: &std::ops::Range<usize>,
        to: &mut [f32],
        point: usize,
    ) {
        let columns = self.input.buffer.1;
        let pixel = LANES * wide;
        for (at, tile) in strip.clone().enumerate() {
            let (y, x) = self.corner(tile);
            for lane in (0..pixel).step_by(V::LEN) {
                // SAFETY: a tile lies inside the buffer, its points inside the room.
                unsafe {
                    let first = turned.as_ptr().add((y * columns + x) * pixel + lane);
                    let from = Square { first, row: columns * pixel, column: pixel };
                    let first = to.as_mut_ptr().add(at * pixel + lane);
                    let to = Square { first, row: P::COUNT * point, column: point };
                    both_ways::<V, InputTransform<P>>(from, to, Write::Set);
                }
            }
        }
    }

    /// Aᵀ m A of a strip's products, plus bias, finished and cut to the output's size.
    #[inline(always)]
    unsafe fn outputs<V: Vector, P: Points>(
        &self,
        from: &[f32],
        point: usize,
        strip: &std::ops::Range<usize>,
        (bias, finish): (Option<&[f32]>, Option<Finish>),
        out: &mut [f32],
    ) {
        let (rows, columns) = self.output;
        for filter in 0..self.filters {
            let bias = bias.map_or(0.0, |bias| bias[filter]);
            for (at, tile) in strip.clone().enumerate() {
                let (y, x) = self.corner(tile);
                let place = (filter * strip.len() + at) * LANES;
                let to = ((filter * rows + y) * columns + x) * LANES;
                for half in (0..LANES).step_by(V::LEN) {
                    // SAFETY: only pixels inside the output are written.
                    unsafe {
                        let first = from.as_ptr().add(place + half);
                        let from = Square { first, row: P::COUNT * point, column: point };
                        let to_half = to + half;
                        let first = out.as_mut_ptr().add(to_half);
                        let to = Square { first, row: columns * LANES, column: LANES };
                        let cut = (rows - y, columns - x);
                        let write = match &finish {
                            None => Write::Cut(cut, bias),
                            Some(finish) => Write::Finish(cut, bias, finish.rows(filter, to_half)),
                        };
                        both_ways::<V, OutputTransform<P>>(from, to, write);
                    }
                }
            }
        }
    }

    /// A dy Aᵀ of a strip, `[points, filters, tiles, 16]`.
    #[inline(always)]
    unsafe fn output_gradients<V: Vector, P: Points>(
        &self,
        dy: &[f32],
        strip: &std::ops::Range<usize>,
        to: &mut [f32],
        point: usize,
    ) {
        let (rows, columns) = self.gradient.buffer;
        for filter in 0..self.filters {
            for (at, tile) in strip.clone().enumerate() {
                let (y, x) = self.corner(tile);
                let from = ((filter * rows + y) * columns + x) * LANES;
                let place = (filter * strip.len() + at) * LANES;
                for half in (0..LANES).step_by(V::LEN) {
                    // SAFETY: the buffer holds whole tiles.
                    unsafe {
                        let first = dy.as_ptr().add(from + half);
                        let from = Square { first, row: columns * LANES, column: LANES };
                        let first = to.as_mut_ptr().add(place + half);
                        let to = Square { first, row: P::COUNT * point, column: point };
                        both_ways::<V, OutputBackTransform<P>>(from, to, Write::Set);
                    }
                }
            }
        }
    }

    /// Adds B q Bᵀ of a strip to `dx`.
    #[inline(always)]
    unsafe fn input_gradients<V: Vector, P: Points>(
        &self,
        from: &[f32],
        point: usize,
        strip: &std::ops::Range<usize>,
        dx: &mut [f32],
    ) {
        let (rows, columns) = self.input.buffer;
        for channel in 0..self.channels {
            for (at, tile) in strip.clone().enumerate() {
                let (y, x) = self.corner(tile);
                let place = (channel * strip.len() + at) * LANES;
                let to = ((channel * rows + y) * columns + x) * LANES;
                for half in (0..LANES).step_by(V::LEN) {
                    // SAFETY: a tile lies inside the buffer.
                    unsafe {
                        let first = from.as_ptr().add(place + half);
                        let from = Square { first, row: P::COUNT * point, column: point };
                        let first = dx.as_mut_ptr().add(to + half);
                        let to = Square { first, row: columns * LANES, column: LANES };
                        both_ways::<V, InputBackTransform<P>>(from, to, Write::Add);
                    }
                }
            }
        }
    }
}

/// Where vector (i, j) of a square is.
#[derive(Clone, Copy)]
struct Square<T> {
    first: T,
    row: usize,
    column: usize,
}

impl<T> Square<T> {
    #[inline(always)]
    fn at(&self, i: usize, j: usize) -> usize {
        i * self.row + j * self.column
    }
}

/// How a transformed square is written.
#[derive(Clone, Copy)]
enum Write<'a> {
    Set,
    Add,
    /// Only so many rows and columns, plus a number.
    Cut((usize, usize), f32),
    /// The same, and finished.
    Finish((usize, usize), f32, FinishRows<'a>),
}

/// Transforms the columns of a square, then the rows of what came.
///
/// Everything here is inlined, closures are not used: only so is it compiled for the instruction
/// set, and 64 vectors do not go through memory one call at a time.
///
/// # Safety
/// As [`Vector`]; `from` can be read, and `to` written where `write` says.
#[expect(clippy::needless_range_loop, reason = "an index is a place in the square")]
#[inline(always)]
unsafe fn both_ways<V: Vector, T: TileTransform>(
    from: Square<*const f32>,
    to: Square<*mut f32>,
    write: Write,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut half = [[V::zero(); MOST]; MOST];
        for column in 0..T::FROM {
            let mut values = [V::zero(); MOST];
            for row in 0..T::FROM {
                values[row] = V::load(from.first.add(from.at(row, column)));
            }
            let values = T::apply(values);
            for row in 0..T::TO {
                half[row][column] = values[row];
            }
        }
        for row in 0..T::TO {
            let values = T::apply(half[row]);
            for column in 0..T::TO {
                let place = to.at(row, column);
                let to = to.first.add(place);
                match write {
                    Write::Set => values[column].store(to),
                    Write::Add => values[column].add(V::load(to)).store(to),
                    Write::Cut((rows, columns), number) => {
                        if row < rows && column < columns {
                            values[column].add(V::splat(number)).store(to);
                        }
                    }
                    Write::Finish((rows, columns), number, finish) => {
                        if row < rows && column < columns {
                            let sum = values[column].add(V::splat(number));
                            finish.apply(0, place, sum).store(to);
                        }
                    }
                }
            }
        }
    }
}
