//! docs/python.md as Python runs it, with what is installed: the blocks whose packages are missing are left out, and said.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::binary::{left_out, runner, text};

/// The interpreter: `RUNNER_PYTHON`, or `python3`.
fn python() -> Command {
    Command::new(std::env::var_os("RUNNER_PYTHON").unwrap_or_else(|| "python3".into()))
}

/// The first of these packages that is missing.
fn missing<'a>(packages: &[&'a str]) -> Option<&'a str> {
    let lacks = |name: &&&str| {
        let imported = python().args(["-c", &format!("import {name}")]).output();
        imported.is_ok_and(|it| !it.status.success())
    };
    packages.iter().find(lacks).copied()
}

#[test]
fn every_block_of_the_guide_runs_after_its_commands() {
    if let Err(error) = python().arg("--version").output() {
        left_out(&format!("docs/python.md: no Python: {error}"));
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/python.md");
    let page = fs::read_to_string(page).unwrap();
    let mut ran = 0;
    let short = [
        "stages.pretrained.epochs=1",
        "stages.scratch.epochs=1",
        "stages.probe.epochs=1",
        "stages.tuned.epochs=1",
    ];
    for (at, part) in page.split("```").enumerate() {
        let Some((language, block)) = part.split_once('\n').filter(|_| at % 2 == 1) else {
            continue;
        };
        if language == "sh" {
            for line in block.lines() {
                let mut words: Vec<&str> = line.split(' ').skip(1).collect();
                if words[0] == "run" {
                    words.extend(short.iter().flat_map(|it| ["--set", it]));
                }
                let output = runner(root, &words);
                assert!(output.status.success(), "{line}: {}", text(&output.stderr));
            }
        }
        if language != "python" {
            continue;
        }
        let before = page.split("```").nth(at - 1).unwrap().trim_end();
        let comment = before.rsplit('\n').next().unwrap();
        let Some(packages) = comment.strip_prefix("<!-- tested: python ") else {
            assert!(comment.starts_with("<!-- not run: "), "{comment}");
            continue;
        };
        let packages: Vec<&str> = packages.trim_end_matches(" -->").split(' ').collect();
        if let Some(missing) = missing(&packages) {
            left_out(&format!(
                "a block of docs/python.md: `{missing}` is not installed for Python"
            ));
            continue;
        }
        let output = python().args(["-c", block]).current_dir(root).output().unwrap();
        assert!(output.status.success(), "{block}{}", text(&output.stderr));
        let printed = text(&output.stdout);
        assert!(printed.lines().count() > 2, "{block}{printed}");
        ran += 1;
    }
    assert!(ran > 0 || missing(&["pandas", "safetensors"]).is_some());
}
