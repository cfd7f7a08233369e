//! Channels times numbers given by the caller: dropout, whose mask is drawn elsewhere.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::tape::{self, Sums, values};
use super::{Batch, ELEMENTS, Needs};
use crate::memory;

/// [`Ops::scale_channels`](super::Ops::scale_channels) on the CPU.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree.
pub fn scale_channels<T: Tape<f32, Cpu>>(
    x: Batch<Cpu, T>,
    scale: &[f32],
    channels: usize,
) -> Result<Batch<Cpu, T>, CpuError> {
    let spatial = check(x.shape(), scale, channels);
    let (x, tape) = x.split_tape();
    let input = values(&x);
    let mut out = memory::take(input.len());
    each_channel(&mut out, &input, scale, spatial, |out, x, scale| *out = x * scale);
    memory::give(input);
    let y = x.device().try_tensor_from_vec(out, *x.shape())?;
    if !T::OWNS_TAPE {
        return Ok(y.put_tape(tape));
    }
    let scale = scale.to_vec();
    let needs = Needs { input: true, weight: false };
    Ok(tape::record(tape, &x, &[], y, needs, move |dy, sums: Sums<'_>| {
        let dx = sums.input.expect("the input's gradient is needed");
        each_channel(dx, dy, &scale, spatial, |dx, dy, scale| *dx += dy * scale);
    }))
}

fn each_channel(
    to: &mut [f32],
    from: &[f32],
    scale: &[f32],
    spatial: usize,
    apply: impl Fn(&mut f32, f32, f32) + Sync,
) {
    let planes = ELEMENTS.div_ceil(spatial);
    let each = to.par_chunks_mut(planes * spatial).zip(from.par_chunks(planes * spatial));
    each.zip(scale.par_chunks(planes)).for_each(|((to, from), scale)| {
        let each = to.chunks_exact_mut(spatial).zip(from.chunks_exact(spatial));
        for ((to, from), scale) in each.zip(scale) {
            for (to, from) in to.iter_mut().zip(from) {
                apply(to, *from, *scale);
            }
        }
    });
}

/// [`Ops::scale_channels`](super::Ops::scale_channels) of dfdx's own operations.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree.
pub fn scale_channels_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: Batch<D, T>,
    scale: &[f32],
    channels: usize,
) -> Result<Batch<D, T>, D::Err> {
    let spatial = check(x.shape(), scale, channels);
    let shape = *x.shape();
    let planes = (scale.len(), spatial);
    let scale = x.device().try_tensor_from_vec(scale.to_vec(), (scale.len(),))?;
    let scale = scale.try_broadcast_like::<_, Axis<1>>(&planes)?;
    x.try_reshape_like(&planes)?.try_mul(scale)?.try_reshape_like(&shape)
}

fn check(x: &(usize, usize), scale: &[f32], channels: usize) -> usize {
    assert!(
        channels > 0 && x.1.is_multiple_of(channels) && x.1 > 0,
        "scale_channels: {} features are not {channels} channels",
        x.1
    );
    assert_eq!(scale.len(), x.0 * channels, "scale_channels: the scale is not [N, {channels}]");
    x.1 / channels
}
