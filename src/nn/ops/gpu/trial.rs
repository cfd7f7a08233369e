//! Whether a GPU computes what the processor computes. A network of a few layers goes forward and back on both, once in a process,
//! before anything is trained: a GPU, a driver or a kernel that is not right is found before it writes a number.

use std::sync::Arc;

use super::GpuOps;
use crate::device::Precision;
use crate::nn::geometry::{Chw, Conv2d, Pool2d, Rectifier};
use crate::nn::gpu::{Gpu, GpuError};
use crate::nn::ops::{
    Backend, ConvBlock, CpuOps, Dims, Norm, OpError, Running, Tape, Targets, Tensor,
};

/// Images of the trial.
const IMAGES: usize = 6;
/// Their classes.
const LABELS: [u32; IMAGES] = [0, 4, 2, 1, 3, 0];
const CLASSES: usize = 5;

/// How far a result may be from the processor's, by the root of the sum of squares, relative to that of the result. Rounding may turn
/// which value of a window is the largest, so it can move a gradient by more than it moved the values.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::Tf32 => 2e-2,
        Precision::Float32 => 1e-3,
        Precision::Bf16 => 8e-2,
    }
}

/// Compares a GPU with the processor.
///
/// # Errors
/// When a result is another one, or the GPU fails.
pub(super) fn pass(gpu: &Arc<Gpu>, precision: Precision) -> Result<(), GpuError> {
    let failed = |error: OpError| GpuError::Driver(error.to_string());
    let ops = GpuOps::untried(Arc::clone(gpu), precision)?;
    // The second time its lists are known, and the third time they are graphs.
    let again = || -> Result<_, OpError> {
        results(&ops)?;
        results(&ops)?;
        let found = results(&ops)?;
        ops.finish()?;
        Ok(found)
    };
    let found = again().map_err(failed)?;
    // Threads of its own: nobody has said yet how many the program may use.
    let threads = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let threads = threads.map_err(|error| failed(OpError::new(error)))?;
    let wanted = threads.install(|| results(&CpuOps::shared())).map_err(failed)?;
    for ((what, found), (_, wanted)) in found.iter().zip(&wanted) {
        if found.len() != wanted.len() {
            return Err(GpuError::Wrong { what, off: "all".into() });
        }
        let squares = |of: &mut dyn Iterator<Item = f64>| of.map(|it| it * it).sum::<f64>().sqrt();
        let both = found.iter().zip(wanted);
        let off = squares(&mut both.map(|(a, b)| f64::from(a - b)));
        let off = off / squares(&mut wanted.iter().map(|it| f64::from(*it)));
        if off.is_nan() || off > tolerance(precision) {
            return Err(GpuError::Wrong { what, off: format!("{off:.1e}") });
        }
    }
    Ok(())
}

/// Numbers without a pattern from -1 to 1.
pub(super) fn numbers(salt: u32, len: usize) -> Vec<f32> {
    let mut state = salt;
    let mut next = || {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
        #[expect(clippy::cast_precision_loss, reason = "24 bits")]
        let value = (word >> 8) as f32 / (1 << 23) as f32;
        value - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// A loss, running averages and the gradients of all that it was computed from.
fn results(ops: &Backend) -> Result<Vec<(&'static str, Vec<f32>)>, OpError> {
    let tape = Tape::default();
    let flat = |salt, len| ops.tensor(numbers(salt, len), Dims::Flat(len));
    let images = Chw { channels: 3, height: 11, width: 9 };
    let first = Conv2d {
        input: images,
        filters: 10,
        kernel: (3, 3),
        stride: (1, 1),
        padding: (1, 1),
        groups: 1,
    };
    let pool = Pool2d {
        input: first.output(),
        kernel: (2, 2),
        stride: (2, 2),
        padding: (0, 0),
        ceil: false,
    };
    let second = Conv2d { input: pool.output(), filters: 8, stride: (2, 2), groups: 2, ..first };
    let third = Conv2d { input: second.output(), stride: (1, 1), groups: 8, ..second };
    let x = ops.tensor(numbers(1, IMAGES * images.len()), Dims::Rows(IMAGES, images.len()))?;
    let x = x.on(&tape);
    let filters = flat(2, first.weight_len())?.on(&tape);
    let (factor, summand) = (flat(3, 10)?.shift(2.0)?.on(&tape), flat(4, 10)?.on(&tape));
    let (mut mean, mut var) = (flat(5, 10)?, flat(6, 10)?.square()?);
    let deeper = flat(7, second.weight_len())?.on(&tape);
    let apart = flat(10, third.weight_len())?.on(&tape);
    let weight = flat(8, CLASSES * 8)?.on(&tape);
    let bias = flat(9, CLASSES)?.on(&tape);

    let prepared = ops.prepare(&filters, &first, false);
    let block = ConvBlock {
        shape: first,
        weight: &filters,
        prepared: &prepared,
        bias: None,
        norm: Norm::Batch {
            weight: &factor,
            bias: &summand,
            eps: 1e-5,
            running: Some(Running { mean: &mut mean, var: &mut var, momentum: 0.1 }),
        },
        pool: Some(pool),
        relu: Some(Rectifier::Relu),
    };
    let y = ops.conv_block(&ops.maps(&x, images)?, None, block)?;
    let y = ops.conv2d(&ops.flat_rows(&y)?, &deeper, None, &second)?;
    let y = ops.conv2d(&y, &apart, None, &third)?;
    let y = ops.global_avg_pool(&y, third.output())?;
    let logits = ops.linear(&y, &weight, Some(&bias), CLASSES)?;
    let loss = ops.cross_entropy(&logits, &Targets::plain(&LABELS))?;
    let mut gradients = tape.backward(&loss)?;
    let mut gradient = |of: &Tensor| gradients.take(of).map(|it| it.host()).unwrap_or_default();
    Ok(vec![
        ("a loss", loss.host()),
        ("a running mean", mean.host()),
        ("a running variance", var.host()),
        ("the gradient of a linear layer", gradient(&weight)),
        ("the gradient of a bias", gradient(&bias)),
        ("the gradient of a grouped convolution", gradient(&deeper)),
        ("the gradient of a depthwise convolution", gradient(&apart)),
        ("the gradient of a normalisation", gradient(&factor)),
        ("the gradient of a normalisation's bias", gradient(&summand)),
        ("the gradient of a convolution", gradient(&filters)),
        ("the gradient of the images", gradient(&x)),
    ])
}
