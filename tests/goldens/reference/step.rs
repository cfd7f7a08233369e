//! One adaptation step of `dacnn` against PyTorch's (tests/golden/dann_step.py, coral_step.py), on any device.

use std::fs;

use runner::nn::geometry::Chw;
use runner::nn::ops::{Backend, Dims, Targets};
use runner::nn::spec::Layer;
use runner::nn::{Model, zoo};
use runner::train::{
    Adam, Batch, Bench, Method, NetId, Optimizer, SourceBatch, TargetBatch, TrainingSettings,
};

use super::method_step::method;
use super::{Distance, hashed, norm, sampled, tensor};

/// Largest L2 distances to PyTorch, relative to PyTorch's norm: of losses, parameters and statistics, and of gradients.
const TOLERANCES: (f64, f64) = (1e-4, 1e-4);

/// The same in bf16. A number near the middle between two of bf16 may be rounded to either, whatever little the sums before it differ
/// by, and batches of six images magnify that. Without rounding the gradients are off by 0.3.
const IN_BF16: (f64, f64) = (1e-2, 5e-2);

/// One step of DANN against PyTorch's.
pub fn dann(ops: &Backend) -> Vec<Distance> {
    let method = method("{ kind = 'dann', target = 'other.train', lambda = 0.6 }");
    let losses = ["class_loss", "source_domain_loss", "target_domain_loss"];
    step_distances(ops, &*method, "dann", &losses, (4096, TOLERANCES))
}

/// One step of DANN in bf16 against that of PyTorch with the same factors rounded.
pub fn dann_in_bf16(ops: &Backend) -> Vec<Distance> {
    let method = method("{ kind = 'dann', target = 'other.train', lambda = 0.6 }");
    let losses = ["class_loss", "source_domain_loss", "target_domain_loss"];
    step_distances(ops, &*method, "dann_bf16", &losses, (1024, IN_BF16))
}

/// One step of Deep CORAL against PyTorch's.
pub fn coral(ops: &Backend) -> Vec<Distance> {
    let method = method("{ kind = 'coral', target = 'other.train', lambda = 300.0 }");
    step_distances(ops, &*method, "coral", &["class_loss", "coral_loss"], (1024, TOLERANCES))
}

/// How far one step of `method` on `ops` is from that of `tests/golden/{name}_step.safetensors`, which
/// holds the losses `names` and at most `most` values per tensor.
fn step_distances(
    ops: &Backend,
    method: &dyn Method,
    name: &str,
    names: &[&str],
    (most, (of_values, of_gradients)): (usize, (f64, f64)),
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
    let tensor = |salt, count, bound| {
        ops.tensor(hashed(salt, count * images, bound), Dims::Rows(count, images)).unwrap()
    };
    let batch = Batch {
        source: Some(SourceBatch {
            images: tensor(101, 6, 1.0),
            targets: Targets::plain(&labels),
            indices: (&[0, 1, 2, 3, 4, 5]).into(),
            views: Vec::new(),
        }),
        target: Some(TargetBatch {
            images: tensor(102, 5, 0.5),
            indices: (&[0, 1, 2, 3, 4]).into(),
            views: Vec::new(),
        }),
    };
    let adam =
        Optimizer::Adam(Adam { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-4, weight_decay: 0.0 });
    let settings = TrainingSettings::plain(6, adam);
    let mut bench = Bench::alone(model, &settings).unwrap();
    let mut learner = method.begin(&mut bench).unwrap();
    let (readings, gradients) = bench.step_alone(&mut *learner, &batch, (0, 1), true).unwrap();
    let ours: Vec<f32> = names
        .iter()
        .map(|name| readings.iter().find(|r| r.name == *name).unwrap().value as f32)
        .collect();
    measure("losses", &ours, &expected("losses"), (of_values, 0.0));

    let [gradients] = &gradients[..] else { panic!("one descent") };
    let whole = norm(gradients.iter().flat_map(|(_, values)| values.iter().copied()));
    let model = bench.model(NetId::MAIN);
    assert_eq!(gradients.len(), model.parameters().len());
    for (name, values) in gradients {
        // A bias before batch norm has no gradient but rounding noise: measured by the whole.
        let name = format!("gradient {name}");
        measure(&name, &sampled(values, most), &expected(&name), (of_gradients, 1e-6 * whole));
    }
    for parameter in model.parameters() {
        let name = format!("parameter {}", parameter.name);
        let ours = sampled(&parameter.value.host(), most);
        measure(&name, &ours, &expected(&name), (of_values, 0.0));
    }
    for stats in model.stats() {
        for (word, tensor) in [("running_mean", &stats.mean), ("running_var", &stats.var)] {
            let name = format!("buffer {}.{word}", stats.layer);
            measure(&name, &tensor.host(), &expected(&name), (of_values, 0.0));
        }
    }
    distances
}
