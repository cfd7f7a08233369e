//! Many bytes: in memory, or in a file that is mapped into it, so that data sets larger than the memory
//! can be made and read.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use memmap2::Mmap;

/// A collection of more bytes than this goes to a file.
const IN_MEMORY: usize = 128 << 20;

/// Where such files lie; they have no name and vanish with the last who reads them.
static SPILL: OnceLock<PathBuf> = OnceLock::new();

/// Says where collections that are too large for the memory go: a folder on a disk with room. Without
/// it they go to the system's folder for temporary files. Only the first call counts.
pub fn spill_to(folder: &Path) {
    let _ = SPILL.set(folder.to_owned());
}

/// Bytes that are read only.
#[derive(Clone)]
pub enum Bytes {
    /// In memory.
    Memory(Vec<u8>),
    /// A part of a mapped file.
    Mapped(Arc<Mmap>, Range<usize>),
}

impl Bytes {
    /// Maps a file that nobody will change.
    ///
    /// # Errors
    /// When it cannot be opened or mapped.
    pub fn map(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Ok(Self::Memory(Vec::new()));
        }
        // SAFETY: artifacts get their name when they are complete and are only ever replaced whole;
        // files without a name are ours alone.
        let mapped = unsafe { Mmap::map(file)? };
        let all = 0..mapped.len();
        Ok(Self::Mapped(Arc::new(mapped), all))
    }

    /// A part of these bytes, without a copy where they are mapped.
    ///
    /// # Panics
    /// When the range lies outside.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Self {
        match self {
            Self::Memory(bytes) => Self::Memory(bytes[range].to_vec()),
            Self::Mapped(file, all) => {
                assert!(range.start <= range.end && range.end <= all.len(), "a part of the file");
                Self::Mapped(Arc::clone(file), all.start + range.start..all.start + range.end)
            }
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Mapped(file, range) => &file[range.clone()],
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Memory(bytes)
    }
}

impl FromIterator<u8> for Bytes {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Self {
        Self::Memory(bytes.into_iter().collect())
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Bytes {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for Bytes {}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let few = &self[..self.len().min(64)];
        write!(f, "{} bytes {few:?}", self.len())
    }
}

/// Puts bytes together, in a file as soon as they are many.
#[derive(Debug)]
pub struct Collector {
    memory: Vec<u8>,
    /// Bytes that are kept in memory at most.
    limit: usize,
    file: Option<BufWriter<File>>,
}

impl Collector {
    /// For about `expected` bytes.
    ///
    /// # Errors
    /// When there is no file to be had for many of them.
    pub fn new(expected: usize) -> io::Result<Self> {
        Self::with_limit(expected, IN_MEMORY)
    }

    fn with_limit(expected: usize, limit: usize) -> io::Result<Self> {
        let mut collector = Self { memory: Vec::new(), limit, file: None };
        if expected > limit || collector.memory.try_reserve(expected).is_err() {
            collector.spill()?;
        }
        Ok(collector)
    }

    /// Goes on in a file.
    fn spill(&mut self) -> io::Result<()> {
        let file = match SPILL.get() {
            Some(folder) => {
                std::fs::create_dir_all(folder)?;
                tempfile::tempfile_in(folder)?
            }
            None => tempfile::tempfile()?,
        };
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&std::mem::take(&mut self.memory))?;
        self.file = Some(file);
        Ok(())
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none()
            && (self.memory.len() + bytes.len() > self.limit
                || self.memory.try_reserve(bytes.len()).is_err())
        {
            self.spill()?;
        }
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => {
                self.memory.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// All of them.
    ///
    /// # Errors
    /// When the file cannot be written or mapped.
    pub fn finish(self) -> io::Result<Bytes> {
        match self.file {
            None => Ok(Bytes::Memory(self.memory)),
            Some(file) => Bytes::map(&file.into_inner().map_err(io::IntoInnerError::into_error)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_bytes_are_the_same_as_few() {
        let collect = |expected, limit| {
            let mut collector = Collector::with_limit(expected, limit).unwrap();
            for part in [&b"abc"[..], b"", b"defghi"] {
                collector.push(part).unwrap();
            }
            collector.finish().unwrap()
        };
        let (memory, mapped) = (collect(9, 9), collect(9, 8));
        assert_eq!(collect(0, 8), mapped, "more came than was expected");
        assert!(matches!(memory, Bytes::Memory(_)) && matches!(mapped, Bytes::Mapped(..)));
        assert_eq!(memory, mapped);
        assert_eq!(mapped.part(3..9).part(1..3), b"ef");
        assert_eq!(memory.part(4..6), b"ef");
        assert_eq!(Collector::with_limit(1, 0).unwrap().finish().unwrap(), b"");
    }
}
