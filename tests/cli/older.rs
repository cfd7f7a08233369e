//! Runs of older runners, whose `run.json` says neither what stages read nor what tables show: the folder of
//! a sweep as such a runner left it, and the same with what it would have taken and this runner does not.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binary::{files, runner, text};

const RUN: &str = "20261126T175225Z-480812";

/// The folder of the run below the results in `root`.
fn older(root: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/older_runs").join(RUN);
    let folder = root.join("results/older").join(RUN);
    for file in files(&from) {
        let target = folder.join(file.strip_prefix(&from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
    folder
}

/// The same with other words in its pipeline, written before runs had checksums.
fn older_with(root: &Path, from: &str, to: &str) -> PathBuf {
    let folder = older(root);
    fs::remove_file(folder.join("checksums.txt")).unwrap();
    let pipeline = fs::read_to_string(folder.join("pipeline.toml")).unwrap();
    assert!(pipeline.contains(from), "{pipeline}");
    let changed = pipeline.replace(from, to);
    let record = fs::read_to_string(folder.join("run.json")).unwrap();
    let [before, after] = [&pipeline, &changed].map(|it| serde_json::to_string(it).unwrap());
    fs::write(folder.join("run.json"), record.replace(&before, &after)).unwrap();
    fs::write(folder.join("pipeline.toml"), changed).unwrap();
    folder
}

/// Standard output and standard error of a verb that must do.
fn said(root: &Path, arguments: &[&str]) -> [String; 2] {
    let output = runner(root, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    [&output.stdout, &output.stderr].map(|it| text(it))
}

#[test]
fn the_run_of_an_older_runner_shows_the_numbers_that_it_wrote() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let folder = older(root);
    for (format, ending) in [("markdown", "md"), ("latex", "tex"), ("html", "html"), ("csv", "csv")]
    {
        let [table, notes] = said(root, &["table", RUN, "--format", format]);
        let written = ["table", "table-rates"]
            .map(|name| fs::read_to_string(folder.join(format!("{name}.{ending}"))).unwrap());
        assert_eq!(table, written.join("\n"));
        assert_eq!(notes, "");
    }
    let [verified, _] = said(root, &["verify"]);
    assert!(verified.contains("ok: 0 artifacts, "), "{verified}");
    assert!(!verified.contains("note: "), "{verified}");
    let [differences, _] = said(root, &["diff", RUN, RUN]);
    assert!(differences.starts_with("settings: no difference in "), "{differences}");
    said(root, &["plot", RUN]);
    let stages = fs::read_to_string(folder.join("plots/stages.csv")).unwrap();
    let needs: Vec<&str> = stages.lines().map(|it| it.rsplit_once(',').unwrap().1).collect();
    assert_eq!(needs, ["needs", "", "photos", "images", "images net", "images net adapted"]);
    said(root, &["report", RUN]);
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("oracle: selected by target labels"));
}

#[test]
fn labels_of_an_old_sweep_whose_axes_overlap_are_doubted_beside_every_number() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let folder = older_with(
        root,
        "axes = { \"pipeline.seed\" = [0, 1], ",
        "axes = { \"stages.net.optimizer\" = [{ kind = \"adam\", lr = 0.1 }], \"pipeline.seed\" = [0, 1], ",
    );
    let doubt = "The labels of trials cannot be trusted: the values of the axis `stages.net.optimizer` set \
                 `stages.net.optimizer.lr`, which was swept too";
    let again = "run `runner sweep older.toml` again";
    let has = |text: &str| {
        assert!(text.contains(doubt) && text.contains(again), "{text}");
    };
    for format in ["text", "csv", "json", "html"] {
        let [table, _] = said(root, &["table", RUN, "--format", format, "--name", "rates"]);
        // Quotes are written otherwise in HTML; nothing here has any.
        has(&table);
    }
    has(&said(root, &["report", RUN])[1]);
    has(&fs::read_to_string(folder.join("report.html")).unwrap());
    has(&said(root, &["plot", RUN])[1]);
    has(&fs::read_to_string(folder.join("plots/net-loss.svg")).unwrap());
    let [verified, _] = said(root, &["verify"]);
    has(&verified);
    // What it wrote is still what it wrote.
    assert!(verified.contains("note: ") && verified.contains("\nok: 0 artifacts, "), "{verified}");
}

#[test]
fn an_older_run_whose_pipeline_is_no_longer_taken_is_shown_as_far_as_its_files_go() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    older_with(root, "proxy_a_distance", "proxy_b_distance");
    let [table, _] = said(root, &["table", RUN]);
    assert!(table.contains("100.0 ± 0.0 (n=2)"), "{table}");
    let doubt = "does not take the pipeline that runner 0.1.0 ran (unknown key `proxy_b_distance`)";
    assert!(table.contains(doubt), "{table}");
    let output = runner(root, &["verify"]);
    let wrong = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{wrong}");
    assert!(wrong.contains(doubt), "{wrong}");
}
