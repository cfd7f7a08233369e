//! Channels times numbers given by the caller: dropout, whose mask is drawn elsewhere.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::matrix::DfdxMatrix;
use super::tape::record;
use super::{Dims, ELEMENTS, OpError, Tensor};
use crate::memory;

/// [`Ops::scale_channels`](super::Ops::scale_channels) on the CPU.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree.
pub fn scale_channels(x: &Tensor, scale: &[f32], channels: usize) -> Result<Tensor, OpError> {
    let spatial = check((x.rows(), x.columns()), scale, channels);
    let mut out = memory::take(x.values().len());
    each_channel(&mut out, x.values(), scale, spatial, |out, x, scale| *out = x * scale);
    let scale = scale.to_vec();
    let y = x.beside(out, Dims::Rows(x.rows(), x.columns()));
    Ok(record(&[x], y, move |dy, sums| {
        let Some(dx) = &mut sums[0] else { return };
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
pub(super) fn scale_channels_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: DfdxMatrix<D, T>,
    scale: &[f32],
    channels: usize,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    let spatial = check(*x.shape(), scale, channels);
    let shape = *x.shape();
    let planes = (scale.len(), spatial);
    let scale = x.device().try_tensor_from_vec(scale.to_vec(), (scale.len(),))?;
    let scale = scale.try_broadcast_like::<_, Axis<1>>(&planes)?;
    x.try_reshape_like(&planes)?.try_mul(scale)?.try_reshape_like(&shape)
}

fn check(x: (usize, usize), scale: &[f32], channels: usize) -> usize {
    assert!(
        channels > 0 && x.1.is_multiple_of(channels) && x.1 > 0,
        "scale_channels: {} features are not {channels} channels",
        x.1
    );
    assert_eq!(scale.len(), x.0 * channels, "scale_channels: the scale is not [N, {channels}]");
    x.1 / channels
}
