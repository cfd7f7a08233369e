//! Every operation gives the values and gradients that PyTorch gives (tests/golden/ops.py), in
//! its CPU form and composed of dfdx's operations; gradients agree with finite differences; and
//! no number depends on how many threads compute it.

use crate::reference::ops::{BOTH, Form, Op, goldens, passes};
use dfdx::prelude::*;
use runner::nn::geometry::{Chw, Conv2d, Pool2d, Rectifier};
use runner::nn::ops::conv_block::conv_block_generic;
use runner::nn::ops::{
    Batch, BatchMoments, BlockNeeds, ConvBlock, FixedNorm, Flat, Needs, Norm, Ops,
};

type Taped = OwnedTape<f32, Cpu>;

fn assert_is_pytorch(form: Form) {
    let goldens = goldens();
    assert_eq!(goldens.len(), 12 + 2 * 5 + 2 + 1 + 4 + 1 + 4 + 3 + 1 + 2 + 1 + 1);
    for golden in goldens {
        for distance in golden.distances(&Cpu::default(), form) {
            assert!(distance.is_within(), "{distance}");
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
        let all = golden.run(&Cpu::default(), Form::Kernel, BOTH);
        let zero = |values: &[f32]| values.iter().all(|value| *value == 0.0);
        for (input, weight) in [(true, false), (false, true), (false, false)] {
            let some = golden.run(&Cpu::default(), Form::Kernel, Needs { input, weight });
            let name = format!("{} input {input} weight {weight}", golden.name);
            assert_eq!(some.y, all.y, "{name}");
            assert!(if input { some.dx == all.dx } else { zero(&some.dx) }, "{name}");
            for (some, all) in some.parameters.iter().zip(&all.parameters) {
                assert!(if weight { some == all } else { zero(some) }, "{name}");
            }
        }
        let none =
            golden.run(&Cpu::default(), Form::Generic, Needs { input: false, weight: false });
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
            let y = passes(
                &Cpu::default(),
                &golden.op,
                Form::Kernel,
                BOTH,
                (&input, golden.n),
                &moved_parameters,
                dy,
            )
            .y;
            y.iter().zip(dy).map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum()
        };
        let measured = (along(1.0) - along(-1.0)) / f64::from(2.0 * step);
        let ours = golden.run(&Cpu::default(), Form::Kernel, BOTH);
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
        let ours =
            passes(&Cpu::default(), &Op::MaxPool2d(shape), form, BOTH, (&x, 1), &[], &[2.0, 3.0]);
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
    let pooled =
        passes(&Cpu::default(), &Op::MaxPool2d(shape), Form::Kernel, BOTH, (&x, 1), &[], &[1.0]);
    assert!(pooled.y[0].is_nan());
    let rectified = passes(
        &Cpu::default(),
        &Op::Relu(Rectifier::Relu),
        Form::Kernel,
        BOTH,
        (&x, 1),
        &[],
        &[1.0; 4],
    );
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
            pool.install(|| {
                passes(&Cpu::default(), &op, Form::Kernel, BOTH, (&x, n), &parameters, &dy)
            })
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
        assert_eq!(
            y.unwrap().as_vec(),
            golden.run(&Cpu::default(), Form::Kernel, BOTH).y,
            "{}",
            golden.name
        );
    }
}

/// What a block gave: `y`, `dx`, gradients of its parameters, moments.
type BlockPasses = (Vec<f32>, Vec<f32>, Vec<Vec<f32>>, Option<BatchMoments>);

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
        ) -> (Batch<Cpu, Taped>, Option<BatchMoments>),
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
) -> (Batch<Cpu, Taped>, Option<BatchMoments>) {
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
) -> (Batch<Cpu, Taped>, Option<BatchMoments>) {
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
        let close = |what: &str, a: &[f32], b: &[f32]| {
            // The gradient of a bias before a batch norm is nothing but rounding.
            crate::reference::close(&format!("{what} ({name})"), a, b, (1e-5, 2e-4));
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
