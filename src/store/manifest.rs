//! `manifest.json`: what an artifact is, what it was made from, and its files.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::digest::{Content, Digest, Fingerprint};

/// The format that this runner writes.
pub const VERSION: u64 = 1;

/// The backend of an artifact whose bytes are the same with every backend.
pub const ANY_BACKEND: &str = "any";

/// Files beside the data that may differ between equal artifacts.
const BESIDE: [&str; 2] = [OUTCOME, "timings.csv"];

/// The stage's own line on what it made.
const OUTCOME: &str = "outcome.json";

/// Small files that a report copies without the stage being run again.
const READ_AT_ONCE: [&str; 2] = ["metrics.csv", OUTCOME];

/// Bytes from which hashing is spread over all threads.
const HASHED_BY_ONE: u64 = 1 << 20;

/// The manifest of an artifact.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub version: u64,
    /// The stage's kind.
    pub kind: String,
    /// The kind's code revision.
    pub revision: u32,
    /// What its numbers were computed with, such as `cpu avx512`; [`ANY_BACKEND`] where that cannot move a byte.
    pub backend: String,
    /// Every setting that counts.
    pub settings: serde_json::Value,
    /// Digest of files outside the store.
    pub external: Option<String>,
    /// What it was made from.
    pub inputs: Vec<InputRecord>,
    /// The artifact's name.
    pub fingerprint: Fingerprint,
    /// Digest of the data files.
    pub content: Content,
    /// Every file but this one, by name.
    pub files: Vec<FileRecord>,
    /// Version of the runner that made it.
    pub runner: String,
    /// When, RFC 3339.
    pub created: String,
}

/// An input of an artifact.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InputRecord {
    /// Dotted key of the reference.
    pub key: String,
    /// The split that it named.
    pub split: Option<String>,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its content.
    pub content: Content,
}

/// A file of an artifact.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileRecord {
    /// Path below the artifact's folder, with `/`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Digest of its bytes.
    pub blake3: Digest,
}

/// As much of a manifest as a run without work looks at, made without a copy of its texts.
#[derive(Deserialize)]
struct Essence<'a> {
    version: u64,
    fingerprint: Fingerprint,
    content: Content,
    #[serde(borrow)]
    files: Vec<FileEssence<'a>>,
}

#[derive(Deserialize)]
struct FileEssence<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    size: u64,
    blake3: Digest,
}

/// What is in an artifact's folder.
pub(super) enum Examined {
    /// Nothing.
    Nothing,
    /// Something that is not whole.
    Damaged(String),
    /// All files, of their sizes: their digest and the stage's own line on them.
    Whole(Content, String),
}

/// Looks at the artifact of `fingerprint` in `folder`: its manifest, the sizes of its files, the
/// bytes of those that are read without more ado.
pub(super) fn examine(folder: &Path, fingerprint: &Fingerprint) -> Result<Examined, Error> {
    // One room for all artifacts that a thread looks at: fresh ones would be most of the work, and
    // threads wait for each other there.
    thread_local!(static ROOM: RefCell<[Vec<u8>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) });
    ROOM.with_borrow_mut(|[text, room]| examine_in(folder, fingerprint, text, room))
}

fn examine_in(
    folder: &Path,
    fingerprint: &Fingerprint,
    manifest: &mut Vec<u8>,
    room: &mut Vec<u8>,
) -> Result<Examined, Error> {
    match text(folder, manifest)? {
        Text::Nothing => return Ok(Examined::Nothing),
        Text::Damaged(reason) => return Ok(Examined::Damaged(reason)),
        Text::Read => {}
    }
    let essence: Essence = match parse(folder, manifest, |it: &Essence| it.version)? {
        Ok(essence) => essence,
        Err(reason) => return Ok(Examined::Damaged(reason)),
    };
    if essence.fingerprint != *fingerprint {
        return Ok(Examined::Damaged("its manifest has another fingerprint".to_owned()));
    }
    let mut summary = String::new();
    let mut path = PathBuf::new();
    for file in &essence.files {
        path.clear();
        path.push(folder);
        path.push(&*file.name);
        if READ_AT_ONCE.contains(&&*file.name) {
            match present(read_small(&path, room), &path)? {
                None => return Ok(Examined::Damaged(missing(&file.name))),
                Some(()) if Digest::from(blake3::hash(room)) != file.blake3 => {
                    return Ok(Examined::Damaged(changed(&file.name)));
                }
                Some(()) if file.name == OUTCOME => summary = summary_in(room),
                Some(()) => {}
            }
            continue;
        }
        match present(fs::metadata(&path), &path)? {
            None => return Ok(Examined::Damaged(missing(&file.name))),
            Some(found) if found.len() != file.size => {
                let (is, was) = (found.len(), file.size);
                let reason = format!("`{}` has {is} bytes instead of {was}", file.name);
                return Ok(Examined::Damaged(reason));
            }
            Some(_) => {}
        }
    }
    Ok(Examined::Whole(essence.content, summary))
}

/// `None` for what is not there. That a file cannot be read now, for want of handles, of permission or
/// of a server that answers, does not mean that it is damaged.
pub(super) fn present<T>(read: io::Result<T>, path: &Path) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::reading(path, source)),
    }
}

pub(super) fn missing(name: &str) -> String {
    format!("`{name}` is missing")
}

pub(super) fn changed(name: &str) -> String {
    format!("the bytes of `{name}` have changed")
}

enum Text {
    Nothing,
    Damaged(String),
    Read,
}

/// Reads a manifest's text.
fn text(folder: &Path, text: &mut Vec<u8>) -> Result<Text, Error> {
    let path = folder.join("manifest.json");
    match read_small(&path, text) {
        Ok(()) => Ok(Text::Read),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let there = folder.try_exists().map_err(|source| Error::reading(folder, source))?;
            let damage = || Text::Damaged("it has no manifest.json".to_owned());
            Ok(if there { damage() } else { Text::Nothing })
        }
        Err(source) => Err(Error::reading(&path, source)),
    }
}

/// The inner error says how the text is damaged.
fn parse<'a, T: Deserialize<'a>>(
    folder: &Path,
    text: &'a [u8],
    version: impl Fn(&T) -> u64,
) -> Result<Result<T, String>, Error> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    let parsed = serde_json::from_slice::<T>(text);
    let found = match &parsed {
        Ok(parsed) => version(parsed),
        // A newer format may lack anything else we expect, so its version is asked for alone.
        Err(_) => serde_json::from_slice::<Version>(text).map_or(0, |it| it.version),
    };
    if found > VERSION {
        return Err(Error::Newer { path: folder.to_owned(), found, known: VERSION });
    }
    Ok(parsed.map_err(|error| format!("manifest.json: {error}")))
}

impl Manifest {
    /// The manifest in `folder`; the inner error says how it is damaged.
    pub(super) fn read(folder: &Path) -> Result<Result<Self, String>, Error> {
        let mut text = Vec::new();
        match self::text(folder, &mut text)? {
            Text::Nothing => Ok(Err("it is not there".to_owned())),
            Text::Damaged(reason) => Ok(Err(reason)),
            Text::Read => parse(folder, &text, |it: &Self| it.version),
        }
    }

    /// The first file whose bytes are not those that were published.
    pub(super) fn damage(&self, folder: &Path) -> Result<Option<String>, Error> {
        if content(&self.files) != self.content {
            return Ok(Some("its manifest contradicts itself".to_owned()));
        }
        for file in &self.files {
            if let Some(damage) = file.damage(folder)? {
                return Ok(Some(damage));
            }
        }
        Ok(None)
    }
}

impl FileRecord {
    /// What is wrong with the file's bytes. Megabytes are hashed by all threads.
    fn damage(&self, folder: &Path) -> Result<Option<String>, Error> {
        let path = folder.join(&self.name);
        let mut hasher = blake3::Hasher::new();
        let read = if self.size < HASHED_BY_ONE {
            fs::read(&path).map(|bytes| {
                hasher.update(&bytes);
            })
        } else {
            hasher.update_mmap_rayon(&path).map(|_| ())
        };
        Ok(match present(read, &path)? {
            None => Some(missing(&self.name)),
            Some(()) if Digest::from(hasher.finalize()) != self.blake3 => Some(changed(&self.name)),
            Some(()) => None,
        })
    }
}

/// Reads a file that is most likely small to `bytes`, without asking for its size first, which would
/// be one of four calls of the system, for thousands of files.
fn read_small(path: &Path, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut file = File::open(path)?;
    bytes.resize(bytes.capacity().max(4096), 0);
    let mut len = 0;
    loop {
        let room = bytes.len() - len;
        match file.read(&mut bytes[len..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(read) => {
                len += read;
                // A regular file gives less than is asked for only at its end.
                if read < room {
                    bytes.truncate(len);
                    return Ok(());
                }
                bytes.resize(2 * bytes.len(), 0);
            }
        }
    }
}

fn summary_in(outcome: &[u8]) -> String {
    #[derive(Deserialize)]
    struct OutcomeFile {
        summary: String,
    }
    serde_json::from_slice(outcome).map_or_else(|_| String::new(), |it: OutcomeFile| it.summary)
}

/// The line in an artifact that was published just now.
pub(super) fn summary(folder: &Path) -> String {
    fs::read(folder.join(OUTCOME)).map_or_else(|_| String::new(), |bytes| summary_in(&bytes))
}

/// The digest of the data among `files`: names and bytes, without times.
pub(super) fn content(files: &[FileRecord]) -> Content {
    let mut hasher = blake3::Hasher::new();
    for file in files.iter().filter(|file| !BESIDE.contains(&file.name.as_str())) {
        hasher.update(format!("{}\0{}\n", file.name, file.blake3).as_bytes());
    }
    Content(hasher.finalize().into())
}
