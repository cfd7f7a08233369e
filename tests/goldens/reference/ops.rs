//! Every operation that PyTorch computed (tests/golden/ops.py), on any backend.

use std::collections::BTreeMap;

use runner::nn::geometry::{Chw, Conv2d, Pool2d, Rectifier};
use runner::nn::ops::{Backend, CpuOps, Dims, Norm, Running, Tape, Targets, Tensor};
use safetensors::SafeTensors;
use serde_json::Value;

use super::{Distance, hashed};

/// Largest L2 distance to PyTorch, relative to PyTorch's norm.
const TOLERANCE: f64 = 1e-4;

/// Weight of the newest batch in running averages.
const MOMENTUM: f32 = 0.1;

/// Whose gradients are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Needs {
    pub input: bool,
    pub weight: bool,
}

/// All gradients.
pub const BOTH: Needs = Needs { input: true, weight: true };

/// An operation with its settings.
#[derive(Debug, Clone)]
pub enum Op {
    Conv2d(Conv2d),
    MaxPool2d(Pool2d),
    AvgPool2d(Pool2d),
    GlobalAvgPool(Chw),
    BatchNormTrain { channels: usize, eps: f32, mean: Vec<f32>, var: Vec<f32> },
    BatchNormEval { channels: usize, eps: f32, mean: Vec<f32>, var: Vec<f32> },
    Linear { outputs: usize },
    Relu(Rectifier),
    ScaleChannels { scale: Vec<f32>, channels: usize },
    GradReverse { lambda: f32 },
    CrossEntropy { labels: Vec<u32>, mixed: Option<(Vec<u32>, f32)>, smoothing: f32 },
}

/// What a forward and a backward pass gave. A gradient that nobody wanted is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct Passes {
    pub y: Vec<f32>,
    pub dx: Option<Vec<f32>>,
    pub parameters: Vec<Option<Vec<f32>>>,
    /// Running mean and variance afterwards.
    pub running: Option<[Vec<f32>; 2]>,
}

/// Values and gradients for the output gradient `dy`.
pub fn passes(
    ops: &Backend,
    op: &Op,
    needs: Needs,
    (x, n): (&[f32], usize),
    parameters: &[Vec<f32>],
    dy: &[f32],
) -> Passes {
    let tape = Tape::default();
    let tensor = |values: &[f32], dims, learns: bool| {
        let tensor = ops.tensor(values.to_vec(), dims).unwrap();
        if learns { tensor.on(&tape) } else { tensor }
    };
    let flat = |values: &[f32], learns| tensor(values, Dims::Flat(values.len()), learns);
    let input = tensor(x, Dims::Rows(n, x.len() / n), needs.input);
    let parameters: Vec<Tensor> = parameters.iter().map(|it| flat(it, needs.weight)).collect();
    let mut running = None;
    let y = compute(ops, op, &input, &parameters, &flat, &mut running);
    let dy = tensor(dy, y.dims(), false);
    let loss = y.mul(&dy).unwrap().sum().unwrap();
    let mut gradients = tape.backward(&loss).unwrap();
    let mut gradient = |of: &Tensor| gradients.take(of).map(|gradient| gradient.host());
    Passes {
        y: y.host(),
        dx: gradient(&input),
        parameters: parameters.iter().map(gradient).collect(),
        running: running.map(|moments| moments.map(|it| it.host())),
    }
}

/// The values of an operation; `running` are the averages that it moved.
fn compute(
    ops: &Backend,
    op: &Op,
    x: &Tensor,
    parameters: &[Tensor],
    flat: &dyn Fn(&[f32], bool) -> Tensor,
    running: &mut Option<[Tensor; 2]>,
) -> Tensor {
    match op {
        Op::Conv2d(shape) => ops.conv2d(x, &parameters[0], parameters.get(1), shape),
        Op::MaxPool2d(shape) => ops.max_pool2d(x, shape),
        Op::AvgPool2d(shape) => ops.avg_pool2d(x, shape),
        Op::GlobalAvgPool(input) => ops.global_avg_pool(x, *input),
        Op::BatchNormTrain { channels, eps, mean, var } => {
            let [mean, var] = running.insert([flat(mean, false), flat(var, false)]);
            let norm = Norm::Batch {
                weight: &parameters[0],
                bias: &parameters[1],
                eps: *eps,
                running: Some(Running { mean, var, momentum: MOMENTUM }),
            };
            ops.batch_norm(x, norm, *channels)
        }
        Op::BatchNormEval { channels, eps, mean, var } => {
            let norm = Norm::Fixed {
                weight: &parameters[0],
                bias: &parameters[1],
                mean: &flat(mean, false),
                var: &flat(var, false),
                eps: *eps,
            };
            ops.batch_norm(x, norm, *channels)
        }
        Op::Linear { outputs } => ops.linear(x, &parameters[0], parameters.get(1), *outputs),
        Op::Relu(kind) => ops.relu(x, *kind),
        Op::ScaleChannels { scale, channels } => ops.scale_channels(x, scale, *channels),
        Op::GradReverse { lambda } => x.grad_scale(-lambda),
        Op::CrossEntropy { labels, mixed, smoothing } => {
            let mixed = mixed.as_ref().map(|(others, share)| (others.as_slice(), *share));
            ops.cross_entropy(x, &Targets { labels: labels.into(), mixed, smoothing: *smoothing })
        }
    }
    .unwrap()
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

    pub fn run(&self, ops: &Backend, needs: Needs) -> Passes {
        let (x, dy) = ((&*self.tensors["x"], self.n), &*self.tensors["dy"]);
        passes(ops, &self.op, needs, x, &self.parameters(), dy)
    }

    /// How far values, gradients and running statistics on `ops` are from PyTorch's.
    pub fn distances(&self, ops: &Backend) -> Vec<Distance> {
        let ours = self.run(ops, BOTH);
        let distance = |tensor: &str, ours: &[f32], golden: &str| {
            let name = format!("{} {tensor} ({ops:?})", self.name);
            Distance::of(&name, ours, &self.tensors[golden], (TOLERANCE, 0.0))
        };
        let reached = |gradient: &Option<Vec<f32>>| gradient.clone().expect("it is wanted");
        let mut distances =
            vec![distance("y", &ours.y, "y"), distance("dx", &reached(&ours.dx), "dx")];
        let expected = ["dweight", "dbias"].iter().filter(|key| self.tensors.contains_key(**key));
        let expected: Vec<_> = expected.collect();
        assert_eq!(ours.parameters.len(), expected.len(), "{}", self.name);
        for (ours, key) in ours.parameters.iter().zip(expected) {
            distances.push(distance(key, &reached(ours), key));
        }
        assert_eq!(ours.running.is_some(), matches!(self.op, Op::BatchNormTrain { .. }));
        if let Some([mean, var]) = &ours.running {
            distances.push(distance("running mean", mean, "mean_after"));
            distances.push(distance("running variance", var, "var_after"));
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

pub fn floats(bytes: &[u8]) -> Vec<f32> {
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
            let (channels, eps) = (count("channels"), float("eps"));
            let (mean, var) = (tensors["mean"].clone(), tensors["var"].clone());
            Op::BatchNormTrain { channels, eps, mean, var }
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

/// How far a convolution of so many pixels that a GPU cuts it into large tiles is from the processor's: output and gradients. Both
/// are compared by the root of the sum of squares, of which `bound` may be off.
pub fn many_tiles(ops: &Backend, bound: f64) -> Vec<Distance> {
    let input = Chw { channels: 5, height: 73, width: 73 };
    let shape =
        Conv2d { input, filters: 7, kernel: (3, 3), stride: (1, 1), padding: (1, 1), groups: 1 };
    let n = 6;
    let x = hashed(1, n * input.len(), 1.0);
    let parameters = [hashed(2, shape.weight_len(), 0.5), hashed(3, 7, 0.5)];
    let dy = hashed(4, n * shape.output().len(), 1.0);
    let run = |ops| passes(ops, &Op::Conv2d(shape), BOTH, (&x, n), &parameters, &dy);
    let (found, wanted) = (run(ops), run(&CpuOps::shared()));
    let of = |name: &str, found: &[f32], wanted: &[f32]| {
        Distance::of(&format!("{name} of a large convolution"), found, wanted, (bound, 0.0))
    };
    let mut distances = vec![of("output", &found.y, &wanted.y)];
    let gradients = |of: Passes| [of.dx].into_iter().chain(of.parameters).flatten();
    let names = ["gradient of the input", "gradient of the weight", "gradient of the bias"];
    for (name, (found, wanted)) in names.iter().zip(gradients(found).zip(gradients(wanted))) {
        distances.push(of(name, &found, &wanted));
    }
    assert_eq!(distances.len(), 4, "every gradient is there");
    distances
}
