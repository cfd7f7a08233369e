//! What lists, comparisons and results say beside numbers, and which results are those of a file: what a reader would take for
//! something else without it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::binary::{runner, text};

/// Two domains of moons that are standardised, and a network.
const MOONS: &str = r#"
[pipeline]
name = "moons"

[stages.x]
kind = "synthesize"
recipe = "two-moons"
samples = 20

[stages.y]
kind = "synthesize"
recipe = "two-moons"
samples = 20
angle = 30.0

[stages.s]
kind = "normalize"
input = "x"

[stages.t]
kind = "normalize"
input = "y"

[stages.net]
kind = "finetune"
model = { layers = [4, "relu"] }
train = "s"
method = { kind = "coral", target = "t" }
epochs = 1
batch_size = 5

[stages.score]
kind = "evaluate"
models = ["net"]
on = ["t.test"]
"#;

/// Runs a command on `moons.toml` with this text.
fn said(root: &Path, arguments: &[&str], file: &str) -> String {
    fs::write(root.join("moons.toml"), file).unwrap();
    let output = runner(root, arguments);
    let said = text(&output.stderr) + &text(&output.stdout);
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

fn latest(root: &Path) -> PathBuf {
    fs::canonicalize(root.join("results/moons/latest")).unwrap()
}

/// The headline of the newest run in `runner ls`.
fn headline(root: &Path) -> String {
    let list = text(&runner(root, &["ls"]).stdout);
    list.lines().last().unwrap().split("done   ").nth(1).unwrap_or_else(|| panic!("{list}")).into()
}

#[test]
fn ls_shows_the_table_that_the_run_has_in_its_unit_and_says_what_selected_its_trials() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let sweep = r#"
[sweep]
axes = { "stages.net.optimizer.lr" = [0.1, 0.01] }
[sweep.select]
stage = "net"
by = "train.class_loss"
mode = "min"
[[table]]
name = "by-lr"
rows = "model"
columns = "stages.net.optimizer.lr"
trials = "selected"
[[table]]
name = "loss"
rows = "model"
columns = "dataset"
value = "loss"
over = ["stages.net.optimizer.lr"]
"#;
    let file = format!("{MOONS}{sweep}");
    // A plain run has no selected trials, and so only the second table.
    said(root, &["run", "moons.toml"], &file);
    let table: Value =
        serde_json::from_slice(&fs::read(latest(root).join("table.json")).unwrap()).unwrap();
    assert_eq!(table["name"], "loss");
    let loss = table["rows"][0]["cells"][0]["mean"].as_f64().unwrap();
    assert_eq!(headline(root), format!("net: t.test {loss:.4}"));
    let by_labels = "stage = \"score\"\nby = \"accuracy\"\noracle = true";
    let by_loss = "stage = \"net\"\nby = \"train.class_loss\"\nmode = \"min\"";
    said(root, &["sweep", "moons.toml"], &file.replace(by_loss, by_labels));
    let shown = headline(root);
    assert!(shown.starts_with("net: 0.1 ") || shown.starts_with("net: 0.01 "), "{shown}");
    assert!(shown.ends_with(" % (oracle: selected by target labels)"), "{shown}");
}
