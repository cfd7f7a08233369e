//! Batch normalisation in which some channels go by running averages, on every backend.

use super::{Backend, ConvBlock, CpuOps, DfdxOps, Dims, Norm, Running, Tape};
use crate::nn::geometry::{Chw, Conv2d, Pool2d, Rectifier};

const CHANNELS: usize = 3;
const EPS: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

fn backends() -> [Backend; 2] {
    [CpuOps::shared(), DfdxOps::shared(dfdx::prelude::Cpu::default())]
}

/// Numbers without a pattern in [-1, 1).
fn numbers(len: usize, salt: usize) -> Vec<f32> {
    (0..len).map(|at| ((at * 7919 + salt * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
}

/// What a channel goes by.
#[derive(Debug, Clone, Copy)]
enum By {
    Batch,
    Averages,
    /// The averages where it says so.
    Either([bool; CHANNELS]),
}

/// The output for four images of five pixels, the gradients of input, weight and bias, and the averages
/// afterwards.
fn normalised(ops: &Backend, by: By) -> [Vec<f32>; 6] {
    let tape = Tape::default();
    let tensor = |values: Vec<f32>, dims| ops.tensor(values, dims).unwrap();
    let flat = |values| tensor(values, Dims::Flat(CHANNELS));
    let x = tensor(numbers(20 * CHANNELS, 1), Dims::Rows(4, 5 * CHANNELS)).on(&tape);
    let [weight, bias] = [2, 3].map(|salt| flat(numbers(CHANNELS, salt)).on(&tape));
    let (mut mean, mut var) = (flat(numbers(CHANNELS, 4)), flat(vec![0.5, 1.5, 0.75]));
    let norm = match &by {
        By::Averages => {
            Norm::Fixed { weight: &weight, bias: &bias, mean: &mean, var: &var, eps: EPS }
        }
        By::Batch => {
            let running = Running { mean: &mut mean, var: &mut var, momentum: MOMENTUM };
            Norm::Batch { weight: &weight, bias: &bias, eps: EPS, running: Some(running) }
        }
        By::Either(by_averages) => {
            let running = Running { mean: &mut mean, var: &mut var, momentum: MOMENTUM };
            Norm::Mixed { weight: &weight, bias: &bias, eps: EPS, running, by_averages }
        }
    };
    let y = ops.batch_norm(&x, norm, CHANNELS).unwrap();
    let slopes = tensor(numbers(y.len(), 5), y.dims());
    let mut gradients = tape.backward(&y.mul(&slopes).unwrap().sum().unwrap()).unwrap();
    let [dx, dw, db] = [&x, &weight, &bias].map(|of| gradients.take(of).unwrap().host());
    [y.host(), dx, dw, db, mean.host(), var.host()]
}

#[test]
fn each_channel_is_normalised_by_what_it_goes_by_and_all_of_them_move_the_averages() {
    let chosen = [false, true, false];
    for ops in backends() {
        let [batch, averages, either] =
            [By::Batch, By::Averages, By::Either(chosen)].map(|by| normalised(&ops, by));
        for which in 0..4 {
            for at in 0..batch[which].len() {
                // Values and the input's gradient have five pixels of a channel after each other.
                let channel = if which < 2 { at / 5 % CHANNELS } else { at };
                let expected = if chosen[channel] { averages[which][at] } else { batch[which][at] };
                let found = either[which][at];
                let near = (found - expected).abs() < 1e-4 * (1.0 + expected.abs());
                assert!(near, "{ops:?}, {which}, {at}: {found} and {expected}");
            }
        }
        assert_eq!((&either[4], &either[5]), (&batch[4], &batch[5]), "{ops:?}");
        assert_ne!(batch[4], averages[4], "{ops:?}");
    }
}

#[test]
fn on_the_cpu_no_channel_is_the_plain_operation_bit_for_bit() {
    let bits = |by: By| {
        let found = normalised(&CpuOps::shared(), by);
        found.map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<u32>>())
    };
    assert_eq!(bits(By::Either([false; CHANNELS])), bits(By::Batch));
}

/// The output of a convolution with normalisation and rectification of twenty images, the averages
/// afterwards, and the gradients of the images and of all parameters.
fn block(ops: &Backend, pooled: bool) -> Vec<(&'static str, Vec<f32>)> {
    let tape = Tape::default();
    let tensor = |values: Vec<f32>, dims| ops.tensor(values, dims).unwrap();
    let flat = |values: Vec<f32>| {
        let dims = Dims::Flat(values.len());
        tensor(values, dims)
    };
    let input = Chw { channels: 2, height: 6, width: 6 };
    let (kernel, one) = ((3, 3), (1, 1));
    let shape = Conv2d { input, filters: CHANNELS, kernel, stride: one, padding: one, groups: 1 };
    let (two, none) = ((2, 2), (0, 0));
    let pool =
        Pool2d { input: shape.output(), kernel: two, stride: two, padding: none, ceil: false };
    let x = tensor(numbers(20 * input.len(), 1), Dims::Rows(20, input.len())).on(&tape);
    let weight = flat(numbers(shape.weight_len(), 2)).on(&tape);
    let [bias, gamma, beta] = [3, 4, 5].map(|salt| flat(numbers(CHANNELS, salt)).on(&tape));
    let (mut mean, mut var) = (flat(numbers(CHANNELS, 6)), flat(vec![4.0, 8.0, 2.0]));
    let running = Running { mean: &mut mean, var: &mut var, momentum: MOMENTUM };
    let prepared = ops.prepare(&weight, &shape, false);
    let block = ConvBlock {
        shape,
        weight: &weight,
        prepared: &prepared,
        bias: Some(&bias),
        norm: Norm::Mixed {
            weight: &gamma,
            bias: &beta,
            eps: EPS,
            running,
            by_averages: &[false, true, false],
        },
        pool: pooled.then_some(pool),
        relu: Some(Rectifier::Relu),
    };
    let y = ops.conv_block(&ops.maps(&x, input).unwrap(), None, block).unwrap();
    let y = ops.flat_rows(&y).unwrap();
    let slopes = tensor(numbers(y.len(), 7), y.dims());
    let mut gradients = tape.backward(&y.mul(&slopes).unwrap().sum().unwrap()).unwrap();
    let mut found = vec![("y", y.host()), ("mean", mean.host()), ("var", var.host())];
    for (name, of) in
        [("x", &x), ("weight", &weight), ("bias", &bias), ("gamma", &gamma), ("beta", &beta)]
    {
        found.push((name, gradients.take(of).unwrap().host()));
    }
    found
}

#[test]
fn a_fused_block_gives_what_single_operations_give() {
    for pooled in [false, true] {
        let [cpu, dfdx] = backends().map(|ops| block(&ops, pooled));
        let norm = |values: &[f32]| values.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
        for ((name, found), (_, expected)) in cpu.iter().zip(&dfdx) {
            assert_eq!(found.len(), expected.len(), "{name}");
            let off: Vec<f32> = found.iter().zip(expected).map(|(a, b)| a - b).collect();
            let limit = 2e-4 * norm(expected) + 2e-4;
            assert!(norm(&off) < limit, "{name}, pooled: {pooled}: {found:?} and {expected:?}");
        }
        // The bias before a channel that goes by the averages is not taken out again.
        let bias = &cpu.iter().find(|(name, _)| *name == "bias").unwrap().1;
        assert!(bias[0] == 0.0 && bias[1].abs() > 1e-2 && bias[2] == 0.0, "{bias:?}");
    }
}
