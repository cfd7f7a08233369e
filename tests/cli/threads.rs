//! The main job in small, real digits and the real network: the same bytes at any number of
//! threads and in any store.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::binary::{contents, csvs, record, text};
use serde_json::Value;

const PIPELINE: &str = r#"
[pipeline]
name = "small"

[stages.mnist]
kind = "download"
dataset = "mnist-10k"

[stages.few]
kind = "split"
input = "mnist"
per_class = 10

[stages.mnist_m]
kind = "synthesize"
recipe = "blend"
input = "few"
background = { recipe = "dead-leaves" }

[stages.source]
kind = "normalize"
input = "few"
channels = 3
mean = "auto"
std = "auto"

[stages.target]
kind = "normalize"
input = "mnist_m"
mean = "auto"
std = "auto"

[stages.dann]
kind = "finetune"
model = { arch = "dacnn" }
train = "source.train"
method = { kind = "dann", target = "target.train" }
epochs = 2
batch_size = 48

[stages.score]
kind = "evaluate"
models = ["dann"]
on = ["source.train", "target.train"]
"#;

/// What a run with so many threads in a store of its own leaves: every metric and table, and the
/// digest of every artifact, weights included.
fn run(
    root: &Path,
    name: &str,
    threads: &str,
    command: &[&str],
) -> (Vec<(String, String)>, Vec<Value>) {
    let home = root.join(name);
    fs::create_dir(&home).unwrap();
    fs::write(home.join("small.toml"), PIPELINE).unwrap();
    let binary = assert_cmd::cargo::cargo_bin("runner");
    let words = [command, &[binary.to_str().unwrap()]].concat();
    let output = std::process::Command::new(words[0])
        .args(&words[1..])
        .current_dir(&home)
        .args(["run", "small.toml", "--quiet", "--threads", threads])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let newest = home.join("results/small/latest");
    let record = record(&newest);
    assert_eq!(record["provenance"]["threads"].to_string(), threads);
    let stages = record["trials"][0].as_array().unwrap();
    assert!(stages.iter().all(|stage| stage["state"] == "ran"), "{record:#}");
    (csvs(&newest), contents(&record))
}

#[test]
fn dann_on_digits_gives_the_same_bytes_with_1_to_4_threads_under_load_and_in_another_store() {
    let root = tempfile::tempdir().unwrap();
    let first = run(root.path(), "one", "1", &[]);
    let names: Vec<&str> = first.0.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["dann.csv", "score.csv", "scores.csv", "table.csv"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(first.1.len(), 7);
    assert!(first.1.iter().all(Value::is_string), "{:?}", first.1);
    for threads in ["2", "3"] {
        assert_eq!(run(root.path(), threads, threads, &[]), first, "{threads} threads");
    }
    // A small share of the processor, while others want all of it: threads stop anywhere.
    let busy = AtomicBool::new(true);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while busy.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let nice: &[&str] = if cfg!(unix) { &["nice", "-n", "5"] } else { &[] };
        let loaded = catch_unwind(|| run(root.path(), "four", "4", nice));
        busy.store(false, Ordering::Relaxed);
        assert_eq!(loaded.unwrap(), first, "4 threads under load");
    });
}
