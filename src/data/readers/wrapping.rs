//! Finds the folders of splits and classes in what archives and disks wrap around them: one folder
//! more, a README beside it, every folder doubled.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::decode::is_image;
use super::names::{Says, says};
use super::{DEEPEST, Layout, visible_entries};
use crate::data::error::DataError;

/// What is directly in a folder.
#[derive(Debug, Default)]
pub(super) struct FolderContents {
    /// Folders with an image in them or below.
    pub holding: Vec<PathBuf>,
    /// Other folders.
    pub empty: Vec<PathBuf>,
    /// Files.
    pub files: Vec<PathBuf>,
}

impl FolderContents {
    pub(super) fn of(folder: &Path) -> Result<Self, DataError> {
        let mut contents = Self::default();
        for path in visible_entries(folder)? {
            if !path.is_dir() {
                contents.files.push(path);
            } else if holds_image(&path, 0)? {
                contents.holding.push(path);
            } else {
                contents.empty.push(path);
            }
        }
        Ok(contents)
    }
}

fn holds_image(folder: &Path, depth: usize) -> Result<bool, DataError> {
    if depth > DEEPEST {
        return Err(DataError::malformed(folder, format!("more than {DEEPEST} folders deep")));
    }
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
        visible_entries(folder)?.into_iter().partition(|path| path.is_dir());
    if files.iter().any(|file| is_image(file)) {
        return Ok(true);
    }
    for folder in folders {
        if holds_image(&folder, depth + 1)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a folder holds folders with images, as that of a split does and that of a class does not.
pub(super) fn is_deep(folder: &Path) -> Result<bool, DataError> {
    Ok(!FolderContents::of(folder)?.holding.is_empty())
}

/// What the name of a folder says.
pub(super) fn name_says(folder: &Path) -> Says {
    says(&folder.file_name().unwrap_or_default().to_string_lossy())
}

/// The folder itself, or the one inside that holds all the images. What was passed by on the way is
/// added to `passed`.
pub(super) fn unwrapped(
    folder: &Path,
    layout: &Layout,
    passed: &mut Vec<PathBuf>,
) -> Result<PathBuf, DataError> {
    let mut folder = folder.to_owned();
    loop {
        let contents = FolderContents::of(&folder)?;
        let [only] = contents.holding.as_slice() else { return Ok(folder) };
        let inside = FolderContents::of(only)?.holding;
        // A folder with nothing but images is a class of its own, not a wrapping.
        if inside.is_empty() {
            return Ok(folder);
        }
        // Nor is the one class that the user means, whatever folders its images lie in.
        let is_silent =
            |folder: &PathBuf| layout.ignores_splits || name_says(folder) == Says::Nothing;
        if layout.may_be_one_class && inside.len() > 1 && inside.iter().all(is_silent) {
            return Ok(folder);
        }
        if !layout.ignores_splits && name_says(only) != Says::Nothing {
            let mut are_splits = true;
            for folder in &inside {
                are_splits &= matches!(name_says(folder), Says::Split(_)) && is_deep(folder)?;
            }
            if !are_splits {
                return Ok(folder);
            }
        }
        folder.clone_from(only);
        passed.extend(contents.files.into_iter().chain(contents.empty));
    }
}

/// Goes on into the one folder of each split that wraps its classes once more: `test/test/cat`, or
/// `train/images/cat` beside `test/images/cat`.
pub(super) fn unwrap_splits(
    splits: &mut [(&'static str, PathBuf)],
    layout: &Layout,
    passed: &mut Vec<PathBuf>,
) -> Result<(), DataError> {
    loop {
        let mut inner = Vec::new();
        for (split, folder) in splits.iter() {
            let contents = FolderContents::of(folder)?;
            let only = match contents.holding.as_slice() {
                [only] if is_deep(only)? => Some(only.clone()),
                _ => None,
            };
            let is_doubled = only.as_deref().map(name_says).is_some_and(
                |says| matches!(says, Says::Split(name) | Says::Among(name) if name == *split),
            );
            inner.push((only, is_doubled, contents));
        }
        let mut all_wrap = inner.iter().all(|(only, ..)| only.is_some());
        if layout.may_be_one_class && all_wrap {
            // Around one class there may be folders more; in it each split has what it has.
            let mut within = BTreeSet::new();
            for only in inner.iter().filter_map(|(only, ..)| only.as_deref()) {
                let names = FolderContents::of(only)?.holding.into_iter();
                within.insert(
                    names.map(|it| it.file_name().map(ToOwned::to_owned)).collect::<Vec<_>>(),
                );
            }
            all_wrap = within.len() == 1 && within.iter().all(|names| names.len() == 1);
        }
        let mut goes_on = false;
        for ((_, folder), (only, is_doubled, contents)) in splits.iter_mut().zip(inner) {
            if let Some(only) = only.filter(|_| is_doubled || all_wrap) {
                *folder = only;
                passed.extend(contents.files.into_iter().chain(contents.empty));
                goes_on = true;
            }
        }
        if !goes_on {
            return Ok(());
        }
    }
}
