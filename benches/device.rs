//! A device against PyTorch: its results against the golden files, its times against another program.
//!
//! ```text
//! device DEVICE check     # every golden operation, the golden steps of DANN and CORAL; exit code 1 if one is off
//! device DEVICE times     # answers lines `WORK TIMES`, as `work` does
//! ```
//!
//! `DEVICE` is `cpu`, `dfdx`, `cuda:0` or, with `--features cuda`, `dfdx-cuda:0`. What is checked is in single precision but for
//! convolutions, what is timed in the precision that counts where nothing is said. Runs in the repository's root, where the golden files are.
//! `benches/gpu.sh` and `benches/device.sh` call it on a machine with a GPU.

#[path = "../tests/goldens/reference/mod.rs"]
mod reference;
mod steps;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use reference::{Distance, step};
use runner::device::Precision;
use runner::nn::dispatch;
use runner::nn::gpu::Gpu;
use runner::nn::ops::{Backend, GpuOps};

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let words = runner::system::command_line().into_iter().skip(1).filter(|word| word != "--bench");
    let words: Vec<String> = words.collect();
    let [device, what @ ("check" | "times")] =
        words.iter().map(String::as_str).collect::<Vec<_>>()[..]
    else {
        eprintln!("usage: device cpu|dfdx|cuda:N|dfdx-cuda:N check|times");
        return ExitCode::from(2);
    };
    match done(device, what) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether what was asked for passed.
fn done(device: &str, what: &str) -> Result<bool, Box<dyn std::error::Error>> {
    let tf32 = dispatch::find(device, Precision::Tf32)?;
    if what == "times" {
        return dispatch::on(tf32, |ops| {
            steps::answer(ops);
            Ok(true)
        });
    }
    let float32 = dispatch::find(device, Precision::Float32)?;
    let number = device.strip_prefix("cuda:").and_then(|it| it.parse().ok());
    let gpu = number.map(Gpu::open).transpose()?;
    dispatch::on(float32, |ops| dispatch::on(tf32, |rough| Ok(check(ops, rough, gpu.as_ref()))))
}

/// Prints a line per golden case, and those for what no golden file has, in TF32; gives whether all passed.
fn check(ops: &Backend, tf32: &Backend, gpu: Option<&Arc<Gpu>>) -> bool {
    let mut passed = 0;
    let mut failed = 0;
    let mut case = |name: &str, distances: &dyn Fn() -> Vec<Distance>| {
        // One operation that panics must not hide what the others do.
        let verdict = match catch_unwind(AssertUnwindSafe(distances)) {
            Err(_) => Err("panicked".to_owned()),
            Ok(distances) => {
                let share = |d: &Distance| if d.is_within() { d.off / d.limit } else { f64::MAX };
                let worst = distances.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
                match worst.expect("a case compares something") {
                    worst if worst.is_within() => Ok(worst.to_string()),
                    worst => Err(worst.to_string()),
                }
            }
        };
        match verdict {
            Ok(worst) => {
                passed += 1;
                println!("ok      {name:24} worst {worst}");
            }
            Err(why) => {
                failed += 1;
                println!("FAILED  {name:24} {why}");
            }
        }
    };
    for golden in reference::ops::goldens() {
        case(&golden.name, &|| golden.distances(ops));
    }
    for golden in reference::primitives::goldens() {
        case(&golden.name, &|| golden.distances(ops));
    }
    case("dann step", &|| step::dann(ops));
    case("coral step", &|| step::coral(ops));
    case("large convolution, TF32", &|| reference::ops::many_tiles(tf32, 2e-3));
    if let Some(gpu) = gpu {
        case("every convolution, TF32", &|| {
            let apart = GpuOps::convolutions_apart(Arc::clone(gpu)).expect("the GPU works");
            let limit = 3e-4;
            apart
                .into_iter()
                .map(|(what, off)| Distance { name: what.into(), off, scale: 1.0, limit })
                .collect()
        });
    }
    println!("{passed} passed, {failed} failed");
    failed == 0
}
