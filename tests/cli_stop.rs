//! Interrupted runs and runs at the same time: nothing is lost, nothing is done twice.
#![cfg(unix)]

mod photos;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use photos::{artifacts, csvs, photos, record, runner, text};

/// A training stage that goes on for long enough to be stopped.
const LONG: &str = "stages.adapted.epochs=100000";

fn start(root: &Path, arguments: &[&str]) -> Child {
    Command::new(assert_cmd::cargo::cargo_bin("runner"))
        .current_dir(root)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Reads lines until one contains `mark`.
fn wait_for(lines: &mut impl BufRead, mark: &str) -> String {
    let mut all = String::new();
    while !all.contains(mark) {
        let before = all.len();
        lines.read_line(&mut all).unwrap();
        assert!(all.len() > before, "ended before `{mark}`: {all}");
    }
    all
}

#[test]
fn ctrl_c_stops_after_the_step_keeps_what_is_done_and_the_next_run_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    for name in ["-INT", "-TERM"] {
        let store = format!("store{name}");
        let long = ["run", "photos.toml", "--set", LONG, "--store", &store];
        let mut child = start(root, &long);
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        wait_for(&mut lines, "adapted: epoch  1/");
        signal(&child, name);
        let said = wait_for(&mut lines, "go on");
        assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
        assert!(said.contains("stopping after the current step"), "{said}");
        assert!(said.contains("adapted: interrupted"), "{said}");
        assert!(said.contains("interrupted; run the same command again to go on"), "{said}");
        assert_eq!(artifacts(&root.join(&store)).len(), 4, "all but `adapted` and `score`");
        assert_eq!(fs::read_dir(root.join(&store).join("staging")).unwrap().count(), 0);

        let resumed =
            runner(root, &["run", "photos.toml", "--store", &store, "--results", "resumed"]);
        let said = text(&resumed.stderr);
        assert!(said.contains("2 ran, 4 cached, 0 failed, 0 skipped"), "{said}");
    }
    assert!(
        runner(root, &["run", "photos.toml", "--store", "whole", "--results", "whole-results"])
            .status
            .success()
    );
    assert_eq!(csvs(&root.join("resumed")), csvs(&root.join("whole-results")));
}

#[test]
fn a_second_ctrl_c_stops_at_once_and_a_killed_run_leaves_nothing_half_done() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    for store in ["twice", "killed"] {
        let mut child = start(root, &["run", "photos.toml", "--set", LONG, "--store", store]);
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        wait_for(&mut lines, "adapted: epoch  1/");
        if store == "killed" {
            signal(&child, "-KILL");
        } else {
            signal(&child, "-INT");
            wait_for(&mut lines, "press Ctrl-C again");
            signal(&child, "-INT");
        }
        let code = child.wait().unwrap().code();
        assert_eq!(code, if store == "killed" { None } else { Some(130) });
        // Its lock is taken over, as the process is gone, and its stages are found.
        let again = runner(root, &["run", "photos.toml", "--store", store]);
        let said = text(&again.stderr);
        assert!(said.contains("2 ran, 4 cached, 0 failed, 0 skipped"), "{store}: {said}");
    }
}

#[test]
fn two_runs_on_one_store_do_every_stage_once() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let pair = ["one", "two"].map(|results| {
        start(root, &["run", "photos.toml", "--set", "stages.net.epochs=40", "--results", results])
    });
    let said = pair.map(|child| {
        let output = child.wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        said
    });
    for stage in ["photos", "images", "net", "head", "adapted", "score"] {
        let done = said.iter().filter(|said| said.contains(&format!(" {stage}: done in "))).count();
        assert_eq!(done, 1, "{stage}: {said:?}");
    }
    assert!(said.iter().any(|said| said.contains(": waiting for ")), "{said:?}");
    assert_eq!(csvs(&root.join("one")), csvs(&root.join("two")));
    assert_eq!(artifacts(&root.join(".runner")).len(), 6);
    assert_eq!(fs::read_dir(root.join(".runner/locks")).unwrap().count(), 0);
    let _ = record(&root.join("one"));
}
