//! The three forms of a PyTorch file: today's zip archive, the pickles from before 1.6, the tar archive
//! from before 0.1.10. Each gives a pickle and says where the storages are; none reads numbers.

use std::collections::HashMap;
use std::io::Cursor;

use indexmap::IndexMap;
use zip::CompressionMethod;

use super::TorchFileError;
use super::contents::{FileContents, StoragePlace, StoredTensor, class_of, counted, kind_of, raw};
use super::entry::{self, Chosen};
use super::pickle::{Pickle, name_of};
use super::storage::{ElementType, StorageRange, Storages};
use super::tar_form::from_tar;
use super::value::{Id, PickleValue, TensorView};

/// Reads what `bytes` hold under `entry`, or where weights usually are.
pub(super) fn read(bytes: &[u8], entry: Option<&str>) -> Result<FileContents, TorchFileError> {
    if bytes.starts_with(b"PK") {
        zipped(bytes, entry)
    } else if bytes.get(257..262) == Some(b"ustar") {
        from_tar(bytes, entry)
    } else if bytes.first() == Some(&0x80) {
        legacy(bytes, entry)
    } else {
        Err(unknown(bytes))
    }
}

/// What a file is that is none of PyTorch's.
fn unknown(bytes: &[u8]) -> TorchFileError {
    let begins = |with: &[u8]| bytes.starts_with(with);
    let markup = bytes.trim_ascii_start().first() == Some(&b'<');
    let (what, help) = if bytes.is_empty() {
        ("it is empty", "look whether it was downloaded or copied whole")
    } else if begins(b"version https://git-lfs") {
        ("it is a pointer of Git LFS, not the file itself", "`git lfs pull` gets the file")
    } else if markup {
        (
            "it is a page of HTML or XML",
            "the address leads to a page about the file: take the file's",
        )
    } else if begins(b"\x89HDF") {
        ("it is an HDF5 file, as Keras writes them", KEPT_BY_TORCH)
    } else if begins(&[0x1f, 0x8b]) {
        (
            "it is compressed with gzip",
            "unpack it: `gunzip < FILE > weights.pth`, then `source = \"file:weights.pth\"`",
        )
    } else if begins(b"\x93NUMPY") {
        ("it is an array of NumPy's", KEPT_BY_TORCH)
    } else {
        ("neither a zip archive nor a pickle", KEPT_BY_TORCH)
    };
    TorchFileError::Unknown { what, help }
}

/// What is taken.
const KEPT_BY_TORCH: &str = "weights are read from what `torch.save(model.state_dict(), FILE)` writes, and from safetensors";

/// The tensors of `pickle`, whose storages lie where `storages` says.
fn contents(
    pickle: &Pickle,
    storages: Storages,
    entry: Option<&str>,
) -> Result<FileContents, TorchFileError> {
    let is_tensor =
        |value: &PickleValue| matches!(value, PickleValue::View(_) | PickleValue::Unreadable(_));
    let chosen = match (&pickle.refused, entry::choose(pickle, entry, is_tensor)) {
        (None, chosen) => chosen?,
        (Some(name), _) if *pickle.get(pickle.root) == PickleValue::Refused => {
            return Err(TorchFileError::refused(name, Some("c.state_dict()".into())));
        }
        (Some(name), chosen) => {
            let weights = chosen.ok().map(|chosen| {
                let keys: String = chosen.keys.iter().map(|key| format!("[{key:?}]")).collect();
                format!("{{k: v for k, v in c{keys}.items() if torch.is_tensor(v)}}")
            });
            return Err(TorchFileError::refused(name, weights));
        }
    };
    let mut tensors = IndexMap::new();
    for (name, id) in &chosen.entries {
        let stored = match pickle.get(*id) {
            PickleValue::View(view) => {
                StoredTensor { shape: view.shape.clone(), place: place(pickle, view) }
            }
            PickleValue::Unreadable(what) => {
                StoredTensor { shape: Vec::new(), place: Err(format!("it is {what}")) }
            }
            _ => continue,
        };
        tensors.insert(name.clone(), stored);
    }
    let Chosen { keys, others, .. } = chosen;
    let entry = (!keys.is_empty()).then(|| keys.join("."));
    Ok(FileContents { tensors, storages, entry, others })
}

/// Where the numbers of a view are, or the reason why they cannot be read.
fn place(pickle: &Pickle, view: &TensorView) -> Result<StoragePlace, String> {
    let (class, key, begins) = storage_of(pickle, view.storage).map_err(|it| it.to_string())?;
    let class = match view.dtype.map(|id| pickle.get(id)) {
        Some(PickleValue::Global(dtype)) => dtype,
        _ => class,
    };
    let kind = ElementType::named(class)
        .ok_or_else(|| format!("its numbers are of the kind `{class}`"))?;
    if let ElementType::Strange(_) = kind {
        return Err(format!("its numbers are of the kind `{class}`, which weights are not"));
    }
    let view = TensorView { offset: view.offset.saturating_add(begins), ..view.clone() };
    Ok(StoragePlace { kind, storage: key, view })
}

/// The zip form: `<root>/data.pkl` and `<root>/data/<key>`.
fn zipped(bytes: &[u8], entry: Option<&str>) -> Result<FileContents, TorchFileError> {
    let broken = |error: &dyn std::fmt::Display| TorchFileError::Malformed(error.to_string());
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
    let names: Vec<String> = archive
        .file_names()
        .map(|name| name.map(std::borrow::Cow::into_owned).map_err(|error| broken(&error)))
        .collect::<Result<_, _>>()?;
    let root = names
        .iter()
        .find_map(|name| name.strip_suffix("data.pkl"))
        .ok_or_else(|| TorchFileError::Malformed("a zip archive without `data.pkl`".into()))?
        .to_owned();
    let prefix = format!("{root}data/");
    let (pickle, order) = (format!("{root}data.pkl"), format!("{root}byteorder"));
    let mut parts: HashMap<String, StorageRange> = HashMap::new();
    for (index, name) in names.into_iter().enumerate() {
        if name == pickle || name == order || name.starts_with(&prefix) {
            let part = archive.by_index_raw(index).map_err(|error| broken(&error))?;
            parts.insert(name, held(&part).map_err(TorchFileError::Malformed)?);
        }
    }
    if let Some(order) = parts.get(&order)
        && order.read(bytes, true)?.trim_ascii() != b"little"
    {
        return Err(TorchFileError::other("its numbers are big endian"));
    }
    let pickle = Pickle::read(&parts[&pickle].read(bytes, true)?)?;
    let key =
        |(name, held): (String, StorageRange)| Some((name.strip_prefix(&prefix)?.to_owned(), held));
    contents(&pickle, parts.into_iter().filter_map(key).collect(), entry)
}

/// Where a part of a zip archive lies.
fn held(part: &zip::read::ZipFile<impl std::io::Read>) -> Result<StorageRange, String> {
    let number = |number: u64| usize::try_from(number).map_err(|error| error.to_string());
    let start = part.data_start().ok_or("a part of the archive has no place")?;
    let (start, packed) = (number(start)?, number(part.compressed_size())?);
    let end = start.checked_add(packed).ok_or("a part of the archive is too long")?;
    let deflated = match part.compression() {
        CompressionMethod::Stored => None,
        CompressionMethod::Deflated => Some(number(part.size())?),
        other => return Err(format!("a part of the archive is packed with {other}")),
    };
    // PyTorch writes zeros where it was told to leave checksums out.
    let checksum = Some(part.crc32()).filter(|sum| *sum != 0);
    Ok(StorageRange { range: start..end, deflated, checksum })
}

/// The form before 1.6: magic number, version, facts about the machine, the object, the keys of the
/// storages, then each storage with its length.
fn legacy(bytes: &[u8], entry: Option<&str>) -> Result<FileContents, TorchFileError> {
    let mut at = 0;
    let next = |at: &mut usize| -> Result<Pickle, TorchFileError> {
        let pickle = Pickle::read(&bytes[*at..])?;
        *at += pickle.len;
        Ok(pickle)
    };
    let magic = next(&mut at)?;
    if magic.text(magic.root) != Some("1950a86a20f9469cfc6c") {
        let error = TorchFileError::other("a pickle, but not one of `torch.save`");
        return Err(error.advise(KEPT_BY_TORCH));
    }
    let (_version, machine) = (next(&mut at)?, next(&mut at)?);
    if let Some(facts) = machine.dict(machine.root) {
        let little = facts.iter().find(|(key, _)| machine.text(*key) == Some("little_endian"));
        if little.is_some_and(|(_, value)| *machine.get(*value) == PickleValue::Bool(false)) {
            return Err(TorchFileError::other("its numbers are big endian"));
        }
    }
    let object = next(&mut at)?;
    if object.refused.is_some() {
        return contents(&object, Storages::default(), entry);
    }
    let keys = next(&mut at)?;
    let Some(listed) = keys.list(keys.root) else {
        return Err(TorchFileError::Malformed("the list of storages is no list".into()));
    };
    let sizes = element_sizes(&object)?;
    let mut storages = HashMap::new();
    for key in listed {
        let key = name_of(&keys, *key)
            .ok_or_else(|| TorchFileError::Malformed("the key of a storage is no text".into()))?;
        let count = counted(bytes, &mut at, &key)?;
        let size = sizes.get(&key).copied().unwrap_or(1);
        let range = raw(bytes, &mut at, count, size, &key)?;
        storages.insert(key, StorageRange::plain(range));
    }
    contents(&object, storages.into_iter().collect(), entry)
}

/// Bytes of a number of each storage that a pickle names.
fn element_sizes(pickle: &Pickle) -> Result<HashMap<String, usize>, TorchFileError> {
    let mut sizes = HashMap::new();
    for id in pickle.outside() {
        let (class, key, _) = storage_of(pickle, id)?;
        sizes.insert(key, kind_of(class)?.size());
    }
    Ok(sizes)
}

/// The class and the key of a storage, and where in it a part of it begins:
/// `("storage", class, key, device, count)`, in old files with `(part, offset, count)` or nothing.
fn storage_of(pickle: &Pickle, storage: Id) -> Result<(&str, String, usize), TorchFileError> {
    let malformed = || TorchFileError::Malformed("a storage is described in another way".into());
    let PickleValue::Outside(id) = pickle.get(storage) else { return Err(malformed()) };
    let Some([word, class, key, beside @ ..]) = pickle.tuple(*id) else { return Err(malformed()) };
    if pickle.text(*word) != Some("storage") {
        return Err(malformed());
    }
    let mut begins = 0;
    if let Some(part) = beside.get(2).and_then(|id| pickle.tuple(*id)) {
        let offset = part.get(1).and_then(|id| pickle.int(*id));
        begins = offset.and_then(|it| usize::try_from(it).ok()).ok_or_else(malformed)?;
    }
    let class = class_of(pickle, *class)?;
    Ok((class, name_of(pickle, *key).ok_or_else(malformed)?, begins))
}
