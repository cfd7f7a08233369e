//! A window at a random place of an image within a border of zeros (torchvision's `RandomCrop`): of the image's own size, which
//! shifts it, or of a size that is given.

use super::{Pixels, Steps, Transform, TransformKind};
use crate::config::{Keys, Noted, pixels};
use crate::nn::ops::{PixelChanges, Shift};
use crate::random::Stream;

pub(super) const KIND: TransformKind = TransformKind {
    name: "random_crop",
    about: "a window at a random place: of the image's size, shifted by up to `padding` pixels each way, or of `size`",
    read,
};

#[derive(Debug)]
struct RandomCrop {
    size: Option<(usize, usize)>,
    padding: usize,
}

fn read(keys: &mut Keys) -> Result<Steps, Noted> {
    keys.about(&[
        (
            "size",
            "height and width of what is cut out, which images have from then on; one number for both, the image's own when left out",
        ),
        (
            "padding",
            "border of zeros that the window is moved within, in pixels, 1 at least without `size`; with `size`, 0 when left out",
        ),
    ]);
    let size = pixels::height_and_width(keys, "size");
    let is_cut = matches!(size, Ok(Some(_)));
    // A window of the image's size would not move without a border.
    let least = if is_cut || keys.is_describing() { 0 } else { 1 };
    let usual = if is_cut { 0_usize } else { 4 };
    let padding = keys.count("padding", least..=4096).or(usual);
    Ok(vec![Box::new(RandomCrop { size: size?, padding: padding? })])
}

impl RandomCrop {
    /// The size of the window in images of `size`.
    fn window(&self, size: (usize, usize)) -> (usize, usize) {
        self.size.unwrap_or(size)
    }
}

impl Transform for RandomCrop {
    fn draw(&self, size: (usize, usize), streams: &mut [Stream]) -> PixelChanges {
        let window = self.window(size);
        let places = |whole: usize, part: usize| whole + 2 * self.padding - part + 1;
        let (down, right) = (places(size.0, window.0), places(size.1, window.1));
        let draw = |stream: &mut Stream| {
            let mut by = |places| stream.below(places).cast_signed() - self.padding.cast_signed();
            Shift { down: by(down), right: by(right) }
        };
        PixelChanges::Window { each: streams.iter_mut().map(draw).collect(), size: window }
    }

    fn size(&self) -> Option<(usize, usize)> {
        self.size
    }

    fn misfit(&self, size: (usize, usize)) -> Option<String> {
        let (window, border) = (self.window(size), 2 * self.padding);
        (size.0 + border < window.0 || size.1 + border < window.1).then(|| {
            format!(
                "`random_crop` cuts out {}x{} pixels, and the images have {}x{} there with a border of {}",
                window.0, window.1, size.0, size.1, self.padding
            )
        })
    }
}

/// What a window of `size` sees, zeros beyond the image.
pub(super) fn window(image: &mut Pixels, Shift { down, right }: Shift, size: (usize, usize)) {
    let channels = image.channels;
    let old = std::mem::replace(&mut image.values, vec![0; size.0 * size.1 * channels]);
    let (height, width) = (image.height, image.width);
    (image.height, image.width) = size;
    let by = right.unsigned_abs();
    let (first, from) = if right < 0 { (by.min(size.1), 0) } else { (0, by.min(width)) };
    let len = (size.1 - first).min(width - from) * channels;
    for row in 0..size.0 {
        let source = row.checked_add_signed(down).filter(|row| *row < height);
        let Some(source) = source else { continue };
        let (to, from) = ((row * size.1 + first) * channels, (source * width + from) * channels);
        image.values[to..to + len].copy_from_slice(&old[from..from + len]);
    }
}
