//! Optimizers move parameters, and schedules rates, as PyTorch does (tests/golden/optimizers.py).

use std::fs;

use crate::backends::backends;
use crate::reference::{gradients, hashed};
use runner::config::node::Value;
use runner::config::source::Sources;
use runner::config::{Keys, Noted, document};
use runner::nn::geometry::Chw;
use runner::nn::ops::Backend;
use runner::nn::spec::{Init, Layer, Named, Spec, two_heads};
use runner::nn::{Model, Part};
use runner::train::groups::{Groups, L2Sp};
use runner::train::monitor::ValidationScores;
use runner::train::schedule::{Moment, Scheduled};
use runner::train::{Optimizer, OptimizerState};

fn golden() -> serde_json::Value {
    serde_json::from_slice(&fs::read("tests/golden/optimizers.json").unwrap()).unwrap()
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// What `read` makes of a line of TOML.
fn read<T>(line: &str, read: impl FnOnce(&mut Keys) -> Result<T, Noted>) -> T {
    let root = document::parse(Sources::default().add("test", line), line).unwrap();
    let Value::Table(table) = &root.value else { panic!("a document is a table") };
    let mut keys = Keys::new(table, root.span);
    let found = read(&mut keys).expect("a good setting");
    assert!(keys.finish().problems.is_empty());
    found
}

/// A network of one layer, whose 16 weights and 2 biases are the script's 18 parameters.
fn model(ops: &Backend) -> Model {
    let spec = Spec {
        init: Init::Default,
        arch: "layers".into(),
        input: Chw { channels: 8, height: 1, width: 1 },
        middle_of: None,
        classes: 2,
        features: vec![Named::new("features.0", Layer::Flatten)],
        heads: two_heads(
            vec![Named::new("classifier.0", Layer::Linear { outputs: 2, bias: true })],
            vec![Named::new("domain_classifier.0", Layer::Linear { outputs: 2, bias: true })],
        ),
    };
    let mut model = Model::new(spec, ops, 0).unwrap();
    let values = hashed(1, 18, 1.0);
    for (parameter, values) in model.parameters_mut().iter_mut().zip([&values[..16], &values[16..]])
    {
        parameter.value.write(values);
    }
    model
}

/// The gradient of a step as in the script, from 1 down to 1e-3 times the hash.
fn gradient(step: usize, scale: &[f64]) -> Vec<f32> {
    hashed(2 + step, 18, 1.0).iter().zip(scale).map(|(g, s)| g * *s as f32).collect()
}

/// The 18 parameters after each of 8 steps of the optimizer on this line.
fn walk(ops: &Backend, line: &str, l2_sp: Option<L2Sp>, scale: &[f64]) -> Vec<Vec<f32>> {
    let (optimizer, groups) = read(&format!("optimizer = {line}"), Optimizer::read);
    let mut model = model(ops);
    let groups = Groups { groups, l2_sp, ..Groups::default() };
    let rates = groups.rates(&optimizer, &model, &["classifier.0.bias".to_owned()]).unwrap();
    let mut state = OptimizerState::with_rates(rates, &model, &[true, true]).unwrap();
    let step = |step| {
        let gradient = gradient(step, scale);
        let parts = [&gradient[..16], &gradient[16..]];
        let mut gradients = gradients(&model, |at| parts[at].to_vec());
        let all = |_: &Part| true;
        state.step(&mut model, &mut gradients, all, |lr| lr, None, |_, _, _| ()).unwrap();
        model.parameters().iter().flat_map(|parameter| parameter.value.host()).collect()
    };
    (0..8).map(step).collect()
}

/// [`walk`] on every backend comes within 1e-5 of every value, but for a rounding of the numbers that it
/// was added up from.
fn assert_same_walk(
    name: &str,
    (line, l2_sp): (&str, Option<L2Sp>),
    scale: &[f64],
    expected: &[Vec<f64>],
) {
    for ops in backends() {
        let name = format!("{name} on {ops:?}");
        assert_same_values(&name, &walk(&ops, line, l2_sp, scale), expected);
    }
}

fn assert_same_values(name: &str, ours: &[Vec<f32>], expected: &[Vec<f64>]) {
    assert_eq!(ours.len(), expected.len());
    for (step, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        assert_eq!(ours.len(), expected.len());
        for (at, (ours, expected)) in ours.iter().zip(expected).enumerate() {
            let error = (f64::from(*ours) - expected).abs();
            assert!(
                error <= 1e-5 * expected.abs() + 1e-7,
                "{name}, step {step}, parameter {at}: {ours} not {expected}"
            );
        }
    }
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
        let expected: Vec<Vec<f64>> =
            golden["optimizers"][name].as_array().unwrap().iter().map(numbers).collect();
        assert_same_walk(name, (line, None), &scale, &expected);
    }
}

#[test]
fn rmsprop_divides_by_the_root_of_the_mean_square_and_the_square_of_eps() {
    let scale = numbers(&golden()["gradients"]);
    // From an eps that rules every step to the default, below every mean square.
    for eps in [1.0, 1e-3, 1e-8] {
        let (lr, alpha, momentum, decay) = (0.01, 0.9, 0.7, 0.1);
        let line = format!(
            "{{ kind = 'rmsprop', lr = {lr}, alpha = {alpha}, eps = {eps:e}, \
             momentum = {momentum}, weight_decay = {decay} }}"
        );
        let mut values: Vec<f64> = hashed(1, 18, 1.0).into_iter().map(f64::from).collect();
        let (mut squares, mut speeds) = (vec![0.0; 18], vec![0.0; 18]);
        let step = |step| {
            for (at, gradient) in gradient(step, &scale).into_iter().enumerate() {
                let gradient = f64::from(gradient) + decay * values[at];
                squares[at] = alpha * squares[at] + (1.0 - alpha) * gradient * gradient;
                speeds[at] = momentum * speeds[at] + gradient / (squares[at] + eps * eps).sqrt();
                values[at] -= lr * speeds[at];
            }
            values.clone()
        };
        let expected: Vec<Vec<f64>> = (0..8).map(step).collect();
        assert_same_walk(&format!("eps {eps:e}"), (&line, None), &scale, &expected);
    }
}

#[test]
fn every_schedule_gives_the_rates_of_pytorch_for_50_epochs() {
    let golden = golden();
    // Whether a rate holds for an epoch of several steps, or changes with every step.
    let settings = [
        ("step", "{ kind = 'step', every = 7, gamma = 0.5 }", true),
        ("cosine", "{ kind = 'cosine', min = 0.1 }", true),
        ("constant", "'constant'", true),
        ("ganin", "'ganin'", false),
        ("inverse", "{ kind = 'inverse', gamma = 0.002, power = 0.7 }", false),
        ("inverse, defaults", "'inverse'", false),
        ("warm-up", "{ kind = 'constant', warmup_steps = 20 }", false),
        ("multi_step", "{ kind = 'multi_step', milestones = [4, 5, 30], gamma = 0.3 }", true),
        ("exponential", "{ kind = 'exponential', gamma = 0.9 }", true),
        ("one_cycle", "{ kind = 'one_cycle' }", false),
        (
            "one_cycle, other",
            "{ kind = 'one_cycle', pct_start = 0.5, div_factor = 10, final_div_factor = 100 }",
            false,
        ),
        ("plateau", "{ kind = 'reduce_on_plateau', factor = 0.5, patience = 2 }", true),
        (
            "plateau, cooldown",
            "{ kind = 'reduce_on_plateau', factor = 0.3, patience = 1, cooldown = 3, threshold = 0.02, \
             min_lr = 1e-3 }",
            true,
        ),
        (
            "plateau, max",
            "{ kind = 'reduce_on_plateau', metric = 'accuracy', patience = 0, threshold = 0.03, \
             threshold_mode = 'abs', eps = 1e-4 }",
            true,
        ),
        ("plateau, course", "{ kind = 'reduce_on_plateau', factor = 0.05, patience = 5 }", true),
    ];
    let scores: Vec<ValidationScores> = numbers(&golden["losses"])
        .into_iter()
        .map(|loss| ValidationScores { loss, accuracy: 1.0 - loss / 4.0 })
        .collect();
    assert_eq!(golden["schedules"].as_object().unwrap().len(), settings.len());
    for (name, line, by_epoch) in settings {
        let schedule = read(&format!("schedule = {line}"), Scheduled::read);
        let rates = numbers(&golden["schedules"][name]);
        assert_eq!(rates.len(), 50);
        let moments = (0..150).map(|at| match by_epoch {
            true => (
                at / 3,
                Moment {
                    epoch: at / 3,
                    epochs: 50,
                    step: at,
                    steps: 150,
                    validation: &scores[..at / 3],
                },
            ),
            false => (
                at % 50,
                Moment {
                    epoch: at % 50 / 5,
                    epochs: 10,
                    step: at % 50,
                    steps: 50,
                    validation: &[],
                },
            ),
        });
        for (at, moment) in moments {
            let (ours, rate) = (schedule.lr(1.0, &moment), rates[at]);
            assert!((ours - rate).abs() < 1e-12, "{name}, {moment:?}: {ours} not {rate}");
        }
    }
}

#[test]
fn the_momentum_of_one_cycle_goes_as_pytorchs() {
    let momenta = numbers(&golden()["momentum"]);
    let schedule = read("schedule = 'one_cycle'", Scheduled::read);
    for (step, momentum) in momenta.into_iter().enumerate() {
        let moment = Moment { epoch: step / 5, epochs: 10, step, steps: 50, validation: &[] };
        let ours = schedule.momentum(&moment).unwrap();
        assert!((ours - momentum).abs() < 1e-12, "step {step}: {ours} not {momentum}");
    }
    let line = "schedule = { kind = 'one_cycle', cycle_momentum = false }";
    let moment = Moment { epoch: 0, epochs: 10, step: 3, steps: 50, validation: &[] };
    assert_eq!(read(line, Scheduled::read).momentum(&moment), None);
}

#[test]
fn groups_and_decay_toward_the_start_move_parameters_as_pytorch_does() {
    let golden = golden();
    let scale = numbers(&golden["gradients"]);
    let l2_sp = Some(L2Sp { alpha: 0.3, beta: 0.05 });
    let settings = [
        (
            "sgd, groups",
            "{ kind = 'sgd', lr = 0.05, momentum = 0.9, weight_decay = 0.1, \
             groups = { '*.bias' = { lr = 0.01, weight_decay = 0 } } }",
            None,
        ),
        ("adam, lr 0", "{ kind = 'adam', lr = 0.01, groups = { '*.weight' = { lr = 0 } } }", None),
        ("sgd, l2_sp", "{ kind = 'sgd', lr = 0.05, momentum = 0.9 }", l2_sp),
        ("adam, l2_sp", "{ kind = 'adam', lr = 0.01 }", l2_sp),
    ];
    assert_eq!(golden["groups"].as_object().unwrap().len(), settings.len());
    for (name, line, l2_sp) in settings {
        let expected: Vec<Vec<f64>> =
            golden["groups"][name].as_array().unwrap().iter().map(numbers).collect();
        assert_same_walk(name, (line, l2_sp), &scale, &expected);
    }
}

#[test]
fn warm_up_multiplies_the_rate_of_the_schedule_that_it_leads_into() {
    let golden = numbers(&golden()["schedules"]["cosine"]);
    let line = "schedule = { kind = 'cosine', min = 0.1, warmup_steps = 4 }";
    let schedule = read(line, Scheduled::read);
    for (epoch, rate) in golden.into_iter().enumerate() {
        for step in [2 * epoch, 2 * epoch + 1] {
            let rise = ((step + 1) as f64 / 4.0).min(1.0);
            let ours =
                schedule.lr(1.0, &Moment { epoch, epochs: 50, step, steps: 100, validation: &[] });
            assert!((ours - rise * rate).abs() < 1e-12, "step {step}: {ours} not {rise} * {rate}");
        }
    }
}
