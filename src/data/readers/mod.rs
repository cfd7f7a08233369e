//! Reads data sets from the formats of others.
//!
//! A reader gets a folder that is already here and unpacked; it never fetches anything.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::dataset::{Dataset, Split};
use super::error::DataError;
use super::unpack;
use crate::config::words;

pub mod cifar;
mod columns;
mod decode;
mod features;
pub(super) mod gzip;
pub mod idx;
mod image_file;
pub mod image_folder;
pub mod image_list;
mod listed;
mod matlab;
mod names;
mod numbered;
pub mod optdigits;
mod own;
mod same;
mod table;
pub mod tensors;
pub mod usps;
mod whole;
mod wrapping;

use features::FeatureFile;
pub use features::FeatureNames;
use names::split_word;
pub use own::RESULTS_MARK;

words! {
    /// A format that [`DataFormat::read`] understands.
    pub enum DataFormat {
        /// MNIST's.
        Idx = "idx",
        /// A folder for each class, below a folder for each split.
        ImageFolder = "image-folder",
        /// Image files with a text file that gives the label of each.
        ImageList = "image-list",
        /// Tensors `images` and `labels`, or `features` and `labels`.
        Safetensors = "safetensors",
        /// Arrays of features and labels that NumPy zipped together.
        Npz = "npz",
        /// Arrays of features and labels, each in a file of NumPy's.
        Npy = "npy",
        /// A table of features and labels.
        Csv = "csv",
        /// MATLAB's arrays of features and labels.
        Mat = "mat",
        /// CIFAR-10's or CIFAR-100's binary form.
        Cifar = "cifar",
        /// The MATLAB file of USPS that goes with the book on Gaussian processes.
        UspsGpml = "usps-gpml",
        /// The table of optdigits.
        Optdigits = "optdigits",
    }
}

/// The images of `files`, in this order, as one split `train` of the one class `class`.
///
/// # Errors
/// When a file is not an image, or the user asked to stop.
pub fn of_one_class(
    class: &str,
    files: Vec<PathBuf>,
    watch: &super::Watch,
) -> Result<Dataset, DataError> {
    let labels = vec![0; files.len()];
    let group = ("train".to_owned(), files, labels);
    let splits = decode::decode(vec![group], &Decoding::strict(), watch)?;
    Ok(ReadSplits { classes: vec![class.to_owned()], splits }.into_dataset())
}

/// Labels beyond are damage: the largest data sets have some ten thousand classes.
const MOST_CLASSES: u64 = 1 << 20;

/// What a reader found.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadSplits {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The splits.
    pub splits: IndexMap<String, Split>,
}

/// What the names of files and folders and the lines of lists tell of a data set, without its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadNames {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Names of the splits.
    pub splits: Vec<String>,
    /// The classes that no image of any split is of, in order.
    pub empty: Vec<usize>,
}

/// The images of a split, in order, and their labels.
type ImageGroup = (String, Vec<PathBuf>, Vec<u32>);

/// The images of every split before any of them is decoded.
struct Undecoded {
    /// Names of the classes.
    classes: Vec<String>,
    groups: Vec<ImageGroup>,
}

impl Undecoded {
    fn decode(self, decoding: &Decoding, watch: &super::Watch) -> Result<ReadSplits, DataError> {
        let Self { classes, groups } = self;
        Ok(ReadSplits { classes, splits: decode::decode(groups, decoding, watch)? })
    }

    fn names(self) -> ReadNames {
        let Self { classes, groups } = self;
        let mut seen = vec![false; classes.len()];
        for label in groups.iter().flat_map(|(_, _, labels)| labels) {
            if let Some(seen) = usize::try_from(*label).ok().and_then(|at| seen.get_mut(at)) {
                *seen = true;
            }
        }
        let empty = (0..classes.len()).filter(|at| !seen[*at]).collect();
        let mut splits: Vec<String> = groups.into_iter().map(|(name, _, _)| name).collect();
        splits.sort_by_cached_key(|name| in_order(name));
        ReadNames { classes, splits, empty }
    }
}

/// What a user says about how their files are laid out, beyond the format.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// Where the names in a list begin, and which folder they may not lead out of; an absolute path.
    pub names: Option<PathBuf>,
    /// `splits = "none"`: folders and lists called like splits are none, all images are `train`.
    pub ignores_splits: bool,
    /// `single_class = true`: one class alone is meant, not a sign of another layout.
    pub may_be_one_class: bool,
    /// `columns = ["IMAGE", "LABEL"]`: names of a list's columns.
    pub columns: Option<[String; 2]>,
    /// Which arrays or columns hold features and labels.
    pub arrays: FeatureNames,
    /// Whether the files are from an archive: no list may name anything outside.
    pub is_archive: bool,
}

/// How image files are decoded, and what becomes of those that cannot be: `orientation` and `on_error`.
#[derive(Debug)]
pub struct Decoding {
    skips: bool,
    /// Whether images are turned as their EXIF data say.
    upright: bool,
    /// Split and number of images left out.
    skipped: RefCell<IndexMap<String, usize>>,
}

impl Decoding {
    /// The first image that cannot be decoded is an error.
    pub fn strict() -> Self {
        Self { skips: false, upright: false, skipped: RefCell::default() }
    }

    /// Images that cannot be decoded are left out, with their labels, and counted.
    pub fn skipping() -> Self {
        Self { skips: true, upright: false, skipped: RefCell::default() }
    }

    /// Images are turned as their EXIF data say, or taken as they are stored.
    #[must_use]
    pub fn upright(mut self, upright: bool) -> Self {
        self.upright = upright;
        self
    }

    /// Images left out of each split that lacks some.
    pub fn skipped(&self) -> Vec<(String, usize)> {
        self.skipped.borrow().iter().map(|(name, count)| (name.clone(), *count)).collect()
    }

    /// Counts a broken image of `split`, or gives its error back.
    fn leave_out(
        &self,
        split: &str,
        error: DataError,
        watch: &super::Watch,
    ) -> Result<(), DataError> {
        /// Images named one by one.
        const NAMED: usize = 5;
        if !self.skips || !matches!(error, DataError::Malformed { .. }) {
            return Err(error);
        }
        let mut skipped = self.skipped.borrow_mut();
        let count = skipped.entry(split.to_owned()).or_default();
        *count += 1;
        match *count {
            1..=NAMED => watch.progress.note(&format!("left out: {error}")),
            count if count == NAMED + 1 => watch.progress.note("left out: and more"),
            _ => {}
        }
        Ok(())
    }
}

impl DataFormat {
    /// Whether it is one that features are in, and never images.
    pub fn is_of_features(self) -> bool {
        self != Self::Safetensors && self.feature_file().is_some()
    }

    /// What kind of file features of this format are in, if it may hold some.
    fn feature_file(self) -> Option<FeatureFile> {
        match self {
            Self::Npz => Some(FeatureFile::Npz),
            Self::Npy => Some(FeatureFile::Npy),
            Self::Csv => Some(FeatureFile::Csv),
            Self::Mat => Some(FeatureFile::Mat),
            Self::Safetensors => Some(FeatureFile::Safetensors),
            Self::Idx
            | Self::ImageFolder
            | Self::ImageList
            | Self::Cifar
            | Self::UspsGpml
            | Self::Optdigits => None,
        }
    }

    /// Whether files in it may be of features, so that [`Layout::arrays`] has a meaning.
    pub fn may_hold_features(self) -> bool {
        self.feature_file().is_some()
    }

    /// Whether a zip archive in it is the file itself, and nothing to be unpacked.
    pub fn is_itself_zipped(self) -> bool {
        self == Self::Npz
    }

    /// Whether it holds image files, some of which may be broken.
    pub fn has_files(self) -> bool {
        matches!(self, Self::ImageFolder | Self::ImageList)
    }

    /// Reads what is at `path`: a folder, or one file for the formats that need no more. Splits
    /// come in the order train, valid, test; data sets of our own keep their normalisation and
    /// provenance.
    ///
    /// # Errors
    /// When it does not hold what it should, or the user asked to stop.
    pub fn read(
        self,
        path: &Path,
        decoding: &Decoding,
        watch: &super::Watch,
    ) -> Result<Dataset, DataError> {
        self.read_as(path, &Layout::default(), decoding, watch)
    }

    /// As [`DataFormat::read`], laid out as the user says.
    ///
    /// # Errors
    /// As [`DataFormat::read`].
    pub fn read_as(
        self,
        path: &Path,
        layout: &Layout,
        decoding: &Decoding,
        watch: &super::Watch,
    ) -> Result<Dataset, DataError> {
        let passed = if path.is_dir() { own::passed_by(path) } else { Vec::new() };
        if let Some(first) = passed.first() {
            watch.progress.note(&format!(
                "{} holds results or a store of this program and is not read{}",
                first.display(),
                if passed.len() > 1 {
                    format!("; {} such folders", passed.len())
                } else {
                    String::new()
                }
            ));
        }
        let mut set = match self {
            Self::Idx => idx::read_folder(path)?.into_dataset(),
            Self::ImageFolder => image_folder::read(path, layout, decoding, watch)?.into_dataset(),
            Self::ImageList => image_list::read(path, layout, decoding, watch)?.into_dataset(),
            Self::Safetensors => tensors::read(path, &layout.arrays, watch)?,
            Self::Npz | Self::Npy | Self::Csv | Self::Mat => {
                let kind = self.feature_file().expect("a format of features");
                features::read(path, kind, &layout.arrays, watch)?.into_dataset()
            }
            Self::Cifar => cifar::read(path)?.into_dataset(),
            Self::UspsGpml => usps::read(path)?.into_dataset(),
            Self::Optdigits => optdigits::read(path)?.into_dataset(),
        };
        set.splits.sort_by_cached_key(|name, _| in_order(name));
        set.check().map_err(|reason| DataError::malformed(path, reason))?;
        if let Some(remark) = numbered::mostly_empty(&set.classes, &set.splits) {
            watch.progress.note(&format!("{}: {remark}", path.display()));
        }
        Ok(set)
    }

    /// What names alone tell of the data set at `path`; `None` for formats whose names tell nothing, and for archives.
    ///
    /// # Errors
    /// Where [`DataFormat::read_as`] would refuse it before it decodes an image.
    pub fn names(self, path: &Path, layout: &Layout) -> Option<Result<ReadNames, DataError>> {
        let found = match self {
            Self::ImageFolder if path.is_dir() => {
                let (found, _) = match image_folder::find(path, layout) {
                    Ok(found) => found,
                    Err(error) => return Some(Err(error)),
                };
                Ok(found)
            }
            Self::ImageList if path.is_dir() || matches!(unpack::kind(path), Ok(None)) => {
                image_list::find(path, layout)
            }
            Self::ImageFolder
            | Self::ImageList
            | Self::Idx
            | Self::Safetensors
            | Self::Cifar
            | Self::UspsGpml
            | Self::Optdigits
            | Self::Npz
            | Self::Npy
            | Self::Csv
            | Self::Mat => return None,
        };
        Some(found.map(Undecoded::names))
    }

    /// Every file that [`DataFormat::read_as`] may read, in a fixed order: the same bytes in them, and the
    /// same names below `path`, give the same data set.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn files(self, path: &Path, layout: &Layout) -> Result<Vec<PathBuf>, DataError> {
        if self == Self::ImageList {
            return image_list::files(path, layout);
        }
        if path.is_file() {
            return Ok(vec![path.to_owned()]);
        }
        let mut files = visible_files(path)?;
        match self {
            Self::Idx => files.retain(|file| idx::is_part(file)),
            Self::ImageFolder => files.retain(|file| decode::is_image(file)),
            Self::Safetensors => files.retain(|file| tensors::is_part(file)),
            Self::Cifar => files.retain(|file| cifar::is_part(file)),
            Self::UspsGpml => files.retain(|file| usps::is_part(file)),
            Self::Optdigits => files.retain(|file| optdigits::is_part(file)),
            Self::Npz | Self::Npy | Self::Csv | Self::Mat => {
                let kind = self.feature_file().expect("a format of features");
                files.retain(|file| kind.is_part(file));
            }
            Self::ImageList => {}
        }
        Ok(files)
    }
}

impl ReadSplits {
    /// Classes `0`, `1`, ... up to the largest label in what was read at `path`, from `1` on where labels
    /// count from there.
    fn with_numbered_classes(
        mut splits: IndexMap<String, Split>,
        path: &Path,
    ) -> Result<Self, DataError> {
        let Some((smallest, largest)) = numbered::range(&splits, path)? else {
            return Ok(Self { classes: Vec::new(), splits });
        };
        if u64::from(largest) >= MOST_CLASSES {
            let reason = format!("label {largest} would make more than {MOST_CLASSES} classes");
            return Err(DataError::malformed(path, reason));
        }
        let first = numbered::first_class(smallest);
        if first > 0 {
            let labels = splits.values_mut().flat_map(|split| &mut split.labels);
            labels.for_each(|label| *label -= first);
        }
        Ok(Self { classes: numbered::names(smallest, largest), splits })
    }

    fn into_dataset(self) -> Dataset {
        let channels = self.splits.values().next().map_or(1, |split| split.images.channels);
        Dataset::plain(self.classes, channels, self.splits, Vec::new())
    }
}

/// What splits are sorted by: train, valid, test, then the others by name.
fn in_order(split: &str) -> (usize, String) {
    let place = ["train", "valid", "test"].iter().position(|known| *known == split);
    (place.unwrap_or(3), split.to_owned())
}

/// What is directly in a folder, sorted by name; hidden files do not count, nor do the results and the
/// store of a runner, which lie among the images of whoever works in their folder.
pub(crate) fn visible_entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| DataError::io(folder, error))? {
        let entry = entry.map_err(|error| DataError::io(folder, error))?;
        let (path, is_dir) = (entry.path(), entry.file_type().is_ok_and(|it| it.is_dir()));
        let is_hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX");
        if is_hidden || (is_dir && own::is_own(&path)) {
            continue;
        }
        entries.push(path);
    }
    entries.sort();
    Ok(entries)
}

/// Folders deeper than this are not looked into: a link that leads back up would never end.
const DEEPEST: usize = 16;

/// Every file below a folder, sorted by path; hidden ones do not count.
pub(crate) fn visible_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
        if depth > DEEPEST {
            let reason = format!("more than {DEEPEST} folders deep");
            return Err(DataError::malformed(folder, reason));
        }
        for path in visible_entries(folder)? {
            if path.is_dir() { walk(&path, depth + 1, files)? } else { files.push(path) }
        }
        Ok(())
    }
    let mut files = Vec::new();
    walk(folder, 0, &mut files)?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_are_not_seen_and_the_rest_comes_sorted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.png", ".DS_Store", "a.png", "__MACOSX"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<PathBuf> = visible_entries(folder.path())
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().into())
            .collect();
        assert_eq!(names, [PathBuf::from("a.png"), PathBuf::from("b.png")]);
    }
}
