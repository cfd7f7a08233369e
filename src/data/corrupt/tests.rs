//! Corruptions, against their formulas computed in other ways.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::config::Word;
use crate::progress::Silent;

fn set(images: Images) -> Dataset {
    let labels = (0..images.len()).map(|at| u32::from(at % 2 == 1)).collect();
    let channels = images.channels;
    let splits = IndexMap::from([("test".to_owned(), Split { images, labels })]);
    Dataset::plain(vec!["a".into(), "b".into()], channels, splits, Vec::new())
}

fn corrupted(set: &Dataset, kind: CorruptionKind, severity: usize, seed: u64) -> Dataset {
    let cancel = AtomicBool::new(false);
    let watch = Watch { progress: &Silent, cancel: &cancel };
    corrupt(set, &Corruption::new(kind, severity), seed, &watch).unwrap()
}

/// The pixels of one image `[height, width, channels]` after a corruption.
fn one(
    channels: usize,
    size: (usize, usize),
    pixels: &[u8],
    kind: CorruptionKind,
    severity: usize,
) -> Vec<u8> {
    let set = set(Images::same(channels, size, pixels.to_vec()));
    corrupted(&set, kind, severity, 0).splits["test"].images.pixels.to_vec()
}

/// Mean and standard deviation of what noise makes of 200,000 values, in units where they go to 1.
fn noise(value: u8, kind: CorruptionKind, severity: usize) -> (f64, f64) {
    let pixels = one(1, (400, 500), &vec![value; 200_000], kind, severity);
    let values: Vec<f64> = pixels.iter().map(|value| f64::from(*value) / 255.0).collect();
    let mean = values.iter().sum::<f64>() / 2e5;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 2e5;
    (mean, variance.sqrt())
}

fn is_near(found: f64, expected: f64, off: f64) -> bool {
    (found - expected).abs() <= off
}

#[test]
fn gaussian_noise_has_the_published_deviation_around_the_value() {
    for (severity, sd) in [(1, 0.04), (3, 0.08), (5, 0.10)] {
        let (mean, found) = noise(128, CorruptionKind::GaussianNoise, severity);
        assert!(is_near(mean, 128.0 / 255.0, 0.001), "{severity}: {mean}");
        assert!(is_near(found, sd, 0.0006), "{severity}: {found}");
    }
}

#[test]
fn shot_noise_has_the_mean_and_the_deviation_of_photons() {
    // Poisson numbers of mean m have the deviation sqrt(m); of them there are c to white.
    for (severity, photons) in [(1, 500.0_f64), (4, 75.0), (5, 50.0)] {
        for value in [20_u8, 60, 110] {
            let mean = f64::from(value) / 255.0;
            let sd = (mean * photons).sqrt() / photons;
            let (found_mean, found) = noise(value, CorruptionKind::ShotNoise, severity);
            assert!(is_near(found_mean, mean, 0.001), "{severity}, {value}: {found_mean}");
            assert!(is_near(found, sd, 0.0012), "{severity}, {value}: {found} for {sd}");
        }
        assert_eq!(noise(0, CorruptionKind::ShotNoise, severity), (0.0, 0.0), "black is dark");
    }
    // About half of the white values get as many photons as white has, or more, and stay white.
    let white = one(1, (100, 100), &vec![255; 10_000], CorruptionKind::ShotNoise, 1);
    let kept = white.iter().filter(|value| **value == 255).count();
    assert!((4_700..5_500).contains(&kept), "{kept} of 10000");
}

#[test]
fn the_chances_of_photons_are_those_of_poisson() {
    let photons = Photons::new(50);
    // Of mean 10: e^-10 (1 + 10 + 50) for at most 2, and 0.583039750192985 for at most 10.
    let at_most = &photons.at_most[51];
    assert!(is_near(at_most[2], 61.0 * (-10.0_f64).exp(), 1e-15));
    assert!(is_near(at_most[10], 0.583_039_750_192_985, 1e-12));
    assert_eq!(at_most.last(), Some(&1.0), "no number leads beyond the last");
    assert!(photons.at_most.iter().all(|chances| chances.is_sorted()));
    assert!(photons.at_most[255][49] < 0.6, "white has as many photons as there can be, or more");
}

#[test]
fn a_blur_is_the_convolution_with_a_gaussian_in_two_dimensions() {
    let (height, width, channels) = (7, 9, 3);
    let count = height * width * channels;
    let pixels: Vec<u8> = (0..count).map(|at| u8::try_from(at * 89 % 256).unwrap()).collect();
    for (severity, sd, radius) in [(1, 0.4_f64, 2_i32), (3, 0.7, 3), (5, 1.0, 4)] {
        let found = one(channels, (height, width), &pixels, CorruptionKind::Blur, severity);
        for (at, value) in found.iter().enumerate() {
            let (row, column) = (at / channels / width, at / channels % width);
            let (mut sum, mut total) = (0.0, 0.0);
            for down in -radius..=radius {
                for right in -radius..=radius {
                    let weight = (-f64::from(down * down + right * right) / (2.0 * sd * sd)).exp();
                    let clamped = |place: usize, by: i32, end: usize| {
                        place.saturating_add_signed(by as isize).min(end - 1)
                    };
                    let (y, x) = (clamped(row, down, height), clamped(column, right, width));
                    let from = (y * width + x) * channels + at % channels;
                    sum += weight * f64::from(pixels[from]);
                    total += weight;
                }
            }
            assert!(is_near(f64::from(*value), sum / total, 0.501), "{severity}: value {at}");
        }
    }
}

#[test]
fn contrast_moves_values_towards_the_mean_of_their_channel() {
    let gray = [0, 100, 200, 100];
    assert_eq!(one(1, (2, 2), &gray, CorruptionKind::Contrast, 2), [50, 100, 150, 100]);
    assert_eq!(one(1, (2, 2), &gray, CorruptionKind::Contrast, 5), [85, 100, 115, 100]);
    let colour = [0, 10, 255, 200, 30, 255];
    let expected = [50, 15, 255, 150, 25, 255];
    assert_eq!(one(3, (1, 2), &colour, CorruptionKind::Contrast, 2), expected);
}

#[test]
fn brightness_keeps_hue_and_saturation() {
    // V is the largest value, and 0.2 of it are 51.
    let colours = [100, 40, 0, 0, 0, 0, 250, 100, 0];
    let expected = [151, 60, 0, 51, 51, 51, 255, 102, 0];
    assert_eq!(one(3, (1, 3), &colours, CorruptionKind::Brightness, 4), expected);
    assert_eq!(one(1, (1, 3), &[0, 10, 230], CorruptionKind::Brightness, 4), [51, 61, 255]);
}

#[test]
fn inverting_twice_changes_nothing_and_black_becomes_white() {
    let pixels: Vec<u8> = (0..=255).collect();
    let inverted = one(1, (16, 16), &pixels, CorruptionKind::Invert, 1);
    assert_eq!(inverted[..2], [255, 254]);
    assert_eq!(one(1, (16, 16), &inverted, CorruptionKind::Invert, 1), pixels);
}

#[test]
fn sizes_labels_and_normalisation_stay_and_a_flat_image_too() {
    let images = Images::new(3, vec![(1, 1), (2, 3)], vec![77; 3 + 18]);
    let mut before = set(images);
    before.mean = vec![0.5; 3];
    for kind in [CorruptionKind::Blur, CorruptionKind::Contrast] {
        assert_eq!(corrupted(&before, kind, 5, 0), before, "{kind:?}");
    }
    for kind in CorruptionKind::all() {
        let after = corrupted(&before, kind, 1, 0);
        after.check().unwrap();
        assert_eq!(after.splits["test"].images.sizes, before.splits["test"].images.sizes);
        assert_eq!(after.splits["test"].labels, [0, 1]);
        assert_eq!(after.mean, [0.5; 3]);
    }
}

#[test]
fn noise_follows_from_the_seed_and_the_place_at_any_number_of_threads() {
    let many = set(Images::same(1, (4, 4), vec![100; 16 * 1100]));
    for kind in CorruptionKind::all().filter(|kind| kind.is_random()) {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| corrupted(&many, kind, 3, 7))
        };
        let noisy = with(1);
        assert_eq!(noisy, with(3));
        assert_ne!(noisy, corrupted(&many, kind, 3, 8));
        let pixels = &noisy.splits["test"].images.pixels;
        assert_ne!(pixels[..16], pixels[16..32], "another image has other noise");
        let few = set(Images::same(1, (4, 4), vec![100; 16]));
        let alone = corrupted(&few, kind, 3, 7);
        assert_eq!(alone.splits["test"].images.pixels, pixels[..16]);
    }
}
