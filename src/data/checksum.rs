//! Published checksums of bytes and files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use md5::Md5;
use sha2::{Digest, Sha256};

/// A published checksum, in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum<'a> {
    /// SHA-256: 64 digits.
    Sha256(&'a str),
    /// The first digits of SHA-256, 8 or more, as PyTorch has them in its files' names.
    Sha256Start(&'a str),
    /// MD5, 32 digits, for old data sets of which nothing better was ever published. It finds a
    /// damaged or another file, not a forged one.
    Md5(&'a str),
}

impl Checksum<'_> {
    /// Whether the file at `path` has it.
    ///
    /// # Errors
    /// When the file cannot be read, or what its checksum is instead.
    pub fn verify(self, path: &Path) -> std::io::Result<Result<(), String>> {
        let file = File::open(path)?;
        let (name, found, expected) = match self {
            Self::Sha256(expected) => ("sha256", of_reader(file)?, expected),
            Self::Sha256Start(expected) => {
                let found = of_reader(file)?;
                let length = expected.len().min(found.len());
                ("sha256", found[..length].to_owned(), expected)
            }
            Self::Md5(expected) => ("md5", digest::<Md5>(file)?, expected),
        };
        Ok(if found.eq_ignore_ascii_case(expected) {
            Ok(())
        } else {
            Err(format!("its {name} is {found}, not {expected}"))
        })
    }

    /// Whether it has the length and the digits of its kind.
    pub fn is_whole(self) -> bool {
        let (digits, lengths) = match self {
            Self::Sha256(digits) => (digits, 64..=64),
            Self::Sha256Start(digits) => (digits, 8..=64),
            Self::Md5(digits) => (digits, 32..=32),
        };
        lengths.contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit())
    }
}

/// sha256 in hexadecimal.
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// sha256 of all that `reader` gives, in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn of_reader(reader: impl Read) -> std::io::Result<String> {
    digest::<Sha256>(reader)
}

fn digest<D: Digest>(mut reader: impl Read) -> std::io::Result<String> {
    let mut hasher = D::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn sha256_is_the_published_one() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_bytes(b"abc"), abc);
        assert_eq!(of_reader(&b"abc"[..]).unwrap(), abc);
    }

    #[test]
    fn a_file_that_differs_from_its_checksum_is_told_apart() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "abc").unwrap();
        // RFC 1321's own test value.
        let md5 = Checksum::Md5("900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(md5.verify(file.path()).unwrap(), Ok(()));
        assert!(md5.is_whole() && !Checksum::Sha256("900150983cd24fb0d6963f7d28e17f72").is_whole());
        fs::write(&file, "abd").unwrap();
        assert!(
            md5.verify(file.path()).unwrap().unwrap_err().contains("its md5 is 4911e516e5aa21")
        );
        assert!(md5.verify(Path::new("nothing here")).is_err());
    }

    #[test]
    fn the_start_of_a_digest_is_enough_where_no_more_is_published() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "abc").unwrap();
        let of = |digits| Checksum::Sha256Start(digits);
        assert_eq!(of("ba7816bf").verify(file.path()).unwrap(), Ok(()));
        let error = of("ba7816b0").verify(file.path()).unwrap().unwrap_err();
        assert_eq!(error, "its sha256 is ba7816bf, not ba7816b0");
        assert!(of("ba7816bf").is_whole() && !of("ba78").is_whole());
    }
}
