//! Reads files that PyTorch's `torch.save` writes: today's zip archives, the pickles from before 1.6, the
//! tar archives from before 0.1.10. It reads tensors, and never runs what a file asks for.

use std::fs::File;
use std::path::Path;

use indexmap::IndexMap;
use memmap2::Mmap;

mod contents;
mod entry;
mod error;
mod forms;
mod globals;
mod pickle;
mod storage;
mod tar_form;
mod value;

use contents::{FileContents, StoragePlace};
pub use error::TorchFileError;
pub use storage::{Numbers, Tensor};

/// A file of PyTorch's whose tensors are known by name and shape, and read one by one.
#[derive(Debug)]
pub struct TorchFile<B = Mmap> {
    bytes: B,
    contents: FileContents,
}

impl TorchFile {
    /// Opens the file at `path`. Its tensors are those of the entry `entry`, else of the one that
    /// training scripts usually put weights in.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, holds no named tensors or several sets of them, or
    /// wants code to be run.
    pub fn open(path: &Path, entry: Option<&str>) -> Result<Self, TorchFileError> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            forms::read(&[], entry)?;
        }
        // SAFETY: a file that someone changes while it is read gives wrong numbers at worst: every
        // offset is checked against the length of the mapping.
        let bytes = unsafe { Mmap::map(&file)? };
        Self::of(bytes, entry)
    }
}

impl<B: AsRef<[u8]>> TorchFile<B> {
    fn of(bytes: B, entry: Option<&str>) -> Result<Self, TorchFileError> {
        let contents = forms::read(bytes.as_ref(), entry)?;
        Ok(Self { bytes, contents })
    }

    /// The names of its tensors, in its order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.contents.tensors.keys().map(String::as_str)
    }

    /// The entry that the tensors are of; `None` for the file's own dictionary.
    pub fn entry(&self) -> Option<&str> {
        self.contents.entry.as_deref()
    }

    /// Other entries that hold tensors.
    pub fn others(&self) -> &[String] {
        &self.contents.others
    }

    /// The shape of the tensor `name`, if there is one; the reason why it cannot be read, if so.
    pub fn shape(&self, name: &str) -> Option<Result<&[usize], &str>> {
        let stored = self.contents.tensors.get(name)?;
        Some(match &stored.place {
            Ok(_) => Ok(&stored.shape),
            Err(reason) => Err(reason),
        })
    }

    /// The tensor `name`.
    ///
    /// # Errors
    /// When it is not there, or its numbers cannot be read.
    pub fn tensor(&self, name: &str) -> Result<Tensor, TorchFileError> {
        let stored = self.contents.tensors.get(name);
        let stored =
            stored.ok_or_else(|| TorchFileError::other(format!("it has no tensor `{name}`")))?;
        let place = stored.place.as_ref();
        let StoragePlace { kind, storage, view } = place.map_err(|reason| {
            TorchFileError::other(format!("`{name}` cannot be read: {reason}"))
        })?;
        let bytes = self.contents.storages.read(storage, self.bytes.as_ref())?;
        kind.tensor(name, view, &bytes)
    }

    /// All its tensors.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn tensors(&self) -> Result<IndexMap<String, Tensor>, TorchFileError> {
        self.names().map(|name| Ok((name.to_owned(), self.tensor(name)?))).collect()
    }
}

#[cfg(test)]
mod tests;
