//! From the name of a device to its operations, and to the name of its arithmetic.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use dfdx::prelude::Cpu;

use super::gpu::{self, Gpu, GpuError};
use super::kernels::isa::Isa;
use super::ops::{Backend, CpuOps, DfdxOps, GpuOps, OpError};
use crate::config::Word as _;
use crate::device::{Device, DeviceError, Precision};

/// Why `auto` did not take a GPU that is there.
static PASSED_OVER: OnceLock<GpuError> = OnceLock::new();

/// Why the processor was taken where a pipeline left it to the machine and there is a GPU.
pub fn passed_over() -> Option<&'static GpuError> {
    PASSED_OVER.get()
}

/// What is known of the machines that pipelines are read for, where these are others.
#[derive(Default)]
struct Elsewhere {
    /// Whether they have a GPU.
    has_gpu: Option<bool>,
    /// Whether a GPU that is asked for may be there and not here.
    may_have_gpu: bool,
    /// Why it could not be had here, once it was asked for.
    untried: Option<DeviceError>,
}

static ELSEWHERE: Mutex<Elsewhere> =
    Mutex::new(Elsewhere { has_gpu: None, may_have_gpu: false, untried: None });

fn elsewhere() -> MutexGuard<'static, Elsewhere> {
    ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on pipelines are read for machines of this backend: their GPU need not be here, and `auto` is what they have.
/// Without a backend nothing is known of them, and `auto` is a processor.
pub fn read_for(backend: Option<&str>) {
    let has_gpu = backend.is_some_and(|it| it.starts_with(OF_GPUS));
    let may_have_gpu = has_gpu || backend.is_none();
    *elsewhere() = Elsewhere { has_gpu: Some(has_gpu), may_have_gpu, untried: None };
}

/// From now on pipelines are read for any machine, by whoever asks only what they say: no device need be here.
pub fn read_anywhere() {
    read_for(Some(OF_GPUS));
}

/// Why a GPU of the machines that pipelines are read for could not be tried out here; told once.
pub fn untried() -> Option<DeviceError> {
    elsewhere().untried.take()
}

/// The device that a word stands for on this machine, or on those that pipelines are read for ([`read_for`]): `auto` is
/// the first GPU, if there is one that the kernels run on.
///
/// # Errors
/// When the word is not a device, this build cannot use it, or it is a GPU that is not there.
pub fn find(word: &str, precision: Precision) -> Result<Device, DeviceError> {
    let can = |ordinal| Gpu::open(ordinal).and_then(|gpu| GpuOps::try_out(&gpu, precision));
    let Elsewhere { has_gpu, may_have_gpu, .. } = *elsewhere();
    let parsed = match (Device::parse(word, precision)?, has_gpu) {
        (None, Some(true)) => Some(Device::Cuda { ordinal: 0, precision }),
        (None, Some(false)) => Some(Device::Cpu),
        (parsed, _) => parsed,
    };
    match parsed {
        None => Ok(match can(0) {
            Ok(()) => Device::Cuda { ordinal: 0, precision },
            Err(GpuError::NoDriver | GpuError::NoGpu(_)) => Device::Cpu,
            Err(reason) => {
                PASSED_OVER.get_or_init(|| reason);
                Device::Cpu
            }
        }),
        Some(device) => {
            if let Device::Cuda { ordinal, .. } = device {
                match can(ordinal).map_err(|reason| unavailable(device, &reason)) {
                    Err(reason) if may_have_gpu => elsewhere().untried = Some(reason),
                    tried => tried?,
                }
            }
            Ok(device)
        }
    }
}

fn unavailable(device: Device, reason: &dyn std::fmt::Display) -> DeviceError {
    DeviceError::Unavailable { device, reason: reason.to_string() }
}

/// Does `work` on `device`. A device that failed meanwhile is the reason of whatever came of it.
///
/// # Errors
/// When the device cannot be opened or fails, and those of `work`.
pub fn on<T, E>(device: Device, work: impl FnOnce(&Backend) -> Result<T, E>) -> Result<T, E>
where
    E: From<DeviceError> + From<OpError>,
{
    let ops = open(device)?;
    let done = work(&ops);
    ops.finish()?;
    done
}

/// The operations of `device`.
fn open(device: Device) -> Result<Backend, DeviceError> {
    match device {
        Device::Cpu => Ok(CpuOps::shared()),
        Device::Dfdx => Ok(DfdxOps::shared(Cpu::default())),
        Device::Cuda { ordinal, precision } => Gpu::open(ordinal)
            .and_then(|gpu| GpuOps::shared(gpu, precision))
            .map_err(|reason| unavailable(device, &reason)),
        #[cfg(feature = "cuda")]
        Device::DfdxCuda(ordinal) => open_cuda(ordinal).map(DfdxOps::shared),
        #[cfg(not(feature = "cuda"))]
        Device::DfdxCuda(_) => Err(DeviceError::NotBuilt(device.to_string())),
    }
}

/// What decides the last bits of every number: the kind of device and, on the CPU, the instruction set; on a GPU its
/// model, its precision and the kernels. A processor that computes by AVX2 though it has more gives the numbers of one
/// that has AVX2 alone. One that has AVX2 and computes by less does not give those of a processor without: the C
/// library's logarithms and exponentials go by the processor.
///
/// # Panics
/// When the environment asks for an instruction set that is not there; the program checks that
/// when it starts.
pub fn backend(device: Device) -> String {
    match device {
        Device::DfdxCuda(_) => "cuda".into(),
        Device::Cuda { ordinal, precision } => match Gpu::open(ordinal) {
            Ok(gpu) => format!("{} {}", gpu.arithmetic(), precision.word()),
            Err(_) => NO_GPU.into(),
        },
        Device::Dfdx => format!("dfdx {}", Isa::best()),
        Device::Cpu => {
            let isa = Isa::current().expect("the instruction set was checked");
            match (isa, Isa::best()) {
                (Isa::Portable, Isa::Avx2 | Isa::Avx512) => WITH_FMA.into(),
                (Isa::Avx512 | Isa::Avx2 | Isa::Portable, _) => format!("cpu {isa}"),
            }
        }
    }
}

/// The backend of a machine without the GPU that a plan is for.
pub const NO_GPU: &str = "no GPU";

/// The backend of a processor with fused multiply-add whose kernels do without.
const WITH_FMA: &str = "cpu portable with fma";

/// How the backends of GPUs begin.
const OF_GPUS: &str = "cuda ";

/// That a device may have the backend `wanted` on some machine, as far as this one can tell: it knows neither the models
/// nor the drivers of other machines' GPUs.
///
/// # Errors
/// The backends that it may have, or for a GPU how these read.
///
/// # Panics
/// As [`backend`].
pub fn check_backend(wanted: &str, device: Device) -> Result<(), Vec<String>> {
    let (can, all) = match device {
        Device::Cpu => {
            let plain = Isa::ALL.into_iter().map(|isa| format!("cpu {isa}"));
            let all: Vec<String> = plain.chain([WITH_FMA.to_owned()]).collect();
            (all.iter().any(|it| it == wanted), all)
        }
        Device::Dfdx => {
            let all: Vec<String> = Isa::ALL.into_iter().map(|isa| format!("dfdx {isa}")).collect();
            (all.iter().any(|it| it == wanted), all)
        }
        Device::Cuda { precision, .. } => {
            let word = precision.word();
            let arithmetic = wanted.strip_suffix(word).and_then(|it| it.strip_suffix(' '));
            let like = gpu::examples_of_arithmetic().map(|it| format!("{it} {word}"));
            (arithmetic.is_some_and(gpu::is_arithmetic), like.into())
        }
        Device::DfdxCuda(_) => (wanted == backend(device), vec![backend(device)]),
    };
    if can { Ok(()) } else { Err(all) }
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
