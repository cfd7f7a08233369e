//! Every kernel of a convolution against sums in double precision, where a training would meet one of them only.

use std::sync::Arc;
use std::time::Instant;

use super::conv::{
    FILTER_GRADIENT, FORWARD, INPUT_GRADIENT, Kernels, PRECISE_FILTER_GRADIENT, Sizes,
};
use super::node::values;
use super::tiles::Candidate;
use super::trial::numbers;
use super::{GpuOps, told};
use crate::config::Word as _;
use crate::device::Precision;
use crate::nn::geometry::{Chw, Conv2d};
use crate::nn::gpu::{Block, Gpu, Kernel};
use crate::nn::ops::{Dims, OpError, Ops, Tensor};

/// Parts that the pixels are cut into.
const PARTS: usize = 2;
/// Rounds of runs that are timed, and runs of each.
const ROUNDS: usize = 5;
const RUNS: u32 = 10;

/// Convolutions, with their images, that meet every part of the kernels: few channels and many, taps that find padding alone, a
/// stride, groups, tiles that are not full.
fn samples() -> [(usize, Conv2d); 7] {
    let conv = |channels, side, filters, taps, stride, padding, groups| Conv2d {
        input: Chw { channels, height: side, width: side + 1 },
        filters,
        kernel: (taps, taps),
        stride: (stride, stride),
        padding: (padding, padding),
        groups,
    };
    [
        (2, conv(3, 9, 12, 5, 1, 0, 1)),
        (20, conv(36, 6, 70, 3, 1, 1, 1)),
        (3, conv(32, 9, 130, 3, 2, 1, 1)),
        (17, conv(64, 5, 8, 5, 1, 1, 2)),
        (5, conv(8, 12, 4, 1, 1, 0, 1)),
        (19, conv(40, 6, 12, 1, 2, 0, 1)),
        (
            17,
            Conv2d {
                input: Chw { channels: 36, height: 7, width: 8 },
                filters: 20,
                kernel: (3, 5),
                stride: (2, 3),
                padding: (1, 2),
                groups: 1,
            },
        ),
    ]
}

impl GpuOps {
    /// How far each kernel of a convolution is from the same sums in double precision, of numbers that were rounded as it rounds
    /// them: the largest difference that it has anywhere, relative to the root of the sums' mean square. A check of a GPU.
    ///
    /// # Errors
    /// What the driver reports.
    pub fn convolutions_apart(gpu: Arc<Gpu>) -> Result<Vec<(&'static str, f64)>, OpError> {
        // Each kernel says itself how it rounds.
        let ops = Self::on(gpu, Precision::Float32).map_err(told)?;
        let mut apart: Vec<(&'static str, f64)> = Vec::new();
        for (images, conv) in samples() {
            for precision in Precision::all() {
                for (kernel, off) in ops.sample_apart(Sizes::of(&conv, images, precision))? {
                    match apart.iter_mut().find(|(name, _)| *name == kernel.name()) {
                        Some((_, worst)) => *worst = worst.max(off),
                        None => apart.push((kernel.name(), off)),
                    }
                }
            }
        }
        Ok(apart)
    }

    fn sample_apart(&self, sizes: Sizes) -> Result<Vec<(Kernel, f64)>, OpError> {
        let Sizes { conv, images, .. } = sizes;
        let tensor = |salt, len: usize| self.tensor(numbers(salt, len), Dims::Flat(len));
        let x = tensor(1, images * conv.input.len())?;
        let weight = tensor(2, conv.weight_len())?;
        let dy = tensor(3, images * conv.output().len())?;
        let bias = tensor(4, conv.filters)?;
        let [y, dx, dw] = sums(sizes, [&x, &weight, &dy, &bias].map(Tensor::host));
        let twice: Vec<f64> = dx.iter().map(|it| 2.0 * it).collect();
        let input = self.widened_input(sizes, &values(&x))?;
        let wide = self.widened_gradient(sizes, &values(&dy))?;
        let filters = self.turned_weights(&weight, sizes)?;
        let filters_back = self.turned_back(&weight, sizes)?;
        let mut apart = Vec::new();
        let mut compare = |kernel, found: &Block, wanted: &[f64]| -> Result<(), OpError> {
            let mut values = vec![0.0; wanted.len()];
            self.queue.download(found, &mut values).map_err(told)?;
            apart.push((kernel, distance(&values, wanted)));
            Ok(())
        };
        for kernel in self.all_of(&FORWARD, sizes) {
            let found = self.forward(kernel, sizes, (&input, &filters), Some(&values(&bias)))?;
            compare(kernel, &found, &y)?;
        }
        for kernel in self.all_of(&INPUT_GRADIENT, sizes) {
            let found = self.input_gradient(kernel, sizes, (&wide, &filters_back), None)?;
            compare(kernel, &found, &dx)?;
            // Once more, added to itself in place.
            let found = self.input_gradient(kernel, sizes, (&wide, &filters_back), Some(found))?;
            compare(kernel, &found, &twice)?;
        }
        for candidate in self.filter_kernels(sizes) {
            let kernel = candidate.0.in_precision(sizes.precision());
            let found = self.filter_gradient((kernel, PARTS), sizes, (&input, &wide))?;
            compare(kernel, &found, &dw)?;
        }
        Ok(apart)
    }

    /// What each kernel of a precision takes for a convolution of so many images, forward, back to the input, and back to the filters:
    /// its name and the median of some runs, in microseconds. The choice of kernels goes by these.
    ///
    /// # Errors
    /// What the driver reports.
    pub fn convolution_times(
        gpu: Arc<Gpu>,
        precision: Precision,
        (images, conv): (usize, Conv2d),
    ) -> Result<Vec<(&'static str, f64)>, OpError> {
        let ops = Self::on(gpu, precision).map_err(told)?;
        let sizes = Sizes::of(&conv, images, precision);
        let tensor = |salt, len: usize| ops.tensor(numbers(salt, len), Dims::Flat(len));
        let weight = tensor(2, conv.weight_len())?;
        let x = ops.widened_input(sizes, &values(&tensor(1, images * conv.input.len())?))?;
        let dy = ops.widened_gradient(sizes, &values(&tensor(3, images * conv.output().len())?))?;
        let filters = ops.turned_weights(&weight, sizes)?;
        let filters_back = ops.turned_back(&weight, sizes)?;
        let mut times = Vec::new();
        let mut time = |kernel: Kernel, run: &dyn Fn() -> Result<(), OpError>| {
            let mut found: Vec<f64> = Vec::new();
            for _ in 0..ROUNDS {
                ops.finish()?;
                let start = Instant::now();
                for _ in 0..RUNS {
                    run()?;
                }
                ops.finish()?;
                found.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(RUNS));
            }
            found.sort_by(f64::total_cmp);
            times.push((kernel.name(), found[found.len() / 2]));
            Ok::<_, OpError>(())
        };
        for kernel in ops.all_of(&FORWARD, sizes) {
            time(kernel, &|| ops.forward(kernel, sizes, (&x, &filters), None).map(drop))?;
        }
        for kernel in ops.all_of(&INPUT_GRADIENT, sizes) {
            time(kernel, &|| {
                ops.input_gradient(kernel, sizes, (&dy, &filters_back), None).map(drop)
            })?;
        }
        for candidate in ops.filter_kernels(sizes) {
            let parts = candidate.parts(sizes.of_filters(), sizes.pixels());
            let by = (candidate.0.in_precision(sizes.precision()), parts);
            time(by.0, &|| ops.filter_gradient(by, sizes, (&x, &dy)).map(drop))?;
        }
        Ok(times)
    }

    fn has(&self, kernel: Kernel) -> bool {
        self.queue.has_warpgroups() || !kernel.needs_warpgroups()
    }

    /// The kernels of a product in its precision.
    fn all_of(&self, kernels: &Kernels, sizes: Sizes) -> Vec<Kernel> {
        if sizes.precision() == Precision::Float32 {
            return vec![kernels.precise];
        }
        let candidates = kernels.by_warps.iter().chain(&kernels.by_groups).map(|it| it.0);
        let there = candidates.chain(kernels.few).filter(|it| self.has(*it));
        there.map(|it| it.in_precision(sizes.precision())).collect()
    }

    /// Those of the gradient of the filters, in single precision or in TF32.
    fn filter_kernels(&self, sizes: Sizes) -> impl Iterator<Item = &'static Candidate> {
        let all = match sizes.precision() {
            Precision::Float32 => &PRECISE_FILTER_GRADIENT[..],
            Precision::Tf32 | Precision::Bf16 => &FILTER_GRADIENT[..],
        };
        all.iter().filter(|it| self.has(it.0))
    }
}

/// What a kernel takes for a number: the nearest with a mantissa of 10 bits in TF32, of two the one farther from zero, or of 7 bits in
/// bf16, of two the one whose last bit is 0.
fn rounded(value: f32, precision: Precision) -> f64 {
    let bits = value.to_bits();
    f64::from(f32::from_bits(match precision {
        Precision::Float32 => bits,
        Precision::Tf32 => (bits + 0x1000) & 0xffff_e000,
        Precision::Bf16 => (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000,
    }))
}

/// The output, the gradient of the input and that of the filters of `[x, weight, dy, bias]`, maps as `[N, H, W, C]`.
fn sums(sizes: Sizes, given: [Vec<f32>; 4]) -> [Vec<f64>; 3] {
    let Sizes { conv, images, .. } = sizes;
    let [x, weight, dy, bias] = given;
    let used = |values: Vec<f32>| -> Vec<f64> {
        values.into_iter().map(|it| rounded(it, sizes.precision())).collect()
    };
    let (x, weight, dy) = (used(x), used(weight), used(dy));
    let (input, output) = (conv.input, conv.output());
    let (channels, filters) = (input.channels / conv.groups, conv.filters / conv.groups);
    let mut y: Vec<f64> = (0..dy.len()).map(|at| f64::from(bias[at % conv.filters])).collect();
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; weight.len()]);
    for pixel in 0..images * output.area() {
        let (image, place) = (pixel / output.area(), pixel % output.area());
        for tap in 0..conv.kernel.0 * conv.kernel.1 {
            let row = place / output.width * conv.stride.0 + tap / conv.kernel.1;
            let column = place % output.width * conv.stride.1 + tap % conv.kernel.1;
            let inside = |at: usize, padding, size| at.checked_sub(padding).filter(|it| *it < size);
            let row = inside(row, conv.padding.0, input.height);
            let column = inside(column, conv.padding.1, input.width);
            let (Some(row), Some(column)) = (row, column) else { continue };
            let from = ((image * input.height + row) * input.width + column) * input.channels;
            for filter in 0..conv.filters {
                for channel in 0..channels {
                    let to = pixel * conv.filters + filter;
                    let at = from + filter / filters * channels + channel;
                    let of = (filter * channels + channel) * conv.kernel.0 * conv.kernel.1 + tap;
                    y[to] += x[at] * weight[of];
                    dx[at] += dy[to] * weight[of];
                    dw[of] += dy[to] * x[at];
                }
            }
        }
    }
    [y, dx, dw]
}

/// The largest difference, relative to the root of the mean square.
fn distance(found: &[f32], wanted: &[f64]) -> f64 {
    let off = found.iter().zip(wanted).map(|(a, b)| (f64::from(*a) - b).abs());
    #[expect(clippy::cast_precision_loss, reason = "a number of values")]
    let mean = wanted.iter().map(|it| it * it).sum::<f64>() / wanted.len() as f64;
    // A difference that is no number is no small one.
    off.fold(0.0, |a: f64, b| if a >= b || a.is_nan() { a } else { b }) / mean.sqrt()
}
