//! What every form of a file gives: the tensors by name, not yet read, and the storages they are in.
//! The few things that two forms read alike are here too.

use std::ops::Range;

use indexmap::IndexMap;

use super::TorchFileError;
use super::pickle::Pickle;
use super::storage::{ElementType, Storages};
use super::value::{Id, PickleValue, TensorView};

/// The tensors of a file by name, and the storages they are in.
#[derive(Debug)]
pub(super) struct FileContents {
    pub tensors: IndexMap<String, StoredTensor>,
    pub storages: Storages,
    /// The entry that they are of; `None` for the file's own dictionary.
    pub entry: Option<String>,
    /// Other entries that hold tensors.
    pub others: Vec<String>,
}

/// A tensor that has not been read yet.
#[derive(Debug)]
pub(super) struct StoredTensor {
    pub shape: Vec<usize>,
    /// Where its numbers are, or why they cannot be read.
    pub place: Result<StoragePlace, String>,
}

/// Where the numbers of a tensor are.
#[derive(Debug)]
pub(super) struct StoragePlace {
    pub kind: ElementType,
    /// Key of the storage.
    pub storage: String,
    pub view: TensorView,
}

pub(super) fn number(bytes: &[u8], at: &mut usize, len: usize) -> Result<usize, TorchFileError> {
    let malformed = || TorchFileError::Malformed("a tensor's description ends too soon".into());
    let taken = bytes.get(*at..at.saturating_add(len)).ok_or_else(malformed)?;
    *at += len;
    let mut eight = [0; 8];
    eight[..len].copy_from_slice(taken);
    usize::try_from(i64::from_le_bytes(eight)).map_err(|_| malformed())
}

pub(super) fn counted(bytes: &[u8], at: &mut usize, key: &str) -> Result<usize, TorchFileError> {
    number(bytes, at, 8)
        .map_err(|_| TorchFileError::Malformed(format!("storage `{key}` has no length")))
}

/// The place of `count` numbers of `size` bytes that begin at `at`.
pub(super) fn raw(
    bytes: &[u8],
    at: &mut usize,
    count: usize,
    size: usize,
    key: &str,
) -> Result<Range<usize>, TorchFileError> {
    let end = count.checked_mul(size).and_then(|len| at.checked_add(len));
    let end = end.filter(|end| *end <= bytes.len()).ok_or_else(|| {
        TorchFileError::Malformed(format!("storage `{key}` ends too soon: the file is cut"))
    })?;
    let range = *at..end;
    *at = end;
    Ok(range)
}

pub(super) fn class_of(pickle: &Pickle, class: Id) -> Result<&str, TorchFileError> {
    match pickle.get(class) {
        PickleValue::Global(name) => Ok(name),
        _ => Err(TorchFileError::Malformed("the class of a storage is no class".into())),
    }
}

pub(super) fn kind_of(class: &str) -> Result<ElementType, TorchFileError> {
    ElementType::named(class).ok_or_else(|| {
        TorchFileError::other(format!("numbers of the kind `{class}` cannot be read"))
    })
}
