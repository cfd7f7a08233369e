//! Differentiable operations on batches of images: fast kernels for the CPU, compositions of
//! dfdx's own operations for every other device.
//!
//! An activation is `[N, C*H*W]`, row-major; the shape of an image travels beside it. Knows
//! nothing of layers, names or training.

pub mod adaptive_pool;
pub mod batch_norm;
pub mod concat;
pub mod conv2d;
pub mod conv_block;
mod cpu;
pub mod cross_entropy;
#[cfg(feature = "cuda")]
mod cuda;
pub mod grad_reverse;
pub mod linear;
pub mod maps;
mod matmul;
pub mod pool2d;
pub mod relu;
pub mod scale_channels;
mod sums;
mod tape;

use dfdx::prelude::*;

use super::geometry::{Chw, Conv2d, Pool2d, Rectifier};

pub use conv_block::{BlockNeeds, Blocked, ConvBlock, FixedNorm, Norm};
pub use cross_entropy::{Targets, log_softmax};
pub use maps::Maps;

/// Values that one task of an elementwise operation handles.
const ELEMENTS: usize = 1 << 15;

/// An activation, `[N, features]`.
pub type Batch<D, T = NoneTape> = Tensor<(usize, usize), f32, D, T>;
/// A parameter, flat.
pub type Flat<D> = Tensor<(usize,), f32, D>;
/// A loss.
pub type Scalar<D, T = NoneTape> = Tensor<(), f32, D, T>;

/// Which gradients anyone will read. Nothing is computed for the others, and an operation that
/// nobody needs leaves no trace on the tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The gradient of the input.
    pub input: bool,
    /// The gradients of the parameters.
    pub weight: bool,
}

impl Needs {
    /// Whether nobody needs a gradient.
    pub fn nothing(self) -> bool {
        !self.input && !self.weight
    }
}

/// Mean and biased variance of a batch, one of each per channel.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchMoments {
    /// Means.
    pub mean: Vec<f32>,
    /// Variances, divided by the number of values.
    pub var: Vec<f32>,
}

/// A device with the operations of a convolutional network.
///
/// Shapes are the caller's to check ([`Conv2d::validate`], [`Pool2d::validate`]); the operations
/// panic when lengths do not agree. Errors are the device's own (out of memory). Inputs are
/// contiguous, and so are outputs.
///
/// # Examples
///
/// ```
/// use dfdx::prelude::*;
/// use runner::nn::geometry::Rectifier;
/// use runner::nn::ops::{Batch, Ops};
///
/// let device = Cpu::default();
/// let x: Batch<Cpu> = device.tensor_from_vec(vec![-1.0, 2.0], (1, 2));
/// let y = <Cpu as Ops>::relu(x.leaky_trace(), Rectifier::Relu)?;
/// assert_eq!(y.as_vec(), [0.0, 2.0]);
/// let gradients = y.sum().backward();
/// assert_eq!(gradients.get(&x).as_vec(), [0.0, 1.0]);
/// # Ok::<(), <Cpu as HasErr>::Err>(())
/// ```
pub trait Ops: Device<f32> {
    /// The values of [`Maps`] where a tensor does not hold them.
    type Held: Clone + std::fmt::Debug;
    /// A convolution's weights in the layout of its kernels.
    type Prepared: Clone + std::fmt::Debug;

    /// Weights `[filters, channels / groups, kernel rows, kernel columns]` for convolutions of
    /// `shape`; by their definition only, with the smallest rounding errors, where `precise`.
    fn prepare(weight: &Flat<Self>, shape: &Conv2d, precise: bool) -> Self::Prepared;

    /// Images `[N, C*H*W]` as feature maps.
    ///
    /// # Errors
    /// Those of the device.
    fn pack<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        shape: Chw,
        needs_gradient: bool,
    ) -> Result<Maps<Self, T>, Self::Err>;

    /// Feature maps as `[N, C*H*W]`.
    ///
    /// # Errors
    /// Those of the device.
    fn unpack<T: Tape<f32, Self>>(x: Maps<Self, T>) -> Result<Batch<Self, T>, Self::Err>;

    /// A convolution and what follows it, `side` being added before rectification; the batch's
    /// moments where they normalise.
    ///
    /// # Errors
    /// Those of the device.
    fn conv_block<T: Tape<f32, Self>>(
        x: Maps<Self, T>,
        side: Option<Maps<Self, T>>,
        block: &ConvBlock<Self>,
    ) -> Result<Blocked<Maps<Self, T>>, Self::Err>;

    /// Cross-correlation of `x` `[N, input]` with `weight`
    /// `[filters, channels / groups, kernel rows, kernel columns]`, plus `bias` `[filters]`.
    ///
    /// # Errors
    /// Those of the device.
    fn conv2d<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        weight: &Flat<Self>,
        bias: Option<&Flat<Self>>,
        shape: &Conv2d,
        needs: Needs,
    ) -> Result<Batch<Self, T>, Self::Err>;

    /// The largest value of each window; padding never wins. The gradient goes to the first of
    /// equal values, row by row.
    ///
    /// # Errors
    /// Those of the device.
    fn max_pool2d<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        shape: &Pool2d,
    ) -> Result<Batch<Self, T>, Self::Err>;

    /// The mean of each window; padding counts as zeros (`count_include_pad=True`).
    ///
    /// # Errors
    /// Those of the device.
    fn avg_pool2d<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        shape: &Pool2d,
    ) -> Result<Batch<Self, T>, Self::Err>;

    /// The mean of each channel, `[N, channels]`.
    ///
    /// # Errors
    /// Those of the device.
    fn global_avg_pool<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        input: Chw,
    ) -> Result<Batch<Self, T>, Self::Err>;

    /// Batch normalisation by the batch's own moments (Ioffe and Szegedy 2015), which it returns
    /// for the running averages: `(x - mean) / sqrt(var + eps) * weight + bias`, per channel.
    ///
    /// # Errors
    /// Those of the device.
    fn batch_norm_train<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        weight: &Flat<Self>,
        bias: &Flat<Self>,
        channels: usize,
        eps: f32,
        needs: Needs,
    ) -> Result<(Batch<Self, T>, BatchMoments), Self::Err>;

    /// Batch normalisation by given moments, which are constants.
    ///
    /// # Errors
    /// Those of the device.
    #[expect(clippy::too_many_arguments, reason = "the arguments of PyTorch's `batch_norm`")]
    fn batch_norm_eval<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        weight: &Flat<Self>,
        bias: &Flat<Self>,
        mean: &Flat<Self>,
        var: &Flat<Self>,
        channels: usize,
        eps: f32,
        needs: Needs,
    ) -> Result<Batch<Self, T>, Self::Err>;

    /// `x` times the transpose of `weight` `[outputs, features]`, plus `bias` `[outputs]`.
    ///
    /// # Errors
    /// Those of the device.
    fn linear<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        weight: &Flat<Self>,
        bias: Option<&Flat<Self>>,
        outputs: usize,
        needs: Needs,
    ) -> Result<Batch<Self, T>, Self::Err>;

    /// `max(x, 0)`, at most the rectifier's ceiling; its gradient is 0 at both ends.
    ///
    /// # Errors
    /// Those of the device.
    fn relu<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        rectifier: Rectifier,
    ) -> Result<Batch<Self, T>, Self::Err>;

    /// `y[n, c, s] = x[n, c, s] * scale[n * channels + c]`: dropout with the caller's mask. For
    /// dropout of single values, `channels` is the number of features.
    ///
    /// # Errors
    /// Those of the device.
    fn scale_channels<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        scale: &[f32],
        channels: usize,
    ) -> Result<Batch<Self, T>, Self::Err>;

    /// `x` itself; its gradient is `-lambda` times the output's (Ganin et al. 2016).
    ///
    /// # Errors
    /// Those of the device.
    fn grad_reverse<T: Tape<f32, Self>>(
        x: Batch<Self, T>,
        lambda: f32,
    ) -> Result<Batch<Self, T>, Self::Err>;

    /// The mean over the batch of the sum over classes of `-share * log softmax(logits)`, in nats;
    /// the shares are the targets'.
    ///
    /// # Errors
    /// Those of the device.
    fn cross_entropy<T: Tape<f32, Self>>(
        logits: Batch<Self, T>,
        targets: &Targets,
    ) -> Result<Scalar<Self, T>, Self::Err>;
}
