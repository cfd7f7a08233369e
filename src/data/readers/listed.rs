//! Where the images of a list lie.
//!
//! A name is never taken from outside the folder that the list, or the user, keeps it in.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::Layout;
use super::columns::LabelledName;
use super::decode::{endings, formats};
use super::names::text_of;
use super::table::names_image;
use crate::data::error::DataError;

/// An image of a list.
#[derive(Debug, PartialEq)]
pub(super) struct Listed {
    pub file: PathBuf,
    pub label: String,
    /// The line of its list, from 1.
    pub line: usize,
}

/// What all lists of a source have in common.
#[derive(Debug)]
pub(super) struct Home {
    /// The folder that is the source; `None` when the source is a list.
    folder: Option<PathBuf>,
    /// Images lie in this folder, or deeper; names may begin there.
    bound: PathBuf,
    /// Whether `bound` is what the user said, and is looked at first.
    said: bool,
    /// Whether nothing outside the source may ever be named.
    is_archive: bool,
}

impl Home {
    /// Of a source that is at `path`, a folder or a list.
    pub(super) fn new(path: &Path, layout: &Layout) -> Self {
        let folder = path.is_dir().then(|| path.to_owned());
        let own = folder.as_deref().or(path.parent()).unwrap_or(Path::new(""));
        let bound = layout.names.as_deref().unwrap_or(own);
        // A path that leads above its beginning holds nothing, and nothing lies in it.
        let bound = normal(bound).unwrap_or_else(|| bound.to_owned());
        Self { folder, bound, said: layout.names.is_some(), is_archive: layout.is_archive }
    }

    /// Where the images of `list` may lie.
    pub(super) fn folders<'a>(&'a self, list: &'a Path) -> Folders<'a> {
        let parent = list.parent().unwrap_or(Path::new(""));
        let stem = list.file_stem().unwrap_or_default();
        let mut folders = vec![parent.join(stem)];
        for ending in ["_labels", "-labels", "_label", "_list", "-list"] {
            let short = stem.as_bytes().strip_suffix(ending.as_bytes());
            folders.extend(short.map(|stem| parent.join(OsStr::from_bytes(stem))));
        }
        folders.push(parent.to_owned());
        let place = if self.said { 0 } else { folders.len() };
        folders.insert(place, self.bound.clone());
        folders.retain(|folder| folder.is_dir());
        Folders { home: self, list, folders }
    }
}

/// Where the images of a list may lie, in the order in which they are looked for.
#[derive(Debug)]
pub(super) struct Folders<'a> {
    home: &'a Home,
    list: &'a Path,
    folders: Vec<PathBuf>,
}

impl Folders<'_> {
    /// The image of a line.
    ///
    /// # Errors
    /// When there is none of this name, or it lies outside of where it may be.
    pub(super) fn find(&self, pair: LabelledName, line: usize) -> Result<Listed, DataError> {
        let LabelledName { name, label, may_lack_ending } = pair;
        let path = Path::new(OsStr::from_bytes(name));
        let label = text_of(label);
        let refused = |reason: &str| {
            let (list, name) = (self.list.display(), text_of(name));
            DataError::rejected(format!("{list}: line {line}: {reason}: `{name}`, label `{label}`"))
        };
        let mut inside = false;
        for folder in &self.folders {
            let Some(file) = normal(&folder.join(path)).filter(|file| self.may_be(file)) else {
                continue;
            };
            inside = true;
            if names_image(name) {
                if file.is_file() {
                    return Ok(Listed { file, label, line });
                }
            } else if may_lack_ending {
                let files = endings().map(|ending| with_ending(&file, &ending));
                let mut found = files.filter(|file| file.is_file());
                match (found.next(), found.next()) {
                    (Some(file), None) => return Ok(Listed { file, label, line }),
                    (Some(a), Some(b)) => {
                        let (a, b) = (a.display(), b.display());
                        return Err(refused(&format!("it may be {a} or {b}")));
                    }
                    (None, _) => {}
                }
            }
        }
        if !inside {
            return Err(self.advised(path, refused("leads out of the folder")));
        }
        if !names_image(name) && path.extension().is_some() {
            return Err(refused(&format!("not the name of an image ({})", formats())));
        }
        Err(self.advised(path, refused("there is no such file")))
    }

    fn may_be(&self, file: &Path) -> bool {
        file.starts_with(&self.home.bound)
    }

    /// With the `root` that would make a file of the name, if there is one.
    fn advised(&self, name: &Path, error: DataError) -> DataError {
        let at = |folder: &Path| normal(&folder.join(name)).filter(|file| file.is_file());
        let lies = self.folders.iter().find_map(|folder| at(folder));
        let is_root = |folder: &&Path| match &lies {
            // The name leads from a folder of the list's to a place outside.
            Some(file) => file.starts_with(folder),
            None => at(folder).is_some(),
        };
        let root = match &self.home.folder {
            _ if name.is_absolute() => {
                (name.is_file() && !self.home.is_archive).then(|| "/".to_owned())
            }
            // Below the source, as `root` points into it.
            Some(folder) => self.list.ancestors().skip(1).find_map(|above| {
                let inside = above.strip_prefix(folder).ok()?;
                let points = inside != Path::new("") && is_root(&above);
                points.then(|| inside.display().to_string())
            }),
            None => self.list.ancestors().skip(1).find(is_root).map(shown),
        };
        if let Some(root) = root {
            // In TOML's own spelling, so that it can be copied whatever the folder is called.
            let root = toml::Value::from(root);
            return error.advise(format!("`root = {root}` says where the names begin"));
        }
        let mut looked: Vec<String> =
            self.folders.iter().map(|folder| folder.display().to_string()).collect();
        looked.dedup();
        error
            .advise(format!("looked for it in {}", looked.join(" and ")))
            .advise("names are relative to the list's folder; `root = \"FOLDER\"` says another one")
    }
}

/// A folder as a user would write it.
fn shown(folder: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match folder.strip_prefix(&here) {
        Ok(rest) if rest == Path::new("") => ".".to_owned(),
        Ok(rest) => rest.display().to_string(),
        Err(_) => folder.display().to_string(),
    }
}

fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// The path without `.` and `..`; `None` when it leads above the root or above its own beginning.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match normal.components().next_back() {
                Some(Component::Normal(_)) => {
                    normal.pop();
                }
                _ => return None,
            },
            part => normal.push(part),
        }
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_above_its_beginning_is_none() {
        let normal = |path| normal(Path::new(path));
        assert_eq!(normal("/a/./b/../c"), Some("/a/c".into()));
        assert_eq!(normal("/a/../../b"), None);
        assert_eq!(normal("../b"), None);
        assert_eq!(normal("a/../b"), Some("b".into()));
    }
}
