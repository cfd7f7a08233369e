//! Networks of the zoo give torchvision's logits, and in a training pass its loss, gradients and
//! running statistics (tests/golden/zoo.py), parameter by parameter under torchvision's names.

use std::fs;

use crate::reference::{close, fill, hashed, sampled, tensor};
use runner::adapt::Supervised;
use runner::nn::geometry::Chw;
use runner::nn::ops::{CpuOps, Dims, Targets, Tensor};
use runner::nn::spec::{Layer, Named};
use runner::nn::{Model, Part, zoo};
use runner::train::{Batch, Bench, NetId, Optimizer, SourceBatch, TrainingSettings};
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
    let sgd = Optimizer::Sgd { lr: 1e-9, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let settings = TrainingSettings::plain(count, sgd);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let indices: Vec<usize> = (0..count).collect();
    let source = SourceBatch {
        images: images(salt, count, side),
        targets: Targets::plain(&labels),
        indices: (&indices).into(),
        views: Vec::new(),
    };
    let batch = Batch { source: Some(source), target: None };
    let (readings, gradients) = bench.step_alone(&mut Supervised, &batch, (0, 1), true).unwrap();
    let loss = readings.iter().find(|it| it.name == "class_loss").unwrap().value as f32;
    close(&format!("{name}: loss"), &[loss], &expected("loss"), (1e-4, 0.0));
    let model = bench.model(NetId::MAIN);
    let norm = |values: &[f32]| values.iter().map(|it| f64::from(*it).powi(2)).sum::<f64>().sqrt();
    let largest = model.parameters().iter().map(|it| norm(&expected(&format!("d.{}", it.name))));
    let floor = 1e-4 * largest.fold(0.0, f64::max);
    let mut checked = 0;
    for (parameter, ours) in &gradients[0] {
        let key = format!("d.{parameter}");
        close(&format!("{name}: {key}"), &sampled(ours, 32), &expected(&key), (2e-3, floor));
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
