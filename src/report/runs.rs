//! Finds runs below a folder of results: all of them, the newest of a pipeline, the one that a user's word
//! means. Never looks into their numbers.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::record::{NAME, Record};

/// The folder that `latest` points at.
pub fn latest(home: &Path) -> Option<PathBuf> {
    let latest = home.join("latest");
    if latest.is_dir() {
        return fs::canonicalize(latest).ok();
    }
    fs::read_to_string(latest).ok().map(|name| home.join(name.trim()))
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
