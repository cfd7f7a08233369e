//! Decides whether the newest run of a pipeline already holds the results of a run that had nothing to do:
//! it must have the same stages, and its files must be as they were written.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::checksums::Checksums;
use super::runs::latest;
use crate::system;

/// How the newest run compares with a run that has these stages.
#[derive(Debug, PartialEq, Eq)]
pub enum Earlier {
    /// The newest run has other stages, or there is none.
    Other,
    /// It has the same stages, and all its files are whole.
    Whole(PathBuf),
    /// It has the same stages, but an older runner wrote it without checksums.
    Unlisted(PathBuf),
    /// Files of it are missing or changed, as these sentences say.
    Damaged(PathBuf, Vec<String>),
}

impl Earlier {
    /// Compares the newest run in `home`, the folder of its pipeline, with a run whose digest is `id`.
    pub fn of(home: &Path, id: &str) -> Self {
        let Some(folder) = latest(home) else { return Self::Other };
        match record_id(&folder.join("run.json")) {
            Ok(found) if found == id => {}
            Ok(_) => return Self::Other,
            Err(wrong) => return Self::Damaged(folder, vec![format!("`run.json` {wrong}")]),
        }
        let sums = match Checksums::read(&folder) {
            Ok(Some(sums)) => sums,
            Ok(None) => return Self::Unlisted(folder),
            Err(error) => return Self::Damaged(folder, vec![error.to_string()]),
        };
        let damage = sums.differences(&folder);
        if damage.is_empty() { Self::Whole(folder) } else { Self::Damaged(folder, damage) }
    }

    /// Compares the files of a run without checksums with those that a new run would write.
    pub fn compared(folder: PathBuf, sums: &Checksums) -> Self {
        let damage = sums.differences(&folder);
        if damage.is_empty() { Self::Whole(folder) } else { Self::Damaged(folder, damage) }
    }
}

/// The id of the record at `path`. Only the two ends of the file are read, because it can be long.
fn record_id(path: &Path) -> Result<String, String> {
    let read = || -> io::Result<(Vec<u8>, Vec<u8>)> {
        let mut file = system::open_file(path)?;
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        file.by_ref().take(128).read_to_end(&mut head)?;
        file.seek(SeekFrom::End(-i64::try_from(head.len().min(2)).unwrap_or(0)))?;
        file.read_to_end(&mut tail)?;
        Ok((head, tail))
    };
    let (head, tail) = read().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "is missing".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    if head.is_empty() {
        return Err("is empty".to_owned());
    }
    let head = String::from_utf8_lossy(&head);
    let mut parts = head.split('"');
    let id = (parts.nth(1) == Some("id")).then(|| parts.nth(1)).flatten();
    match id {
        Some(id) if tail == b"}\n" => Ok(id.to_owned()),
        Some(_) => Err("is cut short".to_owned()),
        None => Err("is not the record of a run".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_id_of_a_record_is_read_and_half_a_record_has_none() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run.json");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            record_id(&path)
        };
        assert_eq!(read("{\n  \"id\": \"ab12\",\n  \"trials\": []\n}\n"), Ok("ab12".into()));
        for (text, wrong) in [
            ("", "is empty"),
            ("{\n  \"id\": \"ab12\",\n  \"tria", "is cut short"),
            ("\0\0\0\0", "is not the record of a run"),
            ("{}\n", "is not the record of a run"),
        ] {
            assert_eq!(read(text), Err(wrong.into()), "{text:?}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(record_id(&path), Err("is missing".into()));
    }
}
