//! The files of a published artifact, each compared with the manifest as it is read: what leaves the
//! store for results was published like this, or does not leave it.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::manifest::{self, FileRecord, Manifest};
use crate::digest::{Content, Digest};

/// An artifact whose files are read one by one.
#[derive(Debug)]
pub struct Checked {
    folder: PathBuf,
    files: Vec<FileRecord>,
}

impl Checked {
    /// The artifact in `folder`, whose data has the digest `content`.
    ///
    /// # Errors
    /// When it is not there, is damaged, holds other data, or cannot be read.
    pub fn open(folder: &Path, content: &Content) -> Result<Self, Error> {
        let damaged = |reason: String| Error::Damaged { path: folder.to_owned(), reason };
        let manifest = Manifest::read(folder)?.map_err(damaged)?;
        if manifest::content(&manifest.files) != manifest.content {
            return Err(damaged("its manifest contradicts itself".to_owned()));
        }
        if manifest.content != *content {
            return Err(damaged("it holds other data than it did".to_owned()));
        }
        Ok(Self { folder: folder.to_owned(), files: manifest.files })
    }

    /// The paths of its files below its folder, in the order of the manifest.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The bytes of the file called `name`; `None` when it has none of this name.
    ///
    /// # Errors
    /// When they are not those that were published, or cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.files.iter().find(|file| file.name == name) else { return Ok(None) };
        let path = self.folder.join(name);
        let damaged = |reason| Error::Damaged { path: self.folder.clone(), reason };
        match manifest::present(fs::read(&path), &path)? {
            None => Err(damaged(manifest::missing(name))),
            Some(bytes) if Digest::from(blake3::hash(&bytes)) != file.blake3 => {
                Err(damaged(manifest::changed(name)))
            }
            bytes => Ok(bytes),
        }
    }
}
