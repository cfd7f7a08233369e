//! Batch normalisation (Ioffe and Szegedy 2015), by a batch's own moments or by given ones.
//!
//! The caller keeps the running averages.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::sums::{dot, sum};
use super::tape::{self, Sums, values};
use super::{Batch, BatchMoments, ELEMENTS, Flat, Needs};
use crate::memory;

/// Images whose moments are summed by one task.
const CHUNK: usize = 16;

/// [`Ops::batch_norm_train`](super::Ops::batch_norm_train) on the CPU.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree or the batch is empty.
pub fn batch_norm_train<T: Tape<f32, Cpu>>(
    x: Batch<Cpu, T>,
    weight: &Flat<Cpu>,
    bias: &Flat<Cpu>,
    channels: usize,
    eps: f32,
    needs: Needs,
) -> Result<(Batch<Cpu, T>, BatchMoments), CpuError> {
    check(x.shape(), [weight, bias].map(|parameter| parameter.shape().0), channels);
    assert!(x.shape().0 > 0, "batch_norm: the batch is empty");
    let spatial = x.shape().1 / channels;
    let (x, tape) = x.split_tape();
    let input = values(&x);
    let moments = moments(&input, channels, spatial);
    let layer = UnfusedNorm::new(&moments, weight, bias, spatial, eps);
    let mut out = memory::take(input.len());
    layer.normalize(&input, &mut out);
    let y = x.device().try_tensor_from_vec(out, *x.shape())?;
    if !T::OWNS_TAPE || needs.nothing() {
        memory::give(input);
        return Ok((y.put_tape(tape), moments));
    }
    let y = tape::record(tape, &x, &[weight, bias], y, needs, move |dy, sums: Sums<'_>| {
        let totals = layer.totals(dy, &input);
        if let Some(dx) = sums.input {
            layer.backward_through_moments(dy, &input, &totals, dx);
        }
        totals.add_to(sums.parameters);
        memory::give(input);
    });
    Ok((y, moments))
}

/// [`Ops::batch_norm_eval`](super::Ops::batch_norm_eval) on the CPU.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree.
#[expect(clippy::too_many_arguments, reason = "the arguments of PyTorch's `batch_norm`")]
pub fn batch_norm_eval<T: Tape<f32, Cpu>>(
    x: Batch<Cpu, T>,
    weight: &Flat<Cpu>,
    bias: &Flat<Cpu>,
    mean: &Flat<Cpu>,
    var: &Flat<Cpu>,
    channels: usize,
    eps: f32,
    needs: Needs,
) -> Result<Batch<Cpu, T>, CpuError> {
    check(x.shape(), [weight, bias, mean, var].map(|parameter| parameter.shape().0), channels);
    let spatial = x.shape().1 / channels;
    let (x, tape) = x.split_tape();
    let moments = BatchMoments { mean: values(mean), var: values(var) };
    let layer = UnfusedNorm::new(&moments, weight, bias, spatial, eps);
    let input = values(&x);
    let mut out = memory::take(input.len());
    layer.normalize(&input, &mut out);
    let y = x.device().try_tensor_from_vec(out, *x.shape())?;
    if !T::OWNS_TAPE || needs.nothing() {
        memory::give(input);
        return Ok(y.put_tape(tape));
    }
    Ok(tape::record(tape, &x, &[weight, bias], y, needs, move |dy, sums: Sums<'_>| {
        if let Some(dx) = sums.input {
            layer.backward_scaled(dy, dx);
        }
        if !sums.parameters.is_empty() {
            layer.totals(dy, &input).add_to(sums.parameters);
        }
        memory::give(input);
    }))
}

/// A layer with its moments: `y = (x - mean) * inverse * weight + bias`.
struct UnfusedNorm {
    spatial: usize,
    mean: Vec<f32>,
    /// `1 / sqrt(var + eps)`.
    inverse: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// Sums over batch and pixels, one per channel.
struct Totals {
    /// Of the output's gradient.
    dy: Vec<f64>,
    /// Of its product with the normalised input.
    dy_normal: Vec<f64>,
}

impl Totals {
    fn add_to(&self, parameters: &mut [Vec<f32>]) {
        if let [weight, bias] = parameters {
            for (sums, totals) in [(weight, &self.dy_normal), (bias, &self.dy)] {
                for (sum, total) in sums.iter_mut().zip(totals) {
                    *sum += narrow(*total);
                }
            }
        }
    }
}

impl UnfusedNorm {
    fn new(
        moments: &BatchMoments,
        weight: &Flat<Cpu>,
        bias: &Flat<Cpu>,
        spatial: usize,
        eps: f32,
    ) -> Self {
        let inverse = |var: &f32| narrow(1.0 / (f64::from(*var) + f64::from(eps)).sqrt());
        Self {
            spatial,
            mean: moments.mean.clone(),
            inverse: moments.var.iter().map(inverse).collect(),
            weight: values(weight),
            bias: values(bias),
        }
    }

    fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Images of one task.
    fn images(&self) -> usize {
        ELEMENTS.div_ceil(self.channels() * self.spatial)
    }

    fn normalize(&self, input: &[f32], out: &mut [f32]) {
        let scale: Vec<f32> = self.weight.iter().zip(&self.inverse).map(|(w, i)| w * i).collect();
        let task = self.images() * self.channels() * self.spatial;
        out.par_chunks_mut(task).zip(input.par_chunks(task)).for_each(|(out, input)| {
            let planes = out.chunks_exact_mut(self.spatial).zip(input.chunks_exact(self.spatial));
            for (plane, (out, input)) in planes.enumerate() {
                let c = plane % self.channels();
                let (mean, scale, bias) = (self.mean[c], scale[c], self.bias[c]);
                for (out, x) in out.iter_mut().zip(input) {
                    *out = (x - mean) * scale + bias;
                }
            }
        });
    }

    fn totals(&self, dy: &[f32], input: &[f32]) -> Totals {
        let channels = self.channels();
        let mut totals = Totals { dy: vec![0.0; channels], dy_normal: vec![0.0; channels] };
        let pairs =
            by_channel(channels, self.spatial, dy, input, |dy, input| (sum(dy), dot(dy, input)));
        for (c, (dy, dy_input)) in pairs.into_iter().enumerate() {
            totals.dy[c] = dy;
            totals.dy_normal[c] =
                (dy_input - f64::from(self.mean[c]) * dy) * f64::from(self.inverse[c]);
        }
        totals
    }

    /// `dx += weight * inverse * (dy - mean(dy) - normal * mean(dy * normal))`.
    fn backward_through_moments(&self, dy: &[f32], input: &[f32], totals: &Totals, dx: &mut [f32]) {
        #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^53 values")]
        let count = (dy.len() / self.channels()) as f64;
        // As a line in x and dy: three numbers a channel.
        let factors: Vec<[f32; 3]> = (0..self.channels())
            .map(|c| {
                let inverse = f64::from(self.inverse[c]);
                let scale = f64::from(self.weight[c]) * inverse;
                let slope = -scale * totals.dy_normal[c] / count * inverse;
                let offset = -scale * totals.dy[c] / count;
                [scale, slope, offset].map(narrow)
            })
            .collect();
        let task = self.images() * self.channels() * self.spatial;
        let each = dx.par_chunks_mut(task).zip(dy.par_chunks(task)).zip(input.par_chunks(task));
        each.for_each(|((dx, dy), input)| {
            let planes = dx.chunks_exact_mut(self.spatial).zip(dy.chunks_exact(self.spatial));
            for (plane, ((dx, dy), x)) in planes.zip(input.chunks_exact(self.spatial)).enumerate() {
                let c = plane % self.channels();
                let (mean, [scale, slope, offset]) = (self.mean[c], factors[c]);
                for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
                    *dx += dy * scale + ((x - mean) * slope + offset);
                }
            }
        });
    }

    fn backward_scaled(&self, dy: &[f32], dx: &mut [f32]) {
        let task = self.images() * self.channels() * self.spatial;
        dx.par_chunks_mut(task).zip(dy.par_chunks(task)).for_each(|(dx, dy)| {
            let planes = dx.chunks_exact_mut(self.spatial).zip(dy.chunks_exact(self.spatial));
            for (plane, (dx, dy)) in planes.enumerate() {
                let c = plane % self.channels();
                let scale = self.weight[c] * self.inverse[c];
                for (dx, dy) in dx.iter_mut().zip(dy) {
                    *dx += dy * scale;
                }
            }
        });
    }
}

/// Mean and biased variance of each channel.
fn moments(input: &[f32], channels: usize, spatial: usize) -> BatchMoments {
    #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^53 values")]
    let count = (input.len() / channels) as f64;
    let sums = by_channel(channels, spatial, input, input, |x, _| (sum(x), dot(x, x)));
    let mut moments = BatchMoments { mean: Vec::new(), var: Vec::new() };
    for (sum, squares) in sums {
        let mean = sum / count;
        moments.mean.push(narrow(mean));
        // In double precision the difference is exact enough for any f32 input.
        moments.var.push(narrow((squares / count - mean * mean).max(0.0)));
    }
    moments
}

/// Two sums a channel over pairs of planes of `a` and `b`, added image by image within a chunk and
/// then chunk by chunk.
fn by_channel(
    channels: usize,
    spatial: usize,
    a: &[f32],
    b: &[f32],
    plane: impl Fn(&[f32], &[f32]) -> (f64, f64) + Sync,
) -> Vec<(f64, f64)> {
    let task = CHUNK * channels * spatial;
    let partial: Vec<Vec<(f64, f64)>> = a
        .par_chunks(task)
        .zip(b.par_chunks(task))
        .map(|(a, b)| {
            let mut sums = vec![(0.0, 0.0); channels];
            let planes = a.chunks_exact(spatial).zip(b.chunks_exact(spatial));
            for (at, (a, b)) in planes.enumerate() {
                let (first, second) = plane(a, b);
                let sums = &mut sums[at % channels];
                *sums = (sums.0 + first, sums.1 + second);
            }
            sums
        })
        .collect();
    let mut totals = vec![(0.0, 0.0); channels];
    for sums in partial {
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = (total.0 + sum.0, total.1 + sum.1);
        }
    }
    totals
}

#[expect(clippy::cast_possible_truncation, reason = "tensors are f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// [`Ops::batch_norm_train`](super::Ops::batch_norm_train) of dfdx's own operations.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree or the batch is empty.
pub fn batch_norm_train_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: Batch<D, T>,
    weight: &Flat<D>,
    bias: &Flat<D>,
    channels: usize,
    eps: f32,
    needs: Needs,
) -> Result<(Batch<D, T>, BatchMoments), D::Err> {
    check(x.shape(), [weight, bias].map(|parameter| parameter.shape().0), channels);
    assert!(x.shape().0 > 0, "batch_norm: the batch is empty");
    let (n, features) = *x.shape();
    if T::OWNS_TAPE && needs.nothing() {
        let (x, tape) = x.split_tape();
        let (y, moments) = batch_norm_train_generic(x, weight, bias, channels, eps, needs)?;
        return Ok((y.put_tape(tape), moments));
    }
    let planes = (n, channels, features / channels);
    let x = x.try_reshape_like(&planes)?;
    let mean = x.with_empty_tape().try_mean::<(usize,), Axes2<0, 2>>()?;
    let mean_host = mean.as_vec();
    let centred = x.try_sub(mean.try_broadcast_like::<_, Axes2<0, 2>>(&planes)?)?;
    let squares = centred.with_empty_tape().try_square()?;
    let var = squares.try_mean::<(usize,), Axes2<0, 2>>()?;
    let moments = BatchMoments { mean: mean_host, var: var.as_vec() };
    let deviation = var.try_add(eps)?.try_sqrt()?;
    let scale = weight.retaped::<T>().try_div(deviation)?;
    let y = centred.try_mul(scale.try_broadcast_like::<_, Axes2<0, 2>>(&planes)?)?;
    let y = y.try_add(bias.retaped::<T>().try_broadcast_like::<_, Axes2<0, 2>>(&planes)?)?;
    Ok((y.try_reshape_like(&(n, features))?, moments))
}

/// [`Ops::batch_norm_eval`](super::Ops::batch_norm_eval) of dfdx's own operations.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree.
#[expect(clippy::too_many_arguments, reason = "the arguments of PyTorch's `batch_norm`")]
pub fn batch_norm_eval_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: Batch<D, T>,
    weight: &Flat<D>,
    bias: &Flat<D>,
    mean: &Flat<D>,
    var: &Flat<D>,
    channels: usize,
    eps: f32,
    needs: Needs,
) -> Result<Batch<D, T>, D::Err> {
    check(x.shape(), [weight, bias, mean, var].map(|parameter| parameter.shape().0), channels);
    let (n, features) = *x.shape();
    if T::OWNS_TAPE && needs.nothing() {
        let (x, tape) = x.split_tape();
        let y = batch_norm_eval_generic(x, weight, bias, mean, var, channels, eps, needs)?;
        return Ok(y.put_tape(tape));
    }
    let planes = (n, channels, features / channels);
    let mean = mean.clone().try_broadcast_like::<_, Axes2<0, 2>>(&planes)?;
    let centred = x.try_reshape_like(&planes)?.try_sub(mean)?;
    let scale = weight.retaped::<T>().try_div(var.clone().try_add(eps)?.try_sqrt()?)?;
    let y = centred.try_mul(scale.try_broadcast_like::<_, Axes2<0, 2>>(&planes)?)?;
    let y = y.try_add(bias.retaped::<T>().try_broadcast_like::<_, Axes2<0, 2>>(&planes)?)?;
    y.try_reshape_like(&(n, features))
}

fn check<const P: usize>(x: &(usize, usize), parameters: [usize; P], channels: usize) {
    assert!(
        channels > 0 && x.1 > 0 && x.1.is_multiple_of(channels),
        "batch_norm: {} features are not {channels} channels",
        x.1
    );
    for parameter in parameters {
        assert_eq!(parameter, channels, "batch_norm: a parameter is not [{channels}]");
    }
}
