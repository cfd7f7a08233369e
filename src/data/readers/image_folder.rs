//! Reads a folder of images for each class, below a folder for each split or without splits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::decode::{formats, is_image};
use super::names::{Says, says, text_of};
use super::wrapping::{FolderContents, is_deep, name_says, unwrap_splits, unwrapped};
use super::{Decoding, Layout, ReadSplits, Undecoded, visible_entries, visible_files};
use crate::data::Watch;
use crate::data::error::DataError;

/// Image files of a split by class.
type FilesByClass = BTreeMap<String, Vec<PathBuf>>;

/// What is said about a folder besides its images.
#[derive(Default)]
pub(super) struct FolderRemarks {
    /// Files and folders that are of no class.
    ignored: Vec<PathBuf>,
    /// Classes whose images lie in folders of their own, and the first such folder.
    nested: Vec<(String, PathBuf)>,
    /// Folders called like splits that are classes.
    split_names: Vec<String>,
    /// Classes that hold several folders, and the names of these.
    inside: Vec<(PathBuf, BTreeSet<String>)>,
}

/// Reads `<split>/<class>/*.png` (train, valid, test; any of them), or `<class>/*.png` as the one
/// split `train`. Classes and files are taken in the order of their names.
///
/// # Errors
/// When the folder is laid out otherwise, a file is not an image, or the user asked to stop.
pub fn read(
    root: &Path,
    layout: &Layout,
    decoding: &Decoding,
    watch: &Watch,
) -> Result<ReadSplits, DataError> {
    let (found, remarks) = find(root, layout)?;
    remarks.say(watch);
    found.decode(decoding, watch)
}

/// The images below `root`, none of which is looked at, and what there is to say about the rest.
///
/// # Errors
/// When the folder is laid out otherwise.
pub(super) fn find(root: &Path, layout: &Layout) -> Result<(Undecoded, FolderRemarks), DataError> {
    let mut remarks = FolderRemarks::default();
    let top = unwrapped(root, layout, &mut remarks.ignored)?;
    let mut folders = split_folders(&top, layout, &mut remarks)?;
    if folders.iter().all(|(_, folder)| *folder != top) {
        unwrap_splits(&mut folders, layout, &mut remarks.ignored)?;
    }
    let mut splits: IndexMap<&'static str, FilesByClass> = IndexMap::new();
    for (name, folder) in folders {
        let classes = classes(&folder, layout, &mut remarks)?;
        if splits.insert(name, classes).is_some() {
            return Err(DataError::malformed(&folder, format!("a second folder for `{name}`")));
        }
    }
    if !layout.ignores_splits {
        refuse_domains(root, &remarks.inside)?;
    }
    let names: BTreeSet<&String> = splits.values().flat_map(BTreeMap::keys).collect();
    let names: Vec<String> = names.into_iter().cloned().collect();
    check(root, &names, &splits, layout)?;
    let mut groups = Vec::new();
    for (name, classes) in &splits {
        let label = |class: &String| names.binary_search(class).unwrap_or_default();
        let of = |(class, files): (&String, &Vec<PathBuf>)| vec![label(class); files.len()];
        let numbers: Vec<usize> = classes.iter().flat_map(of).collect();
        let labels = numbers.iter().map(|label| u32::try_from(*label).unwrap_or(u32::MAX));
        let files = classes.values().flatten().cloned().collect();
        groups.push(((*name).to_owned(), files, labels.collect()));
    }
    Ok((Undecoded { classes: names, groups }, remarks))
}

/// Finds what no data set for classification looks like: it is laid out in another way than it seems.
fn check(
    root: &Path,
    names: &[String],
    splits: &IndexMap<&'static str, FilesByClass>,
    layout: &Layout,
) -> Result<(), DataError> {
    if let ([only], false) = (names, layout.may_be_one_class) {
        let message = format!("all images are of one class, `{only}`");
        return Err(self::layout(root, message).advise("`single_class = true` if that is meant"));
    }
    let list = |classes: &FilesByClass| {
        let names: Vec<String> = classes.keys().take(3).map(|it| format!("`{it}`")).collect();
        let more = if classes.len() > names.len() { ", ..." } else { "" };
        names.join(", ") + more
    };
    let Some(train) = splits.get("train") else { return Ok(()) };
    for (name, classes) in splits {
        if classes.keys().all(|class| !train.contains_key(class)) {
            let (own, train) = (list(classes), list(train));
            let message = format!("no class of `{name}` ({own}) is one of `train` ({train})");
            return Err(self::layout(root, message));
        }
    }
    Ok(())
}

/// Refuses folders that hold the same folders: those are the classes, and the images of each lie in several
/// domains, sites or folds.
fn refuse_domains(root: &Path, inside: &[(PathBuf, BTreeSet<String>)]) -> Result<(), DataError> {
    let mut seen: BTreeMap<(Option<&Path>, &BTreeSet<String>), &PathBuf> = BTreeMap::new();
    for (folder, names) in inside {
        // Side by side: not the same class in two splits.
        let Some(first) = seen.insert((folder.parent(), names), folder) else { continue };
        let (a, b) = (file_name(first), file_name(folder));
        let some: Vec<&str> = names.iter().take(2).map(String::as_str).collect();
        let message = format!(
            "`{a}` and `{b}` hold the same folders, such as `{}`: these are the classes, it seems",
            some.join("` and `")
        );
        let inside = first.strip_prefix(root).unwrap_or(first).display().to_string();
        // In TOML's own spelling, so that it can be copied whatever the folder is called.
        let inside = toml::Value::from(inside);
        return Err(self::layout(root, message)
            .advise(format!("`root = {inside}` takes `{a}` alone"))
            .advise(format!("`splits = \"none\"` if `{a}` and `{b}` are classes")));
    }
    Ok(())
}

/// The folders in a class folder in which its images lie, without what wraps all of them: none if an image
/// lies beside them.
fn folders_inside(images: &[PathBuf], class: &Path) -> BTreeSet<String> {
    let parts = |image: &PathBuf| -> Vec<String> {
        let folder = within(image, class).unwrap_or_default();
        folder.iter().map(|part| text_of(part.as_encoded_bytes())).collect()
    };
    let parts: Vec<Vec<String>> = images.iter().map(parts).collect();
    for depth in 0.. {
        let names: Option<BTreeSet<String>> =
            parts.iter().map(|parts| parts.get(depth).cloned()).collect();
        match names {
            Some(names) if names.len() > 1 => return names,
            Some(names) if names.len() == 1 => {}
            _ => break,
        }
    }
    BTreeSet::new()
}

fn layout(root: &Path, message: impl std::fmt::Display) -> DataError {
    DataError::rejected(format!("{}: {message}", root.display()))
        .advise(
            "expected <split>/<class>/<image> with the splits train, valid and test (any of them)",
        )
        .advise("or <class>/<image>, which makes one split `train`")
        .advise(format!("images are {}; every image needs a class", formats()))
        .advise("`root = \"FOLDER\"` points to a folder in the source where that begins")
}

/// As [`layout`], where names are taken for those of splits.
fn called_like_splits(root: &Path, message: impl std::fmt::Display) -> DataError {
    layout(root, message)
        .advise("`splits = \"none\"` takes folders called train, valid or test for classes as well")
}

/// The folder of each split: those named like one, or the root itself as `train`.
fn split_folders(
    root: &Path,
    layout: &Layout,
    remarks: &mut FolderRemarks,
) -> Result<Vec<(&'static str, PathBuf)>, DataError> {
    let whole = || Ok(vec![("train", root.to_owned())]);
    let FolderContents { holding, empty, files } = FolderContents::of(root)?;
    if layout.ignores_splits {
        return whole();
    }
    let (mut splits, mut speaking, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut any_is_deep = false;
    for folder in holding {
        let deep = is_deep(&folder)?;
        match name_says(&folder) {
            Says::Split(split) => splits.push((split, folder)),
            Says::Among(split) if deep => splits.push((split, folder)),
            Says::Among(_) => {
                speaking.push(folder);
                continue;
            }
            Says::Nothing => {
                others.push(folder);
                continue;
            }
        }
        any_is_deep |= deep;
    }
    if !any_is_deep {
        // Nothing looks like a split but for its name.
        let called = splits.iter().map(|(_, folder)| folder).chain(&speaking);
        let called: Vec<String> = called.map(|folder| file_name(folder)).collect();
        if called.is_empty() {
            return whole();
        }
        if others.is_empty() {
            let names = called.join("`, `");
            let message = format!("images lie in `{names}` without a class folder");
            return Err(called_like_splits(root, message));
        }
        remarks.split_names = called;
        return whole();
    }
    let (first, rest) = (file_name(&splits[0].1), speaking.into_iter().chain(others).next());
    if let Some(other) = rest {
        let other = file_name(&other);
        let message = format!("`{first}` is the folder of a split, but `{other}` beside it is not");
        return Err(called_like_splits(root, message));
    }
    if let Some(empty) = empty.iter().find(|it| matches!(name_says(it), Says::Split(_))) {
        return Err(self::layout(empty, "there are no images in it"));
    }
    remarks.ignored.extend(files.into_iter().chain(empty));
    Ok(splits)
}

/// The image files of each class folder of a split.
fn classes(
    split: &Path,
    layout: &Layout,
    remarks: &mut FolderRemarks,
) -> Result<FilesByClass, DataError> {
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
        visible_entries(split)?.into_iter().partition(|path| path.is_dir());
    let loose = files.iter().filter(|file| is_image(file)).count();
    if folders.is_empty() && loose > 0 {
        let message = format!("{loose} images lie in it without a class folder");
        return Err(self::layout(split, message));
    }
    remarks.ignored.extend(files);
    let mut classes = FilesByClass::new();
    for folder in folders {
        let (images, others): (Vec<PathBuf>, Vec<PathBuf>) =
            visible_files(&folder)?.into_iter().partition(|file| is_image(file));
        remarks.ignored.extend(others);
        if images.is_empty() {
            return Err(self::layout(&folder, "there are no images in it"));
        }
        let name = file_name(&folder);
        if let Some(within) = images.iter().find_map(|image| within(image, &folder)) {
            if !layout.ignores_splits
                && let Some(split) = split_in(&images, &folder)
            {
                let message = format!("the class `{name}` holds the folder of a split, `{split}`");
                return Err(called_like_splits(split_root(&folder), message));
            }
            remarks.nested.push((name.clone(), within));
            let inside = folders_inside(&images, &folder);
            if !inside.is_empty() {
                remarks.inside.push((folder.clone(), inside));
            }
        }
        if classes.insert(name.clone(), images).is_some() {
            return Err(DataError::malformed(&folder, format!("a second folder for `{name}`")));
        }
    }
    if classes.is_empty() {
        return Err(self::layout(split, "there are no images in it"));
    }
    Ok(classes)
}

fn split_root(class: &Path) -> &Path {
    class.parent().unwrap_or(class)
}

/// The folders between that of a class and an image of it, if there are any.
fn within(image: &Path, class: &Path) -> Option<PathBuf> {
    let folder = image.parent()?.strip_prefix(class).ok()?;
    (folder != Path::new("")).then(|| folder.to_owned())
}

/// The first folder below that of a class that is called like a split.
fn split_in(images: &[PathBuf], class: &Path) -> Option<String> {
    let folders = images.iter().filter_map(|image| within(image, class));
    folders
        .flat_map(|folder| {
            folder.iter().map(|part| text_of(part.as_encoded_bytes())).collect::<Vec<_>>()
        })
        .find(|name| matches!(says(name), Says::Split(_)))
}

fn file_name(path: &Path) -> String {
    text_of(path.file_name().unwrap_or_default().as_encoded_bytes())
}

impl FolderRemarks {
    fn say(&self, watch: &Watch) {
        if let Some(first) = self.ignored.first() {
            watch.progress.note(&format!(
                "{} files are not images in a class folder and are ignored, such as {}",
                self.ignored.len(),
                first.display()
            ));
        }
        if let Some((class, folder)) = self.nested.first() {
            watch.progress.note(&format!(
                "the images of {} classes lie in folders of their own, such as `{}` in `{class}`: \
                 all below the folder of a class are of that class",
                self.nested.len(),
                folder.display()
            ));
        }
        if !self.split_names.is_empty() {
            watch.progress.note(&format!(
                "`{}` is a class, not a split: images lie in it as in the folders beside it",
                self.split_names.join("`, `")
            ));
        }
    }
}

#[cfg(test)]
mod tests;
