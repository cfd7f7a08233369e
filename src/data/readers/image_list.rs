//! Image files with a text file that gives the label of each, as MNIST-M has them.
//!
//! A line is the name of an image and its label, see `table` for what may stand between them; a first
//! line may name the columns. Names are relative to the list's folder, or to the folder beside it that
//! is called like the list (`mnist_m_train_labels.txt` goes with `mnist_m_train/`), or to the folder
//! that the user named.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::columns::Columns;
use super::listed::{Home, Listed};
use super::names::split_word;
use super::{Decoding, ImageGroup, Layout, ReadSplits, Undecoded, numbered, table, visible_files};
use crate::data::Watch;
use crate::data::error::DataError;

const EXTENSIONS: &[&str] = &["txt", "csv", "lst", "tsv"];
/// Numbers of classes beyond this are taken for a mistake.
const MOST_CLASSES: u32 = 100_000;

/// Reads every list below `path`, or the one list that `path` is.
///
/// # Errors
/// When there is no list, a line is not of the form above, a file is missing or not an image, or
/// the user asked to stop.
pub fn read(
    path: &Path,
    layout: &Layout,
    decoding: &Decoding,
    watch: &Watch,
) -> Result<ReadSplits, DataError> {
    let found = find(path, layout)?;
    for remark in repeated(&found.groups) {
        watch.progress.note(&format!("{}: {remark}", path.display()));
    }
    found.decode(decoding, watch)
}

/// The images that the lists at `path` name, none of which is looked at.
///
/// # Errors
/// When there is no list, a line is not of the form above, a file is missing, or an image has two labels in a split.
pub(super) fn find(path: &Path, layout: &Layout) -> Result<Undecoded, DataError> {
    let lists = lists(path)?;
    let home = Home::new(path, layout);
    let mut splits: IndexMap<String, Vec<(&PathBuf, Listed)>> = IndexMap::new();
    for list in &lists {
        let name = split(list, &lists, layout)?;
        let lines = read_list(list, &home, layout)?;
        let known = splits.entry(name.to_owned()).or_default();
        if !known.is_empty() && !layout.ignores_splits {
            return Err(DataError::malformed(
                list,
                format!("a second list for the split `{name}`"),
            ));
        }
        known.extend(lines.into_iter().map(|line| (list, line)));
    }
    let label = |(_, line): &(&PathBuf, Listed)| line.label.clone();
    let all: Vec<String> = splits.values().flatten().map(label).collect();
    numbered::refuse_in_lists(all.iter().map(String::as_str), &lists)?;
    let labels: BTreeSet<&str> = all.iter().map(String::as_str).collect();
    let (classes, numbers) = classes(&labels);
    splits.values().try_for_each(|lines| refuse_two_labels(lines, &numbers))?;
    let group = |(name, lines): (&String, &Vec<(&PathBuf, Listed)>)| {
        let files = lines.iter().map(|(_, line)| line.file.clone()).collect();
        let labels = lines.iter().map(|(_, line)| numbers[line.label.as_str()]).collect();
        (name.clone(), files, labels)
    };
    let groups = splits.iter().map(group).collect();
    Ok(Undecoded { classes, groups })
}

/// Fails where an image of a split has labels of two classes.
fn refuse_two_labels(
    lines: &[(&PathBuf, Listed)],
    numbers: &BTreeMap<&str, u32>,
) -> Result<(), DataError> {
    let mut known: HashMap<&Path, (&PathBuf, &Listed)> = HashMap::new();
    for (list, line) in lines {
        let (other_list, other) = *known.entry(&line.file).or_insert((*list, line));
        if numbers[line.label.as_str()] == numbers[other.label.as_str()] {
            continue;
        }
        let place = match other_list == *list {
            true => format!("line {}", other.line),
            false => format!("line {} of {}", other.line, other_list.display()),
        };
        let (file, label) = (line.file.display(), &line.label);
        return Err(DataError::rejected(format!(
            "{}: line {}: {file} has the label `{label}`, and `{}` in {place}",
            list.display(),
            line.line,
            other.label
        ))
        .advise("an image has one label in a split: leave one of the lines out"));
    }
    Ok(())
}

/// What to say of images that are listed more than once, in a split or in two of them.
fn repeated(groups: &[ImageGroup]) -> Vec<String> {
    let mut remarks = Vec::new();
    let images = |count: usize| if count == 1 { "image is" } else { "images are" };
    let sets: Vec<HashSet<&PathBuf>> =
        groups.iter().map(|(_, files, _)| files.iter().collect()).collect();
    for (at, (name, files, _)) in groups.iter().enumerate() {
        let mut seen = HashSet::new();
        let again: Vec<&PathBuf> = files.iter().filter(|file| !seen.insert(*file)).collect();
        if let Some(first) = again.first() {
            let count = again.iter().collect::<HashSet<_>>().len();
            let (are, first) = (images(count), first.display());
            remarks.push(format!("{count} {are} listed more than once in `{name}`, as {first} is"));
        }
        for (other, (other_name, files, _)) in groups.iter().enumerate().skip(at + 1) {
            let mut both = files.iter().filter(|file| sets[at].contains(file));
            if let Some(first) = both.next() {
                let count = sets[at].intersection(&sets[other]).count();
                let (are, first) = (images(count), first.display());
                remarks.push(format!(
                    "{count} {are} in `{name}` and in `{other_name}`, as {first} is"
                ));
            }
        }
    }
    remarks
}

/// The split that a list is for: what its name says, or `train` where it is the only one.
fn split(list: &Path, lists: &[PathBuf], layout: &Layout) -> Result<&'static str, DataError> {
    let stem = list.file_stem().unwrap_or_default().to_string_lossy();
    match split_word(&stem) {
        _ if layout.ignores_splits => Ok("train"),
        Some(name) => Ok(name),
        None if lists.len() == 1 => Ok("train"),
        None => {
            let reason = "its name says neither train, valid nor test";
            let error = DataError::rejected(format!("{}: {reason}", list.display()))
                .advise("name one list as the source, `source = \"file:FOLDER/LIST\"`");
            // Never one's own test images among those for training.
            let is_held_out = |list: &PathBuf| {
                let stem = list.file_stem().unwrap_or_default().to_string_lossy();
                split_word(&stem).is_some_and(|name| name != "train")
            };
            Err(match lists.iter().any(is_held_out) {
                true => error.advise("or take it out of the folder if it is no list of images"),
                false => error.advise("or put all lists into `train`: `splits = \"none\"`"),
            })
        }
    }
}

/// The lists at `path`.
fn lists(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if path.is_file() { Ok(vec![path.to_owned()]) } else { find_lists(path) }
}

/// Every file that [`read`] reads: the lists, and the images that they name so far as they are there.
/// A list that cannot be read counts with its bytes alone: [`read`] will say what is wrong.
///
/// # Errors
/// When a folder cannot be read.
pub(super) fn files(path: &Path, layout: &Layout) -> Result<Vec<PathBuf>, DataError> {
    let lists = match lists(path) {
        Ok(lists) => lists,
        Err(DataError::Rejected { .. }) => Vec::new(),
        Err(other) => return Err(other),
    };
    let home = Home::new(path, layout);
    let mut files = lists.clone();
    for list in &lists {
        let lines = read_list(list, &home, layout).unwrap_or_default();
        files.extend(lines.into_iter().map(|line| line.file));
    }
    Ok(files)
}

/// Text files below a folder, but for those that are about the data (README, licence).
fn find_lists(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
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
        return Err(DataError::rejected(format!("no list of images in {}", folder.display())).advise(
            "expected a text file such as train_labels.txt with a line `name.png label` for each \
             image, beside the images or beside a folder `train` that holds them",
        ));
    }
    Ok(lists)
}

fn read_list(list: &Path, home: &Home, layout: &Layout) -> Result<Vec<Listed>, DataError> {
    let bytes = fs::read(list).map_err(|error| DataError::io(list, error))?;
    let fault = |fault: table::Fault| {
        DataError::malformed(list, format!("line {}: {}", fault.line, fault.reason))
    };
    let rows = table::read(&bytes).map_err(fault)?;
    let Some(columns) = Columns::of(&rows, layout.columns.as_ref(), list)? else {
        return Err(DataError::malformed(list, "it is empty"));
    };
    let folders = home.folders(list);
    let lines: Vec<Listed> = rows[columns.first_row()..]
        .iter()
        .map(|row| folders.find(columns.image_and_label(row, list)?, row.line))
        .collect::<Result<_, _>>()?;
    if lines.is_empty() {
        return Err(DataError::malformed(list, "it is empty"));
    }
    Ok(lines)
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
    use crate::data::readers::DataFormat;
    use crate::progress::Silent;

    /// Makes images of one pixel of the number in their name, and lists with their texts.
    fn found(images: &[&str], lists: &[(&str, &str)]) -> Result<Dataset, DataError> {
        let folder = folder(images);
        for (list, text) in lists {
            put(folder.path(), list, text);
        }
        read_as(folder.path(), &Layout::default())
    }

    fn read_as(path: &Path, layout: &Layout) -> Result<Dataset, DataError> {
        let cancel = AtomicBool::new(false);
        let watch = Watch { progress: &Silent, cancel: &cancel };
        DataFormat::ImageList.read_as(path, layout, &Decoding::strict(), &watch)
    }

    /// A folder with images of one pixel of the number in their name.
    fn folder(images: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for image in images {
            let path = folder.path().join(image);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let pixel = path.file_stem().unwrap().to_string_lossy().parse().unwrap();
            GrayImage::from_raw(1, 1, vec![pixel]).unwrap().save(&path).unwrap();
        }
        folder
    }

    fn put(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
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
    fn an_image_with_two_labels_in_a_split_is_an_error_with_both_lines() {
        let text = "1.png cat\n2.png dog\n./1.png dog\n";
        let error = found(&["1.png", "2.png"], &[("train.txt", text)]).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("train.txt: line 3: ") && said.contains("1.png has"), "{said}");
        assert!(said.ends_with("the label `dog`, and `cat` in line 1"), "{said}");
        // In two lists of one split.
        let folder = folder(&["1.png", "2.png"]);
        put(folder.path(), "a.txt", "1.png cat\n");
        put(folder.path(), "b.txt", "2.png dog\n1.png dog\n");
        let none = Layout { ignores_splits: true, ..Layout::default() };
        let said = read_as(folder.path(), &none).unwrap_err().to_string();
        assert!(said.contains("b.txt: line 2: ") && said.contains("`cat` in line 1 of "), "{said}");
        // The same class, written in two ways.
        let same = found(&["1.png"], &[("train.txt", "1.png 1\n1.png 01\n")]);
        assert_eq!(same.unwrap().splits["train"].len(), 2);
    }

    #[test]
    fn images_that_are_listed_more_than_once_are_told_of() {
        let file = |name: &str| PathBuf::from(name);
        let group = |name: &str, files: &[&str]| {
            (name.to_owned(), files.iter().map(|it| file(it)).collect(), vec![0; files.len()])
        };
        let groups = [
            group("train", &["a.png", "b.png", "a.png", "a.png", "c.png"]),
            group("test", &["c.png", "b.png", "d.png"]),
        ];
        assert_eq!(
            repeated(&groups),
            [
                "1 image is listed more than once in `train`, as a.png is",
                "2 images are in `train` and in `test`, as c.png is"
            ]
        );
        assert!(repeated(&groups[1..]).is_empty());
    }

    #[test]
    fn a_wrong_line_is_named_with_its_number() {
        let message =
            |text: &str| found(&["1.png"], &[("train.txt", text)]).unwrap_err().to_string();
        assert!(message("1.png 0\n1.png\n").contains("train.txt: line 2: not of the form"));
        assert!(message("what,ever\n1.png,0\n").contains("line 1: not of the form"));
        assert!(message("1.png,0\n1.png,\n").contains("line 2: not of the form"));
        assert!(message("1.png,0\npath,label\n").contains("line 2: not of the form"));
        assert!(message("9.png 0\n").contains("line 1: there is no such file: `9.png`, label `0`"));
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

    #[test]
    fn a_single_list_is_a_split_only_by_a_word_of_its_name() {
        for (name, split) in [
            ("latest.csv", "train"),
            ("values.csv", "train"),
            ("amazon.txt", "train"),
            ("test.csv", "test"),
            ("my_test_labels.txt", "test"),
            ("valLabels.csv", "valid"),
        ] {
            let folder = folder(&["1.png"]);
            let list = put(folder.path(), name, "1.png 0\n");
            let set = read_as(&list, &Layout::default()).unwrap();
            assert_eq!(set.splits.keys().collect::<Vec<_>>(), [split], "{name}");
            let none = Layout { ignores_splits: true, ..Layout::default() };
            assert_eq!(read_as(&list, &none).unwrap().splits.keys().collect::<Vec<_>>(), ["train"]);
        }
    }

    #[test]
    fn lists_are_one_split_when_the_user_says_that_names_do_not_count() {
        let folder = folder(&["1.png", "2.png"]);
        put(folder.path(), "amazon.txt", "1.png 0\n");
        put(folder.path(), "train.txt", "2.png 1\n");
        let error = read_as(folder.path(), &Layout::default()).unwrap_err();
        assert!(error.to_string().contains("neither train, valid nor test"), "{error}");
        let none = Layout { ignores_splits: true, ..Layout::default() };
        assert_eq!(read_as(folder.path(), &none).unwrap().splits["train"].labels, [0, 1]);
        assert!(error.help().iter().any(|line| line.contains("splits = \"none\"")), "{error:?}");
        // But nobody is led to train on what is held out.
        put(folder.path(), "test.txt", "2.png 1\n");
        let error = read_as(folder.path(), &Layout::default()).unwrap_err();
        assert!(!error.help().iter().any(|line| line.contains("splits = \"none\"")), "{error:?}");
    }

    #[test]
    fn names_begin_where_the_user_says_and_the_advice_says_where_that_is() {
        let folder = folder(&["data/amazon/1.png", "data/amazon/2.png"]);
        let list = put(folder.path(), "data/lists/all.txt", "amazon/1.png 0\namazon/2.png 1\n");
        let error = read_as(&list, &Layout::default()).unwrap_err();
        assert!(error.to_string().contains("line 1: there is no such file"), "{error}");
        let root = folder.path().join("data");
        assert!(error.help()[0].contains(&format!("`root = \"{}\"`", root.display())), "{error:?}");
        let layout = Layout { names: Some(root), ..Layout::default() };
        assert_eq!(read_as(&list, &layout).unwrap().splits["train"].images.pixels, [1, 2]);
        // The source as a folder: what is advised is a folder in it.
        let error = read_as(folder.path(), &Layout::default()).unwrap_err();
        assert!(error.help()[0].contains("`root = \"data\"`"), "{error:?}");
        assert_eq!(
            read_as(&folder.path().join("data"), &Layout::default()).unwrap().classes.len(),
            2
        );
    }

    #[test]
    fn absolute_names_and_those_that_lead_up_need_a_root_that_holds_them() {
        let folder = folder(&["images/1.png", "images/2.png"]);
        let absolute = folder.path().join("images/1.png");
        let text = format!("{} 0\n../images/2.png 1\n", absolute.display());
        let list = put(folder.path(), "lists/all.txt", text);
        let error = read_as(&list, &Layout::default()).unwrap_err();
        assert!(error.to_string().contains("line 1: leads out of the folder"), "{error}");
        assert!(error.help()[0].contains("`root = \"/\"`"), "{error:?}");
        for root in [Path::new("/"), folder.path()] {
            let layout = Layout { names: Some(root.to_owned()), ..Layout::default() };
            assert_eq!(read_as(&list, &layout).unwrap().splits["train"].images.pixels, [1, 2]);
        }
        let elsewhere = tempfile::tempdir().unwrap();
        let layout = Layout { names: Some(elsewhere.path().to_owned()), ..Layout::default() };
        assert!(read_as(&list, &layout).unwrap_err().to_string().contains("leads out"));
        // In an archive no root makes them right.
        fs::write(&list, format!("{} 0\n", absolute.display())).unwrap();
        let layout = Layout { is_archive: true, ..Layout::default() };
        let error = read_as(&folder.path().join("lists"), &layout).unwrap_err();
        assert!(!error.help().iter().any(|line| line.contains("root = \"/\"")), "{error:?}");
    }

    #[test]
    fn names_may_lack_their_ending_where_a_column_is_of_images() {
        let folder = folder(&["train/1.png", "train/2.png"]);
        let list = put(folder.path(), "train.csv", "id,breed\n1,Great Dane\n2,Pug\n");
        let set = read_as(&list, &Layout::default()).unwrap();
        assert_eq!(
            (set.classes, set.splits["train"].images.pixels.to_vec()),
            (vec!["Great Dane".to_owned(), "Pug".to_owned()], vec![1, 2])
        );
        fs::copy(folder.path().join("train/1.png"), folder.path().join("train/1.jpg")).unwrap();
        let error = read_as(&list, &Layout::default()).unwrap_err().to_string();
        assert!(error.contains("line 2: it may be") && error.contains("1.jpg"), "{error}");
        fs::write(&list, "id,breed\n3,Pug\n").unwrap();
        let error = read_as(&list, &Layout::default()).unwrap_err().to_string();
        assert!(error.contains("line 2: there is no such file: `3`, label `Pug`"), "{error}");
    }

    #[test]
    fn names_and_labels_that_are_not_utf_8_are_taken_byte_by_byte() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let folder = folder(&["1.png", "2.png"]);
        for (from, to) in [("1.png", &b"\xe4.png"[..]), ("2.png", b"\xf6.png")] {
            let to = folder.path().join(OsStr::from_bytes(to));
            fs::rename(folder.path().join(from), to).unwrap();
        }
        let list = put(folder.path(), "l.csv", b"\xe4.png,K\xe4fer\n\xf6.png,K\xf6fer\n");
        let set = read_as(&list, &Layout::default()).unwrap();
        assert_eq!(set.classes, ["K\\xE4fer", "K\\xF6fer"]);
        assert_eq!(set.splits["train"].images.pixels, [1, 2]);
    }

    #[test]
    fn every_image_that_a_list_names_is_known_beforehand() {
        let folder = folder(&["a/1.png", "2.png", "3.png"]);
        let list = put(folder.path(), "l.csv", "path,label\na/1.png,x\n2.png,y\n");
        let here = |name: &str| folder.path().join(name);
        let files = files(&list, &Layout::default()).unwrap();
        assert_eq!(files, [list.clone(), here("a/1.png"), here("2.png")]);
        let files = super::files(folder.path(), &Layout::default()).unwrap();
        assert_eq!(files, [list.clone(), here("a/1.png"), here("2.png")]);
        // What cannot be read is said when it is read.
        fs::write(&list, "gone.png 0\n").unwrap();
        assert_eq!(super::files(&list, &Layout::default()).unwrap(), [list]);
    }
}
