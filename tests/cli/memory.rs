//! Data sets need not fit into memory.

#![cfg(target_os = "linux")]

use std::fs;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;

const PIPELINE: &str = r#"
[pipeline]
name = "large"

[stages.digits]
kind = "download"
dataset = "mnist-10k"

[stages.some]
kind = "split"
input = "digits"
per_class = 250

[stages.fewer]
kind = "split"
input = "some"
from = "test"
per_class = 2

[stages.fewest]
kind = "split"
input = "fewer"
from = "valid"
per_class = 2

[stages.large]
kind = "normalize"
input = "fewest"
resize = 224
channels = 3
mean = 0.5
std = 0.5

[stages.net]
kind = "pretrain"
train = "large"
model = { layers = [{ kind = "avg_pool", kernel = 32 }] }
epochs = 1
batch_size = 50
"#;

/// 2,500 images of 224x224x3 are 376 MB. A process that held them in memory and once more to write
/// them would need twice that.
#[test]
fn images_larger_than_the_memory_are_made_and_trained_on() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("large.toml");
    fs::write(&file, PIPELINE).unwrap();
    // The mapped file of 376 MB, and 400 MB for everything else.
    const KILOBYTES: usize = 376_320 + 400_000;
    let output = Command::new("bash")
        .arg("-c")
        .arg(format!("ulimit -v {KILOBYTES} && exec \"$0\" run \"$1\" --threads 2"))
        .arg(cargo_bin("runner"))
        .arg(&file)
        .current_dir(root.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("net: done"), "{said}");
}
