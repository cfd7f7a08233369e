//! Takes the middle of images, as torchvision's `CenterCrop` does.

use super::Watch;
use super::dataset::Images;
use super::error::DataError;
use crate::bytes::Collector;
use crate::nn::ops::Shift;

/// The first row or column of the middle `part` of a side of `whole` pixels: where one pixel is left over, torchvision
/// rounds to the even side.
fn first(whole: usize, part: usize) -> usize {
    let rest = whole - part;
    let half = rest / 2;
    if rest % 2 == 1 && half % 2 == 1 { half + 1 } else { half }
}

/// How far the middle of `part` lies within images of `whole`, rows and columns.
///
/// # Panics
/// When these are smaller.
pub fn middle(whole: (usize, usize), part: (usize, usize)) -> Shift {
    let by = |whole, part| first(whole, part).cast_signed();
    Shift { down: by(whole.0, part.0), right: by(whole.1, part.1) }
}

/// The middle of every image, at `height` x `width`.
///
/// # Errors
/// When an image is smaller, the user asked to stop, or the images are many and cannot be written to a file.
pub fn center_crop(
    images: &Images,
    (height, width): (usize, usize),
    watch: &Watch,
) -> Result<Images, DataError> {
    let channels = images.channels;
    let mut sizes = (0..images.len()).map(|at| images.size_of(at)).enumerate();
    if let Some((at, (rows, columns))) = sizes.find(|(_, it)| it.0 < height || it.1 < width) {
        return Err(DataError::rejected(format!(
            "image {at} has {rows}x{columns} pixels, fewer than the {height}x{width} of its middle that \
             `center_crop` takes"
        ))
        .advise("make the images larger before, as `resize = { shorter = 256 }` does"));
    }
    let total = images.len() * height * width * channels;
    let mut pixels = Collector::new(total).map_err(DataError::spilled)?;
    for image in images.iter() {
        watch.check()?;
        let (top, left) = (first(image.height, height), first(image.width, width));
        for row in top..top + height {
            let start = (row * image.width + left) * channels;
            let part = &image.pixels[start..start + width * channels];
            pixels.push(part).map_err(DataError::spilled)?;
        }
        watch.progress.advance(1);
    }
    Ok(Images::same(channels, (height, width), pixels.finish().map_err(DataError::spilled)?))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::progress::Silent;

    fn cropped(images: &Images, size: (usize, usize)) -> Result<Images, DataError> {
        let cancel = AtomicBool::new(false);
        center_crop(images, size, &Watch { progress: &Silent, cancel: &cancel })
    }

    /// `int(round((whole - part) / 2))` of Python, whose halves go to the even number.
    #[test]
    fn a_pixel_left_over_is_on_torchvision_s_side() {
        let found: Vec<usize> = (224..234).map(|whole| first(whole, 224)).collect();
        assert_eq!(found, [0, 0, 1, 2, 2, 2, 3, 4, 4, 4]);
    }

    #[test]
    fn the_middle_stays_with_its_colours() {
        let images = Images::new(3, vec![(2, 3), (1, 2)], (0..24).collect::<Vec<u8>>());
        let found = cropped(&images, (1, 2)).unwrap();
        assert_eq!(found.size(), Some((1, 2)));
        assert_eq!(found.pixels, [0, 1, 2, 3, 4, 5, 18, 19, 20, 21, 22, 23]);
        let error = cropped(&images, (2, 2)).unwrap_err().to_string();
        assert!(error.contains("image 1 has 1x2 pixels, fewer than the 2x2"), "{error}");
    }
}
