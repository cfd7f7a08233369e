//! From a device chosen at run time to code compiled for it, and to the name of its arithmetic.

use dfdx::prelude::Cpu;

use super::kernels::isa::Isa;
use super::ops::Ops;
use crate::device::{Device, DeviceError};

/// Work that is the same on every device.
pub trait DeviceWork {
    /// What it gives.
    type Output;
    /// Does it on a device.
    fn run<D: Ops>(self, device: &D) -> Self::Output;
}

/// Does `job` on `device`.
///
/// # Errors
/// When the device cannot be opened: no such GPU, or no driver for it.
pub fn dispatch<J: DeviceWork>(device: Device, job: J) -> Result<J::Output, DeviceError> {
    match device {
        Device::Cpu => Ok(job.run(&Cpu::default())),
        #[cfg(feature = "cuda")]
        Device::Cuda(ordinal) => Ok(job.run(&open_cuda(ordinal)?)),
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(DeviceError::NotBuilt(device.to_string())),
    }
}

/// What decides the last bits of every number: the kind of device and, on the CPU, the
/// instruction set. Where a smaller one was asked for than the processor has, both: the products
/// of the crate `gemm` go by the processor's.
///
/// # Panics
/// When the environment asks for an instruction set that is not there; the program checks that
/// when it starts.
pub fn backend(device: Device) -> String {
    if let Device::Cuda(_) = device {
        return "cuda".into();
    }
    let isa = Isa::current().expect("the instruction set was checked");
    match Isa::best() {
        best if best == isa => format!("cpu {isa}"),
        best => format!("cpu {isa} of {best}"),
    }
}

/// dfdx panics where there is no driver or no such GPU: both are asked for first.
#[cfg(feature = "cuda")]
fn open_cuda(ordinal: usize) -> Result<dfdx::prelude::Cuda, DeviceError> {
    use cudarc::driver::result;
    let unavailable =
        |reason: String| DeviceError::Unavailable { device: Device::Cuda(ordinal), reason };
    let driver = |error: result::DriverError| unavailable(format!("{error:?}"));
    result::init().map_err(driver)?;
    let count = result::device::get_count().map_err(driver)?;
    if usize::try_from(count).is_ok_and(|count| ordinal >= count) {
        return Err(unavailable(format!("this machine has {count} GPUs, counted from 0")));
    }
    dfdx::prelude::Cuda::try_build(ordinal, 0).map_err(|error| unavailable(format!("{error:?}")))
}
