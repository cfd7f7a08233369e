//! Weights of the user's own: what is taken from which file, what is said of it, and advice that works
//! when it is followed. The files are PyTorch's (tests/golden/torch_files.py).

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::binary::{runner, text};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torch_files").join(name)
}

/// A pipeline that takes the weights at `path` for a network of one linear layer.
fn pipeline(root: &Path, path: &Path, classes: usize, more: &[String]) {
    let text = format!(
        "[pipeline]\nname = \"w\"\n[stages.net]\nkind = \"download\"\nsource = \"file:{}\"\n\
         format = \"weights\"\nmodel = {{ layers = [], classes = {classes} }}\ninput = [3, 1, 1]\n{}\n",
        path.display(),
        more.join("\n")
    );
    fs::write(root.join("p.toml"), text).unwrap();
}

/// Runs it; whether that went well, and what was said.
fn run(root: &Path) -> (bool, String) {
    let output = runner(root, &["run", "p.toml", "--offline"]);
    (output.status.success(), text(&output.stderr))
}

fn done(root: &Path) -> String {
    let (well, said) = run(root);
    assert!(well, "{said}");
    said
}

fn failed(root: &Path) -> String {
    let (well, said) = run(root);
    assert!(!well, "{said}");
    said
}

/// The values of a tensor of the network.
fn loaded(root: &Path, name: &str) -> Vec<f32> {
    let export = ["export", "results/w/latest", "net", "out", "--force"];
    let output = runner(root, &export[..4]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let bytes = fs::read(root.join("out/weights.safetensors")).unwrap();
    fs::remove_dir_all(root.join("out")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = tensors.tensor(name).unwrap().data();
    data.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

/// The settings in backticks that a line of help begins with.
fn advised(said: &str) -> Vec<String> {
    let line = said
        .lines()
        .find(|line| {
            ["`prefix = ", "`skip = ", "`entry = ", "`strict = "].iter().any(|it| line.contains(it))
        })
        .unwrap_or_else(|| panic!("no advice: {said}"));
    let end = line.find("come from the file").unwrap_or(line.len());
    line[..end].split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Tensors in a file of safetensors.
fn safetensors(path: &Path, tensors: &[(&str, &[usize], Vec<f32>)]) {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|it| it.2.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

const WEIGHT: &str = "classifier.0.weight";
const VALUES: [f32; 6] = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25];

#[test]
fn the_checkpoint_of_a_training_script_is_taken_and_said_to_be_whole() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pipeline(root, &golden("network.pth.tar"), 2, &[]);
    let said = done(root);
    assert!(said.contains("takes the entry `state_dict` of the file"), "{said}");
    assert!(said.contains("drops `module.` from names of the file"), "{said}");
    assert!(said.contains("all 8 parameters are loaded"), "{said}");
    assert!(said.contains("2 tensors loaded, 100 % of 8 parameters"), "{said}");
    assert_eq!(loaded(root, WEIGHT), VALUES);
}

#[test]
fn one_of_several_entries_is_taken_when_it_is_named_as_the_help_says() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pipeline(root, &golden("network-teacher.pth"), 2, &[]);
    let said = failed(root);
    assert!(said.contains("several of its entries hold tensors"), "{said}");
    let advice = advised(&said);
    assert_eq!(advice, ["entry = \"student\"", "entry = \"teacher\""]);
    for (entry, expected) in advice.into_iter().zip([[0.0; 6], VALUES]) {
        pipeline(root, &golden("network-teacher.pth"), 2, &[entry]);
        done(root);
        assert_eq!(loaded(root, WEIGHT), expected);
    }
}

#[test]
fn weights_that_are_not_finite_are_refused_whether_strict_or_not() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for strict in ["", "strict = false"] {
        pipeline(root, &golden("network-nan.pth"), 2, &[strict.to_owned()]);
        let said = failed(root);
        assert!(said.contains("tensor `classifier.0.weight` is not finite: 1 of its 6"), "{said}");
    }
}

#[test]
fn a_file_of_which_nothing_fits_is_an_error_also_when_not_strict() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let file = root.join("other.safetensors");
    safetensors(&file, &[("conv.weight", &[2], vec![1.0, 2.0])]);
    for more in ["", "strict = false", "skip = [\"*\"]"] {
        pipeline(root, &file, 2, &[more.to_owned()]);
        let said = failed(root);
        assert!(said.contains("does not hold the weights of `layers`"), "{said}");
        assert!(!said.contains("`strict = false`"), "{said}");
    }
    // The shape alone does not fit, either.
    safetensors(
        &file,
        &[(WEIGHT, &[2, 4], vec![0.0; 8]), ("classifier.0.bias", &[3], vec![0.0; 3])],
    );
    pipeline(root, &file, 2, &["strict = false".to_owned()]);
    assert!(failed(root).contains("nothing of it fits"));
}

#[test]
fn every_usual_prefix_is_dropped_in_safetensors_too() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for prefix in ["module.", "_orig_mod.", "model.", "backbone.", "net.", "module._orig_mod."] {
        let file = root.join(format!("{prefix}safetensors"));
        let (weight, bias) = (format!("{prefix}{WEIGHT}"), format!("{prefix}classifier.0.bias"));
        safetensors(&file, &[(&weight, &[2, 3], VALUES.to_vec()), (&bias, &[2], vec![1.0, 2.0])]);
        pipeline(root, &file, 2, &[]);
        assert!(done(root).contains(&format!("drops `{prefix}` from names")));
        assert_eq!(loaded(root, WEIGHT), VALUES, "{prefix}");
    }
}

#[test]
fn advice_on_names_works_when_it_is_followed() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let file = root.join("w.safetensors");
    let bias = vec![1.0, 2.0];
    // (names and shapes, classes, what of the network is then loaded)
    let encoder = ("encoder.classifier.0.weight", "encoder.classifier.0.bias");
    let backbone = ("backbone.classifier.0.weight", "backbone.classifier.0.bias");
    for (tensors, share) in [
        (
            vec![(encoder.0, &[2_usize, 3][..], VALUES.to_vec()), (encoder.1, &[2], bias.clone())],
            "100 %",
        ),
        (
            vec![
                (backbone.0, &[2, 3][..], VALUES.to_vec()),
                (backbone.1, &[2], bias.clone()),
                ("projector.weight", &[1], vec![0.0]),
            ],
            "100 %",
        ),
        (vec![(WEIGHT, &[2, 3][..], VALUES.to_vec())], "75.0 %"),
        (
            vec![
                (WEIGHT, &[2, 3][..], VALUES.to_vec()),
                ("classifier.0.bias", &[2], bias),
                ("aux.weight", &[1], vec![0.0]),
            ],
            "100 %",
        ),
    ] {
        safetensors(&file, &tensors);
        pipeline(root, &file, 2, &[]);
        let said = failed(root);
        assert!(said.contains(&format!("{share} of the parameters come from the file")), "{said}");
        pipeline(root, &file, 2, &advised(&said));
        let said = done(root);
        assert!(said.contains(&format!("loaded, {share} of 8 parameters")), "{said}");
        assert_eq!(loaded(root, WEIGHT), VALUES);
    }
}

#[test]
fn a_prefix_takes_only_what_is_below_it_with_or_without_its_dot() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let file = root.join("w.safetensors");
    let tensors: Vec<(String, Vec<usize>, Vec<f32>)> = ["model.", "model_ema."]
        .iter()
        .zip([0.0, 1.0])
        .flat_map(|(prefix, by)| {
            let weight = VALUES.map(|value| value + by).to_vec();
            [
                (format!("{prefix}{WEIGHT}"), vec![2, 3], weight),
                (format!("{prefix}classifier.0.bias"), vec![2], vec![by; 2]),
            ]
        })
        .collect();
    let tensors: Vec<(&str, &[usize], Vec<f32>)> =
        tensors.iter().map(|it| (it.0.as_str(), it.1.as_slice(), it.2.clone())).collect();
    safetensors(&file, &tensors);
    for (prefix, first) in [("model", 0.0), ("model.", 0.0), ("model_ema.", 1.0)] {
        pipeline(root, &file, 2, &[format!("prefix = \"{prefix}\"")]);
        done(root);
        assert_eq!(loaded(root, WEIGHT)[0], first, "{prefix}");
    }
    pipeline(root, &file, 2, &["prefix = \"ema.\"".to_owned()]);
    let said = failed(root);
    assert!(said.contains("no name begins with `ema.`"), "{said}");
    assert!(said.contains("`prefix = \"model.\"` or `prefix = \"model_ema.\"`"), "{said}");
    pipeline(root, &file, 2, &["entry = \"model\"".to_owned()]);
    assert!(failed(root).contains("leave `entry` out"));
}

#[test]
fn a_network_that_no_memory_holds_is_an_error_of_the_file() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let file = root.join("w.safetensors");
    safetensors(&file, &[(WEIGHT, &[2, 3], VALUES.to_vec())]);
    for (head, said) in [
        ("[4294967295]", "a size of 4294967295 is too large"),
        ("[9000000, 9000000]", "more numbers than any machine holds"),
    ] {
        let text = format!(
            "[pipeline]\nname = \"w\"\n[stages.net]\nkind = \"download\"\n\
             source = \"file:w.safetensors\"\nformat = \"weights\"\ninput = [3, 1, 1]\n\
             model = {{ layers = [], head = {head}, classes = 2 }}\n"
        );
        fs::write(root.join("p.toml"), text).unwrap();
        let found = failed(root);
        assert!(found.contains(said), "{found}");
    }
}
