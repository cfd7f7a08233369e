//! Safetensors files with the tensors `images` and `labels`, and data sets of our own. Files of features are read as those
//! of other formats are.

use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use safetensors::SafeTensors;

use super::{FeatureFile, FeatureNames, ReadSplits, features, split_word, visible_files};
use crate::bytes::Bytes;
use crate::data::dataset::Dataset;
use crate::data::disk;
use crate::data::error::DataError;
use crate::progress::Watch;

/// Reads a folder with `dataset.json`, a folder of `<split>.safetensors`, or one such file.
///
/// # Errors
/// When a file does not hold what it should.
pub fn read(path: &Path, names: &FeatureNames, watch: &Watch) -> Result<Dataset, DataError> {
    let of = |files: &[PathBuf]| match is_of_features(files, names)? {
        true => Ok(features::read(path, FeatureFile::Safetensors, names, watch)?.into_dataset()),
        false => read_files(files),
    };
    if path.is_file() {
        return of(&[path.to_owned()]);
    }
    let files = visible_files(path)?;
    let mut descriptions = files.iter().filter(|file| file.ends_with(disk::DESCRIPTION));
    if let Some(description) = descriptions.next() {
        if let Some(other) = descriptions.next() {
            let (one, other) = (description.display(), other.display());
            return Err(DataError::rejected(format!("{one} and {other} are two data sets"))
                .advise("`root = \"FOLDER\"` points to the folder of one of them"));
        }
        return Dataset::open(description.parent().unwrap_or(path));
    }
    let tensors: Vec<_> = files.into_iter().filter(|file| is_tensors(file)).collect();
    if tensors.is_empty() {
        let message = format!("no .safetensors files in {}", path.display());
        return Err(DataError::rejected(message).advise(
            "expected train.safetensors, valid.safetensors or test.safetensors, each with the \
             tensors `images` (u8, [N, H, W, C]) and `labels` (i64, [N])",
        ));
    }
    of(&tensors)
}

/// Whether files hold features: the user says which tensors, or none of `images` and `pixels` is there and `features` is.
fn is_of_features(files: &[PathBuf], names: &FeatureNames) -> Result<bool, DataError> {
    if *names != FeatureNames::default() {
        return Ok(true);
    }
    for file in files {
        let opened = fs::File::open(file).map_err(|error| DataError::io(file, error))?;
        let bytes = Bytes::map(&opened).map_err(|error| DataError::io(file, error))?;
        // A file that is none is an error of whoever reads it.
        let Ok(tensors) = SafeTensors::deserialize(&bytes) else { return Ok(false) };
        let is_there = |name: &str| tensors.names().contains(&name);
        if !is_there("features") || is_there("images") || is_there("pixels") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a file is one that [`read`] reads, by its name.
pub(super) fn is_part(file: &Path) -> bool {
    file.ends_with(disk::DESCRIPTION) || is_tensors(file)
}

fn is_tensors(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "safetensors")
}

fn read_files(files: &[PathBuf]) -> Result<Dataset, DataError> {
    let mut splits = IndexMap::new();
    for file in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let name = match split_word(&stem) {
            Some(name) => name,
            None if files.len() == 1 => "train",
            None => {
                return Err(DataError::malformed(
                    file,
                    "its name says neither train, valid nor test",
                ));
            }
        };
        if splits.insert(name.to_owned(), disk::read_split(file)?).is_some() {
            return Err(DataError::malformed(
                file,
                format!("a second file for the split `{name}`"),
            ));
        }
    }
    Ok(ReadSplits::with_numbered_classes(splits, &files[0])?.into_dataset())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Images, Split};

    fn read(path: &Path) -> Result<Dataset, DataError> {
        let cancel = std::sync::atomic::AtomicBool::new(false);
        let watch = Watch { progress: &crate::progress::Silent, cancel: &cancel };
        super::read(path, &FeatureNames::default(), &watch)
    }

    fn dataset() -> Dataset {
        let split = Split { images: Images::same(3, (1, 1), vec![1, 2, 3]), labels: vec![1] };
        let splits = IndexMap::from([("train".into(), split)]);
        Dataset::plain(vec!["cat".into(), "dog".into()], 3, splits, Vec::new())
    }

    #[test]
    fn a_data_set_of_ours_comes_back_with_its_classes() {
        let folder = tempfile::tempdir().unwrap();
        dataset().save(folder.path()).unwrap();
        assert_eq!(read(folder.path()).unwrap(), dataset());
    }

    #[test]
    fn one_file_is_the_train_split_with_numbered_classes() {
        let folder = tempfile::tempdir().unwrap();
        dataset().save(folder.path()).unwrap();
        let file = folder.path().join("cats.safetensors");
        std::fs::rename(folder.path().join("train.safetensors"), &file).unwrap();
        let found = read(&file).unwrap();
        // Its only label is 1: it counts from there.
        assert_eq!(found.classes, ["1"]);
        assert_eq!(found.splits["train"].images, dataset().splits["train"].images);
        assert_eq!(found.splits["train"].labels, [0]);
    }

    #[test]
    fn a_folder_without_tensors_says_what_was_expected() {
        let error = read(tempfile::tempdir().unwrap().path()).unwrap_err();
        assert!(error.to_string().contains("no .safetensors files"));
        assert!(error.help()[0].contains("labels"));
    }
}
