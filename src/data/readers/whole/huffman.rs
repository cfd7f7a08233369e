//! Huffman codes and the bits of a JPEG scan (ITU T.81, annexes C and F.2.2). Symbols are found and bits
//! are counted; what they mean is the caller's.

/// Why a scan cannot be walked further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// The bits have ended: the file has, or a marker stands where data should.
    Data,
    /// The bits are no code of the table, or mean a coefficient that does not exist.
    Sense,
}

/// A Huffman table.
pub(super) struct Codes {
    /// By the next 8 bits: length and symbol of a code that is no longer than they are; length 0 otherwise.
    short: [(u8, u8); 256],
    /// For each length of a code, the first 16 bits beyond its codes.
    end: [u32; 17],
    /// For each length of a code, what to add to it to find its symbol.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Codes {
    /// The table with `counts[length - 1]` codes of each length, whose symbols come in that order; `None`
    /// when there are more codes of a length than there can be.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut codes =
            Self { short: [(0, 0); 256], end: [0; 17], offset: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut at) = (0_u32, 0_usize);
        for (length, count) in (1_u8..).zip(counts) {
            code <<= 1;
            codes.offset[usize::from(length)] = i32::try_from(at).ok()? - code.cast_signed();
            for _ in 0..*count {
                let symbol = *symbols.get(at)?;
                if code >> length != 0 {
                    return None;
                }
                if length <= 8 {
                    let from = (code << (8 - length)) as usize;
                    codes.short[from..from + (1 << (8 - length))].fill((length, symbol));
                }
                (code, at) = (code + 1, at + 1);
            }
            codes.end[usize::from(length)] = code << (16 - length);
        }
        Some(codes)
    }

    /// Length and symbol of the code that 16 bits begin with.
    fn find(&self, bits: u32) -> Option<(u8, u8)> {
        let (length, symbol) = self.short[(bits >> 8) as usize];
        if length > 0 {
            return Some((length, symbol));
        }
        let length = (9..=16).find(|length| bits < self.end[*length])?;
        let code = (bits >> (16 - length)).cast_signed();
        let at = usize::try_from(code + self.offset[length]).ok()?;
        Some((u8::try_from(length).ok()?, *self.symbols.get(at)?))
    }
}

/// The bits of entropy-coded data, up to the next marker.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, from the top.
    window: u64,
    held: u8,
}

impl<'a> Bits<'a> {
    /// Those from byte `at` of a file.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, window: 0, held: 0 }
    }

    fn fill(&mut self) {
        while self.held <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else { return };
            if byte == 0xff {
                // A stuffed zero makes it data; anything else is a marker.
                if self.bytes.get(self.at + 1) != Some(&0) {
                    return;
                }
                self.at += 1;
            }
            self.at += 1;
            self.window |= u64::from(byte) << (56 - self.held);
            self.held += 8;
        }
    }

    /// The symbol of the next code.
    #[inline]
    pub(super) fn symbol(&mut self, codes: &Codes) -> Result<u8, Lack> {
        if self.held < 16 {
            self.fill();
        }
        match codes.find((self.window >> 48) as u32) {
            Some((length, symbol)) if length <= self.held => {
                self.drop(length);
                Ok(symbol)
            }
            // What was looked at may be the zeros after the last bit.
            None if self.held >= 16 => Err(Lack::Sense),
            Some(_) | None => Err(Lack::Data),
        }
    }

    /// The number in the next bits, of which there may be 16.
    #[inline]
    pub(super) fn take(&mut self, count: u8) -> Result<u32, Lack> {
        if self.held < count {
            self.fill();
            if self.held < count {
                return Err(Lack::Data);
            }
        }
        let number = (self.window >> 32 >> (32 - count)) as u32;
        self.drop(count);
        Ok(number)
    }

    fn drop(&mut self, count: u8) {
        self.window <<= count;
        self.held -= count;
    }

    /// Goes behind the next restart marker; whatever lies before it does not count.
    pub(super) fn restart(&mut self) -> Result<(), Lack> {
        let (marker, at) = next_marker(self.bytes, self.at).ok_or(Lack::Data)?;
        if !(0xd0..=0xd7).contains(&marker) {
            return Err(Lack::Data);
        }
        *self = Self::new(self.bytes, at);
        Ok(())
    }

    /// Where the bits end that were looked at.
    pub(super) fn at(&self) -> usize {
        self.at
    }
}

/// The next marker from `at` and where it ends. What lies before it is skipped, as decoders do.
pub(super) fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0xff)?;
        at += bytes[at..].iter().position(|byte| *byte != 0xff)?;
        if bytes[at] != 0 {
            return Some((bytes[at], at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes 0, 10, 110 and one of 16 bits for the symbols 5, 6, 7 and 8.
    fn codes() -> Codes {
        let mut counts = [0; 16];
        counts[..3].fill(1);
        counts[15] = 1;
        Codes::new(&counts, &[5, 6, 7, 8]).unwrap()
    }

    #[test]
    fn codes_are_read_up_to_a_marker_and_over_stuffed_bytes() {
        // 0 10 110 0, then 0xff as data: no code begins with it.
        let bytes = [0b0101_1000, 0b0000_1011, 0xff, 0xd9];
        let mut bits = Bits::new(&bytes, 0);
        let found: Vec<u8> = (0..4).map(|_| bits.symbol(&codes()).unwrap()).collect();
        assert_eq!(found, [5, 6, 7, 5]);
        assert_eq!(bits.take(4), Ok(0));
        assert_eq!(bits.symbol(&codes()), Ok(5));
        assert_eq!(bits.symbol(&codes()), Ok(6));
        assert_eq!(bits.take(2), Ok(3));
        assert_eq!((bits.symbol(&codes()), bits.take(1)), (Err(Lack::Data), Err(Lack::Data)));
        let mut bits = Bits::new(&[0xff, 0, 0xff, 0], 0);
        assert_eq!(bits.symbol(&codes()), Err(Lack::Sense));
        assert_eq!(bits.take(16), Ok(0xffff));
    }

    #[test]
    fn long_codes_are_found_and_half_of_one_is_a_lack_of_data() {
        let mut bits = Bits::new(&[0b1110_0000, 0], 0);
        assert_eq!(bits.symbol(&codes()), Ok(8));
        assert_eq!(Bits::new(&[0b1110_0000], 0).symbol(&codes()), Err(Lack::Data));
    }

    #[test]
    fn a_table_of_more_codes_than_there_are_is_none() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Codes::new(&counts, &[1, 2, 3]).is_none());
        counts[0] = 2;
        assert!(Codes::new(&counts, &[1]).is_none(), "a symbol is missing");
        assert!(Codes::new(&counts, &[1, 2]).is_some());
    }

    #[test]
    fn markers_are_found_behind_fill_bytes_and_stuffing() {
        assert_eq!(next_marker(&[1, 0xff, 0, 2, 0xff, 0xff, 0xda, 3], 0), Some((0xda, 7)));
        assert_eq!(next_marker(&[1, 0xff, 0, 0xff], 0), None);
        assert_eq!(next_marker(&[1], 5), None);
    }
}
