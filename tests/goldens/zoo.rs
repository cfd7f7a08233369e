//! Networks of the zoo give torchvision's logits, and in a training pass its loss, gradients and
//! running statistics (tests/golden/zoo.py), parameter by parameter under torchvision's names.

use std::fs;

use crate::reference::{close, fill, hashed, sampled, tensor};
use runner::adapt::{Method, Step, TrainingProgress};
use runner::nn::geometry::Chw;
use runner::nn::ops::{CpuOps, Dims, Tape, Targets, Tensor};
use runner::nn::spec::{Layer, Named};
use runner::nn::{EntryLayer, Model, Part, zoo};
use safetensors::SafeTensors;

fn without_dropout(layers: &mut [Named]) {
    for named in layers {
        if let Layer::Dropout { p } = &mut named.layer {
            *p = 0.0;
        }
    }
}

fn network(name: &str, side: usize) -> Model {
    let input = Chw { channels: 3, height: side, width: side };
    let mut spec = (zoo::find(name).unwrap().build)(zoo::ArchSettings::new(input, 10));
    without_dropout(&mut spec.heads[&Part::CLASSIFIER]);
    let mut model = Model::new(spec, &CpuOps::shared(), 0).unwrap();
    fill(&mut model, |name| if name.contains("bn3") { 0.1 } else { 0.7 }, 2);
    model
}

pub fn images(salt: usize, count: usize, side: usize) -> Tensor {
    let len = 3 * side * side;
    CpuOps::shared().tensor(hashed(salt, count * len, 2.0), Dims::Rows(count, len)).unwrap()
}

/// `step` is how many images a training pass has, how large, and their salt in the script.
fn check(name: &str, step: Option<(usize, usize, usize)>) {
    let golden = fs::read("tests/golden/zoo.safetensors").unwrap();
    let expected = |key: &str| tensor(&golden, &format!("{name}.{key}"));
    let logits = network(name, 64).logits(&images(3000, 3, 64)).unwrap().host();
    close(&format!("{name}: logits"), &logits, &expected("logits"), (1e-4, 0.0));
    let Some((count, side, salt)) = step else { return };
    let mut model = network(name, side);
    // By definition only: a rounding more may turn a rectifier.
    model.set_precise(true);
    let labels: Vec<u32> = (0..count).map(|at| (at * 3 % 10) as u32).collect();
    let tape = Tape::default();
    let step = Step {
        model: &mut model,
        tape: &tape,
        entry: EntryLayer::IMAGES,
        source: images(salt, count, side),
        targets: Targets::plain(&labels),
        target: None,
        progress: TrainingProgress { share: 0.0, step: 0 },
        seed: 0,
        epoch: 0,
        step: 0,
    };
    let losses = Method::Supervised.losses(step).unwrap();
    close(&format!("{name}: loss"), &losses.total.host(), &expected("loss"), (1e-4, 0.0));
    let mut gradients = tape.backward(&losses.total).unwrap();
    let norm = |values: &[f32]| values.iter().map(|it| f64::from(*it).powi(2)).sum::<f64>().sqrt();
    let largest = model.parameters().iter().map(|it| norm(&expected(&format!("d.{}", it.name))));
    let floor = 1e-4 * largest.fold(0.0, f64::max);
    let mut checked = 0;
    for parameter in model.parameters() {
        let ours = gradients.take(&parameter.value).expect(&parameter.name).host();
        let key = format!("d.{}", parameter.name);
        close(&format!("{name}: {key}"), &sampled(&ours, 32), &expected(&key), (2e-3, floor));
        checked += 1;
    }
    for stats in model.stats() {
        for (what, ours) in [("running_mean", &stats.mean), ("running_var", &stats.var)] {
            let key = format!("{}.{what}", stats.layer);
            close(
                &format!("{name}: {key}"),
                &sampled(&ours.host(), 16),
                &expected(&key),
                (1e-3, 0.0),
            );
        }
    }
    let tensors = SafeTensors::deserialize(&golden).unwrap();
    let theirs = tensors.names().into_iter().filter(|it| it.starts_with(&format!("{name}.d.")));
    assert_eq!(checked, theirs.count(), "{name}: other parameters than torchvision's");
}

#[test]
fn resnet34_equals_torchvision_s() {
    check("resnet34", Some((3, 48, 2006)));
}

#[test]
fn resnet50_equals_torchvision_s() {
    check("resnet50", Some((3, 48, 2006)));
}

#[test]
fn mobilenet_v2_equals_torchvision_s() {
    check("mobilenet_v2", Some((3, 48, 2000)));
}

#[test]
fn squeezenet1_1_equals_torchvision_s() {
    check("squeezenet1_1", Some((3, 48, 2006)));
}

#[test]
fn vgg11_bn_equals_torchvision_s() {
    check("vgg11_bn", None);
}
