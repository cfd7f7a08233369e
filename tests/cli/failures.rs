//! Stages that fail and places that cannot be written: what is said, what goes on, what is left.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::binary::{csvs, left_out, record, runner, text};
use crate::photos::{artifacts, photos};

#[test]
fn a_diverging_stage_names_its_epoch_and_step_and_the_others_go_on() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap();
    let second = pipeline.replace(
        "[stages.score]",
        "[stages.other]\nkind = \"pretrain\"\ntrain = \"images\"\nmodel = { layers = [] }\n\
         epochs = 1\n\n[stages.score]",
    );
    fs::write(root.join("photos.toml"), second).unwrap();
    let output = runner(root, &["run", "photos.toml", "--set", "stages.net.optimizer.lr=1e30"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("stage `net` failed: the loss is not finite in epoch 1, step "),
        "{said}"
    );
    assert!(said.contains("inputs: train = images.train"), "{said}");
    assert!(said.contains("help: try a smaller `optimizer.lr`"), "{said}");
    assert!(said.contains("other: done in "), "{said}");
    assert!(said.contains("adapted: skipped, because `head` has no result"), "{said}");
    // What did finish is recorded, and so is why the rest did not.
    let record = record(&root.join("results/photos/latest"));
    let state = |name: &str| {
        let stages = record["trials"][0].as_array().unwrap();
        stages.iter().find(|it| it["name"] == name).unwrap().clone()
    };
    assert_eq!(state("other")["state"], "ran");
    assert!(state("net")["error"]["message"].as_str().unwrap().contains("epoch 1"));
    assert_eq!(state("score")["state"], "skipped");
    assert!(root.join("results/photos/latest/other.csv").exists());
    assert!(!root.join("results/photos/latest/net.csv").exists());

    // The next run with a sane rate takes up where this one stopped.
    let again = text(&runner(root, &["run", "photos.toml"]).stderr);
    assert!(again.contains("other: cached"), "{again}");
    assert!(again.contains("4 ran, 3 cached, 0 failed, 0 skipped"), "{again}");
}

#[test]
fn a_corrupt_image_is_named_and_nothing_is_published() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    fs::write(root.join("photos/train/red/3.png"), "not an image").unwrap();
    let output = runner(root, &["run", "photos.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("train/red/3.png"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(artifacts(&root.join(".runner")), Vec::<String>::new());
}

#[test]
fn places_that_cannot_be_written_are_errors_before_any_work() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    fs::write(root.join("file"), "in the way").unwrap();
    for (key, path) in [("--store", "file"), ("--store", "file/below"), ("--results", "file")] {
        let output = runner(root, &["run", "photos.toml", key, path]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{key} {path}: {said}");
        assert!(
            said.contains(path) && said.contains(&format!("`{key} DIR`")),
            "{key} {path}: {said}"
        );
        assert!(!said.contains("panicked") && !said.contains("net: epoch"), "{said}");
    }
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "in the way");
}

#[test]
fn a_store_that_only_others_may_write_is_an_error_that_names_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    // No one may create files there, not even root.
    let place = Path::new("/proc/runner-store");
    if !Path::new("/proc/self").exists() {
        left_out("no /proc here");
        return;
    }
    let output = runner(root, &["run", "photos.toml", "--store", place.to_str().unwrap()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/proc/runner-store") && said.contains("help:"), "{said}");
}

#[test]
fn a_listed_image_that_is_broken_stops_only_what_needs_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap()
        + "[stages.listed]\nkind = \"download\"\nsource = \"file:listed\"\n\
           format = \"image-list\"\n\n\
           [stages.small]\nkind = \"normalize\"\ninput = \"listed\"\nresize = 12\n";
    fs::write(root.join("photos.toml"), pipeline).unwrap();
    fs::create_dir_all(root.join("listed/train")).unwrap();
    fs::copy(root.join("photos/train/red/1.png"), root.join("listed/train/a.png")).unwrap();
    fs::write(root.join("listed/train/bad.png"), "no image").unwrap();
    fs::write(root.join("listed/train_labels.txt"), "a.png 0\nbad.png 1\n").unwrap();
    let output = runner(root, &["run", "photos.toml"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("stage `listed` failed: ") && said.contains("bad.png"), "{said}");
    assert!(said.contains("small: skipped, because `listed` has no result"), "{said}");
    assert!(said.contains("6 ran, 0 cached, 1 failed, 1 skipped"), "{said}");
    assert!(text(&output.stdout).contains("adapted"), "the table of what did run");
    let results = root.join("results");
    let record = record(&results.join("photos/latest"));
    let stages = record["trials"][0].as_array().unwrap();
    let failed = stages.iter().find(|stage| stage["name"] == "listed").unwrap();
    assert!(failed["error"]["message"].as_str().unwrap().contains("bad.png"), "{failed}");
    let small = stages.iter().find(|stage| stage["name"] == "small").unwrap();
    assert_eq!(small["waited_for"], "listed");
}

#[test]
fn a_file_in_the_place_of_a_pipelines_results_is_an_error_before_any_work() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    fs::create_dir(root.join("results")).unwrap();
    fs::write(root.join("results/photos"), "in the way").unwrap();
    let output = runner(root, &["run", "photos.toml"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("results/photos") && said.contains("`--results DIR`"), "{said}");
    assert_eq!(artifacts(&root.join(".runner")), Vec::<String>::new());
    assert_eq!(fs::read_to_string(root.join("results/photos")).unwrap(), "in the way");
}

/// Runs in a shell that may say how many files can be open.
#[cfg(unix)]
fn with_handles(root: &Path, handles: u32, arguments: &str) -> Output {
    let binary = assert_cmd::cargo::cargo_bin("runner");
    Command::new("sh")
        .current_dir(root)
        .args(["-c", &format!("ulimit -n {handles}; exec {} {arguments}", binary.display())])
        .output()
        .unwrap()
}

#[cfg(unix)]
#[test]
fn out_of_file_handles_is_an_error_that_damages_nothing() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
    let whole = artifacts(&root.join(".runner"));
    let mut refused = 0;
    for handles in 3..12 {
        let output = with_handles(root, handles, "run photos.toml --set stages.net.epochs=2");
        let said = text(&output.stderr);
        assert!(!said.contains("panicked") && !said.contains("damaged"), "{handles}: {said}");
        if !output.status.success() {
            refused += 1;
            // Below that, the system's own loader may not find its libraries.
            assert!(handles < 4 || said.contains("Too many open files"), "{handles}: {said}");
        }
        for name in &whole {
            assert!(artifacts(&root.join(".runner")).contains(name), "{handles}: {name} is gone");
        }
    }
    assert!(refused > 0, "a program without a handle to spare cannot run");
    assert!(runner(root, &["verify"]).status.success());
}

/// A file system of so many bytes; `None` where this user may not mount one.
#[cfg(target_os = "linux")]
struct Mounted(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl Mounted {
    fn new(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", options, "tmpfs", folder.path().to_str().unwrap()];
        let mounted = Command::new("mount").args(mount).output().ok()?;
        mounted.status.success().then_some(Self(folder))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_a_run_that_goes_on_when_there_is_room() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
    let whole = csvs(&root.join("results/photos/latest"));
    for size in ["40k", "120k", "200k"] {
        let Some(disk) = Mounted::new(&format!("size={size}")) else {
            left_out("no file system can be mounted here");
            return;
        };
        let store = disk.0.path().join("store");
        let run = ["run", "photos.toml", "--store", store.to_str().unwrap(), "--results", "other"];
        let output = runner(root, &run);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{size}: {said}");
        assert!(said.contains("No space left on device"), "{size}: {said}");
        assert!(said.contains("free some space"), "{size}: {said}");
        let room = ["-o", "remount,size=10m", disk.0.path().to_str().unwrap()];
        assert!(Command::new("mount").args(room).status().unwrap().success());
        let output = runner(root, &run);
        assert!(output.status.success(), "{size}: {}", text(&output.stderr));
        assert_eq!(csvs(&root.join("other/photos/latest")), whole, "{size}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_system_that_is_read_only_is_an_error_before_any_work() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let Some(disk) = Mounted::new("ro") else {
        left_out("no file system can be mounted here");
        return;
    };
    for key in ["--store", "--results"] {
        let output = runner(root, &["run", "photos.toml", key, disk.0.path().to_str().unwrap()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("Read-only file system"), "{said}");
        assert!(said.contains(&format!("give a folder that can be written with `{key} DIR`")));
        assert!(!said.contains("started"), "{said}");
    }
}

#[test]
fn a_store_of_a_newer_runner_is_refused_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
    fs::write(root.join(".runner/version"), "7\n").unwrap();
    let before = artifacts(&root.join(".runner"));
    let output = runner(root, &["run", "photos.toml", "--set", "stages.net.epochs=2"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("newer runner: its format is 7") && said.contains("--store DIR"),
        "{said}"
    );
    assert_eq!(artifacts(&root.join(".runner")), before);
}

#[test]
fn a_failed_stage_leaves_its_log_its_error_and_its_inputs_and_is_all_that_runs_again() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let diverges = ["run", "photos.toml", "--quiet", "--set", "stages.adapted.optimizer.lr=1e30"];
    assert_eq!(runner(root, &diverges).status.code(), Some(1));
    let log = fs::read_to_string(root.join("results/photos/latest/logs/adapted.log")).unwrap();
    assert!(log.contains("error: ") && log.contains("not finite in epoch"), "{log}");
    assert!(log.contains("help: try a smaller `optimizer.lr`"), "{log}");
    assert!(
        log.contains("input: model = head in ") && log.contains("train = images.train"),
        "{log}"
    );
    let again = text(&runner(root, &["run", "photos.toml"]).stderr);
    assert!(again.contains("2 ran, 4 cached"), "{again}");
}
