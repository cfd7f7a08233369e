//! Convolution with what usually follows it, as one operation: batch normalisation, max pooling and
//! rectification.
//!
//! On the CPU the convolution's output is looked at while a block of it is in the cache: moments
//! and pooling are taken from it raw, and only winners are normalised and rectified. Backward, its
//! gradient is built a block at a time, used for the weights' and the input's gradient, and gone.

mod block;
mod passes;

pub use block::{BlockNeeds, Blocked, ConvBlock, FixedNorm, Norm, PreparedWeights};

use std::sync::Arc;

use dfdx::prelude::*;

use self::passes::{ForwardRecord, Given, Gradients, InputGradient, Normalizer, Work};
use super::maps::{Maps, add_gradient, put_gradient, take_gradient};
use super::tape::values;
use super::{Batch, BatchMoments, Needs, Ops};
use crate::memory::{self, Buffer};
use crate::nn::kernels::Fresh;

/// Positions that a fused pooling window may have.
pub const MOST_POSITIONS: usize = 256;

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

/// [`Ops::conv_block`] on the CPU.
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
