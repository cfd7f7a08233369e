//! What happens to one channel of a block between two convolutions: moments, pooling,
//! normalisation and rectification, and the way back. A plane is `[H, W, 16]` and in the cache.
//!
//! Pooling comes before normalisation here, though networks are written the other way round: a
//! scale that is not negative keeps the order of values, a negative one turns it, so the same pixel
//! wins, and only winners need be normalised.

use super::LANES;
use super::finish::{Affine, Finish};
use super::isa::{Isa, Kernel};
use super::vector::Vector;
use crate::nn::geometry::Pool2d;

/// Sum of `plane` in the lanes of `mask`, and the sum of squares about `about`.
pub fn sums(isa: Isa, plane: &[f32], mask: &[f32; LANES], about: f32) -> (f64, f64) {
    isa.run(SumsOf { plane, mask, about })
}

struct SumsOf<'a> {
    plane: &'a [f32],
    mask: &'a [f32; LANES],
    about: f32,
}

impl Kernel for SumsOf<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run<V: Vector>(self) -> (f64, f64) {
        let Self { plane, mask, about } = self;
        let mut totals = (0.0, 0.0);
        for half in (0..LANES).step_by(V::LEN) {
            // SAFETY: run by `Isa::run`; a pixel holds `LANES` numbers.
            unsafe {
                let (mask, about) = (V::load(mask.as_ptr().add(half)), V::splat(about));
                let (mut first, mut second) = (V::zero(), V::zero());
                for pixel in plane.chunks_exact(LANES) {
                    let x = V::load(pixel.as_ptr().add(half));
                    first = x.mul_add(mask, first);
                    let off = x.sub(about);
                    second = off.mul(off).mul_add(mask, second);
                }
                totals.0 += f64::from(first.sum());
                totals.1 += f64::from(second.sum());
            }
        }
        totals
    }
}

/// The winner of every window of `plane`, and which position of the window it has, row by row; the
/// first of equals. The largest wins, with a negative `sign` the smallest; NaN always.
///
/// # Panics
/// When a length does not agree with `shape`.
pub fn pool(
    isa: Isa,
    shape: &Pool2d,
    plane: &[f32],
    sign: f32,
    out: &mut [f32],
    winners: &mut [u8],
) {
    assert_eq!(plane.len(), shape.input.area() * LANES, "pool: input");
    assert_eq!((out.len(), winners.len()), (shape.output().area() * LANES, out.len()), "pool");
    isa.run(PoolOf { shape, plane, sign, out, winners });
}

struct PoolOf<'a> {
    shape: &'a Pool2d,
    plane: &'a [f32],
    sign: f32,
    out: &'a mut [f32],
    winners: &'a mut [u8],
}

impl Kernel for PoolOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { shape, plane, sign, out, winners } = self;
        let (output, width) = (shape.output(), shape.input.width);
        for row in 0..output.height {
            for column in 0..output.width {
                let window = Window::new(shape, row, column);
                let to = (row * output.width + column) * LANES;
                for half in (0..LANES).step_by(V::LEN) {
                    // SAFETY: run by `Isa::run`; a window lies inside the plane.
                    unsafe {
                        let sign = V::splat(sign);
                        let first = (window.top * width + window.left) * LANES + half;
                        let mut best = V::load(plane.as_ptr().add(first));
                        let mut key = best.mul(sign);
                        let mut winner = V::splat(window.position(0, 0));
                        for y in 0..window.rows {
                            for x in 0..window.columns {
                                let at = first + (y * width + x) * LANES;
                                let value = V::load(plane.as_ptr().add(at));
                                let new = value.mul(sign);
                                let position = V::splat(window.position(y, x));
                                winner = beats(new, key, position, winner);
                                best = beats(new, key, value, best);
                                key = beats(new, key, new, key);
                            }
                        }
                        best.store(out.as_mut_ptr().add(to + half));
                        winner.store_bytes(winners.as_mut_ptr().add(to + half));
                    }
                }
            }
        }
    }
}

/// `yes` where `new` is greater than `key` or NaN, else `no`.
#[inline(always)]
unsafe fn beats<V: Vector>(new: V, key: V, yes: V, no: V) -> V {
    // SAFETY: the caller's promise.
    unsafe { new.select_equal(new, new.select_greater(key, yes, no), yes) }
}

/// The part of a pooling window that is inside its image.
struct Window {
    top: usize,
    left: usize,
    rows: usize,
    columns: usize,
    /// Rows and columns cut off above and to the left, and the window's width.
    cut: (usize, usize),
    width: usize,
}

impl Window {
    #[inline(always)]
    fn new(shape: &Pool2d, row: usize, column: usize) -> Self {
        let (rows, columns) = shape.window(row, column);
        let above = shape.padding.0.saturating_sub(row * shape.stride.0);
        let before = shape.padding.1.saturating_sub(column * shape.stride.1);
        Self {
            top: rows.start,
            left: columns.start,
            rows: rows.len(),
            columns: columns.len(),
            cut: (above, before),
            width: shape.kernel.1,
        }
    }

    /// Number of a position within the whole window.
    #[inline(always)]
    fn position(&self, y: usize, x: usize) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "a window has at most 256 positions")]
        let position = ((y + self.cut.0) * self.width + x + self.cut.1) as f32;
        position
    }
}

/// `out = affine(x) + add`, rectified where `finish` says so; `finish` is for one channel.
///
/// # Panics
/// When lengths differ.
pub fn normalize(isa: Isa, x: &[f32], finish: Finish, out: &mut [f32]) {
    assert!(x.len() == out.len() && finish.fits(1, out.len()), "normalize");
    isa.run(NormalizeOf { x, finish, out });
}

struct NormalizeOf<'a> {
    x: &'a [f32],
    finish: Finish<'a>,
    out: &'a mut [f32],
}

impl Kernel for NormalizeOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { x, finish, out } = self;
        let finish = finish.rows(0, 0);
        for at in (0..out.len()).step_by(V::LEN) {
            // SAFETY: run by `Isa::run`; planes hold whole vectors and lengths were checked.
            unsafe {
                let y = finish.apply(0, at, V::load(x.as_ptr().add(at)));
                y.store(out.as_mut_ptr().add(at));
            }
        }
    }
}

#[inline(always)]
unsafe fn apply<V: Vector>(affine: Affine, x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe { x.mul_add(V::splat(affine.scale), V::splat(affine.shift)) }
}

/// Where a gradient passes on its way back through rectification.
#[derive(Debug, Clone, Copy)]
pub enum BackwardMask<'a> {
    /// Everywhere: there was none.
    Everywhere,
    /// Where this of the values was above zero and below a ceiling.
    Affine(Affine, f32),
    /// Where these are above zero and below a ceiling.
    Output(&'a [f32], f32),
}

/// `dy` where it passes, else 0. Returns the sum of that, and of its products with `x - about`.
///
/// # Panics
/// When lengths differ.
pub fn rectify_back(
    isa: Isa,
    (x, passes): (&[f32], BackwardMask),
    about: f32,
    dy: &[f32],
    out: &mut [f32],
) -> (f64, f64) {
    assert_eq!((x.len(), dy.len()), (out.len(), out.len()), "rectify_back");
    match passes {
        BackwardMask::Everywhere => isa.run(RectifyBack { x, passes: Always, about, dy, out }),
        BackwardMask::Affine(affine, ceiling) => {
            isa.run(RectifyBack { x, passes: ByAffine(affine, ceiling), about, dy, out })
        }
        BackwardMask::Output(y, ceiling) => {
            assert_eq!(y.len(), out.len(), "rectify_back");
            isa.run(RectifyBack { x, passes: ByOutput(y, ceiling), about, dy, out })
        }
    }
}

/// [`BackwardMask`] of one kind, so that the loop asks nothing.
trait Gate: Copy {
    /// `dy` where it passes at `at`, where the values are `x`.
    ///
    /// # Safety
    /// As [`Vector`]; `at` is a place of the plane.
    unsafe fn pass<V: Vector>(&self, at: usize, x: V, dy: V) -> V;
}

#[derive(Clone, Copy)]
struct Always;

#[derive(Clone, Copy)]
struct ByAffine(Affine, f32);

#[derive(Clone, Copy)]
struct ByOutput<'a>(&'a [f32], f32);

impl Gate for Always {
    #[inline(always)]
    unsafe fn pass<V: Vector>(&self, _: usize, _: V, dy: V) -> V {
        dy
    }
}

impl Gate for ByAffine {
    #[inline(always)]
    unsafe fn pass<V: Vector>(&self, _: usize, x: V, dy: V) -> V {
        // SAFETY: the caller's promise.
        unsafe { between(apply(self.0, x), self.1, dy) }
    }
}

impl Gate for ByOutput<'_> {
    #[inline(always)]
    unsafe fn pass<V: Vector>(&self, at: usize, _: V, dy: V) -> V {
        // SAFETY: the caller's promise; the output is as long as the plane.
        unsafe { between(V::load(self.0.as_ptr().add(at)), self.1, dy) }
    }
}

/// `dy` where `y` is above zero and below `ceiling`, else 0.
#[inline(always)]
unsafe fn between<V: Vector>(y: V, ceiling: f32, dy: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let below = V::splat(ceiling).select_greater(y, dy, V::zero());
        y.select_greater(V::zero(), below, V::zero())
    }
}

struct RectifyBack<'a, G> {
    x: &'a [f32],
    passes: G,
    about: f32,
    dy: &'a [f32],
    out: &'a mut [f32],
}

impl<G: Gate> Kernel for RectifyBack<'_, G> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run<V: Vector>(self) -> (f64, f64) {
        let Self { x, passes, about, dy, out } = self;
        // SAFETY: run by `Isa::run`; planes hold whole vectors and lengths were checked.
        unsafe {
            let (mut first, mut second) = (V::zero(), V::zero());
            for at in (0..out.len()).step_by(V::LEN) {
                let (x, dy) = (V::load(x.as_ptr().add(at)), V::load(dy.as_ptr().add(at)));
                let dy = passes.pass(at, x, dy);
                dy.store(out.as_mut_ptr().add(at));
                first = first.add(dy);
                second = x.sub(V::splat(about)).mul_add(dy, second);
            }
            (f64::from(first.sum()), f64::from(second.sum()))
        }
    }
}

/// The gradient of a convolution's output: `scale * dy` at the winners, and everywhere in the
/// lanes of an image `shift + slope * x`, which is how a value moves all others through the moments.
#[derive(Debug, Clone, Copy)]
pub struct GradientSpread {
    /// Factor of the winners' gradients.
    pub scale: f32,
    /// Summand everywhere.
    pub shift: f32,
    /// Factor of the output itself.
    pub slope: f32,
}

/// Writes the gradient of a plane to `out`. `x` is the plane; it may be empty with a slope of 0.
/// Without pooling, `winners` is `None` and every pixel its own.
///
/// # Panics
/// When a length does not agree.
pub fn spread(
    isa: Isa,
    winners: Option<(&Pool2d, &[u8])>,
    (dy, x): (&[f32], &[f32]),
    spread: GradientSpread,
    mask: &[f32; LANES],
    out: &mut [f32],
) {
    assert!(x.is_empty() || x.len() == out.len(), "spread: plane");
    match winners {
        Some((pool, winners)) => {
            assert_eq!(out.len(), pool.input.area() * LANES, "spread: gradient");
            assert_eq!((dy.len(), winners.len()), (pool.output().area() * LANES, dy.len()));
        }
        None => assert_eq!(dy.len(), out.len(), "spread"),
    }
    isa.run(SpreadOf { winners, dy, x, spread, mask, out });
}

struct SpreadOf<'a> {
    winners: Option<(&'a Pool2d, &'a [u8])>,
    dy: &'a [f32],
    x: &'a [f32],
    spread: GradientSpread,
    mask: &'a [f32; LANES],
    out: &'a mut [f32],
}

impl Kernel for SpreadOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { winners, dy, x, spread, mask, out } = self;
        for half in (0..LANES).step_by(V::LEN) {
            // SAFETY: run by `Isa::run`; windows lie inside the plane, lengths were checked.
            unsafe {
                let mask = V::load(mask.as_ptr().add(half));
                let (shift, slope) =
                    (V::splat(spread.shift).mul(mask), V::splat(spread.slope).mul(mask));
                for at in (half..out.len()).step_by(LANES) {
                    let far = if x.is_empty() {
                        shift
                    } else {
                        V::load(x.as_ptr().add(at)).mul_add(slope, shift)
                    };
                    far.store(out.as_mut_ptr().add(at));
                }
                let scale = V::splat(spread.scale);
                let Some((pool, winners)) = winners else {
                    for at in (half..out.len()).step_by(LANES) {
                        let to = out.as_mut_ptr().add(at);
                        V::load(dy.as_ptr().add(at)).mul_add(scale, V::load(to)).store(to);
                    }
                    continue;
                };
                let (output, width) = (pool.output(), pool.input.width);
                for row in 0..output.height {
                    for column in 0..output.width {
                        let window = Window::new(pool, row, column);
                        let from = (row * output.width + column) * LANES + half;
                        let winner = V::load_bytes(winners.as_ptr().add(from));
                        let dy = V::load(dy.as_ptr().add(from)).mul(scale);
                        for y in 0..window.rows {
                            for x in 0..window.columns {
                                let pixel = (window.top + y) * width + window.left + x;
                                let to = out.as_mut_ptr().add(pixel * LANES + half);
                                let position = V::splat(window.position(y, x));
                                let share = winner.select_equal(position, dy, V::zero());
                                share.add(V::load(to)).store(to);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::geometry::{Chw, Rectifier};

    fn noise(len: usize, salt: usize) -> Vec<f32> {
        (0..len).map(|at| (((at + salt) * 7919 % 2017) as f32 / 1008.5) - 1.0).collect()
    }

    fn isas() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.available())
    }

    fn pools() -> [Pool2d; 3] {
        let pool = |height, width, kernel, stride, padding| Pool2d {
            input: Chw { channels: 1, height, width },
            kernel,
            stride,
            padding,
            ceil: kernel.0 == 3,
        };
        [
            pool(7, 6, (2, 2), (2, 2), (0, 0)),
            pool(9, 8, (3, 3), (2, 2), (1, 1)),
            pool(5, 5, (3, 2), (1, 2), (1, 0)),
        ]
    }

    /// Winner (its pixel) of each window and lane by the plainest means.
    fn winners(shape: &Pool2d, plane: &[f32], sign: f32) -> Vec<usize> {
        let output = shape.output();
        let mut all = Vec::new();
        for at in 0..output.area() * LANES {
            let (pixel, lane) = (at / LANES, at % LANES);
            let (row, column) = (pixel / output.width, pixel % output.width);
            let mut best: Option<usize> = None;
            for y in 0..shape.kernel.0 {
                for x in 0..shape.kernel.1 {
                    let y = (row * shape.stride.0 + y).wrapping_sub(shape.padding.0);
                    let x = (column * shape.stride.1 + x).wrapping_sub(shape.padding.1);
                    if y < shape.input.height && x < shape.input.width {
                        let at = (y * shape.input.width + x) * LANES + lane;
                        if best.is_none_or(|best| sign * plane[at] > sign * plane[best]) {
                            best = Some(at);
                        }
                    }
                }
            }
            all.push(best.unwrap());
        }
        all
    }

    #[test]
    fn pooling_finds_each_window_s_winner_and_sends_its_gradient_back() {
        for shape in pools() {
            let mut plane = noise(shape.input.area() * LANES, 3);
            // Equal values: the first must win.
            for at in (0..plane.len() - LANES).step_by(3) {
                plane[at + LANES] = plane[at];
            }
            let dy = noise(shape.output().area() * LANES, 5);
            for (isa, sign) in isas().flat_map(|isa| [1.0, -1.0, 0.0].map(|sign| (isa, sign))) {
                let expected = winners(&shape, &plane, sign);
                let mut out = vec![f32::NAN; dy.len()];
                let mut positions = vec![0; dy.len()];
                pool(isa, &shape, &plane, sign, &mut out, &mut positions);
                let values: Vec<f32> = expected.iter().map(|at| plane[*at]).collect();
                assert_eq!(out, values, "{isa} {shape:?}");
                let mut mask = [1.0; LANES];
                mask[15] = 0.0;
                let how = GradientSpread { scale: 2.0, shift: 0.5, slope: -0.25 };
                let mut dense = vec![f32::NAN; plane.len()];
                let winners = Some((&shape, positions.as_slice()));
                spread(isa, winners, (&dy, &plane), how, &mask, &mut dense);
                let mut slowly: Vec<f32> = plane
                    .iter()
                    .enumerate()
                    .map(|(at, x)| mask[at % LANES] * (0.5 - 0.25 * x))
                    .collect();
                for (at, dy) in expected.iter().zip(&dy) {
                    slowly[*at] += 2.0 * dy;
                }
                for (ours, theirs) in dense.iter().zip(&slowly) {
                    assert!((ours - theirs).abs() < 1e-5, "{isa} {shape:?}: {ours} {theirs}");
                }
            }
        }
    }

    #[test]
    fn not_a_number_wins_and_stays() {
        let shape = pools()[0];
        let mut plane = noise(shape.input.area() * LANES, 3);
        plane[LANES] = f32::NAN;
        for isa in isas() {
            let mut out = vec![0.0; shape.output().area() * LANES];
            let mut positions = vec![0; out.len()];
            pool(isa, &shape, &plane, 1.0, &mut out, &mut positions);
            assert!(out[0].is_nan() && !out[1].is_nan(), "{isa}");
            let mut rectified = vec![0.0; out.len()];
            let affine = [Affine { scale: 1.0, shift: 0.0 }];
            let finish = Finish { affine: &affine, add: None, relu: Some(Rectifier::Relu) };
            normalize(isa, &out, finish, &mut rectified);
            assert!(rectified[0].is_nan(), "{isa}");
        }
    }

    #[test]
    fn moments_leave_out_unused_lanes() {
        let plane = noise(10 * LANES, 1);
        let mut mask = [1.0; LANES];
        mask[3..].fill(0.0);
        let used = || plane.chunks(LANES).flat_map(|pixel| &pixel[..3]).map(|x| f64::from(*x));
        let (first, second): (f64, f64) = (used().sum(), used().map(|x| (x - 0.25).powi(2)).sum());
        for isa in isas() {
            let sums = sums(isa, &plane, &mask, 0.25);
            assert!((sums.0 - first).abs() < 1e-5 && (sums.1 - second).abs() < 1e-5, "{isa}");
        }
    }

    #[test]
    fn a_gradient_passes_where_the_output_was_positive_and_below_its_ceiling() {
        let (x, dy) = (noise(5 * LANES, 1), noise(5 * LANES, 2));
        let affine = Affine { scale: -1.5, shift: 0.25 };
        for isa in isas() {
            let mut out = vec![f32::NAN; x.len()];
            let sums =
                rectify_back(isa, (&x, BackwardMask::Affine(affine, 1.0)), 0.5, &dy, &mut out);
            let y: Vec<f32> = x.iter().map(|x| -1.5 * x + 0.25).collect();
            let mut by_output = vec![f32::NAN; x.len()];
            let again =
                rectify_back(isa, (&x, BackwardMask::Output(&y, 1.0)), 0.5, &dy, &mut by_output);
            assert_eq!((&by_output, again), (&out, sums), "{isa}");
            let expected: Vec<f32> = x
                .iter()
                .zip(&dy)
                .map(
                    |(x, dy)| {
                        if -1.5 * x + 0.25 > 0.0 && -1.5 * x + 0.25 < 1.0 { *dy } else { 0.0 }
                    },
                )
                .collect();
            assert_eq!(out, expected, "{isa}");
            let first: f64 = expected.iter().map(|dy| f64::from(*dy)).sum();
            let second: f64 =
                expected.iter().zip(&x).map(|(dy, x)| f64::from(dy * (x - 0.5))).sum();
            assert!((sums.0 - first).abs() < 1e-5 && (sums.1 - second).abs() < 1e-5, "{isa}");
        }
    }
}
