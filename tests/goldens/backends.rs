//! What computes the goldens.

use runner::device::Precision;
use runner::nn::gpu::Gpu;
use runner::nn::ops::{Backend, CpuOps, DfdxOps, GpuOps};

use crate::stand_in;

/// What computes on this machine: the CPU's kernels, and dfdx's own operations.
pub fn processors() -> [Backend; 2] {
    [CpuOps::shared(), DfdxOps::shared(dfdx::prelude::Cpu::default())]
}

/// The same and, where its stand-in can be built, a GPU in single precision.
pub fn backends() -> Vec<Backend> {
    processors().into_iter().chain(gpu(Precision::Float32)).collect()
}

/// A GPU, where its stand-in can be built. There is none where other kernels of the processor are tried than it would choose:
/// a GPU's are the same with all of them.
pub fn gpu(precision: Precision) -> Option<Backend> {
    if std::env::var_os("RUNNER_ISA").is_some() {
        return None;
    }
    stand_in::here()?;
    Some(GpuOps::shared(Gpu::open(0).unwrap(), precision).unwrap())
}
