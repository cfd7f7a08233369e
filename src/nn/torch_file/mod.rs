//! Files that PyTorch's `torch.save` writes: the zip form of today, the pickles of before 1.6, the tar
//! archives of before 0.1.10. Reads tensors; never runs what a file asks for.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use indexmap::IndexMap;
use memmap2::Mmap;

mod pickle;

use pickle::{Id, Pickle, Value, View};

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TorchFileError {
    /// The system's word.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is damaged, or of another kind.
    #[error("not a file of PyTorch's that can be read: {0}")]
    Malformed(String),
    /// It asks for code to be run.
    #[error("the file wants `{0}` to be run; loading weights never runs code")]
    Refused(String),
    /// It holds something else than tensors by their names.
    #[error("{0}")]
    Other(String),
}

/// A tensor, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its shape; empty for a single value.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Values,
}

/// The values of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Half, single and double precision become single precision.
    Float(Vec<f32>),
    /// Whole numbers and truth values.
    Integer(Vec<i64>),
}

/// Views of one storage may hold each number so many times, not more: a small file must not fill the
/// memory.
const MOST_COPIES: usize = 16;

/// The tensors of the file at `path` by their names, in its order. A checkpoint that keeps them under
/// `state_dict`, `model_state_dict` or `model` is looked into; a `module.` before every name, as
/// `DataParallel` leaves it, is dropped.
///
/// # Errors
/// When the file cannot be read, is damaged, holds no named tensors, or wants code to be run.
pub fn read(path: &Path) -> Result<IndexMap<String, Tensor>, TorchFileError> {
    let file = File::open(path)?;
    // SAFETY: a file that someone changes while it is read gives wrong numbers at worst: every
    // offset is checked against the length of the mapping.
    let bytes = unsafe { Mmap::map(&file)? };
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<IndexMap<String, Tensor>, TorchFileError> {
    let (pickle, storages) = if bytes.starts_with(b"PK") {
        zipped(bytes)?
    } else if bytes.get(257..262) == Some(b"ustar") {
        return from_tar(bytes);
    } else if bytes.first() == Some(&0x80) {
        legacy(bytes)?
    } else {
        return Err(TorchFileError::Malformed("neither a zip archive nor a pickle".into()));
    };
    let names = state_dict(&pickle)?;
    let mut reader = Reader { pickle: &pickle, storages: &storages, copied: 0 };
    let mut tensors = IndexMap::new();
    for (name, view) in names {
        let tensor = reader.tensor(&name, view)?;
        tensors.insert(name, tensor);
    }
    Ok(without_wrapper(tensors))
}

/// Raw numbers by the key that a pickle calls them.
type Storages<'a> = IndexMap<String, std::borrow::Cow<'a, [u8]>>;

/// The zip form: `<root>/data.pkl` and `<root>/data/<key>`.
fn zipped(bytes: &[u8]) -> Result<(Pickle, Storages<'_>), TorchFileError> {
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
    let mut entry = |name: &str| -> Result<Vec<u8>, TorchFileError> {
        let mut entry = archive.by_name(name).map_err(|error| broken(&error))?;
        let len = entry.size();
        // An entry that unpacks to more than the file holds is not one of PyTorch's.
        if len > bytes.len() as u64 {
            return Err(TorchFileError::Malformed(format!("`{name}` is larger than the file")));
        }
        let mut content = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
        entry.by_ref().take(len).read_to_end(&mut content)?;
        Ok(content)
    };
    if names.contains(&format!("{root}byteorder"))
        && entry(&format!("{root}byteorder"))?.trim_ascii() != b"little"
    {
        return Err(TorchFileError::Other("its numbers are big endian".into()));
    }
    let pickle = Pickle::read(&entry(&format!("{root}data.pkl"))?)?;
    let prefix = format!("{root}data/");
    let mut storages = Storages::new();
    for name in &names {
        if let Some(key) = name.strip_prefix(&prefix) {
            storages.insert(key.to_owned(), entry(name)?.into());
        }
    }
    Ok((pickle, storages))
}

/// The form before 1.6: magic number, version, facts about the machine, the object, the keys of the
/// storages, then each storage with its length.
fn legacy(bytes: &[u8]) -> Result<(Pickle, Storages<'_>), TorchFileError> {
    let mut at = 0;
    let next = |at: &mut usize| -> Result<Pickle, TorchFileError> {
        let pickle = Pickle::read(&bytes[*at..])?;
        *at += pickle.len;
        Ok(pickle)
    };
    let magic = next(&mut at)?;
    if magic.text(magic.root) != Some("1950a86a20f9469cfc6c") {
        return Err(TorchFileError::Malformed("a pickle, but not one of `torch.save`".into()));
    }
    let (_version, machine) = (next(&mut at)?, next(&mut at)?);
    if let Value::Dict(facts) = machine.get(machine.root) {
        let little = facts.iter().find(|(key, _)| machine.text(*key) == Some("little_endian"));
        if little.is_some_and(|(_, value)| *machine.get(*value) == Value::Bool(false)) {
            return Err(TorchFileError::Other("its numbers are big endian".into()));
        }
    }
    let object = next(&mut at)?;
    let keys = next(&mut at)?;
    let Value::List(listed) = keys.get(keys.root) else {
        return Err(TorchFileError::Malformed("the list of storages is no list".into()));
    };
    let sizes = element_sizes(&object)?;
    let mut storages = Storages::new();
    for key in listed {
        let key = name_of(&keys, *key)
            .ok_or_else(|| TorchFileError::Malformed("the key of a storage is no text".into()))?;
        let count = counted(bytes, &mut at, &key)?;
        let size = sizes.get(&key).copied().unwrap_or(1);
        storages.insert(key.clone(), raw(bytes, &mut at, count, size, &key)?.into());
    }
    Ok((object, storages))
}

/// The form before 0.1.10: a tar archive of `storages`, `tensors` and `pickle`.
fn from_tar(bytes: &[u8]) -> Result<IndexMap<String, Tensor>, TorchFileError> {
    let mut files: IndexMap<String, Vec<u8>> = IndexMap::new();
    for entry in tar::Archive::new(bytes).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        let mut content = Vec::new();
        entry.by_ref().take(bytes.len() as u64).read_to_end(&mut content)?;
        files.insert(name, content);
    }
    let file = |name: &str| {
        files
            .get(name)
            .map(Vec::as_slice)
            .ok_or_else(|| TorchFileError::Malformed(format!("a tar archive without `{name}`")))
    };
    let malformed = |what: &str| TorchFileError::Malformed(what.to_owned());
    let (held, mut at) = (file("storages")?, 0);
    let mut storages: IndexMap<String, (Kind, &[u8])> = IndexMap::new();
    for _ in 0..count_of(held, &mut at)? {
        let pickle = Pickle::read(&held[at..])?;
        at += pickle.len;
        let Value::Tuple(items) = pickle.get(pickle.root) else {
            return Err(malformed("a storage is not described by a tuple"));
        };
        let [key, _, class] = items[..] else {
            return Err(malformed("a storage is not described by three values"));
        };
        let key = name_of(&pickle, key).ok_or_else(|| malformed("a storage has no key"))?;
        let kind = kind_of(&pickle, class)?;
        let count = counted(held, &mut at, &key)?;
        storages.insert(key.clone(), (kind, raw(held, &mut at, count, kind.size(), &key)?));
    }
    // Parts of storages that have a key of their own: `(key, whole, offset, count)`.
    let parts = Pickle::read(&held[at..])?;
    let Value::List(listed) = parts.get(parts.root) else {
        return Err(malformed("the parts of storages are no list"));
    };
    for part in listed {
        let Value::Tuple(items) = parts.get(*part) else {
            return Err(malformed("a part of a storage is not described by a tuple"));
        };
        let [key, whole, offset, count] = items[..] else {
            return Err(malformed("a part of a storage is not described by four values"));
        };
        let length = |id| parts.int(id).and_then(|it| usize::try_from(it).ok());
        let place = length(offset).zip(length(count));
        let whole = name_of(&parts, whole).and_then(|whole| storages.get(&whole).copied());
        let (Some(key), Some((kind, bytes)), Some((offset, count))) =
            (name_of(&parts, key), whole, place)
        else {
            return Err(malformed("a part of a storage belongs to none"));
        };
        let begin = offset.checked_mul(kind.size());
        let mut begin = begin.ok_or_else(|| malformed("a part of a storage is too far away"))?;
        let bytes = raw(bytes, &mut begin, count, kind.size(), &key)?;
        storages.insert(key, (kind, bytes));
    }
    let (held, mut at) = (file("tensors")?, 0);
    let mut views: IndexMap<String, (String, View)> = IndexMap::new();
    for _ in 0..count_of(held, &mut at)? {
        let pickle = Pickle::read(&held[at..])?;
        at += pickle.len;
        let Value::Tuple(items) = pickle.get(pickle.root) else {
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
        let view = View { storage: 0, offset, shape: shape?, stride: stride? };
        views.insert(key, (storage, view));
    }
    let object = Pickle::read(file("pickle")?)?;
    let mut tensors = IndexMap::new();
    let mut copied = 0;
    for (name, id) in entries(&object)? {
        let Value::Outside(key) = object.get(id) else { continue };
        let found = name_of(&object, *key).and_then(|key| views.get(&key));
        let (storage, view) = found.ok_or_else(|| {
            TorchFileError::Malformed(format!("`{name}` is no tensor of the file"))
        })?;
        let (kind, bytes) = storages
            .get(storage)
            .ok_or_else(|| TorchFileError::Malformed(format!("`{name}` has no storage")))?;
        tensors.insert(name.clone(), kind.tensor(&name, view, bytes, &mut copied)?);
        if copied > MOST_COPIES.saturating_mul(file("storages")?.len()) {
            return Err(TorchFileError::Other("its tensors repeat their numbers too often".into()));
        }
    }
    if tensors.is_empty() {
        return Err(no_tensors(&object));
    }
    Ok(without_wrapper(tensors))
}

/// A number that a pickle at `at` is of.
fn count_of(bytes: &[u8], at: &mut usize) -> Result<usize, TorchFileError> {
    let pickle = Pickle::read(&bytes[*at..])?;
    *at += pickle.len;
    let count = pickle.int(pickle.root).and_then(|count| usize::try_from(count).ok());
    count.ok_or_else(|| TorchFileError::Malformed("a count is no number".into()))
}

/// A key: text, or a number as text.
fn name_of(pickle: &Pickle, id: Id) -> Option<String> {
    match pickle.get(id) {
        Value::Text(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number(bytes: &[u8], at: &mut usize, len: usize) -> Result<usize, TorchFileError> {
    let malformed = || TorchFileError::Malformed("a tensor's description ends too soon".into());
    let taken = bytes.get(*at..at.saturating_add(len)).ok_or_else(malformed)?;
    *at += len;
    let mut eight = [0; 8];
    eight[..len].copy_from_slice(taken);
    usize::try_from(i64::from_le_bytes(eight)).map_err(|_| malformed())
}

fn counted(bytes: &[u8], at: &mut usize, key: &str) -> Result<usize, TorchFileError> {
    number(bytes, at, 8)
        .map_err(|_| TorchFileError::Malformed(format!("storage `{key}` has no length")))
}

fn raw<'a>(
    bytes: &'a [u8],
    at: &mut usize,
    count: usize,
    size: usize,
    key: &str,
) -> Result<&'a [u8], TorchFileError> {
    let end = count.checked_mul(size).and_then(|len| at.checked_add(len));
    let taken = end.and_then(|end| bytes.get(*at..end));
    let taken = taken.ok_or_else(|| {
        TorchFileError::Malformed(format!("storage `{key}` ends too soon: the file is cut"))
    })?;
    *at += taken.len();
    Ok(taken)
}

/// What numbers a storage holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Double,
    Float,
    Half,
    BFloat16,
    Long,
    Int,
    Short,
    Char,
    Byte,
    Bool,
}

impl Kind {
    fn named(class: &str) -> Result<Self, TorchFileError> {
        let word = class.rsplit('.').next().unwrap_or_default();
        Ok(match word.trim_end_matches("Storage") {
            "Double" => Self::Double,
            "Float" => Self::Float,
            "Half" => Self::Half,
            "BFloat16" => Self::BFloat16,
            "Long" => Self::Long,
            "Int" => Self::Int,
            "Short" => Self::Short,
            "Char" => Self::Char,
            "Byte" => Self::Byte,
            "Bool" => Self::Bool,
            _ => {
                return Err(TorchFileError::Other(format!(
                    "numbers of the kind `{class}` cannot be read"
                )));
            }
        })
    }

    /// Bytes of a number.
    fn size(self) -> usize {
        match self {
            Self::Double | Self::Long => 8,
            Self::Float | Self::Int => 4,
            Self::Half | Self::BFloat16 | Self::Short => 2,
            Self::Char | Self::Byte | Self::Bool => 1,
        }
    }

    /// The numbers of a view, converted. `copied` counts numbers over all views.
    fn tensor(
        self,
        name: &str,
        view: &View,
        bytes: &[u8],
        copied: &mut usize,
    ) -> Result<Tensor, TorchFileError> {
        let held = bytes.len() / self.size();
        let outside = || TorchFileError::Malformed(format!("`{name}` lies outside of its storage"));
        let count = view.shape.iter().try_fold(1_usize, |all, side| all.checked_mul(*side));
        let count = count.ok_or_else(outside)?;
        if count > 0 {
            let span =
                view.shape.iter().zip(&view.stride).try_fold(view.offset, |end, (side, step)| {
                    (side - 1).checked_mul(*step).and_then(|far| end.checked_add(far))
                });
            if span.is_none_or(|last| last >= held) {
                return Err(outside());
            }
        }
        *copied = copied.saturating_add(count);
        if count > MOST_COPIES.saturating_mul(held) {
            return Err(TorchFileError::Other(format!("`{name}` repeats its numbers too often")));
        }
        let places = Places::new(view, count);
        let values = match self {
            Self::Double => Values::Float(gather(bytes, &places, |it: [u8; 8]| {
                #[expect(clippy::cast_possible_truncation, reason = "weights are kept in f32")]
                let single = f64::from_le_bytes(it) as f32;
                single
            })),
            Self::Float => Values::Float(gather(bytes, &places, f32::from_le_bytes)),
            Self::Half => {
                Values::Float(gather(bytes, &places, |it| from_half(u16::from_le_bytes(it))))
            }
            Self::BFloat16 => Values::Float(gather(bytes, &places, |it| {
                f32::from_bits(u32::from(u16::from_le_bytes(it)) << 16)
            })),
            Self::Long => Values::Integer(gather(bytes, &places, i64::from_le_bytes)),
            Self::Int => {
                Values::Integer(gather(bytes, &places, |it| i64::from(i32::from_le_bytes(it))))
            }
            Self::Short => {
                Values::Integer(gather(bytes, &places, |it| i64::from(i16::from_le_bytes(it))))
            }
            Self::Char => {
                Values::Integer(gather(bytes, &places, |it| i64::from(i8::from_le_bytes(it))))
            }
            Self::Byte | Self::Bool => {
                Values::Integer(gather(bytes, &places, |[it]: [u8; 1]| i64::from(it)))
            }
        };
        Ok(Tensor { shape: view.shape.clone(), values })
    }
}

/// A half-precision number (IEEE 754 binary16).
pub(super) fn from_half(bits: u16) -> f32 {
    let (sign, exponent, fraction) =
        (u32::from(bits >> 15) << 31, u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    match exponent {
        0 => {
            #[expect(clippy::cast_precision_loss, reason = "ten bits")]
            let small = fraction as f32 / 16_777_216.0;
            f32::from_bits(sign | small.to_bits())
        }
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// The places of a view's numbers in its storage, row by row.
struct Places<'a> {
    view: &'a View,
    count: usize,
    in_row: bool,
}

impl<'a> Places<'a> {
    fn new(view: &'a View, count: usize) -> Self {
        let mut expected = 1;
        let mut in_row = true;
        for (side, step) in view.shape.iter().zip(&view.stride).rev() {
            in_row &= *side == 1 || *step == expected;
            expected = expected.saturating_mul(*side);
        }
        Self { view, count, in_row }
    }
}

/// The numbers at `places`, each of N bytes.
fn gather<T, const N: usize>(
    bytes: &[u8],
    places: &Places,
    convert: impl Fn([u8; N]) -> T,
) -> Vec<T> {
    let numbers = bytes.as_chunks::<N>().0;
    let Places { view, count, in_row } = *places;
    if count == 0 {
        return Vec::new();
    }
    if in_row {
        return numbers[view.offset..view.offset + count].iter().map(|it| convert(*it)).collect();
    }
    let mut index = vec![0; view.shape.len()];
    let mut at = view.offset;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(convert(numbers[at]));
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            // A step that is never taken may be of any size.
            at = at.wrapping_add(view.stride[axis]);
            if index[axis] < view.shape[axis] {
                break;
            }
            at = at.wrapping_sub(view.shape[axis].wrapping_mul(view.stride[axis]));
            index[axis] = 0;
        }
    }
    values
}

/// Bytes of a number of each storage that a pickle names.
fn element_sizes(pickle: &Pickle) -> Result<IndexMap<String, usize>, TorchFileError> {
    let mut sizes = IndexMap::new();
    for id in pickle.outside() {
        let (kind, key, _) = storage_of(pickle, id)?;
        sizes.insert(key, kind.size());
    }
    Ok(sizes)
}

/// The kind and the key of a storage, and where in it a part of it begins:
/// `("storage", class, key, device, count)`, in old files with `(part, offset, count)` or nothing.
fn storage_of(pickle: &Pickle, storage: Id) -> Result<(Kind, String, usize), TorchFileError> {
    let malformed = || TorchFileError::Malformed("a storage is described in another way".into());
    let Value::Outside(id) = pickle.get(storage) else { return Err(malformed()) };
    let Value::Tuple(items) = pickle.get(*id) else { return Err(malformed()) };
    let [word, class, key, ..] = items[..] else { return Err(malformed()) };
    if pickle.text(word) != Some("storage") {
        return Err(malformed());
    }
    let mut begins = 0;
    if let Some(Value::Tuple(part)) = items.get(5).map(|id| pickle.get(*id)) {
        let offset = part.get(1).and_then(|id| pickle.int(*id));
        begins = offset.and_then(|it| usize::try_from(it).ok()).ok_or_else(malformed)?;
    }
    Ok((kind_of(pickle, class)?, name_of(pickle, key).ok_or_else(malformed)?, begins))
}

fn kind_of(pickle: &Pickle, class: Id) -> Result<Kind, TorchFileError> {
    match pickle.get(class) {
        Value::Global(name) => Kind::named(name),
        _ => Err(TorchFileError::Malformed("the class of a storage is no class".into())),
    }
}

/// The entries of the dictionary that holds the tensors.
fn entries(pickle: &Pickle) -> Result<Vec<(String, Id)>, TorchFileError> {
    let Value::Dict(all) = pickle.get(pickle.root) else {
        return Err(TorchFileError::Other(
            "it holds no dictionary of tensors: save `model.state_dict()`".into(),
        ));
    };
    let named = |entries: &[(Id, Id)]| -> Vec<(String, Id)> {
        entries.iter().filter_map(|(key, value)| Some((name_of(pickle, *key)?, *value))).collect()
    };
    let all = named(all);
    let is_tensor = |id: Id| matches!(pickle.get(id), Value::View(_) | Value::Outside(_));
    if all.iter().any(|(_, value)| is_tensor(*value)) {
        return Ok(all);
    }
    for key in ["state_dict", "model_state_dict", "model"] {
        if let Some((_, value)) = all.iter().find(|(name, _)| name == key)
            && let Value::Dict(inner) = pickle.get(*value)
        {
            return Ok(named(inner));
        }
    }
    Err(no_tensors(pickle))
}

fn no_tensors(pickle: &Pickle) -> TorchFileError {
    let keys: Vec<String> = match pickle.get(pickle.root) {
        Value::Dict(entries) => {
            entries.iter().take(8).filter_map(|(key, _)| name_of(pickle, *key)).collect()
        }
        _ => Vec::new(),
    };
    TorchFileError::Other(format!("it holds no tensors; its keys are {}", keys.join(", ")))
}

/// Every named tensor.
fn state_dict(pickle: &Pickle) -> Result<Vec<(String, &View)>, TorchFileError> {
    let mut views = Vec::new();
    for (name, id) in entries(pickle)? {
        if let Value::View(view) = pickle.get(id) {
            views.push((name, view));
        }
    }
    if views.is_empty() { Err(no_tensors(pickle)) } else { Ok(views) }
}

struct Reader<'a> {
    pickle: &'a Pickle,
    storages: &'a Storages<'a>,
    copied: usize,
}

impl Reader<'_> {
    fn tensor(&mut self, name: &str, view: &View) -> Result<Tensor, TorchFileError> {
        let (kind, key, begins) = storage_of(self.pickle, view.storage)?;
        let view = View { offset: view.offset.saturating_add(begins), ..view.clone() };
        let bytes = self.storages.get(&key).ok_or_else(|| {
            TorchFileError::Malformed(format!("the storage `{key}` of `{name}` is not there"))
        })?;
        let tensor = kind.tensor(name, &view, bytes, &mut self.copied)?;
        let all: usize = self.storages.values().map(|bytes| bytes.len()).sum();
        if self.copied > MOST_COPIES.saturating_mul(all) {
            return Err(TorchFileError::Other("its tensors repeat their numbers too often".into()));
        }
        Ok(tensor)
    }
}

fn without_wrapper(tensors: IndexMap<String, Tensor>) -> IndexMap<String, Tensor> {
    if !tensors.keys().all(|name| name.starts_with("module.")) {
        return tensors;
    }
    let bare = |name: String| name["module.".len()..].to_owned();
    tensors.into_iter().map(|(name, tensor)| (bare(name), tensor)).collect()
}

#[cfg(test)]
mod tests;
