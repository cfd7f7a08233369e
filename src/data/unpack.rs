//! Unpacks archives that may be hostile.
//!
//! Nothing is written outside the folder given, no link is made, and sizes have limits.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::Watch;
use super::error::Error;
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
pub enum Kind {
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
pub fn kind(path: &Path) -> Result<Option<Kind>, Error> {
    let io = |error| Error::io(path, error);
    let head = first_bytes(File::open(path).map_err(io)?).map_err(io)?;
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Some(Kind::Zip));
    }
    if head.starts_with(&[0x1f, 0x8b]) {
        let inside = first_bytes(MultiGzDecoder::new(File::open(path).map_err(io)?));
        let tar = inside.is_ok_and(|inside| is_tar(&inside));
        return Ok(Some(if tar { Kind::TarGz } else { Kind::Gz }));
    }
    Ok(is_tar(&head).then_some(Kind::Tar))
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
pub fn no_archive(path: &Path, not: &str) -> Error {
    let head = File::open(path).and_then(first_bytes).unwrap_or_default();
    let other = OTHERS.iter().find(|(start, _)| head.starts_with(start));
    if let Some((_, kind)) = other {
        let reason = format!("a {kind} file, which cannot be unpacked here");
        return Error::rejected(format!("{}: {reason}", path.display())).advise(BY_HAND);
    }
    Error::malformed(path, format!("{not} (.tar.gz, .tgz, .tar, .zip)"))
}

const BY_HAND: &str = "unpack it yourself, and name the folder: `source = \"file:FOLDER\"`";

/// Unpacks the archive at `path` into the empty folder `into`.
///
/// # Errors
/// When it is not an archive, is damaged, would write outside `into`, holds a link or another
/// thing that is neither file nor folder, exceeds `limits`, or the user asked to stop.
pub fn unpack(path: &Path, into: &Path, limits: Limits, watch: &Watch) -> Result<(), Error> {
    let file = BufReader::new(File::open(path).map_err(|error| Error::io(path, error))?);
    watch.progress.begin("unpack", None, Unit::Bytes);
    let mut writer = Writer { archive: path, into, limits, bytes: 0, entries: 0, watch };
    match kind(path)? {
        Some(Kind::Tar) => writer.tar(file),
        Some(Kind::TarGz) => writer.tar(MultiGzDecoder::new(file)),
        Some(Kind::Zip) => writer.zip(file),
        Some(Kind::Gz) => {
            let name = path.file_stem().map(PathBuf::from).unwrap_or_default();
            writer.file(&name, &mut MultiGzDecoder::new(file))
        }
        None => Err(no_archive(path, "not an archive")),
    }
}

struct Writer<'a> {
    archive: &'a Path,
    into: &'a Path,
    limits: Limits,
    bytes: u64,
    entries: usize,
    watch: &'a Watch<'a>,
}

impl Writer<'_> {
    fn tar(&mut self, reader: impl Read) -> Result<(), Error> {
        use tar::EntryType;
        let mut archive = tar::Archive::new(reader);
        for entry in archive.entries().map_err(|error| self.damaged(&error))? {
            let mut entry = entry.map_err(|error| self.damaged(&error))?;
            let name = entry.path().map_err(|error| self.damaged(&error))?.into_owned();
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

    fn zip(&mut self, reader: impl Read + io::Seek) -> Result<(), Error> {
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
    ) -> Result<(), Error> {
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

    fn unzippable(&self, error: &zip::result::ZipError) -> Error {
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
        Error::rejected(format!("{}: {reason}", self.archive.display()))
            .advise("get it once more, and compare its size or checksum with the published one")
    }

    fn folder(&mut self, name: &Path) -> Result<(), Error> {
        let path = self.place(name)?;
        fs::create_dir_all(&path).map_err(|error| Error::io(&path, error))
    }

    fn file(&mut self, name: &Path, reader: &mut dyn Read) -> Result<(), Error> {
        let path = self.place(name)?;
        if path == self.into {
            return Err(self.refused(name, "has no name"));
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| Error::io(parent, error))?;
        }
        let mut file = File::create(&path).map_err(|error| Error::io(&path, error))?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            self.watch.check()?;
            let count = reader.read(&mut buffer).map_err(|error| self.damaged(&error))?;
            if count == 0 {
                return Ok(());
            }
            self.bytes += count as u64;
            if self.bytes > self.limits.bytes {
                let reason = format!("more than {} bytes unpacked", self.limits.bytes);
                return Err(Error::malformed(self.archive, reason));
            }
            file.write_all(&buffer[..count]).map_err(|error| Error::io(&path, error))?;
            self.watch.progress.advance(count as u64);
        }
    }

    /// Where an entry goes; everything but plain names is refused.
    fn place(&mut self, name: &Path) -> Result<PathBuf, Error> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            let reason = format!("more than {} entries", self.limits.entries);
            return Err(Error::malformed(self.archive, reason));
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

    fn damaged(&self, error: &dyn std::fmt::Display) -> Error {
        Error::malformed(self.archive, format!("cannot be unpacked: {error}"))
    }

    fn refused(&self, name: &Path, reason: &str) -> Error {
        let archive = self.archive.display();
        Error::rejected(format!("{archive}: its entry `{}` {reason}", name.display()))
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
mod tests {
    use std::io::Cursor;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::progress::Silent;

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    /// A tar of one entry, whose name nobody checks.
    fn tar(name: &str, kind: tar::EntryType, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_cksum();
        let mut archive = tar::Builder::new(Vec::new());
        archive.append(&header, content).unwrap();
        archive.into_inner().unwrap()
    }

    fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in entries {
            archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(content).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn unpacked(
        name: &str,
        bytes: &[u8],
        limits: Limits,
    ) -> (tempfile::TempDir, Result<(), Error>) {
        let folder = tempfile::tempdir().unwrap();
        let (archive, into) = (folder.path().join(name), folder.path().join("into"));
        fs::write(&archive, bytes).unwrap();
        fs::create_dir(&into).unwrap();
        let cancel = AtomicBool::new(false);
        let watch = Watch { progress: &Silent, cancel: &cancel };
        let result = unpack(&archive, &into, limits, &watch);
        (folder, result)
    }

    #[test]
    fn every_kind_of_archive_is_unpacked_whatever_its_name() {
        let plain = tar("a/b.txt", tar::EntryType::Regular, b"hello");
        for bytes in [plain.clone(), gzipped(&plain), zip(&[("a/b.txt", b"hello")])] {
            let (folder, result) = unpacked("x.bin", &bytes, Limits::default());
            result.unwrap();
            assert_eq!(fs::read(folder.path().join("into/a/b.txt")).unwrap(), b"hello");
        }
        let (folder, result) = unpacked("b.txt.gz", &gzipped(b"hello"), Limits::default());
        result.unwrap();
        assert_eq!(fs::read(folder.path().join("into/b.txt")).unwrap(), b"hello");
    }

    #[test]
    fn no_entry_is_written_outside_the_folder() {
        let hostile = ["../escaped", "a/../../escaped", "/tmp/escaped-by-runner-test"];
        for name in hostile {
            let bytes = gzipped(&tar(name, tar::EntryType::Regular, b"x"));
            let (folder, result) = unpacked("x.tar.gz", &bytes, Limits::default());
            let message = result.unwrap_err().to_string();
            assert!(message.contains("outside the folder"), "{message}");
            assert!(!folder.path().join("escaped").exists());
            let (folder, result) = unpacked("x.zip", &zip(&[(name, b"x")]), Limits::default());
            assert!(result.is_err(), "{name}");
            assert!(!folder.path().join("escaped").exists());
        }
        assert!(!Path::new(hostile[2]).exists());
    }

    #[test]
    fn links_are_refused() {
        for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Fifo] {
            let (_, result) = unpacked("x.tar", &tar("a", kind, b""), Limits::default());
            assert!(result.unwrap_err().to_string().contains("neither a file nor a folder"));
        }
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        archive.add_symlink("a", "/etc/passwd", zip::write::SimpleFileOptions::default()).unwrap();
        let bytes = archive.finish().unwrap().into_inner();
        let (folder, result) = unpacked("x.zip", &bytes, Limits::default());
        assert!(result.is_err());
        assert!(!folder.path().join("into/a").exists());
    }

    #[test]
    fn sizes_and_numbers_have_limits() {
        let bytes = gzipped(&tar("zeros", tar::EntryType::Regular, &[0; 100_000]));
        let limits = Limits { bytes: 99_999, entries: 10 };
        let message = unpacked("x.tar.gz", &bytes, limits).1.unwrap_err().to_string();
        assert!(message.contains("more than 99999 bytes"), "{message}");
        let bytes = zip(&[("a", b""), ("b", b""), ("c", b"")]);
        let limits = Limits { bytes: 10, entries: 2 };
        let message = unpacked("x.zip", &bytes, limits).1.unwrap_err().to_string();
        assert!(message.contains("more than 2 entries"), "{message}");
    }

    #[test]
    fn damage_and_other_files_are_errors_that_name_the_archive() {
        let mut bytes = gzipped(&tar("a", tar::EntryType::Regular, &[7; 5000]));
        bytes.truncate(bytes.len() / 2);
        let message = unpacked("cut.tar.gz", &bytes, Limits::default()).1.unwrap_err().to_string();
        assert!(message.contains("cut.tar.gz"), "{message}");
        let page = unpacked("page.tar.gz", b"<html>", Limits::default()).1.unwrap_err().to_string();
        assert!(page.contains("not an archive"), "{page}");
    }

    #[test]
    fn a_zip_that_is_cut_short_or_packed_otherwise_says_so_in_words() {
        let bytes = zip(&[("a/b.txt", &[7; 500])]);
        for length in [bytes.len() - 30, bytes.len() / 2, 20] {
            let cut = &bytes[..length];
            let error = unpacked("x.zip", cut, Limits::default()).1.unwrap_err();
            assert!(error.to_string().contains("x.zip: is cut short or damaged"), "{error}");
            assert!(!error.to_string().contains("EOCD") && !error.help().is_empty());
        }
        // The number of the method stands in the entry's header and in the list at the end.
        for (number, name) in [(12_u8, "bzip2"), (93, "Zstandard"), (14, "LZMA"), (77, "method 77")]
        {
            let mut other = bytes.clone();
            let list = other.windows(4).position(|it| it == b"PK\x01\x02").unwrap();
            (other[8], other[list + 10]) = (number, number);
            let error = unpacked("x.zip", &other, Limits::default()).1.unwrap_err();
            let expected = format!("its entry `a/b.txt` is packed with {name}");
            assert!(error.to_string().contains(&expected), "{error}");
            assert!(error.help()[0].contains("unpack it yourself"));
        }
        let mut secret = bytes;
        let list = secret.windows(4).position(|it| it == b"PK\x01\x02").unwrap();
        (secret[6], secret[list + 8]) = (secret[6] | 1, secret[list + 8] | 1);
        let error = unpacked("x.zip", &secret, Limits::default()).1.unwrap_err();
        assert!(error.to_string().contains("is encrypted"), "{error}");
    }

    #[test]
    fn archives_of_other_kinds_are_named() {
        for (start, kind) in OTHERS {
            let error = unpacked("x", start, Limits::default()).1.unwrap_err();
            assert!(error.to_string().contains(kind), "{error}");
            assert!(error.help()[0].contains("source = "), "{error:?}");
        }
    }

    #[test]
    fn names_that_are_not_utf_8_come_out_as_they_are() {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..8].copy_from_slice(b"K\xe4fer/1a");
        header.set_size(1);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_cksum();
        let mut archive = tar::Builder::new(Vec::new());
        archive.append(&header, &b"x"[..]).unwrap();
        let (folder, result) = unpacked("x.tar", &archive.into_inner().unwrap(), Limits::default());
        result.unwrap();
        let path = folder.path().join("into").join(OsStr::from_bytes(b"K\xe4fer/1a"));
        assert_eq!(fs::read(path).unwrap(), b"x");
        // UTF-8 that does not say so, as many programs write it, and what is of an old code page.
        assert_eq!(zip_name("Käfer".as_bytes(), Ok::<_, ()>("K├ñfer".into())), Path::new("Käfer"));
        assert_eq!(zip_name(b"K\x84fer", Ok::<_, ()>("Käfer".into())), Path::new("Käfer"));
    }

    #[test]
    fn a_tar_without_the_word_of_newer_ones_is_known_by_its_sum() {
        let mut bytes = tar("a/b.txt", tar::EntryType::Regular, b"hello");
        bytes[257..265].fill(0);
        assert_eq!(unpacked("x.tar", &bytes, Limits::default()).1.unwrap_err().help().len(), 0);
        let sum: u32 = bytes[..148].iter().chain(&bytes[156..512]).map(|it| u32::from(*it)).sum();
        bytes[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 8 * 32).as_bytes());
        let (folder, result) = unpacked("x.tar", &bytes, Limits::default());
        result.unwrap();
        assert_eq!(fs::read(folder.path().join("into/a/b.txt")).unwrap(), b"hello");
    }
}
