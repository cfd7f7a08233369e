//! Puts a black border around images.

use super::Watch;
use super::dataset::Images;
use super::error::DataError;
use crate::bytes::Collector;

/// The size of an image of `height` x `width` with `rows` more above and below and `columns` more left and
/// right; `None` when that is more than can be counted.
pub fn padded_size(
    (height, width): (usize, usize),
    (rows, columns): (usize, usize),
) -> Option<(usize, usize)> {
    let longer = |length: usize, by: usize| length.checked_add(by.checked_mul(2)?);
    Some((longer(height, rows)?, longer(width, columns)?))
}

/// Every image with `rows` rows of zeros above and below it, and `columns` columns left and right.
///
/// # Errors
/// When the user asked to stop, or the images are many and cannot be written to a file.
pub fn pad(
    images: &Images,
    (rows, columns): (usize, usize),
    watch: &Watch,
) -> Result<Images, DataError> {
    let channels = images.channels;
    let too_large = || DataError::rejected("the padded images are larger than any memory");
    let mut sizes = Vec::with_capacity(images.len());
    let mut total = 0_usize;
    for at in 0..images.len() {
        let (height, width) =
            padded_size(images.size_of(at), (rows, columns)).ok_or_else(too_large)?;
        let bytes = height.checked_mul(width).and_then(|area| area.checked_mul(channels));
        total = bytes.and_then(|bytes| total.checked_add(bytes)).ok_or_else(too_large)?;
        sizes.push((height, width));
    }
    let mut pixels = Collector::new(total).map_err(DataError::spilled)?;
    for (image, (_, width)) in images.iter().zip(&sizes) {
        watch.check()?;
        let border = vec![0; rows * width * channels];
        let side = vec![0; columns * channels];
        pixels.push(&border).map_err(DataError::spilled)?;
        for row in image.pixels.chunks_exact(image.width * channels) {
            for part in [side.as_slice(), row, side.as_slice()] {
                pixels.push(part).map_err(DataError::spilled)?;
            }
        }
        pixels.push(&border).map_err(DataError::spilled)?;
        watch.progress.advance(1);
    }
    Ok(Images::new(channels, sizes, pixels.finish().map_err(DataError::spilled)?))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::progress::Silent;

    fn padded(images: &Images, by: (usize, usize)) -> Images {
        let cancel = AtomicBool::new(false);
        pad(images, by, &Watch { progress: &Silent, cancel: &cancel }).unwrap()
    }

    #[test]
    fn the_border_is_black_and_as_wide_as_asked_for() {
        let images = Images::same(1, (2, 1), vec![7, 8]);
        let found = padded(&images, (1, 2));
        assert_eq!(found.size(), Some((4, 5)));
        let rows: [[u8; 5]; 4] = [[0; 5], [0, 0, 7, 0, 0], [0, 0, 8, 0, 0], [0; 5]];
        assert_eq!(found.pixels, rows.concat());
        assert_eq!(padded(&images, (0, 0)), images);
        assert_eq!(padded(&images, (0, 1)).pixels, [0, 7, 0, 0, 8, 0]);
    }

    #[test]
    fn colours_and_images_of_several_sizes_keep_their_pixels() {
        let images = Images::new(3, vec![(1, 1), (1, 2)], (1..=9).collect::<Vec<u8>>());
        let found = padded(&images, (1, 0));
        assert_eq!((found.size_of(0), found.size_of(1)), ((3, 1), (3, 2)));
        assert_eq!(
            found.pixels,
            [0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn usps_becomes_as_large_as_mnist() {
        assert_eq!(padded_size((16, 16), (6, 6)), Some((28, 28)));
        assert_eq!(padded_size((1, 1), (usize::MAX, 0)), None);
    }
}
