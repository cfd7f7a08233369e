//! The way into the layout that the CPU's convolutions want, `[ceil(N/16), C, H, W, 16]`
//! ([`kernels::maps`](crate::nn::kernels::maps)), and out of it.

use super::tape::{add_gradient, put_gradient, sum_so_far, take_gradient};
use super::tensor::Tensor;
use super::{Dims, OpError};
use crate::memory;
use crate::nn::geometry::Chw;
use crate::nn::kernels::{LANES, maps};

/// [`Ops::maps`](super::Ops::maps) on the CPU.
///
/// # Errors
/// Those of the device.
pub fn pack(x: &Tensor, shape: Chw) -> Result<Tensor, OpError> {
    if let Dims::Maps(_, found) = x.dims {
        assert_eq!(found, shape, "maps of another shape");
        return Ok(x.clone());
    }
    let (images, len) = (x.rows(), shape.len());
    assert_eq!(x.columns(), len, "pack: images of another shape");
    let mut out = memory::take(maps::blocks(images) * len * LANES);
    maps::pack(x.values(), len, &mut out);
    let mut y = x.beside(out, Dims::Maps(images, shape));
    if let Some(tape) = &x.tape {
        let (output, input) = (y.token().clone(), x.token().clone());
        tape.record(move |gradients| {
            if let Some(dy) = take_gradient(gradients, &output)? {
                let mut dx = sum_so_far(gradients, &input, images * len)?;
                maps::unpack(&dy, len, &mut dx, true);
                put_gradient(gradients, &input, dx)?;
                memory::give(dy);
            }
            Ok(())
        });
        y.tape = Some(tape.clone());
    }
    Ok(y)
}

/// [`Ops::flat_rows`](super::Ops::flat_rows) on the CPU.
///
/// # Errors
/// Those of the device.
pub fn unpack(x: &Tensor) -> Result<Tensor, OpError> {
    let Dims::Maps(images, shape) = x.dims else { return Ok(x.clone()) };
    let (len, packed) = (shape.len(), x.values().len());
    let mut y = x.beside(rows(x), Dims::Rows(images, len));
    if let Some(tape) = &x.tape {
        let (output, input) = (y.token().clone(), x.token().clone());
        tape.record(move |gradients| {
            if let Some(dy) = take_gradient(gradients, &output)? {
                let mut dx = memory::take(packed);
                maps::pack(&dy, len, &mut dx);
                memory::give(dy);
                add_gradient(gradients, &input, dx)?;
            }
            Ok(())
        });
        y.tape = Some(tape.clone());
    }
    Ok(y)
}

/// The values of feature maps, image by image.
pub(super) fn rows(x: &Tensor) -> Vec<f32> {
    let len = x.columns();
    let mut out = memory::take(x.rows() * len);
    maps::unpack(x.values(), len, &mut out, false);
    out
}
