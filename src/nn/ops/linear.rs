//! Fully connected layers.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::matmul::{Strided, add_product};
use super::matrix::{DfdxFlat, DfdxMatrix, Wanted};
use super::tape::record;
use super::{Dims, OpError, Tensor};
use crate::memory;

/// Rows of a product that one task computes.
const ROWS: usize = 64;

/// [`Ops::linear`](super::Ops::linear) on the CPU.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree.
pub fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    outputs: usize,
) -> Result<Tensor, OpError> {
    let (n, features) = (x.rows(), x.columns());
    check((n, features), weight.len(), bias.map(Tensor::len), outputs);
    let (weights, offsets) = (weight.values(), bias.map(Tensor::values));
    let mut out = memory::take(n * outputs);
    out.par_chunks_mut(ROWS * outputs).zip(x.values().par_chunks(ROWS * features)).for_each(
        |(out, input)| {
            for row in out.chunks_exact_mut(outputs) {
                match offsets {
                    Some(offsets) => row.copy_from_slice(offsets),
                    None => row.fill(0.0),
                }
            }
            add_product(
                (out.len() / outputs, features, outputs),
                out,
                outputs,
                Strided::rows(input, features),
                Strided::rows(weights, features).transposed(),
            );
        },
    );
    let y = x.beside(out, Dims::Rows(n, outputs));
    let (input, weights) = (x.buffer(), weight.buffer());
    let inputs: Vec<&Tensor> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
    Ok(record(&inputs, y, move |dy, sums| {
        if let Some(dx) = &mut sums[0] {
            backward_input(dy, &weights, outputs, features, dx);
        }
        if let Some(dw) = &mut sums[1] {
            backward_weight(dy, &input, outputs, features, dw);
        }
        if let Some(Some(db)) = sums.get_mut(2) {
            backward_bias(dy, db);
        }
    }))
}

fn backward_input(dy: &[f32], weight: &[f32], outputs: usize, features: usize, dx: &mut [f32]) {
    let each = dx.par_chunks_mut(ROWS * features).zip(dy.par_chunks(ROWS * outputs));
    each.for_each(|(dx, dy)| {
        add_product(
            (dy.len() / outputs, outputs, features),
            dx,
            features,
            Strided::rows(dy, outputs),
            Strided::rows(weight, features),
        );
    });
}

/// Tasks take rows of the weight, so each sum over the batch is made by one of them.
fn backward_weight(dy: &[f32], input: &[f32], outputs: usize, features: usize, dw: &mut [f32]) {
    let n = dy.len() / outputs;
    dw.par_chunks_mut(ROWS * features).enumerate().for_each(|(chunk, dw)| {
        if n > 0 {
            add_product(
                (dw.len() / features, n, features),
                dw,
                features,
                Strided::rows(&dy[chunk * ROWS..], outputs).transposed(),
                Strided::rows(input, features),
            );
        }
    });
}

fn backward_bias(dy: &[f32], db: &mut [f32]) {
    let mut sums = vec![0.0_f64; db.len()];
    for row in dy.chunks_exact(db.len()) {
        for (sum, dy) in sums.iter_mut().zip(row) {
            *sum += f64::from(*dy);
        }
    }
    for (db, sum) in db.iter_mut().zip(sums) {
        #[expect(clippy::cast_possible_truncation, reason = "gradients are f32")]
        let sum = sum as f32;
        *db += sum;
    }
}

/// [`Ops::linear`](super::Ops::linear) of dfdx's own operations.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree.
pub(super) fn linear_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: DfdxMatrix<D, T>,
    weight: &DfdxFlat<D>,
    bias: Option<&DfdxFlat<D>>,
    outputs: usize,
    wanted: Wanted,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    let (n, features) = *x.shape();
    check((n, features), weight.shape().0, bias.map(|bias| bias.shape().0), outputs);
    if T::OWNS_TAPE && wanted.nothing() {
        let (x, tape) = x.split_tape();
        return Ok(linear_generic(x, weight, bias, outputs, wanted)?.put_tape(tape));
    }
    let weight = weight.retaped::<T>().try_reshape_like(&(outputs, features))?;
    let y = x.try_matmul(weight.try_permute::<_, Axes2<1, 0>>()?)?;
    match bias {
        None => Ok(y),
        Some(bias) => {
            y.try_add(bias.retaped::<T>().try_broadcast_like::<_, Axis<0>>(&(n, outputs))?)
        }
    }
}

fn check(x: (usize, usize), weight: usize, bias: Option<usize>, outputs: usize) {
    assert!(outputs > 0 && x.1 > 0, "linear: no features or no outputs");
    assert_eq!(weight, outputs * x.1, "linear: the weight is not [{outputs}, {}]", x.1);
    if let Some(bias) = bias {
        assert_eq!(bias, outputs, "linear: the bias is not [{outputs}]");
    }
}
