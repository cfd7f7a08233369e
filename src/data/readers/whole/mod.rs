//! Whether an image file holds all that its format promises.
//!
//! Decoders stop reading when they have pixels enough, or make up those that a cut file lacks. The
//! structure of a file tells: it is walked here to its end, before anything is decoded. What the
//! structure does not tell (uncompressed pixels of a BMP or PPM) the decoders themselves miss.

use image::ImageFormat;

mod huffman;
mod jpeg;
mod tiff;

/// Looks through a file from its first byte to the last that counts. Gives the number of pictures in it:
/// frames of an animation, pages of a TIFF.
///
/// # Errors
/// What is missing or damaged, in words that continue "the file is".
pub(super) fn check(format: ImageFormat, bytes: &[u8]) -> Result<usize, String> {
    match format {
        ImageFormat::Jpeg => jpeg::check(bytes).map(|()| 1),
        ImageFormat::Png => png(bytes),
        ImageFormat::Gif => gif(bytes),
        ImageFormat::WebP => webp(bytes),
        ImageFormat::Tiff => tiff::check(bytes),
        // The others have no structure beyond their header.
        _ => Ok(1),
    }
}

/// The message about a file that ends `within` something.
fn cut(within: &str) -> String {
    format!("cut off within {within}")
}

/// Bytes that are read one after the other.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn take(&mut self, count: usize, within: &str) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count);
        let part = end.and_then(|end| self.bytes.get(self.at..end)).ok_or_else(|| cut(within))?;
        self.at += count;
        Ok(part)
    }
}

/// PNG: chunks up to `IEND`. Their checksums are the decoder's to compare.
fn png(bytes: &[u8]) -> Result<usize, String> {
    let mut walk = Walk { bytes, at: 8 };
    let mut frames = 1;
    loop {
        let Some(head) = walk.bytes[walk.at.min(bytes.len())..].first_chunk::<8>() else {
            return Err("cut off: its end chunk is missing".into());
        };
        let (length, kind) = head.split_at(4);
        let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
        // All pixels come before; its checksum may be missing.
        if kind == b"IEND" {
            return Ok(frames);
        }
        if !kind.iter().all(u8::is_ascii_alphabetic) {
            return Err("damaged: no chunk follows where one should".into());
        }
        let name = format!("its chunk {}", String::from_utf8_lossy(kind));
        let chunk = walk.take(length as usize + 12, &name)?;
        if kind == b"acTL" {
            let count = chunk.get(8..12).and_then(|count| count.first_chunk::<4>());
            frames = count.map_or(1, |count| u32::from_be_bytes(*count) as usize).max(1);
        }
    }
}

/// What comes first in a block of a GIF.
const TRAILER: u8 = 0x3b;
const EXTENSION: u8 = 0x21;
const FRAME: u8 = 0x2c;

/// GIF: blocks up to the end of the first frame at least, and to the trailer where it is there. Whether
/// the pixels of a frame are all there the decoder tells.
fn gif(bytes: &[u8]) -> Result<usize, String> {
    let mut walk = Walk { bytes, at: 6 };
    let flags = walk.take(7, "its header")?[4];
    walk.take(gif_colours(flags), "its colours")?;
    let mut frames = 0;
    loop {
        match gif_block(&mut walk) {
            Ok(TRAILER) => return Ok(frames.max(1)),
            Ok(FRAME) => frames += 1,
            // Some writers put empty blocks between the others.
            Ok(EXTENSION | 0) => {}
            Ok(_) => return Err("damaged: no block follows where one should".into()),
            Err(reason) if frames == 0 => return Err(reason),
            // The file ends, but the picture that counts is there.
            Err(_) => return Ok(frames),
        }
    }
}

/// Bytes of the colour table that `flags` announce.
fn gif_colours(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 6 << (flags & 7) }
}

/// Walks over a block of a GIF with all its data, if it is one that has any. Gives its first byte.
fn gif_block(walk: &mut Walk) -> Result<u8, String> {
    let kind = walk.take(1, "its blocks: its trailer is missing")?[0];
    match kind {
        EXTENSION => {
            walk.take(1, "an extension")?;
        }
        FRAME => {
            let flags = walk.take(9, "a frame")?[8];
            walk.take(gif_colours(flags) + 1, "a frame")?;
        }
        _ => return Ok(kind),
    }
    loop {
        match walk.take(1, "a frame")?[0] {
            0 => return Ok(kind),
            length => walk.take(usize::from(length), "a frame")?,
        };
    }
}

/// WebP: the RIFF container and its chunks.
fn webp(bytes: &[u8]) -> Result<usize, String> {
    let mut walk = Walk { bytes, at: 4 };
    let size = |four: &[u8]| u32::from_le_bytes(four.try_into().expect("four bytes")) as usize;
    let length = size(walk.take(4, "its header")?);
    let inside = walk.take(length, "its data")?;
    let mut walk = Walk { bytes: inside, at: 4 };
    let mut frames = 0;
    // Shorter than a chunk's head is padding.
    while walk.at + 8 <= inside.len() {
        let head = walk.take(8, "a chunk")?;
        frames += usize::from(&head[..4] == b"ANMF");
        let length = size(&head[4..]);
        walk.take(length, "a chunk")?;
        walk.at += length % 2;
    }
    Ok(frames.max(1))
}
