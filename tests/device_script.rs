//! `benches/device.sh` and `benches/gpu.sh` refuse where nothing can be run, say why, and count what fails: tried without a GPU,
//! with stand-ins for their two programs.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Nothing could be run here.
const REFUSED: i32 = 75;

fn device_sh(programs: &Path) -> Output {
    run("benches/device.sh", programs)
}

fn run(script: &str, programs: &Path) -> Output {
    Command::new("bash")
        .args([script, "run"])
        .env("PROGRAMS", programs)
        .env("OUT", programs.join("out"))
        .output()
        .expect("bash runs")
}

/// A folder with a stand-in of `runner`, and headers that are to be at a path that does not exist.
fn stand_ins() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let headers = folder.path().join("not/there");
    fs::create_dir(folder.path().join("include")).unwrap();
    fs::write(folder.path().join("header_paths"), format!("{}\n", headers.display())).unwrap();
    runner(folder.path(), "90.0");
    (folder, headers)
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A `runner` that writes a table to the folder after `--results`, of which the last digits are `digits`.
fn runner(folder: &Path, digits: &str) {
    let text = format!(
        r#"[ "$1" = devices ] && echo "auto    cuda:0" && exit
while [ $# -gt 0 ]; do [ "$1" = --results ] && results=$2; shift; done
mkdir -p "$results/dann/latest"
echo "model,target.test" > "$results/dann/latest/table.csv"
echo "dann,{digits}" >> "$results/dann/latest/table.csv"
date +%N > "$results/dann/latest/timings.csv""#
    );
    script(&folder.join("runner"), &text);
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn programs_that_were_not_built_are_named_with_the_command_that_builds_them() {
    let folder = tempfile::tempdir().unwrap();
    let output = device_sh(folder.path());
    assert_eq!(output.status.code(), Some(REFUSED));
    assert!(said(&output).contains("runner is not there"), "{}", said(&output));
    assert!(said(&output).contains("benches/device.sh build"), "{}", said(&output));
}

#[test]
fn a_gpu_that_cannot_be_opened_is_a_refusal_in_the_programs_own_words() {
    let (folder, headers) = stand_ins();
    script(&folder.path().join("device"), "echo 'error: `cuda:0` cannot be opened' >&2; exit 2");
    let output = device_sh(folder.path());
    assert_eq!(output.status.code(), Some(REFUSED));
    assert!(said(&output).contains("`cuda:0` cannot be opened"), "{}", said(&output));
    assert!(!folder.path().join("out/table.md").exists());
    assert!(!headers.parent().unwrap().exists(), "nothing stays of the links");
}

#[test]
fn a_library_that_is_not_found_is_named() {
    let (folder, _) = stand_ins();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("empty.c"), "int nothing(void) { return 0; }").unwrap();
    fs::write(at("main.c"), "int nothing(void); int main(void) { return nothing(); }").unwrap();
    let cc = |arguments: &[&str]| {
        let status = Command::new("cc").current_dir(folder.path()).args(arguments).status();
        assert!(status.expect("a C compiler").success());
    };
    for (library, words) in
        [("libcuda.so.1", "no NVIDIA driver"), ("libcublas.so.99", "libcublas.so.99")]
    {
        cc(&["-shared", "-fPIC", "-o", library, &format!("-Wl,-soname,{library}"), "empty.c"]);
        cc(&["-o", "device", "main.c", library]);
        fs::remove_file(at(library)).unwrap();
        let output = device_sh(folder.path());
        assert_eq!(output.status.code(), Some(REFUSED), "{}", said(&output));
        assert!(said(&output).contains(words), "{}", said(&output));
    }
}

#[test]
fn what_passed_and_what_failed_stand_in_the_table_and_in_the_exit_code() {
    let (folder, headers) = stand_ins();
    let device = |text: &str| script(&folder.path().join("device"), text);
    let table = || fs::read_to_string(folder.path().join("out/table.md")).unwrap();

    // The headers are there while the program runs.
    device(&format!("test -e '{}' && echo '43 passed, 0 failed'", headers.display()));
    let output = device_sh(folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(table().contains("| golden operations and steps | passed |"), "{}", table());
    assert!(table().contains("1 files equal, 0 differ"), "{}", table());
    // A machine of the tests has no GPU for PyTorch: what was left out is said.
    assert!(table().contains("| steps against PyTorch | left out |"), "{}", table());
    assert!(!headers.exists());

    device("echo 'FAILED  conv2d off'; echo '42 passed, 1 failed'; exit 1");
    let output = device_sh(folder.path());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("FAILED  conv2d off"), "{}", said(&output));
    assert!(table().contains("| golden operations and steps | FAILED |"), "{}", table());
}

#[test]
fn the_script_of_our_kernels_refuses_and_counts_likewise() {
    let (folder, _) = stand_ins();
    let device = |text: &str| script(&folder.path().join("device"), text);
    let table = || fs::read_to_string(folder.path().join("out/table.md")).unwrap();
    device("echo '101 passed, 0 failed'");
    let output = run("benches/gpu.sh", folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    for row in [
        "| golden operations and steps | passed |",
        "| the main job twice gives the same bytes | passed | 0 | 1 files equal, 0 differ |",
        "| a sweep of one epoch a stage, --jobs 8 | passed |",
        "| steps against PyTorch | left out |",
    ] {
        assert!(table().contains(row), "{row}: {}", table());
    }
    device("echo 'FAILED  conv2d off'; echo '100 passed, 1 failed'; exit 1");
    let output = run("benches/gpu.sh", folder.path());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(table().contains("golden operations and steps | FAILED (1) |"), "{}", table());
    // Other bytes at the second run are a failure here.
    device("echo '101 passed, 0 failed'");
    let text = fs::read_to_string(folder.path().join("runner")).unwrap();
    let differs = text.replace("dann,90.0", "dann,$(date +%N)");
    fs::write(folder.path().join("runner"), differs).unwrap();
    let output = run("benches/gpu.sh", folder.path());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(table().contains("| the main job twice gives the same bytes | FAILED (1) |"));

    script(&folder.path().join("runner"), "echo 'cuda    none'; echo 'auto    cpu'");
    let output = run("benches/gpu.sh", folder.path());
    assert_eq!(output.status.code(), Some(REFUSED));
    assert!(said(&output).contains("there is no GPU here that can be used"), "{}", said(&output));
}
