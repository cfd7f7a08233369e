//! A person's own images, from a folder to a table, through the real binary.

use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;

const PIPELINE: &str = r#"
[pipeline]
name = "photos"

[stages.photos]
kind = "download"
source = "file:photos"
format = "image-folder"

[stages.images]
kind = "normalize"
input = "photos"
resize = 12
channels = 3
mean = "auto"
std = "auto"

[stages.net]
kind = "pretrain"
train = "images"
validate = "images.test"
model = { layers = [{ kind = "conv2d", filters = 8, kernel = 3 }, "batch_norm", "relu", "max_pool"], head = [16, "relu"] }
epochs = 4
batch_size = 16
optimizer = { kind = "adam", lr = 0.01 }

[stages.head]
kind = "freeze"
model = "net"
freeze = ["features.*"]

[stages.adapted]
kind = "finetune"
model = "head"
train = "images"
method = { kind = "dann", target = "images.test" }
epochs = 2
batch_size = 16

[stages.score]
kind = "evaluate"
models = ["net", "adapted"]
on = ["images.test"]
"#;

/// Reddish squares and bluish ones, each of another size.
fn photos(root: &Path) {
    for (split, count) in [("train", 20_u32), ("test", 8)] {
        for (class, name) in ["blue", "red"].iter().enumerate() {
            let folder = root.join("photos").join(split).join(name);
            fs::create_dir_all(&folder).unwrap();
            for at in 0..count {
                let (width, height) = (14 + at % 5, 13 + at % 7);
                let image = image::RgbImage::from_fn(width, height, |x, y| {
                    let noise = u8::try_from((x * 31 + y * 17 + at * 7) % 90).unwrap();
                    let bright = noise + 120;
                    let (red, blue) = if class == 1 { (bright, noise) } else { (noise, bright) };
                    image::Rgb([red, noise, blue])
                });
                image.save(folder.join(format!("{at}.png"))).unwrap();
            }
        }
    }
    fs::write(root.join("photos.toml"), PIPELINE).unwrap();
}

fn runner(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("runner").unwrap();
    command.current_dir(root).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Every CSV of the newest run but the timings, by name.
fn csvs(results: &Path) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = fs::read_dir(results.join("photos/latest"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "csv"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .filter(|(name, _)| name != "timings.csv")
        .collect();
    files.sort();
    files
}

#[test]
fn own_images_give_a_table_that_any_number_of_threads_reproduces() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    for threads in ["1", "3"] {
        let (store, results) = (format!("store{threads}"), format!("results{threads}"));
        let arguments =
            ["run", "photos.toml", "--threads", threads, "--store", &store, "--results", &results];
        let output = runner(root, &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let table = text(&output.stdout);
        assert!(table.contains("images.test") && table.contains("adapted"), "{table}");
    }
    let (one, three) = (csvs(&root.join("results1")), csvs(&root.join("results3")));
    let names: Vec<&str> = one.iter().map(|(name, _)| name.as_str()).collect();
    let expected = ["adapted", "head", "images", "net", "photos", "score", "table"];
    assert_eq!(names, expected.map(|name| format!("{name}.csv")));
    assert_eq!(one, three);
    let score = &one[5].1;
    assert!(score.contains("\nnet,images.test,accuracy,1\n"), "red and blue are easy: {score}");
}

#[test]
fn a_second_run_has_nothing_to_do_and_a_changed_key_reruns_what_depends_on_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
    let again = text(&runner(root, &["run", "photos.toml"]).stderr);
    assert!(again.contains("nothing to do: all 6 stages are cached"), "{again}");

    let plan = runner(root, &["plan", "photos.toml", "--set", "stages.adapted.epochs=3"]);
    let plan = text(&plan.stdout);
    assert!(plan.contains("6 stages: 4 cached, 2 will run"), "{plan}");
}

#[test]
fn a_frozen_part_keeps_every_bit_through_training() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
    let mut models = Vec::new();
    let mut folders = vec![root.join(".runner")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("weights.safetensors") {
                models.push(fs::read(path).unwrap());
            }
        }
    }
    assert_eq!(models.len(), 3, "net, head and adapted");
    let features: Vec<Vec<(String, Vec<u8>)>> = models
        .iter()
        .map(|bytes| {
            let tensors = safetensors::SafeTensors::deserialize(bytes).unwrap();
            let mut tensors: Vec<(String, Vec<u8>)> = tensors
                .tensors()
                .into_iter()
                .filter(|(name, _)| name.starts_with("features."))
                .map(|(name, view)| (name, view.data().to_vec()))
                .collect();
            tensors.sort();
            tensors
        })
        .collect();
    assert!(!features[0].is_empty());
    assert_eq!(features[0], features[1]);
    assert_eq!(features[1], features[2]);
}

#[test]
fn a_missing_folder_fails_with_its_path_and_publishes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    fs::write(root.join("photos.toml"), PIPELINE).unwrap();
    let output = runner(root, &["run", "photos.toml"]);
    assert!(!output.status.success());
    let error = text(&output.stderr);
    assert!(error.contains("photos"), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    assert!(!root.join(".runner/artifacts").exists());
}
