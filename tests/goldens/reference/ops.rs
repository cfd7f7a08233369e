//! Every operation that PyTorch computed (tests/golden/ops.py), on any device.

use std::collections::BTreeMap;

use dfdx::prelude::*;
use runner::nn::geometry::{Chw, Conv2d, Pool2d, Rectifier};
use runner::nn::ops::batch_norm::{batch_norm_eval_generic, batch_norm_train_generic};
use runner::nn::ops::conv2d::conv2d_generic;
use runner::nn::ops::cross_entropy::cross_entropy_generic;
use runner::nn::ops::grad_reverse::grad_reverse_generic;
use runner::nn::ops::linear::linear_generic;
use runner::nn::ops::pool2d::{avg_pool2d_generic, global_avg_pool_generic, max_pool2d_generic};
use runner::nn::ops::relu::relu_generic;
use runner::nn::ops::scale_channels::scale_channels_generic;
use runner::nn::ops::{Batch, BatchMoments, Flat, Needs, Ops, Targets};
use safetensors::SafeTensors;
use serde_json::Value;

use super::Distance;

/// Largest L2 distance to PyTorch, relative to PyTorch's norm.
const TOLERANCE: f64 = 1e-4;

/// All gradients.
pub const BOTH: Needs = Needs { input: true, weight: true };

/// What computes an operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Form {
    /// The device's own form.
    Kernel,
    /// dfdx's operations, composed.
    Generic,
}

/// An operation with its settings.
#[derive(Debug, Clone)]
pub enum Op {
    Conv2d(Conv2d),
    MaxPool2d(Pool2d),
    AvgPool2d(Pool2d),
    GlobalAvgPool(Chw),
    BatchNormTrain { channels: usize, eps: f32 },
    BatchNormEval { channels: usize, eps: f32, mean: Vec<f32>, var: Vec<f32> },
    Linear { outputs: usize },
    Relu(Rectifier),
    ScaleChannels { scale: Vec<f32>, channels: usize },
    GradReverse { lambda: f32 },
    CrossEntropy { labels: Vec<u32>, mixed: Option<(Vec<u32>, f32)>, smoothing: f32 },
}

/// What a forward and a backward pass gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Passes {
    pub y: Vec<f32>,
    pub dx: Vec<f32>,
    pub parameters: Vec<Vec<f32>>,
    pub moments: Option<BatchMoments>,
}

/// Values and gradients for the output gradient `dy`.
pub fn passes<D: Ops>(
    device: &D,
    op: &Op,
    form: Form,
    needs: Needs,
    (x, n): (&[f32], usize),
    parameters: &[Vec<f32>],
    dy: &[f32],
) -> Passes {
    let flat =
        |values: &[f32]| -> Flat<D> { device.tensor_from_vec(values.to_vec(), (values.len(),)) };
    let input: Batch<D> = device.tensor_from_vec(x.to_vec(), (n, x.len() / n));
    let parameters: Vec<Flat<D>> = parameters.iter().map(|values| flat(values)).collect();
    let taped: Batch<D, OwnedTape<f32, D>> = input.clone().leaky_traced();
    let mut moments = None;
    let y = match (op, form) {
        (Op::CrossEntropy { labels, mixed, smoothing }, form) => {
            let mixed = mixed.as_ref().map(|(others, share)| (others.as_slice(), *share));
            let targets = Targets { labels, mixed, smoothing: *smoothing };
            let loss = match form {
                Form::Kernel => D::cross_entropy(taped, &targets),
                Form::Generic => cross_entropy_generic(taped, &targets),
            };
            let loss = loss.unwrap() * dy[0];
            let y = vec![loss.as_vec()[0] / dy[0]];
            let gradients = loss.backward();
            let dx = gradients.get(&input).as_vec();
            return Passes { y, dx, parameters: Vec::new(), moments };
        }
        (Op::BatchNormTrain { channels, eps }, form) => {
            let (weight, bias) = (&parameters[0], &parameters[1]);
            let (y, seen) = match form {
                Form::Kernel => D::batch_norm_train(taped, weight, bias, *channels, *eps, needs),
                Form::Generic => {
                    batch_norm_train_generic(taped, weight, bias, *channels, *eps, needs)
                }
            }
            .unwrap();
            moments = Some(seen);
            Ok(y)
        }
        (Op::Conv2d(shape), Form::Kernel) => {
            D::conv2d(taped, &parameters[0], parameters.get(1), shape, needs)
        }
        (Op::Conv2d(shape), Form::Generic) => {
            conv2d_generic(taped, &parameters[0], parameters.get(1), shape, needs)
        }
        (Op::MaxPool2d(shape), Form::Kernel) => D::max_pool2d(taped, shape),
        (Op::MaxPool2d(shape), Form::Generic) => max_pool2d_generic(taped, shape),
        (Op::AvgPool2d(shape), Form::Kernel) => D::avg_pool2d(taped, shape),
        (Op::AvgPool2d(shape), Form::Generic) => avg_pool2d_generic(taped, shape),
        (Op::GlobalAvgPool(input), Form::Kernel) => D::global_avg_pool(taped, *input),
        (Op::GlobalAvgPool(input), Form::Generic) => global_avg_pool_generic(taped, *input),
        (Op::BatchNormEval { channels, eps, mean, var }, form) => {
            let (weight, bias, mean, var) =
                (&parameters[0], &parameters[1], &flat(mean), &flat(var));
            let (channels, eps) = (*channels, *eps);
            match form {
                Form::Kernel => {
                    D::batch_norm_eval(taped, weight, bias, mean, var, channels, eps, needs)
                }
                Form::Generic => {
                    batch_norm_eval_generic(taped, weight, bias, mean, var, channels, eps, needs)
                }
            }
        }
        (Op::Linear { outputs }, Form::Kernel) => {
            D::linear(taped, &parameters[0], parameters.get(1), *outputs, needs)
        }
        (Op::Linear { outputs }, Form::Generic) => {
            linear_generic(taped, &parameters[0], parameters.get(1), *outputs, needs)
        }
        (Op::Relu(kind), Form::Kernel) => D::relu(taped, *kind),
        (Op::Relu(kind), Form::Generic) => relu_generic(taped, *kind),
        (Op::ScaleChannels { scale, channels }, Form::Kernel) => {
            D::scale_channels(taped, scale, *channels)
        }
        (Op::ScaleChannels { scale, channels }, Form::Generic) => {
            scale_channels_generic(taped, scale, *channels)
        }
        (Op::GradReverse { lambda }, Form::Kernel) => D::grad_reverse(taped, *lambda),
        (Op::GradReverse { lambda }, Form::Generic) => grad_reverse_generic(taped, *lambda),
    }
    .unwrap();
    let mut values = vec![0.0; dy.len()];
    y.copy_into(&mut values);
    let dy: Batch<D> = device.tensor_from_vec(dy.to_vec(), *y.shape());
    // A gradient that no step writes must exist to be seen to be zero.
    let mut gradients: Gradients<f32, D> = (y * dy).sum::<(), _>().backward();
    gradients.get_or_alloc_mut(&input).unwrap();
    for parameter in &parameters {
        gradients.get_or_alloc_mut(parameter).unwrap();
    }
    Passes {
        y: values,
        dx: gradients.get(&input).as_vec(),
        parameters: parameters.iter().map(|p| gradients.get(p).as_vec()).collect(),
        moments,
    }
}

/// One case of the golden file.
pub struct Golden {
    pub name: String,
    pub op: Op,
    pub n: usize,
    pub tensors: BTreeMap<String, Vec<f32>>,
}

impl Golden {
    pub fn parameters(&self) -> Vec<Vec<f32>> {
        ["weight", "bias"].iter().filter_map(|name| self.tensors.get(*name).cloned()).collect()
    }

    pub fn run<D: Ops>(&self, device: &D, form: Form, needs: Needs) -> Passes {
        let (x, dy) = ((&*self.tensors["x"], self.n), &*self.tensors["dy"]);
        passes(device, &self.op, form, needs, x, &self.parameters(), dy)
    }

    /// How far values, gradients and running statistics on `device` are from PyTorch's.
    pub fn distances<D: Ops>(&self, device: &D, form: Form) -> Vec<Distance> {
        let ours = self.run(device, form, BOTH);
        let distance = |tensor: &str, ours: &[f32], golden: &str| {
            let name = format!("{} {tensor} ({form:?})", self.name);
            Distance::of(&name, ours, &self.tensors[golden], (TOLERANCE, 0.0))
        };
        let mut distances = vec![distance("y", &ours.y, "y"), distance("dx", &ours.dx, "dx")];
        let expected = ["dweight", "dbias"].iter().filter(|key| self.tensors.contains_key(**key));
        let expected: Vec<_> = expected.collect();
        assert_eq!(ours.parameters.len(), expected.len(), "{}", self.name);
        for (ours, key) in ours.parameters.iter().zip(expected) {
            distances.push(distance(key, ours, key));
        }
        if let (Op::BatchNormTrain { channels, .. }, Some(moments)) = (&self.op, &ours.moments) {
            // As PyTorch with momentum 0.1: the running variance takes the unbiased one.
            let count = (self.tensors["x"].len() / channels) as f32;
            let moved = |old: &[f32], new: &[f32], factor: f32| -> Vec<f32> {
                old.iter().zip(new).map(|(old, new)| 0.9 * old + 0.1 * factor * new).collect()
            };
            let mean = moved(&self.tensors["mean"], &moments.mean, 1.0);
            let var = moved(&self.tensors["var"], &moments.var, count / (count - 1.0));
            distances.push(distance("running mean", &mean, "mean_after"));
            distances.push(distance("running variance", &var, "var_after"));
        }
        distances
    }
}

/// Every case of the golden file.
pub fn goldens() -> Vec<Golden> {
    let bytes = std::fs::read("tests/golden/ops.safetensors").unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases = &header.metadata().as_ref().unwrap()["cases"];
    let cases: BTreeMap<String, Value> = serde_json::from_str(cases).unwrap();
    cases
        .into_iter()
        .map(|(name, case)| {
            let prefix = format!("{name}/");
            let tensors: BTreeMap<String, Vec<f32>> = file
                .iter()
                .filter_map(|(key, view)| Some((key.strip_prefix(&prefix)?, view)))
                .map(|(key, view)| (key.to_owned(), floats(view.data())))
                .collect();
            let n = file.tensor(&format!("{name}/x")).unwrap().shape()[0];
            Golden { op: op(&case, &tensors), n, tensors, name }
        })
        .collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn op(case: &Value, tensors: &BTreeMap<String, Vec<f32>>) -> Op {
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let count = |key: &str| number(&case[key]);
    let pair = |key: &str| (number(&case[key][0]), number(&case[key][1]));
    #[allow(clippy::cast_possible_truncation)]
    let float = |key: &str| case[key].as_f64().unwrap() as f32;
    let image = || Chw {
        channels: number(&case["input"][0]),
        height: number(&case["input"][1]),
        width: number(&case["input"][2]),
    };
    let pool = || Pool2d {
        input: image(),
        kernel: pair("kernel"),
        stride: pair("stride"),
        padding: pair("padding"),
        ceil: case["ceil"] == Value::Bool(true),
    };
    match case["op"].as_str().unwrap() {
        "conv2d" => Op::Conv2d(Conv2d {
            input: image(),
            filters: count("filters"),
            kernel: pair("kernel"),
            stride: pair("stride"),
            padding: pair("padding"),
            groups: count("groups"),
        }),
        "max_pool2d" => Op::MaxPool2d(pool()),
        "avg_pool2d" => Op::AvgPool2d(pool()),
        "global_avg_pool" => Op::GlobalAvgPool(image()),
        "batch_norm" if case["train"] == Value::Bool(true) => {
            Op::BatchNormTrain { channels: count("channels"), eps: float("eps") }
        }
        "batch_norm" => Op::BatchNormEval {
            channels: count("channels"),
            eps: float("eps"),
            mean: tensors["mean"].clone(),
            var: tensors["var"].clone(),
        },
        "linear" => Op::Linear { outputs: count("outputs") },
        "relu" => Op::Relu(Rectifier::Relu),
        "relu6" => Op::Relu(Rectifier::Relu6),
        "scale_channels" => {
            Op::ScaleChannels { scale: tensors["scale"].clone(), channels: count("channels") }
        }
        "grad_reverse" => Op::GradReverse { lambda: float("lambda") },
        "cross_entropy" => {
            let labels = |key: &str| serde_json::from_value(case[key].clone()).unwrap();
            let given = |key: &str| if case[key].is_null() { 0.0 } else { float(key) };
            Op::CrossEntropy {
                labels: labels("labels"),
                mixed: (!case["others"].is_null()).then(|| (labels("others"), float("share"))),
                smoothing: given("smoothing"),
            }
        }
        other => panic!("{other} is not an operation"),
    }
}
