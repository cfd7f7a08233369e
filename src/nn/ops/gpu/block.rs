//! What follows a convolution, in one pass each way.

use std::rc::Rc;

use super::GpuOps;
use super::node::{at, block, blocks, count, for_each, maybe, size, values};
use super::norm::{Layout, parameters};
use super::pool::window;
use crate::nn::geometry::{Chw, Pool2d, Rectifier};
use crate::nn::gpu::{Arg, Block, Given, Grid, Kernel};
use crate::nn::ops::conv_block::{MOST_POSITIONS, after_convolution};
use crate::nn::ops::{ConvBlock, Dims, OpError, Tensor};

/// Rows that a block of threads has (block.cu).
const LINES: usize = 4;

/// What the kernels of block.cu are told of a block.
#[derive(Clone, Copy)]
struct Shape {
    images: usize,
    pool: Pool2d,
    is_pooled: bool,
    rectifier: Option<Rectifier>,
}

impl Shape {
    fn given(self) -> Vec<Given<'static>> {
        let ceiling = self.rectifier.map_or(f32::INFINITY, Rectifier::ceiling);
        let mut given = window(&self.pool, true).to_vec();
        given.extend([size(usize::from(self.rectifier.is_some())), Arg::Float(ceiling).into()]);
        given
    }

    fn inputs(self) -> usize {
        self.images * self.pool.input.len()
    }

    fn outputs(self) -> usize {
        self.images * self.pool.output().len()
    }

    fn channels(self) -> usize {
        self.pool.input.channels
    }

    /// Blocks for the rows of all images of `maps`, and for parts of a row. A thread has several channels (`width_for` in
    /// values.cuh).
    fn grid(self, maps: Chw) -> Grid {
        let channels = maps.channels;
        let width = [4, 2].into_iter().find(|it| channels.is_multiple_of(*it)).unwrap_or(1);
        let threads = (maps.width * channels).div_ceil(width);
        Grid {
            blocks: [blocks(self.images * maps.height, LINES), blocks(threads, 128), 1],
            threads: 128,
        }
    }
}

impl GpuOps {
    /// What follows the convolution `x` of a block.
    pub(super) fn after(
        &self,
        x: Tensor,
        side: Option<&Tensor>,
        conv_block: ConvBlock,
    ) -> Result<Tensor, OpError> {
        let output = conv_block.shape.output();
        let pool = conv_block.pool.unwrap_or_else(|| Pool2d::of_one_pixel(output));
        if pool.kernel.0 * pool.kernel.1 > MOST_POSITIONS {
            return after_convolution(self, x, side, conv_block);
        }
        let ConvBlock { norm, pool: pooled, relu, .. } = conv_block;
        let (images, is_pooled) = (x.rows(), pooled.is_some());
        if parameters(&norm).is_none() && side.is_none() && !is_pooled && relu.is_none() {
            return Ok(x);
        }
        let shape = Shape { images, pool, is_pooled, rectifier: relu };
        let scales = parameters(&norm);
        let normaliser = match scales {
            None => None,
            Some(_) => Some(self.normaliser(&x, norm, Layout::of(&x, output.channels), None)?),
        };
        let dims = Dims::Maps(images, pool.output());
        assert!(side.is_none_or(|it| it.dims == dims), "conv_block: side");
        let len = shape.outputs();
        let y = Rc::new(self.room(len)?);
        // Bytes, four of them for each number.
        let winners = is_pooled.then(|| self.room(len.div_ceil(size_of::<f32>()))).transpose()?;
        let coefficients = maybe(normaliser.as_ref().map(|it| &it.coefficients));
        let bias = scales.map(|(_, bias)| values(bias));
        let side_values = side.map(values);
        let rest = [
            coefficients,
            maybe(bias.as_deref()),
            at(&x),
            maybe(side_values.as_deref()),
            block(&y),
            maybe(winners.as_ref()),
        ];
        let given = [&[size(images)], &shape.given()[..], &rest].concat();
        self.launch(Kernel::BlockForward, shape.grid(pool.output()), &given)?;
        let (input, output) = (values(&x), self.wrap_shared(Rc::clone(&y), dims));
        let mut inputs = vec![&x];
        inputs.extend(scales.map(|(weight, bias)| [weight, bias]).into_iter().flatten());
        inputs.extend(side);
        let has_side = side.is_some();
        Ok(self.record(&inputs, output, move |ops, dy, wanted| {
            let mut past = Past { x: &input, y: &y, dy, winners: winners.as_ref(), shape };
            let wants_side = has_side && wanted.last() == Some(&true);
            let (mut gradients, mut dside) = (Vec::with_capacity(wanted.len()), None);
            let mut means = None;
            if let Some(normaliser) = &normaliser {
                let pixels = Layout::innermost(len / shape.channels(), shape.channels());
                if wants_side {
                    dside = Some(Rc::new(ops.room(len)?));
                }
                let sums = ops.room(pixels.sums())?;
                let part = [size(pixels.part()), block(&normaliser.coefficients)];
                let given = [
                    &[count(pixels.rows)],
                    &past.shape.given()[..],
                    &part,
                    &past.given(),
                    &[maybe(dside.as_deref()), block(&sums)],
                ]
                .concat();
                ops.launch(Kernel::BlockBackParts, pixels.by_part(), &given)?;
                let rows = shape.inputs() / shape.channels();
                let back = ops.back_finish(pixels, rows, normaliser, &sums)?;
                gradients = vec![Some(Rc::new(back.dweight)), Some(Rc::new(back.dbias))];
                means = Some(back.means);
            } else if wants_side {
                dside = Some(ops.behind_rectifier(&past)?);
            }
            if let Some(dside) = &dside {
                // Rectification went back already.
                past.dy = Rc::clone(dside);
                past.shape.rectifier = None;
            }
            let mut dx = None;
            if wanted[0] {
                let has_same = normaliser.is_none() && !shape.is_pooled;
                dx = match &dside {
                    Some(dside) if has_same => Some(Rc::clone(dside)),
                    _ => {
                        let dx = ops.room(shape.inputs())?;
                        let coefficients = normaliser.as_ref().map(|it| &it.coefficients);
                        let norm = [maybe(coefficients), maybe(means.as_ref())];
                        let shape = past.shape.given();
                        let given =
                            [&[size(images)], &shape[..], &norm, &past.given(), &[block(&dx)]]
                                .concat();
                        let grid = past.shape.grid(pool.input);
                        ops.launch(Kernel::BlockBack, grid, &given)?;
                        Some(Rc::new(dx))
                    }
                };
            }
            gradients.insert(0, dx);
            gradients.extend(has_side.then_some(dside));
            Ok(gradients)
        }))
    }

    /// The gradient before rectification.
    fn behind_rectifier(&self, past: &Past) -> Result<Rc<Block>, OpError> {
        let Some(rectifier) = past.shape.rectifier else { return Ok(Rc::clone(&past.dy)) };
        let len = past.shape.outputs();
        let ceiling = Arg::Float(rectifier.ceiling()).into();
        let gradient = self.room(len)?;
        let given = [count(len), ceiling, block(past.y), block(&past.dy), block(&gradient)];
        self.launch(Kernel::RectifyBack, for_each(len), &given)?;
        Ok(Rc::new(gradient))
    }
}

/// What a pass backward goes by.
struct Past<'a> {
    x: &'a Block,
    y: &'a Block,
    dy: Rc<Block>,
    winners: Option<&'a Block>,
    shape: Shape,
}

impl Past<'_> {
    fn given(&self) -> [Given<'static>; 4] {
        [block(self.x), block(self.y), block(&self.dy), maybe(self.winners)]
    }
}
