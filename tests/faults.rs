//! Killed anywhere, a run that is started again ends with the bytes of one that was never stopped.
#![cfg(unix)]

mod binary;
mod photos;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use binary::text;
use photos::photos;
use serde_json::Value;

const ABORTED: i32 = 6;
const KILLED: i32 = 9;

/// The short job: every kind of publishing, a pretraining with validation and an adversarial one,
/// a checkpoint after every step.
fn command(root: &Path, home: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("runner"));
    command
        .current_dir(root)
        .args(["run", "photos.toml", "--quiet", "--threads", "1", "--checkpoint-every", "0"])
        .args(["--set", "stages.net.epochs=2", "--set", "stages.adapted.epochs=2"])
        .arg("--store")
        .arg(home.join("store"))
        .arg("--results")
        .arg(home.join("results"));
    command
}

fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), all);
        } else {
            all.push(entry.path());
        }
    }
}

/// Everything that a run leaves for good, but for the times in it. Fails on what it should have
/// cleared away.
fn tree(home: &Path) -> BTreeMap<String, Vec<u8>> {
    let store = home.join("store");
    for folder in ["staging", "locks", "checkpoints", "damaged"] {
        let left: Vec<_> = fs::read_dir(store.join(folder)).into_iter().flatten().collect();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
    let mut all = Vec::new();
    files(&store.join("artifacts"), &mut all);
    let latest = fs::canonicalize(home.join("results/photos/latest")).unwrap();
    files(&latest, &mut all);
    let mut tree = BTreeMap::new();
    for path in all {
        let name = path.file_name().unwrap().to_str().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        match name {
            "timings.csv" | "run.json" => continue,
            _ if name.ends_with(".log") => continue,
            "manifest.json" => {
                let mut manifest: Value = serde_json::from_slice(&bytes).unwrap();
                manifest["created"] = Value::Null;
                manifest["files"].as_array_mut().unwrap().retain(|it| it["name"] != "timings.csv");
                bytes = manifest.to_string().into_bytes();
            }
            _ => {}
        }
        let short = path.strip_prefix(&latest).or(path.strip_prefix(&store)).unwrap();
        tree.insert(short.to_str().unwrap().to_owned(), bytes);
    }
    assert!(tree.keys().any(|name| name == "table.csv"), "{:?}", tree.keys());
    tree
}

fn assert_same(found: &BTreeMap<String, Vec<u8>>, wanted: &BTreeMap<String, Vec<u8>>, what: &str) {
    let names = |tree: &BTreeMap<String, Vec<u8>>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(wanted), "{what}");
    for (name, bytes) in wanted {
        assert!(found[name] == *bytes, "{what}: `{name}` differs");
    }
}

fn assert_done(output: &Output, what: &str) {
    assert!(output.status.success(), "{what}: {:?} {}", output.status, text(&output.stderr));
}

/// Numbers in an order of their own, the same on every run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn a_run_killed_at_any_step_of_publishing_or_checkpointing_ends_as_an_unbroken_one() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let whole = root.join("whole");
    assert_done(&command(root, &whole).output().unwrap(), "unbroken");
    let whole = tree(&whole);

    let (next, over) = (AtomicUsize::new(1), AtomicUsize::new(usize::MAX));
    let resumed = Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let point = next.fetch_add(1, Ordering::SeqCst);
                    if point >= over.load(Ordering::SeqCst) {
                        return;
                    }
                    let what = format!("killed at point {point}");
                    let home = root.join(point.to_string());
                    let broken = command(root, &home)
                        .env("RUNNER_FAIL_POINT", format!("*:{point}"))
                        .output()
                        .unwrap();
                    if broken.status.success() {
                        over.fetch_min(point, Ordering::SeqCst);
                    } else {
                        assert_eq!(broken.status.signal(), Some(ABORTED), "{what}: {broken:?}");
                        let mut left = Vec::new();
                        files(&home.join("store/checkpoints"), &mut left);
                        *resumed.lock().unwrap() += usize::from(!left.is_empty());
                        assert_done(&command(root, &home).output().unwrap(), &what);
                    }
                    assert_same(&tree(&home), &whole, &what);
                    fs::remove_dir_all(&home).unwrap();
                }
            });
        }
    });
    // Six artifacts with four points each, and three points a checkpoint.
    assert!(over.into_inner() > 40, "so many points were passed");
    assert!(resumed.into_inner().unwrap() > 10, "so many went on from a checkpoint");
}

/// `RUNNER_KILL_ROUNDS=200 cargo test --release --test faults` for more rounds than the default.
#[test]
fn a_run_killed_at_random_times_ends_as_an_unbroken_one() {
    let rounds = std::env::var("RUNNER_KILL_ROUNDS").map_or(20, |it| it.parse().unwrap());
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let whole = root.join("whole");
    let start = Instant::now();
    assert_done(&command(root, &whole).output().unwrap(), "unbroken");
    let took = start.elapsed();
    let whole = tree(&whole);
    let mut state = 1;
    let mut killed = 0;
    for round in 0..rounds {
        let home = root.join("round");
        for kill in 0..3 {
            let mut child =
                command(root, &home).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let share = u32::try_from(random(&mut state) % 1000).unwrap();
            thread::sleep(took * share / 1000 + Duration::from_millis(1));
            child.kill().unwrap();
            let status = child.wait().unwrap();
            assert!(
                status.success() || status.signal() == Some(KILLED),
                "round {round}, kill {kill}: {status:?}"
            );
            killed += usize::from(!status.success());
        }
        let what = format!("round {round}");
        assert_done(&command(root, &home).output().unwrap(), &what);
        assert_same(&tree(&home), &whole, &what);
        fs::remove_dir_all(&home).unwrap();
    }
    assert!(killed > rounds, "{killed} of {} were killed before their end", 3 * rounds);
    println!("{rounds} rounds, {killed} kills");
}
