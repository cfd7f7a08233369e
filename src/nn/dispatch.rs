//! From a device chosen at run time to code compiled for it.

use dfdx::prelude::Cpu;

use super::ops::Ops;
use crate::device::{Device, Error};

/// Work that is the same on every device.
pub trait Job {
    /// What it gives.
    type Output;
    /// Does it on a device.
    fn run<D: Ops>(self, device: &D) -> Self::Output;
}

/// Does `job` on `device`.
///
/// # Errors
/// When the device cannot be opened: no such GPU, or no driver for it.
pub fn dispatch<J: Job>(device: Device, job: J) -> Result<J::Output, Error> {
    match device {
        Device::Cpu => Ok(job.run(&Cpu::default())),
        #[cfg(feature = "cuda")]
        Device::Cuda(ordinal) => {
            let opened = dfdx::prelude::Cuda::try_build(ordinal, 0);
            let opened = opened
                .map_err(|error| Error::Unavailable { device, reason: format!("{error:?}") })?;
            Ok(job.run(&opened))
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(Error::NotBuilt(device.to_string())),
    }
}
