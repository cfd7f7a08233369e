//! Convolutions of maps.

use std::rc::Rc;

use super::GpuOps;
use super::node::{
    LARGE, MOST_LAYERS, Node, SMALL, TILE_DEPTH, Tile, Turn, at, block, blocks, count, for_each,
    maybe, size, values,
};
use crate::device::Precision;
use crate::nn::geometry::Conv2d;
use crate::nn::gpu::{Block, Given, Grid, Kernel};
use crate::nn::ops::{Dims, OpError, Tensor};

/// Blocks that a product along many pixels is cut into, at least: some for each multiprocessor of a large GPU.
const MANY: usize = 512;
/// Large tiles that a product is cut into, at least; it has small ones else. On an H200 those are faster below it.
const LEAST_LARGE: usize = 220;
/// Pixels that are not worth a block of their own.
const LEAST_PIXELS: usize = 256;
/// Pixels along a side that the kernels count (`Corner` in conv.cu).
const MOST_PIXELS: usize = 32_767;
/// Values that are moved at once: channels and filters of a group are padded to multiples of so many (conv.cu).
const WIDE: usize = 4;

/// What the kernels of a convolution are told of its shape, with so many channels and filters in all.
fn shape(n: usize, conv: &Conv2d, channels: usize, filters: usize) -> [Given<'static>; 14] {
    let (input, output) = (conv.input, conv.output());
    [
        n,
        input.height,
        input.width,
        channels,
        output.height,
        output.width,
        filters,
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

/// A convolution with its sizes in each group.
#[derive(Clone, Copy)]
struct Sizes {
    conv: Conv2d,
    images: usize,
    precision: Precision,
    taps: usize,
    groups: usize,
    channels: usize,
    filters: usize,
    wide_channels: usize,
    wide_filters: usize,
}

impl Sizes {
    fn of(conv: &Conv2d, images: usize, precision: Precision) -> Self {
        let groups = conv.groups;
        let (channels, filters) = (conv.input.channels / groups, conv.filters / groups);
        Self {
            conv: *conv,
            images,
            precision,
            taps: conv.kernel.0 * conv.kernel.1,
            groups,
            channels,
            filters,
            wide_channels: channels.next_multiple_of(WIDE),
            wide_filters: filters.next_multiple_of(WIDE),
        }
    }

    fn pixels(self) -> usize {
        self.images * self.conv.output().area()
    }

    fn is_rounded(self) -> bool {
        self.precision == Precision::Tf32
    }

    /// The kernel for so many rows and columns, in so many layers, and its blocks of threads.
    fn kernel(self, [large, small, precise]: [Kernel; 3], sizes: [usize; 3]) -> (Kernel, Grid) {
        let [rows, columns, layers] = sizes;
        let grid = |tile: Tile| tile.grid(rows, columns, layers);
        match self.precision {
            Precision::Float32 => (precise, grid(SMALL)),
            Precision::Tf32 if LARGE.count(rows, columns) * layers < LEAST_LARGE => {
                (small, grid(SMALL))
            }
            Precision::Tf32 => (large, grid(LARGE)),
        }
    }
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
        let (n, sizes) = (x.rows(), Sizes::of(conv, x.rows(), precision));
        assert_eq!(x.dims, Dims::Maps(n, conv.input), "conv2d: maps of another shape");
        assert_eq!(weight.len(), conv.weight_len(), "conv2d: weights");
        check(conv)?;
        let output = conv.output();
        let y = self.room(n * output.len())?;
        let bias_at = maybe(bias.map(values).as_deref());
        let input = if is_depthwise(conv) {
            let (input, filters) = (conv.input.channels, conv.filters);
            let mut given = shape(n, conv, input, filters).to_vec();
            given.extend([at(x), at(weight), bias_at, block(&y)]);
            self.launch(Kernel::DepthwiseForward, for_each(n * output.len()), &given)?;
            values(x)
        } else {
            let input =
                self.widened(&values(x), n * conv.input.area() * sizes.groups, sizes.channels)?;
            let filters = self.turned_weights(weight, sizes)?;
            let mut given =
                shape(n, conv, sizes.wide_channels * sizes.groups, conv.filters).to_vec();
            given.extend([block(&input), block(&filters), bias_at, block(&y)]);
            let kernels =
                [Kernel::ConvForward, Kernel::ConvForwardSmall, Kernel::ConvForwardPrecise];
            let (kernel, grid) =
                sizes.kernel(kernels, [sizes.pixels(), sizes.filters, sizes.groups]);
            self.launch(kernel, grid, &given)?;
            input
        };
        let y = self.wrap(y, Dims::Maps(n, output));
        let weights = values(weight);
        let inputs: Vec<&Tensor> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
        Ok(self.record(&inputs, y, move |ops, dy, wanted| {
            let mut gradients = vec![None; wanted.len()];
            if is_depthwise(&sizes.conv) {
                if wanted[0] {
                    let dx = ops.depthwise_input_gradient(sizes, (&dy, &weights))?;
                    gradients[0] = Some(Rc::new(dx));
                }
                if wanted[1] {
                    let dw = ops.depthwise_filter_gradient(sizes, (&input, &dy))?;
                    gradients[1] = Some(Rc::new(dw));
                }
            } else if wanted[0] || wanted[1] {
                let wide = ops.widened(&dy, sizes.pixels() * sizes.groups, sizes.filters)?;
                if wanted[0] {
                    let dx = ops.input_gradient(sizes, (&wide, &weights))?;
                    gradients[0] = Some(Rc::new(dx));
                }
                if wanted[1] {
                    let dw = ops.filter_gradient(sizes, (&input, &wide))?;
                    gradients[1] = Some(Rc::new(dw));
                }
            }
            if wanted.get(2) == Some(&true) {
                let db = ops.column_sums(&dy, sizes.pixels(), sizes.conv.filters)?;
                gradients[2] = Some(Rc::new(db));
            }
            Ok(gradients)
        }))
    }

    /// Rows of so many values as rows of a multiple of [`WIDE`], by zeros.
    fn widened(&self, x: &Rc<Block>, rows: usize, columns: usize) -> Result<Rc<Block>, OpError> {
        let wide = columns.next_multiple_of(WIDE);
        if wide == columns {
            return Ok(Rc::clone(x));
        }
        let y = self.room(rows * wide)?;
        let given = [count(rows), size(columns), size(wide), block(x), block(&y)];
        self.launch(Kernel::Widen, for_each(rows * wide / WIDE), &given)?;
        Ok(Rc::new(y))
    }

    /// Weights `[filters, channels, taps]` as `[filters, taps, channels]`, turned once for all passes that use them.
    fn turned_weights(&self, weight: &Tensor, sizes: Sizes) -> Result<Rc<Block>, OpError> {
        let Sizes { channels, taps, wide_channels, .. } = sizes;
        let turn = Turn {
            n: sizes.conv.filters,
            c: channels,
            s: taps,
            step: taps,
            wide: wide_channels,
            is_rounded: sizes.is_rounded(),
        };
        let node = Node::of(weight);
        if let Some((found, turned)) = &*node.turned.borrow()
            && *found == turn
        {
            return Ok(Rc::clone(turned));
        }
        let turned = Rc::new(self.turned(&node.value, turn)?);
        node.turned.replace(Some((turn, Rc::clone(&turned))));
        Ok(turned)
    }

    fn input_gradient(
        &self,
        sizes: Sizes,
        (dy, weights): (&Block, &Block),
    ) -> Result<Block, OpError> {
        let Sizes { conv, images, groups, channels, filters, wide_filters, .. } = sizes;
        let dx = self.room(images * conv.input.len())?;
        // [groups, filters, channels * taps] as [groups, channels * taps, filters]: a row for each channel.
        let columns = conv.patch();
        let turn = Turn {
            n: groups,
            c: filters,
            s: columns,
            step: columns,
            wide: wide_filters,
            is_rounded: sizes.is_rounded(),
        };
        let turned = self.turned(weights, turn)?;
        let mut given = shape(images, &conv, conv.input.channels, wide_filters * groups).to_vec();
        given.extend([block(dy), block(&turned), block(&dx)]);
        let kernels = [
            Kernel::ConvInputGradient,
            Kernel::ConvInputGradientSmall,
            Kernel::ConvInputGradientPrecise,
        ];
        // Input pixels that are met by the same taps of a filter make a phase of their own (conv.cu).
        let (down, right) = conv.stride;
        let pixels = images * conv.input.height.div_ceil(down) * conv.input.width.div_ceil(right);
        let (kernel, grid) = sizes.kernel(kernels, [pixels, channels, groups * down * right]);
        self.launch(kernel, grid, &given)?;
        Ok(dx)
    }

    /// `[filters, channels, taps]`, from parts of the pixels that are added up afterwards.
    fn filter_gradient(&self, sizes: Sizes, (x, dy): (&Block, &Block)) -> Result<Block, OpError> {
        let Sizes {
            conv,
            images,
            groups,
            taps,
            channels,
            filters,
            wide_channels,
            wide_filters,
            ..
        } = sizes;
        let (pixels, places) = (sizes.pixels(), taps * wide_channels);
        let (kernel, tile) = match sizes.precision {
            Precision::Tf32 => (Kernel::ConvFilterGradient, LARGE),
            Precision::Float32 => (Kernel::ConvFilterGradientPrecise, SMALL),
        };
        let part = part_of(pixels, tile.count(places, filters) * groups);
        let parts = pixels.div_ceil(part);
        let len = conv.filters * places;
        let sums = self.room(parts * len)?;
        let mut given =
            shape(images, &conv, wide_channels * groups, wide_filters * groups).to_vec();
        given.extend([size(filters), size(part), block(x), block(dy), block(&sums)]);
        // The tiles of a part stand beside those of the next.
        let grid = tile.grid(places.next_multiple_of(tile.rows) * parts, filters, groups);
        self.launch(kernel, grid, &given)?;
        let sum = self.added_parts(sums, parts, (1, len), None)?;
        if taps == 1 && wide_channels == channels {
            return Ok(sum);
        }
        let turn = Turn {
            n: conv.filters,
            c: taps,
            s: channels,
            step: wide_channels,
            wide: taps,
            is_rounded: false,
        };
        self.turned(&sum, turn)
    }

    fn depthwise_input_gradient(
        &self,
        sizes: Sizes,
        (dy, weights): (&Block, &Block),
    ) -> Result<Block, OpError> {
        let Sizes { conv, images, .. } = sizes;
        let len = images * conv.input.len();
        let dx = self.room(len)?;
        let mut given = shape(images, &conv, conv.input.channels, conv.filters).to_vec();
        given.extend([block(dy), block(weights), block(&dx)]);
        self.launch(Kernel::DepthwiseInputGradient, for_each(len), &given)?;
        Ok(dx)
    }

    fn depthwise_filter_gradient(
        &self,
        sizes: Sizes,
        (x, dy): (&Block, &Block),
    ) -> Result<Block, OpError> {
        let Sizes { conv, images, taps, .. } = sizes;
        let part = part_of(sizes.pixels(), conv.filters.div_ceil(32) * taps);
        let parts = sizes.pixels().div_ceil(part);
        let sums = self.room(parts * conv.weight_len())?;
        let mut given = shape(images, &conv, conv.input.channels, conv.filters).to_vec();
        given.extend([size(part), block(x), block(dy), block(&sums)]);
        let blocks = [blocks(conv.filters, 32), blocks(parts, 1), blocks(taps, 1)];
        let grid = Grid { blocks, threads: 32 };
        self.launch(Kernel::DepthwiseFilterGradient, grid, &given)?;
        self.added_parts(sums, parts, (1, conv.weight_len()), None)
    }
}

/// Whether the kernels can count what a convolution has.
fn check(conv: &Conv2d) -> Result<(), OpError> {
    let (input, output) = (conv.input, conv.output());
    let sides = [
        input.height + 2 * conv.padding.0,
        input.width + 2 * conv.padding.1,
        output.height,
        output.width,
    ];
    if sides.into_iter().any(|side| side > MOST_PIXELS) {
        return Err(OpError::new(format_args!(
            "a convolution of {} x {} pixels and its padding: a GPU's kernels count up to {MOST_PIXELS} along a side",
            input.height, input.width
        )));
    }
    if conv.groups * conv.stride.0 * conv.stride.1 > MOST_LAYERS {
        return Err(OpError::new(format_args!(
            "a convolution of {} groups that moves by {} x {} pixels: a GPU's kernels take up to {MOST_LAYERS} times these together",
            conv.groups, conv.stride.0, conv.stride.1
        )));
    }
    Ok(())
}

/// Pixels of a part, where a part makes so many blocks of threads.
fn part_of(pixels: usize, blocks: usize) -> usize {
    let most = pixels.div_ceil(LEAST_PIXELS);
    pixels.div_ceil(MANY.div_ceil(blocks).clamp(1, most)).next_multiple_of(TILE_DEPTH)
}
