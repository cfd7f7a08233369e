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
) -> (tempfile::TempDir, Result<(), DataError>) {
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
    for (number, name) in [(12_u8, "bzip2"), (93, "Zstandard"), (14, "LZMA"), (77, "method 77")] {
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
