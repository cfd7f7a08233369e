//! Files of kept activations. The name of each ends with the digest of its bytes, which is compared
//! whenever a process begins to use one: a damaged file is computed again, and never trusted.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use tempfile::NamedTempFile;

use crate::system;

const EXTENSION: &str = "safetensors";

/// The files in a folder for a key.
#[derive(Default)]
pub(super) struct FoundFiles {
    /// The file, whose values begin after its header.
    pub whole: Option<Mmap>,
    /// Those that were damaged, and are removed.
    pub damaged: Vec<PathBuf>,
}

/// The file of `key` in `folder` that begins with `header` and holds `bytes` more.
pub(super) fn find(folder: &Path, key: blake3::Hash, header: &[u8], bytes: usize) -> FoundFiles {
    let mut kept = FoundFiles::default();
    let key = key.to_hex();
    for path in paths(folder).unwrap_or_default() {
        if !stem(&path).starts_with(key.as_str()) {
            continue;
        }
        let Ok(file) = map(&path) else { continue };
        let is_whole = digest_in(&path) == Some(digest(&file).as_str());
        if is_whole && file.len() == header.len() + bytes && file.starts_with(header) {
            kept.whole = Some(file);
            return kept;
        }
        drop(file);
        // An older runner wrote it without a digest: nobody can tell whether it is damaged.
        if digest_in(&path).is_some() {
            kept.damaged.push(path.clone());
        }
        // What cannot be removed is not used either.
        let _ = fs::remove_file(path);
    }
    kept
}

/// How many files in `folder` are whole, and those that are not.
///
/// # Errors
/// When they cannot be read.
pub fn check(folder: &Path) -> io::Result<(usize, Vec<PathBuf>)> {
    let (mut whole, mut damaged) = (0, Vec::new());
    for path in paths(folder)? {
        let Some(expected) = digest_in(&path) else { continue };
        match map(&path) {
            Ok(file) if digest(&file) == expected => whole += 1,
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
            _ => damaged.push(path),
        }
    }
    Ok((whole, damaged))
}

/// A file that is being written; it appears when it is complete.
pub(super) struct ActivationWriter {
    file: BufWriter<NamedTempFile>,
    hasher: blake3::Hasher,
}

impl ActivationWriter {
    /// One in `folder` that begins with `header`.
    pub fn begin(folder: &Path, header: &[u8]) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let file = BufWriter::new(NamedTempFile::new_in(folder)?);
        let mut writer = Self { file, hasher: blake3::Hasher::new() };
        writer.add(header)?;
        Ok(writer)
    }

    pub fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update_rayon(bytes);
        self.file.write_all(bytes)
    }

    /// Makes it the file of `key` in `folder`, and maps it.
    pub fn publish(self, folder: &Path, key: blake3::Hash) -> io::Result<Mmap> {
        let digest = short(self.hasher.finalize());
        let path = folder.join(format!("{key}-{digest}.{EXTENSION}"));
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        system::publish_file(file, folder, &path)?;
        map(&path)
    }
}

fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: files get their name when they are complete, and nobody changes them afterwards.
    unsafe { Mmap::map(&file) }
}

/// Every file of activations in `folder`, by name; none where there is no folder.
fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    let is_one = |path: &PathBuf| path.extension().is_some_and(|it| it == EXTENSION);
    let mut paths: Vec<PathBuf> = paths.into_iter().filter(is_one).collect();
    paths.sort_unstable();
    Ok(paths)
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
}

fn digest_in(path: &Path) -> Option<&str> {
    stem(path).split_once('-').map(|(_, digest)| digest)
}

fn digest(bytes: &[u8]) -> String {
    short(blake3::Hasher::new().update_rayon(bytes).finalize())
}

fn short(hash: blake3::Hash) -> String {
    hash.to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"head";

    fn key() -> blake3::Hash {
        blake3::hash(b"key")
    }

    fn write(folder: &Path, values: &[u8]) -> PathBuf {
        let mut writer = ActivationWriter::begin(folder, HEADER).unwrap();
        writer.add(values).unwrap();
        writer.publish(folder, key()).unwrap();
        paths(folder).unwrap().pop().unwrap()
    }

    #[test]
    fn what_was_written_is_found_by_its_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), b"values");
        let kept = find(folder.path(), key(), HEADER, 6);
        assert_eq!(&kept.whole.unwrap()[..], b"headvalues");
        assert!(find(folder.path(), blake3::hash(b"other"), HEADER, 6).whole.is_none());
        assert_eq!(check(folder.path()).unwrap(), (1, Vec::new()));
        assert!(path.exists());
    }

    #[test]
    fn any_changed_byte_any_cut_and_any_growth_is_found_told_and_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let whole = fs::read(write(folder.path(), b"values")).unwrap();
        let mut damages: Vec<Vec<u8>> = (0..whole.len()).map(|len| whole[..len].to_vec()).collect();
        damages.extend((0..whole.len()).map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            bytes
        }));
        damages.push([&whole[..], b"x"].concat());
        for bytes in damages {
            let path = write(folder.path(), b"values");
            fs::write(&path, &bytes).unwrap();
            assert_eq!(check(folder.path()).unwrap(), (0, vec![path.clone()]), "{bytes:?}");
            let kept = find(folder.path(), key(), HEADER, 6);
            assert!(kept.whole.is_none() && kept.damaged == [path.clone()], "{bytes:?}");
            assert!(!path.exists(), "{bytes:?}");
        }
    }

    #[test]
    fn a_file_without_a_digest_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join(format!("{}.{EXTENSION}", key()));
        fs::write(&old, b"headvalues").unwrap();
        let kept = find(folder.path(), key(), HEADER, 6);
        assert!(kept.whole.is_none() && kept.damaged.is_empty() && !old.exists());
    }
}
