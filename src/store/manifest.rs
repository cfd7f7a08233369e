//! `manifest.json`: what an artifact is, what it was made from, and its files.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::plan::fingerprint::{Content, Digest, Fingerprint};

/// The format that this runner writes.
pub const VERSION: u64 = 1;

/// Files beside the data that may differ between equal artifacts.
const BESIDE: [&str; 2] = ["outcome.json", "timings.csv"];

/// The manifest of an artifact.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub version: u64,
    /// The stage's kind.
    pub kind: String,
    /// The kind's code revision.
    pub revision: u32,
    /// Numeric backend: [`Device::backend`](crate::device::Device::backend).
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

impl Manifest {
    /// The manifest in `folder`; the inner error says how it is damaged.
    pub(super) fn read(folder: &Path) -> Result<Result<Self, String>, Error> {
        let path = folder.join("manifest.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Err("it has no manifest.json".to_owned()));
            }
            Err(source) => return Err(Error::reading(&path, source)),
        };
        let value: serde_json::Value = match serde_json::from_slice(&text) {
            Ok(value) => value,
            Err(error) => return Ok(Err(format!("manifest.json is not JSON: {error}"))),
        };
        // The version is looked at first: a newer format may lack anything else we expect.
        if let Some(found) = value.get("version").and_then(serde_json::Value::as_u64)
            && found > VERSION
        {
            return Err(Error::Newer { path: folder.to_owned(), found, known: VERSION });
        }
        Ok(serde_json::from_value(value).map_err(|error| format!("manifest.json: {error}")))
    }

    /// The first file that is missing or has another size.
    pub(super) fn damage(&self, folder: &Path) -> Option<String> {
        self.files.iter().find_map(|file| match fs::metadata(folder.join(&file.name)) {
            Err(error) => Some(format!("`{}`: {error}", file.name)),
            Ok(found) if found.len() != file.size => {
                let (is, was) = (found.len(), file.size);
                Some(format!("`{}` has {is} bytes instead of {was}", file.name))
            }
            Ok(_) => None,
        })
    }
}

impl Manifest {
    /// The first file whose bytes are not those that were published. Files of megabytes are hashed
    /// by all threads.
    pub(super) fn deep_damage(&self, folder: &Path) -> Option<String> {
        if content(&self.files) != self.content {
            return Some("its manifest contradicts itself".to_owned());
        }
        self.files.iter().find_map(|file| {
            let mut hasher = blake3::Hasher::new();
            if let Err(error) = hasher.update_mmap_rayon(folder.join(&file.name)) {
                return Some(format!("`{}`: {error}", file.name));
            }
            let same = Digest::from(hasher.finalize()) == file.blake3;
            (!same).then(|| format!("the bytes of `{}` have changed", file.name))
        })
    }
}

/// The line that the stage left for the terminal.
pub(super) fn summary(folder: &Path) -> String {
    fs::read(folder.join("outcome.json"))
        .ok()
        .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
        .and_then(|value| value["summary"].as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// The digest of the data among `files`: names and bytes, without times.
pub(super) fn content(files: &[FileRecord]) -> Content {
    let mut hasher = blake3::Hasher::new();
    for file in files.iter().filter(|file| !BESIDE.contains(&file.name.as_str())) {
        hasher.update(format!("{}\0{}\n", file.name, file.blake3).as_bytes());
    }
    Content(hasher.finalize().into())
}
