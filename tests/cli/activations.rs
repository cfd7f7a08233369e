//! What frozen layers make of images is computed once, in memory or in a file of the store, and
//! moves no byte of any result; heads of a sweep share it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binary::{contents, csvs, record, runner, text};
use serde_json::Value;

const PIPELINE: &str = r#"
[pipeline]
name = "heads"

[stages.mnist]
kind = "download"
dataset = "mnist-10k"

[stages.few]
kind = "split"
input = "mnist"
per_class = 3

[stages.digits]
kind = "normalize"
input = "few"
channels = 3

[stages.other]
kind = "normalize"
input = "few"
channels = 3
mean = [0.2, 0.2, 0.2]

[stages.backbone]
kind = "pretrain"
model = "squeezenet1_1"
train = "digits"
epochs = 1
batch_size = 20

[stages.frozen]
kind = "freeze"
model = "backbone"
freeze = ["*"]
thaw = ["features.12.*", "classifier.*"]

[stages.tuned]
kind = "finetune"
model = "frozen"
train = "digits"
validate = "other.train"
epochs = 3
batch_size = 16
optimizer = { kind = "sgd", lr = 0.01, momentum = 0.9 }

[stages.adapted]
kind = "finetune"
model = "frozen"
train = "digits"
method = { kind = "dann", target = "other.train" }
epochs = 2
batch_size = 16

[stages.score]
kind = "evaluate"
models = ["tuned", "adapted"]
on = ["digits.train"]

[table]
rows = "model"
columns = "dataset"
over = "stages.tuned.optimizer.lr"

[sweep]
axes = { "stages.tuned.optimizer.lr" = [0.01, 0.02] }
"#;

/// A run's events on standard output.
fn run(home: &Path, verb: &str, options: &[&str]) -> Vec<Value> {
    fs::create_dir_all(home).unwrap();
    fs::write(home.join("heads.toml"), PIPELINE).unwrap();
    let output = runner(home, &[&[verb, "heads.toml", "--json"], options].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How often images went through frozen layers only.
fn computed(events: &[Value]) -> usize {
    events.iter().filter(|event| event["phase"] == "frozen layers").count()
}

/// Every metric and the digest of every artifact.
fn results(home: &Path) -> (Vec<(String, String)>, Vec<Value>) {
    let newest = home.join("results/heads/latest");
    (csvs(&newest), contents(&record(&newest)))
}

fn files(home: &Path) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir(home.join(".runner/activations")) else { return Vec::new() };
    folder.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn kept_activations_give_the_bytes_of_a_run_without_them_wherever_they_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let home = |name: &str| root.path().join(name);
    let plain = run(&home("plain"), "run", &["--no-activation-cache", "--threads", "1"]);
    assert_eq!(computed(&plain), 0);
    let memory = run(&home("memory"), "run", &["--threads", "2"]);
    // The train splits of `digits` and `other`, however often they are used.
    assert_eq!(computed(&memory), 2);
    let disk = ["--activation-memory", "0", "--threads", "3"];
    assert_eq!(computed(&run(&home("disk"), "run", &disk)), 2);
    assert_eq!(files(&home("memory")), Vec::<PathBuf>::new());
    assert_eq!(files(&home("disk")).len(), 2);
    let expected = results(&home("plain"));
    assert!(expected.1.iter().all(Value::is_string), "{:?}", expected.1);
    assert_eq!(results(&home("memory")), expected);
    assert_eq!(results(&home("disk")), expected);

    // Another head in another process: what lies in the store is used.
    let other = [&disk[..], &["--set", "stages.tuned.optimizer.momentum=0.5"]].concat();
    assert_eq!(computed(&run(&home("disk"), "run", &other)), 0);
    // A file that was cut short is no cache.
    for file in files(&home("disk")) {
        fs::write(file, "short").unwrap();
    }
    let again = [&disk[..], &["--set", "stages.tuned.optimizer.momentum=0.6"]].concat();
    assert_eq!(computed(&run(&home("disk"), "run", &again)), 2);
}

#[test]
fn damaged_activations_move_no_number_and_verify_finds_them() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path();
    let disk = ["--activation-memory", "0"];
    run(home, "run", &disk);
    let expected = results(home);
    let verified = runner(home, &["verify"]);
    assert!(text(&verified.stdout).contains("2 files of kept activations"), "{verified:?}");
    for file in files(home) {
        let mut bytes = fs::read(&file).unwrap();
        // The exponent of a value.
        let at = bytes.len() - 1;
        bytes[at] ^= 64;
        fs::write(file, bytes).unwrap();
    }
    let verified = runner(home, &["verify"]);
    assert_eq!(verified.status.code(), Some(1));
    let found = text(&verified.stdout);
    assert_eq!(found.matches("wrong: the kept activations in .runner/activations/").count(), 2);
    // As if what reads them were still to be made.
    for shard in fs::read_dir(home.join(".runner/artifacts")).unwrap() {
        for artifact in fs::read_dir(shard.unwrap().path()).unwrap() {
            let artifact = artifact.unwrap().path();
            let manifest = fs::read_to_string(artifact.join("manifest.json")).unwrap();
            if ["finetune", "evaluate"].iter().any(|it| manifest.contains(&format!("{it:?}"))) {
                fs::remove_dir_all(artifact).unwrap();
            }
        }
    }
    let events = run(home, "run", &disk);
    assert_eq!(computed(&events), 2);
    let told = |event: &&Value| event["text"].as_str().is_some_and(|it| it.contains("are damaged"));
    assert_eq!(events.iter().filter(told).count(), 2);
    assert_eq!(results(home), expected);
    assert!(runner(home, &["verify"]).status.success());
}

#[test]
fn heads_of_a_sweep_share_what_the_frozen_layers_make() {
    let root = tempfile::tempdir().unwrap();
    let events = run(root.path(), "sweep", &[]);
    assert_eq!(computed(&events), 2);
}

#[test]
fn a_store_that_takes_no_activations_costs_time_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("blocked");
    fs::create_dir_all(home.join(".runner")).unwrap();
    fs::write(home.join(".runner/activations"), "not a folder").unwrap();
    let events = run(&home, "run", &["--activation-memory", "0"]);
    let told = |event: &Value| {
        event["text"].as_str().is_some_and(|text| text.contains("cannot be written"))
    };
    assert!(events.iter().any(told), "{events:?}");
}
