//! Milliseconds of the operations of one step of `dacnn` on the CPU: 256 images, forward and
//! backward. Run: `cargo bench --bench ops -- [threads] [fresh]`; with `fresh`, freed memory goes
//! back to the system as it does by default.

use std::time::Instant;

use runner::nn::geometry::{Chw, Conv2d, Pool2d, Rectifier};
use runner::nn::ops::{CpuOps, Dims, Norm, Tape, Tensor};

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
    let ops = CpuOps::shared();
    let image = Chw { channels: 3, height: 28, width: 28 };
    let conv1 = conv(image, 64);
    let pool1 = halved(conv1.output());
    let conv2 = conv(pool1.output(), 50);
    let pool2 = halved(conv2.output());
    println!("{threads} threads, {IMAGES} images: median ms forward, backward; page faults");

    let one = |shape: Conv2d| {
        let (weight, bias) = (flat(shape.weight_len(), 0.02), flat(shape.filters, 0.1));
        let ops = &ops;
        move |x: &Tensor, tape: &Tape| {
            ops.conv2d(x, &weight.on(tape), Some(&bias.on(tape)), &shape).expect("memory")
        }
    };
    measure("conv 3->64 5x5 on 28x28", image.len(), false, one(conv1));
    measure("conv 64->50 5x5 on 13x13", conv2.input.len(), true, one(conv2));
    let norm = |x: &Tensor, (weight, bias): (&Tensor, &Tensor), tape: &Tape| {
        let (weight, bias) = (&weight.on(tape), &bias.on(tape));
        let norm = Norm::Batch { weight, bias, eps: 1e-5, running: None };
        ops.batch_norm(x, norm, weight.len()).expect("memory")
    };
    let (weight, bias) = (flat(64, 1.0), flat(64, 0.1));
    measure("batch norm 64x26x26", conv1.output().len(), true, |x, tape| {
        norm(x, (&weight, &bias), tape)
    });
    measure("max pool 64x26x26", conv1.output().len(), true, |x, _| {
        ops.max_pool2d(x, &pool1).expect("memory")
    });
    let relu = |x: &Tensor| ops.relu(x, Rectifier::Relu).expect("memory");
    measure("relu 64x13x13", pool1.output().len(), true, |x, _| relu(x));

    // Both convolutional blocks, twice: what a domain-adversarial step spends on its features.
    let (w1, b1) = (flat(conv1.weight_len(), 0.1), flat(64, 0.1));
    let (w2, b2) = (flat(conv2.weight_len(), 0.02), flat(50, 0.1));
    let (g, z) = (flat(64, 1.0), flat(50, 1.0));
    let convolutions = |x: &Tensor, tape: &Tape| {
        let x = ops.conv2d(x, &w1.on(tape), Some(&b1.on(tape)), &conv1).expect("memory");
        let x = norm(&x, (&g, &b1), tape);
        let x = relu(&ops.max_pool2d(&x, &pool1).expect("memory"));
        let x = ops.conv2d(&x, &w2.on(tape), Some(&b2.on(tape)), &conv2).expect("memory");
        let x = norm(&x, (&z, &b2), tape);
        relu(&ops.max_pool2d(&x, &pool2).expect("memory"))
    };
    measure("features of dacnn", image.len(), false, convolutions);
}

fn conv(input: Chw, filters: usize) -> Conv2d {
    Conv2d { input, filters, kernel: (5, 5), stride: (1, 1), padding: (1, 1), groups: 1 }
}

fn halved(input: Chw) -> Pool2d {
    Pool2d { input, kernel: (2, 2), stride: (2, 2), padding: (0, 0), ceil: false }
}

fn tensor(values: Vec<f32>, dims: Dims) -> Tensor {
    CpuOps::shared().tensor(values, dims).expect("memory")
}

fn flat(len: usize, bound: f32) -> Tensor {
    tensor(values(len, bound), Dims::Flat(len))
}

fn values(len: usize, bound: f32) -> Vec<f32> {
    (0..len).map(|at| ((at * 7919 % 1009) as f32 / 504.5 - 1.0) * bound).collect()
}

/// Times `op` on images of so many `features`; `learns` says whether they want a gradient.
fn measure(name: &str, features: usize, learns: bool, op: impl Fn(&Tensor, &Tape) -> Tensor) {
    let x = tensor(values(IMAGES * features, 1.0), Dims::Rows(IMAGES, features));
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    let mut faults = 0;
    for round in 0..ROUNDS {
        if round == 3 {
            faults = page_faults();
        }
        let tape = Tape::default();
        let x = if learns { x.on(&tape) } else { x.clone() };
        let start = Instant::now();
        let y = op(&x, &tape);
        let middle = Instant::now();
        let loss = y.sum().expect("memory");
        let summed = Instant::now();
        let gradients = tape.backward(&loss).expect("memory");
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
