//! Unpacks archives that may be hostile.
//!
//! It never writes outside the given folder, never creates a link, and limits the unpacked size.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::Watch;
use super::error::DataError;
use crate::progress::Unit;

/// What an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Files and folders.
    pub entries: usize,
}

impl Default for Limits {
    /// 64 GiB in 5 million entries: above any data set of images that one machine trains on.
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 5_000_000 }
    }
}

/// A kind of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// `.tar`
    Tar,
    /// `.tar.gz`, `.tgz`
    TarGz,
    /// `.gz` of one file.
    Gz,
    /// `.zip`
    Zip,
}

/// What kind of archive a file is by its first bytes; `None` when it is none.
///
/// # Errors
/// When it cannot be read.
pub fn kind(path: &Path) -> Result<Option<ArchiveKind>, DataError> {
    let io = |error| DataError::io(path, error);
    let head = first_bytes(File::open(path).map_err(io)?).map_err(io)?;
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Some(ArchiveKind::Zip));
    }
    if head.starts_with(&[0x1f, 0x8b]) {
        let inside = first_bytes(MultiGzDecoder::new(File::open(path).map_err(io)?));
        let tar = inside.is_ok_and(|inside| is_tar(&inside));
        return Ok(Some(if tar { ArchiveKind::TarGz } else { ArchiveKind::Gz }));
    }
    Ok(is_tar(&head).then_some(ArchiveKind::Tar))
}

fn first_bytes(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    reader.take(512).read_to_end(&mut head)?;
    Ok(head)
}

/// Whether a file begins with the header of a tar: by its word, or, of those before 1988, by the sum of
/// its bytes.
fn is_tar(head: &[u8]) -> bool {
    if head.get(257..262) == Some(b"ustar") {
        return true;
    }
    let Some(written) = head.get(148..156).filter(|_| head.len() == 512) else { return false };
    let digits: Vec<u8> = written.iter().copied().filter(u8::is_ascii_digit).collect();
    let written = std::str::from_utf8(&digits).ok().and_then(|it| u32::from_str_radix(it, 8).ok());
    // The sum counts its own place as spaces.
    let bytes = head[..148].iter().chain(&[b' '; 8]).chain(&head[156..]);
    head[0] != 0 && written == Some(bytes.map(|byte| u32::from(*byte)).sum())
}

/// Archives of other kinds, by their first bytes.
const OTHERS: [(&[u8], &str); 6] = [
    (b"7z\xbc\xaf\x27\x1c", ".7z"),
    (b"Rar!\x1a\x07", ".rar"),
    (b"\xfd7zXZ\0", ".xz"),
    (b"BZh", ".bz2"),
    (b"\x28\xb5\x2f\xfd", ".zst"),
    (b"PK\x07\x08", ".zip in several parts"),
];

/// What to say of a file that is `not` what is wanted.
pub fn no_archive(path: &Path, not: &str) -> DataError {
    let head = File::open(path).and_then(first_bytes).unwrap_or_default();
    let other = OTHERS.iter().find(|(start, _)| head.starts_with(start));
    if let Some((_, kind)) = other {
        let reason = format!("a {kind} file, which cannot be unpacked here");
        return DataError::rejected(format!("{}: {reason}", path.display())).advise(BY_HAND);
    }
    DataError::malformed(path, format!("{not} (.tar.gz, .tgz, .tar, .zip)"))
}

/// What to do about an archive that is not whole.
const ONCE_MORE: &str = "get it once more, and compare its size or checksum with the published one";

const BY_HAND: &str = "unpack it yourself, and name the folder: `source = \"file:FOLDER\"`";

/// Unpacks the archive at `path` into the empty folder `into`.
///
/// # Errors
/// When it is not an archive, is damaged, would write outside `into`, holds a link or another
/// thing that is neither file nor folder, exceeds `limits`, or the user asked to stop.
pub fn unpack(path: &Path, into: &Path, limits: Limits, watch: &Watch) -> Result<(), DataError> {
    let file = BufReader::new(File::open(path).map_err(|error| DataError::io(path, error))?);
    watch.progress.begin("unpack", None, Unit::Bytes);
    let mut writer = Unpacker { archive: path, into, limits, bytes: 0, entries: 0, watch };
    match kind(path)? {
        Some(ArchiveKind::Tar) => writer.tar(file),
        Some(ArchiveKind::TarGz) => writer.tar(MultiGzDecoder::new(file)),
        Some(ArchiveKind::Zip) => writer.zip(file),
        Some(ArchiveKind::Gz) => {
            let name = path.file_stem().map(PathBuf::from).unwrap_or_default();
            writer.file(&name, &mut MultiGzDecoder::new(file))
        }
        None => Err(no_archive(path, "not an archive")),
    }
}

struct Unpacker<'a> {
    archive: &'a Path,
    into: &'a Path,
    limits: Limits,
    bytes: u64,
    entries: usize,
    watch: &'a Watch<'a>,
}

impl Unpacker<'_> {
    fn tar(&mut self, reader: impl Read) -> Result<(), DataError> {
        use tar::EntryType;
        let mut archive = tar::Archive::new(reader);
        for entry in archive.entries().map_err(|error| self.broken(&error))? {
            let mut entry = entry.map_err(|error| self.broken(&error))?;
            let name = entry.path().map_err(|error| self.broken(&error))?.into_owned();
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    self.file(&name, &mut entry)?;
                }
                EntryType::Directory => self.folder(&name)?,
                EntryType::XGlobalHeader => {}
                _ => return Err(self.refused(&name, "is neither a file nor a folder")),
            }
        }
        Ok(())
    }

    fn zip(&mut self, reader: impl Read + io::Seek) -> Result<(), DataError> {
        let mut archive = zip::ZipArchive::new(reader).map_err(|error| self.unzippable(&error))?;
        for index in 0..archive.len() {
            self.packable(&mut archive, index)?;
            let mut entry = archive.by_index(index).map_err(|error| self.unzippable(&error))?;
            let name = zip_name(entry.name_raw(), entry.name());
            if entry.is_dir() {
                self.folder(&name)?;
            } else if entry.is_file() && !entry.is_symlink() {
                // Of two files of one name the first would be lost.
                if self.into.join(&name).exists() {
                    return Err(self.refused(&name, "is there twice"));
                }
                self.file(&name, &mut entry)?;
            } else {
                return Err(self.refused(&name, "is neither a file nor a folder"));
            }
        }
        Ok(())
    }

    /// Fails with the name of the entry and of its method when that is not known.
    #[expect(deprecated, reason = "the constants do not tell the number of a method")]
    fn packable(
        &self,
        archive: &mut zip::ZipArchive<impl Read + io::Seek>,
        index: usize,
    ) -> Result<(), DataError> {
        use zip::CompressionMethod;
        let entry = archive.by_index_raw(index).map_err(|error| self.unzippable(&error))?;
        let name = zip_name(entry.name_raw(), entry.name());
        if entry.encrypted() {
            return Err(self.refused(&name, "is encrypted").advise(BY_HAND));
        }
        let method = match entry.compression() {
            CompressionMethod::Stored | CompressionMethod::Deflated => return Ok(()),
            CompressionMethod::Unsupported(number) => METHODS
                .iter()
                .find(|(known, _)| *known == number)
                .map_or_else(|| format!("method {number}"), |(_, name)| (*name).to_owned()),
            other => other.to_string(),
        };
        let reason = format!("is packed with {method}; only Deflate can be unpacked here");
        Err(self.refused(&name, &reason).advise(BY_HAND))
    }

    fn unzippable(&self, error: &zip::result::ZipError) -> DataError {
        use zip::result::ZipError;
        let ends_early = match error {
            ZipError::InvalidArchive(_) => true,
            ZipError::Io(error) => error.kind() == io::ErrorKind::UnexpectedEof,
            _ => false,
        };
        if !ends_early {
            return self.damaged(error);
        }
        let reason = "is cut short or damaged: the list of its files, at the end of a .zip, cannot be \
                      read";
        DataError::rejected(format!("{}: {reason}", self.archive.display())).advise(ONCE_MORE)
    }

    fn folder(&mut self, name: &Path) -> Result<(), DataError> {
        let path = self.place(name)?;
        fs::create_dir_all(&path).map_err(|error| DataError::io(&path, error))
    }

    fn file(&mut self, name: &Path, reader: &mut dyn Read) -> Result<(), DataError> {
        let path = self.place(name)?;
        if path == self.into {
            return Err(self.refused(name, "has no name"));
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| DataError::io(parent, error))?;
        }
        let mut file = File::create(&path).map_err(|error| DataError::io(&path, error))?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            self.watch.check()?;
            let count = reader.read(&mut buffer).map_err(|error| self.broken(&error))?;
            if count == 0 {
                return Ok(());
            }
            self.bytes += count as u64;
            if self.bytes > self.limits.bytes {
                let reason = format!("more than {} bytes unpacked", self.limits.bytes);
                return Err(DataError::malformed(self.archive, reason));
            }
            file.write_all(&buffer[..count]).map_err(|error| DataError::io(&path, error))?;
            self.watch.progress.advance(count as u64);
        }
    }

    /// Where an entry goes; everything but plain names is refused.
    fn place(&mut self, name: &Path) -> Result<PathBuf, DataError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            let reason = format!("more than {} entries", self.limits.entries);
            return Err(DataError::malformed(self.archive, reason));
        }
        let mut path = self.into.to_owned();
        for part in name.components() {
            match part {
                Component::Normal(part) => path.push(part),
                Component::CurDir => {}
                _ => return Err(self.refused(name, "would be written outside the folder")),
            }
        }
        Ok(path)
    }

    /// What is inside ends too soon or makes no sense, unless the operating system says otherwise.
    fn broken(&self, error: &io::Error) -> DataError {
        if error.raw_os_error().is_some() {
            return self.damaged(error);
        }
        let archive = self.archive.display();
        DataError::rejected(format!("{archive}: is cut short or damaged: {error}"))
            .advise(ONCE_MORE)
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> DataError {
        DataError::malformed(self.archive, format!("cannot be unpacked: {error}"))
    }

    fn refused(&self, name: &Path, reason: &str) -> DataError {
        let archive = self.archive.display();
        DataError::rejected(format!("{archive}: its entry `{}` {reason}", name.display()))
    }
}

/// The numbers of the ways to pack that a .zip may name (APPNOTE 4.4.5).
const METHODS: [(u16, &str); 10] = [
    (1, "Shrink"),
    (6, "Implode"),
    (9, "Deflate64"),
    (12, "bzip2"),
    (14, "LZMA"),
    (20, "Zstandard"),
    (93, "Zstandard"),
    (95, "XZ"),
    (98, "PPMd"),
    (99, "AES encryption"),
];

/// The name of an entry. Many programs write UTF-8 without saying so; what is not UTF-8 is taken as
/// the archive says.
fn zip_name<E>(raw: &[u8], said: Result<Cow<str>, E>) -> PathBuf {
    match (std::str::from_utf8(raw), said) {
        (Ok(name), _) => PathBuf::from(name),
        (Err(_), Ok(said)) => PathBuf::from(said.as_ref()),
        (Err(_), Err(_)) => PathBuf::from(OsStr::from_bytes(raw)),
    }
}

#[cfg(test)]
mod tests;
