//! From a device chosen at run time to code compiled for it.

use dfdx::prelude::Cpu;

use super::ops::Ops;
use crate::device::Device;

/// Work that is the same on every device.
pub trait Job {
    /// What it gives.
    type Output;
    /// Does it on a device.
    fn run<D: Ops>(self, device: &D) -> Self::Output;
}

/// Does `job` on `device`.
///
/// # Panics
/// When the device cannot be opened.
pub fn dispatch<J: Job>(device: Device, job: J) -> J::Output {
    match device {
        Device::Cpu => job.run(&Cpu::default()),
        #[cfg(feature = "cuda")]
        Device::Cuda(ordinal) => {
            job.run(&dfdx::prelude::Cuda::seed_from_u64_with_ordinal(0, ordinal))
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => {
            unreachable!("`Device::parse` gives CUDA devices only where they were built")
        }
    }
}
