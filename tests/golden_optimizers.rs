//! Optimizers move parameters, and schedules rates, as PyTorch does (tests/golden/optimizers.py).

use std::fs;

use dfdx::prelude::*;
use runner::config::node::Value;
use runner::config::source::Sources;
use runner::config::{Keys, document};
use runner::nn::Model;
use runner::nn::model::host;
use runner::nn::ops::Chw;
use runner::nn::spec::{Layer, Named, Spec};
use runner::train::schedule::{Moment, Scheduled};
use runner::train::{Optimizer, OptimizerState};

fn golden() -> serde_json::Value {
    serde_json::from_slice(&fs::read("tests/golden/optimizers.json").unwrap()).unwrap()
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// What `read` makes of a line of TOML.
fn read<T>(line: &str, read: impl FnOnce(&mut Keys) -> Option<T>) -> T {
    let root = document::parse(Sources::default().add("test", line), line).unwrap();
    let Value::Table(table) = &root.value else { panic!("a document is a table") };
    let mut keys = Keys::new(table, root.span);
    let found = read(&mut keys).expect("a good setting");
    assert!(keys.finish().problems.is_empty());
    found
}

/// The hash of the script: uniform in [-1, 1).
fn hashed(salt: u32, len: usize) -> Vec<f32> {
    (0..u32::try_from(len).unwrap())
        .map(|i| {
            let mut h = i.wrapping_add(salt.wrapping_mul(0x9E37_79B1));
            h ^= h >> 16;
            h = h.wrapping_mul(0x85EB_CA6B);
            h ^= h >> 13;
            h = h.wrapping_mul(0xC2B2_AE35);
            h ^= h >> 16;
            (h >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// A network of one layer, whose 16 weights and 2 biases are the script's 18 parameters.
fn model(device: &Cpu) -> Model<Cpu> {
    let spec = Spec {
        arch: "layers".into(),
        input: Chw { channels: 8, height: 1, width: 1 },
        classes: 2,
        features: vec![Named::new("0", Layer::Flatten)],
        classifier: vec![Named::new("0", Layer::Linear { outputs: 2, bias: true })],
        domain_classifier: vec![Named::new("0", Layer::Linear { outputs: 2, bias: true })],
    };
    let mut model = Model::new(spec, device, 0).unwrap();
    let values = hashed(1, 18);
    for (parameter, values) in model.parameters_mut().iter_mut().zip([&values[..16], &values[16..]])
    {
        parameter.value.copy_from(values);
    }
    model
}

#[test]
fn every_optimizer_moves_parameters_as_pytorch_does() {
    let golden = golden();
    let scale = numbers(&golden["gradients"]);
    let settings = [
        ("sgd", "{ kind = 'sgd', lr = 0.1 }"),
        ("sgd, momentum", "{ kind = 'sgd', lr = 0.05, momentum = 0.9 }"),
        (
            "sgd, nesterov, decay",
            "{ kind = 'sgd', lr = 0.05, momentum = 0.8, nesterov = true, weight_decay = 0.1 }",
        ),
        ("adam", "{ kind = 'adam', lr = 0.01 }"),
        (
            "adam, decay",
            "{ kind = 'adam', lr = 0.01, betas = [0.8, 0.95], eps = 1e-6, weight_decay = 0.1 }",
        ),
        ("adamw", "{ kind = 'adamw', lr = 0.01, weight_decay = 0.2 }"),
        // PyTorch adds eps beside the root, dfdx under it: so small that it does not matter.
        ("rmsprop", "{ kind = 'rmsprop', lr = 0.01, eps = 1e-12 }"),
        (
            "rmsprop, momentum, decay",
            "{ kind = 'rmsprop', lr = 0.01, alpha = 0.9, eps = 1e-12, momentum = 0.7, weight_decay = 0.1 }",
        ),
    ];
    assert_eq!(golden["optimizers"].as_object().unwrap().len(), settings.len());
    for (name, line) in settings {
        let optimizer = read(&format!("optimizer = {line}"), Optimizer::read);
        let device = Cpu::default();
        let mut model = model(&device);
        let mut state = OptimizerState::new(optimizer, &model).unwrap();
        for (step, expected) in golden["optimizers"][name].as_array().unwrap().iter().enumerate() {
            let salt = 2 + u32::try_from(step).unwrap();
            let gradient: Vec<f32> =
                hashed(salt, 18).iter().zip(&scale).map(|(g, s)| g * *s as f32).collect();
            let mut gradients: Gradients<f32, Cpu> = Gradients::leaky();
            for (parameter, part) in
                model.parameters().iter().zip([&gradient[..16], &gradient[16..]])
            {
                let held: &mut Vec<f32> =
                    &mut *gradients.get_or_alloc_mut(&parameter.value).unwrap();
                held.copy_from_slice(part);
            }
            state.step(&mut model, &mut gradients, optimizer.lr()).unwrap();
            let ours: Vec<f32> =
                model.parameters().iter().flat_map(|parameter| host(&parameter.value)).collect();
            for (at, (ours, theirs)) in ours.iter().zip(numbers(expected)).enumerate() {
                let error = (f64::from(*ours) - theirs).abs();
                assert!(error < 2e-6, "{name}, step {step}, parameter {at}: {ours} not {theirs}");
            }
        }
    }
}

#[test]
fn every_schedule_gives_the_rates_of_pytorch_for_50_epochs() {
    let golden = golden();
    let settings = [
        ("step", "{ kind = 'step', every = 7, gamma = 0.5 }"),
        ("cosine", "{ kind = 'cosine', min = 0.1 }"),
        ("constant", "'constant'"),
        ("ganin", "'ganin'"),
        ("warm-up", "{ kind = 'constant', warmup_steps = 20 }"),
    ];
    assert_eq!(golden["schedules"].as_object().unwrap().len(), settings.len());
    for (name, line) in settings {
        let schedule = read(&format!("schedule = {line}"), Scheduled::read);
        for (epoch, rate) in numbers(&golden["schedules"][name]).into_iter().enumerate() {
            let moment = Moment { epoch, epochs: 50, step: epoch, steps: 50 };
            let ours = schedule.factor(&moment);
            assert!((ours - rate).abs() < 1e-12, "{name}, epoch {epoch}: {ours} not {rate}");
        }
    }
}
