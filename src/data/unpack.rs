//! Unpacks archives that may be hostile.
//!
//! Nothing is written outside the folder given, no link is made, and sizes have limits.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
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

fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

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
        None => {
            Err(Error::malformed(path, "not an archive; expected .tar.gz, .tgz, .tar, .zip or .gz"))
        }
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
        let mut archive = zip::ZipArchive::new(reader).map_err(|error| self.damaged(&error))?;
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).map_err(|error| self.damaged(&error))?;
            let name = entry.name().map_err(|error| self.damaged(&error))?;
            let name = PathBuf::from(name.as_ref());
            if entry.is_dir() {
                self.folder(&name)?;
            } else if entry.is_file() && !entry.is_symlink() {
                self.file(&name, &mut entry)?;
            } else {
                return Err(self.refused(&name, "is neither a file nor a folder"));
            }
        }
        Ok(())
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
        Error::malformed(self.archive, format!("its entry `{}` {reason}", name.display()))
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
}
