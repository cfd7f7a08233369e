//! The operations of a GPU, by kernels of our own (`nn::gpu`). Feature maps lie as `[N, H, W, C]`.
//!
//! An operation asks for its kernels and returns: the GPU computes behind. What is asked for in a step is written down and handed
//! over at its end, and a step that asks for the same as one before is replayed as a whole.

mod apart;
mod augment;
mod block;
mod conv;
mod input;
mod log;
mod loss;
mod node;
mod norm;
mod pool;
mod repeat;
mod rows;
mod tiles;
mod trial;
mod update;
mod values;

use std::cell::RefCell;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use self::log::Log;
use self::node::Node;
use self::repeat::Notes;
use super::{
    Backend, ConvBlock, Dims, Dropout, Gradients, KeptRows, KeptSet, Norm, NotedStep, Number,
    OpError, Ops, PixelTable, Prepared, Primitive, SetRows, Tape, Targets, Tensor, UpdateRule,
    Varying,
};
use crate::device::Precision;
use crate::nn::geometry::{Chw, Conv2d, Pool2d, Rectifier};
use crate::nn::gpu::{Block, Gpu, GpuError, Queue};

/// A GPU as a backend, with a stream and memory of its own.
pub struct GpuOps {
    queue: Rc<Queue>,
    precision: Precision,
    /// Numbers of steps that wait to be read.
    log: RefCell<Option<Rc<Log>>>,
    /// What is noted of the step that it is in.
    noting: RefCell<Option<Notes>>,
    /// The numbers of bytes of the data sets so far.
    tables: RefCell<Vec<(Arc<PixelTable>, Rc<Block>)>>,
    /// Itself, for the tensors that it makes.
    this: Weak<Self>,
}

impl fmt::Debug for GpuOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuOps").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// A GPU's error as that of an operation, in the same words.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn told(error: GpuError) -> OpError {
    OpError::new(format_args!("{error}"))
}

/// How a convolution's weights are multiplied.
struct PreparedConv {
    precision: Precision,
}

impl GpuOps {
    /// A GPU as a backend, once it has shown that it computes what the processor computes.
    ///
    /// # Errors
    /// What the driver reports, and a result that is another one.
    pub fn shared(gpu: Arc<Gpu>, precision: Precision) -> Result<Backend, GpuError> {
        Self::try_out(&gpu, precision)?;
        Self::untried(gpu, precision)
    }

    /// Whether a GPU computes what the processor computes: tried once in a process.
    ///
    /// # Errors
    /// What the driver reports, and a result that is another one.
    pub fn try_out(gpu: &Arc<Gpu>, precision: Precision) -> Result<(), GpuError> {
        gpu.tried(precision, || trial::pass(gpu, precision))
    }

    fn untried(gpu: Arc<Gpu>, precision: Precision) -> Result<Backend, GpuError> {
        Ok(Self::on(gpu, precision)?)
    }

    fn on(gpu: Arc<Gpu>, precision: Precision) -> Result<Rc<Self>, GpuError> {
        let queue = Queue::new(gpu)?;
        Ok(Rc::new_cyclic(|this| Self {
            queue,
            precision,
            log: RefCell::default(),
            noting: RefCell::default(),
            tables: RefCell::default(),
            this: this.clone(),
        }))
    }

    fn this(&self) -> Rc<Self> {
        self.this.upgrade().expect("it is shared")
    }
}

/// The stand-in for a GPU as a backend; nothing where there is no compiler for it.
#[cfg(test)]
fn in_its_place() -> Option<Rc<GpuOps>> {
    crate::stand_in::here()?;
    Some(GpuOps::on(Gpu::open(0).unwrap(), Precision::Tf32).unwrap())
}

impl Ops for GpuOps {
    fn reads_are_free(&self) -> bool {
        false
    }

    fn tensor(&self, values: Vec<f32>, dims: Dims) -> Result<Tensor, OpError> {
        assert!(!matches!(dims, Dims::Maps(..)), "feature maps are made of rows");
        assert_eq!(values.len(), dims.len(), "as many values as the shape says");
        Ok(self.wrap(self.queue.upload(&values).map_err(told)?, dims))
    }

    fn takes_bytes(&self) -> bool {
        true
    }

    fn pixels(
        &self,
        bytes: &[u8],
        count: usize,
        table: &Arc<PixelTable>,
        maps: Option<Chw>,
    ) -> Result<Tensor, OpError> {
        self.sent_pixels(bytes, count, table, maps)
    }

    fn most_kept(&self) -> usize {
        self.queue.room_for_residents()
    }

    fn keep(
        &self,
        name: blake3::Hash,
        rows: &SetRows,
        count: usize,
    ) -> Result<Option<KeptSet>, OpError> {
        self.kept_set(name, rows, count)
    }

    fn kept(&self, set: &KeptSet, rows: &KeptRows, maps: Option<Chw>) -> Result<Tensor, OpError> {
        self.rows_of(set, rows, maps)
    }

    fn host(&self, x: &Tensor) -> Vec<f32> {
        // What failed is said by the next operation, and by `submit`.
        self.read(x).unwrap_or_else(|_| vec![f32::NAN; x.len()])
    }

    fn write(&self, x: &mut Tensor, values: &[f32]) {
        if let Ok(block) = self.queue.upload(values) {
            x.held = Rc::new(Node::of(x).with(block));
        }
    }

    fn set_aside(&self, numbers: Vec<Tensor>) -> Result<Vec<Tensor>, OpError> {
        self.logged(&numbers)
    }

    fn submit(&self) -> Result<(), OpError> {
        self.queue.submit().map_err(told)
    }

    fn note_step(&self) {
        self.begin_notes();
    }

    fn noted_step(&self) -> Option<Rc<dyn NotedStep>> {
        self.end_notes()
    }

    fn place(&self, x: &Tensor) -> Option<u64> {
        Some(Node::of(x).value.place())
    }

    fn is_alone(&self, x: &Tensor) -> bool {
        node::is_alone(x)
    }

    fn finish(&self) -> Result<(), OpError> {
        self.queue.finish().map_err(told)
    }

    fn prepare(&self, _: &Tensor, _: &Conv2d, precise: bool) -> Prepared {
        let precision = if precise { Precision::Float32 } else { self.precision };
        Arc::new(PreparedConv { precision })
    }

    fn maps(&self, x: &Tensor, shape: Chw) -> Result<Tensor, OpError> {
        if let Dims::Maps(_, found) = x.dims {
            assert_eq!(found, shape, "maps of another shape");
            return Ok(x.clone());
        }
        assert_eq!(x.columns(), shape.len(), "maps: images of another shape");
        self.to_maps(x, shape)
    }

    fn flat_rows(&self, x: &Tensor) -> Result<Tensor, OpError> {
        match x.dims {
            Dims::Maps(_, shape) => self.to_rows(x, shape),
            Dims::Scalar | Dims::Flat(_) | Dims::Rows(..) => Ok(x.clone()),
        }
    }

    fn conv_block(
        &self,
        x: &Tensor,
        side: Option<&Tensor>,
        block: ConvBlock,
    ) -> Result<Tensor, OpError> {
        let prepared = block.prepared.downcast_ref::<PreparedConv>();
        let precision = prepared.expect("weights of this backend").precision;
        // Normalisation by the batch's own moments takes away what was added to all values of a channel. Sums would give a gradient
        // of 0 as well, up to rounding.
        let is_moot = matches!(block.norm, Norm::Batch { .. });
        let how = (precision, is_moot);
        let y = self.convolve(x, (block.weight, block.bias), &block.shape, how)?;
        self.after(y, side, block)
    }

    fn conv2d(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        shape: &Conv2d,
    ) -> Result<Tensor, OpError> {
        let x = self.maps(x, shape.input)?;
        self.flat_rows(&self.convolve(&x, (weight, bias), shape, (self.precision, false))?)
    }

    fn max_pool2d(&self, x: &Tensor, shape: &Pool2d) -> Result<Tensor, OpError> {
        self.max_pool(x, shape)
    }

    fn avg_pool2d(&self, x: &Tensor, shape: &Pool2d) -> Result<Tensor, OpError> {
        self.mean_pool(x, shape)
    }

    fn global_avg_pool(&self, x: &Tensor, input: Chw) -> Result<Tensor, OpError> {
        self.channel_means(x, input)
    }

    fn batch_norm(&self, x: &Tensor, norm: Norm, channels: usize) -> Result<Tensor, OpError> {
        self.normalise(x, norm, channels)
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        outputs: usize,
    ) -> Result<Tensor, OpError> {
        self.linear_layer(&self.flat_rows(x)?, weight, bias, outputs)
    }

    fn relu(&self, x: &Tensor, rectifier: Rectifier) -> Result<Tensor, OpError> {
        self.rectify(x, rectifier)
    }

    fn scale_channels(
        &self,
        x: &Tensor,
        scale: &[f32],
        channels: usize,
    ) -> Result<Tensor, OpError> {
        assert_eq!(scale.len(), x.rows() * channels, "scale_channels: the scale is not [N, C]");
        let scale = self.queue.upload(scale).map_err(told)?;
        self.scale_planes(&self.flat_rows(x)?, scale, channels)
    }

    fn dropout(&self, x: &Tensor, dropout: Dropout, channels: usize) -> Result<Tensor, OpError> {
        let scales = self.dropout_scales(dropout, x.rows() * channels)?;
        self.scale_planes(&self.flat_rows(x)?, scales, channels)
    }

    fn grad_scale(&self, x: &Tensor, factor: Number) -> Result<Tensor, OpError> {
        self.scale_gradient(x, factor)
    }

    fn cross_entropy(&self, logits: &Tensor, targets: &Targets) -> Result<Tensor, OpError> {
        self.mean_cross_entropy(logits, targets)
    }

    fn hits(&self, logits: &Tensor, labels: Varying<u32>) -> Result<Tensor, OpError> {
        self.count_hits(logits, labels)
    }

    fn primitive(&self, primitive: &Primitive, inputs: &[&Tensor]) -> Result<Tensor, OpError> {
        self.small(primitive, inputs)
    }

    fn seed(&self, tape: &Tape, loss: &Tensor) {
        let (pass, gradients, ops) = (tape.pass(), Node::of(loss).gradients.clone(), self.this());
        tape.record(move |_| {
            let one = ops.filled(1, 1.0)?;
            ops.add_gradient(&gradients, &pass, Rc::new(one), 1)
        });
    }

    fn gradient(&self, gradients: &mut Gradients, x: &Tensor) -> Option<Tensor> {
        let block = Node::of(x).gradients.take(&Rc::downgrade(&gradients.pass))?;
        Some(self.wrap_shared(block, x.dims))
    }

    fn update(
        &self,
        value: &mut Tensor,
        moments: &mut [Tensor],
        gradient: &Tensor,
        rule: &UpdateRule,
        step: i32,
    ) -> Result<(), OpError> {
        self.moved(value, moments, gradient, rule, step)
    }

    fn average(&self, into: &mut Tensor, from: &Tensor, keep: f32) -> Result<(), OpError> {
        self.averaged(into, from, keep)
    }
}
