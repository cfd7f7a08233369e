//! What follows a convolution, in one pass each way.

use std::rc::Rc;

use super::GpuOps;
use super::node::{
    Back, List, all, at, block, blocks, count, for_each, maybe, size, values, width,
};
use super::norm::{Layout, NormBack, Normaliser, parameters};
use super::pool::window;
use crate::nn::geometry::{Chw, Pool2d, Rectifier};
use crate::nn::gpu::{Arg, Block, Given, Grid, Kernel};
use crate::nn::ops::conv_block::{MOST_POSITIONS, after_convolution};
use crate::nn::ops::{ConvBlock, Dims, OpError, Tensor};

/// What the kernels of block.cu are told of a block.
#[derive(Clone, Copy)]
struct Shape {
    images: usize,
    pool: Pool2d,
    is_pooled: bool,
    rectifier: Option<Rectifier>,
}

impl Shape {
    fn given(self) -> List<'static> {
        let ceiling = self.rectifier.map_or(f32::INFINITY, Rectifier::ceiling);
        let rectifies = size(usize::from(self.rectifier.is_some()));
        all(&[&window(&self.pool, true), &[rectifies, Arg::Float(ceiling).into()]])
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

    /// Blocks for the rows of all images of `maps`. A row has as many threads as it has values, or, where nothing is pooled, as
    /// many as make full use of the GPU.
    fn grid(self, maps: Chw) -> Grid {
        let (channels, rows) = (maps.channels, self.images * maps.height);
        let all = (maps.width * channels).div_ceil(width(channels)).div_ceil(128);
        let beside = if self.is_pooled { all } else { ENOUGH.div_ceil(rows.max(1)).min(all) };
        Grid { blocks: [blocks(rows, 1), blocks(beside, 1), 1], threads: 128 }
    }
}

/// Blocks of threads that make full use of a large GPU.
const ENOUGH: usize = 1600;

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
        if pool.kernel.0 * pool.kernel.1 >= MOST_POSITIONS || x.is_empty() {
            return after_convolution(self, x, side, conv_block);
        }
        let ConvBlock { norm, pool: pooled, relu, .. } = conv_block;
        let (images, is_pooled) = (x.rows(), pooled.is_some());
        let scales = parameters(&norm);
        if scales.is_none() && side.is_none() && !is_pooled && relu.is_none() {
            return Ok(x);
        }
        let shape = Shape { images, pool, is_pooled, rectifier: relu };
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
        ];
        let mut given = all(&[&shape.given()[..], &rest]);
        given.extend(winners.as_ref().map(block));
        let kernel = if is_pooled { Kernel::BlockForwardPooled } else { Kernel::BlockForward };
        self.launch(kernel, shape.grid(pool.output()), &given)?;
        let output = self.wrap_shared(Rc::clone(&y), dims);
        let mut inputs = vec![&x];
        inputs.extend(scales.map(|(weight, bias)| [weight, bias]).into_iter().flatten());
        inputs.extend(side);
        let past = Past { x: values(&x), y, winners, normaliser, has_side: side.is_some(), shape };
        Ok(self.record(&inputs, output, move |ops, dy, wanted| past.back(ops, dy, wanted)))
    }
}

/// What a pass backward goes by.
struct Past {
    x: Rc<Block>,
    y: Rc<Block>,
    winners: Option<Block>,
    normaliser: Option<Normaliser>,
    has_side: bool,
    shape: Shape,
}

impl Past {
    /// The gradients of the convolution's output, of factors and summands, where there are some, and of the other summand, where
    /// there is one.
    fn back(&self, ops: &GpuOps, mut dy: Rc<Block>, wanted: &[bool]) -> Result<Back, OpError> {
        let mut shape = self.shape;
        let wants_side = self.has_side && wanted.last() == Some(&true);
        let (mut of_norm, mut means, mut dside) = (Vec::new(), None, None);
        if let Some(normaliser) = &self.normaliser {
            dside = wants_side.then(|| ops.room(shape.outputs())).transpose()?.map(Rc::new);
            let back = self.norm_back(ops, normaliser, &dy, dside.as_deref())?;
            of_norm = vec![Some(Rc::new(back.dweight)), Some(Rc::new(back.dbias))];
            means = Some(back.means);
        } else if wants_side {
            dside = Some(self.behind_rectifier(ops, &dy)?);
        }
        if let Some(dside) = &dside {
            // Rectification went back already.
            dy = Rc::clone(dside);
            shape.rectifier = None;
        }
        let is_same = dside.is_some() && self.normaliser.is_none() && !shape.is_pooled;
        let dx = match wanted[0] {
            false => None,
            true if is_same => Some(dy),
            true => {
                let dx = ops.room(shape.inputs())?;
                let coefficients = self.normaliser.as_ref().map(|it| &it.coefficients);
                let norm = [maybe(coefficients), maybe(means.as_ref())];
                let (kernel, mut given) = match &self.winners {
                    None => {
                        let given = [&shape.given()[..], &norm, &self.given(&dy)];
                        (Kernel::BlockBack, all(&given))
                    }
                    // They know what was rectified.
                    Some(winners) => {
                        let rest = [block(&self.x), block(&dy), block(winners)];
                        let window = window(&shape.pool, true);
                        (Kernel::BlockBackPooled, all(&[&window[..], &norm, &rest]))
                    }
                };
                given.push(block(&dx));
                ops.launch(kernel, shape.grid(shape.pool.input), &given)?;
                Some(Rc::new(dx))
            }
        };
        let of_side = self.has_side.then_some(dside);
        Ok([dx].into_iter().chain(of_norm).chain(of_side).collect())
    }

    /// The gradients of factors and summands, and of the other summand where there is room for it.
    fn norm_back(
        &self,
        ops: &GpuOps,
        normaliser: &Normaliser,
        dy: &Block,
        dside: Option<&Block>,
    ) -> Result<NormBack, OpError> {
        let (shape, channels) = (self.shape, self.shape.channels());
        let rows = shape.outputs() / channels;
        let pixels = Layout::innermost(rows, channels);
        let sums = ops.room(pixels.sums())?;
        let part = [size(pixels.part()), size(pixels.lanes()), block(&normaliser.coefficients)];
        let rest = [maybe(self.winners.as_ref()), maybe(dside), block(&sums)];
        let given = all(&[&[count(rows)], &shape.given()[..], &part, &self.given(dy), &rest]);
        ops.launch(Kernel::BlockBackParts, pixels.by_part(), &given)?;
        ops.back_finish(pixels, shape.inputs() / channels, normaliser, &sums)
    }

    /// The gradient before rectification.
    fn behind_rectifier(&self, ops: &GpuOps, dy: &Rc<Block>) -> Result<Rc<Block>, OpError> {
        let Some(rectifier) = self.shape.rectifier else { return Ok(Rc::clone(dy)) };
        let len = self.shape.outputs();
        let ceiling = Arg::Float(rectifier.ceiling()).into();
        let gradient = ops.room(len)?;
        let given = [count(len), ceiling, block(&self.y), block(dy), block(&gradient)];
        ops.launch(Kernel::RectifyBack, for_each(len), &given)?;
        Ok(Rc::new(gradient))
    }

    fn given(&self, dy: &Block) -> [Given<'static>; 3] {
        [block(&self.x), block(&self.y), block(dy)]
    }
}
