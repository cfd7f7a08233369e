//! Image patches as matrices: what turns a convolution into a matrix product, and back. Serial;
//! knows nothing of filters.

use std::ops::Range;

use super::{Chw, Conv2d};

/// Values copied at once. A row of a patch is often shorter; what is written beyond its end is
/// overwritten by the next one.
const STRIP: usize = 16;

/// Images with a border of zeros, `[images, channels, rows, columns]`.
pub(super) struct Padded {
    size: Chw,
    kernel: (usize, usize),
    stride: (usize, usize),
    padding: (usize, usize),
    input: Chw,
    /// Rows and columns of the output.
    output: (usize, usize),
}

impl Padded {
    pub fn new(shape: &Conv2d) -> Self {
        let output = shape.output();
        Self {
            size: Chw {
                channels: shape.input.channels,
                height: shape.input.height + 2 * shape.padding.0,
                width: shape.input.width + 2 * shape.padding.1,
            },
            kernel: shape.kernel,
            stride: shape.stride,
            padding: shape.padding,
            input: shape.input,
            output: (output.height, output.width),
        }
    }

    /// Room that `images` take, with a strip to read beyond the end.
    pub fn len(&self, images: usize) -> usize {
        images * self.size.len() + STRIP
    }

    /// Room for the patches of `channels` of `images`, with a strip to write beyond the end.
    pub fn patches_len(&self, images: usize, channels: usize) -> usize {
        channels * self.kernel.0 * self.kernel.1 * images * self.output.0 * self.output.1 + STRIP
    }

    fn rows(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (input, size, padding) = (self.input, self.size, self.padding);
        (0..input.channels * input.height).map(move |row| {
            let (channel, y) = (row / input.height, row % input.height);
            let there = (channel * size.height + y + padding.0) * size.width + padding.1;
            (row * input.width, there)
        })
    }

    /// Copies `images` into the middle of `padded` and zeros around them.
    pub fn pad(&self, images: &[f32], padded: &mut [f32]) {
        padded.fill(0.0);
        let each = images.chunks_exact(self.input.len());
        for (image, padded) in each.zip(padded.chunks_exact_mut(self.size.len())) {
            for (here, there) in self.rows() {
                padded[there..there + self.input.width]
                    .copy_from_slice(&image[here..here + self.input.width]);
            }
        }
    }

    /// Adds the middle of `padded` to `images`.
    pub fn add_unpadded(&self, padded: &[f32], images: &mut [f32]) {
        let each = images.chunks_exact_mut(self.input.len());
        for (image, padded) in each.zip(padded.chunks_exact(self.size.len())) {
            for (here, there) in self.rows() {
                let from = &padded[there..there + self.input.width];
                for (to, from) in image[here..here + self.input.width].iter_mut().zip(from) {
                    *to += from;
                }
            }
        }
    }

    /// Where the patch row of (channel, kernel row, kernel column) starts in a padded image.
    fn taps(&self, channels: Range<usize>) -> impl Iterator<Item = usize> + use<> {
        let (size, kernel) = (self.size, self.kernel);
        channels.flat_map(move |channel| {
            (0..kernel.0).flat_map(move |y| {
                (0..kernel.1).map(move |x| (channel * size.height + y) * size.width + x)
            })
        })
    }

    /// Writes the patches of `channels` of all `images`:
    /// `[channels * kernel rows * kernel columns, images * output pixels]`.
    pub fn unfold(
        &self,
        padded: &[f32],
        images: usize,
        channels: Range<usize>,
        patches: &mut [f32],
    ) {
        let (height, width) = self.output;
        let down = self.stride.0 * self.size.width;
        let mut to = 0;
        for tap in self.taps(channels) {
            for image in 0..images {
                let start = image * self.size.len() + tap;
                for y in 0..height {
                    let from = start + y * down;
                    if self.stride.1 == 1 {
                        for at in (0..width).step_by(STRIP) {
                            let strip = &padded[from + at..from + at + STRIP];
                            patches[to + at..to + at + STRIP].copy_from_slice(strip);
                        }
                    } else {
                        let row = padded[from..].iter().step_by(self.stride.1);
                        for (to, from) in patches[to..to + width].iter_mut().zip(row) {
                            *to = *from;
                        }
                    }
                    to += width;
                }
            }
        }
    }

    /// The transpose of [`unfold`](Self::unfold): adds patches to where they came from.
    pub fn fold(&self, patches: &[f32], images: usize, channels: Range<usize>, padded: &mut [f32]) {
        let (height, width) = self.output;
        let down = self.stride.0 * self.size.width;
        let mut rows = patches.chunks_exact(width);
        for tap in self.taps(channels) {
            for image in 0..images {
                let start = image * self.size.len() + tap;
                for (y, row) in rows.by_ref().take(height).enumerate() {
                    let from = start + y * down;
                    if self.stride.1 == 1 {
                        for (to, from) in padded[from..from + width].iter_mut().zip(row) {
                            *to += from;
                        }
                    } else {
                        let to = padded[from..].iter_mut().step_by(self.stride.1);
                        for (to, from) in to.zip(row) {
                            *to += from;
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(stride: (usize, usize)) -> Conv2d {
        Conv2d {
            input: Chw { channels: 3, height: 9, width: 21 },
            filters: 1,
            kernel: (3, 4),
            stride,
            padding: (1, 2),
            groups: 1,
        }
    }

    /// Unfolding is linear, and folding is its transpose: <unfold(x), p> = <x, fold(p)>.
    #[test]
    fn folding_is_the_transpose_of_unfolding() {
        for stride in [(1, 1), (2, 1), (1, 3), (2, 2)] {
            let shape = shape(stride);
            let padded = Padded::new(&shape);
            let images = 3;
            let count = padded.patches_len(images, 3) - STRIP;
            let x: Vec<f32> = (0..images * shape.input.len()).map(|i| (i % 13) as f32).collect();
            let p: Vec<f32> = (0..count).map(|i| (i % 7) as f32 - 3.0).collect();

            let mut room = vec![f32::NAN; padded.len(images)];
            padded.pad(&x, &mut room);
            let mut patches = vec![f32::NAN; count + STRIP];
            padded.unfold(&room, images, 0..3, &mut patches);
            let forward: f32 = patches.iter().zip(&p).map(|(a, b)| a * b).sum();

            room.fill(0.0);
            padded.fold(&p, images, 0..3, &mut room);
            let mut back = vec![0.0; x.len()];
            padded.add_unpadded(&room, &mut back);
            let backward: f32 = x.iter().zip(&back).map(|(a, b)| a * b).sum();
            assert!(forward != 0.0 && (forward - backward).abs() < 1e-3 * forward.abs());
        }
    }
}
