//! The means of a fixed number of parts of an image, whatever its size.

use super::{Dims, OpError, Tensor};
use crate::nn::geometry::Chw;

/// Means of `height` times `width` parts of each channel; part i of n along a side of s pixels goes
/// from floor(i s / n) up to ceil((i + 1) s / n), as PyTorch's `adaptive_avg_pool2d`. `x` is
/// `[N, input]`, the result `[N, channels * height * width]`: a product of every channel's pixels with
/// constant weights, on every device.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// When a side is 0, or `x` is not `[N, input]`.
pub fn adaptive_avg_pool2d(
    x: &Tensor,
    input: Chw,
    (height, width): (usize, usize),
) -> Result<Tensor, OpError> {
    if (input.height, input.width) == (height, width) {
        return Ok(x.clone());
    }
    let n = x.rows();
    let (rows, columns) = (shares(input.height, height), shares(input.width, width));
    let mut weight = Vec::with_capacity(height * width * input.area());
    for row in &rows {
        for column in &columns {
            weight.extend(row.iter().flat_map(|row| column.iter().map(move |it| row * it)));
        }
    }
    let weight = x.constant(weight, Dims::Flat(height * width * input.area()))?;
    let planes = x.reshaped(Dims::Rows(n * input.channels, input.area()));
    let means = x.ops().linear(&planes, &weight, None, height * width)?;
    Ok(means.reshaped(Dims::Rows(n, input.channels * height * width)))
}

/// The share of each of `size` pixels in each of `parts` means.
fn shares(size: usize, parts: usize) -> Vec<Vec<f32>> {
    let share = |part: usize| {
        let (start, end) = (part * size / parts, ((part + 1) * size).div_ceil(parts));
        #[expect(clippy::cast_precision_loss, reason = "a side is far below 2^24 pixels")]
        let each = 1.0 / (end - start) as f32;
        (0..size).map(|at| if (start..end).contains(&at) { each } else { 0.0 }).collect()
    };
    (0..parts).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ops::CpuOps;

    fn pooled(input: (usize, usize), parts: (usize, usize)) -> Vec<f32> {
        let input = Chw { channels: 1, height: input.0, width: input.1 };
        #[expect(clippy::cast_precision_loss, reason = "a few pixels")]
        let pixels: Vec<f32> = (0..input.len()).map(|at| (at * at) as f32).collect();
        let x = CpuOps::shared().tensor(pixels, Dims::Rows(1, input.len())).unwrap();
        adaptive_avg_pool2d(&x, input, parts).unwrap().host()
    }

    #[test]
    fn parts_are_those_of_pytorch() {
        // F.adaptive_avg_pool2d(torch.arange(n).square().reshape(1, 1, h, w).float(), parts)
        let expected = [19.166_666, 37.166_668, 79.166_664, 117.166_664];
        for (mean, expected) in pooled((3, 5), (2, 2)).iter().zip(expected) {
            assert!((mean - expected).abs() < 1e-4, "{mean} is not {expected}");
        }
        assert_eq!(pooled((1, 1), (2, 2)), [0.0; 4]);
        assert_eq!(pooled((2, 3), (2, 3)), [0.0, 1.0, 4.0, 9.0, 16.0, 25.0]);
    }
}
