//! Feature maps in the layout that a device's convolutions want, and the way into it and out.

use std::sync::Arc;

use dfdx::prelude::*;
use rayon::prelude::*;

use super::tape::values;
use super::{Batch, ELEMENTS, Ops};
use crate::memory::{self, Buffer};
use crate::nn::geometry::Chw;
use crate::nn::kernels::{LANES, maps};

/// Feature maps of a batch in the device's own layout: `[ceil(N/16), C, H, W, 16]` on the CPU
/// ([`maps`]), `[N, C*H*W]` elsewhere.
///
/// dfdx lends nobody the values of a tensor and clears every gradient before it is added to: two
/// more ways through memory for each of the largest things there are. So on the CPU the values lie
/// in a buffer of ours, and the tensor is a token: it has a place on the tape and a gradient, whose
/// vector is ours as well.
#[derive(Debug, Clone)]
pub struct Maps<D: Ops, T = NoneTape> {
    /// The values, or their token on the CPU.
    pub(super) values: Batch<D, T>,
    /// The values where the tensor does not have them.
    pub(super) held: D::Held,
    /// Number of images N.
    pub images: usize,
    /// Shape of an image.
    pub shape: Chw,
}

impl<D: Ops, T: Tape<f32, D>> Maps<D, T> {
    /// The maps and their tape.
    pub fn split_tape(self) -> (Maps<D>, T) {
        let Self { values, held, images, shape } = self;
        let (values, tape) = values.split_tape();
        (Maps { values, held, images, shape }, tape)
    }
}

impl<D: Ops> Maps<D> {
    /// The maps on a tape.
    pub fn put_tape<T: Tape<f32, D>>(self, tape: T) -> Maps<D, T> {
        let Self { values, held, images, shape } = self;
        Maps { values: values.put_tape(tape), held, images, shape }
    }
}

impl Maps<Cpu> {
    /// Maps of a buffer.
    pub(super) fn held(
        device: &Cpu,
        held: Arc<Buffer>,
        images: usize,
        shape: Chw,
    ) -> Result<Self, CpuError> {
        assert_eq!(held.len(), maps::blocks(images) * shape.len() * LANES, "maps");
        Ok(Self { values: device.try_zeros_like(&(1, 1))?, held, images, shape })
    }
}

/// The gradient of maps, taken from dfdx's keeping: `None` if nobody added to it yet.
pub(super) fn take_gradient(
    gradients: &mut Gradients<f32, Cpu>,
    token: &Batch<Cpu>,
    len: usize,
) -> Result<Option<Vec<f32>>, CpuError> {
    let held = std::mem::take(&mut **gradients.get_or_alloc_mut(token)?);
    Ok((held.len() == len).then_some(held))
}

/// Gives a gradient into dfdx's keeping.
pub(super) fn put_gradient(
    gradients: &mut Gradients<f32, Cpu>,
    token: &Batch<Cpu>,
    values: Vec<f32>,
) -> Result<(), CpuError> {
    **gradients.get_or_alloc_mut(token)? = values;
    Ok(())
}

/// Adds `more` to the gradient of maps; it becomes the gradient if it is the first.
pub(super) fn add_gradient(
    gradients: &mut Gradients<f32, Cpu>,
    token: &Batch<Cpu>,
    more: Vec<f32>,
) -> Result<(), CpuError> {
    let sum = match take_gradient(gradients, token, more.len())? {
        None => more,
        Some(mut sum) => {
            let more_chunks = more.par_chunks(ELEMENTS);
            sum.par_chunks_mut(ELEMENTS).zip(more_chunks).for_each(|(sum, more)| {
                for (sum, more) in sum.iter_mut().zip(more) {
                    *sum += more;
                }
            });
            memory::give(more);
            sum
        }
    };
    put_gradient(gradients, token, sum)
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
    let (x, mut tape) = x.split_tape();
    let (images, len) = (x.shape().0, shape.len());
    assert_eq!(x.shape().1, len, "pack: images of another shape");
    let rows = values(&x);
    let mut out = memory::take(maps::blocks(images) * len * LANES);
    maps::pack(&rows, len, &mut out);
    memory::give(rows);
    let packed = out.len();
    let y = Maps::held(x.device(), Arc::new(out.into()), images, shape)?;
    if T::OWNS_TAPE && needs_gradient {
        let (token, input) = (y.values.clone(), x.ghost());
        tape.add_backward_op(move |gradients| {
            if let Some(dy) = take_gradient(gradients, &token, packed)? {
                maps::unpack(&dy, len, gradients.get_or_alloc_mut(&input)?, true);
                memory::give(dy);
            }
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

/// [`Ops::unpack`] on the CPU.
///
/// # Errors
/// Those of the device.
pub fn unpack<T: Tape<f32, Cpu>>(x: Maps<Cpu, T>) -> Result<Batch<Cpu, T>, CpuError> {
    let (Maps { values: token, held, images, shape }, mut tape) = x.split_tape();
    let (len, packed) = (shape.len(), held.len());
    let mut out = memory::take(images * len);
    maps::unpack(&held, len, &mut out, false);
    let y = token.device().try_tensor_from_vec(out, (images, len))?;
    if T::OWNS_TAPE {
        let output = y.ghost();
        tape.add_backward_op(move |gradients| {
            let dy = std::mem::take(&mut **gradients.get_or_alloc_mut(&output)?);
            let mut dx = memory::take(packed);
            maps::pack(&dy, len, &mut dx);
            memory::give(dy);
            add_gradient(gradients, &token, dx)
        });
    }
    Ok(y.put_tape(tape))
}
