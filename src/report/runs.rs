//! Finds runs below a folder of results: all of them, the newest run of a pipeline, or the run that a word
//! on the command line stands for. Never looks at their numbers.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::NaiveDateTime;

use super::error::Error;
use super::record::{NAME, Record};

/// The folder that the `latest` link in `home` points at.
pub fn latest(home: &Path) -> Option<PathBuf> {
    let latest = home.join("latest");
    if latest.is_dir() {
        return fs::canonicalize(latest).ok();
    }
    fs::read_to_string(latest).ok().map(|name| home.join(name.trim()))
}

/// Every run below `root` as its folder and its record, the oldest run first.
///
/// # Errors
/// When a folder cannot be listed. A folder without a readable record is left out; [`broken`] finds it.
pub fn all(root: &Path) -> Result<Vec<(PathBuf, Record)>, Error> {
    let mut runs: Vec<(PathBuf, Record)> = folders(root)?
        .into_iter()
        .filter_map(|folder| Some((Record::read(&folder).ok()?, folder)))
        .map(|(record, folder)| (folder, record))
        .collect();
    runs.sort_by(|a, b| (&a.1.provenance.start, &a.0).cmp(&(&b.1.provenance.start, &b.0)));
    Ok(runs)
}

/// Every folder below `root` that belongs to a run but has no readable record, sorted by name, with the
/// reason.
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

/// Every `latest` link below `root` that points at no folder.
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

/// The time, in UTC, with which the name of a run begins, and what follows: `20260102T030405Z-abcdef`. Nothing of other names.
pub fn time_in(name: &str) -> Option<(NaiveDateTime, &str)> {
    let (time, rest) = name.split_once('-')?;
    let time = NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%SZ").ok()?;
    Some((time, rest))
}

/// Whether `name` has the form of a run's name.
fn is_name(name: &str) -> bool {
    time_in(name)
        .is_some_and(|(_, rest)| rest.len() == 6 && rest.bytes().all(|it| it.is_ascii_hexdigit()))
}

/// The folders of all runs: those inside the folder of any pipeline.
fn folders(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for pipeline in subfolders(root)? {
        found.extend(subfolders(&pipeline)?);
    }
    Ok(found)
}

/// The folders inside `folder`, without hidden ones and links. A folder that does not exist has none.
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

/// The folder of the run that `word` stands for below `root`. The word may be the folder itself, the name
/// of the run or its beginning, or the name of a pipeline, which stands for its newest run. Where `word` is
/// a pipeline file, `pipeline` is the name in it.
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
