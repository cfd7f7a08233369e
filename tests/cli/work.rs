//! Workers: they build what a run needs and write no results, leave when they are asked to, and refuse to build what
//! others would build under another name.
#![cfg(unix)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use runner::nn::kernels::isa::Isa;
use serde_json::Value;

use crate::binary::{files, lasting, left_out, runner, script, text};
use crate::photos::artifacts;
use crate::workers::{
    LR, alone, assert_nothing_left, assert_same, at_once, command, event, events, newest, output,
    shortest_training, spawn, started, twelve, until, with_failure_beside_a_long_trial, with_sweep,
};

const LONG: [&str; 2] = ["--set", "stages.net.epochs=300"];

/// A worker that writes its events.
fn worker(root: &Path, more: &[&str]) -> Command {
    let mut command = command(root, "work", "results", "3");
    command.args(more);
    command
}

/// The only run that workers share, and its folder.
fn shared(root: &Path) -> (String, PathBuf) {
    let runs: Vec<PathBuf> =
        fs::read_dir(root.join(".runner/runs")).unwrap().map(|it| it.unwrap().path()).collect();
    let [folder] = runs.as_slice() else { panic!("one run is shared: {runs:?}") };
    (folder.file_name().unwrap().to_str().unwrap().to_owned(), folder.clone())
}

/// The command in backticks that a message advises.
fn advised(said: &str, verb: &str) -> Vec<String> {
    let typed = said.split('`').find(|it| it.starts_with(&format!("runner {verb}"))).unwrap();
    typed.split(' ').skip(1).map(|word| word.trim_matches('\'').to_owned()).collect()
}

fn done(command: &mut Command) -> Output {
    let output = output(command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

/// Starts a worker and waits until it trains.
fn training(root: &Path, more: &[&str]) -> (Child, std::io::BufReader<std::process::ChildStdout>) {
    let (child, mut lines) = spawn(worker(root, &LONG).args(more));
    event(&mut lines, |event| event["event"] == "status" && event["task"] == 2);
    (child, lines)
}

/// That a worker whose events are `lines` left in order before it was done, and what it said.
fn left(mut child: Child, mut lines: std::io::BufReader<std::process::ChildStdout>) -> String {
    event(&mut lines, |event| event["event"] == "interrupted" && event["name"] == "net");
    event(&mut lines, |event| event["event"] == "run_finished");
    drop(lines);
    let status = child.wait().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    said
}

/// That the training has a checkpoint and that nobody is at work.
fn assert_handed_back(root: &Path) {
    let store = root.join(".runner");
    assert!(!files(&store.join("checkpoints")).is_empty(), "a checkpoint is kept");
    for folder in ["locks", "users", "staging", "attempts"] {
        assert_eq!(files(&store.join(folder)), Vec::<PathBuf>::new(), "{folder}");
    }
    assert!(files(&shared(root).1.join("workers")).is_empty());
}

/// What one process makes of the long training, in a store of its own.
fn unbroken(root: &Path) -> Vec<(String, Vec<u8>)> {
    done(command(root, "run", "alone", "60").args(LONG).args(["--store", "alone-store"]));
    lasting(&newest(root, "alone"))
}

/// That the worker `again` takes up the training from its checkpoint, to the bytes that are `wanted`, and leaves nothing.
fn goes_on(root: &Path, again: &mut Command, wanted: &[(String, Vec<u8>)]) {
    let again = done(again);
    assert!(text(&again.stdout).contains("goes on from a checkpoint"));
    done(command(root, "run", "results", "3").args(LONG));
    assert_same(root, "results", wanted);
    assert_nothing_left(root);
}

#[test]
fn workers_build_a_sweep_once_and_the_sweep_then_writes_what_a_local_one_writes() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let (_, wanted) = alone(root);
    let outputs = at_once(root, 3, |_| command(root, "work", "results", "20"));
    let mut all = Vec::new();
    for output in &outputs {
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("`runner sweep photos.toml` writes the results"), "{said}");
        all.extend(events(output));
    }
    let begun = started(&all);
    assert!(begun.len() == 2 + 12 * 2 && begun.values().all(|times| *times == 1), "{begun:?}");
    // No worker wrote results; each left its journal with the run.
    let home: Vec<_> = fs::read_dir(root.join("results/photos")).unwrap().collect();
    assert!(home.is_empty(), "{home:?}");
    let (id, folder) = shared(root);
    assert_eq!(files(&folder.join("logs")).len(), 3);
    assert!(files(&folder.join("workers")).is_empty());
    let said = text(&runner(root, &["status"]).stdout);
    assert!(said.contains(&format!("run {id} of photos, by `cpu ")), "{said}");
    assert!(said.contains("`: 0 workers\n"), "{said}");
    let sweep = done(&mut command(root, "sweep", "results", "20"));
    assert_eq!(started(&events(&sweep)).len(), 0);
    assert_same(root, "results", &wanted);
    assert_nothing_left(root);
    let said = text(&runner(root, &["status"]).stdout);
    assert!(!said.contains("workers"), "its results are written: {said}");
    assert!(said.contains("  26 cached\n"), "what trials share counts once: {said}");
    // What comes late finds nothing to do.
    let late = done(&mut worker(root, &[]));
    assert_eq!(started(&events(&late)).len(), 0);
}

#[test]
fn a_search_by_two_workers_decides_as_a_local_one() {
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
    let outputs = at_once(root, 2, |_| command(root, "work", "results", "20"));
    for output in &outputs {
        let said = text(&output.stderr);
        assert!(output.status.success(), "trials that fail are no failure of a worker: {said}");
        assert!(said.contains("of them with a failure"), "{said}");
    }
    let all: Vec<Value> = outputs.iter().flat_map(events).collect();
    assert_eq!(started(&all), started(&events(&local)));
    let sweep = output(&mut command(root, "sweep", "results", "20"));
    assert_eq!(sweep.status.code(), local.status.code());
    assert_same(root, "results", &wanted);
    assert_nothing_left(root);
}

#[test]
fn stop_ends_workers_after_their_step_and_keeps_others_away_until_the_run_is_taken_up() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let wanted = unbroken(root);
    let (child, lines) = training(root, &[]);
    let (id, _) = shared(root);
    let status = || text(&runner(root, &["status"]).stdout);
    let said = status();
    assert!(said.contains(&format!("run {id} of photos, by `cpu ")), "{said}");
    assert!(said.contains("`: 1 worker\n"), "{said}");
    let (process, host) = (child.id(), runner::store::node());
    assert!(said.contains(&format!("    process {process} on {host}: net\n")), "{said}");

    let stop = [&["stop", "photos.toml"], &LONG[..]].concat();
    let said = text(&runner(root, &stop).stdout);
    assert!(said.starts_with(&format!("run {id} of photos: 1 worker at work")), "{said}");
    let resume = advised(&said, "work");
    let said = left(child, lines);
    assert!(said.contains(&format!("run {id} was stopped")), "{said}");
    assert_handed_back(root);
    assert!(status().contains("`: 0 workers, stopped\n"));

    // As a life that a queue starts later.
    let later = done(&mut worker(root, &LONG));
    assert!(events(&later).is_empty());
    assert!(text(&later.stderr).contains("was stopped"));
    let mut again = Command::new(assert_cmd::cargo::cargo_bin("runner"));
    again.current_dir(root).args(&resume).args(["--json", "--threads", "1"]);
    goes_on(root, &mut again, &wanted);
}

#[test]
fn stop_now_does_not_wait_for_a_step() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let wanted = unbroken(root);
    let (mut child, mut lines) = training(root, &["--checkpoint-every", "0"]);
    event(&mut lines, |event| event["event"] == "note" && event["task"] == 2);
    let (id, _) = shared(root);
    let said = text(&runner(root, &["stop", &id[..5], "--now"]).stdout);
    assert!(said.contains("1 worker at work, which end at once"), "{said}");
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut lines, &mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!rest.contains("interrupted") && !rest.contains("run_finished"), "{rest}");
    // Nothing is left for which workers on other machines would wait.
    for folder in ["locks", "users", "attempts"] {
        assert_eq!(files(&root.join(".runner").join(folder)), Vec::<PathBuf>::new(), "{folder}");
    }
    assert!(files(&shared(root).1.join("workers")).is_empty());
    goes_on(root, worker(root, &LONG).arg("--resume"), &wanted);
}

#[test]
fn a_worker_that_is_terminated_keeps_a_checkpoint_and_ends_with_0() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let wanted = unbroken(root);
    let (child, lines) = training(root, &[]);
    let signal = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(signal.unwrap().success());
    let said = left(child, lines);
    assert!(said.contains("interrupted; the same command goes on"), "{said}");
    assert_handed_back(root);
    goes_on(root, &mut worker(root, &LONG), &wanted);
}

#[test]
fn a_failure_holds_for_workers_that_join_while_others_are_at_work() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_failure_beside_a_long_trial(root);
    let (mut first, mut lines) = spawn(&mut worker(root, &[]));
    event(&mut lines, |event| event["event"] == "failed");
    event(&mut lines, |event| event["event"] == "status");
    let second = done(&mut worker(root, &["--idle", "0s"]));
    let all = events(&second);
    assert_eq!(started(&all).len(), 0);
    let failed = all.iter().find(|event| event["event"] == "failed").unwrap();
    assert_eq!(failed["name"], "net[000]");
    assert!(runner(root, &["stop", "photos.toml"]).status.success());
    event(&mut lines, |event| event["event"] == "run_finished");
    assert!(first.wait().unwrap().success());
    // Nobody is at work any more: the next worker tries again.
    let (mut next, mut lines) = spawn(&mut worker(root, &["--resume"]));
    event(&mut lines, |event| event["event"] == "task_started" && event["name"] == "net[000]");
    event(&mut lines, |event| event["event"] == "status");
    assert!(runner(root, &["stop", "photos.toml"]).status.success());
    event(&mut lines, |event| event["event"] == "run_finished");
    assert!(next.wait().unwrap().success());
}

#[test]
fn a_worker_leaves_with_0_when_nothing_was_ready_for_long() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    // The first trial goes on for long.
    with_sweep(
        root,
        &format!(
            "[sweep]\nzip = [['{LR}', 'stages.net.epochs']]\n\
             axes = {{ '{LR}' = [1e-3, 1e-2], 'stages.net.epochs' = [100000, 4] }}\n"
        ),
    );
    let (mut first, mut lines) = spawn(&mut worker(root, &[]));
    event(&mut lines, |event| event["event"] == "status");
    let idle = done(&mut worker(root, &["--idle", "1s"]));
    let said = text(&idle.stderr);
    assert!(said.contains("was ready for 1 s: the rest is left to its other workers"), "{said}");
    let all = events(&idle);
    let waited = all.iter().find(|event| event["event"] == "waiting").unwrap();
    assert!(!started(&all).contains_key(waited["name"].as_str().unwrap()));
    assert!(runner(root, &["stop", "photos.toml"]).status.success());
    event(&mut lines, |event| event["event"] == "run_finished");
    assert!(first.wait().unwrap().success());
    for wrong in ["1", "m", "-1s", "1w"] {
        assert_eq!(output(&mut worker(root, &["--idle", wrong])).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn a_worker_takes_over_from_a_dead_machine_however_short_its_idle_time_is() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &format!("[sweep]\naxes = {{ '{LR}' = [1e-2, 1e-3] }}\n"));
    assert!(output(&mut command(root, "sweep", "alone", "60")).status.success());
    let held = shortest_training(root);
    let store = root.join(".runner");
    fs::remove_dir_all(&store).unwrap();
    fs::create_dir_all(store.join("locks")).unwrap();
    let lock = store.join("locks").join(format!("{held}.0.lock"));
    fs::write(&lock, "00000000000000000007 other 1 elsewhere net\n").unwrap();
    let only = done(&mut worker(root, &["--idle", "0s"]));
    assert!(text(&only.stderr).contains("have ended"), "{}", text(&only.stderr));
    let all = events(&only);
    assert!(all.iter().any(|event| event["event"] == "waiting" && event["name"] == "net[000]"));
    assert!(started(&all).contains_key("net[000]"));
}

#[test]
fn another_program_is_refused_with_both_digests_until_it_begins_the_run_anew() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let (own, other) = (assert_cmd::cargo::cargo_bin("runner"), other_program(root));
    let digest = |path: &Path| blake3::hash(&fs::read(path).unwrap()).to_string();
    let (child, lines) = training(root, &[]);
    let by_other = |more: &[&str]| {
        let mut command = Command::new(&other);
        command.current_dir(root).args(["work", "photos.toml"]).args(LONG).args(more);
        output(&mut command)
    };
    let refused = by_other(&[]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains(&digest(&own)) && said.contains(&digest(&other)), "{said}");
    assert!(advised(&said, "work").contains(&"--anew".to_owned()), "{said}");

    let refused = by_other(&["--anew"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains("1 worker of run"), "{said}");
    let stop: Vec<String> = advised(&said, "stop");
    assert!(runner(root, &stop.iter().map(String::as_str).collect::<Vec<_>>()).status.success());
    left(child, lines);

    let (_, folder) = shared(root);
    let anew = by_other(&["--anew", "--json"]);
    assert!(anew.status.success(), "{}", text(&anew.stderr));
    assert!(text(&anew.stdout).contains("goes on from a checkpoint"));
    let record = fs::read_to_string(folder.join("run.json")).unwrap();
    assert!(record.contains(&digest(&other)), "{record}");
    let refused = output(&mut worker(root, &LONG));
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_machine_of_another_backend_is_refused_by_name_and_builds_nothing() {
    if Isa::best() == Isa::Portable {
        left_out("this processor computes by nothing but portable instructions");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let lesser = if Isa::best() == Isa::Avx512 { Isa::Avx2 } else { Isa::Portable };
    done(worker(root, &["--fail-fast"]).env("RUNNER_ISA", lesser.to_string()));
    let built = artifacts(&root.join(".runner"));
    let refused = output(&mut worker(root, &[]));
    assert_eq!(refused.status.code(), Some(2));
    let (said, node) = (text(&refused.stderr), runner::store::node());
    let best = Isa::best();
    assert!(said.contains(&format!("{node} computes by `cpu {best}`")), "{said}");
    assert!(said.contains(&format!("by `cpu {lesser}")) && said.contains("nothing is built here"));
    assert_eq!(artifacts(&root.join(".runner")), built);
    let status = text(&runner(root, &["status"]).stdout);
    assert!(status.contains(&format!("    {node} was refused, as it computes by `cpu {best}`")));
    if lesser == Isa::Avx2 {
        assert!(said.contains("with `RUNNER_ISA=avx2` in its environment a worker can"), "{said}");
        let asked = done(worker(root, &[]).env("RUNNER_ISA", "avx2"));
        assert_eq!(started(&events(&asked)).len(), 0);
    }
    let other = output(&mut worker(root, &["--backend", &format!("cpu {best}")]));
    assert_eq!(other.status.code(), Some(2));
    let said = text(&other.stderr);
    assert!(said.contains(&format!("and not for `cpu {best}`")), "{said}");
    done(&mut worker(root, &["--anew"]));
    assert!(artifacts(&root.join(".runner")).len() > built.len());
}

#[test]
fn a_worker_by_the_id_of_a_run_works_from_any_folder() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let rate = ["--set", "stages.net.epochs=3"];
    // The first worker registers the run and leaves at once.
    let (child, lines) = {
        let (child, mut lines) = spawn(worker(root, &rate).args(["--jobs", "1"]));
        event(&mut lines, |event| event["event"] == "task_started");
        (child, lines)
    };
    assert!(runner(root, &[&["stop", "photos.toml"], &rate[..]].concat()).status.success());
    drop(lines);
    assert!(child.wait_with_output().unwrap().status.success());
    let (id, folder) = shared(root);
    let plan = fs::read_to_string(folder.join("plan.toml")).unwrap();
    assert!(plan.contains("epochs = 3"), "`--set` is part of the plan: {plan}");
    let elsewhere = tempfile::tempdir().unwrap();
    let store = root.join(".runner");
    let by = |run: &str, more: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("runner"));
        command.current_dir(elsewhere.path()).args(["work", run, "--json", "--threads", "2"]);
        output(command.arg("--store").arg(&store).args(more))
    };
    let unknown = by("zzz", &[]);
    assert_eq!(unknown.status.code(), Some(2));
    let said = text(&unknown.stderr);
    let status = advised(&said, "status");
    let status: Vec<&str> = status.iter().map(String::as_str).collect();
    assert!(text(&runner(elsewhere.path(), &status).stdout).contains(&format!("run {id} of")));
    assert_eq!(by(&id, &rate).status.code(), Some(2), "`--set` goes with a file");
    let worked = by(&id[..4], &["--resume"]);
    let said = text(&worked.stderr);
    assert!(worked.status.success(), "{said}");
    assert!(fs::read_dir(elsewhere.path()).unwrap().next().is_none(), "nothing is left there");
    let sweep = advised(&said, "sweep");
    let sweep: Vec<&str> = sweep.iter().map(String::as_str).chain(["--json"]).collect();
    assert!(sweep.contains(&rate[1]), "{sweep:?}");
    let sweep = runner(root, &sweep);
    assert!(sweep.status.success());
    assert_eq!(started(&events(&sweep)).len(), 0);

    let gone = by(&id, &["--store", "nowhere"]);
    assert_eq!(gone.status.code(), Some(2));
}

#[test]
fn a_store_or_folder_that_a_machine_does_not_see_is_named_with_the_machine() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let said = |arguments: &[&str]| {
        let output = runner(root, arguments);
        assert_eq!(output.status.code(), Some(2));
        text(&output.stderr)
    };
    let node = runner::store::node();
    let unseen = said(&["work", "1a2b3c4d", "--store", "nowhere"]);
    assert!(unseen.contains(&format!("no store `nowhere` on {node}")), "{unseen}");
    assert!(!root.join("nowhere").exists());
    done(&mut worker(root, &[]));
    let (id, _) = shared(root);
    let moved = root.with_extension("moved");
    fs::rename(root, &moved).unwrap();
    let output = runner(&moved, &["work", &id]);
    fs::rename(&moved, root).unwrap();
    let unseen = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    let folder = fs::canonicalize(root).unwrap();
    assert!(unseen.contains(&format!("`{}`", folder.display())), "{unseen}");
    assert!(unseen.contains(&format!("cannot be entered on {node}")), "{unseen}");
}

#[test]
fn what_workers_built_stays_until_the_results_are_written_or_the_run_is_forgotten() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let gc = |more: &[&str]| {
        let output = runner(root, &[&["gc", "--now", "--yes"], more].concat());
        text(&output.stdout) + &text(&output.stderr)
    };
    done(command(root, "run", "results", "20").args(["--set", "stages.net.epochs=1"]));
    let without = artifacts(&root.join(".runner")).len();
    done(&mut worker(root, &[]));
    let with = artifacts(&root.join(".runner"));
    assert!(with.len() > without);
    let (id, folder) = shared(root);
    let said = gc(&[]);
    assert!(said.contains("its results are not written yet"), "{said}");
    assert_eq!(artifacts(&root.join(".runner")), with);
    let option = said.split('`').find(|word| word.starts_with("--forget")).unwrap();
    gc(&option.split(' ').collect::<Vec<_>>());
    assert!(option.ends_with(&id) && !folder.exists());
    assert_eq!(artifacts(&root.join(".runner")).len(), without);

    done(&mut worker(root, &[]));
    done(&mut command(root, "run", "results", "20"));
    let said = gc(&[]);
    assert!(said.contains("run of workers that is over"), "{said}");
    assert!(!folder.exists());
    assert_eq!(artifacts(&root.join(".runner")), with);
}

#[test]
fn a_run_that_two_begin_at_the_same_moment_is_one() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let outputs = at_once(root, 4, |_| command(root, "work", "results", "20"));
    assert!(outputs.iter().all(|output| output.status.success()));
    let all: Vec<Value> = outputs.iter().flat_map(events).collect();
    assert!(started(&all).values().all(|times| *times == 1));
    let (_, folder) = shared(root);
    assert_eq!(files(&folder.join("logs")).len(), 4);
    until("nobody is left", || files(&folder.join("workers")).is_empty());
}

/// Another program: this one with a byte more.
fn other_program(root: &Path) -> PathBuf {
    let other = root.join("other-runner");
    fs::copy(assert_cmd::cargo::cargo_bin("runner"), &other).unwrap();
    fs::OpenOptions::new().append(true).open(&other).unwrap().write_all(b"\n").unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    other
}

#[test]
fn six_workers_that_begin_a_run_anew_at_the_same_moment_share_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let mut other = Command::new(other_program(root));
    done(other.current_dir(root).args(["work", "photos.toml", "--store", "s", "--threads", "1"]));
    fs::create_dir(root.join(".runner")).unwrap();
    fs::rename(root.join("s/runs"), root.join(".runner/runs")).unwrap();
    let anew = |_| {
        let mut command = worker(root, &["--anew"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let workers: Vec<Child> = (0..6).map(anew).collect();
    let outputs: Vec<Output> =
        workers.into_iter().map(|it| it.wait_with_output().unwrap()).collect();
    for output in &outputs {
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("have ended"), "{}", text(&output.stderr));
    }
    let all: Vec<Value> = outputs.iter().flat_map(events).collect();
    let begun = started(&all);
    assert!(begun.len() == 4 && begun.values().all(|times| *times == 1), "{begun:?}");
}

#[test]
fn a_run_is_not_forgotten_under_its_workers() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    done(command(root, "run", "results", "20").args(["--set", "stages.net.epochs=1"]));
    let (child, lines) = training(root, &[]);
    let (id, folder) = shared(root);
    let refused = runner(root, &["gc", "--forget", &id, "--yes"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains(&format!("run {id} cannot go while workers are at it")), "{said}");
    assert!(said.contains(&format!("process {} on", child.id())), "{said}");
    // Taken away by hand, it does not come back, and the worker leaves.
    fs::rename(&folder, root.join("away")).unwrap();
    left(child, lines);
    assert!(!folder.exists());
}

#[test]
fn what_is_left_of_a_run_without_a_record_is_in_nobodys_way() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    done(&mut worker(root, &[]));
    let (_, folder) = shared(root);
    for record in [None, Some("{ \"by\": \"another version\" }")] {
        match record {
            None => fs::remove_file(folder.join("run.json")).unwrap(),
            Some(text) => fs::write(folder.join("run.json"), text).unwrap(),
        }
        let again = done(&mut worker(root, &[]));
        assert_eq!(started(&events(&again)).len(), 0);
        assert!(folder.join("run.json").exists() && shared(root).1 == folder);
    }
    done(&mut command(root, "run", "results", "20"));
    fs::remove_file(folder.join("run.json")).unwrap();
    assert!(runner(root, &["gc", "--yes"]).status.success());
    assert!(!folder.exists());
}

#[test]
fn a_run_is_over_only_with_results_of_its_backend_and_without_workers() {
    if Isa::best() != Isa::Avx512 {
        left_out("this processor has no AVX-512, and so no second backend that it computes by");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    done(worker(root, &[]).env("RUNNER_ISA", "avx2"));
    let is_over = || shared(root).1.join("done").exists();
    done(&mut command(root, "run", "results", "20"));
    assert!(!is_over(), "the results are of `cpu avx512`");
    let built = artifacts(&root.join(".runner"));
    assert!(runner(root, &["gc", "--now", "--yes"]).status.success());
    assert_eq!(artifacts(&root.join(".runner")), built);
    done(command(root, "run", "results", "20").args(["--backend", "cpu avx2"]));
    assert!(is_over());
}

#[test]
fn results_that_are_written_while_a_worker_is_at_work_do_not_end_its_run() {
    if Isa::best() != Isa::Avx512 {
        left_out("this processor has no AVX-512, and so no second backend that it computes by");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let (child, mut lines) = spawn(worker(root, &LONG).env("RUNNER_ISA", "avx2"));
    event(&mut lines, |event| event["event"] == "status" && event["task"] == 2);
    // The training is refused here, which is how this run ends.
    let by = [&LONG[..], &["--backend", "cpu avx2"]].concat();
    assert_eq!(output(command(root, "run", "results", "20").args(by)).status.code(), Some(1));
    assert!(!shared(root).1.join("done").exists());
    assert!(runner(root, &[&["stop", "photos.toml"], &LONG[..]].concat()).status.success());
    left(child, lines);
}

#[test]
fn what_another_backend_is_planned_for_is_built_where_it_is_by_the_next_sweep() {
    if Isa::best() != Isa::Avx512 {
        left_out("this processor has no AVX-512, and so no second backend that it computes by");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &format!("[sweep]\naxes = {{ '{LR}' = [1e-2, 1e-3] }}\n"));
    let sweep = || command(root, "sweep", "results", "20");
    let refused = output(sweep().args(["--backend", "cpu avx2"]));
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stdout);
    assert!(said.contains("build it where `cpu avx2` is"), "{said}");
    let built = done(sweep().env("RUNNER_ISA", "avx2"));
    assert_eq!(started(&events(&built)).len(), 4);
}

#[test]
fn a_backend_that_no_machine_has_begins_no_run() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let wrong = ["--backend", "cpu avx51"];
    let refused = output(&mut worker(root, &wrong));
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains("`--backend 'cpu avx51'` is no backend of"), "{said}");
    assert!(!root.join(".runner").exists());
    done(&mut worker(root, &[]));
    let (id, folder) = shared(root);
    let before = fs::read(folder.join("run.json")).unwrap();
    for run in ["photos.toml", &id] {
        let anew = runner(root, &[&["work", run, "--anew"], &wrong[..]].concat());
        assert_eq!(anew.status.code(), Some(2), "{}", text(&anew.stderr));
        assert_eq!(fs::read(folder.join("run.json")).unwrap(), before);
    }
}

#[test]
fn what_is_advised_works_as_it_is_typed_wherever_the_store_and_the_results_are() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let follow = |folder: &Path, said: &str, verb: &str, more: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("runner"));
        command.current_dir(folder).args(advised(said, verb)).args(more);
        done(&mut command)
    };
    let away = ["--store", "s", "--results", "r"];
    let worker = |more: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("runner"));
        command.current_dir(root).args(["work", "photos.toml", "--json", "--threads", "1"]);
        command.args(away).args(more);
        command
    };
    assert!(text(&done(&mut worker(&[])).stderr).contains("writes the results"));
    let run = fs::read_dir(root.join("s/runs")).unwrap().next().unwrap().unwrap().file_name();
    let run = run.into_string().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let store = root.join("s").display().to_string();
    done(
        Command::new(assert_cmd::cargo::cargo_bin("runner"))
            .current_dir(root)
            .args(["stop", &run, "--store", &store]),
    );
    let said = text(&done(&mut worker(&[])).stderr);
    assert!(said.contains("was stopped"), "{said}");
    let again = follow(elsewhere.path(), &said, "work", &["--json"]);
    assert_eq!(started(&events(&again)).len(), 0);
    let said = text(&done(&mut worker(&[])).stderr);
    let written = follow(root, &said, "run", &["--json"]);
    assert_eq!(started(&events(&written)).len(), 0);
    assert!(root.join("r/photos/latest").exists() && !root.join(".runner").exists());
    assert!(fs::read_dir(elsewhere.path()).unwrap().next().is_none(), "nothing is left there");
}

#[test]
fn a_run_for_gpus_is_stopped_where_there_is_none() {
    if Command::new("nvidia-smi").output().is_ok_and(|it| it.status.success()) {
        left_out("this machine has a GPU: what one without says");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let [arithmetic, _] = runner::nn::gpu::examples_of_arithmetic();
    let backend = format!("{arithmetic} tf32");
    for device in ["pipeline.device='cuda:0'", "pipeline.device='auto'"] {
        let set = ["--set", device];
        let refused = output(worker(root, &["--backend", &backend]).args(set));
        assert_eq!(refused.status.code(), Some(2));
        let said = text(&refused.stderr);
        assert!(said.contains("nothing is built here") && !said.contains("begins it"), "{said}");
        let stop = runner(root, &[&["stop", "photos.toml"], &set[..]].concat());
        assert!(stop.status.success(), "{}", text(&stop.stderr));
        assert!(text(&stop.stdout).contains("0 workers at work"));
        fs::remove_dir_all(root.join(".runner/runs")).unwrap();
    }
}

#[test]
fn a_collection_works_when_nothing_but_workers_used_the_store() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    done(&mut worker(root, &[]));
    let built = artifacts(&root.join(".runner"));
    let (id, folder) = shared(root);
    let gc = |more: &[&str]| {
        let output = runner(root, &[&["gc", "--now", "--yes"], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let said = gc(&[]);
    assert!(said.contains(&format!("`--forget {id}`")), "{said}");
    gc(&["--forget", &id]);
    assert!(!folder.exists());
    assert_eq!(
        artifacts(&root.join(".runner")),
        built,
        "the results may be on a disk that is away"
    );
}

/// A folder as the guide speaks of it, with programs in `bin`: this one, and an `ssh` that stays here.
fn as_in_the_guide(root: &Path, sweep: &str) {
    with_sweep(root, sweep);
    fs::create_dir(root.join("pipelines")).unwrap();
    fs::rename(root.join("photos.toml"), root.join("pipelines/dann-sweep.toml")).unwrap();
    let bin = root.join("bin");
    fs::create_dir(&bin).unwrap();
    let own = assert_cmd::cargo::cargo_bin("runner");
    std::os::unix::fs::symlink(own, bin.join("runner")).unwrap();
    // The real one's other end always has a SHELL, without which GNU parallel runs nothing there and says 0.
    let ssh = "#!/bin/sh\nshift\n[ \"$1\" = -- ] && shift\nSHELL=/bin/sh exec sh -c \"$*\"\n";
    fs::write(bin.join("ssh"), ssh).unwrap();
    fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// What a script that ended as `output` and the workers that it started in `root` said.
fn said_by_script(root: &Path, output: &Output) -> String {
    let mut said = text(&output.stdout) + &text(&output.stderr);
    for log in fs::read_dir(root).unwrap().map(|it| it.unwrap().path()) {
        if log.extension().is_some_and(|it| it == "log") {
            said += &fs::read_to_string(log).unwrap();
        }
    }
    said
}

/// The script of the guide that is called `name`, with no `SHELL`, as where a service starts it.
fn bash(root: &Path, name: &str) -> Command {
    let path = std::env::var("PATH").unwrap();
    fs::write(root.join("script.sh"), script("clusters.md", name)).unwrap();
    let mut command = Command::new("bash");
    command
        .current_dir(root)
        .arg("script.sh")
        .env("PATH", format!("{}:{path}", root.join("bin").display()))
        .env("SLURM_CPUS_ON_NODE", "1")
        .env_remove("SHELL");
    command
}

#[test]
fn the_scripts_of_the_guide_build_a_sweep() {
    for name in ["ssh", "parallel", "sbatch"] {
        if name == "parallel" && Command::new("parallel").arg("--version").output().is_err() {
            left_out("GNU parallel is not installed");
            continue;
        }
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        as_in_the_guide(root, &twelve("12e-3"));
        let script = done(&mut bash(root, name));
        let logs = files(&root.join(".runner/runs"))
            .iter()
            .filter(|it| it.parent().is_some_and(|it| it.ends_with("logs")))
            .count();
        let wanted = if name == "sbatch" { 1 } else { 2 };
        assert_eq!(logs, wanted, "{name}: {}", said_by_script(root, &script));
        let sweep = runner(root, &["sweep", "pipelines/dann-sweep.toml", "--json"]);
        assert!(sweep.status.success(), "{name}: {}", text(&sweep.stderr));
        assert_eq!(started(&events(&sweep)).len(), 0, "{name}");
    }
}

#[test]
fn the_scripts_of_the_guide_for_queues_that_take_descriptions_write_them() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    as_in_the_guide(root, "");
    let wrote = |name: &str, arguments: &[&str]| {
        let output = done(bash(root, name).args(arguments));
        text(&output.stdout)
    };
    let condor = wrote("condor", &["64", "8", "/logs", "/opt/runner", "work", "1a"]);
    assert!(condor.starts_with("executable = /opt/runner\narguments = \"work 1a\"\n"), "{condor}");
    assert!(condor.contains("output = /logs/$(Cluster)_$(Process).log\n"), "{condor}");
    assert!(condor.ends_with("max_materialize = 8\nqueue 64\n"), "{condor}");
    let job = wrote("kubernetes", &["runner-1a-cpu", "64", "8", "/opt/runner", "work", "1a"]);
    assert!(job.contains("  completions: 64\n  parallelism: 8\n"), "{job}");
    assert!(job.contains("command: [\"/opt/runner\",\"work\",\"1a\",]\n"), "{job}");
}

#[test]
fn the_signal_of_a_queue_reaches_the_worker_of_its_script() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    as_in_the_guide(root, "[sweep]\naxes = { 'stages.net.epochs' = [100000] }\n");
    let child = bash(root, "sbatch").stderr(std::process::Stdio::piped()).spawn().unwrap();
    until("it trains", || {
        let journals = files(&root.join("results"));
        journals.iter().any(|path| {
            fs::read_to_string(path).is_ok_and(|text| text.contains("\"event\":\"status\""))
        })
    });
    let signal = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(signal.unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
    assert_handed_back(root);
}
