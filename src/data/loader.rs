//! Puts images together to batches, and says in which order an epoch visits them.
//!
//! Holds no state: a batch is a function of the images and the indices, whatever the number of
//! threads.

use rayon::prelude::*;

use super::augment::{self, Pixels};
use super::dataset::{Images, Normalisation};
use crate::nn::ops::PixelChanges;
use crate::random;

/// Images assembled by one thread at a time: enough to be worth handing over.
const CHUNK: usize = 16;

/// The order in which an epoch visits `count` images. `purpose` keeps apart the orders of several
/// data sets trained on at once.
pub fn epoch_order(seed: u64, purpose: &str, epoch: u64, count: usize) -> Vec<usize> {
    pass_order(seed, purpose, (epoch, 0), count)
}

/// As [`epoch_order`], in pass `pass` (from 0) of an epoch that visits them more than once.
pub fn pass_order(seed: u64, purpose: &str, (epoch, pass): (u64, u64), count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    random::stream(seed, purpose, epoch, pass).shuffle(&mut order);
    order
}

/// `most` of `count` images drawn for a `purpose`, or all where there are no more; in the order of the draw,
/// so that the first of them are drawn at random as well.
pub fn shuffled(seed: u64, purpose: &str, count: usize, most: usize) -> Vec<usize> {
    let mut indices = epoch_order(seed, purpose, 0, count);
    indices.truncate(most);
    indices
}

/// The same as [`shuffled`], in rising order.
pub fn drawn(seed: u64, purpose: &str, count: usize, most: usize) -> Vec<usize> {
    let mut indices = shuffled(seed, purpose, count, most);
    indices.sort_unstable();
    indices
}

/// The images at `indices` as `[N, C, H, W]`, each pixel `(p / 255 - mean) / std`; of features `[N, D]`, each
/// `(x - mean) / std`.
///
/// # Panics
/// When the images differ in size, or an index lies beyond them.
pub fn batch<'a>(
    normalisation: impl Into<Normalisation<'a>>,
    images: &Images,
    indices: &[usize],
) -> Vec<f32> {
    let mut values = Vec::new();
    batch_into(normalisation, images, indices, &mut values);
    values
}

/// The images at `indices` after changes, each kind of which has one for each of them.
///
/// # Panics
/// When the images differ in size, an index lies beyond them, or there are fewer changes than indices.
pub fn changed(images: &Images, indices: &[usize], changes: &[PixelChanges]) -> Images {
    let (channels, (height, width)) = (images.channels, size(images));
    let after = changes.iter().fold((height, width), |size, changes| changes.size_after(size));
    let (length, length_after) = (channels * height * width, channels * after.0 * after.1);
    let mut bytes = vec![0; indices.len() * length_after];
    bytes.par_chunks_exact_mut(length_after.max(1)).zip(indices).enumerate().for_each_init(
        Vec::new,
        |values, (row, (changed, index))| {
            values.clear();
            values.extend_from_slice(&images.pixels[index * length..(index + 1) * length]);
            let mut pixels = Pixels { values: std::mem::take(values), height, width, channels };
            augment::change(&mut pixels, changes, row);
            changed.copy_from_slice(&pixels.values);
            *values = pixels.values;
        },
    );
    Images::same(channels, after, bytes)
}

/// The bytes of the images at `indices`, `[N, H, W, C]`.
///
/// # Panics
/// When the images differ in size, or an index lies beyond them.
pub fn bytes(images: &Images, indices: &[usize]) -> Vec<u8> {
    let (height, width) = size(images);
    let length = images.channels * height * width;
    let mut bytes = Vec::with_capacity(indices.len() * length);
    for index in indices {
        bytes.extend_from_slice(&images.pixels[index * length..(index + 1) * length]);
    }
    bytes
}

fn size(images: &Images) -> (usize, usize) {
    images.size().expect("a batch needs images of one size")
}

/// As [`batch`], into a vector that is used again: its length becomes `N * C * H * W`.
///
/// # Panics
/// When the images differ in size, or an index lies beyond them.
pub fn batch_into<'a>(
    normalisation: impl Into<Normalisation<'a>>,
    images: &Images,
    indices: &[usize],
    values: &mut Vec<f32>,
) {
    if images.is_features() {
        return features_into(normalisation.into(), images, indices, values);
    }
    let (height, width) = size(images);
    let (channels, plane) = (images.channels, height * width);
    let tables = tables(normalisation.into(), channels);
    values.resize(indices.len() * channels * plane, 0.0);
    let length = channels * plane;
    if length == 0 {
        return;
    }
    values.par_chunks_mut(CHUNK * length).zip(indices.par_chunks(CHUNK)).for_each(
        |(values, indices)| {
            for (values, index) in values.chunks_exact_mut(length).zip(indices) {
                let pixels = &images.pixels[index * length..(index + 1) * length];
                for (channel, (values, table)) in
                    values.chunks_exact_mut(plane).zip(&tables).enumerate()
                {
                    for (value, pixel) in values.iter_mut().zip(pixels.chunks_exact(channels)) {
                        *value = table[usize::from(pixel[channel])];
                    }
                }
            }
        },
    );
}

/// The features at `indices`, `[N, D]`, into a vector whose length becomes `N * D`.
fn features_into(
    Normalisation { mean, std }: Normalisation,
    images: &Images,
    indices: &[usize],
    values: &mut Vec<f32>,
) {
    let width = images.channels;
    assert_eq!((mean.len(), std.len()), (width, width), "a mean and a deviation for each feature");
    values.resize(indices.len() * width, 0.0);
    values.par_chunks_mut(CHUNK * width).zip(indices.par_chunks(CHUNK)).for_each(
        |(values, indices)| {
            for (values, index) in values.chunks_exact_mut(width).zip(indices) {
                let row = images.feature_row(*index).zip(mean.iter().zip(std));
                for (value, (number, (mean, std))) in values.iter_mut().zip(row) {
                    *value = (number - mean) / std;
                }
            }
        },
    );
}

/// The value of each of the 256 pixel values, by channel.
///
/// # Panics
/// When there are not a mean and a deviation for each channel.
pub fn tables(normalisation: Normalisation, channels: usize) -> Vec<[f32; 256]> {
    assert_eq!(normalisation.mean.len(), channels, "a mean for each channel");
    normalisation
        .mean
        .iter()
        .zip(normalisation.std)
        .map(|(mean, std)| {
            std::array::from_fn(|pixel| {
                let pixel = u8::try_from(pixel).expect("below 256");
                (f32::from(pixel) / 255.0 - mean) / std
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_channels_first_and_normalised() {
        let images = Images::same(3, (1, 2), vec![0, 51, 255, 255, 102, 0, 9, 9, 9, 9, 9, 9]);
        let normalisation = Normalisation { mean: &[0.5, 0.0, 0.0], std: &[0.5, 1.0, 2.0] };
        let batch = batch(normalisation, &images, &[0]);
        assert_eq!(batch, [-1.0, 1.0, 51.0 / 255.0, 102.0 / 255.0, 0.5, 0.0]);
    }

    #[test]
    fn features_are_normalised_each_by_its_own_mean_and_deviation() {
        let images = Images::features(2, &[1.0, 10.0, 3.0, 30.0, 5.0, 70.0]);
        let normalisation = Normalisation { mean: &[3.0, 10.0], std: &[2.0, 20.0] };
        assert_eq!(batch(normalisation, &images, &[2, 0]), [1.0, 3.0, -1.0, 0.0]);
    }

    #[test]
    fn a_batch_follows_its_indices_and_reuses_its_memory() {
        let images = Images::same(1, (1, 1), (0..100).collect::<Vec<u8>>());
        let normalisation = Normalisation { mean: &[0.0], std: &[1.0 / 255.0] };
        let order = epoch_order(1, "shuffle", 0, 100);
        let mut values = vec![7.0; 1000];
        batch_into(normalisation, &images, &order, &mut values);
        assert_eq!(values.len(), 100);
        for (value, index) in values.iter().zip(&order) {
            assert_eq!(value.round().to_string(), index.to_string());
        }
    }

    #[test]
    fn drawn_images_rise_and_depend_on_the_seed() {
        let few = drawn(0, "points", 50, 10);
        assert!(few.len() == 10 && few.is_sorted_by(|a, b| a < b), "{few:?}");
        assert_ne!(few, drawn(1, "points", 50, 10));
        assert_eq!(drawn(0, "points", 3, 10), [0, 1, 2]);
        let mut mixed = shuffled(0, "points", 50, 10);
        assert!(!mixed.is_sorted(), "{mixed:?}");
        mixed.sort_unstable();
        assert_eq!(mixed, few);
    }

    #[test]
    fn orders_differ_by_epoch_and_purpose_but_not_by_call() {
        let order = |purpose, epoch| epoch_order(0, purpose, epoch, 50);
        assert_eq!(order("source", 0), order("source", 0));
        assert_ne!(order("source", 0), order("source", 1));
        assert_ne!(order("source", 0), order("target", 0));
    }
}
