//! Image files to pixels of 8 bits.
//!
//! Gray images stay gray; a data set with any colour in it is RGB throughout. Transparency is
//! dropped, as PIL's `convert("RGB")` does.

use std::path::{Path, PathBuf};

use image::{ColorType, ImageReader};
use indexmap::IndexMap;
use rayon::prelude::*;

use super::Broken;
use crate::bytes::Collector;
use crate::data::Watch;
use crate::data::dataset::{Images, Split};
use crate::data::error::Error;
use crate::progress::Unit;

/// Files decoded between two looks at whether the user asked to stop.
const BATCH: usize = 128;

const EXTENSIONS: &[&str] = &["png", "jpg", "jpeg", "webp", "bmp", "gif"];

/// Whether a file's name is that of an image.
pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}

/// The formats for messages.
pub(super) fn formats() -> String {
    EXTENSIONS.join(", ")
}

/// What may follow the point in the name of an image, in small and in capital letters.
pub(super) fn endings() -> impl Iterator<Item = String> {
    EXTENSIONS.iter().flat_map(|ending| [(*ending).to_owned(), ending.to_uppercase()])
}

/// Pixels of one file.
struct Decoded {
    channels: usize,
    size: (usize, usize),
    pixels: Vec<u8>,
}

/// Decodes the files of each split with their labels. All get the same number of channels.
///
/// # Errors
/// When a file is not an image and `broken` does not leave it out, when none of a split is left, or the
/// user asked to stop.
pub(super) fn decode(
    splits: Vec<(String, Vec<PathBuf>, Vec<u32>)>,
    broken: &Broken,
    watch: &Watch,
) -> Result<IndexMap<String, Split>, Error> {
    let groups = splits.iter().map(|(_, files, _)| files);
    let total: usize = groups.clone().map(Vec::len).sum();
    watch.progress.begin("decode", Some(total as u64), Unit::Images);
    let mut decoded: Vec<Held> = Vec::new();
    for (name, files, labels) in &splits {
        let mut held = Held::new()?;
        for (batch, labels) in files.chunks(BATCH).zip(labels.chunks(BATCH)) {
            watch.check()?;
            let results: Vec<Result<Decoded, Error>> =
                batch.par_iter().map(|file| decode_file(file)).collect();
            // In the order of the files, so that the same file is named on every run.
            for (result, label) in results.into_iter().zip(labels) {
                match result {
                    Ok(image) => held.push(&image, *label)?,
                    Err(error) => broken.leave_out(name, error, watch)?,
                }
            }
            watch.progress.advance(batch.len() as u64);
        }
        if held.labels.is_empty() && !files.is_empty() {
            return Err(Error::rejected(format!("none of the images of `{name}` can be read")));
        }
        decoded.push(held);
    }
    let channels = decoded.iter().flat_map(|held| &held.channels).max().copied().unwrap_or(1);
    let names = splits.into_iter().map(|(name, ..)| name);
    names.zip(decoded).map(|(name, held)| Ok((name, held.split(channels)?))).collect()
}

/// The images of a split as they were found, side by side.
struct Held {
    pixels: Collector,
    sizes: Vec<(usize, usize)>,
    channels: Vec<usize>,
    labels: Vec<u32>,
}

impl Held {
    fn new() -> Result<Self, Error> {
        let pixels = Collector::new(0).map_err(Error::spilled)?;
        Ok(Self { pixels, sizes: Vec::new(), channels: Vec::new(), labels: Vec::new() })
    }

    fn push(&mut self, image: &Decoded, label: u32) -> Result<(), Error> {
        self.sizes.push(image.size);
        self.channels.push(image.channels);
        self.labels.push(label);
        self.pixels.push(&image.pixels).map_err(Error::spilled)
    }

    /// All with `channels` channels.
    fn split(self, channels: usize) -> Result<Split, Error> {
        let Self { pixels, sizes, channels: found, labels } = self;
        let mut pixels = pixels.finish().map_err(Error::spilled)?;
        if found.iter().any(|found| *found != channels) {
            let mut same = Collector::new(pixels.len()).map_err(Error::spilled)?;
            let mut rest = &*pixels;
            for ((height, width), found) in sizes.iter().zip(found) {
                let (image, after) = rest.split_at(height * width * found);
                rest = after;
                if found == channels {
                    same.push(image).map_err(Error::spilled)?;
                } else {
                    let colours: Vec<u8> = image.iter().flat_map(|gray| [*gray; 3]).collect();
                    same.push(&colours).map_err(Error::spilled)?;
                }
            }
            pixels = same.finish().map_err(Error::spilled)?;
        }
        Ok(Split { images: Images::new(channels, sizes, pixels), labels })
    }
}

fn decode_file(path: &Path) -> Result<Decoded, Error> {
    let broken = |error: image::ImageError| {
        Error::malformed(path, format!("cannot be read as an image: {error}"))
    };
    let image = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(|error| Error::io(path, error))?
        .decode()
        .map_err(broken)?;
    let size = (image.height() as usize, image.width() as usize);
    let gray =
        matches!(image.color(), ColorType::L8 | ColorType::L16 | ColorType::La8 | ColorType::La16);
    let (channels, pixels) =
        if gray { (1, image.into_luma8().into_raw()) } else { (3, image.into_rgb8().into_raw()) };
    Ok(Decoded { channels, size, pixels })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use image::{DynamicImage, GrayImage, ImageBuffer, LumaA, Rgb, RgbImage, Rgba};

    use super::*;
    use crate::progress::Silent;

    fn decoded(images: &[(&str, DynamicImage)]) -> Result<Images, Error> {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = images
            .iter()
            .map(|(name, image)| {
                let path = folder.path().join(name);
                image.save(&path).unwrap();
                path
            })
            .collect();
        let cancel = AtomicBool::new(false);
        let watch = Watch { progress: &Silent, cancel: &cancel };
        let labels = vec![0; files.len()];
        let group = ("train".to_owned(), files, labels);
        Ok(decode(vec![group], &Broken::fails(), &watch)?.swap_remove("train").unwrap().images)
    }

    fn gray() -> DynamicImage {
        GrayImage::from_raw(2, 1, vec![7, 200]).unwrap().into()
    }

    #[test]
    fn gray_stays_gray_and_becomes_rgb_only_in_company() {
        let images = decoded(&[("a.png", gray())]).unwrap();
        assert_eq!((images.channels, images.pixels), (1, vec![7, 200].into()));
        let colour = RgbImage::from_pixel(1, 1, Rgb([1, 2, 3]));
        let images = decoded(&[("a.png", gray()), ("b.bmp", colour.into())]).unwrap();
        assert_eq!(images.channels, 3);
        assert_eq!(images.pixels, [7, 7, 7, 200, 200, 200, 1, 2, 3]);
        assert_eq!(images.size_of(1), (1, 1));
    }

    #[test]
    fn transparency_is_dropped_and_sixteen_bits_become_eight() {
        let clear = ImageBuffer::from_pixel(1, 1, Rgba([10_u8, 20, 30, 0]));
        assert_eq!(decoded(&[("a.png", clear.into())]).unwrap().pixels, [10, 20, 30]);
        let deep = ImageBuffer::from_pixel(1, 1, LumaA([0xffff_u16, 0x8000]));
        let images = decoded(&[("a.png", DynamicImage::ImageLumaA16(deep))]).unwrap();
        assert_eq!((images.channels, images.pixels), (1, vec![255].into()));
    }

    #[test]
    fn every_format_can_be_read() {
        let colour = RgbImage::from_pixel(8, 8, Rgb([200, 100, 50]));
        for extension in ["png", "jpg", "webp", "bmp", "gif"] {
            let name = format!("a.{extension}");
            let images = decoded(&[(&name, colour.clone().into())]).unwrap();
            assert_eq!((images.channels, images.size()), (3, Some((8, 8))), "{extension}");
            let far = images
                .pixels
                .chunks(3)
                .flat_map(|p| [p[0].abs_diff(200), p[1].abs_diff(100), p[2].abs_diff(50)]);
            assert!(far.max().unwrap() <= 6, "{extension}");
        }
    }

    #[test]
    fn a_file_that_is_no_image_is_named_or_left_out_with_its_label() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cat.png");
        std::fs::write(&path, "no image").unwrap();
        let cancel = AtomicBool::new(false);
        let watch = Watch { progress: &Silent, cancel: &cancel };
        let group = |files: Vec<PathBuf>| {
            let labels = (0..).take(files.len()).collect();
            vec![("train".to_owned(), files, labels)]
        };
        let error =
            decode(group(vec![path.clone()]), &Broken::fails(), &watch).unwrap_err().to_string();
        assert!(error.contains("cat.png: cannot be read as an image"), "{error}");
        let good = folder.path().join("dog.png");
        gray().save(&good).unwrap();
        let broken = Broken::skips();
        let splits = decode(group(vec![path.clone(), good]), &broken, &watch).unwrap();
        assert_eq!(
            (&splits["train"].labels, broken.skipped()),
            (&vec![1], vec![("train".into(), 1)])
        );
        let error = decode(group(vec![path]), &Broken::skips(), &watch).unwrap_err().to_string();
        assert_eq!(error, "none of the images of `train` can be read");
        cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(matches!(
            decode(group(vec!["x".into()]), &Broken::fails(), &watch),
            Err(Error::Interrupted)
        ));
    }
}
