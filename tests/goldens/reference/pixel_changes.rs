//! Changes of images by a device that keeps these, against the same by the host: bytes, which are to be equal.

use std::sync::Arc;

use runner::config::node::Value;
use runner::config::source::Sources;
use runner::config::{Keys, document};
use runner::data::augment::Augment;
use runner::data::{Images, loader};
use runner::nn::ops::{Backend, KeptRows, PixelTable, SetRows};
use runner::random;

use super::Distance;

/// Changes up to their extremes, and in a chain in which each takes what the one before gave.
const CHANGES: [&str; 27] = [
    "['flip']",
    "[{ kind = 'random_crop', padding = 3 }]",
    "[{ kind = 'random_crop', padding = 40 }]",
    "['resized_crop']",
    "[{ kind = 'resized_crop', scale = [0.001, 0.1], ratio = [0.1, 10.0] }]",
    "[{ kind = 'resized_crop', scale = [1.0, 1.0], ratio = [1.0, 1.0] }]",
    "['rotation']",
    "[{ kind = 'rotation', degrees = 180.0 }]",
    "[{ kind = 'color_jitter', brightness = 0.9, contrast = 0.9, saturation = 0.9, hue = 0.5 }]",
    "[{ kind = 'color_jitter', brightness = 0.0, contrast = 0.0, saturation = 0.0, hue = 0.1 }]",
    "[{ kind = 'color_jitter', brightness = 3.0, contrast = 5.0, saturation = 9.0 }]",
    "[{ kind = 'cutout', size = 5 }]",
    "['random_erasing']",
    "[{ kind = 'cutout', size = 64 }]",
    "[{ kind = 'random_crop', size = [5, 3], padding = 9 }]",
    "[{ kind = 'resized_crop', size = 6 }]",
    "[{ kind = 'resized_crop', size = [3, 2], scale = [0.9, 1.0] }]",
    "[{ kind = 'resized_crop', size = [40, 31] }, 'flip', { kind = 'cutout', size = 5 }]",
    "['rotation', { kind = 'random_crop', size = 20, padding = 12 }, 'flip', 'rotation', \
     { kind = 'resized_crop', size = 7 }, { kind = 'color_jitter', hue = 0.2 }]",
    "['random_crop', 'flip', 'rotation', { kind = 'color_jitter', hue = 0.2 }, 'resized_crop', \
     { kind = 'cutout', size = 3 }]",
    "[{ kind = 'randaugment', ops = 1, magnitude = 0 }]",
    "[{ kind = 'randaugment', ops = 1, magnitude = 30, fill = 200 }]",
    "[{ kind = 'randaugment', ops = 2, magnitude = 20 }]",
    "[{ kind = 'randaugment', ops = 3, magnitude = 4, bins = 5, fill = 9 }]",
    "[{ kind = 'randaugment', ops = 16, magnitude = 9, fill = 31 }]",
    "['weak', 'rotation']",
    "[{ kind = 'random_crop', size = 19, padding = 9 }, 'strong', 'resized_crop']",
];

/// How far images `[channels, height, width]` that a device changes are from those of the host, for each of some changes. Nothing
/// where it keeps no images.
pub fn distances(
    ops: &Backend,
    (channels, height, width): (usize, usize, usize),
) -> Option<Vec<Distance>> {
    const COUNT: usize = 9;
    let (mut noise, len) =
        (random::stream(5, "pixels", 0, width as u64), channels * height * width);
    let bytes = (0..COUNT * len).map(|_| noise.bits().to_le_bytes()[3]);
    let images = Images::same(channels, (height, width), bytes.collect::<Vec<u8>>());
    let numbers = std::array::from_fn(|byte| f32::from(u8::try_from(byte).unwrap()));
    let table = Arc::new(PixelTable::new(vec![numbers; channels]));
    let rows = SetRows::Pixels { bytes: &images.pixels, size: (height, width), table };
    let set = ops.keep(blake3::hash(&images.pixels), &rows, COUNT).unwrap()?;
    let places = [8, 2, 2, 0, 5, 7, 1];
    let distance = |line: &&str| {
        let text = format!("augment = {line}");
        let root = document::parse(Sources::default().add("changes", &text), &text).unwrap();
        let Value::Table(table) = &root.value else { unreachable!("a document is a table") };
        let augment = Augment::read(&mut Keys::new(table, root.span)).unwrap().unwrap();
        let streams = (0..places.len() as u64).map(|row| random::stream(1, "augment", 2, row));
        let changes = augment.draw((height, width), &mut streams.collect::<Vec<_>>());
        let changed = loader::changed(&images, &places, &changes);
        // By channels, as a batch has them.
        let len = changed.pixels.len() / places.len();
        let mut expected = Vec::with_capacity(places.len() * len);
        for image in changed.pixels.chunks(len) {
            for channel in 0..channels {
                expected
                    .extend(image.iter().skip(channel).step_by(channels).map(|it| f32::from(*it)));
            }
        }
        let rows = KeptRows { places: places.to_vec(), changes };
        let found = ops.kept(&set, &rows, None).unwrap().host();
        let name = format!("{channels} x {height} x {width}, {line}");
        Distance::of(&name, &found, &expected, (0.0, 0.0))
    };
    Some(CHANGES.iter().map(distance).collect())
}
