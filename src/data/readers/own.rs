//! Tells the folders that a runner writes from folders of data, for sources such as `file:.`.

use std::fs;
use std::path::Path;

/// A file in every folder of results, from before the first run.
pub const RESULTS_MARK: &str = ".runner-results";

/// Whether the folder `path` is a store, or one of results.
pub(super) fn is_own(path: &Path) -> bool {
    path.join(RESULTS_MARK).exists() || is_store(path) || is_results(path)
}

fn is_store(path: &Path) -> bool {
    path.join("version").is_file()
        && ["artifacts", "locks", "staging"].iter().all(|part| path.join(part).is_dir())
}

/// `<pipeline>/latest/run.json`: results of before there was a mark.
fn is_results(path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(path) else { return false };
    let mut folders = entries.flatten().filter(|it| it.file_type().is_ok_and(|it| it.is_dir()));
    folders.any(|folder| {
        let latest = folder.path().join("latest");
        latest.is_symlink() && latest.join("run.json").is_file()
    })
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
    }
}
