//! NumPy's files of one array (`.npy`, format versions 1 to 3): what programs in other languages read and write without
//! a library of ours. Arrays are little-endian; those in Fortran order are put in C order. Knows nothing of images or classes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use half::f16;

use super::error::DataError;
use crate::bytes::Bytes;
use crate::system;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// The header of version 1 ends at a multiple of so many bytes.
const ALIGNMENT: usize = 64;
/// A longer header is damage: it holds three short entries.
const LONGEST_HEADER: usize = 1 << 16;

/// The type of an array's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberKind {
    /// True or false, 1 or 0.
    Bool,
    /// Whole numbers of 8 bits with a sign.
    I8,
    /// Bytes, 0 to 255.
    U8,
    /// Whole numbers of 16 bits with a sign.
    I16,
    /// Whole numbers of 16 bits.
    U16,
    /// Whole numbers of 32 bits with a sign.
    I32,
    /// Whole numbers of 32 bits.
    U32,
    /// Whole numbers of 64 bits with a sign.
    I64,
    /// Whole numbers of 64 bits; read as far as they fit into 64 bits with a sign.
    U64,
    /// Numbers in half precision.
    F16,
    /// Numbers in single precision.
    F32,
    /// Numbers in double precision.
    F64,
}

impl NumberKind {
    const ALL: [Self; 12] = [
        Self::Bool,
        Self::I8,
        Self::U8,
        Self::I16,
        Self::U16,
        Self::I32,
        Self::U32,
        Self::I64,
        Self::U64,
        Self::F16,
        Self::F32,
        Self::F64,
    ];

    /// As a header has it.
    fn word(self) -> &'static str {
        match self {
            Self::Bool => "|b1",
            Self::I8 => "|i1",
            Self::U8 => "|u1",
            Self::I16 => "<i2",
            Self::U16 => "<u2",
            Self::I32 => "<i4",
            Self::U32 => "<u4",
            Self::I64 => "<i8",
            Self::U64 => "<u8",
            Self::F16 => "<f2",
            Self::F32 => "<f4",
            Self::F64 => "<f8",
        }
    }

    /// As NumPy calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::I16 => "int16",
            Self::U16 => "uint16",
            Self::I32 => "int32",
            Self::U32 => "uint32",
            Self::I64 => "int64",
            Self::U64 => "uint64",
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    fn size(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }
}

/// An array in a file, which is mapped and, in C order, not copied.
#[derive(Debug, Clone)]
pub struct NpyArray {
    kind: NumberKind,
    shape: Vec<usize>,
    data: Bytes,
}

impl NpyArray {
    /// Opens the array at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is not an array, holds other numbers than a [`NumberKind`], or has not as many
    /// bytes as its shape says.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let file = system::open_file(path).map_err(|error| DataError::io(path, error))?;
        let bytes = Bytes::map(&file).map_err(|error| DataError::io(path, error))?;
        Self::parse(&bytes).map_err(|reason| DataError::malformed(path, reason))
    }

    fn parse(bytes: &Bytes) -> Result<Self, String> {
        RawArray::parse(bytes).and_then(Self::of)
    }

    fn of(raw: RawArray) -> Result<Self, String> {
        let kind = NumberKind::ALL.into_iter().find(|it| it.word() == raw.descr);
        let kind = kind.ok_or_else(|| {
            let known = NumberKind::ALL.map(NumberKind::name).join(", ");
            format!("its numbers are `{}`; what is read are {known}, little-endian", raw.descr)
        })?;
        let data = raw.values(kind.size()).ok_or_else(|| {
            let found = raw.data.len();
            format!("{found} bytes of data, which is not {} {:?}", kind.name(), raw.shape)
        })?;
        let array = Self { kind, shape: raw.shape, data };
        match array.beyond() {
            Some(number) => {
                Err(format!("it holds {number}, which is more than is read of a number"))
            }
            None => Ok(array),
        }
    }

    /// A whole number that does not fit into 64 bits with a sign.
    fn beyond(&self) -> Option<u64> {
        let numbers = self.data.as_chunks().0.iter().map(|it| u64::from_le_bytes(*it));
        let mut numbers = numbers.filter(|_| self.kind == NumberKind::U64);
        numbers.find(|it| i64::try_from(*it).is_err())
    }

    /// The type of its numbers.
    pub fn kind(&self) -> NumberKind {
        self.kind
    }

    /// Its sides.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its bytes; `None` where it holds other numbers.
    pub fn bytes(&self) -> Option<&Bytes> {
        (self.kind == NumberKind::U8).then_some(&self.data)
    }

    /// Its numbers where they have fractions, in single precision; `None` where they are whole numbers.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what is too large becomes infinite, which is refused"
    )]
    pub fn floats(&self) -> Option<Vec<f32>> {
        match self.kind {
            NumberKind::F16 => {
                let wide = |it: &[u8; 2]| f16::from_le_bytes(*it).to_f32();
                Some(self.data.as_chunks().0.iter().map(wide).collect())
            }
            NumberKind::F32 => {
                Some(self.data.as_chunks().0.iter().map(|it| f32::from_le_bytes(*it)).collect())
            }
            NumberKind::F64 => {
                let four = |it: &[u8; 8]| f64::from_le_bytes(*it) as f32;
                Some(self.data.as_chunks().0.iter().map(four).collect())
            }
            NumberKind::Bool
            | NumberKind::I8
            | NumberKind::U8
            | NumberKind::I16
            | NumberKind::U16
            | NumberKind::I32
            | NumberKind::U32
            | NumberKind::I64
            | NumberKind::U64 => None,
        }
    }

    /// Its numbers where they are in double precision.
    pub fn doubles(&self) -> Option<Vec<f64>> {
        let number = |it: &[u8; 8]| f64::from_le_bytes(*it);
        (self.kind == NumberKind::F64).then(|| self.data.as_chunks().0.iter().map(number).collect())
    }

    /// Its numbers where they are whole; `None` where they have fractions.
    pub fn integers(&self) -> Option<Vec<i64>> {
        fn wide<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> i64) -> Vec<i64> {
            data.as_chunks().0.iter().map(|bytes| number(*bytes)).collect()
        }
        let data = &self.data;
        Some(match self.kind {
            NumberKind::Bool => wide(data, |[it]| i64::from(it != 0)),
            NumberKind::I8 => wide(data, |it| i8::from_le_bytes(it).into()),
            NumberKind::U8 => wide(data, |it| u8::from_le_bytes(it).into()),
            NumberKind::I16 => wide(data, |it| i16::from_le_bytes(it).into()),
            NumberKind::U16 => wide(data, |it| u16::from_le_bytes(it).into()),
            NumberKind::I32 => wide(data, |it| i32::from_le_bytes(it).into()),
            NumberKind::U32 => wide(data, |it| u32::from_le_bytes(it).into()),
            // What is beyond was refused when the array was opened.
            NumberKind::I64 | NumberKind::U64 => wide(data, i64::from_le_bytes),
            NumberKind::F16 | NumberKind::F32 | NumberKind::F64 => return None,
        })
    }
}

/// An array whose type was not looked at yet.
struct RawArray {
    /// As the header has it: `<f4`.
    descr: String,
    /// Whether the first index runs fastest.
    is_fortran: bool,
    shape: Vec<usize>,
    data: Bytes,
}

impl RawArray {
    fn parse(bytes: &Bytes) -> Result<Self, String> {
        let rest = bytes.strip_prefix(MAGIC).ok_or("not a file of NumPy (.npy)")?;
        let (length, start) = match *rest {
            [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), 10),
            [2 | 3, _, a, b, c, d, ..] => {
                (usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX), 12)
            }
            [version, ..] => {
                return Err(format!("version {version} of NumPy's format is not known"));
            }
            [] => return Err("the file ends in its header".into()),
        };
        if length > LONGEST_HEADER {
            return Err(format!("its header claims {length} bytes"));
        }
        let header = bytes.get(start..start + length).ok_or("the file ends in its header")?;
        let header = std::str::from_utf8(header).map_err(|_| "its header is not text")?;
        let data = bytes.part(start + length..bytes.len());
        read_header(header, data)
    }

    /// The values of `size` bytes each in C order, if they are as many as the shape says.
    fn values(&self, size: usize) -> Option<Bytes> {
        let wanted = self.shape.iter().try_fold(size, |size, side| size.checked_mul(*side));
        let fits = wanted == Some(self.data.len());
        let is_one = self.shape.iter().filter(|side| **side != 1).count() < 2;
        fits.then(|| match self.is_fortran && !is_one && !self.data.is_empty() {
            true => c_order(&self.data, size, &self.shape).into(),
            false => self.data.clone(),
        })
    }
}

/// `data` in C order that are in Fortran order: values of `size` bytes, at least one of them.
pub(super) fn c_order(data: &[u8], size: usize, shape: &[usize]) -> Vec<u8> {
    let mut ordered = Vec::with_capacity(data.len());
    let mut index = vec![0; shape.len()];
    loop {
        let from = index.iter().zip(shape).rev().fold(0, |from, (at, side)| from * side + at);
        ordered.extend_from_slice(&data[from * size..][..size]);
        // The last index runs fastest.
        let next = (0..shape.len()).rev().find(|axis| index[*axis] + 1 < shape[*axis]);
        let Some(next) = next else { return ordered };
        index[next] += 1;
        index[next + 1..].fill(0);
    }
}

/// An array of numbers or of texts.
#[derive(Debug, Clone)]
pub enum AnyArray {
    /// Numbers.
    Numbers(NpyArray),
    /// Texts (`<U7` or `|S7`: of so many characters or bytes at most), with its sides.
    Texts(Vec<String>, Vec<usize>),
}

impl AnyArray {
    /// Reads what a file of NumPy's holds.
    ///
    /// # Errors
    /// As [`NpyArray::open`], also when texts are not Unicode.
    pub fn parse(bytes: &Bytes) -> Result<Self, String> {
        let raw = RawArray::parse(bytes)?;
        let length = |start: &str| raw.descr.strip_prefix(start)?.parse::<usize>().ok();
        let (wide, letters) = match (length("<U"), length("|S"), &*raw.descr) {
            (Some(letters), ..) => (true, letters),
            (None, Some(letters), _) => (false, letters),
            (None, None, "|O") => {
                return Err("it holds Python objects, which are not read: write texts as \
                            `array.astype(str)`"
                    .into());
            }
            (None, None, _) => return NpyArray::of(raw).map(Self::Numbers),
        };
        let size = letters.checked_mul(if wide { 4 } else { 1 }).filter(|size| *size > 0);
        let values = size.and_then(|size| Some((size, raw.values(size)?)));
        let (size, data) = values.ok_or_else(|| {
            let RawArray { descr, shape, data, .. } = &raw;
            format!("{} bytes of data, which is not `{descr}` {shape:?}", data.len())
        })?;
        let texts: Option<Vec<String>> =
            data.chunks_exact(size).map(if wide { wide_text } else { plain_text }).collect();
        match texts {
            Some(texts) => Ok(Self::Texts(texts, raw.shape)),
            None => Err("a text in it is not Unicode".into()),
        }
    }

    /// Its sides.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Numbers(array) => array.shape(),
            Self::Texts(_, shape) => shape,
        }
    }
}

/// A text of four bytes a character; zeros fill it up.
fn wide_text(bytes: &[u8]) -> Option<String> {
    let letters = bytes.as_chunks().0.iter().map(|it| u32::from_le_bytes(*it));
    let letters: Option<String> = letters.map(char::from_u32).collect();
    Some(letters?.trim_end_matches('\0').to_owned())
}

/// A text in UTF-8; zeros fill it up.
fn plain_text(bytes: &[u8]) -> Option<String> {
    Some(std::str::from_utf8(bytes).ok()?.trim_end_matches('\0').to_owned())
}

/// The array of `data` whose header is `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn read_header(text: &str, data: Bytes) -> Result<RawArray, String> {
    let odd = || {
        format!("its header is `{}`, not a table of descr, fortran_order and shape", text.trim())
    };
    let inner =
        text.trim().strip_prefix('{').and_then(|it| it.strip_suffix('}')).ok_or_else(odd)?;
    let (mut descr, mut is_fortran, mut shape) = (None, None, None);
    let mut rest = inner.trim_start();
    while !rest.is_empty() {
        let (key, after) = quoted(rest).ok_or_else(odd)?;
        let after = after.trim_start().strip_prefix(':').ok_or_else(odd)?.trim_start();
        rest = match key {
            "descr" => {
                let (word, after) = quoted(after).ok_or("its numbers are records")?;
                descr = Some(word.to_owned());
                after
            }
            "fortran_order" => {
                let words = [("False", false), ("True", true)];
                let (after, found) = words
                    .iter()
                    .find_map(|(word, is)| Some((after.strip_prefix(word)?, *is)))
                    .ok_or_else(odd)?;
                is_fortran = Some(found);
                after
            }
            "shape" => {
                let (sides, after) =
                    after.strip_prefix('(').and_then(|it| it.split_once(')')).ok_or_else(odd)?;
                let sides = sides.split(',').map(str::trim).filter(|it| !it.is_empty());
                let sides: Result<Vec<usize>, _> = sides.map(str::parse).collect();
                shape = Some(sides.map_err(|_| odd())?);
                after
            }
            _ => return Err(odd()),
        };
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    match (descr, is_fortran, shape) {
        (Some(descr), Some(is_fortran), Some(shape)) => {
            Ok(RawArray { descr, is_fortran, shape, data })
        }
        _ => Err(odd()),
    }
}

/// A text in quotes, and what comes after it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|it| ['\'', '"'].contains(it))?;
    text[1..].split_once(quote)
}

/// Writes an array of `shape` to `path`; `data` are its numbers in C order, little-endian.
///
/// # Errors
/// When the file cannot be written.
///
/// # Panics
/// When `data` has not as many bytes as the shape says.
pub fn write(path: &Path, kind: NumberKind, shape: &[usize], data: &[u8]) -> Result<(), DataError> {
    assert_eq!(
        shape.iter().product::<usize>() * kind.size(),
        data.len(),
        "as many as the shape says"
    );
    put(path, &header(kind, shape), data).map_err(|error| DataError::io(path, error))
}

fn put(path: &Path, header: &[u8], data: &[u8]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(header)?;
    file.write_all(data)?;
    file.flush()
}

fn header(kind: NumberKind, shape: &[usize]) -> Vec<u8> {
    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
    // A tuple of one has a comma.
    let comma = if sides.len() == 1 { "," } else { "" };
    let sides = format!("({}{comma})", sides.join(", "));
    let mut text =
        format!("{{'descr': '{}', 'fortran_order': False, 'shape': {sides}, }}", kind.word());
    let start = MAGIC.len() + 4;
    let whole = (start + text.len() + 1).next_multiple_of(ALIGNMENT);
    text.push_str(&" ".repeat(whole - start - text.len() - 1));
    text.push('\n');
    let length = u16::try_from(text.len()).expect("a few sides");
    [&MAGIC[..], &[1, 0], &length.to_le_bytes(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(bytes: &[u8]) -> Result<NpyArray, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        NpyArray::open(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn texts_are_read_in_both_forms_and_python_objects_are_not() {
        let of = |descr: &str, shape: &str, data: &[u8]| {
            let text =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
            let length = u16::try_from(text.len()).unwrap().to_le_bytes();
            let bytes = [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes(), data].concat();
            AnyArray::parse(&bytes.into())
        };
        let texts = |found: Result<AnyArray, String>| match found.unwrap() {
            AnyArray::Texts(texts, shape) => (texts, shape),
            AnyArray::Numbers(numbers) => panic!("{numbers:?}"),
        };
        let wide: Vec<u8> = "bü\0lamp"
            .chars()
            .filter(|it| *it != 'p')
            .flat_map(|it| u32::from(it).to_le_bytes())
            .collect();
        assert_eq!(texts(of("<U3", "(2,)", &wide)), (vec!["bü".into(), "lam".into()], vec![2]));
        assert_eq!(
            texts(of("|S3", "(2, 1)", b"ab\0cde")),
            (vec!["ab".into(), "cde".into()], vec![2, 1])
        );
        assert!(matches!(of("|u1", "(2,)", &[1, 2]), Ok(AnyArray::Numbers(_))));
        assert!(of("|O", "(2,)", b"").unwrap_err().contains("astype(str)"));
        assert!(of("|S3", "(2,)", b"ab").unwrap_err().contains("2 bytes of data"));
        assert!(of("|S0", "(2,)", b"").unwrap_err().contains("0 bytes of data"));
        assert!(of("|S1", "(1,)", &[0xff]).unwrap_err().contains("not Unicode"));
    }

    #[test]
    fn an_array_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let numbers = [1.5_f32, -2.0, 0.25, 3e9, 0.0, 7.0];
        let data: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
        write(&path, NumberKind::F32, &[2, 3], &data).unwrap();
        assert_eq!(fs::read(&path).unwrap().len() % ALIGNMENT, data.len());
        let array = NpyArray::open(&path).unwrap();
        assert_eq!((array.shape(), array.floats().unwrap()), (&[2, 3][..], numbers.to_vec()));
        assert!(array.integers().is_none() && array.bytes().is_none());
        for shape in [vec![4], vec![], vec![2, 2, 1]] {
            let data = vec![9; shape.iter().product()];
            write(&path, NumberKind::U8, &shape, &data).unwrap();
            let array = NpyArray::open(&path).unwrap();
            assert_eq!((array.shape(), array.integers().unwrap().len()), (&*shape, data.len()));
        }
    }

    /// The bytes that `numpy.save` of version 2 wrote for `numpy.array([[1, 2, 3]], dtype="<i8")`.
    #[test]
    fn what_numpy_wrote_is_read_and_written_again_byte_for_byte() {
        let mut bytes =
            b"\x93NUMPY\x01\x00v\x00{'descr': '<i8', 'fortran_order': False, 'shape': (1, 3), }"
                .to_vec();
        bytes.resize(127, b' ');
        bytes.push(b'\n');
        bytes.extend([1_i64, 2, 3].iter().flat_map(|it| it.to_le_bytes()));
        let array = open(&bytes).unwrap();
        assert_eq!((array.shape(), array.integers()), (&[1, 3][..], Some(vec![1, 2, 3])));
        assert_eq!([header(NumberKind::I64, &[1, 3]), array.data.to_vec()].concat(), bytes);
    }

    #[test]
    fn whole_numbers_of_every_width_are_read_and_what_is_beyond_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        for (kind, last) in [
            (NumberKind::Bool, 1),
            (NumberKind::I8, -1),
            (NumberKind::U8, 255),
            (NumberKind::I16, -1),
            (NumberKind::U16, 65_535),
            (NumberKind::I32, -1),
            (NumberKind::U32, 4_294_967_295),
            (NumberKind::I64, -1),
        ] {
            let data = [vec![1], vec![0; kind.size() - 1], vec![255; kind.size()]].concat();
            write(&path, kind, &[2], &data).unwrap();
            let array = NpyArray::open(&path).unwrap();
            assert_eq!(array.integers(), Some(vec![1, last]), "{kind:?}");
            assert_eq!((array.kind(), array.floats()), (kind, None));
        }
        write(&path, NumberKind::U64, &[1], &7_u64.to_le_bytes()).unwrap();
        assert_eq!(NpyArray::open(&path).unwrap().integers(), Some(vec![7]));
        write(&path, NumberKind::U64, &[1], &u64::MAX.to_le_bytes()).unwrap();
        let error = NpyArray::open(&path).unwrap_err().to_string();
        assert!(error.contains("it holds 18446744073709551615, which is more than"), "{error}");
    }

    /// `numpy.asfortranarray(numpy.arange(12).reshape(2, 3, 2))` and texts, as NumPy saves them.
    #[test]
    fn arrays_in_fortran_order_are_put_in_c_order() {
        let of = |descr: &str, shape: &str, data: &[u8]| {
            let text =
                format!("{{'descr': '{descr}', 'fortran_order': True, 'shape': {shape}, }}\n");
            let length = u16::try_from(text.len()).unwrap().to_le_bytes();
            Bytes::from([&MAGIC[..], &[1, 0], &length, text.as_bytes(), data].concat())
        };
        let numbers = |shape: &str, data: &[u8]| {
            NpyArray::parse(&of("|u1", shape, data)).unwrap().integers().unwrap()
        };
        let three = numbers("(2, 3, 2)", &[0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11]);
        assert_eq!(three, (0..12).collect::<Vec<i64>>());
        for shape in ["(4,)", "(4, 1)", "(1, 4)"] {
            assert_eq!(numbers(shape, &[1, 2, 3, 4]), [1, 2, 3, 4], "{shape}");
        }
        assert!(numbers("(0, 3)", &[]).is_empty());
        assert_eq!(numbers("()", &[7]), [7]);
        let texts = AnyArray::parse(&of("|S2", "(2, 2)", b"a\0c\0b\0dd")).unwrap();
        let AnyArray::Texts(texts, _) = texts else { panic!("texts") };
        assert_eq!(texts, ["a", "b", "c", "dd"]);
    }

    #[test]
    fn what_is_no_such_array_is_an_error_that_says_why() {
        let of = |header: &str, data: &[u8]| {
            let length = u16::try_from(header.len()).unwrap().to_le_bytes();
            [&MAGIC[..], &[1, 0], &length, header.as_bytes(), data].concat()
        };
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        assert!(open(&of(text, &[0; 8])).is_ok());
        for (bytes, said) in [
            (of(text, &[0; 7]), "7 bytes of data, which is not float32 [2]"),
            (of(&text.replace("False", "True"), &[0; 7]), "7 bytes of data"),
            (of(&text.replace("False", "Maybe"), &[0; 8]), "its header is"),
            (of(&text.replace("<f4", ">f4"), &[0; 8]), "its numbers are `>f4`"),
            (of(&text.replace("<f4", "<c8"), &[0; 8]), "float64, little-endian"),
            (of(&text.replace("<f4", "<f2"), &[0; 8]), "8 bytes of data, which is not float16 [2]"),
            (of(&text.replace("(2,)", "(2, x)"), &[0; 8]), "its header is"),
            (of(&text.replace("(2,)", "(4294967296, 4294967296)"), &[0; 8]), "8 bytes of data"),
            (of("{'descr': [('a', '<f4')], 'shape': (2,)}", &[]), "records"),
            (b"\x93NUMPY".to_vec(), "ends in its header"),
            (b"\x93NUMPY\x09\x00\x00\x00".to_vec(), "version 9"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "claims"),
            (b"accuracy,0.5\n".to_vec(), "not a file of NumPy"),
        ] {
            let error = open(&bytes).unwrap_err();
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}
