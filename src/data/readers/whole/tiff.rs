//! Whether a TIFF file holds the strips and tiles of all its pages (TIFF 6.0, and BigTIFF's longer
//! numbers). What is in them is the decoder's to judge.

use super::cut;

/// Tags that say where pixels lie, and the ones with the lengths.
const PLACES: [(u16, u16); 2] = [(273, 279), (324, 325)];

/// The tag for the order of bits within a byte, and the value that turns it around.
const FILL_ORDER: (u16, u64) = (266, 2);

/// Pages beyond are a loop.
const MOST_PAGES: usize = 1 << 16;

/// A file and how it writes numbers.
struct TiffFile<'a> {
    bytes: &'a [u8],
    little: bool,
    big: bool,
}

/// Gives the number of pages.
pub(super) fn check(bytes: &[u8]) -> Result<usize, String> {
    let mut file = TiffFile { bytes, little: bytes.starts_with(b"II"), big: false };
    file.big = file.number(2, 2, "its header")? == 43;
    let (size, start) = if file.big { (8, 8) } else { (4, 4) };
    let mut place = file.number(start, size, "its header")?;
    let mut pages = 0;
    while place != 0 {
        pages += 1;
        if pages > MOST_PAGES {
            return Err("damaged: its pages do not end".into());
        }
        place = file.page(place)?;
    }
    if pages == 0 { Err("there is no picture in it".into()) } else { Ok(pages) }
}

impl TiffFile<'_> {
    /// A number of `size` bytes at `at`.
    fn number(&self, at: u64, size: usize, within: &str) -> Result<u64, String> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = at.checked_add(size).and_then(|end| self.bytes.get(at..end));
        let bytes = bytes.ok_or_else(|| cut(within))?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Ok(if self.little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
    }

    /// Looks through the page whose directory is at `place`; gives the place of the next one.
    fn page(&self, place: u64) -> Result<u64, String> {
        const WITHIN: &str = "the directory of a page";
        let (head, entry, offset) = if self.big { (8, 20, 8) } else { (2, 12, 4) };
        let count = self.number(place, usize::try_from(head).unwrap_or(8), WITHIN)?;
        let next = count.checked_mul(entry).and_then(|all| place.checked_add(head + all));
        let next = self.number(next.ok_or_else(|| cut(WITHIN))?, offset, WITHIN)?;
        let entry_of = |tag: u16| {
            (0..count)
                .map(|at| place + head + at * entry)
                .find(|at| self.number(*at, 2, WITHIN) == Ok(u64::from(tag)))
        };
        let (tag, turned) = FILL_ORDER;
        if entry_of(tag).map(|at| self.values(at)).transpose()?.is_some_and(|is| is == [turned]) {
            return Err("the bits of its bytes are in reversed order (FillOrder 2), which is not \
                        read: save it with the usual one"
                .into());
        }
        for (places, lengths) in PLACES {
            let (Some(places), Some(lengths)) = (entry_of(places), entry_of(lengths)) else {
                continue;
            };
            let (places, lengths) = (self.values(places)?, self.values(lengths)?);
            for (place, length) in places.into_iter().zip(lengths) {
                if place.saturating_add(length) > self.bytes.len() as u64 {
                    return Err(cut("its pixels"));
                }
            }
        }
        Ok(next)
    }

    /// The numbers of the entry at `entry`.
    fn values(&self, entry: u64) -> Result<Vec<u64>, String> {
        const WITHIN: &str = "the places of its pixels";
        let (wide, inline) = if self.big { (8, 12) } else { (4, 8) };
        let size = match self.number(entry + 2, 2, WITHIN)? {
            3 => 2,
            4 | 13 => 4,
            16 | 18 => 8,
            // Another type is the decoder's to refuse.
            _ => return Ok(Vec::new()),
        };
        let count = self.number(entry + 4, wide, WITHIN)?;
        let length = count.checked_mul(size as u64).ok_or_else(|| cut(WITHIN))?;
        let at = entry + inline;
        let at = if length <= wide as u64 { at } else { self.number(at, wide, WITHIN)? };
        if at.saturating_add(length) > self.bytes.len() as u64 {
            return Err(cut(WITHIN));
        }
        (0..count).map(|index| self.number(at + index * size as u64, size, WITHIN)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of 8 x 1 black or white pixels with `fill` as the order of their bits.
    fn page(little: bool, fill: u16) -> Vec<u8> {
        let two = |number: u16| if little { number.to_le_bytes() } else { number.to_be_bytes() };
        let four = |number: u32| if little { number.to_le_bytes() } else { number.to_be_bytes() };
        let entries = [
            (256, 8),
            (257, 1),
            (258, 1),
            (259, 1),
            (262, 1),
            (266, fill),
            (273, 122),
            (278, 1),
            (279, 1),
        ];
        let mut bytes = if little { b"II".to_vec() } else { b"MM".to_vec() };
        bytes.extend(two(42));
        bytes.extend(four(8));
        bytes.extend(two(9));
        for (tag, value) in entries {
            bytes.extend([two(tag), two(3)].concat());
            bytes.extend(four(1));
            bytes.extend([two(value), two(0)].concat());
        }
        bytes.extend(four(0));
        bytes.push(0b0000_0001);
        assert_eq!(bytes.len(), 123);
        bytes
    }

    #[test]
    fn bits_in_reversed_order_are_refused() {
        for little in [true, false] {
            assert_eq!(check(&page(little, 1)), Ok(1));
            let reason = check(&page(little, 2)).unwrap_err();
            assert!(reason.contains("FillOrder 2"), "{reason}");
        }
    }
}
