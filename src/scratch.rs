//! Folders that a command fills for a while outside the store. Their names say whose they are, so that
//! what a killed command left is found and cleared away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::store::{is_left, mark};

/// How the names of those in the system's folder for temporary files begin.
const PREFIX: &str = "runner-";

/// One in the system's folder for temporary files.
///
/// # Errors
/// When it cannot be made.
pub fn folder() -> io::Result<TempDir> {
    folder_in(&std::env::temp_dir(), PREFIX)
}

/// One in `home`, where those that killed commands left with names that begin with `prefix` go.
///
/// # Errors
/// When it cannot be made.
pub fn folder_in(home: &Path, prefix: &str) -> io::Result<TempDir> {
    for left in left_in(home, prefix) {
        // What cannot be removed now is tried again by the next one.
        let _ = fs::remove_dir_all(left);
    }
    tempfile::Builder::new().prefix(&format!("{prefix}{}.", mark())).tempdir_in(home)
}

/// What killed commands left in the system's folder for temporary files.
pub fn left_behind() -> Vec<PathBuf> {
    left_in(&std::env::temp_dir(), PREFIX)
}

fn left_in(home: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(home).into_iter().flatten().flatten();
    let left = |name: &str| {
        let mark = name.strip_prefix(prefix).and_then(|rest| rest.rsplit_once('.'));
        mark.is_some_and(|(mark, _)| is_left(mark))
    };
    entries
        .filter(|entry| left(&entry.file_name().to_string_lossy()))
        .filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_goes_and_what_lives_or_is_of_another_machine_stays() {
        let home = tempfile::tempdir().unwrap();
        let mine = folder_in(home.path(), ".export-").unwrap();
        let (_, machine) =
            mark().split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = child.id();
        child.wait().unwrap();
        let dead = home.path().join(format!(".export-{gone}.{machine}.abc"));
        let others = [
            format!(".export-{gone}.0123456789abcdef.abc"),
            format!("export-{gone}.{machine}.abc"),
            ".export-notes".to_owned(),
        ];
        for name in &others {
            fs::create_dir_all(home.path().join(name)).unwrap();
        }
        fs::create_dir_all(dead.join("half")).unwrap();
        let next = folder_in(home.path(), ".export-").unwrap();
        // Where the system cannot tell who is dead, everything stays.
        assert_eq!(dead.exists(), !Path::new("/proc/self/ns/pid").exists());
        assert!(mine.path().exists() && next.path().exists());
        assert!(others.iter().all(|name| home.path().join(name).exists()));
    }
}
