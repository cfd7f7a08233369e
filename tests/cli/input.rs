//! What is given on the command line: pipeline files that are pipes, arguments that are no text, readers
//! that have seen enough.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::binary::{record, runner, spawn, text};

/// Digits that a stage of every kind of verb can be asked about, and a sweep.
const PIPELINE: &str = r#"
[pipeline]
name = "Office31"

[stages.digits]
kind = "download"
dataset = "mnist-10k"

[stages.few]
kind = "split"
input = "digits"
per_class = 2

[stages.net]
kind = "pretrain"
train = "few"
model = { layers = ["flatten"] }
epochs = 1
optimizer = { kind = "sgd", lr = 0.1 }

[stages.score]
kind = "evaluate"
models = ["net"]
on = ["few.train"]
"#;

const SWEEP: &str = "
[sweep.axes]
\"stages.net.optimizer.lr\" = [0.1, 0.2]
[table]
rows = \"stages.net.optimizer.lr\"
columns = \"dataset\"
";

/// The program with `input` on its standard input.
fn fed(root: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("runner"))
        .current_dir(root)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn every_verb_that_takes_a_pipeline_takes_it_from_a_pipe() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let swept = format!("{PIPELINE}{SWEEP}");
    let succeeds = |arguments: &[&str], input: &str| {
        let output = fed(root, arguments, input);
        let said = text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        text(&output.stdout)
    };
    for pipe in ["-", "/dev/stdin"] {
        for input in [PIPELINE, &swept] {
            assert!(succeeds(&["check", pipe], input).starts_with("ok: Office31, 4 stages"));
            assert!(succeeds(&["show", pipe], input).contains("[stages.net]"));
            assert!(succeeds(&["show", pipe, "--model", "net"], input).contains("parameters"));
            assert!(succeeds(&["plan", pipe], input).contains("will run"));
            assert!(succeeds(&["plan", pipe, "--sweep"], input).contains("will run"));
            assert!(succeeds(&["explain", pipe, "net"], input).contains("net (pretrain)"));
        }
    }
    succeeds(&["run", "-", "--quiet"], PIPELINE);
    assert_eq!(record(&root.join("results/Office31/latest"))["provenance"]["file"], "-");
    succeeds(&["sweep", "-", "--quiet"], &swept);
    // The run that is the newest of the pipeline in the pipe.
    assert!(succeeds(&["table", "-"], &swept).contains("few.train"));
    assert!(succeeds(&["verify", "-"], &swept).starts_with("ok"));
    assert!(succeeds(&["report", "-"], &swept).contains("report.html"));
    assert!(succeeds(&["plot", "-"], &swept).contains("plots"));
    assert!(succeeds(&["diff", "-", "Office31"], &swept).contains("no difference"));
    succeeds(&["export", "-", "net", "weights"], &swept);
    assert!(root.join("weights/manifest.json").is_file());
    assert!(succeeds(&["reproduce", "-"], &swept).contains("reproduced"));
}

#[test]
fn a_wrong_pipeline_in_a_pipe_is_explained_by_every_verb() {
    let root = tempfile::tempdir().unwrap();
    for verb in ["check", "run", "sweep", "plan", "show", "table", "verify", "watch", "plot"] {
        let output = fed(root.path(), &[verb, "-"], &PIPELINE.replace("epochs", "epoch_count"));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{verb}: {said}");
        assert!(said.contains("--> standard input:"), "{verb}: {said}");
        assert!(said.contains("missing key `epochs`"), "{verb}: {said}");
    }
    let output = fed(root.path(), &["check", "-"], "");
    assert!(text(&output.stderr).contains("`standard input` is empty"));
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_far_too_large_for_a_pipeline_is_not_read_to_its_end() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    fs::File::create(root.join("weights.pth")).unwrap().set_len(1 << 40).unwrap();
    for endless in ["weights.pth", "/dev/zero"] {
        let output = runner(root, &["check", endless]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("it has more than 16 MB, which no pipeline has"), "{said}");
    }
    let input = fs::File::open("/dev/zero").unwrap();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("runner"));
    let output = command.args(["check", "-"]).stdin(input).output().unwrap();
    assert!(
        text(&output.stderr).contains("`standard input`: it has more than 16 MB"),
        "{output:?}"
    );
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_read_once_and_never_waited_for_again() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let made = Command::new("mkfifo").arg(root.join("pipe")).status().unwrap();
    assert!(made.success());
    for (verb, word) in [("check", "ok: Office31"), ("show", "Office31"), ("plan", "will run")] {
        let child = spawn(root, &[verb, "pipe"], Stdio::piped(), Stdio::piped());
        // Opens once the program reads; a second reading would never end.
        fs::write(root.join("pipe"), PIPELINE).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(text(&output.stdout).contains(word), "{verb}: {}", text(&output.stderr));
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_no_command_and_hides_no_verdict() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    fs::write(root.join("p.toml"), PIPELINE).unwrap();
    assert!(runner(root, &["run", "p.toml", "--quiet"]).status.success());
    let closed = |arguments: &[&str]| {
        let mut child = spawn(root, arguments, Stdio::piped(), Stdio::piped());
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (child.wait().unwrap().code(), said)
    };
    let verbs: [&[&str]; 14] = [
        &["check", "p.toml"],
        &["show", "p.toml"],
        &["plan", "p.toml"],
        &["explain", "p.toml", "net"],
        &["ls"],
        &["status"],
        &["schema"],
        &["completions", "bash"],
        &["table", "Office31"],
        &["table", "Office31", "--format", "csv"],
        &["verify"],
        &["diff", "Office31", "Office31"],
        &["plot", "Office31"],
        &["init", "new.toml", "--template", "adapt"],
    ];
    for arguments in verbs {
        assert_eq!(closed(arguments), (Some(0), String::new()), "{arguments:?}");
    }
    let score = root.join("results/Office31/latest/score.csv");
    fs::write(score, "model,dataset,metric,value\nnet,few.train,accuracy,1\n").unwrap();
    assert_eq!(closed(&["verify"]), (Some(1), String::new()), "what it found counts");
}

#[cfg(unix)]
#[test]
fn arguments_that_are_no_text_are_taken_or_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    fs::write(root.join("p.toml"), PIPELINE).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff");
    let with = |arguments: &[&std::ffi::OsStr]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("runner"));
        command.current_dir(root).args(arguments).output().unwrap()
    };
    for option in ["--results", "--store"] {
        let output = with(&["run".as_ref(), "p.toml".as_ref(), option.as_ref(), odd]);
        assert!(output.status.success(), "{option}: {}", text(&output.stderr));
        assert!(root.join(odd).is_dir(), "{option}");
        fs::remove_dir_all(root.join(odd)).unwrap();
    }
    fs::copy(root.join("p.toml"), root.join(odd)).unwrap();
    for verb in ["check", "run", "plan", "show", "table"] {
        let output = with(&[verb.as_ref(), odd]);
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let output = with(&["run".as_ref(), "p.toml".as_ref(), "--set".as_ref(), odd]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

#[cfg(unix)]
#[test]
fn a_store_and_results_that_are_links_to_nowhere_are_named_as_such() {
    for folder in [".runner", "results"] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::write(root.join("p.toml"), PIPELINE).unwrap();
        std::os::unix::fs::symlink(root.join("gone"), root.join(folder)).unwrap();
        let output = runner(root, &["run", "p.toml", "--quiet"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("`{folder}` is a link to `")), "{said}");
        assert!(said.contains("make that folder"), "{said}");
        // What it advises is enough.
        fs::create_dir(root.join("gone")).unwrap();
        assert!(runner(root, &["run", "p.toml", "--quiet"]).status.success());
    }
}

#[test]
fn a_tilde_in_a_source_is_the_users_folder() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let pipeline = "[pipeline]\nname = \"p\"\n[stages.d]\nkind = \"download\"\n\
        source = \"file:~/photos\"\nformat = \"image-folder\"\n";
    fs::write(root.join("p.toml"), pipeline).unwrap();
    crate::photos::photos(root);
    let elsewhere = root.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let run = |home: &Path, arguments: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("runner"));
        command.current_dir(&elsewhere).env("HOME", home).args(arguments).output().unwrap()
    };
    let output = run(root, &["run", "~/p.toml", "--store=~/store", "--results=~/r"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(root.join("store/artifacts").is_dir() && root.join("r/p/latest").exists());
    assert!(!elsewhere.join("~").exists());
    let output = run(&elsewhere, &["run", "../p.toml"]);
    assert!(text(&output.stderr).contains("there is no"), "{}", text(&output.stderr));
}
