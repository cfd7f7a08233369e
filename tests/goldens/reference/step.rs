//! One adaptation step of `dacnn` against PyTorch's (tests/golden/dann_step.py, coral_step.py), on any backend.

use std::fs;

use runner::adapt::{Coefficient, Coral, Dann, Method, Step, TrainingProgress};
use runner::config::source::{SourceId, Sources, Span};
use runner::config::{Reference, Wants};
use runner::nn::geometry::Chw;
use runner::nn::ops::{Backend, Dims, Tape, Targets};
use runner::nn::spec::Layer;
use runner::nn::{EntryLayer, Model, zoo};
use runner::train::{Optimizer, OptimizerState};

use super::{Distance, gradients, hashed, norm, sampled, tensor};

fn target() -> Reference {
    let mut sources = Sources::default();
    let source: SourceId = sources.add("test", "");
    Reference {
        key: "method.target".into(),
        stage: "target".into(),
        split: Some("train".into()),
        wants: Wants::Split("train"),
        span: Span { source, start: 0, end: 0 },
    }
}

/// One step of DANN against PyTorch's.
pub fn dann(ops: &Backend) -> Vec<Distance> {
    let lambda = Coefficient::Constant { max: 0.6 };
    let method = Method::Dann(Dann { target: target(), lambda, domain_head: None });
    let losses = ["class_loss", "source_domain_loss", "target_domain_loss"];
    step_distances(ops, &method, "dann", &losses, 4096)
}

/// One step of Deep CORAL against PyTorch's.
pub fn coral(ops: &Backend) -> Vec<Distance> {
    let lambda = Coefficient::Constant { max: 300.0 };
    let method = Method::Coral(Coral { target: target(), lambda });
    step_distances(ops, &method, "coral", &["class_loss", "coral_loss"], 1024)
}

/// How far one step of `method` on `ops` is from that of `tests/golden/{name}_step.safetensors`, which
/// holds the losses `names` and at most `most` values per tensor.
fn step_distances(
    ops: &Backend,
    method: &Method,
    name: &str,
    names: &[&str],
    most: usize,
) -> Vec<Distance> {
    let mut distances = Vec::new();
    let mut measure = |name: &str, ours: &[f32], golden: &[f32], bounds| {
        distances.push(Distance::of(name, ours, golden, bounds));
    };
    let bytes = fs::read(format!("tests/golden/{name}_step.safetensors")).unwrap();
    let expected = |name: &str| tensor(&bytes, name);

    let mut spec = (zoo::find("dacnn").unwrap().build)(zoo::ArchSettings::new(
        Chw { channels: 3, height: 28, width: 28 },
        10,
    ));
    for named in &mut spec.features {
        if let Layer::Dropout2d { p } = &mut named.layer {
            *p = 0.0;
        }
    }
    let mut model = Model::new(spec, ops, 0).unwrap();
    for head in method.heads(model.spec()) {
        model.add_head(head, 0).unwrap();
    }
    for (at, parameter) in model.parameters_mut().iter_mut().enumerate() {
        let is_norm = parameter.name.contains(".bn");
        let len: usize = parameter.shape.iter().product();
        let bound = match parameter.shape.len() {
            1 => 0.25,
            _ => (1.0 / (parameter.shape[1..].iter().product::<usize>() as f64).sqrt()) as f32,
        };
        let mut values = hashed(at + 1, len, bound);
        if is_norm && parameter.name.ends_with("weight") {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        parameter.value.write(&values);
    }

    let images = 3 * 28 * 28;
    let labels: Vec<u32> = (0..6).map(|i| (7 * i + 3) % 10).collect();
    let images = |salt, count, bound| {
        ops.tensor(hashed(salt, count * images, bound), Dims::Rows(count, images)).unwrap()
    };
    let tape = Tape::default();
    let losses = method
        .losses(Step {
            model: &mut model,
            tape: &tape,
            entry: EntryLayer::IMAGES,
            source: images(101, 6, 1.0),
            targets: Targets::plain(&labels),
            target: Some(images(102, 5, 0.5)),
            progress: TrainingProgress { share: 0.0, step: 0 },
            seed: 0,
            epoch: 0,
            step: 0,
        })
        .unwrap();
    let ours: Vec<f32> = names
        .iter()
        .map(|name| losses.readings.iter().find(|r| r.name == *name).unwrap().value as f32)
        .collect();
    measure("losses", &ours, &expected("losses"), (1e-4, 0.0));

    let mut found = tape.backward(&losses.total).unwrap();
    let reached = model.parameters().iter().map(|it| found.take(&it.value).expect(&it.name).host());
    let reached: Vec<Vec<f32>> = reached.collect();
    let whole = norm(reached.iter().flatten().copied());
    for (parameter, gradient) in model.parameters().iter().zip(&reached) {
        // A bias before batch norm has no gradient but rounding noise: measured by the whole.
        let name = format!("gradient {}", parameter.name);
        measure(&name, &sampled(gradient, most), &expected(&name), (1e-4, 1e-6 * whole));
    }

    let adam = Optimizer::Adam(runner::train::Adam {
        lr: 1e-3,
        betas: [0.9, 0.999],
        eps: 1e-4,
        weight_decay: 0.0,
    });
    let mut optimizer = OptimizerState::new(adam, &model).unwrap();
    // Taken once, gradients are gone.
    let mut gradients = gradients(&model, |at| reached[at].clone());
    optimizer.step(&mut model, &mut gradients, |lr| lr, None).unwrap();
    for parameter in model.parameters() {
        let name = format!("parameter {}", parameter.name);
        measure(&name, &sampled(&parameter.value.host(), most), &expected(&name), (1e-4, 0.0));
    }
    for stats in model.stats() {
        for (word, tensor) in [("running_mean", &stats.mean), ("running_var", &stats.var)] {
            let name = format!("buffer {}.{word}", stats.layer);
            measure(&name, &tensor.host(), &expected(&name), (1e-4, 0.0));
        }
    }
    distances
}
