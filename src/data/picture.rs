//! Pictures for people: numbers as grids of tiles, each from its smallest value in black to its largest
//! in white, and images in a row. Reads and decides nothing.

use std::path::Path;

use image::{GrayImage, RgbImage};

use super::dataset::{Image, Images};
use super::error::DataError;
use super::resize::Resizer;

/// Height and width that a tile of a row has at most, and nearly has.
const SIDE: usize = 64;

/// Pixels between two tiles.
const GAP: usize = 1;

/// Tiles of one size.
#[derive(Debug)]
pub struct Tiles {
    /// 1 for gray, 3 for colours.
    pub channels: usize,
    /// Rows of a tile.
    pub height: usize,
    /// Columns of a tile.
    pub width: usize,
    /// `[tiles, channels, height, width]`.
    pub values: Vec<f32>,
}

impl Tiles {
    /// Writes the tiles as a PNG, as nearly square as they go, every value `scale` pixels wide and high.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, scale: usize, path: &Path) -> Result<(), DataError> {
        let (columns, rows) = self.grid();
        let (tile_width, tile_height) = (self.width * scale + GAP, self.height * scale + GAP);
        let (width, height) = (columns * tile_width + GAP, rows * tile_height + GAP);
        let mut pixels = vec![32_u8; width * height * self.channels];
        let area = self.height * self.width;
        for (at, tile) in self.values.chunks_exact(self.channels * area).enumerate() {
            let levels = levels(tile);
            let (left, top) = (at % columns * tile_width + GAP, at / columns * tile_height + GAP);
            for y in 0..self.height * scale {
                for x in 0..self.width * scale {
                    let from = y / scale * self.width + x / scale;
                    let to = ((top + y) * width + left + x) * self.channels;
                    for channel in 0..self.channels {
                        pixels[to + channel] = levels[channel * area + from];
                    }
                }
            }
        }
        save(self.channels, (height, width), pixels, path)
    }

    /// Columns and rows of the grid.
    fn grid(&self) -> (usize, usize) {
        let tiles = self.values.len() / (self.channels * self.height * self.width).max(1);
        let columns = (1..).find(|side| side * side >= tiles).unwrap_or(1).max(1);
        (columns, tiles.div_ceil(columns).max(1))
    }
}

/// Writes the images at `indices` side by side as a PNG, in that order and with nothing between them;
/// small ones larger by a whole factor, large ones smaller, to tiles of at most 64 pixels. Gives the
/// width of a tile.
///
/// # Errors
/// When the file cannot be written.
///
/// # Panics
/// When an index lies beyond the images, or they differ in size.
pub fn row(images: &Images, indices: &[usize], path: &Path) -> Result<usize, DataError> {
    let (height, width) = images.size().expect("a row needs images of one size");
    let (channels, length) = (images.channels, height * width * images.channels);
    let largest = height.max(width);
    let scale = (SIDE / largest).max(1);
    let fit =
        |side: usize| if largest > SIDE { (side * SIDE / largest).max(1) } else { side * scale };
    let (tile_height, tile_width) = (fit(height), fit(width));
    let resizer = Resizer::new((height, width), (tile_height, tile_width));
    let stride = tile_width * channels;
    let mut pixels = vec![0; tile_height * stride * indices.len()];
    for (at, index) in indices.iter().enumerate() {
        let whole = &images.pixels[index * length..(index + 1) * length];
        let tile = if largest > SIDE {
            resizer.apply(&Image { height, width, pixels: whole }, channels)
        } else {
            enlarged(whole, width, channels, scale)
        };
        for (y, line) in tile.chunks_exact(stride).enumerate() {
            let to = (y * indices.len() + at) * stride;
            pixels[to..to + stride].copy_from_slice(line);
        }
    }
    save(channels, (tile_height, tile_width * indices.len()), pixels, path)?;
    Ok(tile_width)
}

/// Every pixel as a square of `scale` pixels a side.
fn enlarged(pixels: &[u8], width: usize, channels: usize, scale: usize) -> Vec<u8> {
    let mut tile = Vec::with_capacity(pixels.len() * scale * scale);
    for line in pixels.chunks_exact(width * channels) {
        let wide: Vec<u8> =
            line.chunks_exact(channels).flat_map(|pixel| pixel.repeat(scale)).collect();
        (0..scale).for_each(|_| tile.extend_from_slice(&wide));
    }
    tile
}

fn save(
    channels: usize,
    (height, width): (usize, usize),
    pixels: Vec<u8>,
    path: &Path,
) -> Result<(), DataError> {
    let side = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
    let (width, height) = (side(width), side(height));
    let saved = if channels == 3 {
        RgbImage::from_raw(width, height, pixels).expect("as many pixels").save(path)
    } else {
        GrayImage::from_raw(width, height, pixels).expect("as many pixels").save(path)
    };
    saved.map_err(|error| match error {
        image::ImageError::IoError(error) => DataError::io(path, error),
        other => DataError::malformed(path, other.to_string()),
    })
}

/// Values from the smallest to the largest as 0 to 255; all 0 where they are alike or not finite.
fn levels(tile: &[f32]) -> Vec<u8> {
    let smallest = tile.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = tile.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = largest - smallest;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
    let level = |value: &f32| ((value - smallest) / range * 255.0).round() as u8;
    if range > 0.0 && range.is_finite() {
        tile.iter().map(level).collect()
    } else {
        vec![0; tile.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_stand_in_a_grid_and_each_has_its_own_range() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiles.png");
        let values = vec![0.0, 1.0, -5.0, 5.0, 3.0, 3.0];
        Tiles { channels: 1, height: 1, width: 2, values }.save(2, &path).unwrap();
        let image = image::open(&path).unwrap().into_luma8();
        // Two columns of 4 pixels and two rows of 2, a pixel around each.
        assert_eq!(image.dimensions(), (11, 7));
        let at = |x, y| image.get_pixel(x, y).0[0];
        assert_eq!((at(0, 0), at(1, 1), at(3, 2), at(5, 1)), (32, 0, 255, 32));
        assert_eq!((at(6, 1), at(8, 2)), (0, 255));
        assert_eq!((at(1, 4), at(3, 4)), (0, 0), "a flat tile is black");
    }

    #[test]
    fn images_stand_in_a_row_in_the_order_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("row.png");
        // Three images of 20 x 16, dark, middle and light: three times as large.
        let pixels = [10, 100, 200].map(|level| vec![level; 20 * 16]).concat();
        let images = Images::same(1, (20, 16), pixels);
        assert_eq!(row(&images, &[2, 0], &path).unwrap(), 48);
        let image = image::open(&path).unwrap().into_luma8();
        assert_eq!(image.dimensions(), (96, 60));
        assert_eq!([image.get_pixel(47, 59).0[0], image.get_pixel(48, 0).0[0]], [200, 10]);

        let large = Images::same(3, (100, 200), vec![77; 100 * 200 * 3]);
        assert_eq!(row(&large, &[0], &path).unwrap(), 64);
        let image = image::open(&path).unwrap().into_rgb8();
        assert_eq!((image.dimensions(), image.get_pixel(5, 5).0), ((64, 32), [77; 3]));
    }
}
