//! Stripes that lie or stand: a data set that is computed, for tests and first steps.

use indexmap::IndexMap;

use super::{CatalogEntry, Delivery};
use crate::data::dataset::{Dataset, Images, Split};
use crate::data::error::DataError;
use crate::random;

pub(super) const ENTRY: CatalogEntry = CatalogEntry {
    name: "stripes",
    title: "Stripes of random brightness that lie or stand",
    licence: "public domain",
    citation: "none",
    home: "https://example.org/stripes",
    classes: &["lying", "standing"],
    channels: 1,
    size: Some((SIDE, SIDE)),
    splits: &[("train", Some(200)), ("test", Some(100))],
    content: Delivery::BuiltIn(make),
};

const SIDE: usize = 8;

fn make() -> Result<Dataset, DataError> {
    let mut splits = IndexMap::new();
    for (name, count) in [("train", 200), ("test", 100)] {
        let labels: Vec<u32> = (0..count).map(|at| at % 2).collect();
        let pixels: Vec<u8> =
            labels.iter().zip(0..).flat_map(|(l, at)| stripes(name, *l, at)).collect();
        splits.insert(name.to_owned(), Split { images: images(pixels), labels });
    }
    Ok(Dataset::plain(ENTRY.class_names(), ENTRY.channels, splits, vec![ENTRY.provenance()]))
}

fn images(pixels: Vec<u8>) -> Images {
    Images::same(1, (SIDE, SIDE), pixels)
}

/// The pixels of image `at` of a split. The stream depends on nothing but these, so the data set is the
/// same whoever computes it, in any order.
fn stripes(split: &str, label: u32, at: u64) -> Vec<u8> {
    let mut stream = random::stream(0, split, 0, at);
    let bright: Vec<u8> = (0..SIDE).map(|_| stream.bits().to_le_bytes()[0]).collect();
    let pixel = |place: usize| bright[if label == 0 { place / SIDE } else { place % SIDE }];
    (0..SIDE * SIDE).map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_set_is_what_its_entry_says() {
        let set = make().unwrap();
        set.check().unwrap();
        ENTRY.check(&set).unwrap();
        let first = set.splits["train"].images.iter().next().unwrap();
        assert!(first.pixels[..SIDE].iter().all(|pixel| *pixel == first.pixels[0]), "it lies");
    }
}
