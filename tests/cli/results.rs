//! The results of a run are there whole, or the run says that they are not: disks that are full, files
//! that were damaged, power that went, logs that cannot be written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::binary::{files, lasting, left_out, record, runner, spawn, text};
use crate::photos::photos;

/// A pipeline whose scores come with a table and pictures of their own.
const PICTURED: &str = "\nmistakes = 4\nembedding = { methods = [\"pca\"], points = 12 }\n";

fn pictured(root: &Path) {
    photos(root);
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap() + PICTURED;
    // One that is wrong somewhere has mistakes to show.
    let pipeline = pipeline.replace("epochs = 4", "epochs = 1").replace("lr = 0.01", "lr = 1e-6");
    fs::write(root.join("photos.toml"), pipeline).unwrap();
    let output = runner(root, &["run", "photos.toml", "--quiet"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn latest(root: &Path, results: &str) -> PathBuf {
    fs::canonicalize(root.join(results).join("photos/latest")).unwrap()
}

/// The artifact of a stage.
fn artifact(root: &Path, stage: &str) -> PathBuf {
    let record = record(&latest(root, "results"));
    let stages = record["trials"][0].as_array().unwrap();
    let stage = stages.iter().find(|it| it["name"] == stage).unwrap();
    let name = stage["fingerprint"].as_str().unwrap();
    root.join(".runner/artifacts").join(&name[..2]).join(name)
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn empty(path: &Path) {
    fs::write(path, "").unwrap();
}

fn gone(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn short(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Does something to a file.
type Damage = fn(&Path);

#[test]
fn each_file_of_an_artifact_is_compared_before_it_is_copied_and_a_damaged_one_is_built_again() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pictured(root);
    let whole = lasting(&latest(root, "results"));
    for (stage, file) in [
        ("score", "embedding.csv"),
        ("score", "mistakes.csv"),
        ("score", "pictures.csv"),
        ("score", "samples.0.png"),
        ("score", "timings.csv"),
        ("photos", "dataset.json"),
    ] {
        let damages: [(&str, Damage); 2] = [("flipped", flip), ("missing", gone)];
        for (damage, spoil) in damages {
            let what = format!("{stage}, {file}, {damage}");
            spoil(&artifact(root, stage).join(file));
            let fresh = format!("fresh-{stage}-{file}-{damage}");
            let output = runner(root, &["run", "photos.toml", "--results", &fresh]);
            let said = text(&output.stderr);
            assert!(output.status.success(), "{what}: {said}");
            assert!(said.contains(&format!("{stage}: damaged (")), "{what}: {said}");
            assert!(said.contains("1 ran, 5 cached"), "{what}: {said}");
            assert!(lasting(&latest(root, &fresh)) == whole, "{what}");
            assert!(runner(root, &["verify", "--results", &fresh]).status.success(), "{what}");
        }
    }
    // A file that was never published is not taken for a result.
    fs::write(artifact(root, "score").join("more.png"), "stray").unwrap();
    assert!(runner(root, &["run", "photos.toml", "--results", "strayed"]).status.success());
    assert!(lasting(&latest(root, "strayed")) == whole);
}

#[test]
fn results_that_are_not_whole_are_written_anew_by_the_next_run_which_says_so() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pictured(root);
    let whole = lasting(&latest(root, "results"));
    let cases: [(&str, Damage, &str); 15] = [
        ("score.csv", empty, "`score.csv` is empty"),
        ("score.csv", flip, "`score.csv` is not what the run wrote"),
        ("net.csv", gone, "`net.csv` is missing"),
        ("table.csv", gone, "`table.csv` is missing"),
        ("table.tex", short, "`table.tex` is not what the run wrote"),
        ("pipeline.toml", empty, "`pipeline.toml` is empty"),
        ("score/samples.0.png", flip, "`score/samples.0.png` is not what the run wrote"),
        ("score/embedding.csv", gone, "`score/embedding.csv` is missing"),
        ("run.json", empty, "`run.json` is empty"),
        ("run.json", gone, "`run.json` is missing"),
        ("run.json", short, "`run.json` is cut short"),
        ("checksums.txt", short, "it is no list of digests"),
        // Reading a pipe would never end.
        ("table.csv", pipe, "`table.csv` cannot be read: it is not a file"),
        ("run.json", pipe, "`run.json` cannot be read: it is not a file"),
        ("checksums.txt", pipe, "it is not a file"),
    ];
    for (file, damage, wanted) in cases {
        let before = latest(root, "results");
        damage(&before.join(file));
        let output = runner(root, &["run", "photos.toml"]);
        let said = text(&output.stderr);
        assert!(output.status.success(), "{file}: {said}");
        assert!(said.contains(wanted) && said.contains("written anew"), "{file}: {said}");
        assert!(!said.contains("nothing to do"), "{file}: {said}");
        let now = latest(root, "results");
        assert_ne!(now, before, "{file}");
        assert!(lasting(&now) == whole, "{file}: {said}");
        assert!(runner(root, &["verify", now.to_str().unwrap()]).status.success(), "{file}");
        // What is damaged is still found, until it is deleted as the note says.
        assert_eq!(runner(root, &["verify"]).status.code(), Some(1), "{file}: {wanted}");
        fs::remove_dir_all(before).unwrap();
        let again = text(&runner(root, &["run", "photos.toml"]).stderr);
        assert!(again.contains("nothing to do"), "{file}: {again}");
        assert!(runner(root, &["verify"]).status.success(), "{file}");
    }
    // The page is drawn from the rest, where it lies.
    let run = latest(root, "results");
    let page = fs::read(run.join("report.html")).unwrap();
    for damage in [empty as Damage, short, gone] {
        damage(&run.join("report.html"));
        assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
        assert!(fs::read(run.join("report.html")).unwrap() == page);
        assert_eq!(latest(root, "results"), run);
    }
}

#[test]
fn results_of_a_runner_that_kept_no_checksums_are_taken_for_what_they_hold() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pictured(root);
    let run = latest(root, "results");
    fs::remove_file(run.join("checksums.txt")).unwrap();
    assert!(runner(root, &["verify"]).status.success());
    let said = text(&runner(root, &["run", "photos.toml"]).stderr);
    assert!(said.contains("nothing to do"), "{said}");
    assert_eq!(latest(root, "results"), run);
    assert_eq!(fs::read_dir(root.join("results/photos")).unwrap().count(), 2);

    flip(&run.join("score/samples.0.png"));
    fs::remove_file(run.join("table.md")).unwrap();
    let wrong = text(&runner(root, &["verify"]).stdout);
    assert!(wrong.contains("score/samples.0.png does not follow from its artifact"), "{wrong}");
    assert!(wrong.contains("2 wrong of 6 artifacts"), "{wrong}");
    let said = text(&runner(root, &["run", "photos.toml"]).stderr);
    assert!(
        said.contains("`score/samples.0.png` is not what the run wrote, `table.md` is missing")
    );
    assert_ne!(latest(root, "results"), run);
}

#[test]
fn verify_fails_on_a_run_that_nothing_can_be_said_of() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pictured(root);
    let run = latest(root, "results");
    let whole = fs::read(run.join("run.json")).unwrap();
    let verify = |code: i32| {
        let output = runner(root, &["verify"]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stdout));
        text(&output.stdout)
    };
    assert!(verify(0).starts_with("ok: 6 artifacts, "));
    fs::write(run.join("run.json"), "").unwrap();
    let wrong = verify(1);
    assert!(wrong.contains("run.json`: it is empty") && wrong.contains("run the pipeline again"));
    for verb in [&["ls"][..], &["status"]] {
        let said = text(&runner(root, verb).stdout);
        assert!(said.contains("damaged") && said.contains("it is empty"), "{said}");
    }
    let named = runner(root, &["verify", "photos"]);
    assert_eq!(named.status.code(), Some(1));
    assert!(text(&named.stderr).contains("run the pipeline again"), "{named:?}");
    fs::remove_file(run.join("run.json")).unwrap();
    assert!(verify(1).contains("run.json`: No such file"));
    fs::write(run.join("run.json"), &whole[..whole.len() - 9]).unwrap();
    assert!(verify(1).contains("it is not the record of a run"));
    // What a user keeps beside runs is none.
    fs::write(run.join("run.json"), whole).unwrap();
    fs::create_dir_all(root.join("results/photos/notes")).unwrap();
    verify(0);
    let moved = root.join("moved");
    fs::rename(&run, &moved).unwrap();
    assert!(verify(1).contains("results/photos/latest leads to no run"));
}

#[test]
fn numbers_that_are_not_those_of_the_run_are_shown_with_a_note() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pictured(root);
    let run = latest(root, "results");
    let verbs = [
        &["table", "photos"][..],
        &["report", "photos"],
        &["plot", "photos"],
        &["diff", "photos", "photos"],
    ];
    for damaged in [false, true] {
        if damaged {
            let csv = fs::read_to_string(run.join("score.csv")).unwrap();
            let better = csv.replace(",accuracy,0.", ",accuracy,0.9");
            assert_ne!(better, csv);
            fs::write(run.join("score.csv"), better).unwrap();
        }
        for verb in verbs {
            let output = runner(root, verb);
            let said = text(&output.stderr);
            assert!(output.status.success(), "{verb:?}: {said}");
            assert_eq!(said.contains("`score.csv` is not what the run wrote"), damaged, "{said}");
        }
    }
}

#[test]
fn a_run_is_verified_by_its_record_also_where_this_runner_does_not_take_its_pipeline() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pictured(root);
    let run = latest(root, "results");
    fs::remove_file(run.join("checksums.txt")).unwrap();
    for file in ["run.json", "pipeline.toml"] {
        let text = fs::read_to_string(run.join(file)).unwrap();
        fs::write(run.join(file), text.replace("batch_size", "batch_sise")).unwrap();
    }
    let verify = |code: i32| {
        let output = runner(root, &["verify"]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stdout));
        text(&output.stdout)
    };
    assert!(verify(0).starts_with("ok: 6 artifacts, "));
    flip(&run.join("score/samples.0.png"));
    let wrong = verify(1);
    assert!(wrong.contains("score/samples.0.png does not follow from its artifact"), "{wrong}");
}

#[test]
fn a_record_says_what_each_stage_reads_and_scores_and_what_the_table_shows() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pictured(root);
    let record = record(&latest(root, "results"));
    let stages = record["trials"][0].as_array().unwrap();
    let stage = |name: &str| stages.iter().find(|it| it["name"] == name).unwrap();
    let inputs = json!([
        { "key": "model", "stage": "head" },
        { "key": "train", "stage": "images", "split": "train" },
        { "key": "method.target", "stage": "images", "split": "test" },
    ]);
    let mut found = stage("adapted")["inputs"].as_array().unwrap().clone();
    found.sort_by_key(|it| inputs.as_array().unwrap().iter().position(|one| one == it));
    assert_eq!(json!(found), inputs);
    assert_eq!(stage("adapted")["kind"], "finetune");
    let scores = json!([
        { "model": "net", "dataset": "images.test" },
        { "model": "adapted", "dataset": "images.test" },
    ]);
    assert_eq!(stage("score")["scores"], scores);
    // The file has no `[table]`.
    let table = &record["tables"][0];
    assert_eq!((&table["rows"], &table["spread"]), (&json!("model"), &json!("sd")));
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_ends_no_run_and_the_record_says_so() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let full = || Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    for (results, stdout, stderr, streams) in [
        ("error", Stdio::null(), full(), &["standard error"][..]),
        ("output", full(), Stdio::null(), &["standard output"]),
        ("both", full(), full(), &["standard error", "standard output"]),
        ("json", full(), Stdio::null(), &["standard output"]),
    ] {
        // Each with something to say about every stage.
        let mut arguments = vec!["run", "photos.toml", "--store", results, "--results", results];
        if results == "json" {
            arguments.push("--json");
        }
        let status = spawn(root, &arguments, stdout, stderr).wait().unwrap();
        assert!(status.success(), "{results}: {status:?}");
        let run = latest(root, results);
        let record = record(&run);
        let lost = record["provenance"]["lost_output"].as_array().unwrap();
        let mut found: Vec<&str> = lost.iter().map(|it| it["stream"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, streams, "{results}: {lost:?}");
        assert!(lost.iter().all(|it| it["error"].as_str().unwrap().contains("No space left")));
        assert!(lost.iter().all(|it| it["writes"].as_u64().unwrap() > 0));
        assert!(run.join("table.csv").exists() && run.join("report.html").exists(), "{results}");
    }
    assert!(runner(root, &["run", "photos.toml"]).status.success());
    assert_eq!(
        record(&latest(root, "results"))["provenance"]["lost_output"],
        serde_json::Value::Null
    );
}

/// Something that is mounted as long as this lives; `None` where this user may not mount.
#[cfg(target_os = "linux")]
struct Mounted(PathBuf);

#[cfg(target_os = "linux")]
impl Mounted {
    fn new(folder: &Path, arguments: &[&str]) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount").args(arguments).arg(folder).output().ok()?;
        mounted.status.success().then(|| Self(folder.to_owned()))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_a_whole_page_or_none_and_the_run_fails_until_there_is_room() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pictured(root);
    let whole = lasting(&latest(root, "results"));
    let disk = root.join("disk");
    let (mut pages, mut others) = (0, 0);
    for kilobytes in (40..400).step_by(40) {
        let size = format!("size={kilobytes}k");
        let Some(mounted) = Mounted::new(&disk, &["-t", "tmpfs", "-o", &size, "tmpfs"]) else {
            left_out("no file system can be mounted here");
            return;
        };
        let output = runner(root, &["run", "photos.toml", "--results", "disk"]);
        let said = text(&output.stderr);
        let all: Vec<String> = files(&disk)
            .into_iter()
            .map(|it| it.strip_prefix(&disk).unwrap().to_str().unwrap().to_owned())
            .filter(|it| !it.contains("/latest/"))
            .collect();
        let has = |name: &str| all.iter().any(|it| it.ends_with(name));
        let half = [".run-", ".new-", ".latest-"];
        assert!(!all.iter().any(|it| half.iter().any(|half| it.contains(half))), "{size}: {all:?}");
        if output.status.success() {
            assert!(has("run.json") && has("report.html"), "{size}: {said}");
            break;
        }
        assert_eq!(output.status.code(), Some(1), "{size}: {said}");
        assert!(said.contains("No space left on device"), "{size}: {said}");
        assert!(!has("report.html"), "{size}: {all:?}");
        if has("run.json") {
            pages += 1;
            assert!(said.contains("the report cannot be written"), "{size}: {said}");
            assert!(lasting(&latest(root, "disk")) == whole, "{size}");
        } else {
            others += 1;
        }
        let room = ["-o", "remount,size=10m", disk.to_str().unwrap()];
        assert!(Command::new("mount").args(room).status().unwrap().success());
        if let Some(rest) = said.split("`runner report ").nth(1) {
            let folder = rest.split('`').next().unwrap();
            let output = runner(root, &["report", folder]);
            assert!(output.status.success(), "{size}: {}", text(&output.stderr));
            assert!(latest(root, "disk").join("report.html").exists(), "{size}");
        }
        let output = runner(root, &["run", "photos.toml", "--results", "disk"]);
        assert!(output.status.success(), "{size}: {}", text(&output.stderr));
        let run = latest(root, "disk");
        assert!(lasting(&run) == whole && run.join("report.html").exists(), "{size}");
        drop(mounted);
    }
    assert!(
        pages > 0 && others > 0,
        "{pages} times only the page was missing, {others} times more"
    );
}

/// What a device holds at this moment is what is there after a power cut.
#[cfg(target_os = "linux")]
#[test]
fn the_results_of_a_finished_run_survive_a_power_cut() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let (device, copy) = (root.join("device"), root.join("copy"));
    fs::File::create(&device).unwrap().set_len(48 << 20).unwrap();
    let made = Command::new("mkfs.ext4").arg("-q").arg(&device).output();
    let (disk, after) = (root.join("disk"), root.join("after"));
    let loopback =
        |device: &Path| ["-o".to_owned(), "loop".to_owned(), device.display().to_string()];
    let mount = |folder: &Path, device: &Path| {
        let arguments = loopback(device);
        Mounted::new(folder, &arguments.each_ref().map(String::as_str))
    };
    let Some(_disk) =
        made.ok().filter(|it| it.status.success()).and_then(|_| mount(&disk, &device))
    else {
        left_out("no ext4 file system can be made and mounted here");
        return;
    };
    for word in [&["run", "photos.toml", "--quiet"][..], &["plot", "photos"]] {
        let places = ["--results", "disk/results"];
        let store = if word[0] == "run" { &["--store", "disk/store"][..] } else { &[] };
        let output = runner(root, &[word, &places, store].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    fs::copy(&device, &copy).unwrap();
    let _after = mount(&after, &copy).expect("what was mounted once can be again");
    let (before, left) = (latest(root, "disk/results"), latest(root, "after/results"));
    let names = |run: &Path| {
        let mut names: Vec<PathBuf> = files(run);
        names.iter_mut().for_each(|it| *it = it.strip_prefix(run).unwrap().to_owned());
        names.sort();
        names
    };
    assert_eq!(names(&left), names(&before));
    for name in names(&left) {
        assert!(
            fs::read(left.join(&name)).unwrap() == fs::read(before.join(&name)).unwrap(),
            "{}",
            name.display()
        );
    }
    let verify = ["verify", "--store", "after/store", "--results", "after/results"];
    let output = runner(root, &verify);
    assert!(output.status.success(), "{}", text(&output.stdout));
}

#[test]
fn scores_are_in_one_table_with_the_swept_keys_and_the_names_of_classes() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pictured(root);
    let text_of = |name: &str| fs::read_to_string(latest(root, "results").join(name)).unwrap();
    let scores = text_of("scores.csv");
    let mut lines = scores.lines();
    assert_eq!(lines.next().unwrap(), "stage,model,dataset,metric,class,class_name,value");
    // Cell by cell what the stage measured, but for confusion matrices.
    let of_stage = text_of("score.csv");
    let wanted: Vec<&str> =
        of_stage.lines().skip(1).filter(|line| !line.contains(",confusion.")).collect();
    assert_eq!(lines.clone().count(), wanted.len());
    for (line, wanted) in lines.zip(wanted) {
        let cells: Vec<&str> = line.split(',').collect();
        let metric = match cells[4] {
            "" => cells[3].to_owned(),
            class => {
                assert_eq!(cells[5], ["blue", "red"][class.parse::<usize>().unwrap()]);
                format!("{}.{class}", cells[3])
            }
        };
        assert_eq!(format!("{},{},{metric},{}", cells[1], cells[2], cells[6]), wanted);
        assert_eq!(cells[0], "score");
    }
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap();
    let sweep = "\n[sweep]\naxes = { 'stages.adapted.seed' = [3, 4] }\n\
                 [table]\nover = 'stages.adapted.seed'\n\
                 published = [{ row = 'adapted', column = 'images.test', value = 0.5, cite = 'A & B', key = 'ab' }]\n";
    fs::write(root.join("photos.toml"), pipeline + sweep).unwrap();
    let output = runner(root, &["sweep", "photos.toml", "--quiet"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let scores = text_of("scores.csv");
    let head = "trial,folder,stages.adapted.seed,stage,model,dataset,metric,class,class_name,value";
    assert_eq!(scores.lines().next().unwrap(), head);
    for (trial, seed) in [("000", "3"), ("001", "4")] {
        let begin = format!("{trial},trials/{trial},{seed},score,adapted,images.test,accuracy,,,");
        assert_eq!(scores.lines().filter(|line| line.starts_with(&begin)).count(), 1, "{scores}");
        assert!(latest(root, "results").join("trials").join(trial).join("adapted.csv").exists());
        assert!(latest(root, "results").join(format!("logs/adapted.{trial}.log")).exists());
    }
    assert_eq!(text_of("table.bib"), "@misc{ab,\n  note = {A \\& B},\n}\n");
    assert!(text_of("table.tex").contains("50.0~\\cite{ab}"));
    assert!(text_of("checksums.txt").contains("  scores.csv\n"));
    // A stage cannot be called as that file.
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap();
    fs::write(root.join("wrong.toml"), pipeline.replace("[stages.score]", "[stages.scores]"))
        .unwrap();
    let refused = runner(root, &["check", "wrong.toml"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("`scores.csv` is a file of the run itself"));
}
