//! Convolutions of maps.

use std::rc::Rc;

use smallvec::smallvec;

use super::GpuOps;
use super::node::{
    Back, List, MOST_LAYERS, Rounding, TILE_DEPTH, Turn, at, block, blocks, count, for_each, maybe,
    size, tiles, values,
};
use super::rows::Parts;
use super::tiles::{Candidate, best, best_in_parts};
use crate::device::Precision;
use crate::nn::geometry::Conv2d;
use crate::nn::gpu::{Arg, Block, Given, Grid, Kernel};
use crate::nn::ops::{Dims, OpError, Tensor};

/// Blocks that a product along many pixels is cut into, at least: some for each multiprocessor of a large GPU.
const MANY: usize = 512;
/// Channels of a group, at most, that neighbours find in the nearest cache (`Patches` in conv.cu).
const FEW: usize = 8;
/// Pixels that are not worth a block of their own.
const LEAST_PIXELS: usize = 256;
/// Pixels along a side that the kernels count (`Corner` in conv.cu).
const MOST_PIXELS: usize = 32_767;
/// Values that are moved at once: channels and filters of a group are padded to multiples of so many (conv.cu).
const WIDE: usize = 4;

/// The share of a filter's taps inside of maps, over all pixels, below which those outside are left out (`Numbering` in conv.cu).
const MOSTLY_INSIDE: f64 = 0.96;
/// Images from which on a tile has few places.
const MANY_IMAGES: usize = 16;

/// The share of a filter's taps that find pixels and no padding, over all pixels of the output or, the other way round, gradients.
fn inside(conv: &Conv2d) -> f64 {
    let output = conv.output();
    let share = |size: usize, out: usize, taps: usize, stride: usize, padding: usize| {
        let ends = (0..out).map(|at| {
            let first = at * stride;
            (first + taps).min(size + padding).saturating_sub(first.max(padding))
        });
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let of_all = |all: usize| ends.clone().sum::<usize>() as f64 / all as f64;
        of_all(out * taps).min(of_all(size.div_ceil(stride) * taps))
    };
    let (input, kernel, stride, padding) = (conv.input, conv.kernel, conv.stride, conv.padding);
    share(input.height, output.height, kernel.0, stride.0, padding.0)
        * share(input.width, output.width, kernel.1, stride.1, padding.1)
}

/// The factor and the shift of divisions by a number (`divisor.cuh`).
fn divisor(by: usize) -> [Given<'static>; 2] {
    let by = u64::try_from(by).expect("a size").max(1);
    let shift = by.next_power_of_two().trailing_zeros();
    let factor = (((1 << shift) - by) << 32) / by + 1;
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what the kernels go by")]
    let factor = (factor as u32).cast_signed();
    [Arg::Int(factor).into(), Arg::Int(shift.cast_signed()).into()]
}

fn is_depthwise(conv: &Conv2d) -> bool {
    conv.groups == conv.input.channels && conv.groups == conv.filters
}

/// A convolution with its sizes in each group.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub conv: Conv2d,
    pub images: usize,
    precision: Precision,
    taps: usize,
    groups: usize,
    channels: usize,
    filters: usize,
    wide_channels: usize,
    wide_filters: usize,
    /// Whether pixels are numbered place by place, so that taps that find padding alone are left out.
    is_by_place: bool,
}

impl Sizes {
    pub(super) fn of(conv: &Conv2d, images: usize, precision: Precision) -> Self {
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
            is_by_place: images >= MANY_IMAGES && inside(conv) < MOSTLY_INSIDE,
        }
    }

    /// What the kernels are told of the shape, with so many channels and filters in all.
    fn shape(self, channels: usize, filters: usize) -> List<'static> {
        let Self { conv, images, is_by_place, .. } = self;
        let (input, output) = (conv.input, conv.output());
        let shape = [
            images,
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
            usize::from(is_by_place),
        ];
        let (groups, taps) = (conv.groups, conv.kernel.1);
        let divisors =
            [images, output.area(), output.width, channels / groups, filters / groups, taps];
        shape.map(size).into_iter().chain(divisors.into_iter().flat_map(divisor)).collect()
    }

    pub fn pixels(self) -> usize {
        self.images * self.conv.output().area()
    }

    pub fn precision(self) -> Precision {
        self.precision
    }

    /// How the kernels want the filters to be rounded.
    fn rounding(self) -> Rounding {
        match self.precision {
            Precision::Tf32 => Rounding::Tf32,
            Precision::Float32 => Rounding::None,
            Precision::Bf16 => Rounding::Bf16,
        }
    }

    /// The kernel for so many rows and columns, in so many layers.
    fn kernel(self, of: &Kernels, has_groups: bool, product: [usize; 3]) -> Kernel {
        match (self.precision, has_groups, of.few) {
            (Precision::Float32, ..) => of.precise,
            (_, false, _) => best(&of.by_warps, product),
            (_, true, Some(few)) if self.wide_channels <= FEW => few,
            (_, true, _) => best(&of.by_groups, product),
        }
        .in_precision(self.precision)
    }

    /// The kernel of the gradient of the filters, and into how many parts the pixels are cut.
    fn filter_kernel(self, has_groups: bool) -> (Kernel, usize) {
        let candidates = match (self.precision, has_groups) {
            (Precision::Float32, _) => &PRECISE_FILTER_GRADIENT[..],
            (Precision::Tf32 | Precision::Bf16, true) => &FILTER_GRADIENT[..],
            (Precision::Tf32 | Precision::Bf16, false) => &FILTER_GRADIENT[..3],
        };
        let (kernel, parts) = best_in_parts(candidates, self.of_filters(), self.pixels());
        (kernel.in_precision(self.precision), parts)
    }

    /// Rows and columns of that product, in so many layers.
    pub fn of_filters(self) -> [usize; 3] {
        [self.taps * self.wide_channels, self.filters, self.groups]
    }

    /// Rows and columns of the product of the output, in so many layers.
    fn of_output(self) -> [usize; 3] {
        [self.pixels(), self.filters, self.groups]
    }

    /// Those of the gradient of the input. Pixels that are met by the same taps of a filter make a phase of their own (conv.cu).
    fn of_input(self) -> [usize; 3] {
        let ((down, right), input) = (self.conv.stride, self.conv.input);
        let pixels = self.images * input.height.div_ceil(down) * input.width.div_ceil(right);
        [pixels, self.channels, self.groups * down * right]
    }
}

/// The kernels of a product that takes place for every pixel, in single precision and in TF32. The tile that is the fastest in TF32 is
/// taken to be the fastest in bf16 too.
pub(super) struct Kernels {
    pub precise: Kernel,
    pub by_warps: [Candidate; 3],
    pub by_groups: [Candidate; 4],
    /// For few channels.
    pub few: Option<Kernel>,
}

pub(super) const FORWARD: Kernels = Kernels {
    precise: Kernel::ConvForwardPrecise,
    by_warps: [
        Candidate(Kernel::ConvForwardLarge, 2, 140.0),
        Candidate(Kernel::ConvForwardMedium, 3, 108.0),
        Candidate(Kernel::ConvForwardSmall, 4, 95.0),
    ],
    by_groups: [
        Candidate(Kernel::ConvForwardGroupLarge, 2, 235.0),
        Candidate(Kernel::ConvForwardGroupMedium, 3, 155.0),
        Candidate(Kernel::ConvForwardGroupWide, 3, 220.0),
        Candidate(Kernel::ConvForwardGroupSmall, 4, 155.0),
    ],
    few: Some(Kernel::ConvForwardGroupFew),
};

pub(super) const INPUT_GRADIENT: Kernels = Kernels {
    precise: Kernel::ConvInputGradientPrecise,
    by_warps: [
        Candidate(Kernel::ConvInputGradientLarge, 2, 132.0),
        Candidate(Kernel::ConvInputGradientMedium, 3, 102.0),
        Candidate(Kernel::ConvInputGradientSmall, 4, 88.0),
    ],
    by_groups: [
        Candidate(Kernel::ConvInputGradientGroupLarge, 2, 230.0),
        Candidate(Kernel::ConvInputGradientGroupMedium, 3, 150.0),
        Candidate(Kernel::ConvInputGradientGroupWide, 3, 210.0),
        Candidate(Kernel::ConvInputGradientGroupSmall, 4, 145.0),
    ],
    few: None,
};

/// Kernels of the products whose sums are along the pixels; the last one is for warpgroups.
pub(super) const FILTER_GRADIENT: [Candidate; 4] = [
    Candidate(Kernel::ConvFilterGradientLarge, 2, 140.0),
    Candidate(Kernel::ConvFilterGradientMedium, 4, 108.0),
    Candidate(Kernel::ConvFilterGradientSmall, 5, 90.0),
    Candidate(Kernel::ConvFilterGradientGroupHuge, 1, 140.0),
];
pub(super) const PRECISE_FILTER_GRADIENT: [Candidate; 1] =
    [Candidate(Kernel::ConvFilterGradientPrecise, 3, 36.0)];

impl GpuOps {
    /// Convolution of the maps `x`. Whether a bias makes a difference to what follows decides about its gradient alone.
    pub(super) fn convolve(
        &self,
        x: &Tensor,
        (weight, bias): (&Tensor, Option<&Tensor>),
        conv: &Conv2d,
        (precision, is_moot): (Precision, bool),
    ) -> Result<Tensor, OpError> {
        let (n, sizes) = (x.rows(), Sizes::of(conv, x.rows(), precision));
        assert_eq!(x.dims, Dims::Maps(n, conv.input), "conv2d: maps of another shape");
        assert_eq!(weight.len(), conv.weight_len(), "conv2d: weights");
        check(conv)?;
        let output = conv.output();
        let bias_at = bias.map(values);
        let mut turned = None;
        let (y, input) = if is_depthwise(conv) {
            let y = self.room(n * output.len())?;
            let (input, filters) = (conv.input.channels, conv.filters);
            let mut given = sizes.shape(input, filters);
            given.extend([at(x), at(weight), maybe(bias_at.as_deref()), block(&y)]);
            self.launch(Kernel::DepthwiseForward, for_each(n * output.len()), &given)?;
            (y, values(x))
        } else {
            let input = self.widened_input(sizes, &values(x))?;
            let filters = self.turned_weights(weight, sizes)?;
            if x.is_recorded() {
                // Both layouts are made together.
                turned = Some(self.turned_back(weight, sizes)?);
            }
            let kernel = sizes.kernel(&FORWARD, self.queue.has_warpgroups(), sizes.of_output());
            (self.forward(kernel, sizes, (&input, &filters), bias_at.as_deref())?, input)
        };
        let y = self.wrap(y, Dims::Maps(n, output));
        let weights = values(weight);
        let inputs: Vec<&Tensor> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
        Ok(self.record(&inputs, y, move |ops, dy, wanted| {
            let mut gradients: Back = smallvec![None; wanted.len()];
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
                let has_groups = ops.queue.has_warpgroups();
                let wide = ops.widened_gradient(sizes, &dy)?;
                if let (true, Some(filters)) = (wanted[0], &turned) {
                    let kernel = sizes.kernel(&INPUT_GRADIENT, has_groups, sizes.of_input());
                    let so_far = wanted.so_far(0);
                    gradients[0] =
                        Some(ops.input_gradient(kernel, sizes, (&wide, filters), so_far)?);
                }
                if wanted[1] {
                    let by = sizes.filter_kernel(has_groups);
                    let dw = ops.filter_gradient(by, sizes, (&input, &wide))?;
                    gradients[1] = Some(Rc::new(dw));
                }
            }
            if wanted.get(2) == Some(&true) {
                let filters = sizes.conv.filters;
                let db = match is_moot {
                    true => ops.zeros(filters)?,
                    false => ops.column_sums(&dy, sizes.pixels(), filters)?,
                };
                gradients[2] = Some(Rc::new(db));
            }
            Ok(gradients)
        }))
    }

    pub(super) fn widened_input(&self, sizes: Sizes, x: &Rc<Block>) -> Result<Rc<Block>, OpError> {
        let rows = sizes.images * sizes.conv.input.area() * sizes.groups;
        self.widened(x, rows, sizes.channels)
    }

    pub(super) fn widened_gradient(
        &self,
        sizes: Sizes,
        dy: &Rc<Block>,
    ) -> Result<Rc<Block>, OpError> {
        self.widened(dy, sizes.pixels() * sizes.groups, sizes.filters)
    }

    /// Asks for a product of so many rows and columns, in so many layers.
    fn multiply(
        &self,
        kernel: Kernel,
        [rows, columns, layers]: [usize; 3],
        given: &[Given],
    ) -> Result<(), OpError> {
        self.launch(kernel, tiles(kernel, [rows, columns, 1, layers]), given)
    }

    /// The convolution of maps that are wide enough, with filters that were turned.
    pub(super) fn forward(
        &self,
        kernel: Kernel,
        sizes: Sizes,
        (x, filters): (&Block, &Block),
        bias: Option<&Block>,
    ) -> Result<Block, OpError> {
        let Sizes { conv, images, groups, wide_channels, .. } = sizes;
        let y = self.room(images * conv.output().len())?;
        let mut given = sizes.shape(wide_channels * groups, conv.filters);
        given.extend([block(x), block(filters), maybe(bias), block(&y)]);
        self.multiply(kernel, sizes.of_output(), &given)?;
        Ok(y)
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

    /// Weights `[filters, channels, taps]` as `[filters, taps, channels]`.
    pub(super) fn turned_weights(
        &self,
        weight: &Tensor,
        sizes: Sizes,
    ) -> Result<Rc<Block>, OpError> {
        let Sizes { channels, taps, wide_channels, .. } = sizes;
        let turn = Turn {
            n: sizes.conv.filters,
            c: channels,
            s: taps,
            step: taps,
            wide: wide_channels,
            rounding: sizes.rounding(),
        };
        self.turned_once(weight, turn)
    }

    /// Weights `[groups, filters, channels * taps]` as `[groups, channels * taps, filters]`: a row for each channel.
    pub(super) fn turned_back(&self, weight: &Tensor, sizes: Sizes) -> Result<Rc<Block>, OpError> {
        let columns = sizes.conv.patch();
        let turn = Turn {
            n: sizes.groups,
            c: sizes.filters,
            s: columns,
            step: columns,
            wide: sizes.wide_filters,
            rounding: sizes.rounding(),
        };
        self.turned_once(weight, turn)
    }

    /// With filters that were turned back. What the gradient is so far is added, and becomes the sum where nobody else has it.
    pub(super) fn input_gradient(
        &self,
        kernel: Kernel,
        sizes: Sizes,
        (dy, filters): (&Block, &Block),
        so_far: Option<Rc<Block>>,
    ) -> Result<Rc<Block>, OpError> {
        let Sizes { conv, images, groups, wide_filters, .. } = sizes;
        let room = || self.room(images * conv.input.len()).map(Rc::new);
        let (so_far, dx) = match so_far {
            Some(sum) if Rc::strong_count(&sum) == 1 => (Some(Rc::clone(&sum)), sum),
            so_far => (so_far, room()?),
        };
        let mut given = sizes.shape(conv.input.channels, wide_filters * groups);
        given.extend([block(dy), block(filters), maybe(so_far.as_deref()), block(&dx)]);
        self.multiply(kernel, sizes.of_input(), &given)?;
        Ok(dx)
    }

    /// `[filters, channels, taps]`, from parts of the pixels, as many as are given with the kernel, that are added up afterwards.
    pub(super) fn filter_gradient(
        &self,
        (kernel, parts): (Kernel, usize),
        sizes: Sizes,
        (x, dy): (&Block, &Block),
    ) -> Result<Block, OpError> {
        let Sizes { conv, groups, taps, channels, filters, .. } = sizes;
        let Sizes { wide_channels, wide_filters, .. } = sizes;
        let (pixels, places) = (sizes.pixels(), taps * wide_channels);
        let part = pixels.div_ceil(parts).next_multiple_of(TILE_DEPTH);
        let parts = pixels.div_ceil(part);
        let len = conv.filters * places;
        let sums = self.room(parts * len)?;
        let mut given = sizes.shape(wide_channels * groups, wide_filters * groups);
        given.extend([size(filters), size(part), block(x), block(dy), block(&sums)]);
        self.launch(kernel, tiles(kernel, [places, filters, parts, groups]), &given)?;
        if taps == 1 && wide_channels == channels {
            return self.added_parts(sums, parts, (1, len), None);
        }
        let of = Parts { n: conv.filters, channels, wide: wide_channels, taps, count: parts };
        self.added(&sums, of, None)
    }

    fn depthwise_input_gradient(
        &self,
        sizes: Sizes,
        (dy, weights): (&Block, &Block),
    ) -> Result<Block, OpError> {
        let Sizes { conv, images, .. } = sizes;
        let len = images * conv.input.len();
        let dx = self.room(len)?;
        let mut given = sizes.shape(conv.input.channels, conv.filters);
        given.extend([block(dy), block(weights), block(&dx)]);
        self.launch(Kernel::DepthwiseInputGradient, for_each(len), &given)?;
        Ok(dx)
    }

    fn depthwise_filter_gradient(
        &self,
        sizes: Sizes,
        (x, dy): (&Block, &Block),
    ) -> Result<Block, OpError> {
        let Sizes { conv, taps, .. } = sizes;
        let part = part_of(sizes.pixels(), conv.filters.div_ceil(32) * taps);
        let parts = sizes.pixels().div_ceil(part);
        let sums = self.room(parts * conv.weight_len())?;
        let mut given = sizes.shape(conv.input.channels, conv.filters);
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
