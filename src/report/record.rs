//! `run.json`, the record of a run: what was done, by what, from what. Reads and writes it, and finds
//! runs by what people call them.

use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::results::{Error, latest};
use crate::console::Lost;
use crate::digest::{Content, Fingerprint};
use crate::system;

/// The record of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Digest of the names and fingerprints of all stages; comes first, as it is read alone.
    pub id: String,
    /// Where, when and by what it was made.
    pub provenance: Provenance,
    /// Of a sweep, the values of every trial's axes: those of a search follow from results alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<IndexMap<String, toml::Value>>,
    /// Digests of the files of a sweep that follow from no artifact: what became of its trials, and what
    /// was learned by those that ended early.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub files: IndexMap<String, String>,
    /// The stages of every trial, in the order of the file.
    pub trials: Vec<Vec<Stage>>,
}

/// Where, when and by what a run was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Provenance {
    /// `pipeline.name`.
    pub pipeline: String,
    /// The resolved pipeline with its sweep, as TOML: enough to run it again.
    pub text: String,
    /// Whether all trials of its `[sweep]` were run.
    pub sweep: bool,
    /// The file that was given, as it was named.
    pub file: String,
    /// The folder that relative paths in it start from.
    pub folder: String,
    /// Version of the runner.
    pub runner: String,
    /// The command line.
    pub command: Vec<String>,
    /// Commit of the repository that the file lies in, if it does.
    pub git_commit: Option<String>,
    /// Whether that had changes.
    pub git_dirty: Option<bool>,
    /// Where tensors were.
    pub device: String,
    /// What decides the last bits of a number besides the settings.
    pub backend: String,
    /// The instructions that the CPU's kernels used.
    pub instruction_set: String,
    /// The processor's family.
    pub architecture: String,
    /// Threads.
    pub threads: usize,
    /// The machine's name.
    pub host: Option<String>,
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// What standard output and standard error did not take: the log of the run has gaps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_output: Vec<Lost>,
}

/// What became of a stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// `cached`, `ran`, `failed`, `interrupted` or `skipped`.
    pub state: String,
    /// The name of its artifact, once its inputs were there.
    pub fingerprint: Option<Fingerprint>,
    /// The digest of its artifact's data.
    pub content: Option<Content>,
    /// Digest of files outside the store that it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<String>,
    /// Seconds.
    pub seconds: f64,
    /// Every setting that counts.
    pub settings: Value,
    /// Why it failed: `message` and `help`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// The stage without a result that it waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_for: Option<String>,
    /// Title, licence, citation and source of its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// The record's name.
pub const NAME: &str = "run.json";

impl Record {
    /// The record of the run in `folder`.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(NAME);
        let text =
            system::read_file(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        serde_json::from_slice(&text).map_err(|error| {
            let reason = match text.is_empty() {
                true => "it is empty, where the record of a run should be".to_owned(),
                false => format!("it is not the record of a run: {error}"),
            };
            Error::Malformed { path, reason }
        })
    }

    /// As its file has it.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a record is plain data") + "\n"
    }

    /// Puts what output was lost into the record of the run in `folder`, which is written.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn add_lost_output(folder: &Path, lost: Vec<Lost>) -> Result<(), Error> {
        let mut record = Self::read(folder)?;
        record.provenance.lost_output = lost;
        let path = folder.join(NAME);
        system::write_file(&path, record.text().as_bytes())
            .map_err(|source| Error::Io { path, source })
    }

    /// `done`, `failed` or `interrupted`, for people.
    pub fn state(&self) -> &'static str {
        let any = |word: &str| self.trials.iter().flatten().any(|stage| stage.state == word);
        if any("failed") {
            "failed"
        } else if any("interrupted") || any("skipped") {
            "interrupted"
        } else {
            "done"
        }
    }

    /// Every artifact that the run made or used.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> + '_ {
        self.trials.iter().flatten().filter_map(|stage| stage.fingerprint)
    }

    /// The stage called `name` of trial `trial`.
    pub fn stage(&self, trial: usize, name: &str) -> Option<&Stage> {
        self.trials.get(trial)?.iter().find(|stage| stage.name == name)
    }
}

/// Every run below `root`, the oldest first: their folders with their records.
///
/// # Errors
/// When a folder cannot be listed. A folder without a readable record is no run: [`broken`] finds it.
pub fn all(root: &Path) -> Result<Vec<(PathBuf, Record)>, Error> {
    let mut runs: Vec<(PathBuf, Record)> = folders(root)?
        .into_iter()
        .filter_map(|folder| Some((Record::read(&folder).ok()?, folder)))
        .map(|(record, folder)| (folder, record))
        .collect();
    runs.sort_by(|a, b| (&a.1.provenance.start, &a.0).cmp(&(&b.1.provenance.start, &b.0)));
    Ok(runs)
}

/// Every folder below `root` that is a run's but has no readable record, by name, with why.
///
/// # Errors
/// When a folder cannot be listed.
pub fn broken(root: &Path) -> Result<Vec<(PathBuf, Error)>, Error> {
    let is_run = |folder: &Path| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        is_name(&name) || folder.join(NAME).symlink_metadata().is_ok()
    };
    let mut broken: Vec<(PathBuf, Error)> = folders(root)?
        .into_iter()
        .filter(|folder| is_run(folder))
        .filter_map(|folder| Record::read(&folder).err().map(|error| (folder, error)))
        .collect();
    broken.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(broken)
}

/// Every `latest` below `root` that leads to no folder.
///
/// # Errors
/// When `root` cannot be listed.
pub fn dangling(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let links = subfolders(root)?.into_iter().map(|home| home.join("latest"));
    let leads = |link: &PathBuf| {
        let home = link.parent().unwrap_or(root);
        latest(home).is_some_and(|folder| folder.is_dir())
    };
    Ok(links.filter(|link| link.symlink_metadata().is_ok() && !leads(link)).collect())
}

/// Whether a folder is called as runs are: `20260102T030405Z-abcdef`.
fn is_name(name: &str) -> bool {
    let parts = name.split_once('-');
    parts.is_some_and(|(time, rest)| {
        chrono::NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%SZ").is_ok()
            && rest.len() == 6
            && rest.bytes().all(|it| it.is_ascii_hexdigit())
    })
}

/// The folders in the folders of pipelines.
fn folders(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for pipeline in subfolders(root)? {
        found.extend(subfolders(&pipeline)?);
    }
    Ok(found)
}

/// The folders in `folder`, but for hidden ones and links; none where there is no such folder.
fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Io { path: folder.to_owned(), source }),
    };
    let path = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let name = entry.file_name();
        let hidden = name.to_string_lossy().starts_with('.');
        (!hidden && entry.file_type().ok()?.is_dir()).then(|| entry.path())
    };
    Ok(entries.filter_map(path).collect())
}

/// The folder of the run that `word` names below `root`: a run's folder, its name or the beginning of
/// it, or a pipeline's name for the newest. `pipeline` is that of the file that `word` names, if it does.
pub fn find(root: &Path, word: &Path, pipeline: Option<&str>) -> Option<PathBuf> {
    if word.join(NAME).is_file() {
        return fs::canonicalize(word).ok();
    }
    if let Some(pipeline) = pipeline {
        return latest(&root.join(pipeline));
    }
    if let Some(newest) = latest(&root.join(word)) {
        return Some(newest);
    }
    let name = word.to_str()?;
    let mut found: Vec<PathBuf> = fs::read_dir(root)
        .ok()?
        .filter_map(|entry| fs::read_dir(entry.ok()?.path()).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join(NAME).is_file() && !path.is_symlink())
        .filter(|path| {
            path.file_name().is_some_and(|it| it.to_string_lossy().starts_with(name))
                || path.strip_prefix(root).is_ok_and(|it| it == word)
        })
        .collect();
    found.sort();
    (found.len() == 1).then(|| found.remove(0))
}
