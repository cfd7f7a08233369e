//! MNIST-M's recipe: the difference of an image and a patch of a photograph.
//!
//! Each output pixel is |image - patch|, channel by channel, with a patch from a random place of
//! a random background (Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR
//! 2016, section 5.2.3).

use std::borrow::Cow;

use indexmap::IndexMap;
use rayon::prelude::*;

use super::Watch;
use super::dataset::{Dataset, Image, Images, Split};
use super::error::DataError;
use crate::bytes::Collector;
use crate::progress::Unit;
use crate::random;

/// What to do about photographs that are smaller than the images to blend with them.
pub const SMALL_PHOTOGRAPHS: &str =
    "leave out small photographs, or enlarge them with a `normalize` stage's `resize`";

/// Images between two looks at whether the user asked to stop.
const BATCH: usize = 512;

/// The backgrounds for each split, by its name.
pub type Backgrounds<'a> = IndexMap<String, Cow<'a, Images>>;

/// Shares the photographs of `photos` out to the splits of `dataset`, so that no background is
/// seen in two of them.
///
/// A split takes the photographs of the split of its own name. Where there is none, it takes part
/// of the first split's, and all that take from one split divide it in order, in proportion to
/// their numbers of images.
///
/// # Errors
/// When a split would be left without a photograph.
pub fn share_photographs<'a>(
    dataset: &Dataset,
    photos: &'a Dataset,
) -> Result<Backgrounds<'a>, DataError> {
    let first = photos.splits.keys().next().cloned().unwrap_or_default();
    let giver = |name: &String| {
        if photos.splits.contains_key(name) { name.clone() } else { first.clone() }
    };
    let mut shares = Backgrounds::new();
    for (name, split) in &dataset.splits {
        let from = giver(name);
        let takers: Vec<(&String, usize)> = dataset
            .splits
            .iter()
            .filter(|(other, _)| giver(other) == from)
            .map(|(other, split)| (other, split.len()))
            .collect();
        let images = &photos.split(&from)?.images;
        if takers.len() == 1 {
            shares.insert(name.clone(), Cow::Borrowed(images));
            continue;
        }
        let before: usize =
            takers.iter().take_while(|(other, _)| *other != name).map(|(_, count)| count).sum();
        let all: usize = takers.iter().map(|(_, count)| count).sum();
        let bound = |count: usize| (images.len() as u128 * count as u128 / all as u128) as usize;
        let range = bound(before)..bound(before + split.len());
        if range.is_empty() {
            // Photographs of its own spare the split from sharing those of another.
            let lacking = takers.iter().map(|it| it.0).find(|it| **it != from).unwrap_or(name);
            return Err(DataError::rejected(format!(
                "{} photographs in `{from}` are too few to give every split its own",
                images.len()
            ))
            .advise(format!("use more photographs, or give the background a split `{lacking}`")));
        }
        shares.insert(name.clone(), Cow::Owned(images.select(&range.collect::<Vec<_>>())?));
    }
    Ok(shares)
}

/// Blends every image of `dataset` with a patch of its split's backgrounds. The result has three
/// channels and the same splits, sizes and labels; its batches hold plain pixels.
///
/// # Errors
/// When a background is smaller than an image, or the user asked to stop.
pub fn blend(
    dataset: &Dataset,
    backgrounds: &Backgrounds,
    seed: u64,
    watch: &Watch,
) -> Result<Dataset, DataError> {
    let mut splits = IndexMap::new();
    for (name, split) in &dataset.splits {
        let backgrounds = &backgrounds[name];
        check_sizes(name, &split.images, backgrounds)?;
        watch.progress.begin(&format!("blend {name}"), Some(split.len() as u64), Unit::Images);
        let images = blend_split(&split.images, backgrounds, seed, name, watch)?;
        splits.insert(name.clone(), Split { images, labels: split.labels.clone() });
    }
    Ok(Dataset::plain(dataset.classes.clone(), 3, splits, dataset.provenance.clone()))
}

fn check_sizes(split: &str, images: &Images, backgrounds: &Images) -> Result<(), DataError> {
    let needed =
        images.iter().fold((0, 0), |(h, w), image| (h.max(image.height), w.max(image.width)));
    let small =
        backgrounds.iter().position(|image| image.height < needed.0 || image.width < needed.1);
    let Some(at) = small else { return Ok(()) };
    let (height, width) = backgrounds.size_of(at);
    Err(DataError::rejected(format!(
        "background {at} of {} for `{split}` is {height}x{width} pixels, smaller than the \
         {}x{} images to blend with it",
        backgrounds.len(),
        needed.0,
        needed.1
    ))
    .advise(SMALL_PHOTOGRAPHS))
}

fn blend_split(
    images: &Images,
    backgrounds: &Images,
    seed: u64,
    split: &str,
    watch: &Watch,
) -> Result<Images, DataError> {
    let purpose = format!("blend {split}");
    let foregrounds: Vec<Image> = images.iter().collect();
    let photographs: Vec<Image> = backgrounds.iter().collect();
    let total = images.pixels.len() / images.channels * 3;
    let mut pixels = Collector::new(total).map_err(DataError::spilled)?;
    for (batch, foregrounds) in foregrounds.chunks(BATCH).enumerate() {
        watch.check()?;
        let blended: Vec<Vec<u8>> = foregrounds
            .par_iter()
            .enumerate()
            .map(|(at, image)| {
                let index = (batch * BATCH + at) as u64;
                let mut stream = random::stream(seed, &purpose, 0, index);
                let photograph = &photographs[stream.below(photographs.len())];
                let top = stream.below(photograph.height - image.height + 1);
                let left = stream.below(photograph.width - image.width + 1);
                difference((image, images.channels), (photograph, backgrounds.channels), top, left)
            })
            .collect();
        for image in &blended {
            pixels.push(image).map_err(DataError::spilled)?;
        }
        watch.progress.advance(foregrounds.len() as u64);
    }
    let sizes = foregrounds.iter().map(|image| (image.height, image.width)).collect();
    Ok(Images::new(3, sizes, pixels.finish().map_err(DataError::spilled)?))
}

/// |image - patch| as `[height, width, 3]`; one channel counts for all three.
fn difference(
    (image, channels): (&Image, usize),
    (photograph, depth): (&Image, usize),
    top: usize,
    left: usize,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(image.height * image.width * 3);
    for row in 0..image.height {
        for column in 0..image.width {
            let here = (row * image.width + column) * channels;
            let there = ((top + row) * photograph.width + left + column) * depth;
            for channel in 0..3 {
                let front = image.pixels[here + channel % channels];
                let back = photograph.pixels[there + channel % depth];
                out.push(front.abs_diff(back));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::progress::Silent;

    fn set(splits: &[(&str, Images)]) -> Dataset {
        let splits: IndexMap<String, Split> = splits
            .iter()
            .map(|(name, images)| {
                let labels = (0..images.len()).map(|at| u32::from(at % 2 == 1)).collect();
                ((*name).to_owned(), Split { images: images.clone(), labels })
            })
            .collect();
        let channels = splits[0].images.channels;
        Dataset::plain(vec!["a".into(), "b".into()], channels, splits, Vec::new())
    }

    fn run(dataset: &Dataset, backgrounds: &Backgrounds, seed: u64) -> Result<Dataset, DataError> {
        let cancel = AtomicBool::new(false);
        blend(dataset, backgrounds, seed, &Watch { progress: &Silent, cancel: &cancel })
    }

    /// A ramp, in which every patch says where it is from.
    fn ramp(size: usize, channels: usize) -> Images {
        let pixels = (0..size * size * channels).map(|at| u8::try_from(at % 251).unwrap());
        Images::same(channels, (size, size), pixels.collect::<Vec<u8>>())
    }

    #[test]
    fn a_black_image_becomes_the_patch_and_a_white_one_its_negative() {
        let digits = Images::same(1, (2, 2), vec![0, 0, 0, 0, 255, 255, 255, 255]);
        let digits = set(&[("train", digits)]);
        let photo = Images::same(3, (2, 2), (10..22).collect::<Vec<u8>>());
        let backgrounds = Backgrounds::from([("train".into(), Cow::Owned(photo))]);
        let blended = run(&digits, &backgrounds, 0).unwrap();
        let expected: Vec<u8> = (10..22).chain((10..22).map(|p| 255 - p)).collect();
        assert_eq!(blended.splits["train"].images.pixels, expected);
        assert_eq!(blended.splits["train"].labels, digits.splits["train"].labels);
    }

    #[test]
    fn patches_come_from_many_places_and_gray_counts_for_all_channels() {
        let digits = set(&[("train", Images::same(1, (1, 1), vec![0; 400]))]);
        let backgrounds = Backgrounds::from([("train".into(), Cow::Owned(ramp(5, 1)))]);
        let blended = run(&digits, &backgrounds, 0).unwrap();
        let mut seen: Vec<u8> = Vec::new();
        for pixel in blended.splits["train"].images.pixels.chunks_exact(3) {
            assert!(pixel[0] == pixel[1] && pixel[1] == pixel[2]);
            seen.push(pixel[0]);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (0..25).collect::<Vec<u8>>());
    }

    #[test]
    fn any_number_of_threads_gives_the_same_pixels() {
        let digits = set(&[("train", Images::same(3, (4, 4), vec![100; 48 * 1100]))]);
        let backgrounds = Backgrounds::from([("train".into(), Cow::Owned(ramp(16, 3)))]);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&digits, &backgrounds, 3).unwrap())
        };
        let one = with(1);
        assert_eq!(one, with(3));
        assert_ne!(one, run(&digits, &backgrounds, 4).unwrap());
    }

    #[test]
    fn a_background_smaller_than_the_image_is_an_error() {
        let digits = set(&[("test", ramp(4, 1))]);
        let backgrounds = Backgrounds::from([("test".into(), Cow::Owned(ramp(3, 3)))]);
        let error = run(&digits, &backgrounds, 0).unwrap_err().to_string();
        assert!(error.contains("background 0 of 1 for `test` is 3x3 pixels"), "{error}");
    }

    #[test]
    fn photographs_of_the_same_split_serve_it_and_others_are_divided() {
        let gray = |count: u8| Images::same(1, (1, 1), (0..count).collect::<Vec<u8>>());
        let digits = set(&[("train", gray(9)), ("valid", gray(3)), ("test", gray(5))]);
        let photos = set(&[("train", gray(8)), ("test", gray(2))]);
        let shares = share_photographs(&digits, &photos).unwrap();
        assert_eq!(shares["train"].pixels, [0, 1, 2, 3, 4, 5]);
        assert_eq!(shares["valid"].pixels, [6, 7]);
        assert_eq!(shares["test"].pixels, [0, 1]);
        let few = set(&[("train", gray(2))]);
        let error = share_photographs(&digits, &few).unwrap_err().to_string();
        assert!(error.contains("too few"), "{error}");
    }
}
