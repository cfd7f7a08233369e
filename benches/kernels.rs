//! Milliseconds of the convolution kernels on one thread, and their rate as a share of what a loop
//! of fused multiply-adds reaches here. Run: `cargo bench --bench kernels -- [isa ...]`.
//!
//! Rates count the operations of the definition: Winograd's can exceed the processor's.

use std::hint::black_box;
use std::time::Instant;

use runner::nn::geometry::{Chw, Conv2d};
use runner::nn::kernels::Fresh;
use runner::nn::kernels::conv::{Convolution, operations};
use runner::nn::kernels::isa::{Isa, Kernel};
use runner::nn::kernels::vector::Vector;

const IMAGES: usize = 256;
const ROUNDS: usize = 9;

fn main() {
    let words: Vec<String> = runner::system::command_line()
        .into_iter()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        if words.is_empty() || words.contains(&isa.to_string()) {
            run(isa);
        }
    }
}

fn run(isa: Isa) {
    let peak = isa.run(Peak);
    println!("{isa}: {:.0} GFLOP/s in a loop of multiply-adds; {IMAGES} images", peak / 1e9);
    // What more threads can give at all on this machine.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let together: f64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| isa.run(Peak))).collect();
        workers.into_iter().map(|worker| worker.join().expect("arithmetic")).sum()
    });
    println!("{threads} threads: {:.2} times as much", together / peak);
    println!("{:<34} {:>22} {:>22} {:>22}", "ms (share of the loop)", "forward", "dx", "dw");
    let square = |channels, side| Chw { channels, height: side, width: side };
    let conv = |input, filters, kernel, stride, padding| Conv2d {
        input,
        filters,
        kernel: (kernel, kernel),
        stride: (stride, stride),
        padding: (padding, padding),
        groups: 1,
    };
    for (shape, images) in [
        (conv(square(3, 28), 64, 5, 1, 1), IMAGES),
        (conv(square(64, 13), 50, 5, 1, 1), IMAGES),
        (conv(square(1, 28), 32, 5, 1, 0), IMAGES),
        (conv(square(32, 12), 48, 5, 1, 0), IMAGES),
        (conv(square(3, 224), 64, 7, 2, 3), 16),
        (conv(square(64, 56), 64, 3, 1, 1), 16),
        (conv(square(128, 28), 128, 3, 1, 1), 16),
        (conv(square(256, 14), 256, 3, 1, 1), 16),
        (conv(square(512, 7), 512, 3, 1, 1), 16),
        (conv(square(256, 14), 512, 3, 2, 1), 16),
        (conv(square(256, 14), 512, 1, 2, 0), 16),
    ] {
        measure(isa, &shape, images, peak);
    }
}

fn measure(isa: Isa, shape: &Conv2d, images: usize, peak: f64) {
    let blocks = images / 16;
    let conv = Convolution::new(shape, isa, false);
    let noise = |len: usize| -> Vec<f32> {
        (0..len).map(|at| (at * 7919 % 2017) as f32 / 1008.5 - 1.0).collect()
    };
    let weight = noise(shape.weight_len());
    let (forward, backward) = (conv.pack(&weight), conv.pack_backward(&weight));
    let x = noise(blocks * shape.input.len() * 16);
    let dy = noise(blocks * shape.output().len() * 16);
    let mut y = vec![0.0; dy.len()];
    let mut dx = vec![0.0; x.len()];
    let mut sums = vec![0.0; conv.sums_len()];
    let mut buffer = vec![0.0; conv.buffer_len()];
    let (inner, outer) = (shape.input.len() * 16, shape.output().len() * 16);
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for (x, y) in x.chunks_exact(inner).zip(y.chunks_exact_mut(outer)) {
            conv.lay(x, &mut buffer);
            conv.forward(&buffer, &forward, None, None, y);
        }
        times[0].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        for (dx, dy) in dx.chunks_exact_mut(inner).zip(dy.chunks_exact(outer)) {
            conv.backward(dy, Some((&backward, dx)), None);
        }
        times[1].push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        for (x, dy) in x.chunks_exact(inner).zip(dy.chunks_exact(outer)) {
            conv.lay(x, &mut buffer);
            conv.backward(dy, None, Some((&buffer, &mut sums, Fresh(false))));
        }
        times[2].push(start.elapsed().as_secs_f64());
    }
    #[expect(clippy::cast_precision_loss, reason = "a few blocks")]
    let operations = operations(shape) * blocks as f64;
    let name = format!(
        "{}->{} {}x{} /{} on {}, {images}",
        shape.input.channels,
        shape.filters,
        shape.kernel.0,
        shape.kernel.1,
        shape.stride.0,
        shape.input.height
    );
    let cells = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        format!("{:.2} ({:.0} %)", median * 1e3, 100.0 * operations / median / peak)
    });
    println!("{name:<34} {:>22} {:>22} {:>22}", cells[0], cells[1], cells[2]);
}

/// Operations a second of independent multiply-adds that stay in registers.
struct Peak;

impl Kernel for Peak {
    type Output = f64;

    #[inline(always)]
    fn run<V: Vector>(self) -> f64 {
        let mut best = 0.0_f64;
        for _ in 0..5 {
            let start = Instant::now();
            let rounds = 2_000_000;
            // SAFETY: run by `Isa::run`.
            unsafe {
                let (factor, summand) = (V::splat(black_box(0.999)), V::splat(black_box(0.1)));
                let mut sums = [V::splat(black_box(1.0)); 12];
                for _ in 0..rounds {
                    for sum in &mut sums {
                        *sum = sum.mul_add(factor, summand);
                    }
                }
                black_box(sums.map(|sum| sum.sum()));
            }
            #[expect(clippy::cast_precision_loss, reason = "a small count")]
            let operations = (rounds * 12 * 2 * V::LEN) as f64;
            best = best.max(operations / start.elapsed().as_secs_f64());
        }
        best
    }
}
