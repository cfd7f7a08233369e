//! Features in and features out: data sets that are rows of numbers, what trains on them, what refuses them, the plane of
//! two of them, and the stage that makes them of images.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binary::{files, runner, text};

/// Two domains of moons and a small network that was trained on one.
const MOONS: &str = r#"
[pipeline]
name = "p"

[stages.source]
kind = "synthesize"
recipe = "two-moons"
samples = 40

[stages.target]
kind = "synthesize"
recipe = "two-moons"
samples = 40
angle = 35.0
seed = 1

[stages.net]
kind = "pretrain"
train = "source"
model = { layers = [8, "batch_norm", "relu"] }
epochs = 2
batch_size = 8
"#;

fn run(root: &Path, file: &str) -> String {
    let output = runner(root, &["run", file, "--offline"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stderr) + &text(&output.stdout)
}

fn put(root: &Path, name: &str, content: &str) {
    fs::write(root.join(name), content).unwrap();
}

fn latest(root: &Path, name: &str) -> PathBuf {
    root.join("results").join(name).join("latest")
}

/// The lines of a CSV without its header, by cells.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn every_method_that_needs_no_pixels_trains_on_features() {
    let on_both = [
        "adamatch",
        "adda",
        "afn",
        "associative",
        "atdoc",
        "bnm",
        "bsp",
        "can",
        "cdan",
        "cmd",
        "coral",
        "dan",
        "dann",
        "deepjdot",
        "entropy",
        "feature_coral",
        "fixmatch",
        "homm",
        "info_max",
        "jan",
        "mcc",
        "mcd",
        "mdd",
        "nwd",
        "optimal_transport",
        "pada",
        "self_ensembling",
        "subspace_alignment",
        "tca",
        "toalign",
        "vada",
        "wdgrl",
    ];
    let on_target = ["adabn", "dirt_t", "shot", "tent"];
    let on_source = ["bss", "co_tuning", "supervised"];
    let mut file = MOONS.to_owned();
    let mut models = Vec::new();
    let mut add = |method: &str, train: &str, target: &str| {
        let head = if method == "co_tuning" { "head = []\n" } else { "" };
        file += &format!(
            "\n[stages.of_{method}]\nkind = \"finetune\"\nmodel = \"net\"\n{train}{head}\
             method = {{ kind = \"{method}\"{target} }}\nepochs = 1\nbatch_size = 8\n"
        );
        models.push(format!("\"of_{method}\""));
    };
    let (train, target) = ("train = \"source\"\n", ", target = \"target\"");
    on_both.iter().for_each(|method| add(method, train, target));
    on_target.iter().for_each(|method| add(method, "", target));
    on_source.iter().for_each(|method| add(method, train, ""));
    file += &format!(
        "\n[stages.score]\nkind = \"evaluate\"\nmodels = [{}]\non = [\"target.test\"]\n\
         proxy_a_distance = false\nmixval = true\nensv = true\n",
        models.join(", ")
    );
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "p.toml", &file);
    let said = run(root.path(), "p.toml");
    let scores = rows(&latest(root.path(), "p").join("score.csv"));
    for model in &models {
        let name = model.trim_matches('"');
        let accuracy = scores.iter().find(|row| row[0] == name && row[2] == "accuracy");
        let accuracy: f64 =
            accuracy.unwrap_or_else(|| panic!("{name}: {said}"))[3].parse().unwrap();
        assert!((0.0..=1.0).contains(&accuracy), "{name}: {accuracy}");
    }
}

#[test]
fn what_is_of_pixels_is_refused_before_anything_runs_and_pictures_are_left_out_with_a_word() {
    let root = tempfile::tempdir().unwrap();
    let file = format!(
        "{MOONS}
[stages.score]
kind = \"evaluate\"
models = [\"net\"]
on = [\"target\"]
"
    );
    put(root.path(), "p.toml", &file);
    let said = run(root.path(), "p.toml");
    assert!(said.contains("no pictures of `target`, which holds features"), "{said}");
    let folder = latest(root.path(), "p").join("score");
    assert!(files(&folder).iter().all(|it| it.extension().is_none_or(|it| it != "png")));
    assert!(!rows(&folder.join("mistakes.csv")).is_empty(), "they are named all the same");
    let more = [
        ("kind = \"normalize\"\ninput = \"source\"\nresize = 8", "`resize` changes images"),
        (
            "kind = \"normalize\"\ninput = \"source\"\nmean = [0.5]",
            "1 number for rows of 2 features",
        ),
        (
            "kind = \"pretrain\"\ntrain = \"source\"\nmodel = \"lenet\"\nepochs = 1",
            "the network `lenet` is for images, and `train` holds features",
        ),
        (
            "kind = \"pretrain\"\ntrain = \"source\"\nepochs = 1\n\
             model = { layers = [{ kind = \"conv2d\", filters = 2, kernel = 1 }] }",
            "the layer `conv2d 1x1, stride 1, padding 0` is for images",
        ),
        (
            "kind = \"pretrain\"\ntrain = \"source\"\nmodel = { layers = [4] }\nepochs = 1\naugment = [\"flip\"]",
            "`augment` changes pixels",
        ),
        (
            "kind = \"finetune\"\nmodel = \"net\"\ntrain = \"source\"\nepochs = 1\n\
             method = { kind = \"mic\", target = \"target\" }",
            "this method changes pixels of its own",
        ),
        ("kind = \"visualize\"\nmodel = \"net\"\nimages = \"source\"", "`visualize` draws images"),
        (
            "kind = \"synthesize\"\nrecipe = \"blend\"\ninput = \"source\"",
            "`blend` mixes pixels, and the data set holds features",
        ),
        (
            "kind = \"synthesize\"\nrecipe = \"corrupt\"\ninput = \"source\"\n\
             corruption = \"gaussian_noise\"\nseverity = 1",
            "`corrupt` changes pixels",
        ),
        (
            "kind = \"evaluate\"\nmodels = [\"net\"]\non = [\"images\"]",
            "the model takes 2 features, these are images",
        ),
        (
            "kind = \"evaluate\"\nmodels = [\"on_images\"]\non = [\"source\"]",
            "the model takes 1x28x28 images, these are rows of 2 features",
        ),
        (
            "kind = \"evaluate\"\nmodels = [\"on_images\"]\non = [\"images\"]\nboundary = {}",
            "`boundary` is of data sets with two features, and these are images",
        ),
    ];
    for (stage, expected) in more {
        let file = format!(
            "{MOONS}\n[stages.images]\nkind = \"download\"\ndataset = \"mnist-10k\"\n\n\
             [stages.on_images]\nkind = \"pretrain\"\ntrain = \"images\"\nmodel = {{ layers = [4] }}\nepochs = 1\n\n\
             [stages.wrong]\n{stage}\n"
        );
        put(root.path(), "q.toml", &file);
        let output = runner(root.path(), &["check", "q.toml"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stage}: {said}");
        assert!(said.contains(expected), "{stage}: {said}");
    }
}

#[test]
fn features_of_files_are_standardised_by_their_train_split_and_go_to_programs_and_back() {
    let root = tempfile::tempdir().unwrap();
    // The third column is the same throughout.
    let lines: String = (0..12)
        .map(|at| {
            let split = if at < 8 { "train" } else { "test" };
            format!(
                "{},{},7,{},{split}\n",
                at * at,
                100 - at,
                if at % 2 == 0 { "even" } else { "odd" }
            )
        })
        .collect();
    put(root.path(), "d.csv", &format!("a,b,c,label,part\n{lines}"));
    put(
        root.path(),
        "copy.sh",
        "set -e\nfor s in train test; do mkdir -p \"$2/$s\"; cp \"$1/$s/\"*.npy \"$2/$s/\"; done\n",
    );
    let file = r#"
[pipeline]
name = "p"

[stages.data]
kind = "download"
source = "file:d.csv"
format = "csv"
groups = "part"
labels = "label"
features = ["a", "b", "c"]

[stages.scaled]
kind = "normalize"
input = "data"
mean = "auto"
std = "auto"

[stages.held]
kind = "split"
input = "scaled"
holdout = 0.25
name = "valid"

[stages.back]
kind = "command"
command = ["sh", "copy.sh", "{input.data}", "{out}"]
files = ["copy.sh"]
inputs = { data = "scaled" }
output = { kind = "dataset", splits = ["train", "test"], classes = "data" }

[stages.net]
kind = "pretrain"
train = "held"
validate = "held.valid"
model = { layers = [6, "relu"] }
epochs = 2
batch_size = 2
augment = ["mixup"]
"#;
    put(root.path(), "p.toml", file);
    let output = runner(root.path(), &["check", "p.toml"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = run(root.path(), "p.toml");
    assert!(said.contains("8 train, 4 test rows of 3 features, 2 classes"), "{said}");
    assert!(said.contains("1 feature is the same in every row of `train`"), "{said}");
    let folder = fs::canonicalize(latest(root.path(), "p")).unwrap();
    let record: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    let described = |stage: &str| -> serde_json::Value {
        let stages = record["trials"][0].as_array().unwrap();
        let stage = stages.iter().find(|it| it["name"] == stage).unwrap();
        let name = stage["fingerprint"].as_str().unwrap();
        let artifact = root.path().join(".runner/artifacts").join(&name[..2]).join(name);
        serde_json::from_str(&fs::read_to_string(artifact.join("dataset.json")).unwrap()).unwrap()
    };
    let scaled = described("scaled");
    assert_eq!((&scaled["features"], &scaled["channels"]), (&true.into(), &3.into()));
    // Of 0, 1, 4, ..., 49 and of 100 down to 93; what does not vary is divided by 1.
    let near = |found: &serde_json::Value, expected: f64| {
        let found = found.as_f64().unwrap();
        assert!((found / expected - 1.0).abs() < 1e-6, "{found}, {expected}");
    };
    near(&scaled["mean"][0], 17.5);
    near(&scaled["std"][0], 16.680_827_317_612_277);
    near(&scaled["mean"][1], 96.5);
    near(&scaled["std"][1], 2.291_287_847_477_92);
    near(&scaled["mean"][2], 7.0);
    near(&scaled["std"][2], 1.0);
    let back = described("back");
    assert_eq!(back["features"], true);
    assert_eq!((&back["mean"], &back["std"]), (&scaled["mean"], &scaled["std"]));
    assert_eq!(back["splits"], scaled["splits"]);
}

#[test]
fn domains_that_are_groups_are_standardised_each_by_itself() {
    let root = tempfile::tempdir().unwrap();
    let lines: String = (0..16)
        .map(|at| {
            let (domain, shift) = if at < 8 { ("amazon", 0) } else { ("webcam", 1000) };
            let label = if at % 2 == 0 { "even" } else { "odd" };
            format!("{},{label},{domain}\n", at % 8 + shift)
        })
        .collect();
    put(root.path(), "d.csv", &format!("a,label,domain\n{lines}"));
    let stages = |statistics: [&str; 2]| {
        let scaled = |name: &str, line: &str| {
            format!(
                "[stages.{name}]\nkind = \"normalize\"\ninput = \"data\"\nmean = \"auto\"\nstd = \"auto\"\n{line}\n"
            )
        };
        format!(
            "[pipeline]\nname = \"p\"\n[stages.data]\nkind = \"download\"\nsource = \"file:d.csv\"\n\
             format = \"csv\"\ngroups = \"domain\"\n{}{}[stages.net]\nkind = \"pretrain\"\n\
             train = \"source.amazon\"\nmodel = {{ layers = [] }}\nepochs = 1\n[stages.score]\n\
             kind = \"evaluate\"\nmodels = [\"net\"]\non = [\"source.amazon\", \"target.webcam\"]\n",
            scaled("source", statistics[0]),
            scaled("target", statistics[1])
        )
    };
    put(root.path(), "p.toml", &stages(["", "statistics = \"webcam\""]));
    let output = runner(root.path(), &["run", "p.toml", "--offline"]);
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("\"auto\" is taken from the split `train`"), "{said}");
    assert!(said.contains("`statistics = \"amazon\"`; there are `amazon`, `webcam`"), "{said}");
    assert!(said.contains("p.toml:11:8"), "{said}");
    put(root.path(), "p.toml", &stages(["statistics = \"amazon\"", "statistics = \"webcam\""]));
    run(root.path(), "p.toml");
    // The domains differ by a shift alone, so that each of them standardised by itself is the other.
    let scores = fs::read_to_string(latest(root.path(), "p").join("scores.csv")).unwrap();
    let of = |on: &str| -> Vec<String> {
        let lines = scores.lines().filter(|line| line.contains(on));
        lines.map(|line| line.replace(on, "")).collect()
    };
    assert!(!of("source.amazon").is_empty(), "{scores}");
    assert_eq!(of("source.amazon"), of("target.webcam"));
}

#[test]
fn what_a_layer_makes_of_images_is_a_data_set_that_others_train_on_whatever_its_classes() {
    let root = tempfile::tempdir().unwrap();
    let classes = [("bike", [20, 30, 220]), ("lamp", [20, 220, 40]), ("mug", [220, 30, 20])];
    crate::photos::folders(root.path(), "amazon", &classes[..2]);
    crate::photos::folders(root.path(), "webcam", &classes);
    let file = r#"
[pipeline]
name = "p"

[stages.amazon]
kind = "download"
source = "file:amazon"
format = "image-folder"

[stages.webcam]
kind = "download"
source = "file:webcam"
format = "image-folder"

[stages.net]
kind = "pretrain"
train = "amazon"
model = { layers = ["flatten", 5, "relu", 4, "relu"] }
epochs = 1
batch_size = 4

[stages.of_webcam]
kind = "features"
model = "net"
input = "webcam"

[stages.earlier]
kind = "features"
model = "net"
input = "amazon"
layer = "features.2"

[stages.small]
kind = "pretrain"
train = "of_webcam"
model = { layers = [] }
epochs = 2
batch_size = 4

[stages.score]
kind = "evaluate"
models = ["small"]
on = ["of_webcam.train"]

[stages.written]
kind = "evaluate"
models = ["net"]
on = ["amazon.train"]
features = "features.2"
"#;
    put(root.path(), "p.toml", file);
    let said = run(root.path(), "p.toml");
    assert!(said.contains("rows of 4 features, 3 classes"), "{said}");
    assert!(said.contains("rows of 5 features, 2 classes"), "{said}");
    let folder = fs::canonicalize(latest(root.path(), "p")).unwrap();
    let record: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    let tensors = |stage: &str, file: &str| {
        let stages = record["trials"][0].as_array().unwrap();
        let stage = stages.iter().find(|it| it["name"] == stage).unwrap();
        let name = stage["fingerprint"].as_str().unwrap();
        let artifact = root.path().join(".runner/artifacts").join(&name[..2]).join(name);
        fs::read(artifact.join(file)).unwrap()
    };
    let (made, written) =
        (tensors("earlier", "train.safetensors"), tensors("written", "features.0.0.safetensors"));
    let [made, written] =
        [&made, &written].map(|it| safetensors::SafeTensors::deserialize(it).unwrap());
    for name in ["features", "labels"] {
        let [made, written] = [&made, &written].map(|it| it.tensor(name).unwrap());
        assert_eq!(made.data(), written.data(), "{name} are what `evaluate` writes");
    }
    let wrong = file.replace("layer = \"features.2\"", "layer = \"features.9\"");
    put(root.path(), "q.toml", &wrong);
    let elsewhere = ["check", "q.toml", "--store", "other"];
    let output = runner(root.path(), &elsewhere);
    assert!(output.status.success(), "the network is known once its images were read");
    let output = runner(root.path(), &["check", "q.toml"]);
    assert!(text(&output.stderr).contains("no place after a layer `features.9`"));
    let output = runner(root.path(), &["run", "q.toml", "--offline"]);
    let said = text(&output.stderr);
    assert!(said.contains("no place after a layer `features.9`"), "{said}");
}

#[test]
fn the_shipped_moons_run_and_their_boundary_is_a_picture() {
    let root = tempfile::tempdir().unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/two-moons.toml");
    let short = [
        "run",
        file,
        "--offline",
        "--set",
        "stages.source_only.epochs=3",
        "--set",
        "stages.dann.epochs=3",
        "--set",
        "stages.score.boundary.resolution=20",
    ];
    let output = runner(root.path(), &short);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let folder = latest(root.path(), "two-moons");
    let plane = rows(&folder.join("score/boundary.csv"));
    let points = rows(&folder.join("score/points.csv"));
    assert_eq!((plane.len(), points.len()), (2 * 20 * 20, 2 * 2 * 300));
    let (lower, upper) =
        (plane.iter().filter(|it| it[3] == "0"), plane.iter().filter(|it| it[3] == "1"));
    assert_eq!(lower.count() + upper.count(), plane.len());
    // The plane reaches beyond every point.
    let side = |rows: &[Vec<String>], at: usize| -> (f64, f64) {
        let all = rows.iter().map(|row| row[at].parse::<f64>().unwrap());
        all.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), it| (a.min(it), b.max(it)))
    };
    for (of_plane, of_points) in [(1, 4), (2, 5)] {
        let (plane, points) = (side(&plane, of_plane), side(&points, of_points));
        assert!(plane.0 < points.0 && plane.1 > points.1, "{plane:?}, {points:?}");
    }
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("Decision boundaries") && page.contains("class=\"zone f0\""));
    let plots = runner(root.path(), &["plot", folder.to_str().unwrap()]);
    assert!(plots.status.success(), "{}", text(&plots.stderr));
    for model in ["source_only", "dann"] {
        let name = format!("boundary-{model}");
        let drawn = files(&folder.join("plots"));
        for ending in ["png", "svg", "csv"] {
            let is =
                |it: &PathBuf| it.file_name().is_some_and(|it| *it == *format!("{name}.{ending}"));
            assert!(drawn.iter().any(is), "{name}.{ending} of {drawn:?}");
        }
    }
}

/// Points of three classes, `per_class` of each, the classes one after the other: a table with the label last.
fn in_class_order(per_class: usize, seed: u64) -> String {
    let mut state = seed;
    let mut uniform = || {
        // Knuth's MMIX generator.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(state >> 32).unwrap()) / f64::from(u32::MAX)
    };
    let mut text = String::new();
    for (class, (x, y)) in [(0.0, 0.0), (4.0, 0.0), (0.0, 4.0)].into_iter().enumerate() {
        for _ in 0..per_class {
            text += &format!("{},{},{class}\n", x + uniform(), y + uniform());
        }
    }
    text
}

/// Two draws of one distribution are no domains that could be told apart, whatever their sizes and however their rows lie.
#[test]
fn the_distance_of_domains_does_not_go_by_the_order_of_rows() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    put(root, "large.csv", &in_class_order(200, 1));
    put(root, "small.csv", &in_class_order(66, 2));
    let table = |name: &str| {
        format!(
            "[stages.{name}]\nkind = \"download\"\nsource = \"file:{name}.csv\"\nformat = \"csv\"\n"
        )
    };
    let file = format!(
        "[pipeline]\nname = \"p\"\n{}{}\
         [stages.net]\nkind = \"pretrain\"\ntrain = \"large\"\nmodel = {{ layers = [8, \"relu\"] }}\n\
         epochs = 1\nbatch_size = 16\n\
         [stages.score]\nkind = \"evaluate\"\nmodels = [\"net\"]\n\
         on = [\"large.train\", \"small.train\"]\nproxy_a_distance = true\n\
         [stages.turned]\nkind = \"evaluate\"\nmodels = [\"net\"]\n\
         on = [\"small.train\", \"large.train\"]\nproxy_a_distance = true\n",
        table("large"),
        table("small"),
    );
    put(root, "p.toml", &file);
    run(root, "p.toml");
    for stage in ["score", "turned"] {
        let scores = rows(&latest(root, "p").join(format!("{stage}.csv")));
        let row = scores.iter().find(|row| row[2] == "proxy_a_distance").unwrap();
        let distance: f64 = row[3].parse().unwrap();
        // Twice the error of chance on 198 rows that were held out is a standard deviation of 0.14.
        assert!(distance.abs() < 0.6, "{stage}: {distance}");
    }
}

#[test]
fn labels_of_a_table_that_only_have_the_same_number_are_classes_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    put(root, "t.csv", "0.5,1,1e1\n0.25,2,10\n0.75,3,010\n");
    put(
        root,
        "p.toml",
        "[pipeline]\nname = \"p\"\n[stages.t]\nkind = \"download\"\nsource = \"file:t.csv\"\nformat = \"csv\"\n",
    );
    let said = run(root, "p.toml");
    assert!(said.contains("3 train rows of 2 features, 3 classes"), "{said}");
    let descriptions: Vec<PathBuf> = files(&root.join(".runner/artifacts"))
        .into_iter()
        .filter(|it| it.ends_with("dataset.json"))
        .collect();
    let [description] = descriptions.as_slice() else { panic!("{descriptions:?}") };
    let description: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(description).unwrap()).unwrap();
    assert_eq!(description["classes"], serde_json::json!(["010", "10", "1e1"]));
}
