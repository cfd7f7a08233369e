//! Killed anywhere, a run that is started again ends with the bytes of one that was never stopped.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::binary::{files, text};
use crate::photos::photos;
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

/// Everything that a run leaves for good, but for the times in it. Fails on what it should have
/// cleared away.
fn tree(home: &Path) -> BTreeMap<String, Vec<u8>> {
    let store = home.join("store");
    for folder in ["staging", "locks", "checkpoints", "damaged"] {
        let left: Vec<_> = fs::read_dir(store.join(folder)).into_iter().flatten().collect();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
    let latest = fs::canonicalize(home.join("results/photos/latest")).unwrap();
    let all = [files(&store.join("artifacts")), files(&latest)].concat();
    let mut tree = BTreeMap::new();
    for path in all {
        let name = path.file_name().unwrap().to_str().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        match name {
            "timings.csv" | "run.json" | "events.ndjson" | "report.html" => continue,
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
#[cfg_attr(not(debug_assertions), ignore = "release builds have no fail points")]
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
                        *resumed.lock().unwrap() += usize::from(!checkpoints(&home).is_empty());
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

/// `RUNNER_KILL_ROUNDS=200 cargo test --test faults random` for more rounds than the default.
#[test]
fn a_run_killed_at_random_times_ends_as_an_unbroken_one() {
    let rounds = std::env::var("RUNNER_KILL_ROUNDS").map_or(20, |it| it.parse().unwrap());
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let whole = root.join("whole");
    let start = Instant::now();
    assert_done(&command(root, &whole).output().unwrap(), "unbroken");
    let mut took = start.elapsed();
    let whole = tree(&whole);
    let mut state = 1;
    let mut killed = 0;
    for round in 0..rounds {
        let home = root.join("round");
        for kill in 0..3 {
            let start = Instant::now();
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
            // The first run may have met a cold or busy machine; kills aimed at its pace would
            // come after the end of the others.
            if kill == 0 && status.success() {
                took = took.min(start.elapsed()) * 4 / 5;
            }
        }
        let what = format!("round {round}");
        let mut last = command(root, &home).output().unwrap();
        // All three kills may have met the same stage, which is then taken for one that kills its process: that is
        // reported once, and the next run tries it again.
        if text(&last.stderr).contains("killed each time before it ended") {
            last = command(root, &home).output().unwrap();
        }
        assert_done(&last, &what);
        assert_same(&tree(&home), &whole, &what);
        fs::remove_dir_all(&home).unwrap();
    }
    assert!(killed > rounds / 4, "{killed} of {} were killed before their end", 3 * rounds);
    println!("{rounds} rounds, {killed} kills");
}

/// The files of the only training that is not over, the oldest first.
fn checkpoints(home: &Path) -> Vec<PathBuf> {
    let mut all = files(&home.join("store/checkpoints"));
    all.sort();
    all
}

/// Settings of the adversarial training, which has dropout and batch norm.
fn train(root: &Path, home: &Path, settings: &[&str]) -> Command {
    let mut command = command(root, home);
    let layers = "stages.net.model.layers=[{ kind = \"conv2d\", filters = 8, kernel = 3 }, \
                  \"batch_norm\", \"relu\", \"max_pool\", { kind = \"dropout\", p = 0.3 }]";
    command.args(["--set", layers, "--set", "stages.head.freeze=[]"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    command
}

/// Without a target, by whose labels no training may decide anything.
const NO_TARGET: &str = "stages.adapted.method=\"supervised\"";

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no fail points")]
fn every_optimizer_schedule_and_recipe_goes_on_from_any_step_with_the_bytes_of_an_unbroken_training()
 {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let optimizers = [
        "{ kind = \"adam\", lr = 0.01, weight_decay = 0.01 }",
        "{ kind = \"adamw\", lr = 0.01 }",
        "{ kind = \"sgd\", lr = 0.01 }",
        "{ kind = \"sgd\", lr = 0.01, momentum = 0.9, nesterov = true }",
        "{ kind = \"rmsprop\", lr = 0.001, momentum = 0.5 }",
    ];
    let mut cases: Vec<(Vec<String>, &str, usize, [usize; 4])> = Vec::new();
    let net = |settings: &[&str]| {
        let mut all = vec!["stages.net.log_every=1".to_owned()];
        all.extend(settings.iter().map(|setting| format!("stages.net.{setting}")));
        // Within an epoch, at its end, and within the next.
        (all, "net", 0, [1, 2, 3, 4])
    };
    let without_target = |settings: &[&str]| {
        let (mut all, stage, before, points) = net(settings);
        all.push(NO_TARGET.to_owned());
        (all, stage, before, points)
    };
    for optimizer in optimizers {
        let optimizer = format!("optimizer={optimizer}");
        cases.push(net(&[optimizer.as_str(), "schedule={ kind = \"cosine\" }"]));
    }
    cases.push(net(&[
        "optimizer={ kind = \"sgd\", lr = 0.01, momentum = 0.9 }",
        "schedule={ kind = \"one_cycle\" }",
        "augment=[\"flip\", \"random_crop\", { kind = \"mixup\", alpha = 0.4 }]",
        "label_smoothing=0.1",
    ]));
    // Crops of another size, and a network that takes the middle of whole images.
    cases.push(without_target(&[
        "augment=[{ kind = \"random_crop\", size = 10, padding = 1 }, { kind = \"resized_crop\", size = 9 }, \"strong\"]",
        "keep_best=\"loss\"",
    ]));
    // An epoch's validation decides the next one's rate, and which weights are kept.
    cases.push(without_target(&[
        "schedule={ kind = \"reduce_on_plateau\", patience = 0, threshold = 0.9 }",
        "keep_best=\"accuracy\"",
        "early_stopping={ patience = 5 }",
        "lr_scale={ \"classifier.*\" = 0.5 }",
    ]));
    // The second stage thaws on the way; the first one leaves five checkpoints before it.
    let thaws = [
        "stages.head.freeze=[\"features.*\"]",
        "stages.adapted.method=\"supervised\"",
        "stages.adapted.epochs=3",
        "stages.adapted.head=[8, \"relu\"]",
        "stages.adapted.thaw_at={ 2 = [\"features.*\"] }",
        "stages.adapted.l2_sp={ alpha = 0.1 }",
    ];
    let thaws = thaws.iter().map(|setting| (*setting).to_owned()).collect();
    cases.push((thaws, "adapted", 5, [6, 8, 9, 11]));
    for (number, (settings, stage, before, points)) in cases.iter().enumerate() {
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let name = settings.join(", ");
        let whole = root.join(format!("whole{number}"));
        assert_done(&train(root, &whole, &settings).output().unwrap(), &name);
        let whole = tree(&whole);
        for point in points {
            let what = format!("{name}, checkpoint {point}");
            let home = root.join(format!("{number}-{point}"));
            let broken = train(root, &home, &settings)
                .env("RUNNER_FAIL_POINT", format!("old checkpoints removed:{point}"))
                .output()
                .unwrap();
            assert_eq!(broken.status.signal(), Some(ABORTED), "{what}: {broken:?}");
            let kept = (point - before).min(2);
            assert_eq!(checkpoints(&home).len(), kept, "{what}: the last two are kept");
            assert_done(&train(root, &home, &settings).output().unwrap(), &what);
            assert_same(&tree(&home), &whole, &what);
            let log = home.join(format!("results/photos/latest/logs/{stage}.log"));
            let log = fs::read_to_string(log).unwrap();
            assert!(log.contains("goes on from a checkpoint: epoch "), "{what}: {log}");
        }
    }
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no fail points")]
fn a_training_that_ended_early_and_was_killed_before_it_was_published_ends_there_again() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let settings = [
        "stages.net.epochs=6",
        "stages.net.early_stopping={ patience = 1, min_delta = 100.0 }",
        NO_TARGET,
    ];
    let whole = root.join("whole");
    assert_done(&train(root, &whole, &settings).output().unwrap(), "unbroken");
    // The images, the two views of them, and the training.
    let home = root.join("killed");
    let broken =
        train(root, &home, &settings).env("RUNNER_FAIL_POINT", "stage done:3").output().unwrap();
    assert_eq!(broken.status.signal(), Some(ABORTED), "{broken:?}");
    assert!(!checkpoints(&home).is_empty(), "it was the training that was killed");
    assert_done(&train(root, &home, &settings).output().unwrap(), "killed");
    let log = fs::read_to_string(home.join("results/photos/latest/logs/net.log")).unwrap();
    assert!(log.contains("goes on from a checkpoint") && log.contains("stopped after"), "{log}");
    assert_same(&tree(&home), &tree(&whole), "killed");
}

/// The seconds in rows that begin with a part and its seconds: those of the whole, and the sum of its parts.
fn seconds<'a>(rows: impl Iterator<Item = &'a str>) -> (f64, f64) {
    let (mut total, mut parts) = (0.0, 0.0);
    for row in rows {
        let mut cells = row.split(',');
        let (part, seconds) = (cells.next().unwrap(), cells.next().unwrap());
        match part {
            "total" => total = seconds.parse::<f64>().unwrap(),
            _ => parts += seconds.parse::<f64>().unwrap(),
        }
    }
    (total, parts)
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no fail points")]
fn the_time_of_a_training_that_goes_on_counts_that_of_the_attempts_before() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    // Nearly all of it is done before it is killed, so that the rest takes a part of the time alone.
    let wide =
        "stages.net.model.layers=[{ kind = \"conv2d\", filters = 256, kernel = 5 }, \"relu\"]";
    let settings = [wide, "stages.net.epochs=40", "stages.net.batch_size=8"];
    let home = root.join("killed");
    let broken = train(root, &home, &settings)
        .env("RUNNER_FAIL_POINT", "old checkpoints removed:198")
        .output()
        .unwrap();
    assert_eq!(broken.status.signal(), Some(ABORTED), "{broken:?}");
    assert_done(&train(root, &home, &settings).output().unwrap(), "killed");
    let latest = home.join("results/photos/latest");
    let log = fs::read_to_string(latest.join("logs/net.log")).unwrap();
    assert!(log.contains("goes on from a checkpoint: epoch 40"), "{log}");
    let times = fs::read_to_string(latest.join("timings.csv")).unwrap();
    let of_run = seconds(times.lines().filter_map(|row| row.strip_prefix("net,")));
    assert!(of_run.1 > 0.0 && of_run.0 >= of_run.1, "{of_run:?}: {times}");
    let artifact = |path: &PathBuf| {
        let text = fs::read_to_string(path).ok()?;
        (path.ends_with("timings.csv") && text.contains("steps")).then_some(text)
    };
    let all: Vec<String> =
        files(&home.join("store/artifacts")).iter().filter_map(artifact).collect();
    assert_eq!(all.len(), 2, "of two trainings");
    for text in all {
        let (total, parts) = seconds(text.lines().skip(1));
        assert!(parts > 0.0 && total >= parts, "{text}");
    }
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no fail points")]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before_and_without_any_it_starts_anew() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let settings = ["stages.net.batch_size=8"];
    let whole = root.join("whole");
    assert_done(&train(root, &whole, &settings).output().unwrap(), "unbroken");
    let whole = tree(&whole);
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let at = bytes.len() - 5;
        bytes[at] ^= 16;
        fs::write(path, bytes).unwrap();
    };
    let cut = |path: &Path| fs::write(path, &fs::read(path).unwrap()[..100]).unwrap();
    type Damages<'a> = &'a [&'a dyn Fn(&Path)];
    let cases: [(&str, Damages, &str); 4] = [
        ("both whole", &[], "4 steps"),
        ("newest flipped", &[&flip], "3 steps"),
        ("newest cut short", &[&cut], "3 steps"),
        ("both damaged", &[&flip, &cut], ""),
    ];
    for (what, damages, from) in cases {
        let home = root.join(what);
        let broken = train(root, &home, &settings)
            .env("RUNNER_FAIL_POINT", "old checkpoints removed:4")
            .output()
            .unwrap();
        assert_eq!(broken.status.signal(), Some(ABORTED), "{what}");
        let kept = checkpoints(&home);
        for (damage, path) in damages.iter().zip(kept.iter().rev()) {
            damage(path);
        }
        assert_done(&train(root, &home, &settings).output().unwrap(), what);
        let log = fs::read_to_string(home.join("results/photos/latest/logs/net.log")).unwrap();
        let goes_on = log.lines().find(|line| line.contains("goes on from a checkpoint"));
        assert_eq!(goes_on.is_some(), !from.is_empty(), "{what}: {log}");
        let number = from.split(' ').next().unwrap();
        assert!(goes_on.is_none_or(|it| it.contains(&format!(", {number} of 5 steps"))), "{log}");
        assert_same(&tree(&home), &whole, what);
    }
}
