//! Puts splits together: those of a data set that is to be divided in another way.

use super::dataset::{Dataset, Images, Split};
use super::error::DataError;
use crate::bytes::Collector;

/// Makes the splits `pool` one, called `name`, which is one of them and stays in its place: the images of
/// the first split of `pool`, then those of the second, and so on.
///
/// # Errors
/// When a split is not there, or the images are many and cannot be written to a file.
pub fn pool_splits(dataset: &mut Dataset, pool: &[String], name: &str) -> Result<(), DataError> {
    let parts: Vec<&Split> =
        pool.iter().map(|name| dataset.split(name)).collect::<Result<_, _>>()?;
    let total = parts.iter().map(|part| part.images.pixels.len()).sum();
    let mut pixels = Collector::new(total).map_err(DataError::spilled)?;
    let (mut sizes, mut labels): (Vec<(usize, usize)>, Vec<u32>) = Default::default();
    let is_features = parts.iter().all(|part| part.images.is_features());
    for part in parts {
        pixels.push(&part.images.pixels).map_err(DataError::spilled)?;
        sizes.extend((0..part.len()).map(|at| part.images.size_of(at)));
        labels.extend(&part.labels);
    }
    let pixels = pixels.finish().map_err(DataError::spilled)?;
    let images = match is_features {
        true => Images::features_of_bytes(dataset.channels(), pixels),
        false => Images::new(dataset.channels(), sizes, pixels),
    };
    dataset.splits.retain(|split, _| split == name || !pool.contains(split));
    dataset.splits.insert(name.to_owned(), Split { images, labels });
    Ok(())
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;

    fn set() -> Dataset {
        let split = |sizes: &[(usize, usize)], first: u8, labels: &[u32]| {
            let area: usize = sizes.iter().map(|(height, width)| height * width).sum();
            let pixels: Vec<u8> = (first..).take(area).collect();
            Split { images: Images::new(1, sizes.to_vec(), pixels), labels: labels.to_vec() }
        };
        let splits = IndexMap::from([
            ("train".to_owned(), split(&[(1, 2), (1, 2)], 0, &[0, 1])),
            ("valid".to_owned(), split(&[(2, 2)], 10, &[0])),
            ("test".to_owned(), split(&[(1, 2)], 20, &[1])),
        ]);
        Dataset::plain(vec!["a".into(), "b".into()], 1, splits, Vec::new())
    }

    fn pooled(pool: &[&str], name: &str) -> Result<Dataset, DataError> {
        let mut set = set();
        let pool: Vec<String> = pool.iter().map(|name| (*name).to_owned()).collect();
        pool_splits(&mut set, &pool, name)?;
        set.check().unwrap();
        Ok(set)
    }

    #[test]
    fn images_and_labels_follow_each_other_in_the_order_given() {
        let set = pooled(&["test", "train"], "train").unwrap();
        assert_eq!(set.splits.keys().collect::<Vec<_>>(), ["train", "valid"]);
        let train = &set.splits["train"];
        assert_eq!(train.labels, [1, 0, 1]);
        assert_eq!(train.images.pixels, [20, 21, 0, 1, 2, 3]);
        assert_eq!(train.images.size(), Some((1, 2)));
    }

    #[test]
    fn the_split_stays_in_its_place_and_images_keep_their_sizes() {
        let set = pooled(&["train", "valid", "test"], "test").unwrap();
        assert_eq!(set.splits.keys().collect::<Vec<_>>(), ["test"]);
        let sizes: Vec<_> = (0..4).map(|at| set.splits["test"].images.size_of(at)).collect();
        assert_eq!(sizes, [(1, 2), (1, 2), (2, 2), (1, 2)]);
        let later = pooled(&["train", "test"], "test").unwrap();
        assert_eq!(later.splits.keys().collect::<Vec<_>>(), ["valid", "test"]);
    }

    #[test]
    fn features_stay_features() {
        let split = |values: &[f32]| Split { images: Images::features(2, values), labels: vec![0] };
        let splits = [("train", split(&[1.0, 2.0])), ("test", split(&[3.0, 4.0]))]
            .map(|(name, it)| (name.into(), it));
        let mut set = Dataset::plain(vec!["a".into()], 2, IndexMap::from(splits), Vec::new());
        pool_splits(&mut set, &["test".into(), "train".into()], "train").unwrap();
        assert_eq!(set.splits["train"].images, Images::features(2, &[3.0, 4.0, 1.0, 2.0]));
    }

    #[test]
    fn a_split_that_is_not_there_is_an_error() {
        let error = pooled(&["train", "tets"], "train").unwrap_err();
        assert_eq!(error.to_string(), "the data set has no split `tets`");
    }
}
