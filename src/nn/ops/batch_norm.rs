//! Batch normalisation (Ioffe and Szegedy 2015), by a batch's own moments or by given ones.
//!
//! The running averages are the caller's; an operation moves them.

use dfdx::prelude::*;
use rayon::prelude::*;

use super::matrix::{DfdxFlat, DfdxMatrix, Wanted};
use super::sums::{dot, sum};
use super::tape::record;
use super::{Dims, ELEMENTS, Norm, OpError, Running, Tensor};
use crate::memory;

/// Images whose moments are summed by one task.
const CHUNK: usize = 16;

/// Mean and biased variance of a batch, one of each per channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BatchMoments {
    /// Means.
    pub mean: Vec<f32>,
    /// Variances, divided by the number of values.
    pub var: Vec<f32>,
}

impl Running<'_> {
    /// Moves the averages toward a batch of `values` values a channel on the CPU:
    /// r = (1 - momentum) r + momentum b, with the unbiased variance as PyTorch has it.
    pub(super) fn average(&mut self, batch: &BatchMoments, values: usize) {
        let (unbias, momentum) = (unbias(values), self.momentum);
        for (running, new) in self.mean.values_mut().iter_mut().zip(&batch.mean) {
            *running += momentum * (new - *running);
        }
        for (running, new) in self.var.values_mut().iter_mut().zip(&batch.var) {
            *running += momentum * (new * unbias - *running);
        }
    }
}

impl BatchMoments {
    /// The same with running averages in the place of the batch's moments in the channels that go
    /// `by_averages`; the others may be left out there.
    pub(super) fn mixed(&self, running: &Running, by_averages: &[bool]) -> Self {
        let mix = |own: &[f32], averages: &[f32]| -> Vec<f32> {
            let each = own.iter().zip(averages).enumerate();
            let goes_by = |at: usize| by_averages.get(at).copied().unwrap_or_default();
            each.map(|(at, (own, average))| if goes_by(at) { *average } else { *own }).collect()
        };
        Self {
            mean: mix(&self.mean, running.mean.values()),
            var: mix(&self.var, running.var.values()),
        }
    }
}

/// What makes a variance over `values` values unbiased.
#[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^24 values")]
pub(super) fn unbias(values: usize) -> f32 {
    values as f32 / (values.max(2) - 1) as f32
}

/// [`Ops::batch_norm`](super::Ops::batch_norm) on the CPU.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree, the batch is empty or there is no `norm`.
pub fn batch_norm(x: &Tensor, norm: Norm, channels: usize) -> Result<Tensor, OpError> {
    match norm {
        Norm::None => panic!("batch normalisation without its parameters"),
        Norm::Batch { weight, bias, eps, running } => {
            by_batch(x, (weight, bias), channels, eps, (running, &[]))
        }
        Norm::Mixed { weight, bias, eps, running, by_averages } => {
            by_batch(x, (weight, bias), channels, eps, (Some(running), by_averages))
        }
        Norm::Fixed { weight, bias, mean, var, eps } => {
            by_constants(x, (weight, bias), (mean, var), channels, eps)
        }
    }
}

fn by_batch(
    x: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    channels: usize,
    eps: f32,
    (running, by_averages): (Option<Running>, &[bool]),
) -> Result<Tensor, OpError> {
    check((x.rows(), x.columns()), [weight, bias].map(Tensor::len), channels);
    assert!(x.rows() > 0, "batch_norm: the batch is empty");
    let spatial = x.columns() / channels;
    let moments = moments(x.values(), channels, spatial);
    let mixed = running.as_ref().map(|running| moments.mixed(running, by_averages));
    let mut layer =
        UnfusedNorm::new(mixed.as_ref().unwrap_or(&moments), weight, bias, spatial, eps);
    layer.constants = by_averages.to_vec();
    if let Some(mut running) = running {
        running.average(&moments, x.rows() * spatial);
    }
    let mut out = memory::take(x.values().len());
    layer.normalize(x.values(), &mut out);
    let y = x.beside(out, Dims::Rows(x.rows(), x.columns()));
    let input = x.buffer();
    Ok(record(&[x, weight, bias], y, move |dy, sums| {
        let totals = layer.totals(dy, &input);
        if let Some(dx) = &mut sums[0] {
            layer.backward_through_moments(dy, &input, &totals, dx);
        }
        totals.add_to(&mut sums[1..]);
    }))
}

fn by_constants(
    x: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    (mean, var): (&Tensor, &Tensor),
    channels: usize,
    eps: f32,
) -> Result<Tensor, OpError> {
    check((x.rows(), x.columns()), [weight, bias, mean, var].map(Tensor::len), channels);
    let spatial = x.columns() / channels;
    let moments = BatchMoments { mean: mean.values().to_vec(), var: var.values().to_vec() };
    let layer = UnfusedNorm::new(&moments, weight, bias, spatial, eps);
    let mut out = memory::take(x.values().len());
    layer.normalize(x.values(), &mut out);
    let y = x.beside(out, Dims::Rows(x.rows(), x.columns()));
    let input = x.buffer();
    Ok(record(&[x, weight, bias], y, move |dy, sums| {
        if let Some(dx) = &mut sums[0] {
            layer.backward_scaled(dy, dx);
        }
        if sums[1..].iter().any(Option::is_some) {
            layer.totals(dy, &input).add_to(&mut sums[1..]);
        }
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
    /// Channels through whose moments no gradient goes, as far as there are any.
    constants: Vec<bool>,
}

/// Sums over batch and pixels, one per channel.
struct Totals {
    /// Of the output's gradient.
    dy: Vec<f64>,
    /// Of its product with the normalised input.
    dy_normal: Vec<f64>,
}

impl Totals {
    /// Adds to the gradients of weight and bias, where they are wanted.
    fn add_to(&self, parameters: &mut [Option<Vec<f32>>]) {
        for (sums, totals) in parameters.iter_mut().zip([&self.dy_normal, &self.dy]) {
            for (sum, total) in sums.iter_mut().flatten().zip(totals) {
                *sum += narrow(*total);
            }
        }
    }
}

impl UnfusedNorm {
    fn new(
        moments: &BatchMoments,
        weight: &Tensor,
        bias: &Tensor,
        spatial: usize,
        eps: f32,
    ) -> Self {
        let inverse = |var: &f32| narrow(1.0 / (f64::from(*var) + f64::from(eps)).sqrt());
        Self {
            spatial,
            mean: moments.mean.clone(),
            inverse: moments.var.iter().map(inverse).collect(),
            weight: weight.values().to_vec(),
            bias: bias.values().to_vec(),
            constants: Vec::new(),
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

    /// `dx += weight * inverse * (dy - mean(dy) - normal * mean(dy * normal))`, and without the means in
    /// channels whose moments are constants.
    fn backward_through_moments(&self, dy: &[f32], input: &[f32], totals: &Totals, dx: &mut [f32]) {
        #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^53 values")]
        let count = (dy.len() / self.channels()) as f64;
        // As a line in x and dy: three numbers a channel.
        let factors: Vec<[f32; 3]> = (0..self.channels())
            .map(|c| {
                let inverse = f64::from(self.inverse[c]);
                let scale = f64::from(self.weight[c]) * inverse;
                if self.constants.get(c).copied().unwrap_or_default() {
                    return [scale, 0.0, 0.0].map(narrow);
                }
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

/// Moments that count in some channels in the place of the batch's, as constants.
pub(super) struct GivenMoments<D: Device<f32>> {
    /// 1 for such a channel, else 0.
    pub share: DfdxFlat<D>,
    /// Means.
    pub mean: DfdxFlat<D>,
    /// Variances.
    pub var: DfdxFlat<D>,
}

/// What comes of a batch: normalised values, and its means and biased variances.
type Normalized<D, T> = (DfdxMatrix<D, T>, DfdxFlat<D>, DfdxFlat<D>);

/// [`Ops::batch_norm`](super::Ops::batch_norm) by the batch's own moments, of dfdx's own operations.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree or the batch is empty.
pub(super) fn batch_norm_train_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: DfdxMatrix<D, T>,
    weight: &DfdxFlat<D>,
    bias: &DfdxFlat<D>,
    channels: usize,
    eps: f32,
    (wanted, given): (Wanted, Option<&GivenMoments<D>>),
) -> Result<Normalized<D, T>, D::Err> {
    check(*x.shape(), [weight, bias].map(|parameter| parameter.shape().0), channels);
    assert!(x.shape().0 > 0, "batch_norm: the batch is empty");
    let (n, features) = *x.shape();
    if T::OWNS_TAPE && wanted.nothing() {
        let (x, tape) = x.split_tape();
        let wanted = (wanted, given);
        let (y, mean, var) = batch_norm_train_generic(x, weight, bias, channels, eps, wanted)?;
        return Ok((y.put_tape(tape), mean, var));
    }
    let planes = (n, channels, features / channels);
    let x = x.try_reshape_like(&planes)?;
    let mean = x.with_empty_tape().try_mean::<(usize,), Axes2<0, 2>>()?;
    let means = mean.retaped::<NoneTape>();
    let own_mean = given.map(|_| mean.with_empty_tape());
    let mut centred = x.try_sub(mean.try_broadcast_like::<_, Axes2<0, 2>>(&planes)?)?;
    let squares = centred.with_empty_tape().try_square()?;
    let mut var = squares.try_mean::<(usize,), Axes2<0, 2>>()?;
    let vars = var.retaped::<NoneTape>();
    if let (Some(given), Some(own_mean)) = (given, own_mean) {
        // The gradients through the batch's moments come to 0 where given ones count.
        let GivenMoments { share, mean, var: given_var } = given;
        let back = own_mean.try_sub(mean.clone())?.try_mul(share.clone())?;
        centred = centred.try_add(back.try_broadcast_like::<_, Axes2<0, 2>>(&planes)?)?;
        let own_share = share.clone().try_mul(-1.0)?.try_add(1.0)?;
        var = var.try_mul(own_share)?.try_add(given_var.clone().try_mul(share.clone())?)?;
    }
    let deviation = var.try_add(eps)?.try_sqrt()?;
    let scale = weight.retaped::<T>().try_div(deviation)?;
    let y = centred.try_mul(scale.try_broadcast_like::<_, Axes2<0, 2>>(&planes)?)?;
    let y = y.try_add(bias.retaped::<T>().try_broadcast_like::<_, Axes2<0, 2>>(&planes)?)?;
    Ok((y.try_reshape_like(&(n, features))?, means, vars))
}

/// [`Ops::batch_norm`](super::Ops::batch_norm) by given moments, of dfdx's own operations.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a length does not agree.
pub(super) fn batch_norm_eval_generic<D: Device<f32>, T: Tape<f32, D>>(
    x: DfdxMatrix<D, T>,
    [weight, bias, mean, var]: [&DfdxFlat<D>; 4],
    channels: usize,
    eps: f32,
    wanted: Wanted,
) -> Result<DfdxMatrix<D, T>, D::Err> {
    let parameters = [weight, bias, mean, var];
    check(*x.shape(), parameters.map(|parameter| parameter.shape().0), channels);
    let (n, features) = *x.shape();
    if T::OWNS_TAPE && wanted.nothing() {
        let (x, tape) = x.split_tape();
        let y = batch_norm_eval_generic(x, parameters, channels, eps, wanted)?;
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

fn check<const P: usize>(x: (usize, usize), parameters: [usize; P], channels: usize) {
    assert!(
        channels > 0 && x.1 > 0 && x.1.is_multiple_of(channels),
        "batch_norm: {} features are not {channels} channels",
        x.1
    );
    for parameter in parameters {
        assert_eq!(parameter, channels, "batch_norm: a parameter is not [{channels}]");
    }
}
