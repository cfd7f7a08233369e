//! The operations of RandAugment on an image, with every number drawn.

use super::{Pixels, byte, color_jitter};
use crate::nn::ops::{Alteration, Map};

/// Carries an operation out.
pub(super) fn alter(image: &mut Pixels, alteration: Alteration) {
    match alteration {
        Alteration::Identity => {}
        Alteration::Map(map) => show(image, &map),
        Alteration::Recolor(change) => color_jitter::recolor(image, change),
        Alteration::Sharpness(factor) => sharpen(image, factor),
        Alteration::Posterize(kept) => image.values.iter_mut().for_each(|value| *value &= kept),
        Alteration::Solarize(threshold) => {
            let bright = image.values.iter_mut().filter(|value| f32::from(**value) >= threshold);
            bright.for_each(|value| *value = 255 - *value);
        }
        Alteration::AutoContrast => by_tables(image, stretched),
        Alteration::Equalize => by_tables(image, equalized),
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "sides of images")]
fn show(image: &mut Pixels, map: &Map) {
    let Pixels { values, height, width, channels } = image;
    let (height, width, channels) = (*height, *width, *channels);
    let old = std::mem::take(values);
    let mut new = Vec::with_capacity(old.len());
    let nearest = |by: &[f64; 3], (column, row): (usize, usize), side: usize| {
        let place = by[0] * column as f64 + by[1] * row as f64 + by[2];
        usize::try_from((place + 0.5).floor() as isize).ok().filter(|at| *at < side)
    };
    for row in 0..height {
        for column in 0..width {
            let at = (column, row);
            match nearest(&map.row, at, height).zip(nearest(&map.column, at, width)) {
                Some((row, column)) => {
                    let from = (row * width + column) * channels;
                    new.extend_from_slice(&old[from..from + channels]);
                }
                None => new.extend(std::iter::repeat_n(map.fill, channels)),
            }
        }
    }
    *values = new;
}

#[expect(clippy::cast_precision_loss, reason = "a byte")]
fn sharpen(image: &mut Pixels, factor: f32) {
    let (height, width, channels) = (image.height, image.width, image.channels);
    if height < 3 || width < 3 {
        return;
    }
    let old = image.values.clone();
    for row in 1..height - 1 {
        for column in 1..width - 1 {
            for channel in 0..channels {
                let place = |row: usize, column: usize| (row * width + column) * channels + channel;
                let (at, mut sum) = (place(row, column), 0);
                for row in row - 1..=row + 1 {
                    for column in column - 1..=column + 1 {
                        sum += u32::from(old[place(row, column)]);
                    }
                }
                // Thirteenths have no middle between two numbers.
                let blurred = (2 * (sum + 4 * u32::from(old[at])) + 13) / 26;
                image.values[at] = color_jitter::blend(old[at], blurred as f32, factor);
            }
        }
    }
}

/// Puts another value in the place of each, by a table for each channel that `table` makes of how often each value is there.
fn by_tables(image: &mut Pixels, table: impl Fn(&[usize; 256]) -> Option<[u8; 256]>) {
    for channel in 0..image.channels {
        let values = || (channel..image.values.len()).step_by(image.channels);
        let mut counts = [0; 256];
        values().for_each(|at| counts[usize::from(image.values[at])] += 1);
        let Some(table) = table(&counts) else { continue };
        for at in values() {
            image.values[at] = table[usize::from(image.values[at])];
        }
    }
}

/// The smallest value and the largest.
fn ends(counts: &[usize; 256]) -> Option<(usize, usize)> {
    let is_there = |count: &usize| *count > 0;
    counts.iter().position(is_there).zip(counts.iter().rposition(is_there))
}

#[expect(clippy::cast_precision_loss, reason = "bytes")]
fn stretched(counts: &[usize; 256]) -> Option<[u8; 256]> {
    let (first, last) = ends(counts)?;
    // In this order, as a number divided by a tensor is in PyTorch.
    let scale = 1.0 / (last - first) as f32 * 255.0;
    (first < last).then(|| std::array::from_fn(|at| byte(at.saturating_sub(first) as f32 * scale)))
}

fn equalized(counts: &[usize; 256]) -> Option<[u8; 256]> {
    let (_, last) = ends(counts)?;
    let step = counts[..last].iter().sum::<usize>() / 255;
    let mut below = 0;
    (step > 0).then(|| {
        counts.map(|count| {
            let value = (below + step / 2) / step;
            below += count;
            u8::try_from(value).unwrap_or(u8::MAX)
        })
    })
}
