//! Convolution with what usually follows it, as one operation: batch normalisation, max pooling and
//! rectification.
//!
//! On the CPU the convolution's output is looked at while a block of it is in the cache: moments
//! and pooling are taken from it raw, and only winners are normalised and rectified. Backward, its
//! gradient is built a block at a time, used for the weights' and the input's gradient, and gone.

mod block;
mod passes;

use block::BlockNeeds;
pub(super) use block::PreparedWeights;
pub use block::{ConvBlock, Norm, Running};

use std::sync::Arc;

use self::passes::{ForwardRecord, Given, InputGradient, Normalizer, Sinks, Work, prepared};
use super::batch_norm::BatchMoments;
use super::tape::{add_gradient, put_gradient, sum_so_far, take_gradient};
use super::tensor::{Tensor, Token};
use super::{Dims, OpError, Ops};
use crate::memory::{self, Buffer};
use crate::nn::kernels::Fresh;

/// Positions that a fused pooling window may have.
pub const MOST_POSITIONS: usize = 256;

/// [`Ops::conv_block`] of single operations of the same backend.
///
/// # Errors
/// Those of the device.
pub fn one_by_one(
    ops: &dyn Ops,
    x: &Tensor,
    side: Option<&Tensor>,
    block: ConvBlock,
) -> Result<Tensor, OpError> {
    let output = block.output();
    let y = ops.conv2d(&ops.flat_rows(x)?, block.weight, block.bias, &block.shape)?;
    let side = side.map(|side| ops.flat_rows(side)).transpose()?;
    ops.maps(&after_convolution(ops, y, side.as_ref(), block)?, output)
}

/// What follows the convolution `y` of a block, as single operations. `y` and `side` are both rows or both maps.
///
/// # Errors
/// Those of the device.
pub(super) fn after_convolution(
    ops: &dyn Ops,
    mut y: Tensor,
    side: Option<&Tensor>,
    block: ConvBlock,
) -> Result<Tensor, OpError> {
    let ConvBlock { shape, norm, pool, relu, .. } = block;
    if !matches!(norm, Norm::None) {
        y = ops.batch_norm(&y, norm, shape.filters)?;
    }
    if let Some(pool) = pool {
        y = ops.max_pool2d(&y, &pool)?;
    }
    if let Some(side) = side {
        y = y.add(side)?;
    }
    match relu {
        Some(rectifier) => ops.relu(&y, rectifier),
        None => Ok(y),
    }
}

/// [`Ops::conv_block`] on the CPU.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree, the batch is empty, a pooling window has more than
/// [`MOST_POSITIONS`], or the environment asks for an instruction set that is not there.
pub fn conv_block(x: &Tensor, side: Option<&Tensor>, block: ConvBlock) -> Result<Tensor, OpError> {
    if block.learns_by_constants() {
        // The fused passes compute no gradients for such parameters.
        return one_by_one(&**x.ops(), x, side, block);
    }
    check(x, side, &block);
    let output = Dims::Maps(x.rows(), block.output());
    let work = Work::new(&block, x.rows(), side.is_some());
    let given = Given {
        input: x.values(),
        bias: block.bias.map(Tensor::values),
        side: side.map(Tensor::values),
    };
    let inputs = BlockInputs::of(x, side, &block);
    let (raw, normalizer) = match block.norm {
        Norm::Batch { weight, bias, eps, running } => {
            let (raw, moments) = work.convolve(given, weight.values());
            let normalizer = Normalizer::new(&moments, weight.values(), bias.values(), eps);
            if let Some(mut running) = running {
                running.average(&moments, x.rows() * block.shape.output().area());
            }
            (Some(raw), normalizer)
        }
        Norm::Mixed { weight, bias, eps, mut running, by_averages } => {
            let (raw, moments) = work.convolve(given, weight.values());
            let mixed = moments.mixed(&running, by_averages);
            let normalizer = Normalizer::new(&mixed, weight.values(), bias.values(), eps)
                .with_constants(by_averages);
            running.average(&moments, x.rows() * block.shape.output().area());
            (Some(raw), normalizer)
        }
        Norm::Fixed { weight, bias, mean, var, eps } => {
            let moments = BatchMoments { mean: mean.values().to_vec(), var: var.values().to_vec() };
            let normalizer = Normalizer::new(&moments, weight.values(), bias.values(), eps);
            let constants = vec![true; block.shape.filters];
            (None, normalizer.with_constants(&constants))
        }
        Norm::None => (None, Normalizer::identity(block.shape.filters)),
    };
    let (out, winners) = match &raw {
        Some(raw) => (work.normalize(raw, given.side, &normalizer), Vec::new()),
        None => work.convolve_and_normalize(given, &normalizer),
    };
    let mut y = x.beside(out, output);
    let past = ForwardRecord { raw, output: y.buffer(), winners };
    let Some(tape) = inputs.tape.clone() else {
        past.give();
        return Ok(y);
    };
    let token = y.token().clone();
    tape.record(move |gradients| {
        let Some(dy) = take_gradient(gradients, &token)? else { return Ok(()) };
        inputs.backward(gradients, &dy, past, (&work, &normalizer))?;
        memory::give(dy);
        Ok(())
    });
    y.tape = Some(tape);
    Ok(y)
}

/// The inputs of a block as the tape knows them.
struct BlockInputs {
    tape: Option<super::Tape>,
    needs: BlockNeeds,
    x: Token,
    side: Option<Token>,
    weight: Token,
    bias: Option<Token>,
    norm: Option<(Token, Token)>,
    /// The values of the input, where the weights' gradient needs them.
    held: Option<Arc<Buffer>>,
}

impl BlockInputs {
    fn of(x: &Tensor, side: Option<&Tensor>, block: &ConvBlock) -> Self {
        let recorded = |it: Option<&Tensor>| it.is_some_and(Tensor::is_recorded);
        let norm = match &block.norm {
            Norm::Batch { weight, bias, .. } | Norm::Mixed { weight, bias, .. } => {
                Some((*weight, *bias))
            }
            Norm::Fixed { .. } | Norm::None => None,
        };
        let (gamma, beta) = norm.unzip();
        let all = [Some(x), side, Some(block.weight), block.bias, gamma, beta];
        let token = |it: &Tensor| it.token().clone();
        Self {
            tape: all.into_iter().flatten().find_map(|it| it.tape.clone()),
            needs: BlockNeeds {
                input: x.is_recorded(),
                weight: block.weight.is_recorded(),
                bias: recorded(block.bias),
                gamma: recorded(gamma),
                beta: recorded(beta),
                side: recorded(side),
            },
            x: token(x),
            side: side.map(token),
            weight: token(block.weight),
            bias: block.bias.map(token),
            norm: norm.map(|(gamma, beta)| (token(gamma), token(beta))),
            held: block.weight.is_recorded().then(|| x.buffer()),
        }
    }

    /// Takes the gradient `dy` of the block's end back to its inputs.
    fn backward(
        self,
        gradients: &mut dfdx::prelude::Gradients<f32, dfdx::prelude::Cpu>,
        dy: &[f32],
        past: ForwardRecord,
        (work, normalizer): (&Work, &Normalizer),
    ) -> Result<(), OpError> {
        let Self { needs, x, side, weight, bias, norm, held, .. } = self;
        let filters = work.filters();
        let mut sum = |wanted: bool, token: Option<&Token>, len: usize| match token {
            Some(token) if wanted => sum_so_far(gradients, token, len).map(Some),
            _ => Ok(None),
        };
        let (gamma, beta) = norm.unzip();
        let mut sums = [
            sum(needs.weight, Some(&weight), work.weight_len())?,
            sum(needs.bias, bias.as_ref(), filters)?,
            sum(needs.gamma, gamma.as_ref(), filters)?,
            sum(needs.beta, beta.as_ref(), filters)?,
        ];
        let mut dx = None;
        if needs.input {
            dx = Some(match take_gradient(gradients, &x)? {
                Some(sum) => InputGradient { sum, fresh: Fresh(false) },
                None => {
                    let len = work.input_len() * work.blocks();
                    InputGradient { sum: memory::take(len), fresh: Fresh(true) }
                }
            });
        }
        let [of_weight, of_bias, of_gamma, of_beta] = &mut sums;
        let into = Sinks {
            input: held.as_deref().map(|input| &**input),
            dx: dx.as_mut(),
            weight: of_weight.as_mut(),
            bias: of_bias.as_mut(),
            gamma: of_gamma.as_mut(),
            beta: of_beta.as_mut(),
        };
        let rectified = work.backward(dy, &past, normalizer, into);
        let tokens = [Some(weight), bias, gamma, beta];
        for (token, sum) in tokens.into_iter().zip(sums) {
            if let (Some(token), Some(sum)) = (token, sum) {
                put_gradient(gradients, &token, sum)?;
            }
        }
        if let Some(dx) = dx {
            put_gradient(gradients, &x, dx.sum)?;
        }
        match side {
            Some(side) if needs.side => add_gradient(gradients, &side, rectified)?,
            _ => memory::give(rectified),
        }
        past.give();
        Ok(())
    }
}

fn check(x: &Tensor, side: Option<&Tensor>, block: &ConvBlock) {
    let shape = &block.shape;
    assert_eq!(x.dims, Dims::Maps(x.rows(), shape.input), "conv_block: maps of another shape");
    assert!(x.rows() > 0, "conv_block: the batch is empty");
    assert_eq!(prepared(block).conv.shape(), shape, "conv_block: prepared for another shape");
    assert!(block.bias.is_none_or(|bias| bias.len() == shape.filters), "conv_block: bias");
    if let Some(pool) = &block.pool {
        assert_eq!(pool.input, shape.output(), "conv_block: pooling of another shape");
        assert!(pool.kernel.0 * pool.kernel.1 <= MOST_POSITIONS, "conv_block: pooling window");
    }
    if let Some(side) = side {
        assert_eq!(side.dims, Dims::Maps(x.rows(), block.output()), "conv_block: side");
    }
}
