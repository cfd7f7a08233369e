//! The transforms of Winograd's minimal filtering (Winograd 1980; Lavin and Gray 2016) for four
//! outputs and kernels of three or five, by interpolation at 0, ±1, ±2, (±1/2,) ∞.
//!
//! A transform multiplies by a fixed matrix. Points come in pairs ±p, so the even and the odd half
//! of a row serve two rows: that halves the work.

use std::marker::PhantomData;

use crate::nn::kernels::vector::Vector;

/// Room for the largest transform.
pub const MOST: usize = 8;

/// A column of up to [`MOST`] vectors; what lies beyond a transform's length is ignored.
pub type VectorColumn<V> = [V; MOST];

/// Outputs of a tile in each direction.
pub const OUTPUTS: usize = 4;

/// One-dimensional transforms for a kernel size.
pub trait Points: Copy {
    /// Number of points, `OUTPUTS + KERNEL - 1`.
    const COUNT: usize;
    /// G, a row for each point: what the kernel is multiplied by.
    const FILTER: &'static [[f32; 5]];

    /// Bᵀ d of `COUNT` inputs.
    ///
    /// # Safety
    /// As [`Vector`]; so are all that follow.
    unsafe fn input<V: Vector>(d: VectorColumn<V>) -> VectorColumn<V>;
    /// B m, the transposed of [`Points::input`].
    ///
    /// # Safety
    /// As [`Vector`].
    unsafe fn input_back<V: Vector>(m: VectorColumn<V>) -> VectorColumn<V>;
    /// Aᵀ m: `OUTPUTS` from `COUNT`.
    ///
    /// # Safety
    /// As [`Vector`].
    unsafe fn output<V: Vector>(m: VectorColumn<V>) -> VectorColumn<V>;
    /// A y, the transposed of [`Points::output`].
    ///
    /// # Safety
    /// As [`Vector`].
    unsafe fn output_back<V: Vector>(y: VectorColumn<V>) -> VectorColumn<V>;
}

/// One of the transforms of [`Points`] as a type.
pub trait TileTransform {
    /// Numbers that go in.
    const FROM: usize;
    /// Numbers that come out.
    const TO: usize;
    /// Transforms a column.
    ///
    /// # Safety
    /// As [`Vector`].
    unsafe fn apply<V: Vector>(column: VectorColumn<V>) -> VectorColumn<V>;
}

/// [`Points::input`].
pub struct InputTransform<P>(PhantomData<P>);
/// [`Points::input_back`].
pub struct InputBackTransform<P>(PhantomData<P>);
/// [`Points::output`].
pub struct OutputTransform<P>(PhantomData<P>);
/// [`Points::output_back`].
pub struct OutputBackTransform<P>(PhantomData<P>);

impl<P: Points> TileTransform for InputTransform<P> {
    const FROM: usize = P::COUNT;
    const TO: usize = P::COUNT;
    #[inline(always)]
    unsafe fn apply<V: Vector>(column: VectorColumn<V>) -> VectorColumn<V> {
        // SAFETY: the caller's promise; so in all that follow.
        unsafe { P::input(column) }
    }
}

impl<P: Points> TileTransform for InputBackTransform<P> {
    const FROM: usize = P::COUNT;
    const TO: usize = P::COUNT;
    #[inline(always)]
    unsafe fn apply<V: Vector>(column: VectorColumn<V>) -> VectorColumn<V> {
        // SAFETY: see above.
        unsafe { P::input_back(column) }
    }
}

impl<P: Points> TileTransform for OutputTransform<P> {
    const FROM: usize = P::COUNT;
    const TO: usize = OUTPUTS;
    #[inline(always)]
    unsafe fn apply<V: Vector>(column: VectorColumn<V>) -> VectorColumn<V> {
        // SAFETY: see above.
        unsafe { P::output(column) }
    }
}

impl<P: Points> TileTransform for OutputBackTransform<P> {
    const FROM: usize = OUTPUTS;
    const TO: usize = P::COUNT;
    #[inline(always)]
    unsafe fn apply<V: Vector>(column: VectorColumn<V>) -> VectorColumn<V> {
        // SAFETY: see above.
        unsafe { P::output_back(column) }
    }
}

/// Kernels of three: points 0, ±1, ±2, ∞.
#[derive(Debug, Clone, Copy)]
pub struct Three;

/// Kernels of five: points 0, ±1, ±2, ±1/2, ∞.
#[derive(Debug, Clone, Copy)]
pub struct Five;

/// `x * factor + y`.
#[inline(always)]
unsafe fn times<V: Vector>(x: V, factor: f32, y: V) -> V {
    // SAFETY: the caller's promise.
    unsafe { x.mul_add(V::splat(factor), y) }
}

impl Points for Three {
    const COUNT: usize = 6;
    const FILTER: &'static [[f32; 5]] = &[
        [0.25, 0.0, 0.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0, 0.0, 0.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0, 0.0, 0.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0, 0.0, 0.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0],
    ];

    #[inline(always)]
    unsafe fn input<V: Vector>([d0, d1, d2, d3, d4, d5, ..]: VectorColumn<V>) -> VectorColumn<V> {
        // SAFETY: the caller's promise; so in all that follow.
        unsafe {
            let (even1, odd1) = (times(d2, -4.0, d4), times(d1, -4.0, d3));
            let (even2, odd2) = (d4.sub(d2), d3.sub(d1).mul(V::splat(2.0)));
            let first = times(d0, 4.0, times(d2, -5.0, d4));
            let last = times(d1, 4.0, times(d3, -5.0, d5));
            let z = V::zero();
            [first, even1.add(odd1), even1.sub(odd1), even2.add(odd2), even2.sub(odd2), last, z, z]
        }
    }

    #[inline(always)]
    unsafe fn input_back<V: Vector>(
        [m0, m1, m2, m3, m4, m5, ..]: VectorColumn<V>,
    ) -> VectorColumn<V> {
        // SAFETY: see above.
        unsafe {
            let (s1, d1, s2, d2) = (m1.add(m2), m1.sub(m2), m3.add(m4), m3.sub(m4));
            let z = V::zero();
            [
                m0.mul(V::splat(4.0)),
                times(d1, -4.0, times(d2, -2.0, m5.mul(V::splat(4.0)))),
                times(m0, -5.0, times(s1, -4.0, z.sub(s2))),
                times(d2, 2.0, times(m5, -5.0, d1)),
                m0.add(s1).add(s2),
                m5,
                z,
                z,
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<V: Vector>([m0, m1, m2, m3, m4, m5, ..]: VectorColumn<V>) -> VectorColumn<V> {
        // SAFETY: see above.
        unsafe {
            let (s1, d1, s2, d2) = (m1.add(m2), m1.sub(m2), m3.add(m4), m3.sub(m4));
            let z = V::zero();
            let last = times(d2, 8.0, d1.add(m5));
            [m0.add(s1).add(s2), times(d2, 2.0, d1), times(s2, 4.0, s1), last, z, z, z, z]
        }
    }

    #[inline(always)]
    unsafe fn output_back<V: Vector>([y0, y1, y2, y3, ..]: VectorColumn<V>) -> VectorColumn<V> {
        // SAFETY: see above.
        unsafe {
            let (even1, odd1) = (y0.add(y2), y1.add(y3));
            let (even2, odd2) = (times(y2, 4.0, y0), times(y3, 8.0, y1.add(y1)));
            let z = V::zero();
            [y0, even1.add(odd1), even1.sub(odd1), even2.add(odd2), even2.sub(odd2), y3, z, z]
        }
    }
}

impl Points for Five {
    const COUNT: usize = 8;
    const FILTER: &'static [[f32; 5]] = &[
        [-1.0, 0.0, 0.0, 0.0, 0.0],
        [-2.0 / 9.0, -2.0 / 9.0, -2.0 / 9.0, -2.0 / 9.0, -2.0 / 9.0],
        [-2.0 / 9.0, 2.0 / 9.0, -2.0 / 9.0, 2.0 / 9.0, -2.0 / 9.0],
        [1.0 / 90.0, 1.0 / 45.0, 2.0 / 45.0, 4.0 / 45.0, 8.0 / 45.0],
        [1.0 / 90.0, -1.0 / 45.0, 2.0 / 45.0, -4.0 / 45.0, 8.0 / 45.0],
        [32.0 / 45.0, 16.0 / 45.0, 8.0 / 45.0, 4.0 / 45.0, 2.0 / 45.0],
        [32.0 / 45.0, -16.0 / 45.0, 8.0 / 45.0, -4.0 / 45.0, 2.0 / 45.0],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ];

    #[inline(always)]
    unsafe fn input<V: Vector>(
        [d0, d1, d2, d3, d4, d5, d6, d7]: VectorColumn<V>,
    ) -> VectorColumn<V> {
        // SAFETY: see above.
        unsafe {
            let even1 = times(d4, -4.25, d2.add(d6));
            let odd1 = times(d3, -4.25, d1.add(d5));
            let even2 = times(d2, 0.25, times(d4, -1.25, d6));
            let odd2 = times(d1, 0.5, times(d3, -2.5, d5.add(d5)));
            let even3 = times(d2, 4.0, times(d4, -5.0, d6));
            let odd3 = times(d5, 0.5, times(d3, -2.5, d1.add(d1)));
            [
                times(d2.sub(d4), 5.25, d6.sub(d0)),
                even1.add(odd1),
                even1.sub(odd1),
                even2.add(odd2),
                even2.sub(odd2),
                even3.add(odd3),
                even3.sub(odd3),
                times(d3.sub(d5), 5.25, d7.sub(d1)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn input_back<V: Vector>(
        [m0, m1, m2, m3, m4, m5, m6, m7]: VectorColumn<V>,
    ) -> VectorColumn<V> {
        // SAFETY: see above.
        unsafe {
            let (s1, d1, s2, d2) = (m1.add(m2), m1.sub(m2), m3.add(m4), m3.sub(m4));
            let (s3, d3) = (m5.add(m6), m5.sub(m6));
            [
                V::zero().sub(m0),
                times(d2, 0.5, times(d3, 2.0, d1.sub(m7))),
                times(m0, 5.25, times(s2, 0.25, times(s3, 4.0, s1))),
                times(m7, 5.25, times(d2.add(d3), -2.5, d1.mul(V::splat(-4.25)))),
                times(m0, -5.25, times(s1, -4.25, times(s2, -1.25, s3.mul(V::splat(-5.0))))),
                times(m7, -5.25, times(d2, 2.0, times(d3, 0.5, d1))),
                m0.add(s1).add(s2.add(s3)),
                m7,
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<V: Vector>(
        [m0, m1, m2, m3, m4, m5, m6, m7]: VectorColumn<V>,
    ) -> VectorColumn<V> {
        // SAFETY: see above.
        unsafe {
            let (s1, d1, s2, d2) = (m1.add(m2), m1.sub(m2), m3.add(m4), m3.sub(m4));
            let (s3, d3) = (m5.add(m6), m5.sub(m6));
            let z = V::zero();
            [
                m0.add(s1).add(s2.add(s3)),
                times(d2, 2.0, times(d3, 0.5, d1)),
                times(s2, 4.0, times(s3, 0.25, s1)),
                times(d2, 8.0, times(d3, 0.125, d1.add(m7))),
                z,
                z,
                z,
                z,
            ]
        }
    }

    #[inline(always)]
    unsafe fn output_back<V: Vector>([y0, y1, y2, y3, ..]: VectorColumn<V>) -> VectorColumn<V> {
        // SAFETY: see above.
        unsafe {
            let (even1, odd1) = (y0.add(y2), y1.add(y3));
            let (even2, odd2) = (times(y2, 4.0, y0), times(y3, 8.0, y1.add(y1)));
            let even3 = times(y2, 0.25, y0);
            let odd3 = times(y3, 0.125, y1.mul(V::splat(0.5)));
            [
                y0,
                even1.add(odd1),
                even1.sub(odd1),
                even2.add(odd2),
                even2.sub(odd2),
                even3.add(odd3),
                even3.sub(odd3),
                y3,
            ]
        }
    }
}
