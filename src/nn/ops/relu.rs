//! Rectified linear units.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::tape::{self, Sums, values};
use super::{Batch, ELEMENTS, Needs};
use crate::memory;

/// [`Ops::relu`](super::Ops::relu) on the CPU. NaN stays NaN, so that divergence shows.
///
/// # Errors
/// Those of the device.
pub fn relu<T: Tape<f32, Cpu>>(x: Batch<Cpu, T>) -> Result<Batch<Cpu, T>, CpuError> {
    let (x, tape) = x.split_tape();
    let input = values(&x);
    let mut out = memory::take(input.len());
    out.par_chunks_mut(ELEMENTS).zip(input.par_chunks(ELEMENTS)).for_each(|(out, input)| {
        for (out, x) in out.iter_mut().zip(input) {
            *out = if *x < 0.0 { 0.0 } else { *x };
        }
    });
    let y = x.device().try_tensor_from_vec(out, *x.shape())?;
    if !T::OWNS_TAPE {
        memory::give(input);
        return Ok(y.put_tape(tape));
    }
    let needs = Needs { input: true, weight: false };
    Ok(tape::record(tape, &x, &[], y, needs, move |dy, sums: Sums<'_>| {
        let dx = sums.input.expect("the input's gradient is needed");
        let each = dx.par_chunks_mut(ELEMENTS).zip(dy.par_chunks(ELEMENTS));
        each.zip(input.par_chunks(ELEMENTS)).for_each(|((dx, dy), input)| {
            for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(input) {
                *dx += if *x > 0.0 { *dy } else { 0.0 };
            }
        });
        memory::give(input);
    }))
}

/// [`Ops::relu`](super::Ops::relu) of dfdx's own operations.
///
/// # Errors
/// Those of the device.
pub fn relu_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: Batch<D, T>,
) -> Result<Batch<D, T>, D::Err> {
    x.try_relu()
}
