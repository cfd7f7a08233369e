//! Files that may be gzipped.

use std::io::Read;

/// Far above any data set of digits; keeps a crafted gzip file from filling the memory.
const LARGEST: u64 = 8 << 30;

/// The bytes themselves, or what a gzip file holds.
pub(crate) fn inflate(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes.as_slice())
        .take(LARGEST)
        .read_to_end(&mut plain)
        .map_err(|error| format!("not a whole gzip file: {error}"))?;
    if plain.len() as u64 == LARGEST {
        return Err("more than 8 GiB unpacked".into());
    }
    Ok(plain)
}
