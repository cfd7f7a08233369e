//! MATLAB's files of level 5, as `-v6` and `-v7` write them: arrays of numbers with a name ("MAT-File
//! Format", The MathWorks).
//!
//! A header of 128 bytes, then elements: a tag (type and length), the content, and padding to 8 bytes. An
//! element may be packed by zlib. Variables that are no arrays of real numbers are known by name, and what they hold is not
//! looked at.

use std::borrow::Cow;
use std::io::Read;

use crate::data::npy::c_order;

/// Bytes that all packed elements of a file may have together once they are unpacked: keeps a crafted file
/// from filling the memory.
const LARGEST: u64 = 1 << 30;

const HEADER: usize = 128;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// What a file holds under a name.
#[derive(Debug)]
pub(super) struct MatlabVariable {
    /// What it is called.
    pub name: String,
    /// Its numbers, or what it is instead of an array of real numbers.
    pub array: Result<MatlabArray, String>,
}

/// An array of real numbers.
#[derive(Debug)]
pub(super) struct MatlabArray {
    /// Its dimensions, two or more; the first one counts fastest.
    pub dimensions: Vec<usize>,
    number: Number,
    order: ByteOrder,
    data: Vec<u8>,
}

/// The numbers of an array.
#[derive(Debug, PartialEq)]
pub(super) enum Numbers {
    /// Of a type without fractions.
    Whole(Vec<i64>),
    /// Of a type with fractions.
    Real(Vec<f64>),
}

impl MatlabArray {
    /// All of its numbers in C order, where the last dimension counts fastest: rows one after the other.
    ///
    /// # Errors
    /// When a whole number does not fit into 64 bits with a sign.
    pub(super) fn rows(&self) -> Result<Numbers, String> {
        let size = self.number.size();
        let data = match self.data.is_empty() {
            true => Vec::new(),
            false => c_order(&self.data, size, &self.dimensions),
        };
        let numbers = data.chunks_exact(size);
        if matches!(self.number, Number::F32 | Number::F64) {
            let value = |bytes| self.number.value(bytes, self.order);
            return Ok(Numbers::Real(numbers.map(value).collect()));
        }
        let whole = |bytes| {
            let number = self.number.whole(bytes, self.order);
            i64::try_from(number).map_err(|_| format!("{number} is more than is read of a number"))
        };
        numbers.map(whole).collect::<Result<_, _>>().map(Numbers::Whole)
    }

    /// The number at a place, columns one after the other. Whole numbers of 64 bits are rounded.
    ///
    /// # Panics
    /// When the place is outside.
    pub(super) fn value(&self, at: usize) -> f64 {
        let size = self.number.size();
        self.number.value(&self.data[at * size..][..size], self.order)
    }
}

/// How the bytes of a number follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// The bytes with the lowest first.
    fn little<const N: usize>(self, bytes: &[u8]) -> [u8; N] {
        let mut little: [u8; N] = bytes.try_into().expect("as many as the number has");
        if self == Self::Big {
            little.reverse();
        }
        little
    }
}

/// How a number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

impl Number {
    /// What the type of an element says; `None` for what is no number.
    fn of(kind: u32) -> Option<Self> {
        Some(match kind {
            1 => Self::I8,
            2 => Self::U8,
            3 => Self::I16,
            4 => Self::U16,
            5 => Self::I32,
            6 => Self::U32,
            7 => Self::F32,
            9 => Self::F64,
            12 => Self::I64,
            13 => Self::U64,
            _ => return None,
        })
    }

    /// Bytes.
    fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    fn value(self, bytes: &[u8], order: ByteOrder) -> f64 {
        match self {
            Self::F32 => f32::from_le_bytes(order.little(bytes)).into(),
            Self::F64 => f64::from_le_bytes(order.little(bytes)),
            #[expect(clippy::cast_precision_loss, reason = "its documentation says so")]
            Self::I8
            | Self::U8
            | Self::I16
            | Self::U16
            | Self::I32
            | Self::U32
            | Self::I64
            | Self::U64 => self.whole(bytes, order) as f64,
        }
    }

    /// A number without a fraction.
    fn whole(self, bytes: &[u8], order: ByteOrder) -> i128 {
        match self {
            Self::I8 => i8::from_le_bytes(order.little(bytes)).into(),
            Self::U8 => u8::from_le_bytes(order.little(bytes)).into(),
            Self::I16 => i16::from_le_bytes(order.little(bytes)).into(),
            Self::U16 => u16::from_le_bytes(order.little(bytes)).into(),
            Self::I32 => i32::from_le_bytes(order.little(bytes)).into(),
            Self::U32 => u32::from_le_bytes(order.little(bytes)).into(),
            Self::I64 => i64::from_le_bytes(order.little(bytes)).into(),
            Self::U64 => u64::from_le_bytes(order.little(bytes)).into(),
            Self::F32 | Self::F64 => unreachable!("they have fractions"),
        }
    }
}

/// Every variable of a file, in its order.
///
/// # Errors
/// What is wrong, and at which byte.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<MatlabVariable>, String> {
    read_within(bytes, LARGEST)
}

/// As [`read`], with so many bytes of what is unpacked at most.
fn read_within(bytes: &[u8], mut room: u64) -> Result<Vec<MatlabVariable>, String> {
    let order = byte_order(bytes)?;
    let mut elements = Elements { bytes, at: HEADER, order, pads: false };
    let mut variables = Vec::new();
    while !elements.is_at_end() {
        let start = elements.at;
        let inside = |reason: String| format!("the element at byte {start}: {reason}");
        let (kind, content) = elements.element()?;
        let content = match kind {
            MATRIX => Cow::Borrowed(content),
            COMPRESSED => Cow::Owned(unpacked(content, order, &mut room).map_err(inside)?),
            other => return Err(inside(format!("is of type {other}, not an array"))),
        };
        variables.push(variable(&content, order).map_err(inside)?);
    }
    Ok(variables)
}

/// Checks the header.
fn byte_order(bytes: &[u8]) -> Result<ByteOrder, String> {
    if bytes.starts_with(b"\x89HDF") {
        return Err("an HDF5 file, no MATLAB file of level 5".into());
    }
    let end = bytes.get(124..HEADER).ok_or("too short for a MATLAB file of level 5")?;
    let order = match &end[2..] {
        b"IM" => ByteOrder::Little,
        b"MI" => ByteOrder::Big,
        _ => return Err("not a MATLAB file of level 5: no byte order at byte 126".into()),
    };
    match u16::from_le_bytes(order.little(&end[..2])) {
        0x0100 => Ok(order),
        0x0200 => {
            Err("a MATLAB file of version 7.3; only what `-v6` and `-v7` write can be read".into())
        }
        other => Err(format!("a MATLAB file of version {other:#06x}, not 0x0100")),
    }
}

/// The one array in a packed element. What it takes is taken from `room`.
fn unpacked(packed: &[u8], order: ByteOrder, room: &mut u64) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    flate2::read::ZlibDecoder::new(packed)
        .take(*room + 1)
        .read_to_end(&mut plain)
        .map_err(|error| format!("is packed and cannot be unpacked: {error}"))?;
    *room = room
        .checked_sub(plain.len() as u64)
        .ok_or("what is packed comes to more than is read of a file")?;
    let mut elements = Elements { bytes: &plain, at: 0, order, pads: false };
    let (kind, content) = elements.element()?;
    if kind != MATRIX {
        return Err(format!("holds an element of type {kind}, not an array"));
    }
    let content = content.to_vec();
    elements.finish()?;
    Ok(content)
}

/// What is no array of numbers, by its class; `None` where it is one.
fn other_than_numbers(class: u32) -> Option<&'static str> {
    Some(match class {
        1 => "it is a cell array, not an array of numbers",
        2 => "it is a structure, not an array of numbers",
        4 => "it is text (`char`), not an array of numbers",
        5 => "it is a sparse array: save it as `full(...)` makes it",
        6..=15 => return None,
        3 | 17 => "it is an object, not an array of numbers",
        16 => "it is a function, not an array of numbers",
        _ => "it is of a class that is not known, not an array of numbers",
    })
}

/// The parts of a variable: flags, dimensions, name, numbers.
fn variable(content: &[u8], order: ByteOrder) -> Result<MatlabVariable, String> {
    const COMPLEX: u32 = 0x0800;
    /// Objects of newer kinds, whose dimensions MATLAB keeps elsewhere.
    const OPAQUE: u32 = 17;
    let mut parts = Elements { bytes: content, at: 0, order, pads: true };
    let mut part = |what: &str, kind: u32| match parts.element() {
        Ok((found, content)) if found == kind => Ok(content),
        Ok((found, _)) => Err(format!("its {what} are of type {found}, not {kind}")),
        Err(reason) => Err(format!("its {what}: {reason}")),
    };
    let flags = part("flags", 6)?;
    let flags = flags.get(..4).filter(|_| flags.len() == 8).ok_or("its flags are not 8 bytes")?;
    let flags = u32::from_le_bytes(order.little(flags));
    let class = flags & 0xff;
    let dimensions = if class == OPAQUE { &[] } else { part("dimensions", 5)? };
    let name = String::from_utf8_lossy(part("letters of its name", 1)?).into_owned();
    let is_complex = (flags & COMPLEX != 0).then_some("it holds complex numbers");
    if let Some(other) = other_than_numbers(class).or(is_complex) {
        return Ok(MatlabVariable { name, array: Err(other.to_owned()) });
    }
    let array = numbers(dimensions, &mut parts).map_err(|reason| format!("`{name}`: {reason}"))?;
    Ok(MatlabVariable { name, array: Ok(array) })
}

/// The array of these dimensions whose numbers are next in `parts`.
fn numbers(dimensions: &[u8], parts: &mut Elements) -> Result<MatlabArray, String> {
    let order = parts.order;
    if dimensions.len() < 8 || !dimensions.len().is_multiple_of(4) {
        return Err(format!("{} bytes of dimensions", dimensions.len()));
    }
    let dimensions: Vec<usize> = dimensions
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| usize::try_from(i32::from_le_bytes(order.little(bytes))))
        .collect::<Result<_, _>>()
        .map_err(|_| "a dimension is negative")?;
    let (kind, data) = parts.element().map_err(|reason| format!("its numbers: {reason}"))?;
    let number = Number::of(kind)
        .ok_or_else(|| format!("its numbers are of type {kind}, which is not read"))?;
    let expected =
        dimensions.iter().try_fold(number.size(), |product, length| product.checked_mul(*length));
    if expected != Some(data.len()) {
        let count = data.len();
        return Err(format!("{count} bytes of numbers for the dimensions {dimensions:?}"));
    }
    let data = data.to_vec();
    parts.finish()?;
    Ok(MatlabArray { dimensions, number, order, data })
}

/// Elements one after the other.
struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
    order: ByteOrder,
    /// Whether contents are followed by padding. That of arrays is part of them, and what is packed has none.
    pads: bool,
}

impl<'a> Elements<'a> {
    fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn finish(&self) -> Result<(), String> {
        if self.is_at_end() {
            return Ok(());
        }
        Err(format!("{} bytes after its end", self.bytes.len() - self.at))
    }

    /// `count` bytes from here on.
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let found = rest.get(..count).ok_or_else(|| {
            format!("cut short: {count} bytes wanted at byte {}, {} are there", self.at, rest.len())
        })?;
        self.at += count;
        Ok(found)
    }

    fn word(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.order.little(self.bytes(4)?)))
    }

    /// The type and the content of the next element.
    fn element(&mut self) -> Result<(u32, &'a [u8]), String> {
        let first = self.word()?;
        // The small form: length and type in one number, and up to four bytes in place of the length.
        if first >> 16 != 0 {
            let (kind, length) = (first & 0xffff, (first >> 16) as usize);
            let content = self.bytes(4)?;
            let content = content.get(..length).ok_or_else(|| {
                format!("a small element of {length} bytes at byte {}", self.at - 8)
            })?;
            return Ok((kind, content));
        }
        let length = self.word()? as usize;
        let content = self.bytes(length)?;
        if self.pads {
            self.bytes(length.next_multiple_of(8) - length)?;
        }
        Ok((first, content))
    }
}

/// Writes what tests read.
#[cfg(test)]
pub(super) mod testing {
    use std::io::Write;

    /// An element with its padding.
    pub fn element(kind: u32, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap();
        let mut bytes = [kind.to_le_bytes(), length.to_le_bytes()].concat();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// An array of doubles whose numbers are stored as `kind`.
    pub fn array(name: &str, dimensions: [i32; 2], kind: u32, numbers: &[u8]) -> Vec<u8> {
        let flags = [6_u32.to_le_bytes(), 0_u32.to_le_bytes()].concat();
        let dimensions = dimensions.map(i32::to_le_bytes).concat();
        let parts = [
            element(6, &flags),
            element(5, &dimensions),
            element(1, name.as_bytes()),
            element(kind, numbers),
        ];
        element(14, &parts.concat())
    }

    /// An element packed by zlib.
    pub fn packed(element: &[u8]) -> Vec<u8> {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(element).unwrap();
        let content = zlib.finish().unwrap();
        let length = u32::try_from(content.len()).unwrap();
        [15_u32.to_le_bytes().to_vec(), length.to_le_bytes().to_vec(), content].concat()
    }

    /// A file with a header.
    pub fn file(elements: &[Vec<u8>]) -> Vec<u8> {
        [vec![b' '; 124], b"\x00\x01IM".to_vec(), elements.concat()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{array, element, file, packed};
    use super::*;

    /// Name, dimensions and numbers of each variable.
    fn found(bytes: &[u8]) -> Vec<(String, Vec<usize>, Vec<f64>)> {
        let shown = |it: MatlabVariable| {
            let array = it.array.unwrap();
            let count: usize = array.dimensions.iter().product();
            let numbers = (0..count).map(|at| array.value(at)).collect();
            (it.name, array.dimensions, numbers)
        };
        read(bytes).unwrap().into_iter().map(shown).collect()
    }

    fn reason(bytes: &[u8]) -> String {
        read(bytes).unwrap_err()
    }

    #[test]
    fn arrays_of_every_kind_of_number_are_read_plain_and_packed() {
        let kinds: [(u32, Vec<u8>); 10] = [
            (1, vec![254, 3]),
            (2, vec![254, 3]),
            (3, [(-2_i16).to_le_bytes(), 3_i16.to_le_bytes()].concat()),
            (4, [65_534_u16.to_le_bytes(), 3_u16.to_le_bytes()].concat()),
            (5, [(-2_i32).to_le_bytes(), 3_i32.to_le_bytes()].concat()),
            (6, [4_000_000_000_u32.to_le_bytes(), 3_u32.to_le_bytes()].concat()),
            (7, [(-2.5_f32).to_le_bytes(), 3_f32.to_le_bytes()].concat()),
            (9, [(-2.5_f64).to_le_bytes(), 3_f64.to_le_bytes()].concat()),
            (12, [(-2_i64).to_le_bytes(), 3_i64.to_le_bytes()].concat()),
            (13, [(1_u64 << 63).to_le_bytes(), 3_u64.to_le_bytes()].concat()),
        ];
        let firsts =
            [-2.0, 254.0, -2.0, 65_534.0, -2.0, 4e9, -2.5, -2.5, -2.0, 9_223_372_036_854_775_808.0];
        for ((kind, numbers), first) in kinds.into_iter().zip(firsts) {
            let plain = array("some_name", [1, 2], kind, &numbers);
            let expected = ("some_name".to_owned(), vec![1, 2], vec![first, 3.0]);
            let bytes = file(&[packed(&plain), plain.clone(), packed(&plain)]);
            assert_eq!(found(&bytes), [expected.clone(), expected.clone(), expected], "{kind}");
        }
    }

    #[test]
    fn the_small_form_and_the_other_byte_order_are_read() {
        // A name of one letter and a number of two bytes, each in place of a length.
        let parts: [&[u8]; 6] = [
            &[0, 0, 0, 6, 0, 0, 0, 8, 0, 0, 0, 6, 0, 0, 0, 0],
            &[0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1],
            &[0, 1, 0, 1],
            b"x\0\0\0",
            &[0, 2, 0, 3],
            &[0xff, 0xfe, 0, 0],
        ];
        let tag = vec![0, 0, 0, 14, 0, 0, 0, 48];
        let bytes = [vec![b' '; 124], b"\x01\x00MI".to_vec(), tag, parts.concat()].concat();
        assert_eq!(found(&bytes), [("x".to_owned(), vec![1, 1], vec![-2.0])]);
    }

    #[test]
    fn what_is_no_array_of_real_numbers_is_named() {
        let changed = |at: usize, byte: u8| {
            let mut bytes = file(&[array("abc", [1, 2], 9, &[0; 16])]);
            bytes[at] = byte;
            reason(&bytes)
        };
        assert!(changed(125, 2).contains("version 7.3"), "{}", changed(125, 2));
        assert!(changed(124, 7).contains("version 0x0107"));
        assert!(changed(126, b'x').contains("no byte order at byte 126"));
        assert!(changed(128, 9).starts_with("the element at byte 128: is of type 9"));
        assert!(changed(136, 5).contains("its flags are of type 5, not 6"));
        assert!(changed(160, 2).contains("16 bytes of numbers for the dimensions [2, 2]"));
        assert!(changed(163, 0x80).contains("a dimension is negative"));
        assert!(changed(184, 8).contains("its numbers are of type 8"));
        assert!(reason(b"\x89HDF\r\n").contains("HDF5"));
        assert!(reason(&[0; 127]).contains("too short"));
        let several = [array("a", [1, 1], 2, &[1]), array("b", [1, 1], 2, &[1])].concat();
        assert!(reason(&file(&[packed(&several)])).contains("72 bytes after its end"));
        assert!(reason(&file(&[packed(&element(9, &[0; 8]))])).contains("element of type 9"));
        assert!(reason(&file(&[element(15, &[1, 2, 3, 4])])).contains("cannot be unpacked"));
    }

    #[test]
    fn variables_that_are_no_real_numbers_are_known_by_name_and_keep_no_other_from_being_read() {
        let read_as = |at: usize, byte: u8| {
            let mut other = array("abc", [1, 2], 9, &[0; 16]);
            other[at - HEADER] = byte;
            let mut found = read(&file(&[other, array("x", [1, 1], 2, &[7])])).unwrap();
            let (last, first) = (found.pop().unwrap(), found.pop().unwrap());
            assert_eq!((&*first.name, &*last.name), ("abc", "x"));
            assert_eq!(last.array.unwrap().rows(), Ok(Numbers::Whole(vec![7])));
            first.array.unwrap_err()
        };
        assert!(read_as(144, 1).contains("a cell array"));
        assert!(read_as(144, 2).contains("a structure"));
        assert!(read_as(144, 4).contains("text (`char`)"));
        assert!(read_as(144, 5).contains("`full(...)`"));
        assert!(read_as(145, 8).contains("complex"));
        // MATLAB keeps the dimensions of such objects elsewhere.
        let flags = [17_u32.to_le_bytes(), [0; 4]].concat();
        let opaque = [element(6, &flags), element(1, b"t"), element(1, b"MCOS")].concat();
        let found = read(&file(&[element(14, &opaque)])).unwrap().pop().unwrap();
        assert!(found.name == "t" && found.array.unwrap_err().contains("an object"));
    }

    #[test]
    fn whole_numbers_of_64_bits_are_exact_or_refused() {
        let whole = |kind: u32, bytes: [u8; 8]| {
            let mut found = read(&file(&[array("x", [1, 1], kind, &bytes)])).unwrap();
            found.pop().unwrap().array.unwrap().rows()
        };
        let large = (1_i64 << 53) + 1;
        assert_eq!(whole(12, large.to_le_bytes()), Ok(Numbers::Whole(vec![large])));
        let reason = whole(13, u64::MAX.to_le_bytes()).unwrap_err();
        assert!(reason.starts_with("18446744073709551615 is more than"), "{reason}");
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_an_error() {
        let plain = array("abc", [2, 2], 9, &[0; 32]);
        for whole in [file(std::slice::from_ref(&plain)), file(&[packed(&plain)])] {
            assert_eq!(read(&whole).unwrap().len(), 1);
            for end in (0..whole.len()).filter(|end| *end != HEADER) {
                assert!(read(&whole[..end]).is_err(), "{end} bytes");
            }
        }
    }

    #[test]
    fn what_is_packed_may_not_fill_the_memory() {
        let zeros = packed(&array("abc", [1, 8000], 2, &[0; 8000]));
        let bytes = file(&[zeros.clone(), zeros]);
        assert!(read_within(&bytes, 20_000).is_ok());
        assert!(read_within(&bytes, 10_000).unwrap_err().contains("more than is read"));
    }
}
