//! From the name of a device to its operations, and to the name of its arithmetic.

use dfdx::prelude::Cpu;

use super::kernels::isa::Isa;
use super::ops::{Backend, CpuOps, DfdxOps};
use crate::device::{Device, DeviceError};

/// The operations of `device`.
///
/// # Errors
/// When the device cannot be opened: no such GPU, or no driver for it.
pub fn open(device: Device) -> Result<Backend, DeviceError> {
    match device {
        Device::Cpu => Ok(CpuOps::shared()),
        Device::Dfdx => Ok(DfdxOps::shared(Cpu::default())),
        #[cfg(feature = "cuda")]
        Device::DfdxCuda(ordinal) => open_cuda(ordinal).map(DfdxOps::shared),
        #[cfg(not(feature = "cuda"))]
        Device::DfdxCuda(_) => Err(DeviceError::NotBuilt(device.to_string())),
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
    match device {
        Device::DfdxCuda(_) => "cuda".into(),
        Device::Dfdx => format!("dfdx {}", Isa::best()),
        Device::Cpu => {
            let isa = Isa::current().expect("the instruction set was checked");
            match Isa::best() {
                best if best == isa => format!("cpu {isa}"),
                best => format!("cpu {isa} of {best}"),
            }
        }
    }
}

/// dfdx panics where there is no driver or no such GPU: both are asked for first.
#[cfg(feature = "cuda")]
fn open_cuda(ordinal: usize) -> Result<dfdx::prelude::Cuda, DeviceError> {
    use cudarc::driver::result;
    let unavailable =
        |reason: String| DeviceError::Unavailable { device: Device::DfdxCuda(ordinal), reason };
    let driver = |error: result::DriverError| unavailable(format!("{error:?}"));
    result::init().map_err(driver)?;
    let count = result::device::get_count().map_err(driver)?;
    if usize::try_from(count).is_ok_and(|count| ordinal >= count) {
        return Err(unavailable(format!("this machine has {count} GPUs, counted from 0")));
    }
    dfdx::prelude::Cuda::try_build(ordinal, 0).map_err(|error| unavailable(format!("{error:?}")))
}
