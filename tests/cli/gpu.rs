//! `device = "cuda:0"` end to end, on the stand-in for a GPU that runs the same kernels on the processor.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;

use crate::binary::{contents, csvs, record, runner, text};
use crate::photos::photos;
use crate::stand_in;

/// The program on a machine with the stand-in, where that can be built.
fn program(root: &Path, arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new(cargo_bin("runner"));
    command.current_dir(root).args(arguments).env("LD_LIBRARY_PATH", stand_in::folder()?);
    Some(command)
}

fn with(root: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Option<Output> {
    Some(program(root, arguments)?.envs(settings.iter().copied()).output().unwrap())
}

/// A run of the photographs on a GPU: what it says, and the digests of its artifacts.
fn run(
    root: &Path,
    name: &str,
    sets: &[&str],
    settings: &[(&str, &str)],
) -> Option<(String, Vec<String>)> {
    let results = format!("{name}-results");
    let mut arguments = vec!["run", "photos.toml", "--store", name, "--results", &results];
    // A checkpoint waits for the GPU, and when one is due goes by the clock.
    arguments.extend(["--checkpoint-every", "100000"]);
    sets.iter().for_each(|set| arguments.extend(["--set", set]));
    let output = with(root, &arguments, settings)?;
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let run = root.join(&results).join("photos/latest");
    Some((said, contents(&record(&run)).iter().map(ToString::to_string).collect()))
}

const GPU: &str = "pipeline.device=\"cuda:0\"";
const TF32: &str = "pipeline.precision=\"tf32\"";
const FLOAT32: &str = "pipeline.precision=\"float32\"";
const BF16: &str = "pipeline.precision=\"bf16\"";
/// The code of every step runs.
const NEVER: (&str, &str) = ("RUNNER_REPEATS", "never");
/// Bytes that are enough for the photographs when a step uses its memory again and again, so that its calls wait for it.
const LITTLE_MEMORY: &str = "1200000";

/// How often the stand-in was asked for what, in a run.
fn counts(root: &Path, name: &str, sets: &[&str]) -> Option<BTreeMap<String, i64>> {
    let report = root.join(format!("{name}.report"));
    run(root, name, sets, &[("STAND_IN_REPORT", report.to_str().unwrap())])?;
    let report = fs::read_to_string(report).unwrap();
    let counts = report.lines().map(|line| {
        let (what, count) = line.split_once(' ').unwrap();
        (what.to_owned(), count.parse().unwrap())
    });
    Some(counts.collect())
}

/// The values of a metric of the training images, epoch by epoch.
fn losses(root: &Path, name: &str) -> Vec<f64> {
    let csv = fs::read_to_string(root.join(name).join("photos/latest/adapted.csv")).unwrap();
    let rows = csv.lines().filter(|line| line.contains(",train,class_loss,"));
    rows.map(|line| line.rsplit(',').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn a_gpu_trains_the_same_pipeline_and_repeats_it_byte_for_byte_in_any_order_of_threads_and_nodes() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let Some((said, first)) = run(root, "first", &[GPU], &[]) else { return };
    assert!(said.contains("0 failed"), "{said}");
    let cpu = ["run", "photos.toml", "--store", "cpu", "--results", "cpu-results"];
    assert!(runner(root, &cpu).status.success());
    let (ours, theirs) = (losses(root, "first-results"), losses(root, "cpu-results"));
    assert_eq!((ours.len(), theirs.len()), (2, 2));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!((ours - theirs).abs() < 1e-3 + 0.05 * theirs, "{ours} and {theirs}");
    }
    let record = fs::read_to_string(root.join("first-results/photos/latest/run.json")).unwrap();
    assert!(record.contains("\"device\": \"cuda:0\""), "{record}");
    assert!(record.contains("\"cuda stand-in sm_90 "), "{record}");
    for (order, copies, nodes, memory) in [
        ("1", "at-once", "last", LITTLE_MEMORY),
        ("2", "late", "random:1", "16000000000"),
        ("3", "late", "random:2", LITTLE_MEMORY),
    ] {
        let settings = [
            ("SHIM_ORDER", order),
            ("SHIM_COPIES", copies),
            ("STAND_IN_GRAPH_ORDER", nodes),
            ("STAND_IN_MEMORY", memory),
        ];
        let again = run(root, order, &[GPU], &settings).unwrap().1;
        assert_eq!(again, first, "order {order}, nodes {nodes}");
    }
    let one_by_one = run(root, "one-by-one", &[GPU], &[("STAND_IN_GRAPHS", "0")]).unwrap().1;
    assert_eq!(one_by_one, first, "without graphs");
    for repeats in [NEVER, ("RUNNER_REPEATS", "checked")] {
        assert_eq!(run(root, repeats.1, &[GPU], &[repeats]).unwrap().1, first, "{repeats:?}");
    }
    let arguments = ["run", "photos.toml", "--store", "no-word", "--set", GPU];
    let said = text(&with(root, &arguments, &[("RUNNER_REPEATS", "often")]).unwrap().stderr);
    assert!(said.contains("RUNNER_REPEATS is `often`, which is neither `never` nor"), "{said}");
    // In one store the two precisions are told apart, and a GPU of another model.
    let precise = "pipeline.precision=\"float32\"";
    assert_ne!(run(root, "first", &[GPU, precise], &[]).unwrap().1, first);
    let other = run(root, "first", &[GPU], &[("STAND_IN_NAME", "another one")]).unwrap().0;
    // Data serve every GPU, and so do weights that are frozen, as the stand-in computes the same whatever its name.
    assert!(other.contains("3 ran, 3 cached"), "{other}");
    let cached = run(root, "first", &[GPU], &[]).unwrap().0;
    assert!(cached.contains("0 ran, 6 cached"), "{cached}");
}

#[test]
fn a_gpu_trains_in_bf16_and_repeats_it_byte_for_byte_in_any_order_of_threads_and_nodes() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let sets = [GPU, BF16];
    let Some((said, first)) = run(root, "first", &sets, &[]) else { return };
    assert!(said.contains("0 failed"), "{said}");
    run(root, "precise", &[GPU, "pipeline.precision=\"float32\""], &[]).unwrap();
    let (ours, precise) = (losses(root, "first-results"), losses(root, "precise-results"));
    assert_eq!((ours.len(), precise.len()), (2, 2));
    // Losses are near the precise ones, and not the same: their factors are rounded.
    for (ours, precise) in ours.iter().zip(&precise) {
        let off = (ours - precise).abs();
        assert!(off > 0.0 && off < 1e-3 + 0.05 * precise, "{ours} and {precise}");
    }
    let record = fs::read_to_string(root.join("first-results/photos/latest/run.json")).unwrap();
    assert!(record.contains("\"cuda stand-in sm_90 ") && record.contains(" bf16\""), "{record}");
    for (name, settings) in [
        (
            "late",
            [
                ("SHIM_ORDER", "1"),
                ("SHIM_COPIES", "late"),
                ("STAND_IN_GRAPH_ORDER", "last"),
                ("STAND_IN_MEMORY", LITTLE_MEMORY),
            ],
        ),
        (
            "random",
            [
                ("SHIM_ORDER", "2"),
                ("SHIM_COPIES", "at-once"),
                ("STAND_IN_GRAPH_ORDER", "random:1"),
                ("STAND_IN_MEMORY", "16000000000"),
            ],
        ),
    ] {
        assert_eq!(run(root, name, &sets, &settings).unwrap().1, first, "{name}");
    }
    let one_by_one = run(root, "one-by-one", &sets, &[("STAND_IN_GRAPHS", "0")]).unwrap().1;
    assert_eq!(one_by_one, first, "without graphs");
    // A GPU without warpgroups has other kernels.
    let older = run(root, "older", &sets, &[("STAND_IN_OLDER", "0")]).unwrap().1;
    assert_eq!(older.len(), first.len());
    let again = run(root, "older-again", &sets, &[("STAND_IN_OLDER", "0"), ("SHIM_ORDER", "3")]);
    assert_eq!(again.unwrap().1, older);
    // In one store the precisions are told apart, but for data, which serve both.
    let tf32 = run(root, "first", &[GPU], &[]).unwrap();
    assert!(tf32.0.contains("4 ran, 2 cached"), "{}", tf32.0);
    assert_ne!(tf32.1, first);
    let cached = run(root, "first", &sets, &[]).unwrap().0;
    assert!(cached.contains("0 ran, 6 cached"), "{cached}");
}

#[test]
fn steps_of_other_methods_give_the_same_bytes_as_graphs_in_any_order_and_call_by_call() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    for method in ["mcd", "adamatch", "can"] {
        let method =
            format!("stages.adapted.method={{ kind = \"{method}\", target = \"images.test\" }}");
        let sets = [GPU, &method, "stages.net.epochs=1", "stages.adapted.steps_per_epoch=6"];
        let of = |settings: &[(&str, &str)]| {
            // Nothing of another order may be taken from the store.
            let store = tempfile::tempdir_in(root).unwrap();
            let name = store.path().file_name().unwrap().to_str().unwrap();
            Some(run(root, name, &sets, settings)?.1)
        };
        let Some(one_by_one) = of(&[("STAND_IN_GRAPHS", "0")]) else { return };
        for order in ["given", "last", "random:3"] {
            for memory in [LITTLE_MEMORY, "16000000000"] {
                let settings = [("STAND_IN_GRAPH_ORDER", order), ("STAND_IN_MEMORY", memory)];
                assert_eq!(of(&settings).unwrap(), one_by_one, "{method}, {order}, {memory}");
            }
        }
    }
}

#[test]
fn steps_are_replayed_as_a_whole_and_nothing_waits_for_the_gpu_within_an_epoch() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let of = |name: &str, steps: u64| {
        let steps = format!("stages.adapted.steps_per_epoch={steps}");
        // Whether an epoch ends with a checkpoint, which waits for the GPU, goes by the clock from the second on.
        let epochs = ["stages.net.epochs=1", "stages.adapted.epochs=1"];
        counts(root, name, &[&[GPU, &steps][..], &epochs].concat())
    };
    let Some(few) = of("few", 40) else { return };
    let many = of("many", 140).unwrap();
    let more = |what: &str| many.get(what).unwrap_or(&0) - few.get(what).unwrap_or(&0);
    // A step has 68 calls, and is handed over in two lists.
    assert_eq!(more("graph_launches"), 200, "two for each step: {few:?} {many:?}");
    for what in ["launches", "instantiations", "allocations"] {
        assert_eq!(more(what), 0, "{what}: {few:?} {many:?}");
    }
    for what in ["synchronisations", "downloads"] {
        assert_eq!(more(what), 0, "{what}: {few:?} {many:?}");
    }
    assert_eq!(more("uploads"), 200, "two for each step: {few:?} {many:?}");
    // What needs nothing of each other is side by side.
    let (nodes, paths) = (more("replayed_nodes"), more("replayed_paths"));
    assert!(2 * nodes > 5 * paths, "{nodes} calls, {paths} of them one after the other");
}

#[test]
fn a_step_sends_places_labels_and_what_was_drawn_for_changes_and_no_images_but_mixed_ones() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let per_step = |name: &str, stage: &str, sets: &[&str]| {
        let of = |steps: i64| {
            let steps_set = format!("stages.{stage}.steps_per_epoch={steps}");
            let epochs = ["stages.net.epochs=1", "stages.adapted.epochs=1"];
            let sets = [&[GPU, &steps_set][..], &epochs, sets].concat();
            Some(counts(root, &format!("{name}{steps}"), &sets)?["uploaded_bytes"])
        };
        Some((of(70)? - of(10)?) / 60)
    };
    // Images of 12 by 12 pixels with 3 channels, 16 of them in most batches and 8 in every third: 5760 bytes.
    let Some(plain) = per_step("plain", "net", &[]) else { return };
    assert!(plain < 600, "{plain} bytes");
    // Seven numbers for each image that is flipped.
    let augmented = per_step("flipped", "net", &["stages.net.augment=[\"flip\"]"]).unwrap();
    assert!((plain + 300..plain + 500).contains(&augmented), "{augmented} bytes, not {plain}");
    // Images that are mixed go up as numbers.
    let mixed = per_step("mixed", "net", &["stages.net.augment=[\"mixup\"]"]).unwrap();
    assert!(mixed > 4 * 5760, "{mixed} bytes");
    // The output of frozen layers has 200 numbers for each of 16 target images and as many labelled ones: 23467 bytes.
    let frozen = per_step("frozen", "adapted", &[]).unwrap();
    assert!(frozen < 1000, "{frozen} bytes");
}

/// Of images that stay on the GPU; the bytes of every change are compared with the host's in `tests/goldens/augment.rs`.
#[test]
fn crops_of_another_size_and_the_middle_of_whole_images_are_taken_on_a_gpu_as_on_the_processor() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let crops = [
        "stages.net.augment=[{ kind = \"resized_crop\", size = 10 }, \"flip\"]",
        "stages.adapted.augment=[{ kind = \"random_crop\", size = 10 }, \"strong\"]",
    ];
    // Rounded as on the processor: a few steps on such small images go far apart otherwise.
    let sets = [&[GPU, FLOAT32][..], &crops].concat();
    let Some((said, first)) = run(root, "first", &sets, &[]) else { return };
    assert!(said.contains("the middle 10x10 of images of 12x12"), "{said}");
    let host = ["run", "photos.toml", "--store", "cpu", "--results", "cpu-results"];
    let host = [&host[..], &["--set", crops[0], "--set", crops[1]]].concat();
    assert!(runner(root, &host).status.success());
    let (ours, theirs) = (losses(root, "first-results"), losses(root, "cpu-results"));
    assert_eq!((ours.len(), theirs.len()), (2, 2));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!((ours - theirs).abs() < 1e-3 + 0.05 * theirs, "{ours} and {theirs}");
    }
    for (name, settings) in [
        ("order", [("SHIM_ORDER", "2"), ("STAND_IN_GRAPH_ORDER", "random:1")]),
        ("code", [NEVER, ("SHIM_COPIES", "late")]),
        ("calls", [("STAND_IN_GRAPHS", "0"), ("RUNNER_REPEATS", "checked")]),
    ] {
        assert_eq!(run(root, name, &sets, &settings).unwrap().1, first, "{name}");
    }
    // Steps are repeated as ever: they wait for nothing and ask for no memory.
    let of = |name: &str, steps: i64| {
        let steps = format!("stages.net.steps_per_epoch={steps}");
        let few = ["stages.net.epochs=1", "stages.adapted.epochs=1"];
        counts(root, name, &[&sets[..], &[&steps], &few].concat()).unwrap()
    };
    let (few, many) = (of("few", 40), of("many", 100));
    for what in ["launches", "allocations", "synchronisations"] {
        assert_eq!(many.get(what), few.get(what), "{what}: {few:?} {many:?}");
    }
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no fail points")]
fn a_training_that_was_killed_on_a_gpu_goes_on_to_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let train = |name: &str, precision: &str| {
        let results = format!("{name}-results");
        let mut arguments = vec!["run", "photos.toml", "--checkpoint-every", "0", "--store", name];
        arguments.extend(["--results", &results, "--set", GPU, "--set", precision]);
        arguments.extend(["--set", "stages.adapted.epochs=5", "--set", "stages.net.batch_size=8"]);
        program(root, &arguments)
    };
    let unbroken = |name: &str, precision| {
        let mut whole = train(name, precision)?;
        assert!(whole.envs([NEVER]).output().unwrap().status.success());
        Some(csvs(&root.join(format!("{name}-results/photos/latest"))))
    };
    let Some(whole) = unbroken("whole", TF32) else { return };
    let halved = unbroken("halved", BF16).unwrap();
    // In the first training after some steps and after an epoch, and in the second.
    for (precision, checkpoint) in
        [(TF32, "3"), (TF32, "7"), (TF32, "23"), (BF16, "7"), (BF16, "23")]
    {
        let name = format!("cut-{}-{checkpoint}", precision.contains("bf16"));
        let point = format!("old checkpoints removed:{checkpoint}");
        let mut broken = train(&name, precision).unwrap();
        let broken = broken.env("RUNNER_FAIL_POINT", point).output().unwrap();
        assert_eq!(broken.status.code(), None, "killed: {}", text(&broken.stderr));
        let output = train(&name, precision).unwrap().output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let run = root.join(format!("{name}-results/photos/latest"));
        let logs = ["net", "adapted"].map(|stage| run.join(format!("logs/{stage}.log")));
        let logs = logs.map(|log| fs::read_to_string(log).unwrap_or_default()).concat();
        assert!(logs.contains("goes on from a checkpoint"), "{precision}, {checkpoint}: {logs}");
        let whole = if precision == TF32 { &whole } else { &halved };
        assert_eq!(csvs(&run), *whole, "{precision}, {checkpoint}");
    }
}

#[test]
fn trials_on_one_gpu_at_a_time_or_side_by_side_give_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let sweep = "\n[sweep.axes]\n\"pipeline.seed\" = [0, 1, 2, 3]\n";
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap();
    fs::write(root.join("photos.toml"), pipeline + sweep).unwrap();
    let of = |jobs: &str, precision: &str, settings: &[(&str, &str)]| {
        let store = tempfile::tempdir_in(root).unwrap().keep();
        let name = store.file_name().unwrap().to_str().unwrap().to_owned();
        let results = format!("{name}-results");
        let arguments = [
            "sweep",
            "photos.toml",
            "--jobs",
            jobs,
            "--store",
            &name,
            "--results",
            &results,
            "--set",
            GPU,
            "--set",
            precision,
        ];
        let output = with(root, &arguments, settings)?;
        assert!(output.status.success(), "{}", text(&output.stderr));
        Some(contents(&record(&root.join(results).join("photos/latest"))))
    };
    for precision in [TF32, BF16] {
        let Some(alone) = of("1", precision, &[NEVER]) else { return };
        assert_eq!(of("3", precision, &[]).unwrap(), alone, "{precision}");
    }
}

#[test]
fn a_gpu_that_cannot_be_had_is_an_error_that_says_why_before_anything_runs() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let check = |device: &str, settings: &[(&str, &str)]| {
        let set = format!("pipeline.device=\"{device}\"");
        let output = with(root, &["check", "photos.toml", "--set", &set], settings)?;
        Some((output.status.code(), text(&output.stderr)))
    };
    let Some((code, said)) = check("cuda:0", &[]) else { return };
    assert_eq!(code, Some(0), "{said}");
    for (device, settings, why) in [
        ("cuda:3", &[][..], "this machine has one GPU, `cuda:0`"),
        ("cuda:0", &[("STAND_IN_DEVICES", "0")], "this machine has no GPU that the driver sees"),
        ("cuda:0", &[("STAND_IN_INIT", "100")], "this machine has no GPU that the driver sees"),
        ("cuda:0", &[("STAND_IN_DRIVER", "12040")], "its driver is for CUDA 12.4"),
        ("cuda:0", &[("STAND_IN_INIT", "999")], "its driver reports"),
        ("cuda:0", &[("STAND_IN_MEMORY", "1000")], "out of memory"),
    ] {
        let (code, said) = check(device, settings).unwrap();
        assert_eq!(code, Some(2), "{said}");
        let unavailable = format!("`{device}` cannot be opened: ");
        assert!(said.contains(&unavailable) && said.contains(why), "{why}: {said}");
        assert!(said.contains("`runner devices` lists what there is"), "{said}");
        // What is not there is not taken.
        let (code, said) = check("auto", settings).unwrap();
        assert_eq!(code, Some(0), "{said}");
    }
    // A GPU that is there and cannot be used is no secret.
    let run = ["run", "photos.toml", "--set", "pipeline.device=\"auto\""];
    let output = with(root, &run, &[("STAND_IN_DRIVER", "12040")]).unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("note: `cuda:0` is not used: its driver is for CUDA 12.4"), "{said}");
    let output = runner(root, &["check", "photos.toml", "--set", GPU]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no driver of NVIDIA's (libcuda.so.1) was found"), "{said}");
}

#[test]
fn a_gpu_without_memory_for_a_training_fails_the_stage_and_leaves_no_part_of_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let wide = "stages.net.model={ layers = [{ kind = \"conv2d\", filters = 16, kernel = 3 }, \"relu\"], head = [1024, \"relu\"] }";
    let arguments = ["run", "photos.toml", "--set", GPU, "--set", wide];
    let Some(output) = with(root, &arguments, &[("STAND_IN_MEMORY", "5000000")]) else { return };
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("error: stage `net` failed: ") && said.contains("out of memory: "),
        "{said}"
    );
    // The same command with more memory goes on.
    let output = with(root, &arguments, &[]).unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_gpu_that_fails_at_any_moment_fails_the_stage_and_nothing_that_it_gave_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let Some(counts) = counts(root, "whole", &[GPU]) else { return };
    let whole = csvs(&root.join("whole-results/photos/latest"));
    let kernels = counts["launches"] + counts.get("replayed_launches").unwrap_or(&0);
    // Those of the trial come first, and evaluation is last.
    for (number, kernel) in
        [kernels / 3, kernels / 2, kernels * 3 / 4, kernels * 9 / 10, kernels - 1]
            .iter()
            .enumerate()
    {
        let (store, results) = (format!("store{number}"), format!("results{number}"));
        let arguments = ["run", "photos.toml", "--checkpoint-every", "0", "--set", GPU];
        let arguments = [&arguments[..], &["--store", &store, "--results", &results]].concat();
        let output = with(root, &arguments, &[("STAND_IN_FAULT", &kernel.to_string())]).unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "kernel {kernel} of {kernels}: {said}");
        assert!(said.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "kernel {kernel}: {said}");
        let output = with(root, &arguments, &[]).unwrap();
        assert!(output.status.success(), "kernel {kernel}: {}", text(&output.stderr));
        let run = root.join(&results).join("photos/latest");
        assert_eq!(csvs(&run), whole, "kernel {kernel} of {kernels}");
    }
}

#[test]
fn devices_lists_what_there_is_and_what_auto_takes() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let said = text(&runner(root, &["devices"]).stdout);
    assert!(said.starts_with("cpu     this processor, "), "{said}");
    assert!(
        said.contains("cuda    none: no driver of NVIDIA's (libcuda.so.1) was found"),
        "{said}"
    );
    assert!(said.ends_with("auto    cpu\n"), "{said}");
    let Some(output) = with(root, &["devices"], &[("STAND_IN_DEVICES", "2")]) else { return };
    let said = text(&output.stdout);
    for part in [
        "cuda:0  stand-in, 16 GB, compute capability 9.0, driver for CUDA 13.0, kernels ",
        "cuda:1  stand-in",
        "`tf32`: computes what the processor computes",
        "`float32`: computes what the processor computes",
        "`bf16`: computes what the processor computes",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.ends_with("auto    cuda:0\n"), "{said}");
}

#[test]
fn a_precision_goes_with_a_gpu() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let check = |sets: &[&str]| {
        let mut arguments = vec!["check", "photos.toml"];
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        let output = runner(root, &arguments);
        (output.status.code(), text(&output.stderr))
    };
    let float32 = "pipeline.precision=\"float32\"";
    let (code, said) = check(&[float32, "pipeline.device=\"cpu\""]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("`precision` is of GPUs, and `cpu` is in single precision"), "{said}");
    let advice = "leave it out, or `device = \"auto\"`";
    assert!(said.contains(advice), "{said}");
    assert_eq!(check(&["pipeline.device=\"cpu\""]).0, Some(0), "left out");
    assert_eq!(check(&[float32, "pipeline.device=\"auto\""]).0, Some(0), "auto");
    let (code, said) = check(&["pipeline.precision=\"half\""]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("expected one of `tf32`, `float32`, `bf16`"), "{said}");
    for (device, why) in [
        ("cpu", "`bf16` needs a GPU, and `cpu` is in single precision"),
        ("dfdx", "`bf16` needs a GPU, and `dfdx` is in single precision"),
        ("auto", "`bf16` needs a GPU, and `auto` finds none that can be used"),
    ] {
        let (code, said) = check(&[BF16, &format!("pipeline.device=\"{device}\"")]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(why), "{said}");
        assert!(said.contains("leave it out; `runner devices` says what there is"), "{said}");
    }
}
