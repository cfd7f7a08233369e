//! Decodes image files into the images of a data set.
//!
//! A data set with any colour in it is RGB throughout. How many files are in memory at a time is bounded
//! by the bytes that they take there, not by their number: photographs are large.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use rayon::prelude::*;

use super::Decoding;
use super::image_file::{Decoded, EncodedImage};
pub(super) use super::image_file::{endings, formats, has_image_ending, is_image};
use crate::bytes::Collector;
use crate::data::Watch;
use crate::data::dataset::{Images, Split};
use crate::data::error::DataError;
use crate::progress::Unit;
use crate::system;

/// Files opened between two looks at whether the user asked to stop.
const BATCH: usize = 128;

/// Bytes that a thread may have in memory for images being decoded, and the bounds for all of them.
const PER_THREAD: u64 = 128 << 20;
const FEWEST: u64 = 256 << 20;
const MOST: u64 = 2 << 30;

/// Memory that must be free beside an image, for what its decoder and the next steps need in pieces.
const MARGIN: u64 = 16 << 20;

/// Pixels that are turned from gray to colour at a time: a whole image might not fit beside all others.
const PIECE: usize = 1 << 16;

/// Decodes the files of each split with their labels. All get the same number of channels.
///
/// # Errors
/// When a file is not a whole image and `decoding` does not leave it out, when none of a split is left, when
/// the memory does not suffice for an image, or the user asked to stop.
pub(super) fn decode(
    splits: Vec<(String, Vec<PathBuf>, Vec<u32>)>,
    decoding: &Decoding,
    watch: &Watch,
) -> Result<IndexMap<String, Split>, DataError> {
    let groups = splits.iter().map(|(_, files, _)| files);
    let total: usize = groups.clone().map(Vec::len).sum();
    watch.progress.begin("decode", Some(total as u64), Unit::Images);
    let mut decoded: Vec<SplitBuilder> = Vec::new();
    let mut remarks = DecodingRemarks::default();
    for (name, files, labels) in &splits {
        let mut held = SplitBuilder::new()?;
        let mut push = |result: Result<Decoded, DataError>, file: &Path, label: u32| match result {
            Ok(image) => {
                remarks.note(&image, file);
                held.push(&image, label)
            }
            Err(error) => decoding.leave_out(name, error, watch),
        };
        let (mut files_left, mut labels_left) = (&files[..], &labels[..]);
        while !files_left.is_empty() {
            watch.check()?;
            let (batch, others) = files_left.split_at(batch(files_left, in_flight()));
            let (of_batch, labels) = labels_left.split_at(batch.len());
            decode_batch(batch, of_batch, decoding.upright, watch, &mut push)?;
            (files_left, labels_left) = (others, labels);
        }
        if held.labels.is_empty() && !files.is_empty() {
            return Err(DataError::rejected(format!("none of the images of `{name}` can be read")));
        }
        decoded.push(held);
    }
    remarks.tell(decoding.upright, watch);
    let channels = decoded.iter().flat_map(|held| &held.channels).max().copied().unwrap_or(1);
    let names = splits.into_iter().map(|(name, ..)| name);
    names.zip(decoded).map(|(name, held)| Ok((name, held.split(channels)?))).collect()
}

/// Decodes some files, as many at a time as fit into the memory, and hands them on in their order, so that
/// the same file is named on every run.
fn decode_batch(
    files: &[PathBuf],
    labels: &[u32],
    upright: bool,
    watch: &Watch,
    push: &mut impl FnMut(Result<Decoded, DataError>, &Path, u32) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let opened: Vec<_> = files.par_iter().map(|file| EncodedImage::open(file)).collect();
    let needs: Vec<u64> =
        opened.iter().map(|opened| opened.as_ref().map_or(0, EncodedImage::needs)).collect();
    let mut limit = in_flight();
    while limit > FEWEST / 16 && !system::is_free(limit) {
        limit /= 2;
    }
    let mut rest = opened.into_iter().zip(files).zip(labels);
    for count in groups(&needs, limit) {
        watch.check()?;
        let group: Vec<_> = rest.by_ref().take(count).collect();
        if let [((Ok(image), file), _)] = group.as_slice() {
            enough_for(image, file)?;
        }
        let results: Vec<_> = group
            .into_par_iter()
            .map(|((opened, file), label)| {
                (opened.and_then(|image| image.decode(file, upright)), file, label)
            })
            .collect();
        for (result, file, label) in results {
            push(result, file, *label)?;
        }
        watch.progress.advance(count as u64);
    }
    Ok(())
}

/// Bytes that images being decoded may take together.
fn in_flight() -> u64 {
    (rayon::current_num_threads() as u64 * PER_THREAD).clamp(FEWEST, MOST)
}

/// How many of the files are opened together: as long as their bytes take no more than half of `limit`,
/// but one at least.
fn batch(files: &[PathBuf], limit: u64) -> usize {
    let length = |file: &PathBuf| std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    let files = &files[..files.len().min(BATCH)];
    groups(&files.iter().map(length).collect::<Vec<_>>(), limit / 2).next().unwrap_or(0)
}

/// Lengths of groups in the order of `needs` that come to no more than `limit` each, or are of one.
fn groups(needs: &[u64], limit: u64) -> impl Iterator<Item = usize> {
    let mut rest = needs;
    std::iter::from_fn(move || {
        let mut sum = 0_u64;
        let fits = |need: &&u64| {
            sum = sum.saturating_add(**need);
            sum <= limit
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        rest = &rest[count..];
        (count > 0).then_some(count)
    })
}

/// Fails when there is too little memory for an image. It does not depend on `on_error`: what is in a data
/// set must not depend on the machine.
fn enough_for(image: &EncodedImage, file: &Path) -> Result<(), DataError> {
    if system::is_free(image.needs().saturating_add(MARGIN)) {
        return Ok(());
    }
    let (height, width) = image.size();
    let needs = image.needs().div_ceil(1_000_000);
    let message = format!(
        "{}: there is too little memory to decode it; {width} x {height} pixels take {needs} MB",
        file.display()
    );
    Err(DataError::rejected(message).advise(
        "free some memory, raise the limit that `ulimit -v` shows, or make the image smaller",
    ))
}

/// What people should know of images that were decoded: how many there are of a kind, and the first.
#[derive(Default)]
struct DecodingRemarks {
    oriented: Option<(usize, PathBuf)>,
    several: Option<(usize, PathBuf)>,
}

impl DecodingRemarks {
    fn note(&mut self, image: &Decoded, file: &Path) {
        let kinds = [(image.oriented, &mut self.oriented), (image.several, &mut self.several)];
        for (_, seen) in kinds.into_iter().filter(|(is, _)| *is) {
            seen.get_or_insert_with(|| (0, file.to_owned())).0 += 1;
        }
    }

    fn tell(&self, upright: bool, watch: &Watch) {
        let say = |seen: &Option<(usize, PathBuf)>, one: &str, many: &str| {
            if let Some((count, first)) = seen {
                let what = if *count == 1 { one.to_owned() } else { format!("{count} {many}") };
                watch.progress.note(&format!("{what}, such as {}", first.display()));
            }
        };
        if upright {
            say(
                &self.oriented,
                "1 image was turned as its EXIF orientation says",
                "images were turned as their EXIF orientation says",
            );
        } else {
            say(
                &self.oriented,
                "1 image has an EXIF orientation, which `orientation = \"ignore\"` ignores",
                "images have an EXIF orientation, which `orientation = \"ignore\"` ignores",
            );
        }
        say(
            &self.several,
            "1 file holds several pictures, of which the first is taken",
            "files hold several pictures, of which the first is taken",
        );
    }
}

/// The images of a split as they were found, side by side.
struct SplitBuilder {
    pixels: Collector,
    sizes: Vec<(usize, usize)>,
    channels: Vec<usize>,
    labels: Vec<u32>,
}

impl SplitBuilder {
    fn new() -> Result<Self, DataError> {
        let pixels = Collector::new(0).map_err(DataError::spilled)?;
        Ok(Self { pixels, sizes: Vec::new(), channels: Vec::new(), labels: Vec::new() })
    }

    fn push(&mut self, image: &Decoded, label: u32) -> Result<(), DataError> {
        self.sizes.push(image.size);
        self.channels.push(image.channels);
        self.labels.push(label);
        self.pixels.push(&image.pixels).map_err(DataError::spilled)
    }

    /// All with `channels` channels.
    fn split(self, channels: usize) -> Result<Split, DataError> {
        let Self { pixels, sizes, channels: found, labels } = self;
        let mut pixels = pixels.finish().map_err(DataError::spilled)?;
        if found.iter().any(|found| *found != channels) {
            let mut same = Collector::new(pixels.len()).map_err(DataError::spilled)?;
            let mut rest = &*pixels;
            for ((height, width), found) in sizes.iter().zip(found) {
                let (image, after) = rest.split_at(height * width * found);
                rest = after;
                if found == channels {
                    same.push(image).map_err(DataError::spilled)?;
                } else {
                    for piece in image.chunks(PIECE) {
                        let colours: Vec<u8> = piece.iter().flat_map(|gray| [*gray; 3]).collect();
                        same.push(&colours).map_err(DataError::spilled)?;
                    }
                }
            }
            pixels = same.finish().map_err(DataError::spilled)?;
        }
        Ok(Split { images: Images::new(channels, sizes, pixels), labels })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use image::{DynamicImage, GrayImage, ImageBuffer, LumaA, Rgb, RgbImage, Rgba};

    use super::*;
    use crate::progress::Silent;

    fn decoded(images: &[(&str, DynamicImage)]) -> Result<Images, DataError> {
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
        Ok(decode(vec![group], &Decoding::strict(), &watch)?.swap_remove("train").unwrap().images)
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
    fn a_gray_image_of_many_pieces_becomes_the_same_in_colour() {
        let gray = GrayImage::from_fn(400, 400, |x, y| image::Luma([(x * 7 + y * 3) as u8]));
        assert!(gray.len() > 2 * PIECE && !gray.len().is_multiple_of(PIECE));
        let expected: Vec<u8> = gray.iter().flat_map(|gray| [*gray; 3]).collect();
        let colour = RgbImage::from_pixel(1, 1, Rgb([1, 2, 3]));
        let images = decoded(&[("a.png", gray.into()), ("b.png", colour.into())]).unwrap();
        assert_eq!(images.pixels, [expected, vec![1, 2, 3]].concat());
    }

    #[test]
    fn groups_hold_no_more_than_the_limit_but_one_at_least() {
        let lengths = |needs: &[u64], limit| groups(needs, limit).collect::<Vec<_>>();
        assert_eq!(lengths(&[3, 3, 4, 11, 0, 10, 1], 10), [3, 1, 2, 1]);
        assert_eq!(lengths(&[1; 5], 1), [1; 5]);
        assert_eq!(lengths(&[u64::MAX, u64::MAX], 10), [1, 1]);
        assert_eq!(lengths(&[], 10), [0; 0]);
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
            decode(group(vec![path.clone()]), &Decoding::strict(), &watch).unwrap_err().to_string();
        assert!(error.contains("cat.png: cannot be read as an image"), "{error}");
        let good = folder.path().join("dog.png");
        gray().save(&good).unwrap();
        let decoding = Decoding::skipping();
        let splits = decode(group(vec![path.clone(), good]), &decoding, &watch).unwrap();
        assert_eq!(
            (&splits["train"].labels, decoding.skipped()),
            (&vec![1], vec![("train".into(), 1)])
        );
        let error =
            decode(group(vec![path]), &Decoding::skipping(), &watch).unwrap_err().to_string();
        assert_eq!(error, "none of the images of `train` can be read");
        cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(matches!(
            decode(group(vec!["x".into()]), &Decoding::strict(), &watch),
            Err(DataError::Interrupted)
        ));
    }
}
