//! The files that a program declares: they are a part of the fingerprint, and copies of them are all that the program
//! finds where it runs, so that what is not declared is missed at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::config::node::{Node, Value};
use crate::config::source::Span;
use crate::config::{Diagnostic, Keys, Noted};
use crate::data::DataError;
use crate::data::outside::Files;
use crate::stages::{Failure, Halt};

/// Folders that are never files of a program.
const LEFT_OUT: &str = "__pycache__";

/// Files and folders, by their names below the folder of the pipeline file.
#[derive(Debug)]
pub(super) struct DeclaredFiles {
    files: Vec<(PathBuf, Span)>,
}

impl DeclaredFiles {
    /// Reads `files`.
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        let names = keys.strings("files").or(Vec::new())?;
        let spans: Vec<Span> = match keys.peek("files") {
            Some(Node { value: Value::Array(items), .. }) => {
                items.iter().map(|it| it.span).collect()
            }
            Some(node) => vec![node.span],
            None => Vec::new(),
        };
        let mut problems = Vec::new();
        let mut files = Vec::new();
        for (name, span) in names.iter().zip(spans) {
            match below(name) {
                Some(path) => files.push((path, span)),
                None => problems.push(
                    Diagnostic::at(
                        span,
                        format!("`{name}` is not below the folder of the pipeline file"),
                        "leads out of it",
                    )
                    .help("put the file there, and name it from there: `\"train.py\"`, `\"lib/\"`"),
                ),
            }
        }
        keys.no_problems(problems)?;
        Ok(Self { files })
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<&Path> {
        self.files.iter().map(|(path, _)| path.as_path()).collect()
    }

    /// Whether `path` is one of them, or in a folder that is.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.files.iter().any(|(known, _)| path.starts_with(known))
    }

    /// Those that are not in the folder `home`.
    pub(super) fn absent(&self, home: &Path) -> Vec<Diagnostic> {
        let there = |path: &Path| {
            let path = home.join(path);
            path.is_file() || path.is_dir()
        };
        let missing = self.files.iter().filter(|(path, _)| !there(path));
        let told = missing.map(|(path, span)| {
            let message = format!("there is no `{}`", home.join(path).display());
            Diagnostic::at(*span, message, "no file or folder of this name")
                .help("files are named from the folder of the pipeline file")
        });
        told.collect()
    }

    /// Every file, in order. Of a folder those below it count, but for hidden ones and what Python compiled.
    pub(super) fn all(&self, home: &Path) -> Result<Vec<PathBuf>, DataError> {
        let mut found = BTreeSet::new();
        for (path, _) in &self.files {
            list(&home.join(path), &mut found)?;
        }
        Ok(found.into_iter().collect())
    }

    /// Copies them from `home` to the folder `to`, and makes sure that the copies are what the run was `planned` with.
    pub(super) fn copy(&self, home: &Path, to: &Path, planned: Option<&str>) -> Result<(), Halt> {
        let home = std::path::absolute(home).map_err(|error| DataError::io(home, error))?;
        let mut copies = Vec::new();
        for file in self.all(&home)? {
            let copy = to.join(file.strip_prefix(&home).unwrap_or(&file));
            if let Some(folder) = copy.parent() {
                fs::create_dir_all(folder).map_err(|error| DataError::io(folder, error))?;
            }
            fs::copy(&file, &copy).map_err(|error| DataError::io(&file, error))?;
            copies.push(copy);
        }
        let Some(planned) = planned else { return Ok(()) };
        if Files::new(to, copies).digest()? != planned {
            let failure =
                Failure::new("the files of the program changed after the run was planned");
            return Err(failure.help("run again once nothing writes to them").into());
        }
        Ok(())
    }
}

/// A path below a folder, without `.` in it.
fn below(name: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (path != Path::new("")).then_some(path)
}

fn list(path: &Path, found: &mut BTreeSet<PathBuf>) -> Result<(), DataError> {
    if !path.is_dir() {
        found.insert(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(|error| DataError::io(path, error))? {
        let entry = entry.map_err(|error| DataError::io(path, error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && name != LEFT_OUT {
            list(&entry.path(), found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::read_lines;

    fn declared(text: &str) -> Result<DeclaredFiles, Vec<String>> {
        let (read, gathered) = read_lines(text, DeclaredFiles::read);
        read.map_err(|_| gathered.messages())
    }

    #[test]
    fn files_lie_below_the_pipeline_and_are_copied_with_what_is_in_their_folders() {
        let (home, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in [
            "a.py",
            "lib/b.py",
            "lib/deep/c.py",
            "lib/.hidden",
            "lib/__pycache__/b.pyc",
            "other.py",
        ] {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let files = declared("files = ['a.py', './lib/', 'lib/b.py']").unwrap();
        let all = files.all(home.path()).unwrap();
        let names: Vec<&Path> =
            all.iter().map(|it| it.strip_prefix(home.path()).unwrap()).collect();
        assert_eq!(names, ["a.py", "lib/b.py", "lib/deep/c.py"].map(Path::new));
        let planned = Files::new(home.path(), all.clone()).digest().unwrap();
        files.copy(home.path(), to.path(), Some(&planned)).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("lib/deep/c.py")).unwrap(), "lib/deep/c.py");
        assert!(!to.path().join("other.py").exists());
        fs::write(home.path().join("a.py"), "other").unwrap();
        let error = files.copy(home.path(), to.path(), Some(&planned)).unwrap_err();
        assert!(error.to_string().contains("changed after the run was planned"), "{error}");
        assert!(files.has(Path::new("lib/new.py")) && !files.has(Path::new("library.py")));
    }

    #[test]
    fn what_is_elsewhere_or_not_there_is_told() {
        for name in ["../a.py", "/a.py", "lib/../../a.py", "."] {
            let said = declared(&format!("files = ['{name}']")).unwrap_err();
            assert!(said[0].contains("is not below the folder"), "{said:?}");
        }
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("a"), "").unwrap();
        let missing = declared("files = ['a', 'b']").unwrap().absent(home.path());
        assert_eq!(missing.len(), 1);
        assert!(missing[0].message.ends_with("/b`"), "{}", missing[0].message);
    }
}
