//! The real binary, and what its newest run left behind: for the tests that see what a user sees.

#![allow(dead_code, reason = "not every test file uses all of it")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use assert_cmd::Command;
use serde_json::Value;

pub fn runner(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("runner").unwrap();
    command.current_dir(root).args(arguments).output().unwrap()
}

/// Starts it and does not wait for its end.
pub fn spawn(root: &Path, arguments: &[&str], stdout: Stdio, stderr: Stdio) -> Child {
    std::process::Command::new(assert_cmd::cargo::cargo_bin("runner"))
        .current_dir(root)
        .args(arguments)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Says that the test, or the rest of it, cannot run on this machine. What a passing test prints is not shown, so the
/// line also goes to the file that `RUNNER_TESTS_LEFT_OUT` names, which the gate prints at its end.
pub fn left_out(why: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {why}", thread.name().unwrap_or("a test"));
    println!("left out: {line}");
    if let Some(file) = std::env::var_os("RUNNER_TESTS_LEFT_OUT") {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

/// The script of a guide in docs/ that stands below the line which calls it `name`.
pub fn script(guide: &str, name: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(guide);
    let page = fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once(&format!("<!-- tested: {name} -->\n```bash\n")).unwrap();
    rest.split_once("```\n").unwrap().0.to_owned()
}

/// Every CSV of a run but the timings, by name.
pub fn csvs(run: &Path) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "csv"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .filter(|(name, _)| name != "timings.csv")
        .collect();
    files.sort();
    files
}

/// Every file below a folder; none where there is no folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Every file of a run's folder but times, logs and provenance, by path.
pub fn lasting(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = files(folder)
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&path).unwrap())
        })
        .filter(|(name, _)| !["timings.csv", "run.json", "report.html"].contains(&name.as_str()))
        .filter(|(name, _)| !name.starts_with("logs/"))
        .collect();
    found.sort();
    found
}

/// The record of a run.
pub fn record(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap()
}

/// The digest of every artifact of a record's first trial, weights included.
pub fn contents(record: &Value) -> Vec<Value> {
    let stages = record["trials"][0].as_array().unwrap();
    stages.iter().map(|stage| stage["content"].clone()).collect()
}
