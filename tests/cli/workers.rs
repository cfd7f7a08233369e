//! Processes that share the work of one plan on one store: each takes what no other has, all see the same outcomes,
//! and none is stopped by one that was killed.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::binary::{files, lasting, left_out, text};
use crate::photos::{artifacts, photos};
use serde_json::Value;

pub const LR: &str = "stages.net.optimizer.lr";

/// The data, a network and its score, and a sweep.
pub fn with_sweep(root: &Path, sweep: &str) {
    photos(root);
    let base = crate::photos::PIPELINE.split("[stages.head]").next().unwrap();
    let score =
        "[stages.score]\nkind = \"evaluate\"\nmodels = [\"net\"]\non = [\"images.test\"]\n\n";
    fs::write(root.join("photos.toml"), format!("{base}{score}{sweep}")).unwrap();
}

/// Twelve trials; a rate of 1e30 diverges.
pub fn twelve(first: &str) -> String {
    let rates: Vec<String> = (1..12).map(|at| format!("{at}e-3")).collect();
    format!("[sweep]\naxes = {{ '{LR}' = [{first}, {}] }}\n", rates.join(", "))
}

/// Two trials: one that diverges, and one that goes on for long.
pub fn with_failure_beside_a_long_trial(root: &Path) {
    with_sweep(
        root,
        &format!(
            "[sweep]\nzip = [['{LR}', 'stages.net.epochs']]\n\
             axes = {{ '{LR}' = [1e30, 1e-3], 'stages.net.epochs' = [4, 100000] }}\n"
        ),
    );
}

/// A runner that writes its events, with a lock's patience of so many seconds.
pub fn command(root: &Path, verb: &str, results: &str, patience: &str) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("runner"));
    command
        .current_dir(root)
        .env("RUNNER_PATIENCE", patience)
        .args([verb, "photos.toml", "--json", "--threads", "1", "--results", results])
        .stdin(Stdio::null());
    command
}

/// The events that were written.
pub fn events(output: &Output) -> Vec<Value> {
    // A killed runner may leave half a line.
    text(&output.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// How often the stage of each task was begun.
pub fn started<'a>(events: impl IntoIterator<Item = &'a Value>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in events.into_iter().filter(|event| event["event"] == "task_started") {
        *counts.entry(event["name"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    counts
}

pub fn newest(root: &Path, results: &str) -> PathBuf {
    fs::canonicalize(root.join(results).join("photos/latest")).unwrap()
}

/// Waits until it is so.
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "not so after a minute: {what}");
        std::thread::yield_now();
    }
}

/// Reads events until one is as wanted.
pub fn event(lines: &mut BufReader<ChildStdout>, mut wanted: impl FnMut(&Value) -> bool) -> Value {
    let mut all = String::new();
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "no such event: {all}");
        all += &line;
        let event: Value = serde_json::from_str(&line).unwrap();
        if wanted(&event) {
            return event;
        }
    }
}

pub fn spawn(command: &mut Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

pub fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// What sweeps give that begin at the same moment, each with results of its own.
fn together(root: &Path, count: usize) -> Vec<Output> {
    at_once(root, count, |number| command(root, "sweep", &format!("results{number}"), "20"))
}

/// What commands give that begin at the same moment: all wait for a collection until the last of them is there.
pub fn at_once(root: &Path, count: usize, command: impl Fn(usize) -> Command) -> Vec<Output> {
    let store = root.join(".runner");
    let gate = store.join("locks/collection.0.lock");
    fs::create_dir_all(gate.parent().unwrap()).unwrap();
    fs::write(&gate, "00000000000000000001 gate 1 elsewhere gc\n").unwrap();
    let start =
        |number| command(number).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let children: Vec<Child> = (0..count).map(start).collect();
    until("all runs have entered the store", || {
        let users = fs::read_dir(store.join("users")).into_iter().flatten().flatten();
        users.filter(|it| !it.file_name().to_string_lossy().ends_with(".new")).count() == count
    });
    fs::remove_file(gate).unwrap();
    children.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
}

/// What one process makes of the same in a store of its own.
pub fn alone(root: &Path) -> (Output, Vec<(String, Vec<u8>)>) {
    let output = output(command(root, "sweep", "alone", "60").args(["--store", "alone-store"]));
    let files = lasting(&newest(root, "alone"));
    (output, files)
}

pub fn assert_same(root: &Path, results: &str, wanted: &[(String, Vec<u8>)]) {
    let found = lasting(&newest(root, results));
    let names = |files: &[(String, Vec<u8>)]| -> Vec<String> {
        files.iter().map(|it| it.0.clone()).collect()
    };
    assert_eq!(names(&found), names(wanted), "{results}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.1 == wanted.1, "{results}: `{}` differs", found.0);
    }
}

pub fn assert_nothing_left(root: &Path) {
    for folder in ["locks", "staging", "attempts", "users"] {
        let left: Vec<_> =
            fs::read_dir(root.join(".runner").join(folder)).into_iter().flatten().collect();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
}

#[test]
fn two_and_four_processes_share_twelve_trials_and_each_has_the_results_of_one_alone() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let (_, wanted) = alone(root);
    for count in [2, 4] {
        let outputs = together(root, count);
        let mut all = BTreeMap::new();
        for (number, output) in outputs.iter().enumerate() {
            assert!(output.status.success(), "{count}: {}", text(&output.stderr));
            let own = started(&events(output));
            assert!(!own.is_empty(), "process {number} of {count} began nothing");
            for (name, times) in own {
                *all.entry(name).or_insert(0) += times;
            }
            assert_same(root, &format!("results{number}"), &wanted);
        }
        assert_eq!(all.len(), 2 + 12 * 2, "{all:?}");
        assert!(all.values().all(|times| *times == 1), "{count}: {all:?}");
        assert_nothing_left(root);
        fs::remove_dir_all(root.join(".runner")).unwrap();
    }
}

#[test]
fn a_failing_trial_is_tried_once_by_four_processes_which_all_report_it_alike() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("1e30"));
    let (local, wanted) = alone(root);
    assert_eq!(local.status.code(), Some(1));
    let outputs = together(root, 4);
    let all: Vec<Vec<Value>> = outputs.iter().map(events).collect();
    assert_eq!(started(all.iter().flatten())["net[000]"], 1);
    for (number, (output, events)) in outputs.iter().zip(&all).enumerate() {
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let failed: Vec<&Value> =
            events.iter().filter(|event| event["event"] == "failed").collect();
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert!(failed[0]["message"].as_str().unwrap().starts_with("the loss is not finite"));
        let help = failed[0]["help"].to_string();
        let own = events
            .iter()
            .any(|event| event["event"] == "task_started" && event["name"] == "net[000]");
        assert_eq!(help.contains("found this at"), !own, "{help}");
        assert_same(root, &format!("results{number}"), &wanted);
    }
    assert_nothing_left(root);
}

#[test]
fn a_search_with_halving_and_failing_trials_decides_alike_in_three_processes_and_begins_nothing_twice()
 {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(
        root,
        &format!(
            "[sweep]\nsearch = 'tpe'\ntrials = 12\nstartup = 4\nbatch = 4\n\
             axes = {{ '{LR}' = {{ log_uniform = [1e-4, 1e30] }} }}\n\
             [sweep.select]\nstage = 'net'\nby = 'validate.loss'\noracle = true\n\
             [sweep.halving]\nmin_epochs = 1\nfactor = 2\n"
        ),
    );
    let (local, wanted) = alone(root);
    let trials = fs::read_to_string(newest(root, "alone").join("trials.csv")).unwrap();
    for state in ["failed", "pruned", "done"] {
        assert!(trials.contains(state), "{trials}");
    }
    let outputs = together(root, 3);
    for (number, output) in outputs.iter().enumerate() {
        assert_eq!(output.status.code(), local.status.code(), "{}", text(&output.stderr));
        assert_same(root, &format!("results{number}"), &wanted);
    }
    let all: Vec<Value> = outputs.iter().flat_map(events).collect();
    // A training is begun once for each rung that it reaches.
    assert_eq!(started(&all), started(&events(&local)));
    assert_nothing_left(root);
}

#[test]
fn a_paused_training_that_another_process_holds_is_read_without_its_lock() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(
        root,
        &format!(
            "[sweep]\naxes = {{ '{LR}' = [1e-5, 1e-2, 3e-5, 2e-2] }}\nbatch = 4\n\
             [sweep.select]\nstage = 'net'\nby = 'validate.loss'\noracle = true\n\
             [sweep.halving]\nmin_epochs = 1\nfactor = 2\n"
        ),
    );
    assert!(output(&mut command(root, "sweep", "first", "60")).status.success());
    let wanted = lasting(&newest(root, "first"));
    let store = root.join(".runner");
    let mut held = 0;
    for checkpoint in fs::read_dir(store.join("checkpoints")).unwrap() {
        let name = checkpoint.unwrap().file_name().into_string().unwrap();
        let lock = store.join("locks").join(format!("{name}.0.lock"));
        fs::write(lock, "00000000000000000001 other 1 elsewhere net\n").unwrap();
        held += 1;
    }
    assert!(held >= 2, "{held} trainings are paused");
    let again = output(&mut command(root, "sweep", "second", "60"));
    assert!(again.status.success(), "{}", text(&again.stderr));
    let events = events(&again);
    assert_eq!(started(&events), BTreeMap::new());
    assert!(events.iter().all(|event| event["event"] != "waiting"));
    assert!(events.iter().any(|event| event["event"] == "paused"));
    assert_same(root, "second", &wanted);
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no fail points")]
fn what_a_killed_process_was_at_is_taken_over_from_its_checkpoint_by_one_that_lives() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let (_, wanted) = alone(root);
    let often = ["--checkpoint-every", "0"];
    let killed = output(
        command(root, "sweep", "killed", "20")
            .args(often)
            .env("RUNNER_FAIL_POINT", "old checkpoints removed:3"),
    );
    assert_eq!(killed.status.code(), None, "it was killed");
    let living = output(command(root, "sweep", "living", "20").args(often));
    assert!(living.status.success(), "{}", text(&living.stderr));
    let (before, after) = (events(&killed), events(&living));
    let all = started(before.iter().chain(&after));
    assert_eq!(all.values().filter(|times| **times == 2).count(), 1, "{all:?}");
    let goes_on = |event: &Value| event.to_string().contains("goes on from a checkpoint");
    assert!(after.iter().any(goes_on));
    assert_same(root, "living", &wanted);
    assert_nothing_left(root);
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no fail points")]
fn a_stage_that_is_killed_three_times_fails_with_advice_that_works() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    for _ in 0..3 {
        let mut command = command(root, "run", "results", "20");
        let killed = output(command.env("RUNNER_FAIL_POINT", "stage done:1"));
        assert_eq!(killed.status.code(), None, "it was killed");
    }
    let fourth = output(&mut command(root, "run", "results", "20"));
    assert_eq!(fourth.status.code(), Some(1));
    let all = events(&fourth);
    assert_eq!(started(&all), BTreeMap::new());
    let failed = all.iter().find(|event| event["event"] == "failed").unwrap();
    let message = failed["message"].as_str().unwrap();
    assert!(
        message.starts_with("it was begun 3 times and killed each time")
            && message.contains("memory"),
        "{message}"
    );
    let advice = failed["help"][1].as_str().unwrap();
    assert_eq!(advice.split('`').nth(1), Some("--retry-failed"), "{advice}");
    let again = output(command(root, "run", "results", "20").arg("--retry-failed"));
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_nothing_left(root);
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no fail points")]
fn kills_between_which_a_training_gets_on_are_no_failure() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let run = || {
        let mut command = command(root, "run", "results", "20");
        command.args(["--checkpoint-every", "0"]);
        command
    };
    for _ in 0..5 {
        let killed = output(run().env("RUNNER_FAIL_POINT", "old checkpoints removed:2"));
        assert_eq!(killed.status.code(), None, "it was killed");
    }
    let last = output(&mut run());
    assert!(last.status.success(), "{}", text(&last.stderr));
    assert_nothing_left(root);
}

#[test]
fn a_process_whose_lock_was_taken_over_abandons_its_task_and_takes_it_up_when_it_is_free() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let long = ["--set", "stages.net.epochs=300"];
    let wanted = {
        let mut command = command(root, "run", "alone", "60");
        assert!(output(command.args(long).args(["--store", "alone-store"])).status.success());
        lasting(&newest(root, "alone"))
    };
    let (mut child, mut lines) = spawn(command(root, "run", "results", "3").args(long));
    event(&mut lines, |event| event["event"] == "status" && event["task"] == 2);
    let [lock] = &files(&root.join(".runner/locks"))[..] else { panic!("one lock is held") };
    let next = PathBuf::from(lock.to_str().unwrap().replace(".0.lock", ".1.lock"));
    // Whoever took over lives, as far as this machine can tell.
    fs::write(&next, "00000000000000000000 other 1 elsewhere net\n").unwrap();
    event(&mut lines, |event| {
        let text = event.to_string();
        assert!(!text.contains("epoch 300/300"), "it went on to its end: {text}");
        text.contains("net was taken over")
    });
    assert_eq!(artifacts(&root.join(".runner")).len(), 2, "nothing was published");
    let waiting = event(&mut lines, |event| event["event"] == "waiting");
    assert_eq!(waiting["name"], "net");
    // It ends without an artifact, as after Ctrl-C.
    fs::remove_file(&next).unwrap();
    fs::remove_file(lock).unwrap();
    event(&mut lines, |event| event["event"] == "task_started" && event["name"] == "net");
    event(&mut lines, |event| event["event"] == "finished" && event["name"] == "net");
    event(&mut lines, |event| event["event"] == "run_finished");
    drop(lines);
    assert!(child.wait().unwrap().success());
    assert_same(root, "results", &wanted);
    assert_nothing_left(root);
}

#[test]
fn a_failure_of_runs_at_work_holds_for_who_joins_them_until_told_otherwise_or_they_are_over() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_failure_beside_a_long_trial(root);
    let (first, mut lines) = spawn(&mut command(root, "sweep", "first", "20"));
    let own = failure(&mut lines);
    assert!(own.0 && !own.1.contains("found this at"), "{own:?}");
    event(&mut lines, |event| event["event"] == "status");

    let join = |results: &str, more: &[&str]| {
        let (child, mut lines) = spawn(command(root, "sweep", results, "20").args(more));
        let found = failure(&mut lines);
        (child, lines, found)
    };
    let (mut second, mut second_lines, (tried, help)) = join("second", &[]);
    assert!(!tried && help.contains(&format!("process {} on ", first.id())), "{help}");
    let status = text(&crate::binary::runner(root, &["status"]).stdout);
    assert!(status.contains("  failed: net[000], process "), "{status}");
    let option = help.split('`').find(|word| word.starts_with("--")).unwrap().to_owned();
    let (third, _, (tried, help)) = join("third", &[&option]);
    assert!(!tried && help.contains("once that process is over"), "{help}");
    interrupt(third);

    // What else uses the store is not concerned.
    let mut other = command(root, "run", "other", "20");
    let events = events(&output(other.args(["--set", &format!("{LR}=1e30")])));
    assert_eq!(started(&events)["net"], 1);
    let failed = events.iter().find(|event| event["event"] == "failed").unwrap();
    assert!(!failed["help"].to_string().contains("found this at"), "{failed}");

    // Nobody reads what it says any more: it must not wait for that.
    drop(lines);
    interrupt(first);
    event(&mut second_lines, |event| {
        event["event"] == "task_started" && event["name"] == "net[001]"
    });
    let (fourth, _, (tried, help)) = join("fourth", &[&option]);
    assert!(tried && !help.contains("found this at"), "{help}");
    interrupt(fourth);
    assert!(second.try_wait().unwrap().is_none());
    drop(second_lines);
    interrupt(second);
    // Nobody is at work any more: the same command tries again by itself.
    let (fifth, _, (tried, help)) = join("fifth", &[]);
    assert!(tried && !help.contains("found this at"), "{help}");
    interrupt(fifth);
}

/// Reads events until the first trial's network failed; whether it was begun, and the advice.
fn failure(lines: &mut BufReader<ChildStdout>) -> (bool, String) {
    let mut tried = false;
    let failed = event(lines, |event| {
        tried |= event["event"] == "task_started" && event["name"] == "net[000]";
        event["event"] == "failed" && event["name"] == "net[000]"
    });
    (tried, failed["help"].to_string())
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

/// Has a process stop in order and waits for it.
fn interrupt(mut child: Child) {
    signal(&child, "-INT");
    child.wait().unwrap();
}

#[test]
fn a_process_that_is_told_twice_to_stop_leaves_no_start_that_counts_as_killed() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let (mut child, mut lines) =
        spawn(command(root, "run", "results", "20").args(["--set", "stages.net.epochs=100000"]));
    event(&mut lines, |event| event["event"] == "status" && event["task"] == 2);
    assert_eq!(files(&root.join(".runner/attempts")).len(), 1);
    // Both arrive before it can end in order.
    for name in ["-STOP", "-INT", "-TERM", "-CONT"] {
        signal(&child, name);
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(files(&root.join(".runner/attempts")), Vec::<PathBuf>::new());
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no fail points")]
fn kills_of_processes_with_several_stages_in_hand_condemn_none_of_them() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "[sweep]\naxes = { 'stages.images.resize' = [9, 10] }\n");
    // The source, which both trials need.
    assert!(output(&mut command(root, "run", "data", "20")).status.success());
    for _ in 0..3 {
        let mut command = command(root, "sweep", "results", "20");
        let killed = output(command.args(["--jobs", "2"]).env("RUNNER_FAIL_POINT", "stage done:1"));
        assert_eq!(killed.status.code(), None, "it was killed");
    }
    let last = output(command(root, "sweep", "results", "20").args(["--jobs", "2"]));
    assert!(last.status.success(), "{}", text(&last.stdout));
    assert_nothing_left(root);
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no fail points")]
fn a_trial_whose_processes_were_killed_is_tried_again_by_the_next_sweep() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "[sweep]\naxes = { 'stages.images.resize' = [9, 10] }\n");
    assert!(output(&mut command(root, "run", "data", "20")).status.success());
    for _ in 0..3 {
        let mut command = command(root, "sweep", "results", "20");
        let killed = output(command.env("RUNNER_FAIL_POINT", "stage done:1"));
        assert_eq!(killed.status.code(), None, "it was killed");
    }
    let reported = output(&mut command(root, "sweep", "results", "20"));
    assert_eq!(reported.status.code(), Some(1));
    assert!(text(&reported.stdout).contains("killed each time before it ended"));
    let next = output(&mut command(root, "sweep", "results", "20"));
    assert!(next.status.success(), "{}", text(&next.stdout));
    assert_nothing_left(root);
}

#[test]
fn a_holder_whose_counter_stands_still_while_a_process_computes_is_taken_over_without_further_waiting()
 {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(
        root,
        &format!(
            "[sweep]\nzip = [['{LR}', 'stages.net.epochs']]\n\
             axes = {{ '{LR}' = [1e-2, 1e-3], 'stages.net.epochs' = [4, 600] }}\n"
        ),
    );
    let store = root.join(".runner");
    // The one that held it is on a machine that nobody hears of any more.
    assert!(output(&mut command(root, "sweep", "alone", "60")).status.success());
    let short = shortest_training(root);
    fs::remove_dir_all(&store).unwrap();
    fs::create_dir_all(store.join("locks")).unwrap();
    let lock = store.join("locks").join(format!("{short}.0.lock"));
    fs::write(lock, "00000000000000000007 dead 1 elsewhere net\n").unwrap();
    let shared = output(&mut command(root, "sweep", "shared", "0.4"));
    assert!(shared.status.success(), "{}", text(&shared.stderr));
    let events = events(&shared);
    let began = |name: &str| {
        let is_start = |it: &Value| it["event"] == "task_started" && it["name"] == name;
        events.iter().position(is_start).unwrap()
    };
    assert!(began("net[001]") < began("net[000]"), "it took what was free first");
    assert!(events.iter().all(|event| event["event"] != "waiting"), "the long one took longer");
    assert_nothing_left(root);
}

/// The fingerprint of the network of the first trial.
pub fn shortest_training(root: &Path) -> String {
    let record = crate::binary::record(&newest(root, "alone"));
    let stages = record["trials"][0].as_array().unwrap();
    let net = stages.iter().find(|stage| stage["name"] == "net").unwrap();
    net["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no fail points")]
fn status_and_gc_know_what_killed_processes_and_failures_left() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let status = || text(&crate::binary::runner(root, &["status"]).stdout);
    let gc =
        || text(&crate::binary::runner(root, &["gc", "--now", "--yes", "--keep-last", "0"]).stdout);
    assert!(output(&mut command(root, "run", "results", "20")).status.success());
    let other = ["--set", "stages.images.resize=10"];
    for _ in 0..2 {
        let mut command = command(root, "run", "results", "20");
        let killed = output(command.args(other).env("RUNNER_FAIL_POINT", "stage done:1"));
        assert_eq!(killed.status.code(), None, "it was killed");
    }
    let said = status();
    assert!(said.contains("2 of 3 starts did not end"), "{said}");
    let said = gc();
    assert!(said.contains("starts of killed stages"), "{said}");
    assert!(!status().contains("did not end"));

    let rate = format!("{LR}=1e30");
    let long = ["--set", &rate];
    let failed = output(command(root, "run", "results", "20").args(long));
    assert_eq!(failed.status.code(), Some(1));
    // It concerns nobody any more.
    assert_eq!(files(&root.join(".runner/failed")).len(), 1);
    let said = status();
    assert!(!said.contains("for runs that are at work"), "{said}");
    gc();
    assert_eq!(files(&root.join(".runner/failed")).len(), 0);
}

#[test]
fn a_patience_that_is_none_is_an_error_that_names_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    for given in ["soon", "0", "-1", "nan"] {
        let refused = output(&mut command(root, "run", "results", given));
        let said = text(&refused.stderr);
        assert!(!refused.status.success());
        assert!(said.contains(&format!("RUNNER_PATIENCE is `{given}`")), "{said}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_another_has_built_is_not_built_again_where_a_network_shows_it_late() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let client = root.join("late_store.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm/late_store.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-shared", "-fPIC", "-o"]).args([&client, &source]).arg("-ldl");
    match compiler.status() {
        Ok(status) => assert!(status.success()),
        Err(error) => {
            left_out(&format!("no C compiler `cc` for a network file system's client: {error}"));
            return;
        }
    }
    with_sweep(root, "");
    let long = ["--set", "stages.net.epochs=400"];
    let (first, mut lines) = spawn(command(root, "run", "results", "60").args(long));
    event(&mut lines, |event| event["event"] == "status" && event["task"] == 2);
    let (mut first, rest) = (first, thread::spawn(move || lines.lines().count()));
    let late = output(command(root, "run", "late", "60").args(long).env("LD_PRELOAD", &client));
    rest.join().unwrap();
    assert!(first.wait().unwrap().success() && late.status.success(), "{}", text(&late.stderr));
    let all = events(&late);
    assert!(
        all.iter().any(|it| it["event"] == "waiting" && it["name"] == "net"),
        "it came too late"
    );
    assert!(!started(&all).contains_key("net"), "{:?}", started(&all));
}
