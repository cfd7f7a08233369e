//! Differentiable operations on batches of images: fast kernels for the CPU, and compositions of
//! dfdx's own operations as the reference that they are compared with.
//!
//! An activation is `[N, C*H*W]`, row-major, or feature maps in the layout of the backend's
//! convolutions. Knows nothing of layers, names or training.

pub mod adaptive_pool;
mod arithmetic;
pub mod batch_norm;
#[cfg(test)]
mod batch_norm_tests;
pub mod conv2d;
pub mod conv_block;
mod cpu;
pub mod cross_entropy;
mod dfdx_ops;
mod dropout;
mod elementwise;
mod gpu;
pub mod grad_scale;
mod hits;
pub mod input;
pub mod linear;
pub mod maps;
mod matmul;
mod matrix;
mod passes;
pub mod pixel_changes;
pub mod pool2d;
pub mod primitive;
pub mod relu;
mod repeat;
pub mod scale_channels;
mod sums;
mod tape;
#[cfg(test)]
mod tape_tests;
mod tensor;
mod update;
pub(crate) mod varying;

use std::any::Any;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;

use super::geometry::{Chw, Conv2d, Pool2d, Rectifier};

pub use conv_block::{ConvBlock, Norm, Running};
pub use cpu::CpuOps;
pub use cross_entropy::{Targets, log_softmax};
pub use dfdx_ops::DfdxOps;
pub use dropout::Dropout;
pub use gpu::GpuOps;
pub use hits::argmax;
pub use input::{Input, KeptRows, KeptSet, PixelTable, SetRows};
pub use pixel_changes::{Alteration, Area, ColorChange, Map, PixelChanges, Shift, Turn};
pub use primitive::Primitive;
pub use repeat::{NotedStep, StepNumbers};
pub use tensor::{Backend, Dims, Gradients, OpError, Tape, Tensor};
pub use update::UpdateRule;
pub use varying::{Number, Varying};

/// Values that one task of an elementwise operation handles.
const ELEMENTS: usize = 1 << 15;

/// A convolution's weights in the layout of a backend's kernels.
pub type Prepared = Arc<dyn Any + Send + Sync>;

/// The operations of a convolutional network on a device.
///
/// What an operation gives is recorded on the tape of its inputs, if one of them is on a tape; gradients
/// are computed for those that are, and for no others. All inputs of an operation that are recorded are
/// on one tape. Shapes are the caller's to check ([`Conv2d::validate`], [`Pool2d::validate`]); the
/// operations panic when lengths do not agree. Errors are the device's own (out of memory).
///
/// # Examples
///
/// ```
/// use runner::nn::geometry::Rectifier;
/// use runner::nn::ops::{CpuOps, Dims, OpError, Tape};
///
/// let (ops, tape) = (CpuOps::shared(), Tape::default());
/// let x = ops.tensor(vec![-1.0, 2.0], Dims::Rows(1, 2))?.on(&tape);
/// let y = ops.relu(&x, Rectifier::Relu)?;
/// assert_eq!(y.host(), [0.0, 2.0]);
/// let mut gradients = tape.backward(&y.sum()?)?;
/// assert_eq!(gradients.take(&x).unwrap().host(), [0.0, 1.0]);
/// # Ok::<(), OpError>(())
/// ```
pub trait Ops: Debug {
    /// Whether reading a value costs nothing, because the values lie in the host's memory.
    fn reads_are_free(&self) -> bool;

    /// A tensor of these values, row by row; not one of feature maps.
    ///
    /// # Errors
    /// Those of the device.
    fn tensor(&self, values: Vec<f32>, dims: Dims) -> Result<Tensor, OpError>;

    /// Whether images go to it as bytes, by [`Ops::pixels`], where they are changed no further on the host.
    fn takes_bytes(&self) -> bool {
        false
    }

    /// Images of bytes `[N, H, W, C]` as numbers `[N, C*H*W]`, which `table` has; as feature maps where `maps` says of which
    /// shape.
    ///
    /// # Errors
    /// Those of the device.
    ///
    /// # Panics
    /// On a backend that does not [take bytes](Ops::takes_bytes), or when the bytes are not of `count` images.
    fn pixels(
        &self,
        _bytes: &[u8],
        _count: usize,
        _table: &Arc<PixelTable>,
        _maps: Option<Chw>,
    ) -> Result<Tensor, OpError> {
        panic!("this backend takes numbers")
    }

    /// Bytes that a set may have for [`Ops::keep`], at most.
    fn most_kept(&self) -> usize {
        0
    }

    /// Keeps `count` rows on the device, for as long as the backend or anyone who holds what is returned. `name` is a digest of
    /// them: several backends on one device have one copy. `None` where the device has no room for them.
    ///
    /// # Errors
    /// Those of the device, but for memory that it does not have.
    fn keep(
        &self,
        _name: blake3::Hash,
        _rows: &SetRows,
        _count: usize,
    ) -> Result<Option<KeptSet>, OpError> {
        Ok(None)
    }

    /// Rows of a set that is kept, `[N, C*H*W]`, after `changes` of its images; as feature maps where `maps` says of which shape.
    ///
    /// # Errors
    /// Those of the device.
    ///
    /// # Panics
    /// When another device keeps the set, a place lies beyond it, there are changes of what is no image, or not one for each row.
    fn kept(
        &self,
        _set: &KeptSet,
        _rows: &KeptRows,
        _maps: Option<Chw>,
    ) -> Result<Tensor, OpError> {
        panic!("this backend keeps no sets")
    }

    /// The values of `x` on the host, row by row.
    fn host(&self, x: &Tensor) -> Vec<f32>;

    /// The same numbers, one in each tensor, put aside until the host reads them. Nothing can be computed of them any more, so
    /// that a device that collects what it is asked for is asked for the same at every step.
    ///
    /// # Errors
    /// Those of the device.
    ///
    /// # Panics
    /// When a tensor is more than one number.
    fn set_aside(&self, numbers: Vec<Tensor>) -> Result<Vec<Tensor>, OpError> {
        Ok(numbers)
    }

    /// Hands over what was asked for so far, on a device that collects it: at the end of a step.
    ///
    /// # Errors
    /// Those of the device, of anything that was asked for.
    fn submit(&self) -> Result<(), OpError> {
        Ok(())
    }

    /// Begins to note what a step asks for, on a device that can repeat one.
    fn note_step(&self) {}

    /// Ends that: what was asked for since, and handed over, where all of it can be asked for again and leaves no memory in use
    /// that was not before.
    fn noted_step(&self) -> Option<Rc<dyn NotedStep>> {
        None
    }

    /// Where the values of `x` are, on a device that can repeat a step.
    fn place(&self, _x: &Tensor) -> Option<u64> {
        None
    }

    /// Whether nobody else holds the values of `x`, so that they are overwritten where they are.
    fn is_alone(&self, _x: &Tensor) -> bool {
        true
    }

    /// Waits until everything that was asked for is done.
    ///
    /// # Errors
    /// Those of the device, of anything that was asked for.
    fn finish(&self) -> Result<(), OpError> {
        Ok(())
    }

    /// Overwrites the values of `x`.
    fn write(&self, x: &mut Tensor, values: &[f32]);

    /// Weights `[filters, channels / groups, kernel rows, kernel columns]` for convolutions of
    /// `shape`; by their definition only, with the smallest rounding errors, where `precise`.
    fn prepare(&self, weight: &Tensor, shape: &Conv2d, precise: bool) -> Prepared;

    /// Images `[N, C*H*W]` as feature maps; maps stay as they are.
    ///
    /// # Errors
    /// Those of the device.
    fn maps(&self, x: &Tensor, shape: Chw) -> Result<Tensor, OpError>;

    /// Feature maps as `[N, C*H*W]`; rows stay as they are.
    ///
    /// # Errors
    /// Those of the device.
    fn flat_rows(&self, x: &Tensor) -> Result<Tensor, OpError>;

    /// A convolution of feature maps and what follows it, `side` being added before rectification.
    ///
    /// # Errors
    /// Those of the device.
    fn conv_block(
        &self,
        x: &Tensor,
        side: Option<&Tensor>,
        block: ConvBlock,
    ) -> Result<Tensor, OpError>;

    /// Cross-correlation of `x` `[N, input]` with `weight`
    /// `[filters, channels / groups, kernel rows, kernel columns]`, plus `bias` `[filters]`.
    ///
    /// # Errors
    /// Those of the device.
    fn conv2d(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        shape: &Conv2d,
    ) -> Result<Tensor, OpError>;

    /// The largest value of each window; padding never wins. The gradient goes to the first of
    /// equal values, row by row.
    ///
    /// # Errors
    /// Those of the device.
    fn max_pool2d(&self, x: &Tensor, shape: &Pool2d) -> Result<Tensor, OpError>;

    /// The mean of each window; padding counts as zeros (`count_include_pad=True`).
    ///
    /// # Errors
    /// Those of the device.
    fn avg_pool2d(&self, x: &Tensor, shape: &Pool2d) -> Result<Tensor, OpError>;

    /// The mean of each channel, `[N, channels]`.
    ///
    /// # Errors
    /// Those of the device.
    fn global_avg_pool(&self, x: &Tensor, input: Chw) -> Result<Tensor, OpError>;

    /// Batch normalisation of `x` `[N, channels * pixels]` (Ioffe and Szegedy 2015):
    /// `(x - mean) / sqrt(var + eps) * weight + bias`, per channel, by the batch's own moments, which
    /// move running averages where `norm` has some, by given ones, which are constants, or by either.
    ///
    /// # Errors
    /// Those of the device.
    ///
    /// # Panics
    /// When `norm` is [`Norm::None`].
    fn batch_norm(&self, x: &Tensor, norm: Norm, channels: usize) -> Result<Tensor, OpError>;

    /// `x` times the transpose of `weight` `[outputs, features]`, plus `bias` `[outputs]`.
    ///
    /// # Errors
    /// Those of the device.
    fn linear(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        outputs: usize,
    ) -> Result<Tensor, OpError>;

    /// `max(x, 0)`, at most the rectifier's ceiling; its gradient is 0 at both ends.
    ///
    /// # Errors
    /// Those of the device.
    fn relu(&self, x: &Tensor, rectifier: Rectifier) -> Result<Tensor, OpError>;

    /// `y[n, c, s] = x[n, c, s] * scale[n * channels + c]`. For single values, `channels` is the number of
    /// features.
    ///
    /// # Errors
    /// Those of the device.
    fn scale_channels(&self, x: &Tensor, scale: &[f32], channels: usize)
    -> Result<Tensor, OpError>;

    /// `x` with `channels` in a row, of which some are zero and the others larger for it.
    ///
    /// # Errors
    /// Those of the device.
    fn dropout(&self, x: &Tensor, dropout: Dropout, channels: usize) -> Result<Tensor, OpError> {
        self.scale_channels(x, &dropout.scales(x.rows() * channels), channels)
    }

    /// `x` itself; its gradient is `factor` times the output's: reversal for a negative one (Ganin et
    /// al. 2016).
    ///
    /// # Errors
    /// Those of the device.
    fn grad_scale(&self, x: &Tensor, factor: Number) -> Result<Tensor, OpError>;

    /// The mean over the batch of the sum over classes of `-share * log softmax(logits)`, in nats;
    /// the shares are the targets'.
    ///
    /// # Errors
    /// Those of the device.
    fn cross_entropy(&self, logits: &Tensor, targets: &Targets) -> Result<Tensor, OpError>;

    /// How many rows have their largest value at their label, as one number; ties go to the first of
    /// equal values. It has no gradient.
    ///
    /// # Errors
    /// Those of the device.
    fn hits(&self, logits: &Tensor, labels: Varying<u32>) -> Result<Tensor, OpError>;

    /// One of the small operations that losses are put together from.
    ///
    /// # Errors
    /// Those of the device.
    fn primitive(&self, primitive: &Primitive, inputs: &[&Tensor]) -> Result<Tensor, OpError>;

    /// Gives `loss` the gradient 1 on `tape`, before that goes backward.
    fn seed(&self, tape: &Tape, loss: &Tensor);

    /// Takes the gradient of `x`; `None` where none reached it.
    fn gradient(&self, gradients: &mut Gradients, x: &Tensor) -> Option<Tensor>;

    /// Moves a parameter along its gradient. `moments` are as many as the rule wants, `step` counts the
    /// parameter's updates from 1.
    ///
    /// # Errors
    /// Those of the device.
    fn update(
        &self,
        value: &mut Tensor,
        moments: &mut [Tensor],
        gradient: &Tensor,
        rule: &UpdateRule,
        step: i32,
    ) -> Result<(), OpError>;

    /// Moves `into` toward `from`: `into = keep * into + (1 - keep) * from`.
    ///
    /// # Errors
    /// Those of the device.
    fn average(&self, into: &mut Tensor, from: &Tensor, keep: f32) -> Result<(), OpError>;
}
