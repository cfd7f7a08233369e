//! Gradient reversal (Ganin et al. 2016): the features learn what the domain classifier must not.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::tape::{self, Sums};
use super::{Batch, ELEMENTS, Needs};
use crate::memory;

/// [`Ops::grad_reverse`](super::Ops::grad_reverse) on the CPU.
///
/// # Errors
/// Those of the device.
pub fn grad_reverse<T: Tape<f32, Cpu>>(
    x: Batch<Cpu, T>,
    lambda: f32,
) -> Result<Batch<Cpu, T>, CpuError> {
    let (x, tape) = x.split_tape();
    if !T::OWNS_TAPE {
        return Ok(x.put_tape(tape));
    }
    let mut out = memory::take(x.shape().num_elements());
    x.copy_into(&mut out);
    let y = x.device().try_tensor_from_vec(out, *x.shape())?;
    let needs = Needs { input: true, weight: false };
    Ok(tape::record(tape, &x, &[], y, needs, move |dy, sums: Sums<'_>| {
        let dx = sums.input.expect("the input's gradient is needed");
        dx.par_chunks_mut(ELEMENTS).zip(dy.par_chunks(ELEMENTS)).for_each(|(dx, dy)| {
            for (dx, dy) in dx.iter_mut().zip(dy) {
                *dx += -lambda * dy;
            }
        });
    }))
}

/// [`Ops::grad_reverse`](super::Ops::grad_reverse) of dfdx's own operations:
/// `(x - d) * -lambda + d`, where `d` equals `x` and is constant.
///
/// # Errors
/// Those of the device.
pub fn grad_reverse_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: Batch<D, T>,
    lambda: f32,
) -> Result<Batch<D, T>, D::Err> {
    let (x, tape) = x.split_tape();
    // An operation without a tape gives the values a new identity, which gets no gradient.
    let constant = x.clone().try_mul(1.0)?;
    x.put_tape(tape).try_sub(constant.clone())?.try_mul(-lambda)?.try_add(constant)
}
