//! Pooling, of maps or of rows.

use std::rc::Rc;

use smallvec::smallvec;

use super::GpuOps;
use super::node::{all, at, block, count, for_each, size, values};
use crate::nn::geometry::{Chw, Pool2d};
use crate::nn::gpu::{Given, Kernel};
use crate::nn::ops::{Dims, OpError, Tensor};

/// What the kernels are told of a window, and whether channels are innermost.
pub(super) fn window(pool: &Pool2d, last: bool) -> [Given<'static>; 12] {
    let (input, output) = (pool.input, pool.output());
    [
        input.channels,
        input.height,
        input.width,
        output.height,
        output.width,
        pool.kernel.0,
        pool.kernel.1,
        pool.stride.0,
        pool.stride.1,
        pool.padding.0,
        pool.padding.1,
        usize::from(last),
    ]
    .map(size)
}

fn is_maps(x: &Tensor) -> bool {
    matches!(x.dims, Dims::Maps(..))
}

/// Images of this shape in the layout of `x`.
fn like(x: &Tensor, shape: Chw) -> Dims {
    match is_maps(x) {
        true => Dims::Maps(x.rows(), shape),
        false => Dims::Rows(x.rows(), shape.len()),
    }
}

impl GpuOps {
    pub(super) fn max_pool(&self, x: &Tensor, pool: &Pool2d) -> Result<Tensor, OpError> {
        let (n, pool) = (x.rows(), *pool);
        assert_eq!(x.columns(), pool.input.len(), "max_pool2d: images of another shape");
        let (len, window) = (n * pool.output().len(), window(&pool, is_maps(x)));
        let (y, winners) = (self.room(len)?, self.room(len)?);
        let given = all(&[&[count(len)], &window[..], &[at(x), block(&y), block(&winners)]]);
        self.launch(Kernel::MaxPool, for_each(len), &given)?;
        let y = self.wrap(y, like(x, pool.output()));
        Ok(self.record(&[x], y, move |ops, dy, _| {
            let len = n * pool.input.len();
            let dx = ops.room(len)?;
            let given =
                all(&[&[count(len)], &window[..], &[block(&winners), block(&dy), block(&dx)]]);
            ops.launch(Kernel::MaxPoolBack, for_each(len), &given)?;
            Ok(smallvec![Some(Rc::new(dx))])
        }))
    }

    pub(super) fn mean_pool(&self, x: &Tensor, pool: &Pool2d) -> Result<Tensor, OpError> {
        let (n, pool) = (x.rows(), *pool);
        assert_eq!(x.columns(), pool.input.len(), "avg_pool2d: images of another shape");
        let (len, window) = (n * pool.output().len(), window(&pool, is_maps(x)));
        let y = self.room(len)?;
        let given = all(&[&[count(len)], &window[..], &[at(x), block(&y)]]);
        self.launch(Kernel::MeanPool, for_each(len), &given)?;
        let y = self.wrap(y, like(x, pool.output()));
        Ok(self.record(&[x], y, move |ops, dy, _| {
            let len = n * pool.input.len();
            let dx = ops.room(len)?;
            let given = all(&[&[count(len)], &window[..], &[block(&dy), block(&dx)]]);
            ops.launch(Kernel::MeanPoolBack, for_each(len), &given)?;
            Ok(smallvec![Some(Rc::new(dx))])
        }))
    }

    /// The mean of each channel, `[N, channels]`.
    pub(super) fn channel_means(&self, x: &Tensor, input: Chw) -> Result<Tensor, OpError> {
        assert_eq!(x.columns(), input.len(), "global_avg_pool: images of another shape");
        let (n, c, pixels, last) = (x.rows(), input.channels, input.area(), is_maps(x));
        let y = self.room(n * c)?;
        let last = size(usize::from(last));
        let given = [size(n), size(c), size(pixels), last, block(&values(x)), block(&y)];
        self.launch(Kernel::ChannelMeans, for_each(n * c), &given)?;
        let y = self.wrap(y, Dims::Rows(n, c));
        Ok(self.record(&[x], y, move |ops, dy, _| {
            let len = n * c * pixels;
            let dx = ops.room(len)?;
            let given = [count(len), size(c), size(pixels), last, block(&dy), block(&dx)];
            ops.launch(Kernel::ChannelMeansBack, for_each(len), &given)?;
            Ok(smallvec![Some(Rc::new(dx))])
        }))
    }
}
