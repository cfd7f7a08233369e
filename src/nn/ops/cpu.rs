//! The operations of the CPU: they call the fast kernels.

use std::sync::Arc;

use dfdx::prelude::*;

use super::batch_norm::{batch_norm_eval, batch_norm_train};
use super::conv_block::{BlockNeeds, Norm, PreparedWeights, conv_block};
use super::cross_entropy::{Targets, cross_entropy};
use super::grad_reverse::grad_reverse;
use super::linear::linear;
use super::maps::{pack, unpack};
use super::pool2d::{avg_pool2d, global_avg_pool, max_pool2d};
use super::relu::relu;
use super::scale_channels::scale_channels;
use super::{Batch, BatchMoments, Blocked, ConvBlock, Flat, Maps, Needs, Ops, Scalar};
use crate::memory::Buffer;
use crate::nn::geometry::Rectifier;
use crate::nn::geometry::{Chw, Conv2d, Pool2d};

impl Ops for Cpu {
    type Held = Arc<Buffer>;
    type Prepared = Arc<PreparedWeights>;

    fn prepare(weight: &Flat<Self>, shape: &Conv2d, precise: bool) -> Arc<PreparedWeights> {
        Arc::new(PreparedWeights::new(weight, shape, precise))
    }

    fn pack<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        shape: Chw,
        needs_gradient: bool,
    ) -> Result<Maps<Self, T>, Self::Err> {
        pack(x, shape, needs_gradient)
    }

    fn unpack<T: Tape<f32, Self>>(x: Maps<Self, T>) -> Result<Batch<Self, T>, Self::Err> {
        unpack(x)
    }

    fn conv_block<T: Tape<f32, Self>>(
        x: Maps<Self, T>,
        side: Option<Maps<Self, T>>,
        block: &ConvBlock<Self>,
    ) -> Result<Blocked<Maps<Self, T>>, Self::Err> {
        conv_block(x, side, block)
    }

    fn conv2d<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        weight: &Flat<Self>,
        bias: Option<&Flat<Self>>,
        shape: &Conv2d,
        needs: Needs,
    ) -> Result<Batch<Self, T>, Self::Err> {
        let x = pack(x, shape.input, needs.input)?;
        let block = ConvBlock {
            shape: *shape,
            weight,
            prepared: &Self::prepare(weight, shape, false),
            bias,
            norm: Norm::None,
            pool: None,
            relu: None,
            needs: BlockNeeds { input: needs.input, conv: needs.weight, norm: false, side: false },
        };
        unpack(conv_block(x, None, &block)?.0)
    }

    fn max_pool2d<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        shape: &Pool2d,
    ) -> Result<Batch<Self, T>, Self::Err> {
        max_pool2d(x, shape)
    }

    fn avg_pool2d<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        shape: &Pool2d,
    ) -> Result<Batch<Self, T>, Self::Err> {
        avg_pool2d(x, shape)
    }

    fn global_avg_pool<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        input: Chw,
    ) -> Result<Batch<Self, T>, Self::Err> {
        global_avg_pool(x, input)
    }

    fn batch_norm_train<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        weight: &Flat<Self>,
        bias: &Flat<Self>,
        channels: usize,
        eps: f32,
        needs: Needs,
    ) -> Result<(Batch<Self, T>, BatchMoments), Self::Err> {
        batch_norm_train(x, weight, bias, channels, eps, needs)
    }

    fn batch_norm_eval<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        weight: &Flat<Self>,
        bias: &Flat<Self>,
        mean: &Flat<Self>,
        var: &Flat<Self>,
        channels: usize,
        eps: f32,
        needs: Needs,
    ) -> Result<Batch<Self, T>, Self::Err> {
        batch_norm_eval(x, weight, bias, mean, var, channels, eps, needs)
    }

    fn linear<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        weight: &Flat<Self>,
        bias: Option<&Flat<Self>>,
        outputs: usize,
        needs: Needs,
    ) -> Result<Batch<Self, T>, Self::Err> {
        linear(x, weight, bias, outputs, needs)
    }

    fn relu<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        rectifier: Rectifier,
    ) -> Result<Batch<Self, T>, Self::Err> {
        relu(x, rectifier)
    }

    fn scale_channels<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        scale: &[f32],
        channels: usize,
    ) -> Result<Batch<Self, T>, Self::Err> {
        scale_channels(x, scale, channels)
    }

    fn grad_reverse<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        lambda: f32,
    ) -> Result<Batch<Self, T>, Self::Err> {
        grad_reverse(x, lambda)
    }

    fn cross_entropy<T: Tape<f32, Self>>(
        logits: Batch<Self, T>,
        targets: &Targets,
    ) -> Result<Scalar<Self, T>, Self::Err> {
        cross_entropy(logits, targets)
    }
}
