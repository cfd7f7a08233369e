//! What a fused convolution block consists of: the convolution, what follows it, and whose gradients anyone will
//! read. Computes nothing.

use std::sync::{Arc, OnceLock};

use crate::memory::Buffer;
use crate::nn::geometry::{Chw, Conv2d, Pool2d, Rectifier};
use crate::nn::kernels::conv::{Convolution, Packed};
use crate::nn::kernels::isa::Isa;
use crate::nn::ops::{Prepared, Tensor};

/// A convolution and what follows it: `relu(pool(norm(conv(x))) + side)`, each but the first
/// optional; `side` comes with a call. Rectification and max pooling may be exchanged, so this is
/// also `pool(relu(norm(conv(x))))`.
#[derive(Debug)]
pub struct ConvBlock<'a> {
    /// The convolution.
    pub shape: Conv2d,
    /// Its weights `[filters, channels / groups, kernel rows, kernel columns]`.
    pub weight: &'a Tensor,
    /// The same, from [`Ops::prepare`](crate::nn::ops::Ops::prepare).
    pub prepared: &'a Prepared,
    /// Its bias `[filters]`.
    pub bias: Option<&'a Tensor>,
    /// Normalisation of its output.
    pub norm: Norm<'a>,
    /// Max pooling of that.
    pub pool: Option<Pool2d>,
    /// Rectification of the end.
    pub relu: Option<Rectifier>,
}

/// A convolution's weights in the layout of the CPU's kernels. The layout for the backward pass is
/// built when it is first needed.
#[derive(Debug)]
pub struct PreparedWeights {
    pub(super) conv: Convolution,
    weight: Arc<Buffer>,
    pub(super) forward: Packed,
    backward: OnceLock<Packed>,
}

impl PreparedWeights {
    /// [`Ops::prepare`](crate::nn::ops::Ops::prepare) on the CPU.
    ///
    /// # Panics
    /// When a length does not agree, or the environment asks for an instruction set that is not
    /// there.
    pub fn new(weight: &Tensor, shape: &Conv2d, precise: bool) -> Self {
        assert_eq!(weight.len(), shape.weight_len(), "conv_block: weights");
        let isa = Isa::current().expect("the instruction set was checked");
        let conv = Convolution::new(shape, isa, precise);
        let forward = conv.pack(weight.values());
        Self { conv, weight: weight.buffer(), forward, backward: OnceLock::new() }
    }

    pub(super) fn backward(&self) -> &Packed {
        self.backward.get_or_init(|| self.conv.pack_backward(&self.weight))
    }
}

/// Normalisation of a channel.
#[derive(Debug)]
pub enum Norm<'a> {
    /// None.
    None,
    /// By the batch's own moments.
    Batch {
        /// Factors `[filters]`.
        weight: &'a Tensor,
        /// Summands `[filters]`.
        bias: &'a Tensor,
        /// Added to the variance.
        eps: f32,
        /// The averages that the batch moves, if any.
        running: Option<Running<'a>>,
    },
    /// By the batch's own moments, but for some channels by the averages as they are before the batch
    /// moves them, which are constants (Kou et al. 2020, "Stochastic Normalization").
    Mixed {
        /// Factors `[filters]`.
        weight: &'a Tensor,
        /// Summands `[filters]`.
        bias: &'a Tensor,
        /// Added to the variance.
        eps: f32,
        /// The averages that the batch moves, in every channel.
        running: Running<'a>,
        /// Whether a channel goes by the averages, `[filters]`.
        by_averages: &'a [bool],
    },
    /// By constants.
    Fixed {
        /// Factors `[filters]`.
        weight: &'a Tensor,
        /// Summands `[filters]`.
        bias: &'a Tensor,
        /// Means `[filters]`.
        mean: &'a Tensor,
        /// Variances `[filters]`.
        var: &'a Tensor,
        /// Added to the variance.
        eps: f32,
    },
}

/// Running averages of a batch normalisation.
#[derive(Debug)]
pub struct Running<'a> {
    /// Means `[filters]`.
    pub mean: &'a mut Tensor,
    /// Unbiased variances `[filters]`.
    pub var: &'a mut Tensor,
    /// Weight of the newest batch.
    pub momentum: f32,
}

impl ConvBlock<'_> {
    /// Shape of an image that comes out.
    pub fn output(&self) -> Chw {
        self.pool.map_or_else(|| self.shape.output(), |pool| pool.output())
    }

    /// Whether it normalises by constants with parameters that learn.
    pub(super) fn learns_by_constants(&self) -> bool {
        match &self.norm {
            Norm::Fixed { weight, bias, .. } => weight.is_recorded() || bias.is_recorded(),
            Norm::None | Norm::Batch { .. } | Norm::Mixed { .. } => false,
        }
    }
}

/// Which gradients of a block anyone will read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockNeeds {
    /// The input's.
    pub input: bool,
    /// The convolution's weights.
    pub weight: bool,
    /// Its bias.
    pub bias: bool,
    /// The normalisation's weight.
    pub gamma: bool,
    /// Its bias.
    pub beta: bool,
    /// That of the maps which are added.
    pub side: bool,
}
