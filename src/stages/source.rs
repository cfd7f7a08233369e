//! Where the user's own file or folder is, and whether it is still what the run was planned with.

use std::path::{Path, PathBuf};

use super::{Context, Failure, Halt};
use crate::config::Diagnostic;
use crate::config::source::Span;
use crate::data::outside::Files;
use crate::data::{DataError, checksum};
use crate::system;

/// Where the user's own file is.
#[derive(Debug)]
pub(super) enum Source {
    /// As written after `file:`, and where; its checksum, if given.
    File { path: String, sha256: Option<String>, span: Span },
    /// An address, and what must come from it.
    Web { url: String, sha256: String },
}

impl Source {
    /// As the user wrote it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::File { path, .. } => format!("file:{path}"),
            Self::Web { url, .. } => url.clone(),
        }
    }

    /// The path or address as the user wrote it.
    pub(super) fn place(&self) -> &str {
        match self {
            Self::File { path, .. } => path,
            Self::Web { url, .. } => url,
        }
    }

    /// Whether a checksum says what it holds.
    pub(super) fn has_checksum(&self) -> bool {
        match self {
            Self::File { sha256, .. } => sha256.is_some(),
            Self::Web { .. } => true,
        }
    }

    /// That there is no such file or folder.
    pub(super) fn absent(&self) -> Option<Diagnostic> {
        let Self::File { path, span, .. } = self else { return None };
        let Err(Halt::Failed(failure)) = find(path) else { return None };
        let mut problem = Diagnostic::at(*span, failure.message, "nothing is there");
        problem.help = failure.help;
        Some(problem)
    }

    /// The path of the file or folder, checked, fetched if need be.
    pub(super) fn locate(&self, context: &Context) -> Result<PathBuf, Halt> {
        match self {
            Self::File { path, sha256, .. } => {
                let found = find(path)?;
                if let Some(sha256) = sha256 {
                    verify(&found, sha256)?;
                }
                Ok(found)
            }
            Self::Web { url, sha256 } => Ok(context.fetcher().url(url, sha256)?),
        }
    }
}

/// The absolute path of a `file:` source that exists.
pub(super) fn find(path: &str) -> Result<PathBuf, Halt> {
    let absolute = std::path::absolute(system::at_home(Path::new(path)))
        .map_err(|error| Failure::new(format!("`source = \"file:{path}\"`: {error}")))?;
    if absolute.exists() {
        return Ok(absolute);
    }
    Err(Failure::new(format!("`source = \"file:{path}\"`: there is no {}", absolute.display()))
        .help("a path that does not start with / is taken from the current directory")
        .into())
}

fn verify(path: &Path, sha256: &str) -> Result<(), Halt> {
    if path.is_dir() {
        return Err(Failure::new(format!(
            "`sha256` is of a file, but {} is a folder",
            path.display()
        ))
        .help("leave `sha256` out: changes to the folder's files are noticed anyway")
        .into());
    }
    let io = |error| Halt::from(DataError::io(path, error));
    let found = checksum::of_reader(std::fs::File::open(path).map_err(io)?).map_err(io)?;
    if found == *sha256 {
        return Ok(());
    }
    Err(Failure::new(format!("{}: its sha256 is {found}, not {sha256}", path.display()))
        .help("look whether it is the right file, whole; or correct `sha256`")
        .into())
}

/// Does `read`, which reads the files that `find` finds, and makes sure that they are those of the
/// digest `planned` before and after: what is read is what the fingerprint says.
///
/// # Errors
/// That of `read`, or when the files changed.
pub(super) fn unchanged<T>(
    planned: Option<&str>,
    find: impl Fn() -> Result<Option<Files>, Halt>,
    read: impl FnOnce() -> Result<T, Halt>,
) -> Result<T, Halt> {
    let Some(planned) = planned else { return read() };
    let changed = |when: &str| {
        let failure = Failure::new(format!("the files that it reads changed {when}"));
        Halt::from(failure.help("run again once nothing writes to them"))
    };
    let Some(files) = find()? else { return read() };
    let stamp = files.stamp()?;
    if files.digest()? != planned {
        return Err(changed("after the run was planned"));
    }
    let result = read()?;
    let after = find()?.unwrap_or(files);
    // The look of a file may change without its bytes.
    if after.stamp()? != stamp && after.digest()? != planned {
        return Err(changed("while they were read"));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_that_change_around_the_reading_are_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path();
        fs::write(path, "1").unwrap();
        let find = || Ok(Some(Files::one(path)));
        let planned = Files::one(path).digest().unwrap();
        let read = || Ok(fs::read_to_string(path).unwrap());
        assert_eq!(unchanged(Some(&planned), find, read).unwrap(), "1");
        let write = |text: &str| fs::write(path, text).unwrap();
        let touched = unchanged(Some(&planned), find, || {
            write("1");
            Ok(())
        });
        touched.unwrap();
        let during = unchanged(Some(&planned), find, || {
            write("2");
            Ok(())
        });
        assert!(during.unwrap_err().to_string().contains("while they were read"));
        let before = unchanged(Some(&planned), find, read).unwrap_err();
        assert!(before.to_string().contains("after the run was planned"), "{before}");
    }
}
