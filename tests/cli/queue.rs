//! Drivers: they have a queue start workers, build nothing, and come and go as they like. The queue here starts processes
//! of this machine; `slurm.rs` has the same on a cluster.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output};

use serde_json::Value;

use crate::binary::{files, lasting, runner, text};
use crate::photos::artifacts;
use crate::workers::{
    LR, alone, assert_nothing_left, assert_same, command, event, events, newest, output, spawn,
    started, twelve, until, with_sweep,
};

/// A queue that starts each worker as a process of this machine.
const HERE: &str = "engine = 'command'\nsubmit = '{work} > {log} 2>&1 &'\n\
                    [workers.cpu]\ncpus = 1\nat_once = 4\nidle = '20s'\n";

/// Puts the file of a site called `name` into the store.
pub fn site(root: &Path, name: &str, text: &str) {
    fs::create_dir_all(root.join(".runner")).unwrap();
    fs::write(root.join(format!(".runner/{name}.toml")), text).unwrap();
}

/// A driver that writes its events.
pub fn driver(root: &Path, verb: &str, on: &str, more: &[&str]) -> Command {
    let mut command = command(root, verb, "results", "6");
    command.args(["--on", on]).args(more);
    command
}

/// The only run that workers share, and its folder.
pub fn shared(root: &Path) -> (String, PathBuf) {
    let runs: Vec<PathBuf> =
        fs::read_dir(root.join(".runner/runs")).unwrap().map(|it| it.unwrap().path()).collect();
    let [folder] = runs.as_slice() else { panic!("one run is shared: {runs:?}") };
    (folder.file_name().unwrap().to_str().unwrap().to_owned(), folder.clone())
}

/// The events of every worker: of those that have left, and of those that are at work or were killed.
pub fn of_workers(root: &Path) -> Vec<Vec<Value>> {
    let read = |path: PathBuf| -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    if fs::read_dir(root.join(".runner/runs")).is_err() {
        return Vec::new();
    }
    let left = files(&root.join(".runner/runs")).into_iter();
    let there = files(&root.join("results")).into_iter();
    left.chain(there)
        .filter(|path| path.to_string_lossy().contains("events"))
        .map(read)
        .filter(|events| {
            let first = events.iter().find(|event| event["event"] == "run_started");
            let words = first.and_then(|it| it["command"].as_array().cloned()).unwrap_or_default();
            words.iter().any(|word| word == "work")
        })
        .collect()
}

/// How often each task was begun, by all workers together.
pub fn begun(root: &Path) -> BTreeMap<String, usize> {
    started(of_workers(root).iter().flatten())
}

/// What was said of workers.
pub fn said(events: &[Value]) -> String {
    let texts = events.iter().filter(|event| event["event"] == "workers");
    texts.map(|event| format!("{}\n", event["text"].as_str().unwrap())).collect()
}

/// Reads events until something of this kind was said of workers.
pub fn hears(lines: &mut BufReader<ChildStdout>, words: &str) -> String {
    let event = event(lines, |event| {
        event["event"] == "workers" && event["text"].as_str().unwrap().contains(words)
    });
    event["text"].as_str().unwrap().to_owned()
}

pub fn ended(mut child: Child, mut lines: BufReader<ChildStdout>) -> (Option<i32>, String, String) {
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status.code(), rest, said)
}

/// What workers have printed, each into a log of its own.
pub fn logs(root: &Path) -> Vec<String> {
    let mut all = files(&shared(root).1.join("lives"));
    all.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
    all.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// That the last worker has gone.
pub fn all_gone(root: &Path) {
    let workers = shared(root).1.join("workers");
    until("the workers have gone", || files(&workers).is_empty());
}

fn good(output: &Output) {
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn a_queue_builds_a_sweep_once_to_the_bytes_of_a_local_one_while_its_driver_builds_nothing() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let (_, wanted) = alone(root);
    site(root, "here", HERE);
    let driven = output(&mut driver(root, "sweep", "here", &[]));
    good(&driven);
    let all = events(&driven);
    assert!(started(&all).is_empty());
    assert_same(root, "results", &wanted);
    let begun = begun(root);
    assert!(begun.len() == 2 + 12 * 2 && begun.values().all(|times| *times == 1), "{begun:?}");
    let said = said(&all);
    assert!(said.contains("the first one says what the machines compute by"), "{said}");
    assert!(said.contains("of class `cpu`"), "{said}");
    all_gone(root);
    assert_nothing_left(root);
    // Now there is nothing to ask a queue for.
    site(root, "here", &HERE.replace("{work} >", "false # {work} >"));
    let again = output(&mut driver(root, "sweep", "here", &[]));
    good(&again);
    assert!(!crate::queue::said(&events(&again)).contains("asked for"));
}

#[test]
fn a_search_on_a_queue_decides_as_a_local_one() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(
        root,
        &format!(
            "[sweep]\nsearch = 'tpe'\ntrials = 8\nstartup = 4\nbatch = 4\n\
             axes = {{ '{LR}' = {{ log_uniform = [1e-4, 1e30] }} }}\n\
             [sweep.select]\nstage = 'net'\nby = 'validate.loss'\noracle = true\n\
             [sweep.halving]\nmin_epochs = 1\nfactor = 2\n"
        ),
    );
    let (local, wanted) = alone(root);
    site(root, "here", HERE);
    let driven = output(&mut driver(root, "sweep", "here", &[]));
    assert_eq!(driven.status.code(), local.status.code(), "{}", text(&driven.stderr));
    assert_same(root, "results", &wanted);
    let of_all = begun(root);
    assert_eq!(of_all, started(&events(&local)), "nothing was tried twice");
}

#[test]
fn a_driver_that_is_killed_is_not_missed_and_the_same_command_writes_the_results() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let (_, wanted) = alone(root);
    site(root, "here", HERE);
    let (mut child, mut lines) = spawn(&mut driver(root, "sweep", "here", &[]));
    event(&mut lines, |event| event["event"] == "cached");
    child.kill().unwrap();
    child.wait().unwrap();
    until("the workers have built everything", || begun(root).len() == 2 + 12 * 2);
    all_gone(root);
    let built = artifacts(&root.join(".runner")).len();
    let again = output(&mut driver(root, "sweep", "here", &[]));
    good(&again);
    assert!(!said(&events(&again)).contains("asked for"), "{}", said(&events(&again)));
    assert_eq!(artifacts(&root.join(".runner")).len(), built);
    assert!(begun(root).values().all(|times| *times == 1));
    assert_same(root, "results", &wanted);
}

/// Starts a driver of one long training, and waits until a worker trains.
fn long(root: &Path) -> (Child, BufReader<ChildStdout>) {
    with_sweep(root, "");
    site(root, "here", &HERE.replace("at_once = 4", "at_once = 1"));
    let (child, lines) = spawn(&mut driver(root, "run", "here", &LONG));
    until("a worker trains", || {
        of_workers(root).iter().flatten().any(|event| event["event"] == "status")
    });
    (child, lines)
}

const LONG: [&str; 2] = ["--set", "stages.net.epochs=300"];

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_run_of_a_file_with_a_sweep_builds_the_file_alone() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    good(&output(command(root, "run", "alone", "60").args(["--store", "alone-store"])));
    let wanted = lasting(&newest(root, "alone"));
    site(root, "here", HERE);
    good(&output(&mut driver(root, "run", "here", &[])));
    assert_same(root, "results", &wanted);
    assert_eq!(begun(root).len(), 4);
}

#[test]
fn a_second_driver_only_watches_and_both_write_the_same() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let (child, lines) = long(root);
    let (second, mut heard) = spawn(&mut driver(root, "run", "here", &LONG));
    let text = hears(&mut heard, "asks for the workers of this run: this one only watches");
    assert!(text.contains(&format!("process {}", child.id())), "{text}");
    for (child, lines) in [(child, lines), (second, heard)] {
        let (code, _, said) = ended(child, lines);
        assert_eq!(code, Some(0), "{said}");
    }
    let asked = logs(root).len();
    assert_eq!(asked, 1, "only the first asked for a worker");
    assert!(begun(root).values().all(|times| *times == 1));
}

#[test]
fn ctrl_c_and_a_hang_up_leave_the_workers_at_work_and_say_so() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let (child, mut lines) = long(root);
    let (id, folder) = shared(root);
    signal(&child, "HUP");
    signal(&child, "TERM");
    let text = hears(&mut lines, "the same command comes back");
    assert!(text.starts_with("1 worker goes on") && text.contains(&format!("`runner stop {id}`")));
    let (code, ..) = ended(child, lines);
    assert_eq!(code, Some(130));
    assert_eq!(files(&folder.join("workers")).len(), 1, "it goes on");

    let (child, mut lines) = spawn(&mut driver(root, "run", "here", &LONG));
    hears(&mut lines, "1 worker at work");
    signal(&child, "INT");
    hears(&mut lines, "1 worker goes on");
    signal(&child, "INT");
    let (code, _, said) = ended(child, lines);
    assert_eq!(code, Some(130));
    assert!(said.contains("press Ctrl-C again within 3 s"), "{said}");
    assert!(folder.join("stop").exists());
    all_gone(root);
    assert!(!files(&root.join(".runner/checkpoints")).is_empty(), "a checkpoint is kept");
}

#[test]
fn a_run_that_is_stopped_ends_its_driver_too_and_the_same_command_takes_it_up_again() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let (child, lines) = long(root);
    let (id, _) = shared(root);
    good(&runner(root, &["stop", &id]));
    let (code, _, said) = ended(child, lines);
    assert_eq!(code, Some(130));
    assert!(said.contains(&format!("run {id} was stopped")), "{said}");
    assert!(said.contains("--on here --threads 1` takes it up again"), "{said}");
    all_gone(root);
    let again = output(&mut driver(root, "run", "here", &LONG));
    good(&again);
    let goes_on =
        |event: &Value| event["text"].as_str().is_some_and(|it| it.contains("goes on from a"));
    assert!(of_workers(root).iter().flatten().any(goes_on));
    let wanted = {
        good(&output(
            command(root, "run", "alone", "60").args(LONG).args(["--store", "alone-store"]),
        ));
        lasting(&newest(root, "alone"))
    };
    assert_same(root, "results", &wanted);
}

#[test]
fn workers_that_end_before_they_come_to_work_end_the_driver_with_the_end_of_their_log() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let setup = "setup = ['echo no such module >&2', 'exit 1']\n[workers.cpu]";
    site(root, "here", &HERE.replace("[workers.cpu]", setup));
    let driven = output(&mut driver(root, "sweep", "here", &[]));
    assert_eq!(driven.status.code(), Some(1));
    let said = text(&driven.stderr);
    assert!(said.contains("workers ended before they came to work"), "{said}");
    assert!(said.contains(".log ends:\n    no such module"), "{said}");
}

#[test]
fn a_program_that_is_replaced_in_the_middle_is_refused_with_both_digests() {
    use std::io::Write as _;
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let own = assert_cmd::cargo::cargo_bin("runner");
    let program = root.join("program");
    fs::copy(&own, &program).unwrap();
    let digest = |path: &Path| blake3::hash(&fs::read(path).unwrap()).to_string();
    let first = digest(&program);
    // The queue starts workers only once the program is another one.
    let line = "{ until [ -e replaced ]; do sleep 0.1; done; exec {work} > {log} 2>&1; } &";
    site(root, "here", &HERE.replace("{work} > {log} 2>&1 &", line));
    let mut command = Command::new(&program);
    let arguments = ["sweep", "photos.toml", "--json", "--threads", "1", "--on", "here"];
    command.current_dir(root).env("RUNNER_PATIENCE", "6").args(arguments);
    let (child, mut lines) = spawn(&mut command);
    hears(&mut lines, "asked for");
    let other = root.join("other");
    fs::copy(&own, &other).unwrap();
    fs::OpenOptions::new().append(true).open(&other).unwrap().write_all(b"\n").unwrap();
    let second = digest(&other);
    fs::rename(&other, &program).unwrap();
    fs::write(root.join("replaced"), "").unwrap();
    let (code, _, said) = ended(child, lines);
    assert_eq!(code, Some(1));
    assert!(said.contains(&first) && said.contains(&second), "{said}");
}

#[test]
fn machines_of_another_backend_are_named_and_end_the_driver_where_there_are_no_others() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    site(root, "here", &format!("backend = 'cpu portable'\n{HERE}"));
    let (child, mut lines) = spawn(&mut driver(root, "run", "here", &[]));
    let node = runner::store::node();
    hears(&mut lines, &format!("{node} computes by `cpu "));
    let (code, _, said) = ended(child, lines);
    assert_eq!(code, Some(1));
    assert!(said.contains("another backend than the run is for"), "{said}");
    let log = logs(root).remove(0);
    assert!(log.contains("nothing is built here"), "{log}");
    // Where it is told which hosts there are, it starts nothing on those of no use.
    let hosts = format!("submit = 'true {{host}}; {{work}} > {{log}} 2>&1 &'\nhosts = ['{node}']");
    let text = HERE.replace("submit = '{work} > {log} 2>&1 &'", &hosts);
    site(root, "here", &format!("backend = 'cpu portable'\n{text}"));
    let (child, mut lines) = spawn(&mut driver(root, "run", "here", &[]));
    hears(&mut lines, "none of its `hosts` computes by the backend of the run");
    let (code, _, said) = ended(child, lines);
    assert_eq!(code, Some(1));
    assert!(said.contains("which compute by another backend than the run is for"), "{said}");
    // The data is the same for every backend, but only those are workers who can do all that their class does.
    assert!(artifacts(&root.join(".runner")).is_empty());
}

#[test]
fn a_login_node_of_another_backend_writes_what_the_workers_built() {
    use runner::nn::kernels::isa::Isa;
    if Isa::best() == Isa::Portable {
        crate::binary::left_out("this processor computes by nothing but portable instructions");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let (_, wanted) = alone(root);
    site(root, "here", &HERE.replace("{work} >", "env -u RUNNER_ISA {work} >"));
    good(&output(driver(root, "sweep", "here", &[]).env("RUNNER_ISA", "portable")));
    assert_same(root, "results", &wanted);
}

#[test]
fn stages_go_to_the_first_class_with_room_for_them() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let file = root.join("photos.toml");
    let pipeline = fs::read_to_string(&file).unwrap();
    let large = "[stages.net.resources]\ncpus = 2\nmemory = '1 GB'\n\n[stages.score]";
    fs::write(&file, pipeline.replace("[stages.score]", large)).unwrap();
    let (_, wanted) = alone(root);
    let small = HERE.replace("at_once = 4", "at_once = 2");
    site(
        root,
        "here",
        &format!(
            "{small}[workers.large]\ncpus = 2\nmemory = '2 GB'\nat_once = 2\ntasks = 3\nidle = '20s'\n"
        ),
    );
    good(&output(&mut driver(root, "sweep", "here", &[])));
    assert_same(root, "results", &wanted);
    for worker in of_workers(root) {
        let words = worker[0]["command"].as_array().unwrap().clone();
        let at = words.iter().position(|word| word == "--class").unwrap();
        let of_net = |name: &String| name.starts_with("net[");
        let names: Vec<String> = started(&worker).into_keys().collect();
        if words[at + 1] == "large" {
            assert!(names.iter().all(of_net) && names.len() <= 3, "{names:?}");
        } else {
            assert!(!names.iter().any(of_net), "{names:?}");
        }
    }
    assert_eq!(begun(root).len(), 2 + 12 * 2);
}

#[test]
fn a_stage_without_a_class_and_a_site_with_mistakes_are_errors_before_anything_is_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    site(root, "here", HERE);
    let refused = |more: &[&str]| {
        let output = output(&mut driver(root, "run", "here", more));
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
        assert!(!root.join(".runner/runs").exists());
        text(&output.stderr)
    };
    let lacks = refused(&["--set", "stages.net.resources.gpus=9"]);
    assert!(
        lacks
            .contains("no class of workers has room for stage `net`: `cpu` has gpus = 0 and not 9"),
        "{lacks}"
    );
    for (wrong, message) in [
        ("engine = 'slrm'\n[workers.cpu]\n", "`slrm` is no kind of queue"),
        ("engine = 'slurm'\n", "a site has at least one class of workers"),
        (
            "engine = 'slurm'\n[workers.cpu]\ntime = '2 hours'\n",
            "`workers.cpu.time` must be a number with `s`, `m`, `h` or `d`",
        ),
        ("engine = 'slurm'\n[workers.cpu]\ncpu = 2\n", "unknown key `workers.cpu.cpu`"),
        ("engine = 'slurm'\n[workers.'a b']\n", "`a b` is not a name for a class of workers"),
        ("engine = 'command'\nsubmit = 'true'\n[workers.cpu]\n", "`submit` starts no worker"),
        (
            "engine = 'command'\nsubmit = '{works}'\n[workers.cpu]\n",
            "nothing is called `{works}` in `submit`",
        ),
        (
            "engine = 'command'\nsubmit = 'ssh {host} {work}'\n[workers.cpu]\n",
            "there are no hosts for `{host}`",
        ),
        ("engine = ", "here.toml"),
        (
            "engine = 'slurm'\n[workers.cpu]\noptions = [\"--qos=a\\nrm x\"]\n",
            "an option has a line break",
        ),
        (
            "engine = 'slurm'\n[workers.cpu]\noptions = ['--qos=a', '--job-name=mine']\n",
            "`--job-name` is set by runner, which finds its workers by it: leave it out",
        ),
        (
            "engine = 'slurm'\n[workers.cpu]\noptions = ['--clusters=east']\n",
            "set `SLURM_CLUSTERS` in the environment",
        ),
        ("engine = 'slurm'\n[workers.cpu]\ntime = '0s'\n", "and more than 0"),
        (
            "engine = 'command'\nsubmit = '{work} {Lives}'\n[workers.cpu]\n",
            "nothing is called `{Lives}` in `submit`",
        ),
        (
            "engine = 'command'\nsubmit = '{work}'\n[workers.cpu]\noptions = ['-q long']\n",
            "put `{options}` into `submit`, or leave out `options`",
        ),
        (
            "engine = 'command'\nsubmit = '{work}'\nhosts = ['a']\n[workers.cpu]\n",
            "put `{host}` where the name of a machine goes, or leave out `hosts`",
        ),
        ("backend = 'cpu avx9'\nengine = 'slurm'\n[workers.cpu]\n", "here.toml"),
    ] {
        site(root, "here", wrong);
        let said = refused(&[]);
        assert!(said.contains(message), "{wrong}: {said}");
    }
    let unknown = output(&mut driver(root, "run", "nowhere", &[]));
    assert_eq!(unknown.status.code(), Some(2));
    let said = text(&unknown.stderr);
    assert!(said.contains(".runner/nowhere.toml`") && said.contains("docs/clusters.md"), "{said}");
    let near = output(&mut driver(root, "run", "slrum", &[]));
    assert!(text(&near.stderr).contains("did you mean `slurm`?"), "{}", text(&near.stderr));
    site(root, "here", HERE);
    good(&runner(root, &["plan", "photos.toml", "--on", "here.toml"]));
    // Before any worker could find it out.
    fs::write(root.join("results"), "a file\n").unwrap();
    refused_with(root, "results");
}

/// That a run whose results cannot be written asks for nothing.
fn refused_with(root: &Path, word: &str) {
    let refused = output(&mut driver(root, "run", "here", &[]));
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains(word), "{}", text(&refused.stderr));
    assert!(!root.join(".runner/runs").exists());
}

#[test]
fn plan_shows_what_would_be_typed_and_asks_for_nothing() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let plan = |more: &[&str]| {
        let output = runner(root, &[&["plan", "photos.toml", "--sweep"], more].concat());
        good(&output);
        text(&output.stdout)
    };
    let slurm = plan(&["--on", "slurm"]);
    for line in [
        "class `cpu`: 26 stages, 12 of them side by side\n",
        "class `gpu`: 0 stages, 0 of them side by side\n",
        "sbatch --parsable <<'EOF'\n#!/bin/bash\n#SBATCH --job-name=runner-",
        "-cpu\n#SBATCH --array=1-64%8\n",
    ] {
        assert!(slurm.contains(line), "{line}: {slurm}");
    }
    site(root, "here", HERE);
    let here = plan(&["--on", "here"]);
    assert!(here.contains("# and 3 more like it, each with a script of its own\n"), "{here}");
    assert!(here.contains(".ended' EXIT\n"), "{here}");
    let json = ["plan", "photos.toml", "--sweep", "--on", "here", "--format", "json"];
    let refused = runner(root, &json);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("leave out `--format`"));
    good(&runner(root, &json[..5]));
    assert!(!root.join(".runner/runs").exists());
}

#[test]
fn a_class_is_of_a_run_that_a_driver_began_with_a_site() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let work = |more: &[&str]| output(command(root, "work", "results", "6").args(more));
    let refused = work(&["--class", "cpu", "--idle", "0s"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains("has no classes of workers; leave out `--class`"), "{said}");
    good(&work(&[]));
    site(root, "here", HERE);
    good(&output(&mut driver(root, "sweep", "here", &[])));
    let unknown = work(&["--class", "gpu"]);
    assert_eq!(unknown.status.code(), Some(2));
    let said = text(&unknown.stderr);
    assert!(said.contains("has no class of workers `gpu`; expected one of `cpu`"), "{said}");
    good(&work(&["--class", "cpu"]));
}

/// A line that starts a worker once the file `go` is there, and none once the folder is gone.
const WAITING: &str = "{ until [ -e go ]; do [ -e photos.toml ] || exit; sleep 0.1; done; exec {work} > {log} 2>&1; } &";

/// [`HERE`] with another line.
fn with_line(line: &str) -> String {
    HERE.replace("'{work} > {log} 2>&1 &'", &format!("{line:?}"))
}

fn forget_artifacts(root: &Path) {
    fs::remove_dir_all(root.join(".runner/artifacts")).unwrap();
}

#[test]
fn workers_that_come_and_end_with_an_error_end_the_driver_with_what_they_say() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    site(root, "here", &with_line("rm -f .runner/runs/{run}/plan.toml; {work} > {log} 2>&1 &"));
    let driven = output(&mut driver(root, "run", "here", &[]));
    assert_eq!(driven.status.code(), Some(1));
    let said = text(&driven.stderr);
    assert!(said.contains("workers ended with an error") && said.contains("plan.toml"), "{said}");
}

#[test]
fn workers_that_come_and_leave_without_work_end_the_driver_with_what_they_say() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    // As those leave that find nothing to do in what they see of the store.
    let leaves = "mkdir -p .runner/runs/{run}/begun; echo idle > {log}; \
                  printf 'all stages have ended' > .runner/runs/{run}/begun/{life}; true {work}";
    site(root, "here", &with_line(leaves));
    let driven = output(&mut driver(root, "run", "here", &[]));
    assert_eq!(driven.status.code(), Some(1));
    let said = text(&driven.stderr);
    assert!(said.contains("workers came and left without having begun anything"), "{said}");
    assert!(said.contains("one said that all stages have ended"), "{said}");
    assert!(said.contains(".log ends:\n    idle"), "{said}");
}

#[test]
fn a_run_of_another_folder_is_refused_while_it_has_workers_and_begun_here_once_it_has_none() {
    let home = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| home.path().join(name));
    for root in [&first, &second] {
        fs::create_dir(root).unwrap();
        with_sweep(root, "");
        site(root, "here", HERE);
    }
    fs::rename(second.join(".runner"), home.path().join("unused")).unwrap();
    let store = ["--store", "../first/.runner"];
    let (child, lines) = long(&first);
    let (id, _) = shared(&first);
    let more = [&LONG[..], &store].concat();
    let refused = output(&mut driver(&second, "run", "here", &more));
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    let folder = fs::canonicalize(&first).unwrap();
    let stop = format!("runner stop {id} --store");
    assert!(said.contains(&format!("was begun in the folder `{}`", folder.display())), "{said}");
    assert!(said.contains("1 worker is at it") && said.contains(&stop), "{said}");
    good(&runner(&first, &["stop", &id]));
    assert_eq!(ended(child, lines).0, Some(130));
    all_gone(&first);
    // Nobody can start where the folder is no more.
    fs::rename(first.join(".runner"), second.join(".runner")).unwrap();
    fs::remove_dir_all(&first).unwrap();
    good(&output(&mut driver(&second, "run", "here", &LONG)));
    assert!(!of_workers(&second).is_empty());
}

#[test]
fn what_an_earlier_driver_asked_for_counts_until_it_is_taken_back() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    site(root, "here", &with_line("echo {life} >> asked; true {work}"));
    let sweep = || {
        let mut driver = driver(root, "sweep", "here", &[]);
        driver.env("RUNNER_PATIENCE", "1");
        spawn(&mut driver)
    };
    let asked = || fs::read_to_string(root.join("asked")).unwrap().lines().count();
    let (child, mut lines) = sweep();
    hears(&mut lines, "asked for 4 workers");
    signal(&child, "TERM");
    assert_eq!(ended(child, lines).0, Some(130));
    let (child, mut lines) = sweep();
    let late = hears(&mut lines, "were asked for and have not come");
    assert!(late.starts_with("4 workers of class `cpu`"), "{late}");
    assert_eq!(asked(), 4);
    signal(&child, "TERM");
    assert_eq!(ended(child, lines).0, Some(130));
    let typed = late.split('`').find(|it| it.starts_with("runner stop")).unwrap();
    let words: Vec<&str> = typed.split_whitespace().skip(1).collect();
    good(&runner(root, &words));
    let (child, mut lines) = sweep();
    hears(&mut lines, "asked for 4 workers");
    assert_eq!(asked(), 8);
    signal(&child, "TERM");
    assert_eq!(ended(child, lines).0, Some(130));
}

#[test]
fn workers_that_take_long_to_set_up_are_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &twelve("12e-3"));
    let setup = "setup = ['echo staging', 'until [ -e go ]; do sleep 0.1; done']\n[workers.cpu]";
    site(root, "here", &HERE.replace("[workers.cpu]", setup));
    let mut driver = driver(root, "sweep", "here", &[]);
    driver.env("RUNNER_PATIENCE", "2");
    let (child, mut lines) = spawn(&mut driver);
    hears(&mut lines, "were asked for and have not come");
    fs::write(root.join("go"), "").unwrap();
    let (code, _, said) = ended(child, lines);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn lives_that_follow_each_other_may_have_logs_of_any_name_and_end_the_driver_only_when_they_fail() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let over = root.join("over");
    let line = "(for it in $(seq {lives}); do {work} > {logs}/1_$it.out 2>&1; done; touch OVER) &";
    let line = line.replace("OVER", &over.display().to_string());
    let text_of = |more: &str| {
        let of_class = format!("lives = 8\ntasks = 1\n{more}");
        with_line(&line).replace("at_once = 4\n", &format!("at_once = 1\n{of_class}"))
    };
    site(root, "here", &text_of(""));
    good(&output(&mut driver(root, "run", "here", &[])));
    // One that is still to come would build what the next driver waits for.
    until("all lives are over", || over.exists());
    all_gone(root);
    forget_artifacts(root);
    let setup = "setup = ['echo no such module >&2', 'exit 1']\n[workers.cpu]";
    site(root, "here", &text_of("").replace("[workers.cpu]", setup));
    let driven = output(&mut driver(root, "run", "here", &[]));
    assert_eq!(driven.status.code(), Some(1));
    let said = text(&driven.stderr);
    assert!(said.contains("workers ended before they came to work"), "{said}");
    assert!(said.contains(".out ends:\n    no such module"), "{said}");
}

#[test]
fn a_machine_where_somebody_typed_a_worker_is_not_left_out_and_another_backend_begins_the_run_anew()
{
    use runner::nn::kernels::isa::Isa;
    if Isa::best() == Isa::Portable {
        crate::binary::left_out("this processor computes by nothing but portable instructions");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    site(root, "here", HERE);
    good(&output(&mut driver(root, "run", "here", &[])));
    let (id, folder) = shared(root);
    let mut work = Command::new(assert_cmd::cargo::cargo_bin("runner"));
    work.current_dir(root).args(["work", &id]).env("RUNNER_ISA", "portable");
    let refused = work.output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert!(!folder.join("excluded").exists(), "no queue has that machine");
    let said = crate::binary::text(&refused.stderr);
    let other = said.split("computes by `").nth(1).unwrap().split('`').next().unwrap();
    let of_site = with_line("RUNNER_ISA=portable {work} > {log} 2>&1 &");
    site(root, "here", &format!("backend = '{other}'\n{of_site}"));
    good(&output(&mut driver(root, "run", "here", &[])));
    assert_eq!(fs::read_to_string(folder.join("backend")).unwrap(), other);
}

#[test]
fn signals_of_the_terminal_do_not_reach_the_workers() {
    use std::os::unix::process::CommandExt as _;
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    site(root, "here", &HERE.replace("at_once = 4", "at_once = 1"));
    let mut first = driver(root, "run", "here", &LONG);
    first.process_group(0);
    let (child, mut lines) = spawn(&mut first);
    until("a worker trains", || {
        of_workers(root).iter().flatten().any(|event| event["event"] == "status")
    });
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-HUP", "--", &group]).status().unwrap().success());
    hears(&mut lines, "1 worker goes on");
    assert_eq!(ended(child, lines).0, Some(130));
    good(&output(&mut driver(root, "run", "here", &LONG)));
    assert!(begun(root).values().all(|times| *times == 1), "{:?}", begun(root));
}

#[test]
fn lives_of_a_class_that_is_gone_leave_in_order() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    site(root, "here", &with_line(WAITING).replace("workers.cpu", "workers.old"));
    let (mut child, mut lines) = spawn(&mut driver(root, "run", "here", &[]));
    hears(&mut lines, "of class `old`");
    child.kill().unwrap();
    child.wait().unwrap();
    site(root, "here", &with_line(WAITING));
    let (child, mut lines) = spawn(&mut driver(root, "run", "here", &[]));
    hears(&mut lines, "of class `cpu`");
    fs::write(root.join("go"), "").unwrap();
    let (code, _, said) = ended(child, lines);
    assert_eq!(code, Some(0), "{said}");
    until("the old one has left", || {
        logs(root).iter().any(|log| log.contains("has no workers of class `old` any more"))
    });
}

#[test]
fn a_run_that_is_begun_once_more_counts_as_open_and_late_lives_leave_a_closed_one_alone() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    site(root, "here", HERE);
    good(&output(&mut driver(root, "run", "here", &[])));
    let (id, folder) = shared(root);
    assert!(folder.join("done").exists());
    let late =
        output(command(root, "work", "results", "6").args(["--class", "cpu", "--life", "a"]));
    good(&late);
    assert!(text(&late.stderr).contains("nothing is left to build"), "{}", text(&late.stderr));
    assert!(folder.join("done").exists());
    good(&output(&mut command(root, "work", "results", "6")));
    assert!(folder.join("done").exists(), "it has built nothing");
    forget_artifacts(root);
    site(root, "here", &with_line(WAITING));
    let (child, mut lines) = spawn(&mut driver(root, "run", "here", &[]));
    hears(&mut lines, "asked for");
    let status = text(&runner(root, &["status"]).stdout);
    assert!(status.contains(&format!("run {id} of photos")), "{status}");
    good(&runner(root, &["gc", "--now", "--yes"]));
    assert!(folder.join("plan.toml").exists(), "it is at work");
    fs::write(root.join("go"), "").unwrap();
    let (code, _, said) = ended(child, lines);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn stop_says_how_the_run_is_taken_up_with_the_options_of_its_newest_driver() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    for name in ["here", "there"] {
        site(root, name, &with_line(WAITING));
    }
    for (name, more) in [("here", &[][..]), ("there", &["--jobs", "2", "--fail-fast"])] {
        let (child, mut lines) = spawn(&mut driver(root, "run", name, more));
        hears(&mut lines, "asked for");
        signal(&child, "TERM");
        assert_eq!(ended(child, lines).0, Some(130));
        site(root, name, &with_line(WAITING).replace("at_once = 4", "at_once = 5"));
        good(&runner(root, &["stop", &shared(root).0, "--now"]));
    }
    let store = root.join(".runner").display().to_string();
    let stopped = runner(Path::new("/"), &["stop", &shared(root).0, "--store", &store]);
    let folder = fs::canonicalize(root).unwrap();
    let again = format!(
        "`cd {} && runner run photos.toml --on there --jobs 2 --fail-fast --threads 1` takes it up",
        folder.display()
    );
    assert!(text(&stopped.stdout).contains(&again), "{}", text(&stopped.stdout));
    // What the workers were to be told as well.
    let scripts = files(&shared(root).1.join("lives"));
    let last = scripts.iter().map(|it| fs::read_to_string(it).unwrap());
    assert!(last.into_iter().any(|it| it.contains("--jobs 2 --fail-fast --class cpu --threads 1")));
}

#[test]
fn a_driver_leaves_at_once_while_the_queue_takes_its_time() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    site(root, "here", &with_line("touch asked; sleep 50 # {work}"));
    let (child, lines) = spawn(&mut driver(root, "run", "here", &[]));
    until("the queue is asked", || root.join("asked").exists());
    let since = std::time::Instant::now();
    signal(&child, "TERM");
    assert_eq!(ended(child, lines).0, Some(130));
    assert!(since.elapsed().as_secs() < 30, "{:?}", since.elapsed());
}

#[test]
fn a_count_may_follow_a_warning_and_one_without_a_number_is_told() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, "");
    let count =
        |line: &str| HERE.replace("[workers.cpu]", &format!("count = '{line}'\n[workers.cpu]"));
    site(root, "here", &count("echo slow today; echo none for {class}"));
    let (child, mut lines) = spawn(&mut driver(root, "run", "here", &[]));
    let told = hears(&mut lines, "must be a number");
    assert!(told.contains("no more are asked for until it does"), "{told}");
    signal(&child, "TERM");
    assert_eq!(ended(child, lines).0, Some(130));
    site(root, "here", &count("echo slow today; echo 0"));
    good(&output(&mut driver(root, "run", "here", &[])));
}

/// The file of a site in the guide that has `words` in it.
fn of_the_guide(words: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clusters.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("<!-- in a site -->\n```toml\n").skip(1);
    let mut texts = blocks.map(|block| block.split("```").next().unwrap().to_owned());
    texts.find(|text| text.contains(words)).unwrap()
}

#[test]
fn the_sites_of_the_guide_for_this_machine_and_for_ssh_build_a_sweep() {
    use std::os::unix::fs::PermissionsExt as _;
    for (words, hosts) in [("nohup {work}", 0), ("ssh {host}", 2)] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        with_sweep(root, &twelve("12e-3"));
        let (_, wanted) = alone(root);
        site(root, "here", &of_the_guide(words));
        let bin = root.join("bin");
        fs::create_dir(&bin).unwrap();
        // It stays here, and notes where it would have gone.
        let ssh = "#!/bin/sh\necho \"$1\" >> \"$HOSTS\"\nshift\nexec sh -c \"$*\"\n";
        fs::write(bin.join("ssh"), ssh).unwrap();
        fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let asked = root.join("hosts");
        fs::write(&asked, "").unwrap();
        let mut driver = driver(root, "sweep", "here", &[]);
        good(&output(driver.env("PATH", path).env("HOSTS", &asked)));
        assert_same(root, "results", &wanted);
        let asked: std::collections::BTreeSet<String> =
            fs::read_to_string(asked).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(asked.len(), hosts, "{words}: {asked:?}");
    }
}

#[test]
#[ignore = "compares times, which other work on the machine moves"]
fn six_hundred_tiny_tasks_on_a_queue_take_at_most_three_times_as_long_as_here() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let rates: Vec<String> = (1..=300).map(|at| format!("{at}e-5")).collect();
    with_sweep(root, &format!("[sweep]\naxes = {{ '{LR}' = [{}] }}\n", rates.join(", ")));
    let file = root.join("photos.toml");
    let tiny = fs::read_to_string(&file).unwrap().replacen("epochs = 4", "epochs = 1", 1);
    fs::write(&file, tiny).unwrap();
    let since = std::time::Instant::now();
    let (_, wanted) = alone(root);
    let here = since.elapsed();
    site(root, "here", HERE);
    let since = std::time::Instant::now();
    good(&output(driver(root, "sweep", "here", &[]).env_remove("RUNNER_PATIENCE")));
    let there = since.elapsed();
    assert_same(root, "results", &wanted);
    assert_eq!(begun(root).len(), 602);
    println!("602 tasks: {here:.1?} here, {there:.1?} by 4 workers of a queue");
    assert!(there < here * 3, "{here:?} and {there:?}");
}
