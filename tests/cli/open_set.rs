//! A target with images of none of the source's classes: the class that is made for them, the network that
//! has it, and its scores.

use std::fs;
use std::path::Path;

use crate::binary::{runner, text};
use crate::photos::folders;

const BIKE: (&str, [u8; 3]) = ("bike", [20, 30, 220]);
const LAMP: (&str, [u8; 3]) = ("lamp", [20, 220, 40]);
const MUG: (&str, [u8; 3]) = ("mug", [220, 30, 20]);

const PIPELINE: &str = r#"
[pipeline]
name = "p"

[stages.amazon]
kind = "download"
source = "file:amazon"
format = "image-folder"

[stages.caltech]
kind = "download"
source = "file:caltech"
format = "image-folder"

[stages.open_source]
kind = "split"
input = "amazon"
others = "unknown"

[stages.open_target]
kind = "split"
input = "caltech"
classes = ["bike", "mug"]
others = "unknown"

[stages.net]
kind = "finetune"
model = { layers = ["flatten"] }
train = "open_source"
method = { kind = "osbp", target = "open_target" }
epochs = 3
batch_size = 6

[stages.score]
kind = "evaluate"
models = ["net"]
on = ["open_source.train", "open_target.train"]
unknown = "unknown"
"#;

/// A folder with the images of both domains, and the pipeline with something else in the place of each first
/// text.
fn folder(changes: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    folders(root.path(), "amazon", &[BIKE, MUG]);
    folders(root.path(), "caltech", &[BIKE, LAMP, MUG]);
    let mut pipeline = PIPELINE.to_owned();
    for (from, to) in changes {
        assert!(pipeline.contains(from), "{from}");
        pipeline = pipeline.replacen(from, to, 1);
    }
    fs::write(root.path().join("p.toml"), pipeline).unwrap();
    root
}

fn run(root: &Path) -> (Option<i32>, String) {
    let output = runner(root, &["run", "p.toml"]);
    (output.status.code(), text(&output.stderr))
}

#[test]
fn images_of_no_known_class_are_scored_beside_the_known_ones() {
    let root = folder(&[]);
    let (code, said) = run(root.path());
    assert_eq!(code, Some(0), "{said}");
    let csv = fs::read_to_string(root.path().join("results/p/latest/score.csv")).unwrap();
    let score = |dataset: &str, metric: &str| {
        let start = format!("net,{dataset},{metric},");
        let found = csv.lines().find_map(|line| line.strip_prefix(&start));
        found.map(|value| value.parse::<f64>().unwrap())
    };
    let (source, target) = ("open_source.train", "open_target.train");
    assert!(score(source, "os_star").is_some() && score(source, "unk").is_none(), "{csv}");
    assert_eq!(score(target, "count"), Some(18.0));
    let [known, unknown, both] = ["os_star", "unk", "hos"].map(|it| score(target, it).unwrap());
    let classes = [0, 1].map(|class| score(target, &format!("class_accuracy.{class}")).unwrap());
    assert!((known - (classes[0] + classes[1]) / 2.0).abs() < 1e-12, "{csv}");
    assert_eq!(Some(unknown), score(target, "class_accuracy.2"));
    let product = 2.0 * known * unknown;
    assert!((both * (known + unknown) - product).abs() < 1e-12, "{csv}");
    let training = fs::read_to_string(root.path().join("results/p/latest/net.csv")).unwrap();
    assert!(training.contains(",boundary_loss,"), "{training}");
}

#[test]
fn a_model_without_a_class_for_the_unknown_is_refused() {
    // Nothing in front of the training makes it.
    let root = folder(&[("others = \"unknown\"\n", "holdout = 2\n")]);
    let (code, said) = run(root.path());
    assert_eq!(code, Some(2), "{said}");
    let message = "this method wants `unknown` to be the last class of the model";
    assert!(said.contains(message) && said.contains("`others = \"unknown\"`"), "{said}");
    // A network of the known classes comes in.
    let known = "[stages.known]\nkind = \"pretrain\"\ntrain = \"amazon\"\nepochs = 1\n\
                 batch_size = 6\nmodel = { layers = [\"flatten\"] }\n\n[stages.net]";
    let fresh = "model = { layers = [\"flatten\"] }\ntrain = \"open_source\"";
    let trained = "model = \"known\"\ntrain = \"open_source\"";
    let root = folder(&[("[stages.net]", known), (fresh, trained)]);
    let (code, said) = run(root.path());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(message) && said.contains("`head = []`"), "{said}");
}

#[test]
fn a_class_that_no_model_has_is_no_class_of_the_unknown() {
    let root = folder(&[("\nunknown = \"unknown\"", "\nunknown = \"unknwon\"")]);
    let (code, said) = run(root.path());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("model `net`: it has no class `unknwon`"), "{said}");
    assert!(said.contains("`unknown`"), "{said}");
}
