//! Makes an artifact visible all at once: private folder, fsync, rename.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::Artifact;
use super::error::Error;
use super::manifest::{FileRecord, Manifest, content, summary};
use crate::digest::Content;
use crate::fault::fail_point;

/// Names that stages must not use.
pub const RESERVED: [&str; 4] = ["manifest.json", "metrics.csv", "outcome.json", "timings.csv"];

/// A private folder that becomes an artifact, or vanishes when dropped.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    target: PathBuf,
}

impl Staging {
    pub(super) fn new(folder: PathBuf, target: PathBuf) -> Result<Self, Error> {
        fs::create_dir(&folder).map_err(|source| Error::writing(&folder, source))?;
        Ok(Self { folder, target })
    }

    /// Where the stage writes.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Fails when the stage used a [`RESERVED`] name.
    ///
    /// # Errors
    /// With the name.
    pub fn check_names(&self) -> Result<(), Error> {
        match RESERVED.iter().find(|name| self.folder.join(name).exists()) {
            Some(name) => Err(Error::Reserved { name: (*name).to_owned() }),
            None => Ok(()),
        }
    }

    /// Writes a file of the store's own beside the stage's.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.join(name);
        fs::write(&path, bytes).map_err(|source| Error::writing(&path, source))
    }

    /// Publishes the folder under `manifest`, whose files and content are filled in here. When
    /// another runner was faster, its artifact is the result.
    ///
    /// # Errors
    /// When a file cannot be read, written or renamed; then nothing is visible.
    pub fn publish(self, mut manifest: Manifest) -> Result<Artifact, Error> {
        fail_point("stage done");
        let mut names = Vec::new();
        list(&self.folder, "", &mut names)?;
        names.sort();
        manifest.files = names
            .into_iter()
            .map(|name| record(&self.folder, name))
            .collect::<Result<_, Error>>()?;
        manifest.content = content(&manifest.files);
        let json = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
        self.add("manifest.json", &json)?;
        sync(&self.folder.join("manifest.json"))?;
        sync(&self.folder)?;
        fail_point("artifact written");
        let parent = self.target.parent().expect("artifacts lie in a folder");
        fs::create_dir_all(parent).map_err(|source| Error::writing(parent, source))?;
        match fs::rename(&self.folder, &self.target) {
            Ok(()) => {
                fail_point("artifact renamed");
                sync(parent)?;
            }
            Err(_) if self.target.join("manifest.json").exists() => {
                manifest = Manifest::read(&self.target)?
                    .map_err(|reason| Error::reading(&self.target, io::Error::other(reason)))?;
            }
            Err(source) => return Err(Error::writing(&self.target, source)),
        }
        let path = self.target.clone();
        let summary = summary(&path);
        Ok(Artifact { path, content: manifest.content, summary })
    }

    /// The content that no file has yet.
    pub fn no_content() -> Content {
        content(&[])
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After a rename nothing is there; what cannot be removed now is swept by the next run.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(|source| Error::reading(folder, source))? {
        let entry = entry.map_err(|source| Error::reading(folder, source))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{name}/"), names)?;
            sync(&entry.path())?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}

fn record(folder: &Path, name: String) -> Result<FileRecord, Error> {
    let path = folder.join(&name);
    let mut hasher = blake3::Hasher::new();
    let file = File::open(&path).map_err(|source| Error::reading(&path, source))?;
    hasher.update_reader(&file).map_err(|source| Error::reading(&path, source))?;
    file.sync_all().map_err(|source| Error::writing(&path, source))?;
    let size = file.metadata().map_err(|source| Error::reading(&path, source))?.len();
    Ok(FileRecord { name, size, blake3: hasher.finalize().into() })
}

fn sync(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|source| Error::writing(path, source))
}
