//! A device against PyTorch: its results against the golden files, its times against another program.
//!
//! ```text
//! device DEVICE check              # every golden operation, the golden steps of DANN and CORAL, changes of images; exit code 1 if one is off
//! device DEVICE times [PRECISION]  # answers lines `WORK TIMES`, as `work` does
//! device DEVICE host               # what a step takes the host, on a stand-in whose kernels do nothing
//! device cuda:N tiles [PRECISION]  # what every kernel takes for convolutions of ResNets and of `dacnn`
//! ```
//!
//! `DEVICE` is `cpu`, `dfdx`, `cuda:0` or, with `--features cuda`, `dfdx-cuda:0`. What is checked is in single precision, and on a GPU
//! in the others too as far as they differ. What is timed is in PRECISION, which is that of a pipeline that says nothing where it is left out
//! (`tf32`). Runs in the repository's root, where the golden files are.
//! `benches/gpu.sh` and `benches/device.sh` call it on a machine with a GPU.

#[path = "../tests/goldens/reference/mod.rs"]
mod reference;
mod steps;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use reference::{Distance, step};
use runner::config::{Word, words_of};
use runner::device::{Device, Precision};
use runner::nn::dispatch;
use runner::nn::geometry::{Chw, Conv2d};
use runner::nn::gpu::Gpu;
use runner::nn::ops::{Backend, GpuOps};

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let words = runner::system::command_line().into_iter().skip(1).filter(|word| word != "--bench");
    let words: Vec<String> = words.collect();
    let asked = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [device, what @ ("check" | "times" | "host" | "tiles")] => Some((device, what, None)),
        [device, what @ ("times" | "tiles"), word] => {
            Precision::named(word).map(|precision| (device, what, Some(precision)))
        }
        _ => None,
    };
    let Some((device, what, precision)) = asked else {
        let precisions = words_of::<Precision>().join("|");
        eprintln!(
            "usage: device cpu|dfdx|cuda:N|dfdx-cuda:N check|host|times [{precisions}]|tiles [{precisions}]"
        );
        return ExitCode::from(2);
    };
    match done(device, what, precision) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether what was asked for passed.
fn done(
    device: &str,
    what: &str,
    asked: Option<Precision>,
) -> Result<bool, Box<dyn std::error::Error>> {
    let find = |precision| dispatch::find(device, precision);
    let precision = asked.unwrap_or(Precision::Tf32);
    if asked.is_some() && !matches!(find(precision)?, Device::Cuda { .. }) {
        return Err("a precision is that of `cuda:N`".into());
    }
    if what == "times" {
        return dispatch::on(find(precision)?, |ops| {
            steps::answer(ops);
            Ok(true)
        });
    }
    if what == "host" {
        return dispatch::on(find(precision)?, |ops| {
            steps::print_host_times(ops);
            Ok(true)
        });
    }
    let number = device.strip_prefix("cuda:").and_then(|it| it.parse().ok());
    let gpu = number.map(Gpu::open).transpose()?;
    if what == "tiles" {
        tiles(&gpu.ok_or("tiles are those of `cuda:N`")?, precision)?;
        return Ok(true);
    }
    let [float32, tf32, bf16] =
        [find(Precision::Float32)?, find(Precision::Tf32)?, find(Precision::Bf16)?];
    dispatch::on(float32, |ops| {
        dispatch::on(tf32, |tf32| {
            dispatch::on(bf16, |bf16| Ok(check(ops, [tf32, bf16], gpu.as_ref())))
        })
    })
}

/// Prints a line per golden case, those in bf16 where there is a GPU, and those for what no golden file has, in TF32 and bf16; gives
/// whether all passed.
fn check(ops: &Backend, [tf32, bf16]: [&Backend; 2], gpu: Option<&Arc<Gpu>>) -> bool {
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
        case("large convolution, bf16", &|| reference::ops::many_tiles(bf16, 4e-3));
        case("dann step, bf16", &|| step::dann_in_bf16(bf16));
        for of in reference::bf16::cases() {
            case(&format!("{}, bf16", of.golden.name), &|| of.distances(bf16));
        }
        case("every convolution", &|| {
            let apart = GpuOps::convolutions_apart(Arc::clone(gpu)).expect("the GPU works");
            let limit = 3e-4;
            apart
                .into_iter()
                .map(|(what, off)| Distance { name: what.into(), off, scale: 1.0, limit })
                .collect()
        });
        for shape in [(1, 28, 28), (3, 12, 17), (3, 224, 224)] {
            let (channels, height, width) = shape;
            case(&format!("changed images, {channels} x {height} x {width}"), &|| {
                reference::pixel_changes::distances(tf32, shape).expect("a GPU keeps images")
            });
        }
    }
    println!("{passed} passed, {failed} failed");
    failed == 0
}

/// Prints what each kernel of a precision takes for some convolutions, with the operations of a second that this is.
fn tiles(gpu: &Arc<Gpu>, precision: Precision) -> Result<(), Box<dyn std::error::Error>> {
    // Images, channels, pixels along a side, filters, taps along a side, stride and padding.
    let shapes = [
        ("dacnn, first", (256, 3, 28, 64, 5, 1, 1)),
        ("dacnn, second", (256, 64, 13, 50, 5, 1, 1)),
        ("ResNet, first", (64, 3, 224, 64, 7, 2, 3)),
        ("ResNet, layer1", (256, 64, 56, 64, 3, 1, 1)),
        ("ResNet, layer2", (256, 128, 28, 128, 3, 1, 1)),
        ("ResNet, layer3", (256, 256, 14, 256, 3, 1, 1)),
        ("ResNet, layer4", (256, 512, 7, 512, 3, 1, 1)),
        ("ResNet, layer4", (64, 512, 7, 512, 3, 1, 1)),
        ("ResNet, to layer2", (64, 64, 56, 128, 3, 2, 1)),
        ("ResNet-50, layer1", (32, 64, 56, 256, 1, 1, 0)),
        ("ResNet-50, layer3", (32, 1024, 14, 256, 1, 1, 0)),
        ("ResNet-50, layer4", (32, 512, 7, 2048, 1, 1, 0)),
    ];
    for (name, (images, channels, side, filters, taps, stride, padding)) in shapes {
        let conv = Conv2d {
            input: Chw { channels, height: side, width: side },
            filters,
            kernel: (taps, taps),
            stride: (stride, stride),
            padding: (padding, padding),
            groups: 1,
        };
        #[expect(clippy::cast_precision_loss, reason = "for people to read")]
        let operations =
            (2 * images * conv.output().area() * filters * channels * taps * taps) as f64;
        println!(
            "{name}: {images} images, {channels} x {side} x {side}, {filters} filters of {taps} x {taps}, stride {stride}"
        );
        for (kernel, time) in GpuOps::convolution_times(Arc::clone(gpu), precision, (images, conv))?
        {
            println!("  {kernel:38} {time:8.1} us {:5.0} TFLOP/s", operations / time / 1e6);
        }
    }
    Ok(())
}
