//! Milliseconds of the operations of one step of `dacnn` on the CPU: 256 images, forward and
//! backward. Run: `cargo bench --bench ops -- [threads] [fresh]`; with `fresh`, freed memory goes
//! back to the system as it does by default.

use std::time::Instant;

use dfdx::prelude::*;
use runner::nn::geometry::{Chw, Conv2d, Pool2d, Rectifier};
use runner::nn::ops::{Batch, Flat, Needs, Ops};

const IMAGES: usize = 256;
const ROUNDS: usize = 15;

fn main() {
    let words: Vec<String> = runner::system::command_line().into_iter().skip(1).collect();
    let threads = words.iter().find_map(|word| word.parse().ok()).unwrap_or(1);
    if !words.iter().any(|word| word == "fresh") {
        runner::memory::keep_freed_memory();
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| run(threads));
}

fn run(threads: usize) {
    let device = Cpu::default();
    let image = Chw { channels: 3, height: 28, width: 28 };
    let conv1 = conv(image, 64);
    let pool1 = halved(conv1.output());
    let conv2 = conv(pool1.output(), 50);
    let pool2 = halved(conv2.output());
    println!("{threads} threads, {IMAGES} images: median ms forward, backward; page faults");

    let all = Needs { input: true, weight: true };
    let first = Needs { input: false, weight: true };
    let one = |shape: Conv2d, needs: Needs| {
        let weight = flat(&device, shape.weight_len(), 0.02);
        let bias = flat(&device, shape.filters, 0.1);
        move |x| Cpu::conv2d(x, &weight, Some(&bias), &shape, needs).expect("memory")
    };
    measure("conv 3->64 5x5 on 28x28", &device, image.len(), one(conv1, first));
    measure("conv 64->50 5x5 on 13x13", &device, conv2.input.len(), one(conv2, all));
    let (weight, bias) = (flat(&device, 64, 1.0), flat(&device, 64, 0.1));
    measure("batch norm 64x26x26", &device, conv1.output().len(), move |x| {
        Cpu::batch_norm_train(x, &weight, &bias, 64, 1e-5, all).expect("memory").0
    });
    measure("max pool 64x26x26", &device, conv1.output().len(), |x| {
        Cpu::max_pool2d(x, &pool1).expect("memory")
    });
    measure("relu 64x13x13", &device, pool1.output().len(), |x| {
        Cpu::relu(x, Rectifier::Relu).expect("memory")
    });

    // Both convolutional blocks, twice: what a domain-adversarial step spends on its features.
    let (w1, b1) = (flat(&device, conv1.weight_len(), 0.1), flat(&device, 64, 0.1));
    let (w2, b2) = (flat(&device, conv2.weight_len(), 0.02), flat(&device, 50, 0.1));
    let (g, z) = (flat(&device, 64, 1.0), flat(&device, 50, 1.0));
    let convolutions = |x| {
        let x = Cpu::conv2d(x, &w1, Some(&b1), &conv1, first).expect("memory");
        let x = Cpu::batch_norm_train(x, &g, &b1, 64, 1e-5, all).expect("memory").0;
        let x = Cpu::relu(Cpu::max_pool2d(x, &pool1).expect("memory"), Rectifier::Relu)
            .expect("memory");
        let x = Cpu::conv2d(x, &w2, Some(&b2), &conv2, all).expect("memory");
        let x = Cpu::batch_norm_train(x, &z, &b2, 50, 1e-5, all).expect("memory").0;
        Cpu::relu(Cpu::max_pool2d(x, &pool2).expect("memory"), Rectifier::Relu).expect("memory")
    };
    measure("features of dacnn", &device, image.len(), convolutions);
}

fn conv(input: Chw, filters: usize) -> Conv2d {
    Conv2d { input, filters, kernel: (5, 5), stride: (1, 1), padding: (1, 1), groups: 1 }
}

fn halved(input: Chw) -> Pool2d {
    Pool2d { input, kernel: (2, 2), stride: (2, 2), padding: (0, 0), ceil: false }
}

fn flat(device: &Cpu, len: usize, bound: f32) -> Flat<Cpu> {
    device.tensor_from_vec(values(len, bound), (len,))
}

fn values(len: usize, bound: f32) -> Vec<f32> {
    (0..len).map(|at| ((at * 7919 % 1009) as f32 / 504.5 - 1.0) * bound).collect()
}

fn measure(
    name: &str,
    device: &Cpu,
    features: usize,
    op: impl Fn(Batch<Cpu, OwnedTape<f32, Cpu>>) -> Batch<Cpu, OwnedTape<f32, Cpu>>,
) {
    let x: Batch<Cpu> = device.tensor_from_vec(values(IMAGES * features, 1.0), (IMAGES, features));
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    let mut faults = 0;
    for round in 0..ROUNDS {
        if round == 3 {
            faults = page_faults();
        }
        let start = Instant::now();
        let y = op(x.leaky_trace());
        let middle = Instant::now();
        let loss = y.sum::<(), _>();
        let summed = Instant::now();
        let gradients = loss.backward();
        backward.push(summed.elapsed());
        forward.push(middle - start);
        drop(gradients);
    }
    let faults = (page_faults() - faults) / (ROUNDS as i64 - 3);
    let median = |times: &mut Vec<std::time::Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e3
    };
    let (forward, backward) = (median(&mut forward), median(&mut backward));
    println!("{name:26} {forward:7.1} {backward:7.1} {faults:8}");
}

fn page_faults() -> i64 {
    // SAFETY: an all-zero `rusage` is valid, and `getrusage` only writes to it.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage.ru_minflt
    }
}
