//! Every operation gives the values and gradients that PyTorch gives (tests/golden/ops.py), in
//! its CPU form and composed of dfdx's operations; gradients agree with finite differences; and
//! no number depends on how many threads compute it.

use std::collections::BTreeMap;

use dfdx::prelude::*;
use runner::nn::ops::batch_norm::{batch_norm_eval_generic, batch_norm_train_generic};
use runner::nn::ops::conv_block::conv_block_generic;
use runner::nn::ops::conv2d::conv2d_generic;
use runner::nn::ops::cross_entropy::cross_entropy_generic;
use runner::nn::ops::grad_reverse::grad_reverse_generic;
use runner::nn::ops::linear::linear_generic;
use runner::nn::ops::pool2d::{avg_pool2d_generic, global_avg_pool_generic, max_pool2d_generic};
use runner::nn::ops::relu::relu_generic;
use runner::nn::ops::scale_channels::scale_channels_generic;
use runner::nn::ops::{
    Batch, BlockNeeds, Chw, Conv2d, ConvBlock, FixedNorm, Flat, Moments, Needs, Norm, Ops, Pool2d,
    Rectifier, Targets,
};
use safetensors::SafeTensors;
use serde_json::Value;

/// Largest L2 distance to PyTorch, relative to PyTorch's norm.
const TOLERANCE: f64 = 1e-4;

const BOTH: Needs = Needs { input: true, weight: true };

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Kernel,
    Generic,
}

/// An operation with its settings.
#[derive(Debug, Clone)]
enum Op {
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
struct Passes {
    y: Vec<f32>,
    dx: Vec<f32>,
    parameters: Vec<Vec<f32>>,
    moments: Option<Moments>,
}

type Taped = OwnedTape<f32, Cpu>;

/// Values and gradients for the output gradient `dy`.
fn passes(
    op: &Op,
    form: Form,
    needs: Needs,
    (x, n): (&[f32], usize),
    parameters: &[Vec<f32>],
    dy: &[f32],
) -> Passes {
    let device = Cpu::default();
    let flat =
        |values: &[f32]| -> Flat<Cpu> { device.tensor_from_vec(values.to_vec(), (values.len(),)) };
    let input: Batch<Cpu> = device.tensor_from_vec(x.to_vec(), (n, x.len() / n));
    let parameters: Vec<Flat<Cpu>> = parameters.iter().map(|values| flat(values)).collect();
    let taped: Batch<Cpu, Taped> = input.clone().leaky_traced();
    let mut moments = None;
    let y = match (op, form) {
        (Op::CrossEntropy { labels, mixed, smoothing }, form) => {
            let mixed = mixed.as_ref().map(|(others, share)| (others.as_slice(), *share));
            let targets = Targets { labels, mixed, smoothing: *smoothing };
            let loss = match form {
                Form::Kernel => Cpu::cross_entropy(taped, &targets),
                Form::Generic => cross_entropy_generic(taped, &targets),
            };
            let loss = loss.unwrap() * dy[0];
            let y = vec![loss.array() / dy[0]];
            let gradients = loss.backward();
            let dx = gradients.get(&input).as_vec();
            return Passes { y, dx, parameters: Vec::new(), moments };
        }
        (Op::BatchNormTrain { channels, eps }, form) => {
            let (weight, bias) = (&parameters[0], &parameters[1]);
            let (y, seen) = match form {
                Form::Kernel => Cpu::batch_norm_train(taped, weight, bias, *channels, *eps, needs),
                Form::Generic => {
                    batch_norm_train_generic(taped, weight, bias, *channels, *eps, needs)
                }
            }
            .unwrap();
            moments = Some(seen);
            Ok(y)
        }
        (Op::Conv2d(shape), Form::Kernel) => {
            Cpu::conv2d(taped, &parameters[0], parameters.get(1), shape, needs)
        }
        (Op::Conv2d(shape), Form::Generic) => {
            conv2d_generic(taped, &parameters[0], parameters.get(1), shape, needs)
        }
        (Op::MaxPool2d(shape), Form::Kernel) => Cpu::max_pool2d(taped, shape),
        (Op::MaxPool2d(shape), Form::Generic) => max_pool2d_generic(taped, shape),
        (Op::AvgPool2d(shape), Form::Kernel) => Cpu::avg_pool2d(taped, shape),
        (Op::AvgPool2d(shape), Form::Generic) => avg_pool2d_generic(taped, shape),
        (Op::GlobalAvgPool(input), Form::Kernel) => Cpu::global_avg_pool(taped, *input),
        (Op::GlobalAvgPool(input), Form::Generic) => global_avg_pool_generic(taped, *input),
        (Op::BatchNormEval { channels, eps, mean, var }, form) => {
            let (weight, bias, mean, var) =
                (&parameters[0], &parameters[1], &flat(mean), &flat(var));
            let (channels, eps) = (*channels, *eps);
            match form {
                Form::Kernel => {
                    Cpu::batch_norm_eval(taped, weight, bias, mean, var, channels, eps, needs)
                }
                Form::Generic => {
                    batch_norm_eval_generic(taped, weight, bias, mean, var, channels, eps, needs)
                }
            }
        }
        (Op::Linear { outputs }, Form::Kernel) => {
            Cpu::linear(taped, &parameters[0], parameters.get(1), *outputs, needs)
        }
        (Op::Linear { outputs }, Form::Generic) => {
            linear_generic(taped, &parameters[0], parameters.get(1), *outputs, needs)
        }
        (Op::Relu(kind), Form::Kernel) => Cpu::relu(taped, *kind),
        (Op::Relu(kind), Form::Generic) => relu_generic(taped, *kind),
        (Op::ScaleChannels { scale, channels }, Form::Kernel) => {
            Cpu::scale_channels(taped, scale, *channels)
        }
        (Op::ScaleChannels { scale, channels }, Form::Generic) => {
            scale_channels_generic(taped, scale, *channels)
        }
        (Op::GradReverse { lambda }, Form::Kernel) => Cpu::grad_reverse(taped, *lambda),
        (Op::GradReverse { lambda }, Form::Generic) => grad_reverse_generic(taped, *lambda),
    }
    .unwrap();
    let mut values = vec![0.0; dy.len()];
    y.copy_into(&mut values);
    let dy: Batch<Cpu> = device.tensor_from_vec(dy.to_vec(), *y.shape());
    // A gradient that no step writes must exist to be seen to be zero.
    let mut gradients: Gradients<f32, Cpu> = (y * dy).sum::<(), _>().backward();
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
struct Golden {
    name: String,
    op: Op,
    n: usize,
    tensors: BTreeMap<String, Vec<f32>>,
}

impl Golden {
    fn parameters(&self) -> Vec<Vec<f32>> {
        ["weight", "bias"].iter().filter_map(|name| self.tensors.get(*name).cloned()).collect()
    }

    fn run(&self, form: Form, needs: Needs) -> Passes {
        let (x, dy) = ((&*self.tensors["x"], self.n), &*self.tensors["dy"]);
        passes(&self.op, form, needs, x, &self.parameters(), dy)
    }
}

fn goldens() -> Vec<Golden> {
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

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

#[track_caller]
fn assert_close(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let off = norm(ours.iter().zip(theirs).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    let scale = norm(theirs.iter().map(|value| f64::from(*value)));
    // Written so that a NaN fails.
    assert!(off <= TOLERANCE * scale, "{what}: off by {off:e} of {scale:e}");
}

fn assert_is_pytorch(form: Form) {
    let goldens = goldens();
    assert_eq!(goldens.len(), 12 + 2 * 5 + 2 + 1 + 4 + 1 + 4 + 3 + 1 + 2 + 1 + 1);
    for golden in goldens {
        let ours = golden.run(form, BOTH);
        let name = |tensor: &str| format!("{} {tensor} ({form:?})", golden.name);
        assert_close(&name("y"), &ours.y, &golden.tensors["y"]);
        assert_close(&name("dx"), &ours.dx, &golden.tensors["dx"]);
        let expected: Vec<_> =
            ["dweight", "dbias"].iter().filter_map(|key| golden.tensors.get(*key)).collect();
        assert_eq!(ours.parameters.len(), expected.len(), "{}", golden.name);
        for (at, expected) in expected.into_iter().enumerate() {
            assert_close(&name(["dweight", "dbias"][at]), &ours.parameters[at], expected);
        }
        if let (Op::BatchNormTrain { channels, .. }, Some(moments)) = (&golden.op, &ours.moments) {
            // As PyTorch with momentum 0.1: the running variance takes the unbiased one.
            let count = (golden.tensors["x"].len() / channels) as f32;
            let moved = |old: &[f32], new: &[f32], factor: f32| -> Vec<f32> {
                old.iter().zip(new).map(|(old, new)| 0.9 * old + 0.1 * factor * new).collect()
            };
            let mean = moved(&golden.tensors["mean"], &moments.mean, 1.0);
            let var = moved(&golden.tensors["var"], &moments.var, count / (count - 1.0));
            assert_close(&name("running mean"), &mean, &golden.tensors["mean_after"]);
            assert_close(&name("running variance"), &var, &golden.tensors["var_after"]);
        }
    }
}

#[test]
fn the_cpu_kernels_equal_pytorch() {
    assert_is_pytorch(Form::Kernel);
}

#[test]
fn the_compositions_equal_pytorch() {
    assert_is_pytorch(Form::Generic);
}

/// Gradients nobody needs stay zero, the needed ones are the same as if all were.
#[test]
fn only_needed_gradients_are_computed() {
    for golden in goldens() {
        if golden.parameters().is_empty() {
            continue;
        }
        let all = golden.run(Form::Kernel, BOTH);
        let zero = |values: &[f32]| values.iter().all(|value| *value == 0.0);
        for (input, weight) in [(true, false), (false, true), (false, false)] {
            let some = golden.run(Form::Kernel, Needs { input, weight });
            let name = format!("{} input {input} weight {weight}", golden.name);
            assert_eq!(some.y, all.y, "{name}");
            assert!(if input { some.dx == all.dx } else { zero(&some.dx) }, "{name}");
            for (some, all) in some.parameters.iter().zip(&all.parameters) {
                assert!(if weight { some == all } else { zero(some) }, "{name}");
            }
        }
        let none = golden.run(Form::Generic, Needs { input: false, weight: false });
        assert!(zero(&none.dx) && none.parameters.iter().all(|p| zero(p)), "{}", golden.name);
    }
}

/// The directional derivative of `<y, dy>` along a random direction, by central differences with
/// step 1e-2, equals the gradients' within 1 % of the norms involved.
#[test]
fn gradients_agree_with_finite_differences() {
    const STEP: f32 = 1e-2;
    for golden in goldens() {
        // Reversal is not the gradient of its output; steps over a kink prove nothing.
        if matches!(golden.op, Op::GradReverse { .. }) {
            continue;
        }
        // Values of kinked operations are 0.01 apart, so they take a smaller step.
        let kinked = matches!(golden.op, Op::MaxPool2d(_) | Op::Relu(_));
        let step = if kinked { 1e-3 } else { STEP };
        let (x, dy) = (&golden.tensors["x"], &golden.tensors["dy"]);
        let parameters = golden.parameters();
        let direction = |salt: usize, len: usize| -> Vec<f32> {
            (0..len).map(|at| if (at * 7 + salt * 3) % 11 < 5 { 1.0 } else { -1.0 }).collect()
        };
        let along = |sign: f32| -> f64 {
            let moved = |salt: usize, values: &[f32]| -> Vec<f32> {
                let direction = direction(salt, values.len());
                values.iter().zip(direction).map(|(v, d)| v + sign * step * d).collect()
            };
            let moved_parameters: Vec<_> =
                parameters.iter().enumerate().map(|(at, p)| moved(at + 1, p)).collect();
            let input = moved(0, x);
            let y =
                passes(&golden.op, Form::Kernel, BOTH, (&input, golden.n), &moved_parameters, dy).y;
            y.iter().zip(dy).map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum()
        };
        let measured = (along(1.0) - along(-1.0)) / f64::from(2.0 * step);
        let ours = golden.run(Form::Kernel, BOTH);
        let mut computed = 0.0;
        let mut scale = 0.0;
        let gradients = [&ours.dx].into_iter().chain(&ours.parameters);
        for (salt, gradient) in gradients.enumerate() {
            for (d, g) in direction(salt, gradient.len()).iter().zip(gradient) {
                computed += f64::from(d * g);
                scale += f64::from(*g).powi(2);
            }
        }
        let off = (measured - computed).abs();
        assert!(off <= 1e-2 * scale.sqrt(), "{}: {measured} is not {computed}", golden.name);
    }
}

#[test]
fn equal_values_give_their_gradient_to_the_first() {
    let shape = Pool2d {
        input: Chw { channels: 1, height: 2, width: 4 },
        kernel: (2, 2),
        stride: (2, 2),
        padding: (0, 0),
        ceil: false,
    };
    let x = [0.0, 5.0, -1.0, -1.0, 5.0, 1.0, -1.0, -1.0];
    for form in [Form::Kernel, Form::Generic] {
        let ours = passes(&Op::MaxPool2d(shape), form, BOTH, (&x, 1), &[], &[2.0, 3.0]);
        assert_eq!(ours.y, [5.0, -1.0]);
        assert_eq!(ours.dx, [0.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}

#[test]
fn not_a_number_stays_visible() {
    let shape = Pool2d {
        input: Chw { channels: 1, height: 2, width: 2 },
        kernel: (2, 2),
        stride: (2, 2),
        padding: (0, 0),
        ceil: false,
    };
    let x = [1.0, f32::NAN, 3.0, 2.0];
    let pooled = passes(&Op::MaxPool2d(shape), Form::Kernel, BOTH, (&x, 1), &[], &[1.0]);
    assert!(pooled.y[0].is_nan());
    let rectified = passes(&Op::Relu(Rectifier::Relu), Form::Kernel, BOTH, (&x, 1), &[], &[1.0; 4]);
    assert!(rectified.y[1].is_nan());
}

/// Large enough that every operation is cut into many tasks.
#[test]
fn one_two_and_three_threads_give_the_same_bits() {
    let values = |len: usize, salt: u32| -> Vec<f32> {
        (0..u32::try_from(len).unwrap())
            .map(|at| {
                let hash = (at ^ salt.wrapping_mul(0x9E37_79B9)).wrapping_mul(0x85EB_CA6B);
                ((hash ^ (hash >> 15)).wrapping_mul(0x2C1B_3C6D) >> 8) as f32 / 8_388_608.0 - 1.0
            })
            .collect()
    };
    let input = Chw { channels: 6, height: 12, width: 12 };
    let n = 70;
    let conv =
        Conv2d { input, filters: 10, kernel: (5, 5), stride: (1, 1), padding: (1, 1), groups: 1 };
    let pool = Pool2d { input, kernel: (2, 2), stride: (2, 2), padding: (0, 0), ceil: false };
    let channels = input.channels;
    let vector = |len: usize| values(len, 3);
    let ops = [
        (Op::Conv2d(conv), conv.output().len(), vec![vector(conv.weight_len()), vector(10)]),
        (Op::MaxPool2d(pool), pool.output().len(), vec![]),
        (Op::AvgPool2d(pool), pool.output().len(), vec![]),
        (Op::GlobalAvgPool(input), channels, vec![]),
        (
            Op::BatchNormTrain { channels, eps: 1e-5 },
            input.len(),
            vec![vector(channels), vector(channels)],
        ),
        (Op::Linear { outputs: 150 }, 150, vec![vector(150 * input.len()), vector(150)]),
        (Op::Relu(Rectifier::Relu), input.len(), vec![]),
        (Op::ScaleChannels { scale: values(n * channels, 5), channels }, input.len(), vec![]),
        (Op::GradReverse { lambda: 0.3 }, input.len(), vec![]),
    ];
    let x = values(n * input.len(), 1);
    for (op, outputs, parameters) in ops {
        let dy = values(n * outputs, 2);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| passes(&op, Form::Kernel, BOTH, (&x, n), &parameters, &dy))
        };
        let one = run(1);
        assert!(one.y.iter().any(|y| *y != 0.0) && one.dx.iter().any(|dx| *dx != 0.0));
        for threads in [2, 3] {
            assert!(one == run(threads), "{op:?} differs with {threads} threads");
        }
    }
}

#[test]
fn values_are_the_same_without_a_tape() {
    let device = Cpu::default();
    for golden in goldens() {
        let x = &golden.tensors["x"];
        let x: Batch<Cpu> = device.tensor_from_vec(x.clone(), (golden.n, x.len() / golden.n));
        let parameters: Vec<Flat<Cpu>> = golden
            .parameters()
            .into_iter()
            .map(|values| device.tensor_from_vec(values.clone(), (values.len(),)))
            .collect();
        let y = match &golden.op {
            Op::Conv2d(shape) => Cpu::conv2d(x, &parameters[0], parameters.get(1), shape, BOTH),
            Op::MaxPool2d(shape) => Cpu::max_pool2d(x, shape),
            Op::AvgPool2d(shape) => Cpu::avg_pool2d(x, shape),
            Op::Linear { outputs } => {
                Cpu::linear(x, &parameters[0], parameters.get(1), *outputs, BOTH)
            }
            Op::BatchNormTrain { channels, eps } => {
                let (weight, bias) = (&parameters[0], &parameters[1]);
                Cpu::batch_norm_train(x, weight, bias, *channels, *eps, BOTH).map(|(y, _)| y)
            }
            Op::Relu(kind) => Cpu::relu(x, *kind),
            Op::GradReverse { lambda } => Cpu::grad_reverse(x, *lambda),
            _ => continue,
        };
        assert_eq!(y.unwrap().as_vec(), golden.run(Form::Kernel, BOTH).y, "{}", golden.name);
    }
}

/// What a block gave: `y`, `dx`, gradients of its parameters, moments.
type BlockPasses = (Vec<f32>, Vec<f32>, Vec<Vec<f32>>, Option<Moments>);

/// A convolution block, fused against one operation after the other.
struct BlockCase {
    with_norm: bool,
    batch_moments: bool,
    /// Kernel, stride and padding.
    pool: Option<[(usize, usize); 3]>,
    relu: Option<Rectifier>,
    /// Whether other maps are added.
    side: bool,
    /// Input, convolution, normalisation, the other maps.
    needs: [bool; 4],
    /// Factors of the batch norm's weights: one with 0 takes another way.
    gamma: [f32; 3],
}

impl BlockCase {
    const CONV: Conv2d = Conv2d {
        input: Chw { channels: 2, height: 9, width: 8 },
        filters: 3,
        kernel: (3, 3),
        stride: (1, 1),
        padding: (1, 1),
        groups: 1,
    };

    fn run(
        &self,
        n: usize,
        op: impl Fn(
            Batch<Cpu, Taped>,
            Option<Batch<Cpu, Taped>>,
            &ConvBlock<Cpu>,
        ) -> (Batch<Cpu, Taped>, Option<Moments>),
    ) -> BlockPasses {
        let device = Cpu::default();
        let shape = Self::CONV;
        let flat = |salt: usize, len: usize, bound: f32| -> Flat<Cpu> {
            device.tensor_from_vec(noise(salt, len, bound), (len,))
        };
        let (weight, bias) = (flat(1, shape.weight_len(), 0.3), flat(2, 3, 0.5));
        let gamma: Flat<Cpu> = device.tensor_from_vec(self.gamma.to_vec(), (3,));
        let (beta, mean) = (flat(4, 3, 0.2), flat(5, 3, 0.2));
        let var: Flat<Cpu> = device.tensor_from_vec(vec![0.5, 1.0, 2.0], (3,));
        let pool = self.pool.map(|[kernel, stride, padding]| Pool2d {
            input: shape.output(),
            kernel,
            stride,
            padding,
            ceil: kernel == (3, 2),
        });
        let [input, conv, norm, side] = self.needs;
        let fixed = FixedNorm { weight: &gamma, bias: &beta, mean: &mean, var: &var, eps: 1e-5 };
        let block = ConvBlock {
            shape,
            weight: &weight,
            prepared: &Cpu::prepare(&weight, &shape, false),
            bias: Some(&bias),
            norm: match (self.with_norm, self.batch_moments) {
                (false, _) => Norm::None,
                (true, true) => Norm::Batch(&gamma, &beta, 1e-5),
                (true, false) => Norm::Fixed(&fixed),
            },
            pool,
            relu: self.relu,
            needs: BlockNeeds { input, conv, norm, side },
        };
        let x: Batch<Cpu> =
            device.tensor_from_vec(noise(6, n * shape.input.len(), 1.0), (n, shape.input.len()));
        let len = block.output().len();
        let other: Batch<Cpu> = device.tensor_from_vec(noise(8, n * len, 0.5), (n, len));
        let added = self.side.then(|| other.clone().leaky_traced());
        let (y, moments) = op(x.clone().leaky_traced(), added, &block);
        let mut values = vec![0.0; n * y.shape().1];
        y.copy_into(&mut values);
        let dy: Batch<Cpu> = device.tensor_from_vec(noise(7, values.len(), 1.0), *y.shape());
        let mut gradients: Gradients<f32, Cpu> = (y * dy).sum::<(), _>().backward();
        let dx = gradients.get_or_alloc_mut(&x).unwrap().to_vec();
        let parameters = [&weight, &bias, &gamma, &beta];
        let mut parameters =
            parameters.map(|p| gradients.get_or_alloc_mut(p).unwrap().to_vec()).to_vec();
        if side {
            parameters.push(gradients.get_or_alloc_mut(&other).unwrap().to_vec());
        }
        (values, dx, parameters, moments)
    }
}

fn fused(
    x: Batch<Cpu, Taped>,
    side: Option<Batch<Cpu, Taped>>,
    block: &ConvBlock<Cpu>,
) -> (Batch<Cpu, Taped>, Option<Moments>) {
    let x = Cpu::pack(x, block.shape.input, true).unwrap();
    let side = side.map(|side| Cpu::pack(side, block.output(), true).unwrap());
    let (y, moments) = Cpu::conv_block(x, side, block).unwrap();
    (Cpu::unpack(y).unwrap(), moments)
}

/// The composition works on rows, as it does on other devices.
fn one_by_one(
    x: Batch<Cpu, Taped>,
    side: Option<Batch<Cpu, Taped>>,
    block: &ConvBlock<Cpu>,
) -> (Batch<Cpu, Taped>, Option<Moments>) {
    conv_block_generic(x, side, block).unwrap()
}

fn noise(salt: usize, len: usize, bound: f32) -> Vec<f32> {
    (0..len)
        .map(|at| {
            let hash = (at * 2_654_435_761 + salt * 40_503) as u32;
            let hash = (hash ^ (hash >> 15)).wrapping_mul(0x2C1B_3C6D);
            ((hash ^ (hash >> 13)) as f32 / u32::MAX as f32 * 2.0 - 1.0) * bound
        })
        .collect()
}

fn block_cases() -> Vec<BlockCase> {
    let mut cases = Vec::new();
    let windows = [
        None,
        Some([(2, 2), (2, 2), (0, 0)]),
        Some([(3, 3), (2, 2), (1, 1)]),
        Some([(3, 2), (2, 3), (0, 1)]),
    ];
    for pool in windows {
        for (with_norm, batch_moments) in [(false, false), (true, false), (true, true)] {
            for relu in [None, Some(Rectifier::Relu), Some(Rectifier::Relu6)] {
                for at in 1..16 {
                    let needs = [at & 1 != 0, at & 2 != 0, at & 4 != 0, at & 8 != 0];
                    let side = at & 8 != 0 || at % 3 == 0;
                    for gamma in [[1.5, -0.7, 0.2], [9.0, 0.0, -8.0]] {
                        cases.push(BlockCase {
                            with_norm,
                            batch_moments,
                            pool,
                            relu,
                            side,
                            needs,
                            gamma,
                        });
                    }
                }
            }
        }
    }
    cases
}

/// 19 images fill one block and a part of another.
#[test]
fn a_fused_block_equals_its_operations_one_by_one() {
    for case in block_cases() {
        let composed = case.run(19, one_by_one);
        let whole = case.run(19, fused);
        let name = format!(
            "norm {} {}, pool {:?}, relu {:?}, side {}, needs {:?}, gamma {:?}",
            case.with_norm,
            case.batch_moments,
            case.pool,
            case.relu,
            case.side,
            case.needs,
            case.gamma
        );
        let scale = |values: &[f32]| norm(values.iter().map(|v| f64::from(*v)));
        let close = |what: &str, a: &[f32], b: &[f32]| {
            let off = norm(a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
            // The gradient of a bias before a batch norm is nothing but rounding.
            assert!(off <= 1e-5 * scale(b) + 2e-4, "{what} ({name}): off by {off:e}");
        };
        close("y", &whole.0, &composed.0);
        close("dx", &whole.1, &composed.1);
        assert_eq!(case.needs[0], whole.1.iter().any(|dx| *dx != 0.0), "{name}");
        for (at, (fused, one)) in whole.2.iter().zip(&composed.2).enumerate() {
            close(["dw", "db", "dgamma", "dbeta", "dside"][at], fused, one);
        }
        assert_eq!(whole.3.is_some(), composed.3.is_some());
        if let (Some(fused), Some(one)) = (whole.3, composed.3) {
            close("mean", &fused.mean, &one.mean);
            close("variance", &fused.var, &one.var);
        }
    }
}

#[test]
fn a_fused_block_gives_the_same_bits_at_any_number_of_threads() {
    let case = BlockCase {
        with_norm: true,
        batch_moments: true,
        pool: Some([(2, 2), (2, 2), (0, 0)]),
        relu: Some(Rectifier::Relu),
        side: true,
        needs: [true; 4],
        gamma: [1.5, -0.7, 0.2],
    };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.run(70, fused))
    };
    let one = run(1);
    assert!(one.1.iter().any(|dx| *dx != 0.0));
    assert!(one == run(2) && one == run(3));
}
