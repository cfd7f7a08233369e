//! What is said of a run while it goes on, and of one that found its work done.
#![cfg(unix)]

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::binary::{record, runner, spawn, text};
use crate::photos::photos;

/// A model, its scores, and a stage behind them that ends once somebody writes into `door`; with more scores after it.
const WAITING: &str = r#"
[pipeline]
name = "going"

[stages.photos]
kind = "download"
source = "file:photos"
format = "image-folder"

[stages.images]
kind = "normalize"
input = "photos"
resize = 6
channels = 3

[stages.net]
kind = "pretrain"
train = "images"
model = { layers = ["flatten"], head = [] }
epochs = 1
batch_size = 16

[stages.score]
kind = "evaluate"
models = ["net"]
on = ["images.test"]

[stages.slow]
kind = "command"
after = ["score"]
command = "read line < DOOR && printf 'split,metric,value\ntrain,answer,42\n' > {out}/metrics.csv"
output = { kind = "metrics" }

[stages.more]
kind = "evaluate"
after = ["slow"]
models = ["net"]
on = ["images.train"]

[table]
headline = "net"
"#;

fn waiting(root: &Path) {
    photos(root);
    let door = root.join("door");
    assert!(Command::new("mkfifo").arg(&door).status().unwrap().success());
    let text = WAITING.replace("DOOR", door.to_str().unwrap());
    fs::write(root.join("going.toml"), text).unwrap();
}

/// Starts a run and waits until its stage `slow` has begun.
fn begun(root: &Path) -> (Child, BufReader<std::process::ChildStdout>) {
    begun_by(root, "run")
}

/// The same of the verb that starts it.
fn begun_by(root: &Path, verb: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = spawn(root, &[verb, "going.toml", "--json"], Stdio::piped(), Stdio::null());
    let mut events = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    loop {
        line.clear();
        assert!(events.read_line(&mut line).unwrap() > 0, "it ended before `slow` began");
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["event"] == "task_started" && event["name"] == "slow" {
            break;
        }
    }
    // The journal is written four times a second: its file says when it has this event.
    let journal = || -> Option<String> {
        let home = fs::read_dir(root.join("results/going")).ok()?;
        let is_live = |name: &OsString| name.to_string_lossy().starts_with(".live-");
        let live = home.flatten().find(|it| is_live(&it.file_name()))?;
        fs::read_to_string(live.path().join("events.ndjson")).ok()
    };
    let has_begun =
        |line: &str| line.contains("task_started") && line.contains("\"name\":\"slow\"");
    while !journal().is_some_and(|it| it.lines().any(has_begun)) {
        std::thread::yield_now();
    }
    (child, events)
}

/// Lets `slow` end, and waits for the end of the run.
fn let_end(root: &Path, mut child: Child, mut events: BufReader<std::process::ChildStdout>) {
    fs::OpenOptions::new().write(true).open(root.join("door")).unwrap().write_all(b"go\n").unwrap();
    std::io::copy(&mut events, &mut std::io::sink()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Exit code and both streams.
fn said(root: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = runner(root, arguments);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn table_and_ls_say_of_a_run_that_goes_on_what_is_there_so_far() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    waiting(root);
    let (child, events) = begun(root);
    for word in ["going", "going.toml"] {
        let (code, table) = said(root, &["table", word]);
        assert_eq!(code, Some(0), "{table}");
        assert!(table.contains("`going` is still running as "), "{table}");
        assert!(table.contains("4 of 6 stages are over"), "{table}");
        assert!(table.contains("images.test") && table.contains("not run"), "{table}");
    }
    let (_, list) = said(root, &["ls"]);
    let line = list.lines().find(|line| line.contains("running")).unwrap();
    assert!(line.contains("4 of 6 stages; so far net: images.test "), "{line}");
    assert!(line.contains(" %"), "in percent: {line}");
    let so_far = line.split("images.test ").nth(1).unwrap().to_owned();
    let_end(root, child, events);
    let (_, list) = said(root, &["ls"]);
    let line = list.lines().find(|line| line.contains("done")).unwrap();
    assert!(line.contains(&format!("images.test {so_far}")), "the same number at the end: {line}");
    let (code, table) = said(root, &["table", "going"]);
    assert!(code == Some(0) && !table.contains("still running"), "{table}");
    // The one before is a command away while the next one goes on.
    let next =
        fs::read_to_string(root.join("going.toml")).unwrap().replace("answer,42", "answer,43");
    fs::write(root.join("going.toml"), next).unwrap();
    let (child, events) = begun(root);
    let (_, now) = said(root, &["table", "going"]);
    let advised = now.split("`runner table ").nth(1).unwrap().split('`').next().unwrap();
    let (code, before) = said(root, &["table", advised]);
    assert!(code == Some(0) && before.ends_with(&table), "{now}\n{before}");
    let_end(root, child, events);
}

#[test]
fn the_table_of_a_run_that_goes_on_is_shown_from_any_folder_or_what_is_in_the_way() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    waiting(root);
    fs::create_dir(root.join("elsewhere")).unwrap();
    let (child, events) = begun(root);
    let command = ["table", "going", "--results", "../results"];
    let (code, table) = said(&root.join("elsewhere"), &command);
    assert_eq!(code, Some(0), "{table}");
    assert!(table.contains("still running") && table.contains("images.test"), "{table}");
    assert!(!table.contains("cannot be shown"), "{table}");
    // Without its files it cannot be planned again: the one before is all that there is.
    fs::rename(root.join("photos"), root.join("away")).unwrap();
    let (code, none) = said(root, &["table", "going"]);
    assert_eq!(code, Some(2), "{none}");
    assert!(none.contains("note: what there is of this run cannot be shown from here: "), "{none}");
    assert!(none.contains("there is no run of `going`") && !none.contains("pipeline-"), "{none}");
    fs::rename(root.join("away"), root.join("photos")).unwrap();
    let_end(root, child, events);
    let (_, over) = said(root, &["table", "going"]);
    let next =
        fs::read_to_string(root.join("going.toml")).unwrap().replace("answer,42", "answer,43");
    fs::write(root.join("going.toml"), next).unwrap();
    let (child, events) = begun(root);
    fs::rename(root.join("photos"), root.join("away")).unwrap();
    let (code, before) = said(root, &["table", "going"]);
    assert!(code == Some(0) && before.contains("cannot be shown from here"), "{before}");
    assert!(before.ends_with(&over) || before.starts_with(&over), "{before}\n{over}");
    fs::rename(root.join("away"), root.join("photos")).unwrap();
    let_end(root, child, events);
}

#[test]
fn a_sweep_that_draws_as_it_goes_on_says_that_more_trials_come() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    waiting(root);
    let sweep = r#"
[sweep]
search = "tpe"
trials = 4
startup = 2
batch = 2

[sweep.axes]
"stages.net.label_smoothing" = { uniform = [0.0, 0.5] }

[sweep.select]
stage = "net"
by = "train.class_loss"
mode = "min"
"#;
    let whole = fs::read_to_string(root.join("going.toml")).unwrap();
    let whole = whole.replace("headline = \"net\"", "rows = \"stages.net.label_smoothing\"");
    fs::write(root.join("going.toml"), whole + sweep).unwrap();
    let (child, events) = begun_by(root, "sweep");
    let (code, table) = said(root, &["table", "going"]);
    assert_eq!(code, Some(0), "{table}");
    let note = "note: trials that the search draws later are not shown";
    assert!(table.contains(note), "{table}");
    let_end(root, child, events);
    let (_, table) = said(root, &["table", "going"]);
    assert!(!table.contains(note), "{table}");
}

#[test]
fn a_run_without_scores_yet_says_so() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    waiting(root);
    let early = fs::read_to_string(root.join("going.toml")).unwrap();
    let early = early.replace("after = [\"score\"]", "").replace(
        "[stages.net]\nkind = \"pretrain\"",
        "[stages.net]\nkind = \"pretrain\"\nafter = [\"slow\"]",
    );
    fs::write(root.join("going.toml"), early).unwrap();
    let (child, events) = begun(root);
    let (code, table) = said(root, &["table", "going"]);
    assert_eq!(code, Some(0), "{table}");
    assert!(
        table.contains("there are no scores yet") || table.contains("does not say yet"),
        "{table}"
    );
    let_end(root, child, events);
}

#[test]
fn watching_a_run_that_nobody_knows_is_an_error() {
    let root = TempDir::new().unwrap();
    let (code, said) = said(root.path(), &["watch", "nosuch", "--port", "0"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no run and no pipeline with runs is called `nosuch`"), "{said}");
}

#[test]
fn the_report_of_a_cached_run_has_the_time_of_the_run_that_did_the_work() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    waiting(root);
    let (child, events) = begun(root);
    let_end(root, child, events);
    let first = record(&root.join("results/going/latest"));
    let seconds = |stage: usize| first["trials"][0][stage]["seconds"].as_f64().unwrap();
    // Another table makes another run of what is cached.
    let other = fs::read_to_string(root.join("going.toml")).unwrap() + "spread = \"none\"\n";
    fs::write(root.join("going.toml"), other).unwrap();
    let (code, said) = said(root, &["run", "going.toml"]);
    assert_eq!(code, Some(0), "{said}");
    let second = record(&root.join("results/going/latest"));
    for stage in 0..6 {
        let of = &second["trials"][0][stage];
        assert_eq!(of["state"], "cached", "{of}");
        let built_in = of["built_in"].as_f64().unwrap();
        assert!(built_in > 0.0 && built_in <= seconds(stage), "{built_in} of {}", seconds(stage));
        assert!(first["trials"][0][stage].get("built_in").is_none());
    }
    let page = fs::read_to_string(root.join("results/going/latest/report.html")).unwrap();
    assert!(page.contains(">Learning rate<") && !page.contains("Lambda"), "nothing has a lambda");
    let plotted = runner(root, &["plot", "going", "--out", "figures"]);
    assert!(plotted.status.success(), "{}", text(&plotted.stderr));
    let times = fs::read_to_string(root.join("figures/times.csv")).unwrap();
    let built_in = second["trials"][0][4]["built_in"].as_f64().unwrap();
    assert!(times.contains(&format!("slow,{built_in:.3}")), "{times}");
}
