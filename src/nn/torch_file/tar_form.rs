//! The form that PyTorch wrote before 0.1.10: a tar archive of `storages`, `tensors` and `pickle`.

use std::collections::HashMap;
use std::ops::Range;

use indexmap::IndexMap;

use super::TorchFileError;
use super::contents::{
    FileContents, StoragePlace, StoredTensor, class_of, counted, kind_of, number, raw,
};
use super::entry::{self, Chosen};
use super::pickle::{Pickle, name_of};
use super::storage::{ElementType, StorageRange};
use super::value::{PickleValue, TensorView};

/// Reads what `bytes` hold under `entry`, or where weights usually are.
pub(super) fn from_tar(bytes: &[u8], entry: Option<&str>) -> Result<FileContents, TorchFileError> {
    let malformed = |what: &str| TorchFileError::Malformed(what.to_owned());
    let mut files: HashMap<String, Range<usize>> = HashMap::new();
    for file in tar::Archive::new(bytes).entries()? {
        let file = file?;
        if file.header().entry_type() != tar::EntryType::Regular {
            continue;
        }
        let number = |number: u64| usize::try_from(number).ok();
        let range = number(file.raw_file_position())
            .and_then(|start| Some(start..start.checked_add(number(file.size())?)?))
            .filter(|range| range.end <= bytes.len());
        let range = range.ok_or_else(|| malformed("a tar archive that is cut"))?;
        let name = file.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        files.insert(name, range);
    }
    let file = |name: &str| {
        files
            .get(name)
            .cloned()
            .ok_or_else(|| TorchFileError::Malformed(format!("a tar archive without `{name}`")))
    };
    let storages = tar_storages(bytes, file("storages")?)?;
    let views = tar_views(&bytes[file("tensors")?])?;
    let object = Pickle::read(&bytes[file("pickle")?])?;
    if let Some(name) = &object.refused {
        return Err(TorchFileError::refused(name, None));
    }
    let chosen = entry::choose(&object, entry, |value| matches!(value, PickleValue::Outside(_)))?;
    let mut tensors = IndexMap::new();
    for (name, id) in &chosen.entries {
        let PickleValue::Outside(key) = object.get(*id) else { continue };
        let found = name_of(&object, *key).and_then(|key| views.get(&key));
        let (storage, view) = found.ok_or_else(|| {
            TorchFileError::Malformed(format!("`{name}` is no tensor of the file"))
        })?;
        let (kind, _) = storages
            .get(storage)
            .ok_or_else(|| TorchFileError::Malformed(format!("`{name}` has no storage")))?;
        let place = StoragePlace { kind: *kind, storage: storage.clone(), view: view.clone() };
        tensors.insert(name.clone(), StoredTensor { shape: view.shape.clone(), place: Ok(place) });
    }
    let held = storages.into_iter().map(|(key, (_, range))| (key, StorageRange::plain(range)));
    let storages = held.collect();
    let Chosen { keys, others, .. } = chosen;
    let entry = (!keys.is_empty()).then(|| keys.join("."));
    Ok(FileContents { tensors, storages, entry, others })
}

/// The storages of a tar archive's file, and parts of them that have a key of their own.
fn tar_storages(
    bytes: &[u8],
    file: Range<usize>,
) -> Result<HashMap<String, (ElementType, Range<usize>)>, TorchFileError> {
    let malformed = |what: &str| TorchFileError::Malformed(what.to_owned());
    // Places count from the beginning of the whole file; nothing is taken from beyond this one.
    let (held, mut at) = (&bytes[..file.end], file.start);
    let mut storages: HashMap<String, (ElementType, Range<usize>)> = HashMap::new();
    for _ in 0..count_of(held, &mut at)? {
        let pickle = Pickle::read(&held[at..])?;
        at += pickle.len;
        let Some(items) = pickle.tuple(pickle.root) else {
            return Err(malformed("a storage is not described by a tuple"));
        };
        let [key, _, class] = items[..] else {
            return Err(malformed("a storage is not described by three values"));
        };
        let key = name_of(&pickle, key).ok_or_else(|| malformed("a storage has no key"))?;
        let kind = kind_of(class_of(&pickle, class)?)?;
        let count = counted(held, &mut at, &key)?;
        let range = raw(held, &mut at, count, kind.size(), &key)?;
        storages.insert(key, (kind, range));
    }
    // `(key, whole, offset, count)`.
    let parts = Pickle::read(&held[at..])?;
    let Some(listed) = parts.list(parts.root) else {
        return Err(malformed("the parts of storages are no list"));
    };
    for part in listed {
        let Some(items) = parts.tuple(*part) else {
            return Err(malformed("a part of a storage is not described by a tuple"));
        };
        let [key, whole, offset, count] = items[..] else {
            return Err(malformed("a part of a storage is not described by four values"));
        };
        let length = |id| parts.int(id).and_then(|it| usize::try_from(it).ok());
        let place = length(offset).zip(length(count));
        let whole = name_of(&parts, whole).and_then(|whole| storages.get(&whole).cloned());
        let (Some(key), Some((kind, whole)), Some((offset, count))) =
            (name_of(&parts, key), whole, place)
        else {
            return Err(malformed("a part of a storage belongs to none"));
        };
        let begin = offset.checked_mul(kind.size()).and_then(|it| it.checked_add(whole.start));
        let mut begin = begin.ok_or_else(|| malformed("a part of a storage is too far away"))?;
        let range = raw(&held[..whole.end], &mut begin, count, kind.size(), &key)?;
        storages.insert(key, (kind, range));
    }
    Ok(storages)
}

/// The tensors of a tar archive's file by their keys, each with its storage.
fn tar_views(held: &[u8]) -> Result<HashMap<String, (String, TensorView)>, TorchFileError> {
    let malformed = |what: &str| TorchFileError::Malformed(what.to_owned());
    let mut at = 0;
    let mut views = HashMap::new();
    for _ in 0..count_of(held, &mut at)? {
        let pickle = Pickle::read(&held[at..])?;
        at += pickle.len;
        let Some(items) = pickle.tuple(pickle.root) else {
            return Err(malformed("a tensor is not described by a tuple"));
        };
        let [key, storage, _] = items[..] else {
            return Err(malformed("a tensor is not described by three values"));
        };
        let names = name_of(&pickle, key).zip(name_of(&pickle, storage));
        let (key, storage) = names.ok_or_else(|| malformed("a tensor has no key"))?;
        let dimensions = number(held, &mut at, 4)?;
        number(held, &mut at, 4)?;
        if dimensions > 64 {
            return Err(malformed("a tensor has more than 64 dimensions"));
        }
        let mut several = || (0..dimensions).map(|_| number(held, &mut at, 8)).collect();
        let (shape, stride): (Result<Vec<_>, _>, Result<Vec<_>, _>) = (several(), several());
        let offset = number(held, &mut at, 8)?;
        let (shape, stride) = (shape?, stride?);
        views.insert(key, (storage, TensorView { storage: 0, offset, shape, stride, dtype: None }));
    }
    Ok(views)
}

/// A number that a pickle at `at` is of.
fn count_of(bytes: &[u8], at: &mut usize) -> Result<usize, TorchFileError> {
    let pickle = Pickle::read(&bytes[*at..])?;
    *at += pickle.len;
    let count = pickle.int(pickle.root).and_then(|count| usize::try_from(count).ok());
    count.ok_or_else(|| TorchFileError::Malformed("a count is no number".into()))
}
