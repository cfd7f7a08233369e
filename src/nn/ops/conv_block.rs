//! Convolution with what usually follows it, as one operation: batch normalisation, max pooling and
//! rectification.
//!
//! On the CPU the convolution's output is looked at while a block of it is in the cache: moments
//! and pooling are taken from it raw, and only winners are normalised and rectified. Backward, its
//! gradient is built a block at a time, used for the weights' and the input's gradient, and gone.

mod passes;

use dfdx::prelude::*;

use self::passes::{Given, Gradients, Normalizer, Past, Work};
use super::maps::Maps;
use super::tape::{self, values};
use super::{Chw, Conv2d, Flat, Moments, Needs, Ops, Pool2d};
use crate::memory;
use crate::nn::kernels::{LANES, maps};

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
    let shape = (maps::blocks(x.images), block.output().len() * LANES);
    let y = x.values.device().try_tensor_from_vec(out, shape)?;
    let (images, shape) = (x.images, block.output());
    if !keep {
        memory::give(input);
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
    let y_values = y.clone();
    // A copy of the input is there already: kept, it need not be made again.
    let input = if needs.conv {
        Some(input)
    } else {
        memory::give(input);
        None
    };
    let values = tape::record(tape, &x.values, &parameters, y, recorded, move |dy, sums| {
        let weights = needs.input.then(|| work.conv.pack_backward(&values(&weight)));
        let past = match held {
            Some(raw) => Past::Raw(raw),
            None => Past::Output(values(&y_values), winners),
        };
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
