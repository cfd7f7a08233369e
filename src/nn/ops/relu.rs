//! Rectified linear units, and those with a ceiling.

use dfdx::prelude::{Device, Tape};
use rayon::prelude::*;

use super::matrix::DfdxMatrix;
use super::tape::record;
use super::{ELEMENTS, OpError, Tensor};
use crate::memory;
use crate::nn::geometry::Rectifier;

/// [`Ops::relu`](super::Ops::relu) on the CPU. NaN stays NaN, so that divergence shows.
///
/// # Errors
/// Those of the device.
pub fn relu(x: &Tensor, rectifier: Rectifier) -> Result<Tensor, OpError> {
    let ceiling = rectifier.ceiling();
    let mut out = memory::take(x.values().len());
    out.par_chunks_mut(ELEMENTS).zip(x.values().par_chunks(ELEMENTS)).for_each(|(out, input)| {
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
    let input = x.buffer();
    Ok(record(&[x], x.beside(out, x.dims), move |dy, sums| {
        let Some(dx) = &mut sums[0] else { return };
        let each = dx.par_chunks_mut(ELEMENTS).zip(dy.par_chunks(ELEMENTS));
        each.zip(input.par_chunks(ELEMENTS)).for_each(|((dx, dy), input)| {
            for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(input) {
                *dx += if *x > 0.0 && *x < ceiling { *dy } else { 0.0 };
            }
        });
    }))
}

/// [`Ops::relu`](super::Ops::relu) of dfdx's own operations.
///
/// # Errors
/// Those of the device.
pub(super) fn relu_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: DfdxMatrix<D, T>,
    rectifier: Rectifier,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    let y = x.try_relu()?;
    if rectifier == Rectifier::Relu {
        return Ok(y);
    }
    y.try_clamp(f32::NEG_INFINITY, rectifier.ceiling())
}
