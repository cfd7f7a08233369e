//! Tells the folders that a runner writes from folders of data, for sources such as `file:.`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{cifar, decode, idx, tensors, usps, visible_entries, visible_files};

/// A file in every folder of results, from before the first run.
pub const RESULTS_MARK: &str = ".runner-results";

/// Whether the folder `path` is a store, or holds results and nothing else. A folder of data that results
/// are written to as well stays one of data, without the folders of the pipelines in it.
pub(super) fn is_own(path: &Path) -> bool {
    is_store(path) || is_home(path) || (is_results(path) && !holds_data(path))
}

/// What is passed by as no data at `folder` and a few folders below.
pub(super) fn passed_by(folder: &Path) -> Vec<PathBuf> {
    fn look(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
        for path in folders(folder) {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if name.starts_with(b".") {
                continue;
            }
            if is_own(&path) {
                found.push(path);
            } else if depth > 0 {
                look(&path, depth - 1, found);
            }
        }
    }
    let mut found = Vec::new();
    // A wrapping, a split and a class.
    look(folder, 2, &mut found);
    found.sort();
    found
}

fn is_store(path: &Path) -> bool {
    path.join("version").is_file()
        && ["artifacts", "locks", "staging"].iter().all(|part| path.join(part).is_dir())
}

/// Whether results are written to `path`. Those of before there was a mark are told by their pipelines.
fn is_results(path: &Path) -> bool {
    path.join(RESULTS_MARK).exists() || folders(path).iter().any(|folder| is_home(folder))
}

/// Whether `path` holds the results of a pipeline, one folder for each run and `latest`. Below a mark also
/// if no run got that far: there is nothing in it yet, or what a run died over.
fn is_home(path: &Path) -> bool {
    let latest = path.join("latest");
    if latest.is_symlink() && latest.join("run.json").is_file() {
        return true;
    }
    path.parent().is_some_and(|above| above.join(RESULTS_MARK).exists())
        && (latest.is_symlink()
            || folders(path).iter().any(|run| run.join("run.json").is_file())
            || visible_entries(path).is_ok_and(|entries| entries.is_empty()))
}

/// Whether a file of a format lies below `path`, the results themselves apart. `digits.csv` says nothing: a
/// stage of that name writes its metrics to such a file.
fn holds_data(path: &Path) -> bool {
    let is_data = |file: &PathBuf| {
        decode::is_image(file)
            || idx::is_part(file)
            || cifar::is_part(file)
            || tensors::is_part(file)
            || usps::is_part(file)
    };
    visible_files(path).is_ok_and(|files| files.iter().any(is_data))
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|it| it.file_type().is_ok_and(|it| it.is_dir())).map(|it| it.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_and_results_are_told_from_classes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let is = |name: &str| is_own(&at(name));
        for name in ["store/artifacts", "store/locks", "store/staging", "new", "old/p/1", "cat/a"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        assert!(!is("store") && !is("new") && !is("old"));
        fs::write(at("store/version"), "1").unwrap();
        fs::write(at("new").join(RESULTS_MARK), "").unwrap();
        fs::write(at("old/p/1/run.json"), "{}").unwrap();
        std::os::unix::fs::symlink("1", at("old/p/latest")).unwrap();
        assert!(is("store") && is("new") && is("old"));
        fs::write(at("cat/version"), "1").unwrap();
        assert!(!is("cat"));
        fs::write(at("new/table.csv"), "a table that the user put there").unwrap();
        assert!(is("new"));
    }

    #[test]
    fn a_folder_of_data_stays_one_when_results_are_written_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a/begun/.run-1", "a/p/1", "a/died/1", "b", "c/deep", "d/p/1"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["a/1.png", "c/deep/1.png", "a/p/1/run.json", "a/p/1/curve.png"] {
            fs::write(at(name), "").unwrap();
        }
        // Before the first run nothing is told from data.
        assert!(passed_by(folder.path()).is_empty());
        for name in ["a", "b", "c"] {
            fs::write(at(name).join(RESULTS_MARK), "").unwrap();
        }
        std::os::unix::fs::symlink("1", at("a/p/latest")).unwrap();
        fs::write(at("a/died/1/run.json"), "{}").unwrap();
        assert!(!is_own(&at("a")) && is_own(&at("b")) && !is_own(&at("c")) && !is_own(&at("d")));
        assert_eq!(visible_files(&at("a")).unwrap(), [at("a/1.png")]);
        assert_eq!(visible_entries(&at("c")).unwrap(), [at("c/deep")]);
        let passed = ["a/begun", "a/died", "a/p", "b"].map(at);
        assert_eq!(passed_by(folder.path()), passed);
    }
}
