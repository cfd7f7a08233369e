//! Convolution with what usually follows it, as one operation: batch normalisation, max pooling and
//! rectification.
//!
//! On the CPU the convolution's output is looked at while a block of it is in the cache: moments
//! and pooling are taken from it raw, and only winners are normalised and rectified. Backward, its
//! gradient is built a block at a time, used for the weights' and the input's gradient, and gone.

mod passes;

use std::sync::{Arc, OnceLock};

use dfdx::prelude::*;

use self::passes::{ForwardRecord, Given, Gradients, InputGradient, Normalizer, Work};
use super::maps::{Maps, add_gradient, put_gradient, take_gradient};
use super::tape::values;
use super::{Batch, BatchMoments, Flat, Needs, Ops};
use crate::memory::{self, Buffer};
use crate::nn::geometry::{Chw, Conv2d, Pool2d, Rectifier};
use crate::nn::kernels::Fresh;
use crate::nn::kernels::conv::{Convolution, Packed};
use crate::nn::kernels::isa::Isa;

/// Positions that a fused pooling window may have.
pub const MOST_POSITIONS: usize = 256;

/// A convolution and what follows it: `relu(pool(norm(conv(x))) + side)`, each but the first
/// optional; `side` comes with a call. Rectification and max pooling may be exchanged, so this is
/// also `pool(relu(norm(conv(x))))`.
#[derive(Debug)]
pub struct ConvBlock<'a, D: Ops> {
    /// The convolution.
    pub shape: Conv2d,
    /// Its weights `[filters, channels / groups, kernel rows, kernel columns]`.
    pub weight: &'a Flat<D>,
    /// The same, from [`Ops::prepare`].
    pub prepared: &'a D::Prepared,
    /// Its bias `[filters]`.
    pub bias: Option<&'a Flat<D>>,
    /// Normalisation of its output.
    pub norm: Norm<'a, D>,
    /// Max pooling of that.
    pub pool: Option<Pool2d>,
    /// Rectification of the end.
    pub relu: Option<Rectifier>,
    /// Whose gradients anyone will read.
    pub needs: BlockNeeds,
}

/// What comes out of a block, and the batch's moments where they normalised.
pub type Blocked<X> = (X, Option<BatchMoments>);

/// A convolution's weights in the layout of the CPU's kernels. The layout for the backward pass is
/// built when it is first needed.
#[derive(Debug)]
pub struct PreparedWeights {
    conv: Convolution,
    weight: Flat<Cpu>,
    forward: Packed,
    backward: OnceLock<Packed>,
}

impl PreparedWeights {
    /// [`Ops::prepare`] on the CPU.
    ///
    /// # Panics
    /// When a length does not agree, or the environment asks for an instruction set that is not
    /// there.
    pub fn new(weight: &Flat<Cpu>, shape: &Conv2d, precise: bool) -> Self {
        assert_eq!(weight.shape().0, shape.weight_len(), "conv_block: weights");
        let isa = Isa::current().expect("the instruction set was checked");
        let conv = Convolution::new(shape, isa, precise);
        let held = values(weight);
        let forward = conv.pack(&held);
        memory::give(held);
        Self { conv, weight: weight.clone(), forward, backward: OnceLock::new() }
    }

    fn backward(&self) -> &Packed {
        self.backward.get_or_init(|| self.conv.pack_backward(&values(&self.weight)))
    }
}

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
    /// That of the maps which are added.
    pub side: bool,
}

impl BlockNeeds {
    /// Whether nobody needs a gradient.
    pub fn nothing(self) -> bool {
        !self.input && !self.conv && !self.norm && !self.side
    }
}

impl<D: Ops> ConvBlock<'_, D> {
    /// Shape of an image that comes out.
    pub fn output(&self) -> Chw {
        self.pool.map_or_else(|| self.shape.output(), |pool| pool.output())
    }
}

/// [`Ops::conv_block`] of single operations, on `[N, C*H*W]`.
///
/// # Errors
/// Those of the device.
pub fn conv_block_generic<D: Ops, T: Tape<f32, D>>(
    x: Batch<D, T>,
    side: Option<Batch<D, T>>,
    block: &ConvBlock<D>,
) -> Result<Blocked<Batch<D, T>>, D::Err> {
    let ConvBlock { shape, weight, bias, norm, pool, relu, needs, .. } = block;
    let wanted = |input, weight| Needs { input, weight };
    let y = D::conv2d(x, weight, *bias, shape, wanted(needs.input, needs.conv))?;
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
    if let Some(side) = side {
        y = y.try_add(side)?;
    }
    if let Some(rectifier) = relu {
        y = D::relu(y, *rectifier)?;
    }
    Ok((y, moments))
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
    side: Option<Maps<Cpu, T>>,
    block: &ConvBlock<Cpu>,
) -> Result<Blocked<Maps<Cpu, T>>, CpuError> {
    check(&x, side.as_ref(), block);
    let (x, mut tape) = x.split_tape();
    let side = side.map(|side| {
        let (side, of_side) = side.split_tape();
        tape = std::mem::take(&mut tape).merge(of_side);
        side
    });
    let work = Work::new(block, x.images, side.is_some());
    let needs = block.needs;
    let bias = block.bias.map(values);
    let side_values = side.as_ref().map(|side| &**side.held);
    let given = Given { input: &x.held, bias: bias.as_deref(), side: side_values };
    let (raw, normalizer, moments) = match block.norm {
        Norm::Batch(weight, bias, eps) => {
            let weight = values(weight);
            let (raw, moments) = work.convolve(given, &weight);
            let normalizer = Normalizer::new(&moments, &weight, &values(bias), eps);
            (Some(raw), normalizer, Some(moments))
        }
        Norm::Fixed(FixedNorm { weight, bias, mean, var, eps }) => {
            let moments = BatchMoments { mean: values(mean), var: values(var) };
            (None, Normalizer::new(&moments, &values(weight), &values(bias), *eps), None)
        }
        Norm::None => (None, Normalizer::identity(block.shape.filters), None),
    };
    let (out, winners) = match &raw {
        Some(raw) => (work.normalize(raw, given.side, &normalizer), Vec::new()),
        None => work.convolve_and_normalize(given, &normalizer),
    };
    let out = Arc::new(Buffer::from(out));
    let y = Maps::held(x.values.device(), Arc::clone(&out), x.images, block.output())?;
    if !T::OWNS_TAPE || needs.nothing() {
        return Ok((y.put_tape(tape), moments));
    }
    let mut parameters = Vec::new();
    if needs.conv {
        parameters.push(block.weight);
        parameters.extend(block.bias);
    }
    if let (true, Norm::Batch(weight, bias, _)) = (needs.norm, &block.norm) {
        parameters.extend([*weight, *bias]);
    }
    let parameters: Vec<_> = parameters.into_iter().map(Tensor::ghost).collect();
    let tokens = (x.values, side.map(|side| side.values), y.values.clone());
    let input = needs.conv.then_some(x.held);
    let past = ForwardRecord { raw, output: out, winners };
    tape.add_backward_op(move |gradients| {
        let (x, side, y) = tokens;
        let Some(dy) = take_gradient(gradients, &y, past.output.len())? else {
            return Ok(());
        };
        let mut sums = Vec::with_capacity(parameters.len());
        for parameter in &parameters {
            sums.push(std::mem::take::<Vec<f32>>(&mut **gradients.get_or_alloc_mut(parameter)?));
        }
        let mut dx = None;
        if needs.input {
            let len = work.input_len() * work.blocks();
            dx = Some(match take_gradient(gradients, &x, len)? {
                Some(sum) => InputGradient { sum, fresh: Fresh(false) },
                None => InputGradient { sum: memory::take(len), fresh: Fresh(true) },
            });
        }
        let input = input.as_deref().map(|input| &**input);
        let into = Gradients { needs, input, dx: dx.as_mut(), parameters: &mut sums };
        let rectified = work.backward(&dy, &past, &normalizer, into);
        memory::give(dy);
        for (parameter, sum) in parameters.iter().zip(sums) {
            **gradients.get_or_alloc_mut(parameter)? = sum;
        }
        if let Some(dx) = dx {
            put_gradient(gradients, &x, dx.sum)?;
        }
        match side {
            Some(side) if needs.side => add_gradient(gradients, &side, rectified)?,
            _ => memory::give(rectified),
        }
        if let Some(raw) = past.raw {
            raw.give();
        }
        Ok(())
    });
    Ok((y.put_tape(tape), moments))
}

fn check<T>(x: &Maps<Cpu, T>, side: Option<&Maps<Cpu, T>>, block: &ConvBlock<Cpu>) {
    let shape = &block.shape;
    assert_eq!(x.shape, shape.input, "conv_block: maps of another shape");
    assert!(x.images > 0, "conv_block: the batch is empty");
    assert_eq!(block.prepared.conv.shape(), shape, "conv_block: prepared for another shape");
    assert!(block.bias.is_none_or(|bias| bias.shape().0 == shape.filters), "conv_block: bias");
    if let Some(pool) = &block.pool {
        assert_eq!(pool.input, shape.output(), "conv_block: pooling of another shape");
        assert!(pool.kernel.0 * pool.kernel.1 <= MOST_POSITIONS, "conv_block: pooling window");
    }
    if let Some(side) = side {
        assert_eq!((side.images, side.shape), (x.images, block.output()), "conv_block: side");
    }
}
