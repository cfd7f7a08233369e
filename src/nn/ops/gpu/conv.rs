//! Convolutions of maps.

use std::rc::Rc;

use super::GpuOps;
use super::node::{TILE, at, block, blocks, count, for_each, maybe, size, tiles, values};
use crate::device::Precision;
use crate::nn::geometry::Conv2d;
use crate::nn::gpu::{Block, Given, Grid, Kernel};
use crate::nn::ops::{Dims, OpError, Tensor};

/// Blocks that a product along many pixels is cut into, at least: some for each multiprocessor of a large GPU.
const MANY: usize = 512;
/// Pixels that are not worth a block of their own.
const LEAST_PIXELS: usize = 256;

/// What the kernels of a convolution are told of its shape.
fn shape(n: usize, conv: &Conv2d) -> [Given<'static>; 14] {
    let (input, output) = (conv.input, conv.output());
    [
        n,
        input.height,
        input.width,
        input.channels,
        output.height,
        output.width,
        conv.filters,
        conv.kernel.0,
        conv.kernel.1,
        conv.stride.0,
        conv.stride.1,
        conv.padding.0,
        conv.padding.1,
        conv.groups,
    ]
    .map(size)
}

fn is_depthwise(conv: &Conv2d) -> bool {
    conv.groups == conv.input.channels && conv.groups == conv.filters
}

impl GpuOps {
    /// Convolution of the maps `x`.
    pub(super) fn convolve(
        &self,
        x: &Tensor,
        (weight, bias): (&Tensor, Option<&Tensor>),
        conv: &Conv2d,
        precision: Precision,
    ) -> Result<Tensor, OpError> {
        let (n, conv) = (x.rows(), *conv);
        assert_eq!(x.dims, Dims::Maps(n, conv.input), "conv2d: maps of another shape");
        assert_eq!(weight.len(), conv.weight_len(), "conv2d: weights");
        let output = conv.output();
        let (channels, taps) = (conv.input.channels / conv.groups, conv.kernel.0 * conv.kernel.1);
        // [filters, channels, taps] as [filters, taps, channels].
        let filters = match channels {
            1 => values(weight),
            _ => Rc::new(self.swapped(&values(weight), (conv.filters, taps, channels))?),
        };
        let y = self.room(n * output.len())?;
        let mut given = shape(n, &conv).to_vec();
        let bias_at = maybe(bias.map(values).as_deref());
        given.extend([at(x), block(&filters), bias_at, block(&y)]);
        let (kernel, grid) = match precision {
            _ if is_depthwise(&conv) => (Kernel::DepthwiseForward, for_each(n * output.len())),
            Precision::Tf32 => (Kernel::ConvForward, forward_tiles(n, &conv)),
            Precision::Float32 => (Kernel::ConvForwardPrecise, forward_tiles(n, &conv)),
        };
        self.launch(kernel, grid, &given)?;
        let y = self.wrap(y, Dims::Maps(n, output));
        let input = values(x);
        let inputs: Vec<&Tensor> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
        Ok(self.record(&inputs, y, move |ops, dy, wanted| {
            let mut gradients = vec![None; wanted.len()];
            if wanted[0] {
                let dx = ops.input_gradient(n, &conv, precision, (&dy, &filters))?;
                gradients[0] = Some(Rc::new(dx));
            }
            if wanted[1] {
                let dw = ops.filter_gradient(n, &conv, precision, (&input, &dy))?;
                let dw = match channels {
                    1 => dw,
                    _ => ops.swapped(&dw, (conv.filters, channels, taps))?,
                };
                gradients[1] = Some(Rc::new(dw));
            }
            if wanted.get(2) == Some(&true) {
                let db = ops.column_sums(&dy, n * conv.output().area(), conv.filters)?;
                gradients[2] = Some(Rc::new(db));
            }
            Ok(gradients)
        }))
    }

    fn input_gradient(
        &self,
        n: usize,
        conv: &Conv2d,
        precision: Precision,
        (dy, filters): (&Block, &Block),
    ) -> Result<Block, OpError> {
        let dx = self.room(n * conv.input.len())?;
        let mut given = shape(n, conv).to_vec();
        given.extend([block(dy), block(filters), block(&dx)]);
        let grid = tiles(n * conv.input.area(), conv.input.channels / conv.groups, conv.groups);
        let (kernel, grid) = match precision {
            _ if is_depthwise(conv) => {
                (Kernel::DepthwiseInputGradient, for_each(n * conv.input.len()))
            }
            Precision::Tf32 => (Kernel::ConvInputGradient, grid),
            Precision::Float32 => (Kernel::ConvInputGradientPrecise, grid),
        };
        self.launch(kernel, grid, &given)?;
        Ok(dx)
    }

    /// `[filters, taps, channels]`, from parts of the pixels that are added up in order.
    fn filter_gradient(
        &self,
        n: usize,
        conv: &Conv2d,
        precision: Precision,
        (x, dy): (&Block, &Block),
    ) -> Result<Block, OpError> {
        let (pixels, taps) = (n * conv.output().area(), conv.kernel.0 * conv.kernel.1);
        let (filters, places) = (conv.filters / conv.groups, conv.patch());
        let own = filters.div_ceil(TILE) * places.div_ceil(TILE) * conv.groups;
        let most = pixels.div_ceil(LEAST_PIXELS);
        let part = pixels.div_ceil(MANY.div_ceil(own).clamp(1, most)).next_multiple_of(16);
        let parts = pixels.div_ceil(part);
        let sums = self.room(parts * conv.weight_len())?;
        let mut given = shape(n, conv).to_vec();
        given.extend([size(part), block(x), block(dy), block(&sums)]);
        // The tiles of a part stand beside those of the next.
        let grid = tiles(filters.next_multiple_of(TILE) * parts, places, conv.groups);
        let by_channel = Grid {
            blocks: [blocks(conv.filters, 32), blocks(parts, 1), blocks(taps, 1)],
            threads: 32,
        };
        let (kernel, grid) = match precision {
            _ if is_depthwise(conv) => (Kernel::DepthwiseFilterGradient, by_channel),
            Precision::Tf32 => (Kernel::ConvFilterGradient, grid),
            Precision::Float32 => (Kernel::ConvFilterGradientPrecise, grid),
        };
        self.launch(kernel, grid, &given)?;
        self.added_parts(sums, parts, conv.weight_len())
    }

    /// The sum of parts of `len` values, in their order.
    pub(super) fn added_parts(
        &self,
        sums: Block,
        parts: usize,
        len: usize,
    ) -> Result<Block, OpError> {
        if parts == 1 {
            return Ok(sums);
        }
        let out = self.room(len)?;
        let given = [count(len), size(parts), block(&sums), block(&out)];
        self.launch(Kernel::AddParts, for_each(len), &given)?;
        Ok(out)
    }
}

fn forward_tiles(n: usize, conv: &Conv2d) -> Grid {
    tiles(n * conv.output().area(), conv.filters / conv.groups, conv.groups)
}
