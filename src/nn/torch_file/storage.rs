//! Raw numbers: where those of a tensor lie in the file, and what they become. A storage is read, and
//! its checksum compared, when a tensor of it is asked for: a checkpoint's optimizer stays on the disk.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::ops::Range;

use half::{bf16, f16};

use super::TorchFileError;
use super::value::TensorView;

/// Views of one storage may hold each number so many times, not more: a small file must not fill the
/// memory.
const MOST_COPIES: usize = 16;

/// A tensor, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its shape; empty for a single value.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Numbers,
}

/// The values of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// Half, single and double precision become single precision.
    Float(Vec<f32>),
    /// Whole numbers and truth values.
    Integer(Vec<i64>),
}

/// Where the bytes of a storage are.
#[derive(Debug, Clone)]
pub(super) struct StorageRange {
    /// Place in the file.
    pub range: Range<usize>,
    /// Bytes that they unpack to, where they are packed.
    pub deflated: Option<usize>,
    /// CRC-32 of what they unpack to, where the file says it.
    pub checksum: Option<u32>,
}

impl StorageRange {
    /// Bytes as they are, without a checksum.
    pub fn plain(range: Range<usize>) -> Self {
        Self { range, deflated: None, checksum: None }
    }

    /// The bytes, out of those of the whole file.
    pub fn read<'a>(&self, file: &'a [u8], check: bool) -> Result<Cow<'a, [u8]>, TorchFileError> {
        let cut = || TorchFileError::Malformed("the file is cut".into());
        let raw = file.get(self.range.clone()).ok_or_else(cut)?;
        let bytes = match self.deflated {
            None => Cow::Borrowed(raw),
            Some(len) => {
                // Weights hardly shrink: what unpacks to more than the whole file is none.
                if len > file.len() {
                    return Err(TorchFileError::Malformed("a part is larger than the file".into()));
                }
                let mut unpacked = Vec::with_capacity(len);
                let mut reader = flate2::read::DeflateDecoder::new(raw).take(len as u64 + 1);
                reader.read_to_end(&mut unpacked)?;
                if unpacked.len() != len {
                    return Err(cut());
                }
                Cow::Owned(unpacked)
            }
        };
        if let (true, Some(expected)) = (check, self.checksum) {
            let mut found = flate2::Crc::new();
            found.update(&bytes);
            if found.sum() != expected {
                return Err(TorchFileError::Malformed("its checksum does not fit: damaged".into()));
            }
        }
        Ok(bytes)
    }
}

/// The storages of a file by their keys.
#[derive(Debug, Default)]
pub(super) struct Storages {
    held: HashMap<String, StorageRange>,
    /// Those whose checksum was compared.
    checked: RefCell<HashSet<String>>,
}

impl FromIterator<(String, StorageRange)> for Storages {
    fn from_iter<I: IntoIterator<Item = (String, StorageRange)>>(all: I) -> Self {
        Self { held: all.into_iter().collect(), checked: RefCell::default() }
    }
}

impl Storages {
    /// The bytes of the storage `key`, out of those of the whole file.
    pub fn read<'a>(&self, key: &str, file: &'a [u8]) -> Result<Cow<'a, [u8]>, TorchFileError> {
        let held = self.held.get(key).ok_or_else(|| {
            TorchFileError::Malformed(format!("the storage `{key}` is not there"))
        })?;
        let first = !self.checked.borrow().contains(key);
        let bytes = held.read(file, first).map_err(|error| match error {
            TorchFileError::Malformed(reason) => {
                TorchFileError::Malformed(format!("storage `{key}`: {reason}"))
            }
            other => other,
        })?;
        if first {
            self.checked.borrow_mut().insert(key.to_owned());
        }
        Ok(bytes)
    }
}

/// What numbers a storage holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ElementType {
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
    UInt16,
    UInt32,
    /// Numbers that weights are not, of so many bytes.
    Strange(usize),
}

impl ElementType {
    /// By the name of a storage's class or of an element type; `None` for neither.
    pub fn named(name: &str) -> Option<Self> {
        let word = name.rsplit('.').next().unwrap_or_default();
        Some(match word.trim_end_matches("Storage") {
            "Double" | "float64" => Self::Double,
            "Float" | "float32" => Self::Float,
            "Half" | "float16" => Self::Half,
            "BFloat16" | "bfloat16" => Self::BFloat16,
            "Long" | "int64" => Self::Long,
            "Int" | "int32" => Self::Int,
            "Short" | "int16" => Self::Short,
            "Char" | "int8" => Self::Char,
            "Byte" | "uint8" => Self::Byte,
            "Bool" | "bool" => Self::Bool,
            "uint16" => Self::UInt16,
            "uint32" => Self::UInt32,
            "ComplexDouble" | "complex128" => Self::Strange(16),
            "ComplexFloat" | "complex64" | "uint64" => Self::Strange(8),
            "QInt32" | "complex32" => Self::Strange(4),
            "bits16" => Self::Strange(2),
            "Untyped" | "QInt8" | "QUInt8" | "QUInt4x2" | "QUInt2x4" => Self::Strange(1),
            word if word.starts_with("float8_") || word.starts_with("bits") => Self::Strange(1),
            _ => return None,
        })
    }

    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Self::Double | Self::Long => 8,
            Self::Float | Self::Int | Self::UInt32 => 4,
            Self::Half | Self::BFloat16 | Self::Short | Self::UInt16 => 2,
            Self::Char | Self::Byte | Self::Bool => 1,
            Self::Strange(size) => size,
        }
    }

    /// The numbers of a view, converted.
    pub fn tensor(
        self,
        name: &str,
        view: &TensorView,
        bytes: &[u8],
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
        if count > MOST_COPIES.saturating_mul(held) {
            return Err(TorchFileError::other(format!("`{name}` repeats its numbers too often")));
        }
        let places = Places::new(view, count);
        let values = match self {
            Self::Double => Numbers::Float(gather(bytes, &places, |it: [u8; 8]| {
                #[expect(clippy::cast_possible_truncation, reason = "weights are kept in f32")]
                let single = f64::from_le_bytes(it) as f32;
                single
            })),
            Self::Float => Numbers::Float(gather(bytes, &places, f32::from_le_bytes)),
            Self::Half => {
                Numbers::Float(gather(bytes, &places, |it| f16::from_le_bytes(it).to_f32()))
            }
            Self::BFloat16 => {
                Numbers::Float(gather(bytes, &places, |it| bf16::from_le_bytes(it).to_f32()))
            }
            Self::Long => Numbers::Integer(gather(bytes, &places, i64::from_le_bytes)),
            Self::Int => {
                Numbers::Integer(gather(bytes, &places, |it| i64::from(i32::from_le_bytes(it))))
            }
            Self::Short => {
                Numbers::Integer(gather(bytes, &places, |it| i64::from(i16::from_le_bytes(it))))
            }
            Self::Char => {
                Numbers::Integer(gather(bytes, &places, |it| i64::from(i8::from_le_bytes(it))))
            }
            Self::Byte | Self::Bool => {
                Numbers::Integer(gather(bytes, &places, |[it]: [u8; 1]| i64::from(it)))
            }
            Self::UInt16 => {
                Numbers::Integer(gather(bytes, &places, |it| i64::from(u16::from_le_bytes(it))))
            }
            Self::UInt32 => {
                Numbers::Integer(gather(bytes, &places, |it| i64::from(u32::from_le_bytes(it))))
            }
            Self::Strange(_) => {
                return Err(TorchFileError::other(format!(
                    "`{name}` holds numbers of a kind that weights are not"
                )));
            }
        };
        Ok(Tensor { shape: view.shape.clone(), values })
    }
}

/// The places of a view's numbers in its storage, row by row.
struct Places<'a> {
    view: &'a TensorView,
    count: usize,
    in_row: bool,
}

impl<'a> Places<'a> {
    fn new(view: &'a TensorView, count: usize) -> Self {
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
