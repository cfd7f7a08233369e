//! Convolution with what usually follows it, as one operation: batch normalisation, max pooling and
//! rectification.
//!
//! On the CPU the convolution's output is looked at while a block of it is in the cache: moments
//! and pooling are taken from it raw, and only winners are normalised and rectified. Backward, its
//! gradient is built a block at a time, used for the weights' and the input's gradient, and gone.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::maps::Maps;
use super::tape::{self, Sums, values};
use super::{Chw, Conv2d, Flat, Moments, Needs, Ops, Pool2d};
use crate::memory;
use crate::nn::kernels::conv::{Convolution, Packed};
use crate::nn::kernels::isa::Isa;
use crate::nn::kernels::plane::{self, Affine, Spread};
use crate::nn::kernels::{LANES, maps};

/// Pieces that a batch's weight gradients are summed in: enough for as many threads. They depend
/// on the batch, never on the number of threads.
const PIECES: usize = 8;

/// Positions that a fused pooling window may have.
pub const MOST_POSITIONS: usize = 256;

/// A convolution and what follows it: `relu(pool(norm(conv(x))))`, each but the first optional.
/// Rectification and max pooling may be exchanged, so this is also `pool(relu(norm(conv(x))))`.
#[derive(Debug)]
pub struct ConvBlock<'a, D: Ops> {
    /// The convolution.
    pub shape: Conv2d,
    /// Its weights `[filters, channels / groups, kernel rows, kernel columns]`.
    pub weight: &'a Flat<D>,
    /// Its bias `[filters]`.
    pub bias: Option<&'a Flat<D>>,
    /// Normalisation of its output.
    pub norm: Norm<'a, D>,
    /// Max pooling of that.
    pub pool: Option<Pool2d>,
    /// Whether the end is rectified.
    pub relu: bool,
    /// Whose gradients anyone will read.
    pub needs: BlockNeeds,
}

/// What comes out of a block, and the batch's moments where they normalised.
pub type Blocked<D, T> = (Maps<D, T>, Option<Moments>);

/// Normalisation of a block.
#[derive(Debug)]
pub enum Norm<'a, D: Ops> {
    /// None.
    None,
    /// By the batch's own moments: weight, bias `[filters]` and what is added to the variance.
    Batch(&'a Flat<D>, &'a Flat<D>, f32),
    /// By constants.
    Fixed(&'a FixedNorm<'a, D>),
}

/// Batch normalisation by given moments. Its parameters get no gradients.
#[derive(Debug)]
pub struct FixedNorm<'a, D: Ops> {
    /// Factors `[filters]`.
    pub weight: &'a Flat<D>,
    /// Summands `[filters]`.
    pub bias: &'a Flat<D>,
    /// Means `[filters]`.
    pub mean: &'a Flat<D>,
    /// Variances `[filters]`.
    pub var: &'a Flat<D>,
    /// Added to the variance.
    pub eps: f32,
}

/// Which gradients of a block anyone will read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockNeeds {
    /// The input's.
    pub input: bool,
    /// The convolution's weights and bias.
    pub conv: bool,
    /// The normalisation's weight and bias.
    pub norm: bool,
}

impl BlockNeeds {
    /// Whether nobody needs a gradient.
    pub fn nothing(self) -> bool {
        !self.input && !self.conv && !self.norm
    }
}

impl<D: Ops> ConvBlock<'_, D> {
    /// Shape of an image that comes out.
    pub fn output(&self) -> Chw {
        self.pool.map_or_else(|| self.shape.output(), |pool| pool.output())
    }
}

/// [`Ops::conv_block`] of single operations, for devices whose maps are `[N, C*H*W]`.
///
/// # Errors
/// Those of the device.
pub fn conv_block_generic<D: Ops, T: Tape<f32, D>>(
    x: Maps<D, T>,
    block: &ConvBlock<D>,
) -> Result<Blocked<D, T>, D::Err> {
    let ConvBlock { shape, weight, bias, norm, pool, relu, needs } = block;
    let (x, tape) = x.split_tape();
    let images = x.images;
    let wanted = |input, weight| Needs { input, weight };
    let y = x.values.put_tape(tape);
    let y = D::conv2d(y, weight, *bias, shape, wanted(needs.input, needs.conv))?;
    let upstream = needs.input || needs.conv;
    let filters = shape.filters;
    let (mut y, moments) = match norm {
        Norm::None => (y, None),
        Norm::Batch(weight, bias, eps) => {
            let needs = wanted(upstream, needs.norm);
            let (y, moments) = D::batch_norm_train(y, weight, bias, filters, *eps, needs)?;
            (y, Some(moments))
        }
        Norm::Fixed(FixedNorm { weight, bias, mean, var, eps }) => {
            let needs = wanted(upstream, false);
            let y = D::batch_norm_eval(y, weight, bias, mean, var, filters, *eps, needs)?;
            (y, None)
        }
    };
    if let Some(pool) = pool {
        y = D::max_pool2d(y, pool)?;
    }
    if *relu {
        y = D::relu(y)?;
    }
    Ok((Maps { values: y, images, shape: block.output() }, moments))
}

/// [`Ops::conv_block`](super::Ops::conv_block) on the CPU.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree, the batch is empty, a pooling window has more than
/// [`MOST_POSITIONS`], or the environment asks for an instruction set that is not there.
pub fn conv_block<T: Tape<f32, Cpu>>(
    x: Maps<Cpu, T>,
    block: &ConvBlock<Cpu>,
) -> Result<Blocked<Cpu, T>, CpuError> {
    check(&x, block);
    let (x, tape) = x.split_tape();
    let work = Work::new(block, x.images);
    let needs = block.needs;
    let keep = T::OWNS_TAPE && !needs.nothing();
    let input = values(&x.values);
    let filters = work.conv.pack(&values(block.weight));
    let bias = block.bias.map(values);
    let given = Given { input: &input, filters: &filters, bias: bias.as_deref() };
    let (held, normalizer, moments) = match block.norm {
        Norm::Batch(weight, bias, eps) => {
            let weight = values(weight);
            let (raw, moments) = work.convolve(given, &weight);
            let normalizer = Normalizer::new(&moments, &weight, &values(bias), eps);
            (Some(raw), normalizer, Some(moments))
        }
        Norm::Fixed(FixedNorm { weight, bias, mean, var, eps }) => {
            let moments = Moments { mean: values(mean), var: values(var) };
            (None, Normalizer::new(&moments, &values(weight), &values(bias), *eps), None)
        }
        Norm::None => (None, Normalizer::identity(block.shape.filters), None),
    };
    let (out, winners) = match &held {
        Some(raw) => (work.normalize(raw, &normalizer), Vec::new()),
        None => work.convolve_and_normalize(given, &normalizer),
    };
    memory::give(input);
    let shape = (maps::blocks(x.images), block.output().len() * LANES);
    let y = x.values.device().try_tensor_from_vec(out, shape)?;
    let (images, shape) = (x.images, block.output());
    if !keep {
        if let Some(raw) = held {
            raw.give();
        }
        let values = y.put_tape(tape);
        return Ok((Maps { values, images, shape }, moments));
    }
    let mut parameters = Vec::new();
    if needs.conv {
        parameters.push(block.weight);
        parameters.extend(block.bias);
    }
    if let (true, Norm::Batch(weight, bias, _)) = (needs.norm, &block.norm) {
        parameters.extend([*weight, *bias]);
    }
    let recorded = Needs { input: needs.input, weight: !parameters.is_empty() };
    let weight = block.weight.clone();
    let (x_values, y_values) = (x.values.clone(), y.clone());
    let values = tape::record(tape, &x.values, &parameters, y, recorded, move |dy, sums| {
        let weights = needs.input.then(|| work.conv.pack_backward(&values(&weight)));
        let past = match held {
            Some(raw) => Past::Raw(raw),
            None => Past::Output(values(&y_values), winners),
        };
        let input = needs.conv.then(|| values(&x_values));
        let (weights, input_of) = (weights.as_ref(), input.as_deref());
        let gradients = Gradients { needs, weights, input: input_of, sums };
        work.backward(dy, &past, &normalizer, gradients);
        past.give();
        memory::give(input.unwrap_or_default());
    });
    Ok((Maps { values, images, shape }, moments))
}

fn check<T>(x: &Maps<Cpu, T>, block: &ConvBlock<Cpu>) {
    let shape = &block.shape;
    assert_eq!(x.shape, shape.input, "conv_block: maps of another shape");
    assert!(x.images > 0, "conv_block: the batch is empty");
    assert_eq!(block.weight.shape().0, shape.weight_len(), "conv_block: weights");
    assert!(block.bias.is_none_or(|bias| bias.shape().0 == shape.filters), "conv_block: bias");
    if let Some(pool) = &block.pool {
        assert_eq!(pool.input, shape.output(), "conv_block: pooling of another shape");
        assert!(pool.kernel.0 * pool.kernel.1 <= MOST_POSITIONS, "conv_block: pooling window");
    }
}

/// `scale * x + shift` of each channel, and what it came from.
struct Normalizer {
    affine: Vec<Affine>,
    mean: Vec<f32>,
    /// 1 / sqrt(var + eps).
    inverse: Vec<f64>,
}

impl Normalizer {
    #[expect(clippy::cast_possible_truncation, reason = "the kernels' precision")]
    fn new(moments: &Moments, weight: &[f32], bias: &[f32], eps: f32) -> Self {
        let inverse: Vec<f64> =
            moments.var.iter().map(|var| 1.0 / (f64::from(*var) + f64::from(eps)).sqrt()).collect();
        let affine = (0..weight.len())
            .map(|at| {
                let scale = f64::from(weight[at]) * inverse[at];
                let shift = f64::from(bias[at]) - scale * f64::from(moments.mean[at]);
                Affine { scale: scale as f32, shift: shift as f32 }
            })
            .collect();
        Self { affine, mean: moments.mean.clone(), inverse }
    }

    fn identity(filters: usize) -> Self {
        let affine = vec![Affine { scale: 1.0, shift: 0.0 }; filters];
        Self { affine, mean: vec![0.0; filters], inverse: vec![1.0; filters] }
    }
}

/// 1, -1 or 0: the order in which values come out of a channel with this scale.
fn sign(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { scale.signum() }
}

/// A convolution's output before normalisation.
struct Raw {
    values: Vec<f32>,
    /// Values and positions of the pooling's winners; empty without pooling.
    pooled: Vec<f32>,
    winners: Vec<u8>,
}

impl Raw {
    fn give(self) {
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
struct Given<'a> {
    input: &'a [f32],
    filters: &'a Packed,
    bias: Option<&'a [f32]>,
}

/// What a backward step knows of the forward one.
enum Past {
    /// The raw output.
    Raw(Raw),
    /// The end and, with pooling, the winners.
    Output(Vec<f32>, Vec<u8>),
}

impl Past {
    fn give(self) {
        match self {
            Self::Raw(raw) => raw.give(),
            Self::Output(values, _) => memory::give(values),
        }
    }
}

/// Where gradients go to, and what they need.
struct Gradients<'a> {
    needs: BlockNeeds,
    weights: Option<&'a Packed>,
    input: Option<&'a [f32]>,
    sums: Sums<'a>,
}

/// Everything that does not change between forward and backward.
struct Work {
    conv: Convolution,
    isa: Isa,
    pool: Option<Pool2d>,
    relu: bool,
    images: usize,
}

impl Work {
    fn new(block: &ConvBlock<Cpu>, images: usize) -> Self {
        let isa = Isa::current().expect("the instruction set was checked");
        let conv = Convolution::new(&block.shape, isa, false);
        Self { conv, isa, pool: block.pool, relu: block.relu, images }
    }

    fn blocks(&self) -> usize {
        maps::blocks(self.images)
    }

    fn filters(&self) -> usize {
        self.conv.shape().filters
    }

    /// Numbers of a block of the input.
    fn input_len(&self) -> usize {
        self.conv.shape().input.len() * LANES
    }

    /// Numbers of a plane of the convolution's output, and of the end.
    fn planes(&self) -> (usize, usize) {
        let raw = self.conv.shape().output().area() * LANES;
        (raw, self.pool.map_or(raw, |pool| pool.output().area() * LANES))
    }

    /// Convolves, with moments and, where there is pooling, winners by the signs of `scales`.
    fn convolve(&self, given: Given, scales: &[f32]) -> (Raw, Moments) {
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
                self.convolve_block(input, given, values);
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

    fn convolve_block(&self, input: &[f32], given: Given, out: &mut [f32]) {
        let mut buffer = memory::take(self.conv.buffer_len());
        self.conv.lay(input, &mut buffer);
        self.conv.forward(&buffer, given.filters, given.bias, out);
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
        (maps::lanes_used(self.images, block) * self.conv.shape().output().area()) as f64
    }

    /// Moments of the batch from those of its blocks, joined in their order (Chan et al. 1979).
    #[expect(clippy::cast_possible_truncation, reason = "the kernels' precision")]
    fn moments(&self, of_blocks: &[(f64, f64)]) -> Moments {
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
        Moments { mean, var }
    }

    /// The end of a raw output.
    fn normalize(&self, raw: &Raw, normalizer: &Normalizer) -> Vec<f32> {
        let (_, end) = self.planes();
        let mut out = memory::take(raw.end().len());
        out.par_chunks_mut(end).zip(raw.end().par_chunks(end)).enumerate().for_each(
            |(at, (out, x))| {
                let affine = normalizer.affine[at % self.filters()];
                plane::normalize(self.isa, x, affine, self.relu, out);
            },
        );
        out
    }

    /// The end in one go, and winners where there is pooling: for a normalizer that is known.
    fn convolve_and_normalize(&self, given: Given, normalizer: &Normalizer) -> (Vec<f32>, Vec<u8>) {
        let (raw, end) = self.planes();
        let filters = self.filters();
        let mut out = memory::take(self.blocks() * filters * end);
        let pooled = if self.pool.is_some() { end } else { 0 };
        let mut winners = vec![0_u8; self.blocks() * filters * pooled];
        out.par_chunks_mut(filters * end)
            .zip(parts_mut(&mut winners, self.blocks()))
            .zip(given.input.par_chunks(self.input_len()))
            .for_each(|((out, winners), input)| {
                let mut values = memory::take(filters * raw);
                let mut pooled = memory::take(pooled);
                self.convolve_block(input, given, &mut values);
                for (filter, plane) in values.chunks_exact(raw).enumerate() {
                    let to = filter * end..(filter + 1) * end;
                    let affine = normalizer.affine[filter];
                    let mut x = plane;
                    if let Some(pool) = &self.pool {
                        let winners = &mut winners[to.clone()];
                        let sign = sign(affine.scale);
                        plane::pool(self.isa, pool, plane, sign, &mut pooled, winners);
                        x = &pooled;
                    }
                    plane::normalize(self.isa, x, affine, self.relu, &mut out[to]);
                }
                memory::give(values);
                memory::give(pooled);
            });
        (out, winners)
    }

    /// All gradients from that of the end, `dy`.
    fn backward(&self, dy: &[f32], past: &Past, normalizer: &Normalizer, into: Gradients) {
        let (rectified, totals) = self.rectify_back(dy, past, normalizer);
        let filters = self.filters();
        let mut gradients = into.sums.parameters.iter_mut();
        let conv = if into.needs.conv { gradients.next() } else { None };
        let has_bias = into.needs.conv && gradients.len() % 2 == 1;
        let bias = if has_bias { gradients.next() } else { None };
        if let (Some(weight), Some(bias)) = (gradients.next(), gradients.next()) {
            for filter in 0..filters {
                #[expect(clippy::cast_possible_truncation, reason = "the kernels' precision")]
                let share = [totals[filter].1 * normalizer.inverse[filter], totals[filter].0]
                    .map(|it| it as f32);
                weight[filter] += share[0];
                bias[filter] += share[1];
            }
        }
        let spreads = self.spreads(past, normalizer, &totals);
        // Moments take a constant out again: before them, a bias learns nothing.
        if let (Some(bias), Past::Output(..)) = (bias, past) {
            for (bias, (spread, total)) in bias.iter_mut().zip(spreads.iter().zip(&totals)) {
                #[expect(clippy::cast_possible_truncation, reason = "the kernels' precision")]
                let sum = (f64::from(spread.scale) * total.0) as f32;
                *bias += sum;
            }
        }
        let pieces = Pieces { weights: into.weights, input: into.input, rectified: &rectified };
        self.through_convolution(past, &spreads, &pieces, into.sums.input, conv);
        memory::give(rectified);
    }

    /// `dy` where the end was positive, and each channel's sum of it and of its products with the
    /// raw values about their mean.
    fn rectify_back(
        &self,
        dy: &[f32],
        past: &Past,
        normalizer: &Normalizer,
    ) -> (Vec<f32>, Vec<(f64, f64)>) {
        let (_, end) = self.planes();
        let filters = self.filters();
        let mut rectified = memory::take(dy.len());
        let mut sums = vec![(0.0, 0.0); self.blocks() * filters];
        let identity = Affine { scale: 1.0, shift: 0.0 };
        let (x, known) = match past {
            Past::Raw(raw) => (raw.end(), false),
            Past::Output(out, _) => (out.as_slice(), true),
        };
        rectified
            .par_chunks_mut(end)
            .zip(sums.par_iter_mut())
            .zip(x.par_chunks(end).zip(dy.par_chunks(end)))
            .enumerate()
            .for_each(|(at, ((out, sums), (x, dy)))| {
                let filter = at % filters;
                let affine = if known { identity } else { normalizer.affine[filter] };
                let about = normalizer.mean[filter];
                *sums = plane::rectify_back(self.isa, (x, affine, self.relu), about, dy, out);
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
    fn spreads(&self, past: &Past, normalizer: &Normalizer, totals: &[(f64, f64)]) -> Vec<Spread> {
        let count: f64 = (0..self.blocks()).map(|block| self.values_of(block)).sum();
        let spread = |filter: usize| {
            let scale = f64::from(normalizer.affine[filter].scale);
            let (mut shift, mut slope) = (0.0, 0.0);
            if let Past::Raw(_) = past {
                let (sum, products) = totals[filter];
                slope = -scale * normalizer.inverse[filter].powi(2) * products / count;
                shift = -scale * sum / count - slope * f64::from(normalizer.mean[filter]);
            }
            Spread { scale: scale as f32, shift: shift as f32, slope: slope as f32 }
        };
        (0..self.filters()).map(spread).collect()
    }

    /// Builds the gradient of the raw output block by block and takes it through the convolution.
    fn through_convolution(
        &self,
        past: &Past,
        spreads: &[Spread],
        pieces: &Pieces,
        dx: Option<&mut [f32]>,
        dw: Option<&mut Vec<f32>>,
    ) {
        if dx.is_none() && dw.is_none() {
            return;
        }
        let together = self.blocks().div_ceil(PIECES);
        let count = self.blocks().div_ceil(together);
        let sums_len = if dw.is_some() { self.conv.sums_len() } else { 0 };
        let mut sums = memory::take(count * sums_len);
        sums.fill(0.0);
        let mut nowhere = [];
        let dx = dx.unwrap_or(&mut nowhere);
        let dx_len = if dx.is_empty() { 0 } else { together * self.input_len() };
        pieces_mut(&mut sums, sums_len, count)
            .zip(pieces_mut(dx, dx_len, count))
            .enumerate()
            .for_each(|(piece, (sums, dx))| {
                let blocks = piece * together..((piece + 1) * together).min(self.blocks());
                for (at, block) in blocks.enumerate() {
                    let len = self.input_len();
                    let dx =
                        if dx.is_empty() { &mut [] } else { &mut dx[at * len..(at + 1) * len] };
                    self.back_through_block(block, past, spreads, pieces, dx, sums);
                }
            });
        if let Some(dw) = dw {
            let (total, others) = sums.split_at_mut(sums_len);
            for other in others.chunks_exact(sums_len) {
                for (total, other) in total.iter_mut().zip(other) {
                    *total += other;
                }
            }
            self.conv.add_sums(total, dw);
        }
        memory::give(sums);
    }

    fn back_through_block(
        &self,
        block: usize,
        past: &Past,
        spreads: &[Spread],
        pieces: &Pieces,
        dx: &mut [f32],
        sums: &mut [f32],
    ) {
        let (raw, end) = self.planes();
        let filters = self.filters();
        let mask = maps::lane_mask(self.images, block);
        let mut dense = memory::take(filters * raw);
        for (filter, out) in dense.chunks_exact_mut(raw).enumerate() {
            let plane = block * filters + filter;
            let ends = plane * end..(plane + 1) * end;
            let (x, winners) = match past {
                Past::Raw(held) => (&held.values[plane * raw..(plane + 1) * raw], &held.winners),
                Past::Output(_, winners) => (&[] as &[f32], winners),
            };
            let winners = self.pool.as_ref().map(|pool| (pool, &winners[ends.clone()]));
            let dy = &pieces.rectified[ends];
            plane::spread(self.isa, winners, (dy, x), spreads[filter], &mask, out);
        }
        let input = pieces.input.map(|input| {
            let len = self.input_len();
            let mut buffer = memory::take(self.conv.buffer_len());
            self.conv.lay(&input[block * len..(block + 1) * len], &mut buffer);
            buffer
        });
        let dx = pieces.weights.map(|weights| (weights, dx));
        self.conv.backward(&dense, dx, input.as_deref().map(|input| (input, sums)));
        memory::give(dense);
        memory::give(input.unwrap_or_default());
    }
}

/// What a piece of the backward pass reads.
struct Pieces<'a> {
    weights: Option<&'a Packed>,
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
