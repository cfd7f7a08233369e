//! Converts images between gray and RGB.

use super::dataset::Images;
use super::error::DataError;
use crate::bytes::Collector;

/// The images with 1 or 3 channels: gray is repeated, colours become their luma
/// 0.2989 R + 0.587 G + 0.114 B (ITU-R 601, as torchvision's `Grayscale` has it on tensors).
///
/// # Errors
/// When they are many and cannot be written to a file.
///
/// # Panics
/// When `channels` is neither 1 nor 3.
pub fn to_channels(images: &Images, channels: usize) -> Result<Images, DataError> {
    let sizes = images.sizes.clone();
    if images.channels == channels {
        return Ok(Images { channels, sizes, pixels: images.pixels.clone() });
    }
    let total = images.pixels.len() / images.channels * channels;
    let mut pixels = Collector::new(total).map_err(DataError::spilled)?;
    // A whole number of pixels at a time.
    for part in images.pixels.chunks(3 << 20) {
        let part: Vec<u8> = match (images.channels, channels) {
            (1, 3) => part.iter().flat_map(|gray| [*gray; 3]).collect(),
            (3, 1) => part.as_chunks().0.iter().map(luma).collect(),
            (from, to) => panic!("{from} channels cannot become {to}"),
        };
        pixels.push(&part).map_err(DataError::spilled)?;
    }
    Ok(Images { channels, sizes, pixels: pixels.finish().map_err(DataError::spilled)? })
}

fn luma(pixel: &[u8; 3]) -> u8 {
    let [red, green, blue] = pixel.map(f32::from);
    // torchvision truncates.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 255")]
    let luma = (0.2989 * red + 0.587 * green + 0.114 * blue) as u8;
    luma
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gray_is_repeated() {
        let images = to_channels(&Images::same(1, (1, 2), vec![3, 250]), 3).unwrap();
        assert_eq!(images, Images::same(3, (1, 2), vec![3, 3, 3, 250, 250, 250]));
    }

    #[test]
    fn colours_become_their_luma() {
        // torchvision.transforms.v2.functional.rgb_to_grayscale of these six pixels.
        let pixels = vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 10, 20, 30, 200, 100, 50];
        let images = to_channels(&Images::same(3, (2, 3), pixels), 1).unwrap();
        assert_eq!(images, Images::same(1, (2, 3), vec![76, 149, 29, 254, 18, 124]));
    }
}
