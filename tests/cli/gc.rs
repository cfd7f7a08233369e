//! What a collection must not take: what runs need that it does not see, and what a run needs that goes
//! on. And what it has to find: what killed commands left.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::binary::{record, runner, text};
use crate::photos::{artifacts, photos};

/// Code, and what was said.
fn gc(root: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = runner(root, &[&["gc", "--now", "--yes"], arguments].concat());
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

fn ran(root: &Path, arguments: &[&str]) {
    let output = runner(root, &[&["run", "photos.toml", "--quiet"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
}

/// Where the second project has its results.
const OTHER: &str = "other results";

const SMALLER: [&str; 2] = ["--set", "stages.images.resize=10"];

/// Two projects on one store: six artifacts of one and five more of the other.
fn two_projects(root: &Path) {
    photos(root);
    ran(root, &[]);
    ran(root, &[&SMALLER[..], &["--results", OTHER]].concat());
    assert_eq!(artifacts(&root.join(".runner")).len(), 11);
}

/// Nothing of a run is missing or damaged.
fn is_whole(root: &Path, results: &str) -> bool {
    runner(root, &["verify", "photos", "--results", results]).status.success()
}

#[test]
fn a_folder_that_is_not_there_or_holds_no_run_is_an_error_that_removes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    ran(root, &[]);
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("file"), "").unwrap();
    for results in ["resutls", "empty", "file"] {
        let (code, said) = gc(root, &["--results", results]);
        assert_eq!(code, Some(2), "{results}: {said}");
        assert!(said.contains(results) && said.contains("count as not needed"), "{said}");
    }
    fs::rename(root.join("results"), root.join("moved")).unwrap();
    let (code, said) = gc(root, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(artifacts(&root.join(".runner")).len(), 6);
    // What the error says is what helps.
    assert!(said.contains("`--results DIR` says where the runs are"), "{said}");
    assert_eq!(gc(root, &["--results", "moved"]).0, Some(0));
    assert!(is_whole(root, "moved"));
}

#[test]
fn runs_in_other_folders_keep_what_they_need_wherever_gc_is_called() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    two_projects(root);
    let (code, said) = gc(root, &["--keep-last", "0"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("runs: 0 kept, 1 not; 1 in other folders, all kept"), "{said}");
    // The photos themselves are of both.
    assert!(said.contains("removed 5 things") && is_whole(root, OTHER), "{said}");
    fs::create_dir(root.join("elsewhere")).unwrap();
    let (code, said) = gc(&root.join("elsewhere"), &["--store", "../.runner"]);
    assert!(code == Some(0) && said.contains("removed 0 things"), "{said}");
    assert!(is_whole(root, OTHER));
}

#[test]
fn a_folder_that_cannot_be_read_keeps_everything_until_it_is_forgotten() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    two_projects(root);
    let other = root.join(OTHER);
    for gone in ["not there", "a disk that is not mounted", "a file"] {
        fs::rename(&other, root.join("away")).unwrap();
        match gone {
            "not there" => {}
            "a file" => fs::write(&other, "").unwrap(),
            _ => fs::create_dir(&other).unwrap(),
        }
        let (code, said) = gc(root, &[]);
        assert_eq!(code, Some(0), "{gone}: {said}");
        assert!(said.contains("so 5 things, ") && said.contains("removed 0 things"), "{said}");
        let _ = fs::remove_dir(&other);
        let _ = fs::remove_file(&other);
        fs::rename(root.join("away"), &other).unwrap();
        assert!(is_whole(root, OTHER) && is_whole(root, "results"), "{gone}");
    }
    let (code, said) = gc(root, &["--forget", "another"]);
    assert!(code == Some(2) && said.contains("/other results`"), "{said}");
    fs::rename(&other, root.join("away")).unwrap();
    let (_, said) = gc(root, &[]);
    // The advice, as a shell takes it.
    let advice = said.split("`--forget ").nth(1).unwrap().split('`').next().unwrap();
    let binary = assert_cmd::cargo::cargo_bin("runner");
    let shell = |options: &str| {
        let command = format!("{} gc --now {options} --forget {advice}", binary.display());
        let output = Command::new("sh").current_dir(root).args(["-c", &command]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let dry = shell("");
    assert!(dry.contains("5 things") && dry.contains("say `--yes`"), "{dry}");
    let did = shell("--yes");
    assert!(did.contains("removed 5 things"), "{did}");
    assert!(is_whole(root, "results"));
    let (_, said) = gc(root, &[]);
    assert!(!said.contains("kept:"), "it is forgotten for good: {said}");
}

#[test]
fn a_run_whose_record_cannot_be_read_keeps_everything() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    ran(root, &[]);
    ran(root, &SMALLER);
    let newest = fs::canonicalize(root.join("results/photos/latest")).unwrap();
    let path = newest.join("run.json");
    let whole = fs::read(&path).unwrap();
    for damage in [&b""[..], &whole[..whole.len() / 2], b"\xff\xfe", b"no file"] {
        match damage {
            b"no file" => fs::remove_file(&path).unwrap(),
            damage => fs::write(&path, damage).unwrap(),
        }
        let (code, said) = gc(root, &[]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(newest.to_str().unwrap()) && said.contains("removed 0"), "{said}");
        assert_eq!(artifacts(&root.join(".runner")).len(), 11);
    }
    fs::write(&path, whole).unwrap();
    assert!(is_whole(root, "results"));
    // A folder of somebody's own among the runs is no run.
    fs::create_dir(root.join("results/photos/figures")).unwrap();
    assert!(!gc(root, &[]).1.contains("kept:"));
}

#[cfg(unix)]
#[test]
fn results_behind_a_link_are_seen_and_those_behind_one_that_leads_nowhere_keep_everything() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    ran(root, &[]);
    fs::rename(root.join("results/photos"), root.join("disk")).unwrap();
    std::os::unix::fs::symlink(root.join("disk"), root.join("results/photos")).unwrap();
    let (code, said) = gc(root, &[]);
    assert!(code == Some(0) && said.contains("runs: 1 kept, 0 not"), "{said}");
    assert!(is_whole(root, "results"));
    fs::rename(root.join("disk"), root.join("away")).unwrap();
    let (code, said) = gc(root, &[]);
    assert!(code == Some(0) && said.contains("is not there"), "{said}");
    assert_eq!(artifacts(&root.join(".runner")).len(), 6);
}

#[test]
fn a_store_of_an_older_runner_keeps_what_no_known_run_needs_until_told_that_there_are_no_others() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    two_projects(root);
    fs::remove_dir_all(root.join(".runner/results")).unwrap();
    let (code, said) = gc(root, &[]);
    assert!(code == Some(0) && said.contains("removed 0 things"), "{said}");
    assert!(said.contains("`--forget unknown`") && is_whole(root, OTHER), "{said}");
    // The other project's next run is enough to make it known.
    ran(root, &[&SMALLER[..], &["--results", OTHER]].concat());
    let (code, said) = gc(root, &["--forget", "unknown"]);
    assert!(code == Some(0) && said.contains("removed 0 things"), "{said}");
    assert!(!said.contains("kept:") && is_whole(root, OTHER), "{said}");
    // A job may say it every night.
    gc(root, &["--forget", "unknown"]);
    let (code, said) = gc(root, &["--forget", "unknown"]);
    assert!(code == Some(0) && is_whole(root, OTHER), "{said}");
}

#[cfg(target_os = "linux")]
mod beside_a_run {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Stdio};

    use super::*;
    use crate::binary::spawn;

    fn signal(child: &Child, signal: &str) {
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits for an event that has all `words`.
    fn wait_for(lines: &mut impl Iterator<Item = std::io::Result<String>>, words: &[&str]) {
        for line in lines {
            let line = line.unwrap();
            if words.iter().all(|word| line.contains(word)) {
                return;
            }
        }
        panic!("the run ended before {words:?}");
    }

    /// A run that is still adapting when it is stopped or killed.
    const LONG: [&str; 4] = ["run", "photos.toml", "--json", "--threads=1"];

    #[test]
    fn gc_keeps_what_a_run_needs_that_goes_on_and_no_kept_run_does() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        two_projects(root);
        // It finds what only the other project's run made.
        let command = [&LONG[..], &SMALLER, &["--set", "stages.adapted.epochs=600"]].concat();
        let mut run = spawn(root, &command, Stdio::piped(), Stdio::null());
        let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
        wait_for(&mut lines, &["\"metric\"", "\"task\":4"]);
        signal(&run, "-STOP");
        let status = text(&runner(root, &["status"]).stdout);
        assert!(status.contains("adapted: process ") && status.contains("running"), "{status}");
        let (code, said) = gc(root, &["--forget", OTHER]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("run of photos, process "), "{said}");
        // What was adapted for two epochs, and its score.
        assert!(said.contains("removed 2 things"), "{said}");
        signal(&run, "-CONT");
        lines.for_each(drop);
        assert!(run.wait().unwrap().success());
        assert!(is_whole(root, "results"));
        let latest = root.join("results/photos/latest");
        let stages = record(&latest)["trials"][0].as_array().unwrap().len();
        assert_eq!(stages, 6);
        assert!(
            ["net", "adapted", "score"].iter().all(|it| latest.join(format!("{it}.csv")).exists())
        );
        assert!(gc(root, &[]).1.contains("removed 0 things"));
    }

    #[test]
    fn what_killed_runs_exports_and_reproductions_left_is_cleared_away() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        photos(root);
        ran(root, &[]);
        let endless = [&LONG[..], &["--set", "stages.adapted.epochs=9000"]].concat();
        let mut run = spawn(root, &endless, Stdio::piped(), Stdio::null());
        let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
        wait_for(&mut lines, &["\"metric\"", "\"task\":4"]);
        // The journal is written four times a second.
        let journal = || {
            let entries = fs::read_dir(root.join("results/photos")).unwrap();
            let mut signs = entries.map(|entry| entry.unwrap().path().join("writer"));
            signs.any(|sign| fs::read(sign).is_ok_and(|text| !text.is_empty()))
        };
        while !journal() {
            wait_for(&mut lines, &["\"metric\""]);
        }
        run.kill().unwrap();
        run.wait().unwrap();
        let status = text(&runner(root, &["status"]).stdout);
        assert!(status.contains("run of photos: process ") || status.contains("died"), "{status}");
        let temporary = root.join("tmp");
        fs::create_dir(&temporary).unwrap();
        let killed = |point: &str, arguments: &[&str]| {
            let output = Command::new(assert_cmd::cargo::cargo_bin("runner"))
                .current_dir(root)
                .args(arguments)
                .env("TMPDIR", &temporary)
                .env("RUNNER_FAIL_POINT", point)
                .output()
                .unwrap();
            assert_eq!(output.status.signal(), Some(6), "{arguments:?}: {output:?}");
        };
        if cfg!(debug_assertions) {
            killed("exported:1", &["export", "photos", "net", "out/net"]);
            assert_eq!(fs::read_dir(root.join("out")).unwrap().count(), 1);
            killed("artifact written:1", &["reproduce", "photos"]);
            killed("artifact written:1", &["verify", "photos", "--rerun", "head"]);
        }
        // The next run clears away what the store knows of.
        ran(root, &[]);
        assert_eq!(fs::read_dir(root.join("out")).into_iter().flatten().count(), 0);
        let output = Command::new(assert_cmd::cargo::cargo_bin("runner"))
            .current_dir(root)
            .args(["gc", "--now", "--yes"])
            .env("TMPDIR", &temporary)
            .output()
            .unwrap();
        let said = text(&output.stdout);
        assert!(said.contains("left by a command that was killed"), "{said}");
        assert!(!journal(), "{said}");
        let left: Vec<_> =
            fs::read_dir(&temporary).unwrap().flatten().map(|it| it.path()).collect();
        assert!(left.iter().all(|path| !path.is_dir()), "{left:?}");
        for folder in ["users", "scratch", "locks", "staging"] {
            let left =
                fs::read_dir(root.join(".runner").join(folder)).into_iter().flatten().count();
            assert_eq!(left, 0, "{folder}");
        }
    }
}
