//! Image files with a text file that gives the label of each, as MNIST-M has them.
//!
//! Each line is `name.png label` or `name.png,label`; a first line such as `path,label` is a header. Names are relative to the list's folder, or
//! to the folder beside it that is called like the list (`mnist_m_train_labels.txt` goes with
//! `mnist_m_train/`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;

use super::decode::{decode, is_image};
use super::{Broken, Found, numbered, split_word, visible_files};
use crate::data::Watch;
use crate::data::error::Error;

const EXTENSIONS: &[&str] = &["txt", "csv", "lst"];
/// Numbers of classes beyond this are taken for a mistake.
const MOST_CLASSES: u32 = 100_000;

/// A line of a list.
#[derive(Debug, PartialEq)]
struct Line {
    file: PathBuf,
    label: String,
}

/// Reads every list below `path`, or the one list that `path` is.
///
/// # Errors
/// When there is no list, a line is not of the form above, a file is missing or not an image, or
/// the user asked to stop.
pub fn read(path: &Path, broken: &Broken, watch: &Watch) -> Result<Found, Error> {
    let lists = if path.is_file() { vec![path.to_owned()] } else { find_lists(path)? };
    let mut splits: IndexMap<String, Vec<Line>> = IndexMap::new();
    for list in &lists {
        let stem = list.file_stem().unwrap_or_default().to_string_lossy();
        let name = match split_word(&stem) {
            Some(name) => name,
            None if lists.len() == 1 => "train",
            None => {
                return Err(Error::malformed(list, "its name says neither train, valid nor test"));
            }
        };
        if splits.insert(name.to_owned(), read_list(list)?).is_some() {
            return Err(Error::malformed(list, format!("a second list for the split `{name}`")));
        }
    }
    let labels: BTreeSet<&str> =
        splits.values().flatten().map(|line| line.label.as_str()).collect();
    numbered::refuse_in_lists(splits.values().flatten().map(|line| line.label.as_str()), &lists)?;
    let (classes, numbers) = classes(&labels);
    let group = |(name, lines): (&String, &Vec<Line>)| {
        let files = lines.iter().map(|line| line.file.clone()).collect();
        let labels = lines.iter().map(|line| numbers[line.label.as_str()]).collect();
        (name.clone(), files, labels)
    };
    let groups = splits.iter().map(group).collect();
    Ok(Found { classes, splits: decode(groups, broken, watch)? })
}

/// Text files below a folder, but for those that are about the data (README, licence).
fn find_lists(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_list = |path: &PathBuf| {
        let lower = |part: Option<&std::ffi::OsStr>| {
            part.unwrap_or_default().to_string_lossy().to_lowercase()
        };
        let (stem, extension) = (lower(path.file_stem()), lower(path.extension()));
        let about = ["readme", "licen", "copying", "citation"];
        EXTENSIONS.contains(&extension.as_str()) && !about.iter().any(|word| stem.starts_with(word))
    };
    let lists: Vec<PathBuf> = visible_files(folder)?.into_iter().filter(is_list).collect();
    if lists.is_empty() {
        return Err(Error::rejected(format!("no list of images in {}", folder.display())).advise(
            "expected a text file such as train_labels.txt with a line `name.png label` for each \
             image, beside the images or beside a folder `train` that holds them",
        ));
    }
    Ok(lists)
}

fn read_list(list: &Path) -> Result<Vec<Line>, Error> {
    let text = fs::read_to_string(list).map_err(|error| Error::io(list, error))?;
    let folders = image_folders(list);
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || (at == 0 && is_header(line)) {
            continue;
        }
        let broken =
            |reason: &str| Error::malformed(list, format!("line {}: {reason}: `{line}`", at + 1));
        let (name, label) = line
            .rsplit_once([',', ' ', '\t'])
            .map(|(name, label)| (Path::new(name.trim()), label.trim()))
            .filter(|(name, label)| is_image(name) && !label.is_empty())
            .ok_or_else(|| broken("not of the form `name.png label`"))?;
        if !name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(broken("leads out of the folder"));
        }
        let file = folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
            .ok_or_else(|| broken("there is no such file"))?;
        lines.push(Line { file, label: label.to_owned() });
    }
    if lines.is_empty() {
        return Err(Error::malformed(list, "it is empty"));
    }
    Ok(lines)
}

/// Whether a line names the columns.
fn is_header(line: &str) -> bool {
    let mut words = line.split([',', ' ', '\t']).map(|word| word.trim().to_lowercase());
    let is =
        |word: Option<String>, known: &[&str]| word.is_some_and(|it| known.contains(&it.as_str()));
    is(words.next(), &["path", "file", "filename", "file_name", "image", "name", "id"])
        && is(words.next(), &["label", "class", "target", "category"])
        && words.next().is_none()
}

/// Where a list's images may lie: beside it, or in the folder called like it.
fn image_folders(list: &Path) -> Vec<PathBuf> {
    let parent = list.parent().unwrap_or(Path::new(""));
    let stem = list.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut folders = vec![parent.join(&stem)];
    for ending in ["_labels", "-labels", "_label", "_list", "-list"] {
        folders.extend(stem.strip_suffix(ending).map(|stem| parent.join(stem)));
    }
    folders.push(parent.to_owned());
    folders.retain(|folder| folder.is_dir());
    folders
}

/// The classes of these labels, and the number of each: numbers stand for themselves, but for those that
/// count from 1, names are taken in their order.
fn classes<'a>(labels: &BTreeSet<&'a str>) -> (Vec<String>, BTreeMap<&'a str, u32>) {
    let number = |label: &str| label.parse().ok().filter(|number| *number < MOST_CLASSES);
    let numbers: Option<BTreeMap<&str, u32>> =
        labels.iter().map(|label| Some((*label, number(label)?))).collect();
    if let Some(mut numbers) = numbers {
        let smallest = numbers.values().min().copied().unwrap_or_default();
        let largest = numbers.values().max().copied().unwrap_or_default();
        numbers.values_mut().for_each(|number| *number -= numbered::first_class(smallest));
        return (numbered::names(smallest, largest), numbers);
    }
    let names = labels.iter().map(|label| (*label).to_owned()).collect();
    (names, labels.iter().copied().zip(0..).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use image::GrayImage;

    use super::*;
    use crate::data::Dataset;
    use crate::data::readers::Format;
    use crate::progress::Silent;

    /// Makes images of one pixel of the number in their name, and lists with their texts.
    fn found(images: &[&str], lists: &[(&str, &str)]) -> Result<Dataset, Error> {
        let folder = tempfile::tempdir().unwrap();
        for image in images {
            let path = folder.path().join(image);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let pixel = path.file_stem().unwrap().to_string_lossy().parse().unwrap();
            GrayImage::from_raw(1, 1, vec![pixel]).unwrap().save(&path).unwrap();
        }
        for (list, text) in lists {
            let path = folder.path().join(list);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let cancel = AtomicBool::new(false);
        let watch = Watch { progress: &Silent, cancel: &cancel };
        Format::ImageList.read(folder.path(), &Broken::fails(), &watch)
    }

    #[test]
    fn the_layout_of_mnist_m_is_read() {
        let found = found(
            &["m/mnist_m_train/1.png", "m/mnist_m_train/2.png", "m/mnist_m_test/3.png"],
            &[
                ("m/mnist_m_train_labels.txt", "2.png 3\n1.png 0\n\n"),
                ("m/mnist_m_test_labels.txt", "3.png 1\n"),
                ("m/README.txt", "about it"),
            ],
        )
        .unwrap();
        assert_eq!(found.classes, ["0", "1", "2", "3"]);
        assert_eq!(found.splits.keys().collect::<Vec<_>>(), ["train", "test"]);
        assert_eq!(found.splits["train"].images.pixels, [2, 1]);
        assert_eq!(found.splits["train"].labels, [3, 0]);
        assert_eq!(found.splits["test"].labels, [1]);
    }

    #[test]
    fn names_are_classes_too_and_commas_separate() {
        let found =
            found(&["a/1.png", "2.png"], &[("all.csv", "path,label\na/1.png,dog\n2.png,cat\n")]);
        let found = found.unwrap();
        assert_eq!(found.classes, ["cat", "dog"]);
        assert_eq!(found.splits["train"].labels, [1, 0]);
    }

    #[test]
    fn labels_that_count_from_one_are_classes_of_those_names() {
        let lists = [("train.txt", "1.png 1\n2.png 3\n"), ("test.txt", "3.png 2\n")];
        let found = found(&["1.png", "2.png", "3.png"], &lists).unwrap();
        assert_eq!(found.classes, ["1", "2", "3"]);
        assert_eq!(found.splits["train"].labels, [0, 2]);
        assert_eq!(found.splits["test"].labels, [1]);
    }

    #[test]
    fn a_label_far_beyond_the_others_is_named_with_its_line() {
        let mut text: String = (0..20).map(|at| format!("1.png {}\n", at % 10)).collect();
        text += "1.png 1999\n";
        let error = found(&["1.png"], &[("train.txt", &text)]).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("train.txt: line 21: the label 1999 lies far beyond"), "{said}");
        assert!(said.contains("end at 9"), "{said}");
    }

    #[test]
    fn a_wrong_line_is_named_with_its_number() {
        let message =
            |text: &str| found(&["1.png"], &[("train.txt", text)]).unwrap_err().to_string();
        assert!(message("1.png 0\n1.png\n").contains("train.txt: line 2: not of the form"));
        assert!(message("what,ever\n1.png,0\n").contains("line 1: not of the form"));
        assert!(message("1.png,0\npath,label\n").contains("line 2: not of the form"));
        assert!(message("9.png 0\n").contains("line 1: there is no such file: `9.png 0`"));
        assert!(message("../1.png 0\n").contains("leads out of the folder"));
        assert!(message("\n").contains("it is empty"));
    }

    #[test]
    fn a_folder_without_lists_or_with_too_many_is_an_error() {
        assert!(found(&["1.png"], &[]).unwrap_err().to_string().contains("no list of images"));
        let twice = [("train.txt", "1.png 0"), ("train_labels.txt", "1.png 0")];
        let error = found(&["1.png"], &twice).unwrap_err().to_string();
        assert!(error.contains("a second list for the split `train`"), "{error}");
    }
}
