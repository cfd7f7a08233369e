//! ResNet18 gives the logits that torchvision's gives, and after five fine-tuning steps with
//! `layer4` and `fc` thawed its losses, parameters and running statistics
//! (tests/golden/resnet.py); what is frozen keeps every bit.

use std::fs;

use crate::reference::{close, fill, sampled, tensor};
use crate::zoo::images;
use runner::adapt::Supervised;
use runner::nn::geometry::Chw;
use runner::nn::ops::{CpuOps, Dims, Tape, Targets};
use runner::nn::{FrozenBatchNorm, Model, Part, Pass, freeze, zoo};
use runner::train::{Batch, Bench, NetId, Optimizer, SourceBatch, TrainingSettings};

fn golden() -> Vec<u8> {
    fs::read("tests/golden/resnet.safetensors").unwrap()
}

fn network(side: usize) -> Model {
    let input = Chw { channels: 3, height: side, width: side };
    let spec = (zoo::find("resnet18").unwrap().build)(zoo::ArchSettings::new(input, 10));
    let mut model = Model::new(spec, &CpuOps::shared(), 0).unwrap();
    fill(&mut model, |name| if name.contains("bn2") { 0.5 } else { 1.0 }, 3);
    model
}

#[test]
fn logits_of_resnet18_equal_torchvision_s() {
    let golden = tensor(&golden(), "logits");
    for precise in [false, true] {
        let mut model = network(224);
        model.set_precise(precise);
        let logits = model.logits(&images(3000, 3, 224)).unwrap().host();
        close("logits", &logits, &golden, (1e-4, 0.0));
    }
}

fn finetune(mode: FrozenBatchNorm, word: &str) {
    let golden = golden();
    let expected = |name: &str| tensor(&golden, &format!("{word}.{name}"));
    let mut model = network(64);
    let patterns = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    freeze::apply(&mut model, &patterns(&["*"]), &patterns(&["layer4.*", "fc.*"])).unwrap();
    model.set_frozen_batch_norm(mode);
    let before = model.clone();
    let optimizer = Optimizer::Sgd { lr: 0.01, momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    let settings = TrainingSettings::plain(6, optimizer);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut losses = Vec::new();
    for step in 0..5_usize {
        let labels: Vec<u32> = (0..6).map(|at| ((at * 3 + step) % 10) as u32).collect();
        let source = SourceBatch {
            images: images(2000 + step, 6, 64),
            targets: Targets::plain(&labels),
            indices: (&[0, 1, 2, 3, 4, 5]).into(),
            views: Vec::new(),
        };
        let batch = Batch { source: Some(source), target: None };
        let taken = bench.step_alone(&mut Supervised, &batch, (step, 5), false).unwrap();
        losses.push(taken.0.iter().find(|it| it.name == "class_loss").unwrap().value as f32);
    }
    let model = bench.model(NetId::MAIN);
    close("losses", &losses, &expected("losses"), (1e-3, 0.0));
    for (parameter, before) in model.parameters().iter().zip(before.parameters()) {
        if parameter.trainable {
            let name = &parameter.name;
            close(name, &sampled(&parameter.value.host(), 512), &expected(name), (1e-3, 0.0));
        } else {
            assert_eq!(parameter.value.host(), before.value.host(), "{}", parameter.name);
        }
    }
    for (stats, before) in model.stats().iter().zip(before.stats()) {
        for (what, ours) in [("running_mean", &stats.mean), ("running_var", &stats.var)] {
            let name = format!("{}.{what}", stats.layer);
            close(&name, &sampled(&ours.host(), 512), &expected(&name), (1e-3, 0.0));
        }
        if mode == FrozenBatchNorm::Eval && !stats.layer.starts_with("layer4.") {
            assert_eq!(stats.mean.host(), before.mean.host(), "{}", stats.layer);
            assert_eq!(stats.batches, before.batches);
        }
    }
}

#[test]
fn five_steps_with_frozen_batch_norm_in_eval_mode_equal_pytorch() {
    finetune(FrozenBatchNorm::Eval, "eval");
}

#[test]
fn five_steps_with_frozen_batch_norm_in_train_mode_equal_pytorch() {
    finetune(FrozenBatchNorm::Train, "train");
}

/// What makes it possible to compute the frozen part once: neither the images beside it nor the
/// pass nor the place in the batch moves a bit of what comes out for an image.
#[test]
fn frozen_features_are_the_same_bits_for_an_image_in_any_batch() {
    let mut model = network(64);
    let freeze = ["*".to_owned()];
    freeze::apply(&mut model, &freeze, &["layer4.1.*".to_owned()]).unwrap();
    let entry = model.frozen_entry();
    assert_eq!(model.entry_shape(entry), Chw { channels: 512, height: 2, width: 2 });
    let all = images(7, 21, 64);
    let rows = all.host();
    let len = rows.len() / 21;
    let whole = model.features_up_to(entry, &all).unwrap().host();
    let out = whole.len() / 21;
    for pick in [vec![20], vec![3, 17, 0, 9, 20]] {
        let some: Vec<f32> =
            pick.iter().flat_map(|at| rows[at * len..(at + 1) * len].to_vec()).collect();
        let some = model.ops().tensor(some, Dims::Rows(pick.len(), len)).unwrap();
        let tape = Tape::default();
        let key = runner::nn::DropoutKey { seed: 0, pass: "source", epoch: 0, step: 0 };
        let pass = Pass::train(&tape, key);
        let from_images = model.clone().forward(&Part::FEATURES, &some, pass).unwrap().host();
        let features = model.features_up_to(entry, &some).unwrap();
        let expected: Vec<f32> =
            pick.iter().flat_map(|at| whole[at * out..(at + 1) * out].to_vec()).collect();
        assert_eq!(features.host(), expected);
        let from_entry = model.clone().features_from(entry, &features, pass).unwrap();
        assert_eq!(from_entry.host(), from_images);
    }
}
