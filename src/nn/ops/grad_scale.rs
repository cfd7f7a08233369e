//! A factor on the gradient alone: reversal (Ganin et al. 2016), where the features learn what the domain
//! classifier must not.

use dfdx::prelude::{Device, Tape};
use rayon::prelude::*;

use super::matrix::DfdxMatrix;
use super::tape::record;
use super::{ELEMENTS, OpError, Tensor};

/// [`Ops::grad_scale`](super::Ops::grad_scale) on the CPU.
///
/// # Errors
/// Those of the device.
pub fn grad_scale(x: &Tensor, factor: f32) -> Result<Tensor, OpError> {
    // The same values under an identity of their own, because their gradient is another one.
    let y = Tensor::new(x.ops.clone(), x.dims, x.held.clone());
    Ok(record(&[x], y, move |dy, sums| {
        let Some(dx) = &mut sums[0] else { return };
        dx.par_chunks_mut(ELEMENTS).zip(dy.par_chunks(ELEMENTS)).for_each(|(dx, dy)| {
            for (dx, dy) in dx.iter_mut().zip(dy) {
                *dx += factor * dy;
            }
        });
    }))
}

/// [`Ops::grad_scale`](super::Ops::grad_scale) of dfdx's own operations: `(x - d) * factor + d`, where
/// `d` equals `x` and is constant.
///
/// # Errors
/// Those of the device.
pub(super) fn grad_scale_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: DfdxMatrix<D, T>,
    factor: f32,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    use dfdx::prelude::{PutTape as _, SplitTape as _, TryAdd as _, TryMul as _, TrySub as _};
    let (x, tape) = x.split_tape();
    // An operation without a tape gives the values a new identity, which gets no gradient.
    let constant = x.clone().try_mul(1.0)?;
    x.put_tape(tape).try_sub(constant.clone())?.try_mul(factor)?.try_add(constant)
}
