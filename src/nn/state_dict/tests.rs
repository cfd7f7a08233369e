use std::collections::HashSet;
use std::fs;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::*;
use crate::nn::Saved;
use crate::nn::geometry::Chw;
use crate::nn::ops::CpuOps;
use crate::nn::zoo::{self, ArchSettings};

/// Tensors in single precision by their names.
type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

fn model(classes: usize, seed: u64) -> Model {
    let input = Chw { channels: 3, height: 28, width: 28 };
    let spec = (zoo::find("dacnn").unwrap().build)(ArchSettings::new(input, classes));
    Model::new(spec, &CpuOps::shared(), seed).unwrap()
}

/// What a model is saved as, its running statistics at 0.5 and 2.
fn tensors(mut model: Model) -> Tensors {
    for stats in model.stats_mut() {
        stats.mean.write(&vec![0.5; stats.mean.host().len()]);
        stats.var.write(&vec![2.0; stats.var.host().len()]);
    }
    let folder = tempfile::tempdir().unwrap();
    Saved { model, classes: Vec::new() }.save(folder.path()).unwrap();
    let bytes = fs::read(folder.path().join("weights.safetensors")).unwrap();
    let found = SafeTensors::deserialize(&bytes).unwrap();
    let floats = found.iter().filter(|(_, view)| view.dtype() == Dtype::F32);
    let numbers = |view: &TensorView| crate::nn::weights::from_little_endian(view.data());
    floats.map(|(name, view)| (name.to_owned(), view.shape().to_vec(), numbers(&view))).collect()
}

fn file(tensors: &Tensors) -> StateDict {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|it| crate::nn::weights::little_endian(&it.2)).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    StateDict::open(&path, None).unwrap()
}

/// Compares as a stage does.
fn compared(
    model: &Model,
    file: &StateDict,
    settings: LoadSettings,
) -> (WantedTensors, Taken, LoadPlan) {
    let wanted = WantedTensors::of(model.spec()).unwrap();
    let names: HashSet<&str> = wanted.names().into_iter().collect();
    let taken = Taken::of(&file.names(), &names, settings.prefix).unwrap();
    let fit = compare(&wanted, file, &taken, settings.skip).unwrap();
    (wanted, taken, fit)
}

const PLAIN: LoadSettings = LoadSettings { prefix: None, skip: &[], strict: true };

#[test]
fn weights_of_the_same_network_are_taken_whole() {
    let (from, mut to) = (model(10, 1), model(10, 2));
    let file = file(&tensors(from.clone()));
    let (_, taken, fit) = compared(&to, &file, PLAIN);
    assert!(fit.is_whole() && fit.differences().is_empty());
    assert_eq!(fit.share(), "100 %");
    load(&mut to, &file, &taken, &fit).unwrap();
    for (from, to) in from.parameters().iter().zip(to.parameters()) {
        assert_eq!(from.value.host(), to.value.host(), "{}", from.name);
    }
    assert!(to.stats().iter().all(|it| it.mean.host()[0] == 0.5 && it.var.host()[0] == 2.0));
}

#[test]
fn what_differs_is_listed_and_what_is_skipped_stays() {
    let mut to = model(4, 2);
    let mut all = tensors(model(10, 1));
    all.push(("aux.weight".into(), vec![1], vec![0.0]));
    all.retain(|it| it.0 != "features.conv2.bias");
    let differing = file(&all);
    let (_, _, fit) = compared(&to, &differing, PLAIN);
    assert_eq!(
        fit.differences(),
        [
            "1 missing in the file: features.conv2.bias",
            "1 that no layer has: aux.weight",
            "2 of another shape: classifier.fc3.weight is [10, 100], the network's [4, 100], \
             classifier.fc3.bias is [10], the network's [4]",
        ]
    );
    let before = to.parameters().last().unwrap().value.host();
    let skip = ["classifier.fc3.*".to_owned()];
    let whole = file(&tensors(model(10, 1)));
    let (wanted, taken, fit) = compared(&to, &whole, LoadSettings { skip: &skip, ..PLAIN });
    assert!(fit.is_whole());
    assert_eq!(fit.skipped, ["classifier.fc3.weight", "classifier.fc3.bias"]);
    assert!(fit.parameters.0 < fit.parameters.1 && fit.share() != "100 %", "{}", fit.share());
    load(&mut to, &whole, &taken, &fit).unwrap();
    assert_eq!(to.parameters().last().unwrap().value.host(), before);
    assert!(compare(&wanted, &whole, &taken, &["fc9.*".to_owned()]).is_err());
}

#[test]
fn a_weight_or_statistic_that_is_not_finite_is_an_error_with_its_name() {
    for (name, value) in [
        ("features.conv1.weight", f32::NAN),
        ("features.bn1.running_var", f32::INFINITY),
        ("classifier.fc3.bias", f32::NEG_INFINITY),
    ] {
        let (mut to, mut all) = (model(10, 2), tensors(model(10, 1)));
        all.iter_mut().find(|it| it.0 == name).unwrap().2[3] = value;
        let file = file(&all);
        let (_, taken, fit) = compared(&to, &file, PLAIN);
        let error = load(&mut to, &file, &taken, &fit).unwrap_err().to_string();
        assert!(error.contains(&format!("tensor `{name}` is not finite: 1 of its ")), "{error}");
        // One that is not loaded harms nobody.
        let skip = [name.to_owned()];
        let (_, taken, fit) = compared(&to, &file, LoadSettings { skip: &skip, ..PLAIN });
        load(&mut to, &file, &taken, &fit).unwrap();
    }
}

/// Renames every tensor.
fn called(tensors: &Tensors, name: impl Fn(&str) -> String) -> Tensors {
    tensors.iter().map(|(was, shape, it)| (name(was), shape.clone(), it.clone())).collect()
}

fn advised(file: &StateDict, settings: LoadSettings) -> Vec<String> {
    let (wanted, taken, fit) = compared(&model(4, 2), file, settings);
    assert!(!fit.is_whole());
    advice(&wanted, file, &taken, &fit, settings)
}

#[test]
fn advice_names_the_prefix_and_the_layers_and_what_comes_of_it() {
    let all = tensors(model(10, 1));
    assert_eq!(
        advised(&file(&all), PLAIN),
        ["`skip = [\"classifier.fc3.*\"]`: 99.8 % of the parameters come from the file then"]
    );
    let wrapped = called(&all, |name| format!("encoder.{name}"));
    assert_eq!(
        advised(&file(&wrapped), PLAIN),
        ["`prefix = \"encoder.\"` and `skip = [\"classifier.fc3.*\"]`: 99.8 % of the parameters \
          come from the file then"]
    );
    // A prefix that is dropped by itself is named where something lies beside it.
    let mut beside = called(&all, |name| format!("backbone.{name}"));
    beside.push(("head.weight".into(), vec![1], vec![0.0]));
    let lines = advised(&file(&beside), PLAIN);
    assert!(lines[0].starts_with("`prefix = \"backbone.\"` and `skip = "), "{lines:?}");
    assert!(!lines[0].contains("strict"), "{lines:?}");
    let twice =
        [called(&all, |it| format!("student.{it}")), called(&all, |it| format!("teacher.{it}"))];
    let lines = advised(&file(&twice.concat()), PLAIN);
    assert!(lines[0].starts_with("`prefix = \"student.\"`"), "{lines:?}");
    assert!(lines[1].starts_with("`prefix = \"teacher.\"`"), "{lines:?}");
}

#[test]
fn advice_is_not_strict_unless_something_is_left_over_and_something_is_loaded() {
    let mut all = tensors(model(10, 1));
    all.push(("aux.weight".into(), vec![1], vec![0.0]));
    let lines = advised(&file(&all), PLAIN);
    assert!(lines[0].contains("`strict = false`"), "{lines:?}");
    let other = called(&all, |name| format!("{name}_x"));
    let lines = advised(&file(&other), PLAIN);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("look whether `model` is the network"), "{lines:?}");
}
