//! Rectified linear units, and those with a ceiling.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::tape::{self, Sums, values};
use super::{Batch, ELEMENTS, Needs};
use crate::memory;
use crate::nn::geometry::Rectifier;

/// [`Ops::relu`](super::Ops::relu) on the CPU. NaN stays NaN, so that divergence shows.
///
/// # Errors
/// Those of the device.
pub fn relu<T: Tape<f32, Cpu>>(
    x: Batch<Cpu, T>,
    rectifier: Rectifier,
) -> Result<Batch<Cpu, T>, CpuError> {
    let ceiling = rectifier.ceiling();
    let (x, tape) = x.split_tape();
    let input = values(&x);
    let mut out = memory::take(input.len());
    out.par_chunks_mut(ELEMENTS).zip(input.par_chunks(ELEMENTS)).for_each(|(out, input)| {
        for (out, x) in out.iter_mut().zip(input) {
            *out = if *x < 0.0 {
                0.0
            } else if *x > ceiling {
                ceiling
            } else {
                *x
            };
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
                *dx += if *x > 0.0 && *x < ceiling { *dy } else { 0.0 };
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
    rectifier: Rectifier,
) -> Result<Batch<D, T>, D::Err> {
    let y = x.try_relu()?;
    if rectifier == Rectifier::Relu {
        return Ok(y);
    }
    y.try_clamp(f32::NEG_INFINITY, rectifier.ceiling())
}
