//! Every operation gives the values and gradients that PyTorch gives (tests/golden/ops.py), in
//! its CPU form and composed of dfdx's operations; gradients agree with finite differences; and
//! no number depends on how many threads compute it.

use crate::backends::{backends, gpu};
use crate::reference::bf16;
use crate::reference::ops::{BOTH, Needs, Op, Passes, goldens, many_tiles, passes};
use runner::device::Precision;
use runner::nn::geometry::{Chw, Conv2d, Pool2d, Rectifier};
use runner::nn::ops::conv_block::one_by_one;
use runner::nn::ops::{
    Backend, ConvBlock, CpuOps, DfdxOps, Dims, Norm, Running, Tape, Tensor, UpdateRule, argmax,
};

fn dfdx() -> Backend {
    DfdxOps::shared(dfdx::prelude::Cpu::default())
}

fn assert_is_pytorch(ops: &Backend) {
    let goldens = goldens();
    assert_eq!(goldens.len(), 12 + 2 * 5 + 2 + 1 + 4 + 1 + 4 + 3 + 1 + 2 + 1 + 1);
    for golden in goldens {
        for distance in golden.distances(ops) {
            assert!(distance.is_within(), "{distance}");
        }
    }
}

#[test]
fn the_cpu_kernels_equal_pytorch() {
    assert_is_pytorch(&CpuOps::shared());
}

#[test]
fn the_compositions_equal_pytorch() {
    assert_is_pytorch(&dfdx());
}

#[test]
fn the_kernels_of_a_gpu_equal_pytorch() {
    if let Some(gpu) = gpu(Precision::Float32) {
        assert_is_pytorch(&gpu);
    }
}

/// No factor of these is a number of bf16 before it is rounded: without that, none of them comes as near to its sums.
#[test]
fn factors_of_bf16_are_rounded_as_pytorch_rounds_them() {
    let (Some(gpu), Some(precise)) = (gpu(Precision::Bf16), gpu(Precision::Float32)) else {
        return;
    };
    let cases = bf16::cases();
    assert_eq!(cases.len(), 11 + 3);
    for case in cases {
        for distance in case.distances(&gpu) {
            assert!(distance.is_within(), "{distance}");
        }
        let unrounded = case.distances(&precise);
        let of_sums = unrounded.iter().filter(|it| it.name.ends_with("exact"));
        let of_sums = of_sums.filter(|it| !it.name.contains("dbias"));
        assert!(of_sums.clone().count() == 3 && of_sums.clone().all(|it| !it.is_within()));
    }
}

/// What is not a product of a layer is in single precision whatever a pipeline says: losses, normalisation, pooling.
#[test]
fn everything_but_layers_with_weights_is_in_single_precision_beside_bf16() {
    let Some(gpu) = gpu(Precision::Bf16) else { return };
    let rounded: Vec<String> = bf16::cases().into_iter().map(|it| it.golden.name).collect();
    let others: Vec<_> = goldens().into_iter().filter(|it| !rounded.contains(&it.name)).collect();
    assert_eq!(others.len(), goldens().len() - 14);
    let distances = others.iter().flat_map(|golden| golden.distances(&gpu));
    let primitives = crate::reference::primitives::goldens();
    let of_losses = primitives.iter().flat_map(|golden| golden.distances(&gpu));
    for distance in distances.chain(of_losses) {
        assert!(distance.is_within(), "{distance}");
    }
}

/// No golden file has so many pixels, or is in TF32.
#[test]
fn a_large_convolution_of_a_gpu_is_the_processors() {
    // Two factors are off by 2^-9 each at most in bf16, and by 2^-11 in TF32.
    let bounds = [(Precision::Bf16, 4e-3), (Precision::Tf32, 2e-3), (Precision::Float32, 1e-5)];
    for (precision, bound) in bounds {
        let Some(gpu) = gpu(precision) else { return };
        for distance in many_tiles(&gpu, bound) {
            assert!(distance.is_within(), "{precision:?}: {distance}");
        }
    }
}

/// A training meets one kernel of many. The second GPU here has no warpgroups.
#[test]
fn every_kernel_of_a_convolution_gives_its_sums() {
    let Some(stand_in) = crate::stand_in::here() else { return };
    stand_in.set("STAND_IN_DEVICES", "2");
    stand_in.set("STAND_IN_OLDER", "1");
    for (number, count) in [(0, 41), (1, 21)] {
        let gpu = runner::nn::gpu::Gpu::open(number).unwrap();
        let apart = runner::nn::ops::GpuOps::convolutions_apart(gpu).unwrap();
        assert_eq!(apart.len(), count, "{apart:?}");
        for (kernel, off) in apart {
            let limit = if kernel.ends_with("_precise") { 5e-6 } else { 1e-5 };
            assert!(off < limit, "{kernel}: {off:.1e}");
        }
    }
}

#[test]
fn a_gpu_drops_what_the_processor_drops() {
    use runner::nn::ops::{CpuOps, Dropout};
    let Some(gpu) = gpu(Precision::Tf32) else { return };
    for (number, p) in [(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.9)] {
        let dropout = Dropout { seed: 7, purpose: "dropout test", epoch: 3, step: number, p };
        for (rows, columns, channels) in
            [(1, 1, 1), (3, 5, 5), (2, 8, 8), (1, 17, 17), (40, 60, 20)]
        {
            let dropped = |ops: &runner::nn::ops::Backend| {
                let x = vec![1.5; rows * columns];
                let x = ops.tensor(x, Dims::Rows(rows, columns)).unwrap();
                ops.dropout(&x, dropout, channels).unwrap().host()
            };
            assert_eq!(dropped(&gpu), dropped(&CpuOps::shared()), "{p}, {rows} x {columns}");
        }
    }
}

#[test]
fn a_convolution_that_a_gpu_cannot_count_is_an_error() {
    let Some(gpu) = gpu(Precision::Float32) else { return };
    let long = Conv2d {
        input: Chw { channels: 1, height: 1, width: 40_000 },
        filters: 1,
        kernel: (1, 3),
        stride: (1, 1),
        padding: (0, 1),
        groups: 1,
    };
    let of = |len| gpu.tensor(vec![0.5; len], Dims::Flat(len)).unwrap();
    let x = gpu.tensor(vec![0.5; 40_000], Dims::Rows(1, 40_000)).unwrap();
    let refused = gpu.conv2d(&x, &of(3), None, &long).unwrap_err().to_string();
    assert!(refused.contains("1 x 40000 pixels") && refused.contains("32767"), "{refused}");
    let input = Chw { channels: 8, height: 128, width: 128 };
    let far = Conv2d {
        input,
        filters: 8,
        kernel: (1, 1),
        stride: (128, 128),
        padding: (0, 0),
        groups: 4,
    };
    let x = gpu.tensor(vec![0.5; input.len()], Dims::Rows(1, input.len())).unwrap();
    let refused = gpu.conv2d(&x, &of(16), None, &far).unwrap_err().to_string();
    assert!(refused.contains("4 groups") && refused.contains("128 x 128"), "{refused}");
}

/// Gradients nobody wants are not there, the wanted ones are the same bits as if all were.
#[test]
fn only_needed_gradients_are_computed() {
    for golden in goldens() {
        let takes_parameters = !golden.parameters().is_empty();
        for ops in backends() {
            let all = golden.run(&ops, BOTH);
            for (input, weight) in [(true, false), (false, true), (false, false)] {
                let some = golden.run(&ops, Needs { input, weight });
                let name = format!("{} input {input} weight {weight} on {ops:?}", golden.name);
                let expected = Passes {
                    dx: all.dx.clone().filter(|_| input),
                    parameters: all
                        .parameters
                        .iter()
                        .map(|it| it.clone().filter(|_| weight))
                        .collect(),
                    ..all.clone()
                };
                assert!(some == expected, "{name}");
            }
            assert!(all.dx.is_some() && all.parameters.iter().all(Option::is_some));
            assert_eq!(takes_parameters, !all.parameters.is_empty());
        }
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
            let (ops, x) = (CpuOps::shared(), (&*input, golden.n));
            let y = passes(&ops, &golden.op, BOTH, x, &moved_parameters, dy).y;
            y.iter().zip(dy).map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum()
        };
        let measured = (along(1.0) - along(-1.0)) / f64::from(2.0 * step);
        let ours = golden.run(&CpuOps::shared(), BOTH);
        let mut computed = 0.0;
        let mut scale = 0.0;
        let gradients = [&ours.dx].into_iter().chain(&ours.parameters).flatten();
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
    for ops in backends() {
        let ours = passes(&ops, &Op::MaxPool2d(shape), BOTH, (&x, 1), &[], &[2.0, 3.0]);
        assert_eq!(ours.y, [5.0, -1.0]);
        assert_eq!(ours.dx.unwrap(), [0.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
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
    let ops = CpuOps::shared();
    let pooled = passes(&ops, &Op::MaxPool2d(shape), BOTH, (&x, 1), &[], &[1.0]);
    assert!(pooled.y[0].is_nan());
    let rectified = passes(&ops, &Op::Relu(Rectifier::Relu), BOTH, (&x, 1), &[], &[1.0; 4]);
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
            Op::BatchNormTrain { channels, eps: 1e-5, mean: vec![0.0; 6], var: vec![1.0; 6] },
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
            pool.install(|| passes(&CpuOps::shared(), &op, BOTH, (&x, n), &parameters, &dy))
        };
        let one = run(1);
        assert!(one.y.iter().any(|y| *y != 0.0) && one.dx.iter().flatten().any(|dx| *dx != 0.0));
        for threads in [2, 3] {
            assert!(one == run(threads), "{op:?} differs with {threads} threads");
        }
    }
}

#[test]
fn values_are_the_same_without_a_tape() {
    let nothing = Needs { input: false, weight: false };
    for golden in goldens() {
        for ops in backends() {
            let y = golden.run(&ops, nothing).y;
            assert_eq!(y, golden.run(&ops, BOTH).y, "{} on {ops:?}", golden.name);
        }
    }
}

/// What a block gave: its values, the gradients of [`BlockCase::INPUTS`], running mean and variance.
#[derive(PartialEq)]
struct BlockPasses {
    y: Vec<f32>,
    gradients: [Option<Vec<f32>>; 6],
    running: [Vec<f32>; 2],
}

/// A convolution block, fused against one operation after the other.
struct BlockCase {
    with_norm: bool,
    batch_moments: bool,
    /// Kernel, stride and padding.
    pool: Option<[(usize, usize); 3]>,
    relu: Option<Rectifier>,
    /// Whether other maps are added.
    side: bool,
    /// Which of [`BlockCase::INPUTS`] want a gradient.
    needs: [bool; 6],
    /// Factors of the batch norm's weights: one with 0 takes another way.
    gamma: [f32; 3],
}

impl BlockCase {
    const INPUTS: [&str; 6] = ["x", "weight", "bias", "gamma", "beta", "side"];

    const CONV: Conv2d = Conv2d {
        input: Chw { channels: 2, height: 9, width: 8 },
        filters: 3,
        kernel: (3, 3),
        stride: (1, 1),
        padding: (1, 1),
        groups: 1,
    };

    /// Whether the input at `at` gets a gradient.
    fn reaches(&self, at: usize) -> bool {
        let there = match Self::INPUTS[at] {
            "gamma" | "beta" => self.with_norm,
            "side" => self.side,
            _ => true,
        };
        self.needs[at] && there
    }

    fn run(
        &self,
        ops: &Backend,
        n: usize,
        op: impl Fn(&Tensor, Option<&Tensor>, ConvBlock) -> Tensor,
    ) -> BlockPasses {
        let (shape, tape) = (Self::CONV, Tape::default());
        let pool = self.pool.map(|[kernel, stride, padding]| Pool2d {
            input: shape.output(),
            kernel,
            stride,
            padding,
            ceil: kernel == (3, 2),
        });
        let output = pool.map_or(shape.output(), |pool| pool.output());
        let tensor = |values: Vec<f32>, dims| ops.tensor(values, dims).unwrap();
        let flat = |values: Vec<f32>| tensor(values.clone(), Dims::Flat(values.len()));
        let rows =
            |salt, len: usize, bound| tensor(noise(salt, n * len, bound), Dims::Rows(n, len));
        let inputs = [
            rows(6, shape.input.len(), 1.0),
            flat(noise(1, shape.weight_len(), 0.3)),
            flat(noise(2, 3, 0.5)),
            flat(self.gamma.to_vec()),
            flat(noise(4, 3, 0.2)),
            rows(8, output.len(), 0.5),
        ];
        let mut needs = self.needs.iter();
        let [x, weight, bias, gamma, beta, side] =
            inputs.map(|it| if *needs.next().unwrap() { it.on(&tape) } else { it });
        let (mut mean, mut var) = (flat(noise(5, 3, 0.2)), flat(vec![0.5, 1.0, 2.0]));
        let norm = match (self.with_norm, self.batch_moments) {
            (false, _) => Norm::None,
            (true, true) => {
                let running = Running { mean: &mut mean, var: &mut var, momentum: 0.1 };
                Norm::Batch { weight: &gamma, bias: &beta, eps: 1e-5, running: Some(running) }
            }
            (true, false) => {
                Norm::Fixed { weight: &gamma, bias: &beta, mean: &mean, var: &var, eps: 1e-5 }
            }
        };
        let block = ConvBlock {
            shape,
            weight: &weight,
            prepared: &ops.prepare(&weight, &shape, false),
            bias: Some(&bias),
            norm,
            pool,
            relu: self.relu,
        };
        assert_eq!(block.output(), output);
        let added = self.side.then(|| ops.maps(&side, output).unwrap());
        let y = op(&ops.maps(&x, shape.input).unwrap(), added.as_ref(), block);
        let y = ops.flat_rows(&y).unwrap();
        let dy = tensor(noise(7, y.len(), 1.0), y.dims());
        let mut gradients = tape.backward(&y.mul(&dy).unwrap().sum().unwrap()).unwrap();
        BlockPasses {
            y: y.host(),
            gradients: [&x, &weight, &bias, &gamma, &beta, &side]
                .map(|it| gradients.take(it).map(|gradient| gradient.host())),
            running: [mean.host(), var.host()],
        }
    }

    fn fused(&self, n: usize) -> BlockPasses {
        let ops = CpuOps::shared();
        self.run(&ops, n, |x, side, block| ops.conv_block(x, side, block).unwrap())
    }

    fn one_by_one(&self, ops: &Backend, n: usize) -> BlockPasses {
        self.run(ops, n, |x, side, block| one_by_one(&**ops, x, side, block).unwrap())
    }

    #[track_caller]
    fn assert_equal(&self, fused: &BlockPasses, composed: &BlockPasses) {
        let name = format!(
            "norm {} {}, pool {:?}, relu {:?}, side {}, needs {:?}, gamma {:?}",
            self.with_norm,
            self.batch_moments,
            self.pool,
            self.relu,
            self.side,
            self.needs,
            self.gamma
        );
        let close = |what: &str, a: &[f32], b: &[f32]| {
            // The gradient of a bias before a batch norm is nothing but rounding.
            crate::reference::close(&format!("{what} ({name})"), a, b, (1e-5, 2e-4));
        };
        close("y", &fused.y, &composed.y);
        for (at, input) in Self::INPUTS.iter().enumerate() {
            match (&fused.gradients[at], &composed.gradients[at]) {
                (Some(ours), Some(theirs)) if self.reaches(at) => close(input, ours, theirs),
                (None, None) if !self.reaches(at) => {}
                _ => panic!("{input}: a gradient that is missing or not wanted ({name})"),
            }
        }
        close("running mean", &fused.running[0], &composed.running[0]);
        close("running variance", &fused.running[1], &composed.running[1]);
    }
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
                // Input, convolution, normalisation and side; then the parameters one by one.
                let groups = (1..16).map(|at| [0, 1, 1, 2, 2, 3].map(|bit| at >> bit & 1 != 0));
                let alone = (1..5).map(|only| std::array::from_fn(|at| at == only));
                for (at, needs) in groups.chain(alone).enumerate() {
                    let side = needs[5] || at % 3 == 0;
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
        case.assert_equal(&case.fused(19), &case.one_by_one(&CpuOps::shared(), 19));
    }
}

/// Where constants normalise by parameters that learn, the CPU itself goes one by one.
#[test]
fn a_block_whose_constant_normalisation_learns_equals_that_of_the_reference() {
    let learns =
        |case: &BlockCase| case.with_norm && !case.batch_moments && case.needs[3..5] != [false; 2];
    let cases: Vec<BlockCase> = block_cases().into_iter().filter(learns).collect();
    assert!(!cases.is_empty());
    for case in cases {
        case.assert_equal(&case.fused(19), &case.one_by_one(&dfdx(), 19));
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
        needs: [true; 6],
        gamma: [1.5, -0.7, 0.2],
    };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.fused(70))
    };
    let one = run(1);
    assert!(one.gradients.iter().all(Option::is_some));
    assert!(one == run(2) && one == run(3));
}

#[test]
fn a_hit_is_a_row_whose_first_largest_value_is_at_its_label() {
    let logits = [[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [-1.0, -2.0, -1.0], [0.0, -0.5, 0.5]];
    for labels in [[1, 0, 0, 2], [2, 1, 2, 2], [0, 2, 1, 0], [1, 1, 0, 1]] {
        let rows = logits.iter().zip(&labels);
        let expected = rows.filter(|(row, label)| argmax(*row) == **label as usize).count();
        for ops in backends() {
            let logits = ops.tensor(logits.concat(), Dims::Rows(4, 3)).unwrap();
            let hits = ops.hits(&logits, (&labels).into()).unwrap();
            assert_eq!(hits.dims(), Dims::Scalar);
            assert_eq!(hits.value(), expected as f64, "{labels:?} on {ops:?}");
            assert!(
                !ops.hits(&logits.on(&Tape::default()), (&labels).into()).unwrap().is_recorded()
            );
        }
    }
}

#[test]
fn an_average_moves_toward_a_tensor_and_leaves_those_that_shared_its_values() {
    let (old, new) = (noise(1, 1000, 1.0), noise(2, 1000, 1.0));
    let expected: Vec<f32> = old.iter().zip(&new).map(|(a, b)| 0.9 * a + (1.0 - 0.9) * b).collect();
    for ops in backends() {
        let mut into = ops.tensor(old.clone(), Dims::Flat(1000)).unwrap();
        let shared = into.clone();
        let from = ops.tensor(new.clone(), Dims::Flat(1000)).unwrap();
        ops.average(&mut into, &from, 0.9).unwrap();
        assert_eq!(into.host(), expected, "{ops:?}");
        assert_eq!((shared.host(), from.host()), (old.clone(), new.clone()));
    }
}

/// Every optimizer that there is, with the numbers of a step.
fn rules() -> Vec<UpdateRule> {
    use ::dfdx::optim::{AdamConfig, Momentum, RMSpropConfig, SgdConfig, WeightDecay};
    let (lr, l2, decoupled) = (0.03, Some(WeightDecay::L2(0.1)), Some(WeightDecay::Decoupled(0.1)));
    let mut rules = Vec::new();
    for weight_decay in [None, l2, decoupled] {
        rules.push(UpdateRule::Adam(AdamConfig {
            lr,
            betas: [0.8, 0.99],
            eps: 1e-6,
            weight_decay,
        }));
        for momentum in [None, Some(Momentum::Classic(0.9)), Some(Momentum::Nesterov(0.9))] {
            rules.push(UpdateRule::Sgd(SgdConfig { lr, momentum, weight_decay }));
        }
        for momentum in [None, Some(0.7)] {
            let (alpha, eps, centered) = (0.9, 1e-8, false);
            let config = RMSpropConfig { lr, alpha, eps, momentum, centered, weight_decay };
            rules.push(UpdateRule::RmsProp(config));
        }
    }
    rules
}

/// So many values that a step is cut into tasks, the last of them not full.
#[test]
fn an_update_gives_the_bits_of_dfdx() {
    const VALUES: usize = 100_003;
    for rule in rules() {
        let walk = |ops: &Backend| -> Vec<Vec<Vec<u32>>> {
            let tensor = |values| ops.tensor(values, Dims::Flat(VALUES)).unwrap();
            let mut value = tensor(noise(1, VALUES, 1.0));
            let mut moments: Vec<_> =
                (0..rule.moments()).map(|_| tensor(vec![0.0; VALUES])).collect();
            let step = |step: i32| {
                let gradient = tensor(noise(step as usize + 1, VALUES, 0.1));
                ops.update(&mut value, &mut moments, &gradient, &rule, step).unwrap();
                let tensors = [&value].into_iter().chain(&moments);
                tensors.map(|it| it.host().iter().map(|it| it.to_bits()).collect()).collect()
            };
            (1..4).map(step).collect()
        };
        let (ours, theirs) = (walk(&CpuOps::shared()), walk(&dfdx()));
        for (step, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            assert!(ours == theirs, "{rule:?}, step {step}");
        }
        assert_ne!(ours[0], ours[1], "{rule:?}");
    }
}
