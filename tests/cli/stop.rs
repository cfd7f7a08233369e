//! Interrupted runs and runs at the same time: nothing is lost, nothing is done twice.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::binary::{csvs, record, runner, spawn, text};
use crate::photos::{artifacts, photos};

/// A training stage that goes on for long enough to be stopped.
const LONG: &str = "stages.adapted.epochs=100000";

fn start(root: &Path, arguments: &[&str]) -> Child {
    spawn(root, arguments, Stdio::null(), Stdio::piped())
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
fn an_interrupted_run_taken_up_by_the_same_command_gives_the_bytes_of_an_unbroken_one() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let long = ["run", "photos.toml", "--set", "stages.adapted.epochs=1500"];
    let whole = [&long[..], &["--store", "whole", "--results", "whole-results"]].concat();
    assert!(runner(root, &whole).status.success());
    let whole = csvs(&root.join("whole-results/photos/latest"));
    assert!(whole.iter().any(|(name, _)| name == "adapted.csv"));
    for name in ["-INT", "-TERM"] {
        let (store, results) = (format!("store{name}"), format!("results{name}"));
        let command = [&long[..], &["--store", &store, "--results", &results]].concat();
        let mut child = start(root, &command);
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        wait_for(&mut lines, "adapted: epoch  1/");
        signal(&child, name);
        let said = wait_for(&mut lines, "go on");
        assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
        assert!(said.contains("stopping after the current step"), "{said}");
        assert!(said.contains("adapted: interrupted"), "{said}");
        assert!(said.contains("interrupted; run the same command again to go on"), "{said}");
        assert_eq!(artifacts(&root.join(&store)).len(), 4, "all but `adapted` and `score`");
        for folder in ["staging", "locks"] {
            let left = fs::read_dir(root.join(&store).join(folder)).unwrap().count();
            assert_eq!(left, 0, "{folder}");
        }
        let results = root.join(&results);
        let record = record(&results.join("photos/latest"));
        let states: Vec<&str> = record["trials"][0]
            .as_array()
            .unwrap()
            .iter()
            .map(|stage| stage["state"].as_str().unwrap())
            .collect();
        assert_eq!(states, ["ran", "ran", "ran", "ran", "interrupted", "skipped"]);
        assert!(!results.join("photos/latest/adapted.csv").exists());

        let said = text(&runner(root, &command).stderr);
        assert!(said.contains("2 ran, 4 cached, 0 failed, 0 skipped"), "{said}");
        assert_eq!(csvs(&results.join("photos/latest")), whole);
    }
}

/// Clock ticks of processor time that a process has used.
#[cfg(target_os = "linux")]
fn ticks(child: &Child) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let words: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap()
}

/// Nobody reads what the run says, so that the orderly end of the first Ctrl-C cannot come: what
/// stops it is the second one.
#[cfg(target_os = "linux")]
#[test]
fn a_second_ctrl_c_stops_at_once_even_a_run_that_nobody_reads() {
    for unread in ["events", "lines"] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        photos(root);
        let form = if unread == "events" { "--json" } else { "--offline" };
        let command = ["run", "photos.toml", "--set", LONG, form];
        let mut child = spawn(root, &command, Stdio::piped(), Stdio::piped());
        let mut events = BufReader::new(child.stdout.take().unwrap());
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        if unread == "events" {
            wait_for(&mut events, "adapted\",\"text\":\"epoch  1/");
        } else {
            wait_for(&mut lines, "adapted: epoch  1/");
        }
        // Its pipe is full once it works no more.
        let mut used = ticks(&child);
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let now = ticks(&child);
            if now == used {
                break;
            }
            used = now;
        }
        signal(&child, "-INT");
        if unread == "events" {
            wait_for(&mut lines, "press Ctrl-C again to stop at once\n");
        }
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(child.try_wait().unwrap(), None, "the first Ctrl-C does not end it: {unread}");
        signal(&child, "-INT");
        let since = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if since.elapsed() > Duration::from_secs(20) {
                child.kill().unwrap();
                panic!("the second Ctrl-C did not end it: {unread}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        assert!(!rest.contains("interrupted"), "at once means without an orderly end: {rest}");
        assert_eq!(artifacts(&root.join(".runner")).len(), 4, "all but `adapted` and `score`");
        let again = text(&runner(root, &["run", "photos.toml"]).stderr);
        assert!(again.contains("2 ran, 4 cached, 0 failed, 0 skipped"), "{again}");
    }
}

#[test]
fn a_killed_run_leaves_nothing_half_done() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let mut child = start(root, &["run", "photos.toml", "--set", LONG]);
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    wait_for(&mut lines, "adapted: epoch  1/");
    signal(&child, "-KILL");
    assert_eq!(child.wait().unwrap().code(), None);
    assert_eq!(artifacts(&root.join(".runner")).len(), 4, "all but `adapted` and `score`");
    // Its lock is taken over, as the process is gone, and its stages are found.
    let again = text(&runner(root, &["run", "photos.toml"]).stderr);
    assert!(again.contains("2 ran, 4 cached, 0 failed, 0 skipped"), "{again}");
}

#[test]
fn ctrl_c_ends_a_run_that_waits_for_another_and_leaves_the_other_alone() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let long = ["run", "photos.toml", "--set", LONG];
    let mut holder = start(root, &long);
    let mut held = BufReader::new(holder.stderr.take().unwrap());
    wait_for(&mut held, "adapted: epoch  1/");
    let mut waiter = start(root, &[&long[..], &["--results", "other"]].concat());
    let mut lines = BufReader::new(waiter.stderr.take().unwrap());
    let said = wait_for(&mut lines, "waiting for");
    let named = format!("adapted: waiting for process {} on ", holder.id());
    assert!(said.contains(&named), "{said}");
    signal(&waiter, "-INT");
    let said = wait_for(&mut lines, "go on");
    assert_eq!(waiter.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("adapted: interrupted"), "{said}");

    assert_eq!(holder.try_wait().unwrap(), None, "the holder trains on");
    assert_eq!(fs::read_dir(root.join(".runner/locks")).unwrap().count(), 1, "and has its lock");
    signal(&holder, "-INT");
    wait_for(&mut held, "go on");
    assert_eq!(holder.wait().unwrap().code(), Some(130));
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
    assert_eq!(csvs(&root.join("one/photos/latest")), csvs(&root.join("two/photos/latest")));
    assert_eq!(artifacts(&root.join(".runner")).len(), 6);
    assert_eq!(fs::read_dir(root.join(".runner/locks")).unwrap().count(), 0);
    let _ = record(&root.join("one/photos/latest"));
}
