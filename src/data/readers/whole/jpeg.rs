//! Whether a JPEG file holds all of its picture.
//!
//! Decoders paint what a file lacks in gray and call it a success. The entropy-coded data is therefore
//! walked first: every block of every scan must be there, every coefficient that was begun must be
//! refined to its last bit, and the end-of-image marker must follow (ITU T.81, annexes B, F and G). It
//! makes no pixels, and leaves kinds of JPEG that no decoder here reads to the decoder's error.

use super::huffman::{Bits, Codes, Lack, next_marker};

/// A component of the picture.
struct Component {
    id: u8,
    /// Blocks of a unit of interleaved scans.
    across: usize,
    down: usize,
    /// Blocks of a scan of its own.
    columns: usize,
    rows: usize,
    /// The bits that each coefficient still lacks; `None` before the first of them.
    lacks: [Option<u8>; 64],
    /// For each block, which coefficients are not zero so far; of progressive pictures only.
    nonzero: Vec<u64>,
}

/// What the frame header says, and what the scans gave.
struct FrameState {
    progressive: bool,
    components: Vec<Component>,
    /// Units of interleaved scans.
    units: usize,
    scans: usize,
}

/// The tables that a scan refers to.
#[derive(Default)]
struct ScanTables {
    dc: [Option<Codes>; 4],
    ac: [Option<Codes>; 4],
    /// Units between two restart markers, or 0.
    interval: usize,
}

/// What a scan brings.
struct Scan<'a> {
    tables: &'a ScanTables,
    /// Number of each component, and of its tables.
    parts: Vec<(usize, usize, usize)>,
    /// First and last coefficient.
    band: (usize, usize),
    /// The bit that it refines; 0 when it is the first for its coefficients.
    high: u8,
    low: u8,
}

/// What is missing from the file that begins with `bytes`; whatever follows the picture is ignored.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let (mut at, mut tables, mut frame) = (2, ScanTables::default(), None);
    loop {
        let (marker, after) = next_marker(bytes, at).ok_or("cut off: its end marker is missing")?;
        at = after;
        match marker {
            // Start of image, restarts, and TEM stand alone.
            0x01 | 0xd0..=0xd8 => continue,
            0xd9 => return frame.map_or(Err("there is no picture in it".into()), FrameState::end),
            _ => {}
        }
        let length =
            bytes.get(at..at + 2).map(|two| usize::from(two[0]) << 8 | usize::from(two[1]));
        let length = length.ok_or("cut off within its headers")?;
        let segment = bytes.get(at + 2..at + length.max(2)).ok_or("cut off within its headers")?;
        at += length.max(2);
        match marker {
            0xc0..=0xc2 => frame = Some(FrameState::new(marker == 0xc2, segment, bytes.len())?),
            0xc4 => tables.define(segment)?,
            // Lossless, hierarchical and arithmetically coded pictures are the decoder's to refuse.
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Ok(()),
            0xdd => tables.interval = number(segment, 0).ok_or("a damaged restart interval")?,
            0xda => {
                let frame = frame.as_mut().ok_or("its data comes before its size")?;
                at = frame.scan(segment, &tables, bytes, at)?;
            }
            _ => {}
        }
    }
}

/// Two bytes of a segment.
fn number(segment: &[u8], at: usize) -> Option<usize> {
    let two = segment.get(at..at + 2)?;
    Some(usize::from(two[0]) << 8 | usize::from(two[1]))
}

impl ScanTables {
    /// Takes the Huffman tables of a segment.
    fn define(&mut self, mut segment: &[u8]) -> Result<(), String> {
        let damaged = || "a damaged Huffman table".to_owned();
        while let Some((&place, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(damaged)?;
            let all: usize = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(all).ok_or_else(damaged)?;
            let tables = if place >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            let table = tables.get_mut(usize::from(place & 15)).ok_or_else(damaged)?;
            *table = Some(Codes::new(counts, symbols).ok_or_else(damaged)?);
            segment = rest;
        }
        Ok(())
    }
}

impl FrameState {
    fn new(progressive: bool, segment: &[u8], length: usize) -> Result<Self, String> {
        let damaged = || "a damaged frame header".to_owned();
        let (height, width) = number(segment, 1).zip(number(segment, 3)).ok_or_else(damaged)?;
        let parts: Vec<&[u8]> = segment.get(6..).ok_or_else(damaged)?.chunks_exact(3).collect();
        let sampling = |part: &[u8]| (usize::from(part[1] >> 4), usize::from(part[1] & 15));
        let most = |pick: fn((usize, usize)) -> usize| {
            parts.iter().map(|part| pick(sampling(part))).max().unwrap_or(0)
        };
        let (across, down) = (most(|(across, _)| across), most(|(_, down)| down));
        if parts.is_empty() || parts.iter().any(|part| part[1] >> 4 == 0 || part[1] & 15 == 0) {
            return Err(damaged());
        }
        if width == 0 || height == 0 {
            return Err(format!("its size is {width} x {height} pixels"));
        }
        let component = |part: &&[u8]| {
            let (h, v) = sampling(part);
            let (columns, rows) =
                ((width * h).div_ceil(across * 8), (height * v).div_ceil(down * 8));
            // Each block takes a bit at least: a header that promises more than the file can hold is
            // not worth the memory.
            if columns * rows / 8 > length {
                return Err(format!(
                    "cut off: {width} x {height} pixels are more than it can hold"
                ));
            }
            let nonzero = if progressive { vec![0; columns * rows] } else { Vec::new() };
            let lacks = [None; 64];
            Ok(Component { id: part[0], across: h, down: v, columns, rows, lacks, nonzero })
        };
        Ok(Self {
            progressive,
            components: parts.iter().map(component).collect::<Result<_, _>>()?,
            units: width.div_ceil(8 * across) * height.div_ceil(8 * down),
            scans: 0,
        })
    }

    /// Walks the data of a scan from byte `at`; gives the place behind it.
    fn scan(
        &mut self,
        segment: &[u8],
        tables: &ScanTables,
        bytes: &[u8],
        at: usize,
    ) -> Result<usize, String> {
        self.scans += 1;
        let scan = self.read_header(segment, tables).ok_or("a damaged scan header")?;
        let lone = scan.parts.len() == 1;
        let first = &self.components[scan.parts[0].0];
        let units = if lone { first.columns * first.rows } else { self.units };
        let (mut bits, mut run) = (Bits::new(bytes, at), 0);
        for unit in 0..units {
            let walked = if unit > 0 && tables.interval > 0 && unit % tables.interval == 0 {
                run = 0;
                bits.restart().and_then(|()| self.unit(unit, &scan, &mut bits, &mut run))
            } else {
                self.unit(unit, &scan, &mut bits, &mut run)
            };
            walked.map_err(|lack| {
                let place = format!("after {unit} of {units} blocks of scan {}", self.scans);
                match lack {
                    Lack::Data => format!("cut off: its data ends {place}"),
                    Lack::Sense => format!("damaged: its data makes no sense {place}"),
                }
            })?;
        }
        for (component, ..) in &scan.parts {
            let (first, last) = if self.progressive { scan.band } else { (0, 63) };
            let low = if self.progressive { scan.low } else { 0 };
            self.components[*component].lacks[first..=last].fill(Some(low));
        }
        Ok(bits.at())
    }

    fn read_header<'a>(&self, segment: &[u8], tables: &'a ScanTables) -> Option<Scan<'a>> {
        let (&count, rest) = segment.split_first()?;
        let (parts, rest) = rest.split_at_checked(2 * usize::from(count))?;
        let &[first, last, bits, ..] = rest else { return None };
        let part = |part: &[u8]| {
            let component = self.components.iter().position(|known| known.id == part[0])?;
            let (dc, ac) = (usize::from(part[1] >> 4), usize::from(part[1] & 15));
            (dc < 4 && ac < 4).then_some((component, dc, ac))
        };
        let parts: Vec<_> = parts.chunks_exact(2).map(part).collect::<Option<_>>()?;
        let band = (usize::from(first), usize::from(last));
        let fits = !self.progressive
            || (band.0 <= band.1 && band.1 < 64 && (band.1 == 0 || (band.0 > 0 && count == 1)));
        (fits && !parts.is_empty()).then_some(Scan {
            tables,
            parts,
            band,
            high: bits >> 4,
            low: bits & 15,
        })
    }

    /// One unit of a scan: a block of a scan of one component, or the blocks of all of them.
    fn unit(
        &mut self,
        unit: usize,
        scan: &Scan,
        bits: &mut Bits,
        run: &mut u32,
    ) -> Result<(), Lack> {
        for &(component, dc, ac) in &scan.parts {
            let component = &mut self.components[component];
            let blocks = if scan.parts.len() == 1 { 1 } else { component.across * component.down };
            // Without tables of its own (frames of motion JPEG) the end marker is all there is to ask for.
            let (dc, ac) = (&scan.tables.dc[dc], &scan.tables.ac[ac]);
            for _ in 0..blocks {
                match (self.progressive, scan.band.0, dc, ac) {
                    (false, _, Some(dc), Some(ac)) => sequential(bits, dc, ac)?,
                    (true, 0, _, _) if scan.high > 0 => {
                        bits.take(1)?;
                    }
                    (true, 0, Some(dc), _) => {
                        let size = bits.symbol(dc)?;
                        bits.take(size.min(16))?;
                    }
                    (true, 1.., _, Some(ac)) => {
                        let nonzero = &mut component.nonzero[unit];
                        if scan.high == 0 {
                            begin(bits, ac, scan.band, run, nonzero)?;
                        } else {
                            refine(bits, ac, scan.band, run, nonzero)?;
                        }
                    }
                    (_, _, None, _) | (_, _, _, None) => {}
                }
            }
        }
        Ok(())
    }

    /// The picture is whole when no coefficient lacks a bit.
    fn end(self) -> Result<(), String> {
        let all = |lacks: &[Option<u8>; 64]| {
            lacks[0].is_some() && lacks.iter().flatten().all(|bits| *bits == 0)
        };
        if self.components.iter().all(|component| all(&component.lacks)) {
            return Ok(());
        }
        Err(format!("cut off: scans are missing after the {} that are there", self.scans))
    }
}

/// A block of a sequential scan (F.2.2).
fn sequential(bits: &mut Bits, dc: &Codes, ac: &Codes) -> Result<(), Lack> {
    let size = bits.symbol(dc)?;
    bits.take(size.min(16))?;
    let mut at = 1;
    while at < 64 {
        match split(bits.symbol(ac)?) {
            (15, 0) => at += 16,
            (_, 0) => break,
            (zeros, size) => {
                bits.take(size)?;
                at += zeros + 1;
                if at > 64 {
                    return Err(Lack::Sense);
                }
            }
        }
    }
    Ok(())
}

/// A block of the first scan of a band (G.1.2.2). `run` counts blocks that are at their end.
fn begin(
    bits: &mut Bits,
    ac: &Codes,
    (first, last): (usize, usize),
    run: &mut u32,
    nonzero: &mut u64,
) -> Result<(), Lack> {
    if *run > 0 {
        *run -= 1;
        return Ok(());
    }
    let mut at = first;
    while at <= last {
        match split(bits.symbol(ac)?) {
            (15, 0) => at += 16,
            (length, 0) => {
                *run = end_of_bands(bits, length)? - 1;
                break;
            }
            (zeros, size) => {
                bits.take(size)?;
                at += zeros;
                if at > last {
                    return Err(Lack::Sense);
                }
                *nonzero |= 1 << at;
                at += 1;
            }
        }
    }
    Ok(())
}

/// A block of a scan that refines a band (G.1.2.3): coefficients that are not zero have a bit each.
fn refine(
    bits: &mut Bits,
    ac: &Codes,
    (first, last): (usize, usize),
    run: &mut u32,
    nonzero: &mut u64,
) -> Result<(), Lack> {
    let mut at = first;
    while *run == 0 && at <= last {
        let (mut zeros, size) = split(bits.symbol(ac)?);
        if size == 0 && zeros < 15 {
            *run = end_of_bands(bits, zeros)?;
            break;
        }
        bits.take(size.min(1))?;
        while at <= last {
            if *nonzero >> at & 1 == 1 {
                bits.take(1)?;
            } else if zeros == 0 {
                break;
            } else {
                zeros -= 1;
            }
            at += 1;
        }
        if size > 0 {
            if at > last {
                return Err(Lack::Sense);
            }
            *nonzero |= 1 << at;
        }
        at += 1;
    }
    if *run > 0 {
        for place in at..=last {
            if *nonzero >> place & 1 == 1 {
                bits.take(1)?;
            }
        }
        *run -= 1;
    }
    Ok(())
}

/// How many blocks, with this one, are at the end of their band.
fn end_of_bands(bits: &mut Bits, length: usize) -> Result<u32, Lack> {
    let length = u8::try_from(length).unwrap_or(15);
    Ok((1 << length) + bits.take(length)?)
}

/// Zeros before a coefficient, and its size in bits.
fn split(symbol: u8) -> (usize, u8) {
    (usize::from(symbol >> 4), symbol & 15)
}
