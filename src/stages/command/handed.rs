//! What a program is handed: every input as a folder in open formats. Labels that it must not see are not written.
//!
//! A data set is `meta.json` and a folder for each split: `images.npy` (uint8, `[N, H, W, C]`; of images that differ in
//! size, `pixels.npy`, uint8, `[total, C]`, an image after the other, and `sizes.npy`, int64, `[N, 2]`) and `labels.npy`
//! (int64, `[N]`). A data set of features has `features.npy` (float32, `[N, D]`) in place of images, and `meta.json` says
//! `"features": true`. A model is its description and its weights, and predictions are theirs and the scores: what its stage
//! measured stays behind, because a training may have recorded how accurate it is on a target. Anything else, which is what
//! a program wrote or what was made with labels anyway, is the files of its artifact.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::data::npy::{self, NumberKind};
use crate::data::{DataError, Dataset, Sizes, Split, disk, predictions};
use crate::nn::weights;

/// Files of an artifact that are about how it was built, and not what it is.
const OF_THE_STORE: [&str; 3] = ["manifest.json", "outcome.json", "timings.csv"];

/// Writes the artifact at `from`, or one split of it, to the folder `to`, which is made. Labels of images go along only
/// with `labels`.
pub(super) fn write(
    from: &Path,
    split: Option<&str>,
    labels: bool,
    to: &Path,
) -> Result<(), DataError> {
    fs::create_dir_all(to).map_err(|error| DataError::io(to, error))?;
    // By what is there, not by whether it can be read: a data set that is damaged is an error, and never copied with its labels.
    if from.join(disk::DESCRIPTION).exists() {
        return dataset(&Dataset::open(from)?, split, labels, to);
    }
    for files in [weights::FILES, predictions::FILES] {
        if from.join(files[0]).exists() {
            return files.iter().try_for_each(|name| copy_file(&from.join(name), &to.join(name)));
        }
    }
    copy(from, to)
}

fn dataset(set: &Dataset, only: Option<&str>, labels: bool, to: &Path) -> Result<(), DataError> {
    let splits = set.splits.iter().filter(|(name, _)| only.is_none_or(|only| *only == **name));
    let counts: serde_json::Map<String, serde_json::Value> =
        splits.clone().map(|(name, split)| (name.clone(), split.len().into())).collect();
    let mut meta = json!({
        "classes": set.classes,
        "channels": set.channels(),
        "size": set.size().map(|(height, width)| [height, width]),
        "mean": set.mean,
        "std": set.std,
        "splits": counts,
        "labels": labels,
    });
    if set.is_features() {
        meta["features"] = true.into();
    }
    let text = serde_json::to_string_pretty(&meta).expect("a plain value") + "\n";
    let path = to.join("meta.json");
    fs::write(&path, text).map_err(|error| DataError::io(&path, error))?;
    for (name, split) in splits {
        let folder = to.join(name);
        fs::create_dir(&folder).map_err(|error| DataError::io(&folder, error))?;
        images(split, &folder)?;
        if labels {
            let bytes: Vec<u8> =
                split.labels.iter().flat_map(|label| i64::from(*label).to_le_bytes()).collect();
            npy::write(&folder.join("labels.npy"), NumberKind::I64, &[split.len()], &bytes)?;
        }
    }
    Ok(())
}

fn images(split: &Split, folder: &Path) -> Result<(), DataError> {
    let (images, pixels) = (&split.images, &split.images.pixels);
    match &images.sizes {
        Sizes::Features { count } => {
            let shape = [*count, images.channels];
            npy::write(&folder.join("features.npy"), NumberKind::F32, &shape, pixels)
        }
        Sizes::Same { count, height, width } => {
            let shape = [*count, *height, *width, images.channels];
            npy::write(&folder.join("images.npy"), NumberKind::U8, &shape, pixels)
        }
        Sizes::Each(sizes) => {
            let numbers = sizes.iter().flat_map(|(height, width)| [*height, *width]);
            let bytes: Vec<u8> = numbers
                .flat_map(|side| i64::try_from(side).unwrap_or(i64::MAX).to_le_bytes())
                .collect();
            npy::write(&folder.join("sizes.npy"), NumberKind::I64, &[sizes.len(), 2], &bytes)?;
            let shape = [pixels.len() / images.channels, images.channels];
            npy::write(&folder.join("pixels.npy"), NumberKind::U8, &shape, pixels)
        }
    }
}

/// Copies the files of an artifact: a link would let a program write into the store.
fn copy(from: &Path, to: &Path) -> Result<(), DataError> {
    let entries = fs::read_dir(from).map_err(|error| DataError::io(from, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| DataError::io(from, error))?;
        let (path, name) = (entry.path(), entry.file_name());
        if OF_THE_STORE.iter().any(|it| name == *it) {
            continue;
        }
        let to = to.join(&name);
        if path.is_dir() {
            fs::create_dir(&to).map_err(|error| DataError::io(&to, error))?;
            copy(&path, &to)?;
            continue;
        }
        copy_file(&path, &to)?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), DataError> {
    // The store's own files may be read only, and their permissions would be copied with them.
    let mut source = fs::File::open(from).map_err(|error| DataError::io(from, error))?;
    let mut copied = fs::File::create(to).map_err(|error| DataError::io(to, error))?;
    std::io::copy(&mut source, &mut copied).map_err(|error| DataError::io(to, error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use indexmap::IndexMap;

    use super::*;
    use crate::data::Images;
    use crate::data::npy::NpyArray;

    fn saved(images: &Images) -> tempfile::TempDir {
        let count = u32::try_from(images.len()).unwrap();
        let split =
            |images: &Images| Split { images: images.clone(), labels: (0..count).collect() };
        let splits =
            IndexMap::from([("train".into(), split(images)), ("test".into(), split(images))]);
        let classes = (0..count).map(|it| format!("c{it}")).collect();
        let folder = tempfile::tempdir().unwrap();
        Dataset::plain(classes, images.channels, splits, Vec::new()).save(folder.path()).unwrap();
        folder
    }

    fn files(folder: &Path) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            match path.is_dir() {
                true => found.extend(files(&path).into_iter().map(|it| format!("{name}/{it}"))),
                false => assert!(found.insert(name)),
            }
        }
        found
    }

    fn names(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn a_data_set_becomes_arrays_and_its_labels_only_where_they_may_be_seen() {
        let set = saved(&Images::same(3, (1, 2), (0..12).collect::<Vec<u8>>()));
        let to = tempfile::tempdir().unwrap();
        write(set.path(), None, true, to.path()).unwrap();
        let all = [
            "meta.json",
            "test/images.npy",
            "test/labels.npy",
            "train/images.npy",
            "train/labels.npy",
        ];
        assert_eq!(files(to.path()), names(&all));
        let images = NpyArray::open(&to.path().join("train/images.npy")).unwrap();
        assert_eq!(images.shape(), [2, 1, 2, 3]);
        assert_eq!(**images.bytes().unwrap(), (0..12).collect::<Vec<u8>>());
        let labels = NpyArray::open(&to.path().join("test/labels.npy")).unwrap();
        assert_eq!(labels.integers().unwrap(), [0, 1]);
        let to = tempfile::tempdir().unwrap();
        write(set.path(), Some("test"), false, to.path()).unwrap();
        assert_eq!(files(to.path()), names(&["meta.json", "test/images.npy"]));
        let meta = fs::read_to_string(to.path().join("meta.json")).unwrap();
        let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
        assert_eq!((&meta["labels"], &meta["size"]), (&json!(false), &json!([1, 2])));
        assert_eq!(meta["splits"], json!({ "test": 2 }));
    }

    #[test]
    fn images_of_several_sizes_are_pixels_and_sizes() {
        let set = saved(&Images::new(1, vec![(1, 2), (3, 1)], vec![1, 2, 3, 4, 5]));
        let to = tempfile::tempdir().unwrap();
        write(set.path(), None, false, to.path()).unwrap();
        let sizes = NpyArray::open(&to.path().join("train/sizes.npy")).unwrap();
        assert_eq!(sizes.integers().unwrap(), [1, 2, 3, 1]);
        let pixels = NpyArray::open(&to.path().join("train/pixels.npy")).unwrap();
        assert_eq!(pixels.shape(), [5, 1]);
    }

    #[test]
    fn what_stages_measured_and_noted_stays_behind_with_models_and_predictions() {
        for kind in [weights::FILES, predictions::FILES] {
            for labels in [false, true] {
                let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
                let beside = ["metrics.csv", "manifest.json", "outcome.json", "timings.csv"];
                for name in kind.iter().chain(&beside) {
                    fs::write(from.path().join(name), *name).unwrap();
                }
                write(from.path(), None, labels, to.path()).unwrap();
                assert_eq!(files(to.path()), names(&kind));
            }
        }
    }

    #[test]
    fn a_damaged_data_set_is_an_error_and_never_its_files() {
        let set = saved(&Images::same(1, (1, 1), vec![1, 2]));
        fs::write(set.path().join("dataset.json"), "{}").unwrap();
        let to = tempfile::tempdir().unwrap();
        let error = write(set.path(), None, false, to.path()).unwrap_err();
        assert!(error.to_string().contains("not a data set"), "{error}");
        assert_eq!(files(to.path()), names(&[]));
    }

    #[test]
    fn any_other_artifact_is_its_files_which_may_be_written_to() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("metrics.csv"), "split,metric,value\n").unwrap();
        fs::write(from.path().join("manifest.json"), "{}").unwrap();
        fs::create_dir(from.path().join("below")).unwrap();
        fs::write(from.path().join("below/a"), "a").unwrap();
        write(from.path(), None, true, to.path()).unwrap();
        assert_eq!(files(to.path()), names(&["below/a", "metrics.csv"]));
        fs::write(to.path().join("below/a"), "b").unwrap();
        assert_eq!(fs::read_to_string(from.path().join("below/a")).unwrap(), "a");
    }
}
