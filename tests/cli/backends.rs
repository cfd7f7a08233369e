//! Backends: which bytes depend on them, and plans for machines of another one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use runner::nn::kernels::isa::Isa;
use serde_json::Value;

use crate::binary::{files, lasting, left_out, record, text};
use crate::photos::{artifacts, photos};

/// Data that are downloaded, split and normalized, and weights that are downloaded and frozen.
const DATA: &str = r#"
[pipeline]
name = "data"

[stages.photos]
kind = "download"
source = "file:photos"
format = "image-folder"

[stages.digits]
kind = "download"
dataset = "mnist-10k"

[stages.part]
kind = "split"
input = "photos"
per_class = 5

[stages.small]
kind = "normalize"
input = "part"
resize = 9
channels = 3
mean = "auto"
std = "auto"

[stages.large]
kind = "normalize"
input = "photos"
resize = 31
channels = 1

[stages.net]
kind = "download"
source = "file:net.safetensors"
format = "weights"
model = { layers = [{ kind = "conv2d", filters = 8, kernel = 3 }, "batch_norm", "relu", "max_pool"], head = [16, "relu"], classes = 2 }
input = [3, 12, 12]

[stages.head]
kind = "freeze"
model = "net"
freeze = ["features.*"]
"#;

/// A runner that computes by `isa`, or by the best that there is.
fn command(root: &Path, isa: Option<Isa>, arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("runner"));
    command.current_dir(root).args(arguments);
    match isa {
        Some(isa) => command.env("RUNNER_ISA", isa.to_string()),
        None => command.env_remove("RUNNER_ISA"),
    };
    command
}

fn run(root: &Path, isa: Option<Isa>, arguments: &[&str]) -> Output {
    command(root, isa, arguments).output().unwrap()
}

fn done(root: &Path, isa: Option<Isa>, arguments: &[&str]) -> String {
    let output = run(root, isa, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stderr)
}

/// The instruction sets of this processor, and none for the best.
fn sets() -> Vec<Option<Isa>> {
    Isa::ALL.into_iter().filter(|isa| isa.available()).map(Some).chain([None]).collect()
}

/// The value of `key` of every stage in the newest run below `results`.
fn of_stages(root: &Path, results: &str, key: &str) -> Vec<(String, Value)> {
    let record = record(&root.join(results).join("latest"));
    let stages = record["trials"][0].as_array().unwrap();
    stages
        .iter()
        .map(|stage| (stage["name"].as_str().unwrap().to_owned(), stage[key].clone()))
        .collect()
}

/// The pipeline [`DATA`] and what it reads: photographs as PNG and as JPEG, and the weights of a trained network.
fn data(root: &Path) {
    photos(root);
    done(root, None, &["run", "photos.toml", "--store", "net"]);
    done(root, None, &["export", "photos", "net", "net-files", "--store", "net"]);
    let weights = files(&root.join("net-files"));
    let is_weights = |path: &&PathBuf| path.extension().is_some_and(|it| it == "safetensors");
    fs::copy(weights.iter().find(is_weights).unwrap(), root.join("net.safetensors")).unwrap();
    for path in files(&root.join("photos")) {
        if path.file_stem().unwrap().to_str().unwrap().ends_with(['1', '4', '7']) {
            image::open(&path).unwrap().save(path.with_extension("jpg")).unwrap();
            fs::remove_file(path).unwrap();
        }
    }
    fs::write(root.join("data.toml"), DATA).unwrap();
}

#[test]
fn data_and_frozen_weights_are_the_same_bytes_and_the_same_artifacts_by_every_instruction_set() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    data(root);
    let mut all = Vec::new();
    for isa in sets() {
        let name = isa.map_or("best".to_owned(), |isa| isa.to_string());
        done(root, isa, &["run", "data.toml", "--store", &name, "--results", &name]);
        let results = format!("{name}/data");
        let [fingerprints, contents] =
            ["fingerprint", "content"].map(|key| of_stages(root, &results, key));
        assert!(contents.iter().all(|(_, content)| content.is_string()), "{contents:?}");
        all.push((fingerprints, contents, lasting(&root.join(&results).join("latest"))));
    }
    assert!(all.len() > 1, "portable is always there");
    for other in &all[1..] {
        assert_eq!(other.0, all[0].0);
        assert_eq!(other.1, all[0].1);
        assert!(other.2 == all[0].2);
    }
    // So one store serves all of them.
    let isa = Some(Isa::Portable);
    let said = done(root, isa, &["run", "data.toml", "--store", "best", "--results", "again"]);
    assert!(said.contains("0 ran, 7 cached"), "{said}");
    assert!(text(&run(root, isa, &["explain", "data.toml", "head"]).stdout).contains("will run"));
    let best = ["explain", "data.toml", "head", "--store", "best"];
    assert!(text(&run(root, isa, &best).stdout).contains("cached"));
}

/// What machines that do without AVX compute by, as `run.json` says it.
fn portable(root: &Path) -> String {
    let record = record(&root.join("portable/photos/latest"));
    record["provenance"]["backend"].as_str().unwrap().to_owned()
}

/// The same program on an emulated processor; `None` where nothing emulates it.
fn emulated(root: &Path, processor: &str, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("qemu-x86_64");
    command.current_dir(root).args(["-cpu", processor]).env_remove("RUNNER_ISA");
    command.arg(assert_cmd::cargo::cargo_bin("runner")).args(arguments);
    match command.output() {
        Ok(output) => Some(output),
        Err(_) => {
            left_out("nothing emulates other processors here (apt-get install qemu-user)");
            None
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn an_emulated_processor_with_avx2_alone_gives_the_bytes_of_this_one_asked_for_avx2() {
    if !Isa::Avx2.available() {
        left_out("this processor has no AVX2");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let run = |name: &'static str| ["run", "photos.toml", "--store", name, "--results", name];
    let Some(there) = emulated(root, "Haswell", &run("there")) else { return };
    assert!(there.status.success(), "{}", text(&there.stderr));
    done(root, Some(Isa::Avx2), &run("here"));
    let [here, there] = ["here", "there"].map(|name| root.join(name).join("photos/latest"));
    assert_eq!(record(&there)["provenance"]["backend"], "cpu avx2");
    for key in ["fingerprint", "content"] {
        let [here, there] = ["here/photos", "there/photos"].map(|it| of_stages(root, it, key));
        assert_eq!(here, there);
    }
    assert!(lasting(&here) == lasting(&there));
    // The bytes of AVX-512 are others: so equal ones say something.
    if Isa::Avx512.available() {
        done(root, Some(Isa::Avx512), &run("best"));
        let [best, there] =
            ["best/photos", "there/photos"].map(|it| of_stages(root, it, "content"));
        assert_ne!(best, there);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn an_emulated_processor_without_avx_gives_the_bytes_of_this_one_for_data_and_frozen_weights() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    data(root);
    let run = |name: &'static str| ["run", "data.toml", "--store", name, "--results", name];
    let Some(there) = emulated(root, "core2duo", &run("there")) else { return };
    assert!(there.status.success(), "{}", text(&there.stderr));
    done(root, None, &run("here"));
    assert_eq!(record(&root.join("there/data/latest"))["provenance"]["backend"], "cpu portable");
    for key in ["fingerprint", "content"] {
        let [here, there] = ["here/data", "there/data"].map(|it| of_stages(root, it, key));
        assert_eq!(here, there, "{key}");
    }
}

#[test]
fn a_plan_for_another_backend_finds_what_it_built_and_refuses_to_build_the_rest_by_name() {
    if Isa::best() == Isa::Portable {
        left_out("this processor computes by nothing but portable instructions");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let common = ["photos.toml", "--threads", "2"];
    let node = [&["run"], &common[..], &["--results", "portable"]].concat();
    done(root, Some(Isa::Portable), &node);
    let backend = portable(root);
    let all = artifacts(&root.join(".runner")).len();

    // A login node sees it all, and writes the results.
    let login = [&["run"], &common[..], &["--results", "login", "--backend", &backend]].concat();
    let said = done(root, None, &login);
    assert!(said.contains("0 ran, 6 cached"), "{said}");
    let [here, there] = ["login", "portable"].map(|it| root.join(it).join("photos/latest"));
    assert!(lasting(&here) == lasting(&there));
    assert_eq!(record(&here)["provenance"]["backend"], record(&there)["provenance"]["backend"]);
    let plan = ["plan", "photos.toml", "--backend", &backend];
    assert!(text(&run(root, None, &plan).stdout).contains("6 cached, 0 will run"));
    let explain = ["explain", "photos.toml", "net", "--backend", &backend];
    assert!(text(&run(root, None, &explain).stdout).contains("cached"));
    // Without it the trainings are others.
    let own = text(&run(root, None, &["plan", "photos.toml"]).stdout);
    assert!(own.contains("2 cached, 4 will run"), "{own}");

    // It does not build what only a node can.
    let other = [&login[..], &["--set", "stages.net.epochs=3"]].concat();
    let refused = run(root, None, &other);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains(&format!("it is planned for `{backend}`, and this process")), "{said}");
    assert!(said.contains("2 cached, 1 failed, 3 skipped"), "{said}");
    assert!(files(&root.join(".runner/failed")).is_empty(), "it is no failure of the stage");
    assert_eq!(artifacts(&root.join(".runner")).len(), all);
    // Both ways that the message advises.
    let net = ["--set", "stages.net.epochs=3"];
    done(root, Some(Isa::Portable), &[&node[..], &net].concat());
    assert!(done(root, None, &other).contains("0 ran, 6 cached"));
    let without: Vec<&str> =
        other.iter().copied().filter(|it| ![backend.as_str(), "--backend"].contains(it)).collect();
    assert!(done(root, None, &without).contains("4 ran, 2 cached"));
}

#[test]
fn a_search_planned_for_another_backend_stops_where_it_would_have_to_build() {
    if Isa::best() == Isa::Portable {
        left_out("this processor computes by nothing but portable instructions");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let sweep = "[sweep]\nsearch = 'tpe'\ntrials = 2\nstartup = 1\nbatch = 1\n\
                 axes = { 'stages.net.optimizer.lr' = { log_uniform = [1e-4, 1e-2] } }\n\
                 [sweep.select]\nstage = 'net'\nby = 'validate.loss'\noracle = true\n";
    fs::write(root.join("photos.toml"), format!("{}{sweep}", crate::photos::PIPELINE)).unwrap();
    done(root, Some(Isa::Portable), &["run", "photos.toml", "--results", "portable"]);
    let backend = portable(root);
    let refused = run(root, None, &["sweep", "photos.toml", "--backend", &backend]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("failed in this process alone"), "{said}");
}

#[test]
fn a_backend_that_no_machine_has_is_an_error_that_names_those_there_are() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    for verb in ["run", "plan"] {
        let refused = run(root, None, &[verb, "photos.toml", "--backend", "cpu avx9"]);
        assert_eq!(refused.status.code(), Some(2));
        let said = text(&refused.stderr);
        let wanted = "`--backend 'cpu avx9'` is no backend of `device = \"cpu\"`; expected one of \
                      \"cpu avx512\", \"cpu avx2\", \"cpu portable\"";
        assert!(said.contains(wanted), "{said}");
    }
    let gpu = ["plan", "photos.toml", "--set", "pipeline.device='cuda:0'", "--backend"];
    let refused = run(root, None, &[&gpu[..], &["cuda H100"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(
        said.contains("`--backend 'cuda H100'` is no backend of `device = \"cuda:0\"`"),
        "{said}"
    );
    // The example is one that is taken.
    let example = said.split('"').find(|it| it.starts_with("cuda NVIDIA")).unwrap();
    assert!(run(root, None, &[&gpu[..], &[example]].concat()).status.success());
}

#[test]
fn a_machine_without_a_gpu_plans_for_those_that_have_one_and_says_what_it_could_not_try() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let [backend, _] = runner::nn::gpu::examples_of_arithmetic();
    let backend = format!("{backend} tf32");
    let of = |device: &str, command: &[&str]| {
        let device = format!("pipeline.device='{device}'");
        run(root, None, &[command, &["--set", &device, "--backend", &backend]].concat())
    };
    for device in ["cuda:0", "auto"] {
        let plan = of(device, &["plan", "photos.toml"]);
        let said = text(&plan.stderr);
        assert!(plan.status.success(), "{said}");
        let stages = text(&plan.stdout);
        assert!(stages.contains("cached, ") && !stages.contains(" 0 will run"), "{stages}");
        if Command::new("nvidia-smi").output().is_ok_and(|it| it.status.success()) {
            left_out("this machine has a GPU: what one without says");
            continue;
        }
        let untried = "a GPU elsewhere could not be tried out here";
        assert_eq!(said.matches(untried).count(), 1, "{said}");
        assert!(said.contains("`cuda:0` cannot be opened"), "{said}");
        let explain = text(&of(device, &["explain", "photos.toml", "net"]).stderr);
        assert!(explain.contains(untried), "{explain}");
        // What depends on no backend is built here, the rest is not.
        let refused = of(device, &["run", "photos.toml"]);
        assert_eq!(refused.status.code(), Some(1));
        let said = text(&refused.stderr);
        let by = format!("it is planned for `{backend}`, and this process computes by `no GPU`");
        assert!(said.contains(&by) && said.contains(untried), "{said}");
    }
}

#[test]
fn a_processor_with_more_that_is_asked_for_avx2_has_the_backend_of_one_with_avx2() {
    if !Isa::Avx2.available() {
        left_out("this processor has no AVX2");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    done(root, Some(Isa::Avx2), &["run", "photos.toml"]);
    assert_eq!(record(&root.join("results/photos/latest"))["provenance"]["backend"], "cpu avx2");
}
