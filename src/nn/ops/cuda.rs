//! The operations of CUDA devices, composed of dfdx's own. Sums by `gather` run in no fixed order there,
//! so a run repeats only up to rounding.

use dfdx::prelude::*;

use super::batch_norm::{batch_norm_eval_generic, batch_norm_train_generic};
use super::conv_block::conv_block_generic;
use super::conv2d::conv2d_generic;
use super::cross_entropy::{Targets, cross_entropy_generic};
use super::grad_reverse::grad_reverse_generic;
use super::linear::linear_generic;
use super::pool2d::{avg_pool2d_generic, global_avg_pool_generic, max_pool2d_generic};
use super::relu::relu_generic;
use super::scale_channels::scale_channels_generic;
use super::{Batch, BatchMoments, Blocked, ConvBlock, Flat, Maps, Needs, Ops, Scalar};
use crate::nn::geometry::Rectifier;
use crate::nn::geometry::{Chw, Conv2d, Pool2d};

impl Ops for Cuda {
    type Held = ();
    type Prepared = ();

    fn prepare(_: &Flat<Self>, _: &Conv2d, _: bool) {}

    fn pack<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        shape: Chw,
        _needs_gradient: bool,
    ) -> Result<Maps<Self, T>, Self::Err> {
        Ok(Maps { images: x.shape().0, values: x, held: (), shape })
    }

    fn unpack<T: Tape<f32, Self>>(x: Maps<Self, T>) -> Result<Batch<Self, T>, Self::Err> {
        Ok(x.values)
    }

    fn conv_block<T: Tape<f32, Self>>(
        x: Maps<Self, T>,
        side: Option<Maps<Self, T>>,
        block: &ConvBlock<Self>,
    ) -> Result<Blocked<Maps<Self, T>>, Self::Err> {
        let Maps { values, held, images, .. } = x;
        let side = side.map(|side| side.values);
        let (values, moments) = conv_block_generic(values, side, block)?;
        Ok((Maps { values, held, images, shape: block.output() }, moments))
    }

    fn conv2d<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        weight: &Flat<Self>,
        bias: Option<&Flat<Self>>,
        shape: &Conv2d,
        needs: Needs,
    ) -> Result<Batch<Self, T>, Self::Err> {
        conv2d_generic(x, weight, bias, shape, needs)
    }

    fn max_pool2d<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        shape: &Pool2d,
    ) -> Result<Batch<Self, T>, Self::Err> {
        max_pool2d_generic(x, shape)
    }

    fn avg_pool2d<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        shape: &Pool2d,
    ) -> Result<Batch<Self, T>, Self::Err> {
        avg_pool2d_generic(x, shape)
    }

    fn global_avg_pool<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        input: Chw,
    ) -> Result<Batch<Self, T>, Self::Err> {
        global_avg_pool_generic(x, input)
    }

    fn batch_norm_train<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        weight: &Flat<Self>,
        bias: &Flat<Self>,
        channels: usize,
        eps: f32,
        needs: Needs,
    ) -> Result<(Batch<Self, T>, BatchMoments), Self::Err> {
        batch_norm_train_generic(x, weight, bias, channels, eps, needs)
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
        batch_norm_eval_generic(x, weight, bias, mean, var, channels, eps, needs)
    }

    fn linear<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        weight: &Flat<Self>,
        bias: Option<&Flat<Self>>,
        outputs: usize,
        needs: Needs,
    ) -> Result<Batch<Self, T>, Self::Err> {
        linear_generic(x, weight, bias, outputs, needs)
    }

    fn relu<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        rectifier: Rectifier,
    ) -> Result<Batch<Self, T>, Self::Err> {
        relu_generic(x, rectifier)
    }

    fn scale_channels<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        scale: &[f32],
        channels: usize,
    ) -> Result<Batch<Self, T>, Self::Err> {
        scale_channels_generic(x, scale, channels)
    }

    fn grad_reverse<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        lambda: f32,
    ) -> Result<Batch<Self, T>, Self::Err> {
        grad_reverse_generic(x, lambda)
    }

    fn cross_entropy<T: Tape<f32, Self>>(
        logits: Batch<Self, T>,
        targets: &Targets,
    ) -> Result<Scalar<Self, T>, Self::Err> {
        cross_entropy_generic(logits, targets)
    }
}
