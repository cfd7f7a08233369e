//! Feature maps in the layout that a device's convolutions want, and the way into it and out.

use dfdx::prelude::*;

use super::tape::{self, Sums, values};
use super::{Batch, Chw, Needs, Ops};
use crate::memory;
use crate::nn::kernels::{LANES, maps};

/// Feature maps of a batch in the device's own layout: `[ceil(N/16), C*H*W*16]` on the CPU
/// ([`maps`]), `[N, C*H*W]` elsewhere.
#[derive(Debug, Clone)]
pub struct Maps<D: Ops, T = NoneTape> {
    /// The values.
    pub values: Batch<D, T>,
    /// Number of images N.
    pub images: usize,
    /// Shape of an image.
    pub shape: Chw,
}

impl<D: Ops, T: Tape<f32, D>> Maps<D, T> {
    /// The maps and their tape.
    pub fn split_tape(self) -> (Maps<D>, T) {
        let (values, tape) = self.values.split_tape();
        (Maps { values, images: self.images, shape: self.shape }, tape)
    }
}

impl<D: Ops> Maps<D> {
    /// The maps on a tape.
    pub fn put_tape<T: Tape<f32, D>>(self, tape: T) -> Maps<D, T> {
        Maps { values: self.values.put_tape(tape), images: self.images, shape: self.shape }
    }
}

/// [`Ops::pack`] on the CPU.
///
/// # Errors
/// Those of the device.
pub fn pack<T: Tape<f32, Cpu>>(
    x: Batch<Cpu, T>,
    shape: Chw,
    needs_gradient: bool,
) -> Result<Maps<Cpu, T>, CpuError> {
    let (x, tape) = x.split_tape();
    let (images, len) = (x.shape().0, shape.len());
    assert_eq!(x.shape().1, len, "pack: images of another shape");
    let rows = values(&x);
    let mut out = memory::take(maps::blocks(images) * len * LANES);
    maps::pack(&rows, len, &mut out);
    memory::give(rows);
    let y = x.device().try_tensor_from_vec(out, (maps::blocks(images), len * LANES))?;
    let values = if T::OWNS_TAPE && needs_gradient {
        let needs = Needs { input: true, weight: false };
        tape::record(tape, &x, &[], y, needs, move |dy, sums: Sums<'_>| {
            let dx = sums.input.expect("the input's gradient is needed");
            maps::unpack(dy, len, dx, true);
        })
    } else {
        y.put_tape(tape)
    };
    Ok(Maps { values, images, shape })
}

/// [`Ops::unpack`] on the CPU.
///
/// # Errors
/// Those of the device.
pub fn unpack<T: Tape<f32, Cpu>>(x: Maps<Cpu, T>) -> Result<Batch<Cpu, T>, CpuError> {
    let (Maps { values: x, images, shape }, tape) = x.split_tape();
    let len = shape.len();
    let held = values(&x);
    let mut out = memory::take(images * len);
    maps::unpack(&held, len, &mut out, false);
    memory::give(held);
    let y = x.device().try_tensor_from_vec(out, (images, len))?;
    if !T::OWNS_TAPE {
        return Ok(y.put_tape(tape));
    }
    let needs = Needs { input: true, weight: false };
    Ok(tape::record(tape, &x, &[], y, needs, move |dy, sums: Sums<'_>| {
        let dx = sums.input.expect("the input's gradient is needed");
        let mut packed = memory::take(dx.len());
        maps::pack(dy, len, &mut packed);
        for (dx, packed) in dx.iter_mut().zip(&packed) {
            *dx += packed;
        }
        memory::give(packed);
    }))
}
