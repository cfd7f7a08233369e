//! What a fused convolution block consists of: the convolution, what follows it, and whose gradients anyone will
//! read. Computes nothing.

use std::sync::OnceLock;

use dfdx::prelude::*;

use crate::memory;
use crate::nn::geometry::{Chw, Conv2d, Pool2d, Rectifier};
use crate::nn::kernels::conv::{Convolution, Packed};
use crate::nn::kernels::isa::Isa;
use crate::nn::ops::tape::values;
use crate::nn::ops::{BatchMoments, Flat, Ops};

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
    pub(super) conv: Convolution,
    weight: Flat<Cpu>,
    pub(super) forward: Packed,
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

    pub(super) fn backward(&self) -> &Packed {
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
