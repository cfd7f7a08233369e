//! `runner devices`: what tensors can live on here, and why not on more.

use std::process::ExitCode;

use super::Error;
use crate::config::Word as _;
use crate::device::Precision;
use crate::nn::dispatch;
use crate::nn::gpu::{Gpu, GpuError};
use crate::nn::kernels::isa::Isa;

/// Lists the processor and every GPU.
///
/// # Errors
/// When standard output cannot be written.
pub fn run() -> Result<ExitCode, Error> {
    let mut text = format!("cpu     this processor, {}\n", Isa::best());
    match Gpu::count() {
        Ok(0) => text += &format!("cuda    none: {}\n", GpuError::NoGpu(0)),
        Ok(gpus) => (0..gpus).for_each(|ordinal| text += &gpu(ordinal)),
        Err(error) => text += &format!("cuda    none: {error}\n"),
    }
    let auto = dispatch::find("auto", Precision::Tf32);
    text +=
        &format!("auto    {}\n", auto.map_or_else(|error| error.to_string(), |it| it.to_string()));
    super::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// A GPU: what it is, and for each precision whether it computes what the processor computes.
fn gpu(ordinal: usize) -> String {
    let name = format!("cuda:{ordinal}");
    let gpu = match Gpu::open(ordinal) {
        Err(error) => return format!("{name:<8}cannot be used: {error}\n"),
        Ok(gpu) => gpu,
    };
    let ((major, minor), (cuda, update)) = (gpu.capability(), gpu.driver());
    let mut text = format!(
        "{name:<8}{}, {} GB, compute capability {major}.{minor}, driver for CUDA {cuda}.{update}, kernels {}\n",
        gpu.name(),
        gpu.memory() >> 30,
        gpu.kernels(),
    );
    for precision in Precision::all() {
        let said = match dispatch::find(&name, precision) {
            Ok(device) => {
                let backend = dispatch::backend(device);
                format!("computes what the processor computes, as `--backend '{backend}'`")
            }
            Err(error) => error.to_string(),
        };
        text += &format!("        `{}`: {said}\n", precision.word());
    }
    text
}
