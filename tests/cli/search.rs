//! Sweeps whose trials are drawn, selected and ended early, through the real binary.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::binary::{lasting, record, runner, spawn, text};
use crate::photos::photos;
use serde_json::Value;

/// The photos with their pipeline and a sweep.
fn with_sweep(root: &Path, sweep: &str) {
    photos(root);
    write(root, sweep);
}

fn write(root: &Path, sweep: &str) {
    fs::write(root.join("photos.toml"), format!("{}{sweep}", crate::photos::PIPELINE)).unwrap();
}

/// Runs the sweep, and gives how often stages began and what it left.
fn sweep(root: &Path, more: &[&str]) -> (i32, Vec<String>, PathBuf) {
    let output = runner(root, &[&["sweep", "photos.toml", "--json"], more].concat());
    let started = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        (event["event"] == "task_started").then(|| event["name"].as_str().unwrap().to_owned())
    };
    let started = text(&output.stdout).lines().filter_map(started).collect();
    let results =
        more.iter().position(|it| *it == "--results").map_or("results", |at| more[at + 1]);
    let newest = fs::canonicalize(root.join(results).join("photos/latest"));
    let newest = newest.unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    (output.status.code().unwrap(), started, newest)
}

/// The rows of `trials.csv`: number, values of the axes, state, objective, selected, reason.
fn trials(run: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(run.join("trials.csv")).unwrap();
    reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
}

const LR: &str = "stages.net.optimizer.lr";

fn halving(rates: &str) -> String {
    format!(
        "[sweep]\naxes = {{ '{LR}' = {rates} }}\nbatch = 3\n\
         [sweep.select]\nstage = 'net'\nby = 'validate.loss'\noracle = true\n\
         [sweep.halving]\nmin_epochs = 1\nfactor = 2\n"
    )
}

#[test]
fn more_trials_of_a_random_search_run_only_what_is_new() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let random = |trials: usize| {
        format!(
            "[sweep]\nsearch = 'random'\ntrials = {trials}\n\
             axes = {{ '{LR}' = {{ log_uniform = [1e-3, 1e-1] }} }}\n[table]\nrows = '{LR}'\ncolumns = 'model'\n"
        )
    };
    with_sweep(root, &random(3));
    let (code, started, first) = sweep(root, &[]);
    // Data once; net, head, adapted and score of each trial.
    assert_eq!((code, started.len()), (0, 2 + 3 * 4));
    write(root, &random(5));
    let plan = text(&runner(root, &["plan", "photos.toml", "--sweep"]).stdout);
    assert!(plan.contains("22 stages: 14 cached, 8 will run"), "{plan}");
    assert!(plan.contains("5 trials: 22 stages instead of 30; 2 shared by all trials"), "{plan}");
    assert!(plan.contains("of work, by past timings"), "{plan}");
    let (code, started, second) = sweep(root, &[]);
    assert_eq!((code, started.len()), (0, 2 * 4), "{started:?}");
    assert_eq!(trials(&first)[..], trials(&second)[..3]);
}

#[test]
fn a_value_more_of_an_axis_runs_only_its_own_trials() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let grid = |rates: &str| format!("[sweep]\naxes = {{ '{LR}' = {rates} }}\n");
    with_sweep(root, &grid("[1e-2, 1e-3]"));
    let (_, started, _) = sweep(root, &[]);
    assert_eq!(started.len(), 2 + 2 * 4);
    write(root, &grid("[2e-2, 1e-2, 1e-3]"));
    let (_, started, run) = sweep(root, &[]);
    assert_eq!(started, ["net[000]", "head[000]", "adapted[000]", "score[000]"]);
    assert_eq!(trials(&run).len(), 3);
}

#[test]
fn halving_ends_trials_early_and_what_goes_on_does_so_from_its_checkpoint_to_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &halving("[1e-5, 1e-2, 3e-5, 2e-2]"));
    let (code, _, run) = sweep(root, &["--jobs", "1"]);
    assert_eq!(code, 0);
    let rows = trials(&run);
    let states: Vec<&str> = rows.iter().map(|row| row[2].as_str()).collect();
    assert_eq!(states.iter().filter(|state| **state == "done").count(), 1, "{rows:?}");
    let best = states.iter().position(|state| *state == "done").unwrap();
    assert!(best == 1 || best == 3, "a rate that learns nothing cannot win: {rows:?}");
    assert_eq!(rows[best][4], "true");
    assert!(rows[0][5].starts_with("after epoch 1 of 4: place "), "{rows:?}");
    let log = fs::read_to_string(run.join(format!("logs/net.{best:03}.log"))).unwrap();
    assert!(log.contains("goes on from a checkpoint: epoch 2 of 4"), "{log}");
    let curve = |trial: usize| {
        let csv = fs::read_to_string(run.join(format!("trials/{trial:03}/net.csv"))).unwrap();
        csv.lines().filter(|line| line.contains(",validate,loss,")).count()
    };
    assert_eq!((curve(0), curve(best)), (1, 4), "what was learned up to the end is kept");

    let again = sweep(root, &[]);
    assert_eq!((again.0, again.1.iter().filter(|it| !it.starts_with("net")).count()), (0, 0));
    assert_eq!(again.2, run, "nothing is left to do");
    let (_, _, other) =
        sweep(root, &["--jobs", "2", "--store", "other", "--results", "other-results"]);
    assert_eq!(lasting(&run), lasting(&other), "two at a time, in another store");

    let rate = format!("{LR}={}", rows[best][1]);
    let whole =
        ["run", "photos.toml", "--set", &rate, "--store", "whole", "--results", "whole-results"];
    assert!(runner(root, &whole).status.success());
    let content = |run: &Path, trial: usize| {
        let stages = record(run)["trials"][trial].as_array().unwrap().clone();
        stages.iter().map(|stage| stage["content"].clone()).collect::<Vec<_>>()
    };
    let unbroken = fs::canonicalize(root.join("whole-results/photos/latest")).unwrap();
    assert_eq!(content(&run, best), content(&unbroken, 0));
    assert_eq!(text(&runner(root, &["verify", run.to_str().unwrap()]).stderr), "");
}

#[test]
fn a_search_by_results_repeats_to_the_same_trials_and_its_record_can_be_verified_and_reproduced() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let tpe = format!(
        "[sweep]\nsearch = 'tpe'\ntrials = 6\nstartup = 2\nbatch = 2\n\
         axes = {{ '{LR}' = {{ log_uniform = [1e-4, 1e-1] }}, 'pipeline.seed' = [0, 1] }}\n\
         [sweep.select]\nstage = 'net'\nby = 'validate.loss'\noracle = true\n\
         [table]\nrows = '{LR}'\ncolumns = 'model'\nover = 'pipeline.seed'\n"
    );
    with_sweep(root, &tpe);
    let plan = text(&runner(root, &["plan", "photos.toml", "--sweep"]).stdout);
    assert!(plan.contains("8 trials more will be decided on by results"), "{plan}");
    let (code, _, first) = sweep(root, &["--jobs", "2"]);
    assert_eq!(code, 0);
    let rows = trials(&first);
    assert_eq!(rows.len(), 12);
    assert_eq!(rows.iter().filter(|row| row[5] == "true").count(), 2, "one rate, both seeds");
    let (_, _, second) = sweep(root, &["--store", "b", "--results", "b-results"]);
    assert_eq!(lasting(&first), lasting(&second));
    let verified = runner(root, &["verify", first.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", text(&verified.stdout));
    let reproduced = runner(root, &["reproduce", first.to_str().unwrap()]);
    assert!(reproduced.status.success(), "{}", text(&reproduced.stdout));
}

#[test]
fn a_failed_trial_is_kept_apart_and_tried_again_only_when_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &format!("[sweep]\naxes = {{ '{LR}' = [1e-2, 1e30] }}\n"));
    let (code, started, run) = sweep(root, &[]);
    assert_eq!((code, started.len()), (1, 2 + 4 + 1), "{started:?}");
    let states: Vec<String> = trials(&run).iter().map(|row| row[2].clone()).collect();
    assert_eq!(states, ["done", "failed"]);
    assert!(trials(&run)[1][5].starts_with("net: "), "{:?}", trials(&run));
    let (code, started, again) = sweep(root, &[]);
    assert_eq!((code, started.len()), (1, 0), "{started:?}");
    assert_eq!(trials(&again), trials(&run));
    let said = text(&runner(root, &["sweep", "photos.toml"]).stderr);
    assert!(said.contains("the same command with `--retry-failed` tries it again"), "{said}");
    let (_, started, _) = sweep(root, &["--retry-failed"]);
    assert_eq!(started, ["net[001]"]);
}

#[test]
fn a_trial_that_failed_in_one_round_stays_failed_in_those_after_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &halving("[1e30, 1e-2, 3e-5, 2e-2, 1e-4]"));
    let (code, _, run) = sweep(root, &[]);
    let rows = trials(&run);
    assert_eq!((code, rows[0][2].as_str()), (1, "failed"), "{rows:?}");
    assert!(rows[0][5].contains("not finite"), "{rows:?}");
    assert_eq!(record(&run)["trials"][0][2]["state"], "failed");
    let (code, started, again) = sweep(root, &[]);
    assert_eq!((code, started.contains(&"net[000]".to_owned())), (1, false), "{started:?}");
    assert_eq!(trials(&again), rows);
    let (_, started, _) = sweep(root, &["--retry-failed"]);
    assert!(started.contains(&"net[000]".to_owned()), "{started:?}");
}

#[test]
fn what_the_store_has_of_trials_that_end_early_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let rates = "[1e-5, 1e-2, 3e-5, 2e-2]";
    with_sweep(root, &halving(rates));
    let (_, _, fresh) = sweep(root, &["--store", "fresh", "--results", "fresh-results"]);
    write(root, &format!("[sweep]\naxes = {{ '{LR}' = {rates} }}\n"));
    sweep(root, &[]);
    write(root, &halving(rates));
    let (_, started, full) = sweep(root, &[]);
    assert_eq!(started, [""; 0], "all of it is in the store");
    assert_eq!(lasting(&full), lasting(&fresh));
    let verified = runner(root, &["verify", full.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", text(&verified.stdout));
    let rows = fs::read_to_string(full.join("trials.csv")).unwrap();
    fs::write(full.join("trials.csv"), rows.replace("true", "false")).unwrap();
    let verified = text(&runner(root, &["verify", full.to_str().unwrap()]).stdout);
    assert!(verified.contains("trials.csv is not what the run wrote"), "{verified}");
}

#[test]
fn another_goal_selects_anew_though_nothing_is_left_to_run() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let by = |mode: &str| {
        format!(
            "[sweep]\naxes = {{ '{LR}' = [1e-5, 1e-2] }}\n\
             [sweep.select]\nstage = 'net'\nby = 'validate.loss'\nmode = '{mode}'\noracle = true\n"
        )
    };
    with_sweep(root, &by("min"));
    let selected =
        |run: &Path| trials(run).into_iter().map(|row| row[4].clone()).collect::<Vec<_>>();
    let (_, _, run) = sweep(root, &[]);
    assert_eq!(selected(&run), ["false", "true"]);
    write(root, &by("max"));
    let (_, started, run) = sweep(root, &[]);
    assert_eq!((started.len(), selected(&run)), (0, vec!["true".into(), "false".into()]));
}

#[test]
fn a_goal_that_no_stage_measures_is_an_error_and_what_was_done_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(
        root,
        &format!(
            "[sweep]\naxes = {{ '{LR}' = [1e-3, 1e-2] }}\n\
             [sweep.select]\nstage = 'net'\nby = 'train.loss'\n[sweep.halving]\n"
        ),
    );
    let output = runner(root, &["sweep", "photos.toml"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("stage `net` gave no such number"), "{said}");
    assert!(root.join("results/photos/latest/trials.csv").exists());
}

#[test]
fn fail_fast_begins_no_round_after_a_failure() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &halving("[1e30, 1e-2, 3e-5, 2e-2, 1e-4]"));
    let (code, started, _) = sweep(root, &["--fail-fast"]);
    assert_eq!(code, 1);
    assert_eq!(started.last().map(String::as_str), Some("net[000]"), "{started:?}");
}

#[test]
#[cfg(unix)]
fn a_sweep_that_is_killed_goes_on_to_the_bytes_of_an_unbroken_one() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    with_sweep(root, &halving("[1e-5, 1e-2, 3e-5, 2e-2, 5e-3]"));
    let (_, _, unbroken) = sweep(root, &["--store", "whole", "--results", "whole-results"]);
    // By what it says, not by the clock: no machine is too fast or too slow for that.
    let mut kills = 0;
    loop {
        let command = ["sweep", "photos.toml", "--json", "--jobs", "2"];
        let mut child = spawn(root, &command, Stdio::piped(), Stdio::null());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.map_while(Result::ok).take(3 + 2 * kills).for_each(drop);
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        kills += 1;
    }
    assert!(kills > 2, "killed {kills} times");
    let newest = fs::canonicalize(root.join("results/photos/latest")).unwrap();
    assert_eq!(lasting(&newest), lasting(&unbroken));
}
