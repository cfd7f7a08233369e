//! Maps of one size, their channels one after the other.

use dfdx::prelude::*;

use super::{Batch, Ops};

/// `[N, A]` and `[N, B]` and so on as `[N, A + B + ...]`: feature maps of one size `[C, H, W]` are put
/// together along their channels (PyTorch's `torch.cat(parts, 1)`). By dfdx's own operation on every
/// device.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When there are no parts, or they are of different numbers of images.
pub fn concat<D: Ops, T: Tape<f32, D>>(parts: Vec<Batch<D, T>>) -> Result<Batch<D, T>, D::Err> {
    let mut parts = parts.into_iter();
    let first = parts.next().expect("something to put together");
    parts.try_fold(first, |all, part| (all, part).try_concat_along(Axis::<1>))
}
