//! Weights at the points, for both directions, and their gradient's way back.

use rayon::prelude::*;

use super::Winograd;
use super::points::{Five, Points, Three};
use crate::nn::kernels::LANES;
use crate::nn::kernels::isa::{Isa, Kernel};
use crate::nn::kernels::product::{Panels, tile_rows};
use crate::nn::kernels::vector::Vector;

/// Rows that are made at a time: those of the largest tile.
const TOGETHER: usize = 8;

/// Taps of the largest kernel, and points of its transform.
const TAPS: usize = 25;
const POINTS: usize = 64;

/// Weights at every point, a matrix each: `[rows / group, points, k, group]`, so that threads can
/// make them side by side.
#[derive(Debug, Clone)]
pub struct PointWeights {
    rows: usize,
    k: usize,
    group: usize,
    points: usize,
    values: Vec<f32>,
}

impl PointWeights {
    /// The matrices in the order of the points.
    pub(super) fn matrices(&self) -> impl Iterator<Item = Panels<'_>> {
        (0..self.points).map(|point| Panels {
            rows: self.rows,
            k: self.k,
            group: self.group,
            apart: self.points * self.k * self.group,
            values: &self.values[point * self.k * self.group..],
        })
    }
}

impl Winograd {
    /// Weights `[filters, channels, k, k]` for [`Winograd::forward`].
    pub fn pack<V: Vector>(&self, weight: &[f32]) -> PointWeights {
        let (filters, channels) = (self.filters, self.channels);
        self.pack_matrices::<V>(weight, (filters, channels), (channels, 1))
    }

    /// Weights for [`Winograd::backward`].
    pub fn pack_transposed<V: Vector>(&self, weight: &[f32]) -> PointWeights {
        let (filters, channels) = (self.filters, self.channels);
        self.pack_matrices::<V>(weight, (channels, filters), (1, channels))
    }

    /// G g Gᵀ as matrices `[rows, k]`; the kernel of (row, at) is number `row * strides.0 + at *
    /// strides.1`.
    fn pack_matrices<V: Vector>(
        &self,
        weight: &[f32],
        (rows, k): (usize, usize),
        strides: (usize, usize),
    ) -> PointWeights {
        let (group, points, taps) = (tile_rows::<V>(), self.points(), self.kernel * self.kernel);
        assert!(group <= TOGETHER && weight.len() == rows * k * taps, "weights");
        let mut values = vec![0.0; rows.div_ceil(group) * points * k * group];
        values.par_chunks_mut(points * k * group).enumerate().for_each(|(at_group, panel)| {
            let first = at_group * group;
            for at in 0..k {
                let mut kernels = [[0.0; TOGETHER]; TAPS];
                for lane in 0..group.min(rows - first) {
                    let from = ((first + lane) * strides.0 + at * strides.1) * taps;
                    for (kernels, tap) in kernels.iter_mut().zip(&weight[from..from + taps]) {
                        kernels[lane] = *tap;
                    }
                }
                let mut at_points = [[0.0; TOGETHER]; POINTS];
                self.transform(&kernels, &mut at_points);
                for (point, values) in at_points.iter().enumerate().take(points) {
                    let to = (point * k + at) * group;
                    panel[to..to + group].copy_from_slice(&values[..group]);
                }
            }
        });
        PointWeights { rows, k, group, points, values }
    }

    fn filter(&self) -> &'static [[f32; 5]] {
        if self.kernel == 3 { Three::FILTER } else { Five::FILTER }
    }

    /// G g Gᵀ of eight kernels.
    fn transform(&self, taps: &[[f32; TOGETHER]; TAPS], to: &mut [[f32; TOGETHER]; POINTS]) {
        let (kernel, g) = (self.kernel, self.filter());
        for (row, factors) in g.iter().enumerate() {
            let mut half = [[0.0; TOGETHER]; 5];
            for (column, half) in half.iter_mut().enumerate().take(kernel) {
                for (at, factor) in factors.iter().enumerate().take(kernel) {
                    add_times(half, *factor, &taps[at * kernel + column]);
                }
            }
            for (to, factors) in to[row * g.len()..].iter_mut().zip(g) {
                for (half, factor) in half.iter().zip(factors).take(kernel) {
                    add_times(to, *factor, half);
                }
            }
        }
    }

    /// Length of the sums of [`Winograd::backward`]: `[points, filters, channels to a multiple of 16]`.
    pub fn sums_len(&self) -> usize {
        self.points() * self.filters * self.channels.next_multiple_of(LANES)
    }

    /// Adds Gᵀ S G to `dw` `[filters, channels, k, k]`, S being the sums of [`Winograd::backward`], with the
    /// instructions of `isa`.
    ///
    /// # Panics
    /// When a length does not agree.
    pub fn add_weight_gradient(&self, isa: Isa, sums: &[f32], dw: &mut [f32]) {
        let taps = self.kernel * self.kernel;
        assert_eq!((sums.len(), dw.len()), (self.sums_len(), self.filters * self.channels * taps));
        dw.par_chunks_mut(self.channels * taps).enumerate().for_each(|(filter, dw)| {
            isa.run(FilterGradient { of: self, filter, sums, dw });
        });
    }
}

/// Adds Gᵀ S G to the gradient `dw` `[channels, k, k]` of one filter.
struct FilterGradient<'a> {
    of: &'a Winograd,
    filter: usize,
    sums: &'a [f32],
    dw: &'a mut [f32],
}

impl Kernel for FilterGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { of, filter, sums, dw } = self;
        let (kernel, g) = (of.kernel, of.filter());
        let taps = kernel * kernel;
        let wide = of.channels.next_multiple_of(LANES);
        let plane = of.filters * wide;
        for first in (0..of.channels).step_by(TOGETHER) {
            let mut ends = [[0.0; TOGETHER]; TAPS];
            for (row, factors) in g.iter().enumerate() {
                let mut half = [[0.0; TOGETHER]; 5];
                for (column, inner) in g.iter().enumerate() {
                    let from = (row * g.len() + column) * plane + filter * wide + first;
                    let values: &[f32; TOGETHER] =
                        sums[from..from + TOGETHER].try_into().expect("so many");
                    for (half, factor) in half.iter_mut().zip(inner).take(kernel) {
                        add_times(half, *factor, values);
                    }
                }
                for (ends, factor) in ends.chunks_mut(kernel).zip(factors).take(kernel) {
                    for (end, half) in ends.iter_mut().zip(&half) {
                        add_times(end, *factor, half);
                    }
                }
            }
            for lane in 0..TOGETHER.min(of.channels - first) {
                let to = (first + lane) * taps;
                for (dw, end) in dw[to..to + taps].iter_mut().zip(&ends) {
                    *dw += end[lane];
                }
            }
        }
    }
}

#[inline(always)]
fn add_times(sum: &mut [f32; TOGETHER], factor: f32, values: &[f32; TOGETHER]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
    }
}
