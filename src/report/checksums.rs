//! `checksums.txt`: the digests of all files of a run that follow from its settings and data, in the form
//! that `b3sum --check` reads. Equal runs have equal lists. Times, logs and the record of the run are left
//! out, as they differ between equal runs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::error::{Error, io_at};
use crate::system;

/// The name of the list.
pub const NAME: &str = "checksums.txt";

/// Files in which two equal runs may differ, and files that are drawn from the others.
const LEFT_OUT: [&str; 6] = [NAME, "run.json", "timings.csv", "report.html", "logs", "plots"];

/// Digests by path below the folder of the run, with `/` between its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksums(BTreeMap<String, String>);

impl Checksums {
    /// The digests of the files in `folder`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let mut names = Vec::new();
        list(folder, "", &mut names)?;
        let sum = |name: String| {
            let path = folder.join(&name);
            let bytes = system::read_file(&path).map_err(io_at(&path))?;
            Ok((name, blake3::hash(&bytes).to_hex().to_string()))
        };
        Ok(Self(names.into_par_iter().map(sum).collect::<Result<_, Error>>()?))
    }

    /// The list that the run in `folder` was written with; `None` for a run of an older runner.
    ///
    /// # Errors
    /// When the list cannot be read or is not a list of digests.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(NAME);
        let text = match system::read_file(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Io { path, source }),
        };
        let malformed =
            |reason: &str| Error::Malformed { path: path.clone(), reason: reason.into() };
        if text.is_empty() {
            return Err(malformed("it is empty"));
        }
        let mut sums = BTreeMap::new();
        for line in text.split_inclusive('\n') {
            // A line without a line break was cut short.
            let pair = line.strip_suffix('\n').and_then(|line| line.split_once("  "));
            let pair = pair.filter(|(sum, name)| sum.len() == 64 && is_below(name));
            let Some((sum, name)) = pair else { return Err(malformed("it is no list of digests")) };
            sums.insert(name.to_owned(), sum.to_owned());
        }
        Ok(Some(Self(sums)))
    }

    /// The list as text.
    pub fn text(&self) -> String {
        self.0.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect()
    }

    /// The files that `wanted` accepts and that are missing from `folder` or changed, each with what is
    /// wrong with it.
    pub fn damage(
        &self,
        folder: &Path,
        wanted: impl Fn(&Path) -> bool + Sync,
    ) -> Vec<(PathBuf, String)> {
        let damage = |(name, sum): (&String, &String)| {
            let path = folder.join(name);
            if !wanted(&path) {
                return None;
            }
            let wrong = match system::read_file(&path) {
                Ok(bytes) if blake3::hash(&bytes).to_hex().as_str() == sum => return None,
                Ok(bytes) if bytes.is_empty() => "is empty".to_owned(),
                Ok(_) => "is not what the run wrote".to_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => "is missing".to_owned(),
                Err(error) => format!("cannot be read: {error}"),
            };
            Some((path, wrong))
        };
        self.0.par_iter().filter_map(damage).collect()
    }

    /// What is wrong with the files in `folder`, as sentences that name them.
    pub fn differences(&self, folder: &Path) -> Vec<String> {
        let damage = self.damage(folder, |_| true);
        let name = |path: &Path| path.strip_prefix(folder).unwrap_or(path).display().to_string();
        damage.into_iter().map(|(path, wrong)| format!("`{}` {wrong}", name(&path))).collect()
    }

    /// The paths of its files in `folder`.
    pub fn paths(&self, folder: &Path) -> impl Iterator<Item = PathBuf> {
        self.0.keys().map(|name| folder.join(name))
    }
}

/// Whether a path from a list stays inside the folder of the run.
fn is_below(name: &str) -> bool {
    use std::path::Component;
    Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(io_at(folder))? {
        let entry = entry.map_err(io_at(folder))?;
        let own = entry.file_name().to_string_lossy().into_owned();
        if prefix.is_empty() && LEFT_OUT.contains(&own.as_str()) {
            continue;
        }
        let name = format!("{prefix}{own}");
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("score")).unwrap();
        fs::create_dir_all(root.path().join("logs")).unwrap();
        for name in ["score.csv", "score/a.png", "logs/a.log", "run.json", "timings.csv"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        root
    }

    #[test]
    fn a_list_names_what_follows_from_data_and_comes_back_from_its_text() {
        let run = run();
        let sums = Checksums::of(run.path()).unwrap();
        let text = sums.text();
        let names: Vec<&str> = text.lines().map(|line| &line[66..]).collect();
        assert_eq!(names, ["score.csv", "score/a.png"]);
        assert_eq!(Checksums::read(run.path()).unwrap(), None);
        fs::write(run.path().join(NAME), &text).unwrap();
        assert_eq!(Checksums::read(run.path()).unwrap(), Some(sums));
    }

    #[test]
    fn each_kind_of_damage_is_called_by_its_name() {
        let run = run();
        let sums = Checksums::of(run.path()).unwrap();
        let damage = || {
            let damage = sums.damage(run.path(), |_| true);
            damage.into_iter().map(|(_, what)| what).collect::<Vec<_>>()
        };
        assert!(damage().is_empty());
        fs::write(run.path().join("score.csv"), "score.csw").unwrap();
        fs::write(run.path().join("score/a.png"), "").unwrap();
        assert_eq!(damage(), ["is not what the run wrote", "is empty"]);
        fs::remove_file(run.path().join("score.csv")).unwrap();
        assert_eq!(damage(), ["is missing", "is empty"]);
    }

    #[test]
    fn a_list_that_is_cut_short_or_leads_elsewhere_is_none() {
        let run = run();
        let whole = Checksums::of(run.path()).unwrap().text();
        let sum = &whole[..64];
        let wrong =
            ["", &whole[..40], &whole[..whole.len() - 1], &format!("{sum}  ../x\n"), "a  b\n"];
        for text in wrong {
            fs::write(run.path().join(NAME), text).unwrap();
            assert!(Checksums::read(run.path()).is_err(), "{text:?}");
        }
    }
}
