//! The passes of a convolution block over a batch on the CPU: blocks of sixteen images side by side,
//! each with its kernels while it is in the cache. Knows nothing of tensors and tapes.

use std::sync::Arc;

use rayon::prelude::*;

use super::block::{ConvBlock, PreparedWeights};
use crate::memory::{self, Buffer};
use crate::nn::geometry::Pool2d;
use crate::nn::geometry::Rectifier;
use crate::nn::kernels::conv::{Convolution, Packed};
use crate::nn::kernels::finish::Affine;
use crate::nn::kernels::finish::Finish;
use crate::nn::kernels::isa::Isa;
use crate::nn::kernels::plane::{self, BackwardMask, GradientSpread};
use crate::nn::kernels::{Fresh, LANES, maps};
use crate::nn::ops::ELEMENTS;
use crate::nn::ops::batch_norm::BatchMoments;

/// Pieces that a batch's weight gradients are summed in: enough for as many threads. They depend
/// on the batch, never on the number of threads.
const PIECES: usize = 8;

/// `scale * x + shift` of each channel, and what it came from.
pub(super) struct Normalizer {
    affine: Vec<Affine>,
    mean: Vec<f32>,
    /// 1 / sqrt(var + eps).
    inverse: Vec<f64>,
    /// Whether mean and variance are constants: a gradient goes through moments of the batch only.
    constants: Vec<bool>,
}

impl Normalizer {
    #[expect(clippy::cast_possible_truncation, reason = "the kernels' precision")]
    pub(super) fn new(moments: &BatchMoments, weight: &[f32], bias: &[f32], eps: f32) -> Self {
        let inverse: Vec<f64> =
            moments.var.iter().map(|var| 1.0 / (f64::from(*var) + f64::from(eps)).sqrt()).collect();
        let affine = (0..weight.len())
            .map(|at| {
                let scale = f64::from(weight[at]) * inverse[at];
                let shift = f64::from(bias[at]) - scale * f64::from(moments.mean[at]);
                Affine { scale: scale as f32, shift: shift as f32 }
            })
            .collect();
        let constants = vec![false; weight.len()];
        Self { affine, mean: moments.mean.clone(), inverse, constants }
    }

    /// The same with mean and variance of these channels as constants.
    pub(super) fn with_constants(self, constants: &[bool]) -> Self {
        Self { constants: constants.to_vec(), ..self }
    }

    pub(super) fn identity(filters: usize) -> Self {
        let affine = vec![Affine { scale: 1.0, shift: 0.0 }; filters];
        let (mean, inverse) = (vec![0.0; filters], vec![1.0; filters]);
        Self { affine, mean, inverse, constants: vec![true; filters] }
    }
}

/// 1, -1 or 0: the order in which values come out of a channel with this scale.
fn sign(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { scale.signum() }
}

/// A convolution's output before normalisation.
pub(super) struct Raw {
    values: Vec<f32>,
    /// Values and positions of the pooling's winners; empty without pooling.
    pooled: Vec<f32>,
    winners: Vec<u8>,
}

impl Raw {
    pub(super) fn give(self) {
        memory::give(self.values);
        memory::give(self.pooled);
    }

    /// What is normalised.
    fn end(&self) -> &[f32] {
        if self.pooled.is_empty() { &self.values } else { &self.pooled }
    }
}

/// What a forward pass is given.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub input: &'a [f32],
    pub bias: Option<&'a [f32]>,
    /// What is added before rectification.
    pub side: Option<&'a [f32]>,
}

/// What a backward step knows of the forward one.
pub(super) struct ForwardRecord {
    /// The raw output, where moments of the batch normalised it.
    pub raw: Option<Raw>,
    /// The end.
    pub output: Arc<Buffer>,
    /// Pooling's winners, where there is no raw output.
    pub winners: Vec<u8>,
}

impl ForwardRecord {
    /// Gives its buffers to the next block.
    pub(super) fn give(self) {
        if let Some(raw) = self.raw {
            raw.give();
        }
    }
}

/// The input's gradient.
pub(super) struct InputGradient {
    pub sum: Vec<f32>,
    pub fresh: Fresh,
}

/// Where gradients go to: those that are wanted.
pub(super) struct Sinks<'a> {
    /// The input, where the weights' gradient needs it.
    pub input: Option<&'a [f32]>,
    pub dx: Option<&'a mut InputGradient>,
    pub weight: Option<&'a mut Vec<f32>>,
    pub bias: Option<&'a mut Vec<f32>>,
    pub gamma: Option<&'a mut Vec<f32>>,
    pub beta: Option<&'a mut Vec<f32>>,
}

/// The weights of a block as the CPU prepared them.
///
/// # Panics
/// When another backend did.
pub(super) fn prepared(block: &ConvBlock) -> Arc<PreparedWeights> {
    Arc::downcast(Arc::clone(block.prepared)).expect("weights that the CPU prepared")
}

/// Everything that does not change between forward and backward.
pub(super) struct Work {
    prepared: Arc<PreparedWeights>,
    isa: Isa,
    pool: Option<Pool2d>,
    relu: Option<Rectifier>,
    side: bool,
    images: usize,
}

impl Work {
    pub(super) fn new(block: &ConvBlock, images: usize, side: bool) -> Self {
        let prepared = prepared(block);
        let isa = prepared.conv.isa();
        Self { prepared, isa, pool: block.pool, relu: block.relu, side, images }
    }

    fn conv(&self) -> &Convolution {
        &self.prepared.conv
    }

    pub(super) fn blocks(&self) -> usize {
        maps::blocks(self.images)
    }

    /// Numbers of the convolution's weights.
    pub(super) fn weight_len(&self) -> usize {
        self.conv().shape().weight_len()
    }

    pub(super) fn filters(&self) -> usize {
        self.conv().shape().filters
    }

    /// Numbers of a block of the input.
    pub(super) fn input_len(&self) -> usize {
        self.conv().shape().input.len() * LANES
    }

    /// Numbers of a plane of the convolution's output, and of the end.
    fn planes(&self) -> (usize, usize) {
        let raw = self.conv().shape().output().area() * LANES;
        (raw, self.pool.map_or(raw, |pool| pool.output().area() * LANES))
    }

    /// Convolves, with moments and, where there is pooling, winners by the signs of `scales`.
    pub(super) fn convolve(&self, given: Given, scales: &[f32]) -> (Raw, BatchMoments) {
        let (raw, end) = self.planes();
        let filters = self.filters();
        let pooled = if self.pool.is_some() { end } else { 0 };
        let mut values = memory::take(self.blocks() * filters * raw);
        let mut winners_values = memory::take(self.blocks() * filters * pooled);
        let mut winners = vec![0_u8; self.blocks() * filters * pooled];
        let mut sums = vec![(0.0, 0.0); self.blocks() * filters];
        values
            .par_chunks_mut(filters * raw)
            .zip(parts_mut(&mut winners_values, self.blocks()))
            .zip(parts_mut(&mut winners, self.blocks()))
            .zip(sums.par_chunks_mut(filters))
            .zip(given.input.par_chunks(self.input_len()))
            .enumerate()
            .for_each(|(at, ((((values, pooled), winners), sums), input))| {
                self.convolve_block(input, given.bias, None, values);
                let mask = maps::lane_mask(self.images, at);
                for (filter, plane) in values.chunks_exact(raw).enumerate() {
                    sums[filter] = self.block_moments(plane, &mask, at);
                    if let Some(pool) = &self.pool {
                        let to = filter * end..(filter + 1) * end;
                        let (pooled, winners) = (&mut pooled[to.clone()], &mut winners[to]);
                        plane::pool(self.isa, pool, plane, sign(scales[filter]), pooled, winners);
                    }
                }
            });
        (Raw { values, pooled: winners_values, winners }, self.moments(&sums))
    }

    fn convolve_block(
        &self,
        input: &[f32],
        bias: Option<&[f32]>,
        finish: Option<Finish>,
        out: &mut [f32],
    ) {
        let mut buffer = memory::take(self.conv().buffer_len());
        self.conv().lay(input, &mut buffer);
        self.conv().forward(&buffer, &self.prepared.forward, bias, finish, out);
        memory::give(buffer);
    }

    /// Mean of a plane and the sum of squares about it.
    fn block_moments(&self, plane: &[f32], mask: &[f32; LANES], block: usize) -> (f64, f64) {
        let count = self.values_of(block);
        let mean = plane::sums(self.isa, plane, mask, 0.0).0 / count;
        #[expect(clippy::cast_possible_truncation, reason = "any number near the mean will do")]
        let about = mean as f32;
        let (sum, squares) = plane::sums(self.isa, plane, mask, about);
        let mean = sum / count;
        (mean, squares - count * (mean - f64::from(about)).powi(2))
    }

    /// Values of a channel of a block's raw output that count.
    #[expect(clippy::cast_precision_loss, reason = "a block is far below 2^53 values")]
    fn values_of(&self, block: usize) -> f64 {
        (maps::lanes_used(self.images, block) * self.conv().shape().output().area()) as f64
    }

    /// Moments of the batch from those of its blocks, joined in their order (Chan et al. 1979).
    #[expect(clippy::cast_possible_truncation, reason = "the kernels' precision")]
    fn moments(&self, of_blocks: &[(f64, f64)]) -> BatchMoments {
        let filters = self.filters();
        let (mut mean, mut var) = (Vec::with_capacity(filters), Vec::with_capacity(filters));
        for filter in 0..filters {
            let (mut count, mut average, mut squares) = (0.0, 0.0, 0.0);
            for block in 0..self.blocks() {
                let (theirs, of_them) = of_blocks[block * filters + filter];
                let (more, off) = (self.values_of(block), theirs - average);
                let all = count + more;
                squares += of_them + off * off * count * more / all;
                average += off * more / all;
                count = all;
            }
            mean.push(average as f32);
            var.push((squares / count) as f32);
        }
        BatchMoments { mean, var }
    }

    /// The end of a raw output, plus `side`.
    pub(super) fn normalize(
        &self,
        raw: &Raw,
        side: Option<&[f32]>,
        normalizer: &Normalizer,
    ) -> Vec<f32> {
        let (_, end) = self.planes();
        let mut out = memory::take(raw.end().len());
        out.par_chunks_mut(end).zip(raw.end().par_chunks(end)).enumerate().for_each(
            |(at, (out, x))| {
                let affine = std::slice::from_ref(&normalizer.affine[at % self.filters()]);
                let add = side.map(|side| &side[at * end..(at + 1) * end]);
                plane::normalize(self.isa, x, Finish { affine, add, relu: self.relu }, out);
            },
        );
        out
    }

    /// The end in one go, and winners where there is pooling: for a normalizer that is known.
    pub(super) fn convolve_and_normalize(
        &self,
        given: Given,
        normalizer: &Normalizer,
    ) -> (Vec<f32>, Vec<u8>) {
        let (_, end) = self.planes();
        let len = self.filters() * end;
        let mut out = memory::take(self.blocks() * len);
        let mut winners = Vec::new();
        let side = |block: usize| given.side.map(|side| &side[block * len..(block + 1) * len]);
        let blocks = || given.input.par_chunks(self.input_len()).enumerate();
        if let Some(pool) = &self.pool {
            winners = vec![0; out.len()];
            out.par_chunks_mut(len).zip(winners.par_chunks_mut(len)).zip(blocks()).for_each(
                |((out, winners), (block, input))| {
                    let side = side(block);
                    self.pool_block((input, given.bias, side), pool, normalizer, out, winners);
                },
            );
        } else {
            out.par_chunks_mut(len).zip(blocks()).for_each(|(out, (block, input))| {
                let affine = &normalizer.affine;
                let finish = Finish { affine, add: side(block), relu: self.relu };
                self.convolve_block(input, given.bias, Some(finish), out);
            });
        }
        (out, winners)
    }

    fn pool_block(
        &self,
        (input, bias, side): (&[f32], Option<&[f32]>, Option<&[f32]>),
        pool: &Pool2d,
        normalizer: &Normalizer,
        out: &mut [f32],
        winners: &mut [u8],
    ) {
        let (raw, end) = self.planes();
        let mut values = memory::take(self.filters() * raw);
        let mut pooled = memory::take(end);
        self.convolve_block(input, bias, None, &mut values);
        for (filter, plane) in values.chunks_exact(raw).enumerate() {
            let to = filter * end..(filter + 1) * end;
            let affine = std::slice::from_ref(&normalizer.affine[filter]);
            let sign = sign(affine[0].scale);
            plane::pool(self.isa, pool, plane, sign, &mut pooled, &mut winners[to.clone()]);
            let add = side.map(|side| &side[to.clone()]);
            let finish = Finish { affine, add, relu: self.relu };
            plane::normalize(self.isa, &pooled, finish, &mut out[to]);
        }
        memory::give(values);
        memory::give(pooled);
    }

    /// All gradients from that of the end, `dy`. Returns `dy` where the end was positive, which is
    /// the gradient of what was added.
    pub(super) fn backward(
        &self,
        dy: &[f32],
        past: &ForwardRecord,
        normalizer: &Normalizer,
        into: Sinks,
    ) -> Vec<f32> {
        let (rectified, totals) = self.rectify_back(dy, past, normalizer);
        #[expect(clippy::cast_possible_truncation, reason = "the kernels' precision")]
        let share = |filter: usize| {
            [totals[filter].1 * normalizer.inverse[filter], totals[filter].0].map(|it| it as f32)
        };
        for (sums, which) in [(into.gamma, 0), (into.beta, 1)] {
            for (filter, sum) in sums.into_iter().flatten().enumerate() {
                *sum += share(filter)[which];
            }
        }
        let spreads = self.spreads(normalizer, &totals);
        // Moments take a constant out again: before them, a bias learns nothing.
        if let Some(bias) = into.bias {
            let each = bias.iter_mut().zip(spreads.iter().zip(&totals)).zip(&normalizer.constants);
            for ((bias, (spread, total)), _) in each.filter(|(_, constant)| **constant) {
                #[expect(clippy::cast_possible_truncation, reason = "the kernels' precision")]
                let sum = (f64::from(spread.scale) * total.0) as f32;
                *bias += sum;
            }
        }
        let input = if into.weight.is_some() { into.input } else { None };
        let pieces = Pieces { past, spreads: &spreads, input, rectified: &rectified };
        self.through_convolution(&pieces, into.dx, into.weight);
        rectified
    }

    /// `dy` where the end was positive, and each channel's sum of it and of its products with the
    /// raw values about their mean.
    fn rectify_back(
        &self,
        dy: &[f32],
        past: &ForwardRecord,
        normalizer: &Normalizer,
    ) -> (Vec<f32>, Vec<(f64, f64)>) {
        let (_, end) = self.planes();
        let filters = self.filters();
        let mut rectified = memory::take(dy.len());
        let mut sums = vec![(0.0, 0.0); self.blocks() * filters];
        let x = past.raw.as_ref().map_or(&**past.output, Raw::end);
        let by_output = past.raw.is_none() || self.side;
        rectified
            .par_chunks_mut(end)
            .zip(sums.par_iter_mut())
            .zip(x.par_chunks(end).zip(dy.par_chunks(end)))
            .enumerate()
            .for_each(|(at, ((out, sums), (x, dy)))| {
                let filter = at % filters;
                let passes = match (self.relu, by_output) {
                    (None, _) => BackwardMask::Everywhere,
                    (Some(relu), true) => {
                        BackwardMask::Output(&past.output[at * end..(at + 1) * end], relu.ceiling())
                    }
                    (Some(relu), false) => {
                        BackwardMask::Affine(normalizer.affine[filter], relu.ceiling())
                    }
                };
                let about = normalizer.mean[filter];
                *sums = plane::rectify_back(self.isa, (x, passes), about, dy, out);
            });
        let mut totals = vec![(0.0, 0.0); filters];
        for (at, sums) in sums.iter().enumerate() {
            let total = &mut totals[at % filters];
            *total = (total.0 + sums.0, total.1 + sums.1);
        }
        (rectified, totals)
    }

    /// How each channel's raw output gets its gradient: dx = scale (dy - mean of dy - x̂ mean of
    /// dy x̂) through moments of the batch (Ioffe and Szegedy 2015), scale dy through constants.
    #[expect(clippy::cast_possible_truncation, reason = "the kernels' precision")]
    fn spreads(&self, normalizer: &Normalizer, totals: &[(f64, f64)]) -> Vec<GradientSpread> {
        let count: f64 = (0..self.blocks()).map(|block| self.values_of(block)).sum();
        let spread = |filter: usize| {
            let scale = f64::from(normalizer.affine[filter].scale);
            let (mut shift, mut slope) = (0.0, 0.0);
            if !normalizer.constants[filter] {
                let (sum, products) = totals[filter];
                slope = -scale * normalizer.inverse[filter].powi(2) * products / count;
                shift = -scale * sum / count - slope * f64::from(normalizer.mean[filter]);
            }
            GradientSpread { scale: scale as f32, shift: shift as f32, slope: slope as f32 }
        };
        (0..self.filters()).map(spread).collect()
    }

    /// Builds the gradient of the raw output block by block and takes it through the convolution.
    fn through_convolution(
        &self,
        pieces: &Pieces,
        dx: Option<&mut InputGradient>,
        dw: Option<&mut Vec<f32>>,
    ) {
        if dx.is_none() && dw.is_none() {
            return;
        }
        let weights = dx.is_some().then(|| self.prepared.backward());
        let fresh = dx.as_ref().is_some_and(|dx| dx.fresh == Fresh(true));
        let together = self.blocks().div_ceil(PIECES);
        let count = self.blocks().div_ceil(together);
        let sums_len = if dw.is_some() { self.conv().sums_len() } else { 0 };
        let mut sums = memory::take(count * sums_len);
        let mut nowhere = [];
        let dx = dx.map_or(&mut nowhere as &mut [f32], |dx| &mut dx.sum);
        let dx_len = if dx.is_empty() { 0 } else { together * self.input_len() };
        pieces_mut(&mut sums, sums_len, count)
            .zip(pieces_mut(dx, dx_len, count))
            .enumerate()
            .for_each(|(piece, (sums, dx))| {
                let blocks = piece * together..((piece + 1) * together).min(self.blocks());
                for (at, block) in blocks.enumerate() {
                    let len = self.input_len();
                    let dx = weights.map(|weights| {
                        let dx = &mut dx[at * len..(at + 1) * len];
                        if fresh {
                            dx.fill(0.0);
                        }
                        (weights, dx)
                    });
                    self.back_through_block(block, pieces, dx, (sums, Fresh(at == 0)));
                }
            });
        if let Some(dw) = dw {
            let (total, others) = sums.split_at_mut(sums_len);
            total.par_chunks_mut(ELEMENTS).enumerate().for_each(|(at, total)| {
                for other in others.chunks_exact(sums_len) {
                    for (total, other) in total.iter_mut().zip(&other[at * ELEMENTS..]) {
                        *total += other;
                    }
                }
            });
            self.conv().add_sums(total, dw);
        }
        memory::give(sums);
    }

    fn back_through_block(
        &self,
        block: usize,
        pieces: &Pieces,
        dx: Option<(&Packed, &mut [f32])>,
        (sums, fresh): (&mut [f32], Fresh),
    ) {
        let Pieces { past, spreads, input, rectified } = pieces;
        let (raw, end) = self.planes();
        let filters = self.filters();
        let mask = maps::lane_mask(self.images, block);
        let mut dense = memory::take(filters * raw);
        for (filter, out) in dense.chunks_exact_mut(raw).enumerate() {
            let plane = block * filters + filter;
            let ends = plane * end..(plane + 1) * end;
            let (x, winners) = match &past.raw {
                Some(held) => (&held.values[plane * raw..(plane + 1) * raw], &held.winners),
                None => (&[] as &[f32], &past.winners),
            };
            let winners = self.pool.as_ref().map(|pool| (pool, &winners[ends.clone()]));
            let dy = &rectified[ends];
            plane::spread(self.isa, winners, (dy, x), spreads[filter], &mask, out);
        }
        let input = input.map(|input| {
            let len = self.input_len();
            let mut buffer = memory::take(self.conv().buffer_len());
            self.conv().lay(&input[block * len..(block + 1) * len], &mut buffer);
            buffer
        });
        self.conv().backward(&dense, dx, input.as_deref().map(|input| (input, sums, fresh)));
        memory::give(dense);
        memory::give(input.unwrap_or_default());
    }
}

/// What a piece of the backward pass reads.
struct Pieces<'a> {
    past: &'a ForwardRecord,
    spreads: &'a [GradientSpread],
    input: Option<&'a [f32]>,
    rectified: &'a [f32],
}

/// `all` in `count` equal parts, which may be empty.
fn parts_mut<T: Send>(all: &mut [T], count: usize) -> rayon::vec::IntoIter<&mut [T]> {
    let len = all.len() / count;
    cut(all, len, count).into_par_iter()
}

/// `all` in `count` parts of `len`, the last one what is left.
fn pieces_mut(all: &mut [f32], len: usize, count: usize) -> rayon::vec::IntoIter<&mut [f32]> {
    cut(all, len, count).into_par_iter()
}

fn cut<T>(mut all: &mut [T], len: usize, count: usize) -> Vec<&mut [T]> {
    (0..count)
        .map(|_| {
            let whole = std::mem::take(&mut all);
            let part = len.min(whole.len());
            let (part, rest) = whole.split_at_mut(part);
            all = rest;
            part
        })
        .collect()
}
