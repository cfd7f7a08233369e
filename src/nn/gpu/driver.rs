//! Opens a GPU: finds the driver, asks whether it is new enough, and loads the kernels of this program.

use std::collections::HashMap;
use std::ffi::CString;
use std::fmt;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc_19::driver::{result, sys};

use super::kernel::Kernel;
use crate::device::Precision;

/// The version of the driver's interface that the kernels were compiled for, as CUDA writes it: 13.0.
const NEEDED: i32 = 13_000;
/// The oldest compute capability that the kernels run on.
const OLDEST: (i32, i32) = (8, 0);

/// The compute capability whose machine code is here.
const IN_MACHINE_CODE: (i32, i32) = (9, 0);

/// Bytes of shared memory that a kernel may ask for without more ado.
const FIXED_SHARED: i32 = 48 << 10;

/// For GPUs of that compute capability, in their own machine code.
const CUBIN: &Aligned<[u8]> = &Aligned(*include_bytes!("kernels/kernels.sm_90.cubin"));
/// For all others, which their driver compiles when it loads them.
const PTX: &str = include_str!("kernels/kernels.ptx");

/// Digests of the source and of both forms, a word and a digest in a line.
const DIGESTS: &str = include_str!("kernels/kernels.digest");
/// What else decides the order of sums: how `nn::ops::gpu` cuts them into parts. Raise it when one of its constants changes.
const PARTS: u32 = 2;

/// Bytes that begin where words of a machine may.
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

/// Why a GPU cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// No driver on this machine.
    #[error("no driver of NVIDIA's (libcuda.so.1) was found")]
    NoDriver,
    /// A driver, but no such GPU.
    #[error("{}", count(*.0))]
    NoGpu(i32),
    /// An older driver than the kernels need.
    #[error(
        "its driver is for CUDA {}.{}, and CUDA 13.0 is needed, which drivers have from 580 on", .0 / 1000, .0 % 1000 / 10
    )]
    OldDriver(i32),
    /// A GPU that lacks instructions of the kernels.
    #[error("the {name} has compute capability {}.{}, and 8.0 is needed (Ampere or newer)", .capability.0, .capability.1)]
    OldGpu {
        /// The GPU's name.
        name: String,
        /// Its compute capability.
        capability: (i32, i32),
    },
    /// It computes other numbers than the processor.
    #[error("it computes other numbers than the processor: {what} is off by {off} of its size")]
    Wrong {
        /// The result.
        what: &'static str,
        /// How far it is off, as a share of its size.
        off: String,
    },
    /// More memory was asked for than there is.
    #[error("out of memory: {0}")]
    Memory(String),
    /// What the driver says.
    #[error("its driver reports {0}")]
    Driver(String),
}

fn count(gpus: i32) -> String {
    match gpus {
        0 => "this machine has no GPU that the driver sees".into(),
        1 => "this machine has one GPU, `cuda:0`".into(),
        _ => format!("this machine has {gpus} GPUs, counted from 0"),
    }
}

impl From<result::DriverError> for GpuError {
    fn from(error: result::DriverError) -> Self {
        let text = error.error_string().map(|it| it.to_string_lossy().into_owned());
        let text = text.unwrap_or_else(|_| "an error that it has no words for".into());
        Self::Driver(format!("{text} ({:?})", error.0))
    }
}

impl GpuError {
    /// The same with the kernel that the driver speaks of.
    pub(super) fn at(self, kernel: Kernel) -> Self {
        match self {
            Self::Driver(said) => Self::Driver(format!("{said} at {}", kernel.name())),
            other => other,
        }
    }
}

/// An open GPU.
pub struct Gpu {
    ordinal: usize,
    name: String,
    capability: (i32, i32),
    driver: i32,
    memory: usize,
    context: sys::CUcontext,
    functions: Vec<sys::CUfunction>,
    /// What came of trying it, for each precision.
    trials: Mutex<Vec<(Precision, Result<(), GpuError>)>>,
}

// SAFETY: a context and its functions may be used from every thread that has made the context current, which `Gpu::enter`
// does; nothing here changes after it was opened.
unsafe impl Send for Gpu {}
// SAFETY: as above.
unsafe impl Sync for Gpu {}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ordinal, name, capability, .. } = self;
        f.debug_struct("Gpu")
            .field("ordinal", ordinal)
            .field("name", name)
            .field("capability", capability)
            .finish_non_exhaustive()
    }
}

impl Gpu {
    /// The GPU of this number, the same for every caller in a process. Its kernels stay loaded until the process ends.
    ///
    /// # Errors
    /// When there is no driver, no such GPU, or either is too old.
    pub fn open(ordinal: usize) -> Result<Arc<Self>, GpuError> {
        type Opened = Result<Arc<Gpu>, GpuError>;
        // Every trial of a sweep asks, also where there is no driver to be found.
        static OPENED: Mutex<Option<HashMap<usize, Opened>>> = Mutex::new(None);
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = opened.get_or_insert_default();
        if let Some(known) = opened.get(&ordinal) {
            return known.clone();
        }
        let found = Self::load(ordinal).map(Arc::new);
        // What a driver reports may be another thing the next time.
        if !matches!(found, Err(GpuError::Driver(_))) {
            opened.insert(ordinal, found.clone());
        }
        found
    }

    /// How many GPUs there are.
    ///
    /// # Errors
    /// When there is no driver, or it fails.
    pub fn count() -> Result<usize, GpuError> {
        Ok(usize::try_from(Self::counted()?).unwrap_or_default())
    }

    fn counted() -> Result<i32, GpuError> {
        // SAFETY: the call only looks for the library. Everything else would panic where it is missing.
        if !unsafe { sys::is_culib_present() } {
            return Err(GpuError::NoDriver);
        }
        match result::init() {
            Ok(()) => Ok(result::device::get_count()?),
            Err(result::DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn load(ordinal: usize) -> Result<Self, GpuError> {
        let count = Self::counted()?;
        let number = i32::try_from(ordinal).unwrap_or(i32::MAX);
        if number >= count {
            return Err(GpuError::NoGpu(count));
        }
        let mut driver = 0;
        // SAFETY: the pointer is to a number of ours.
        unsafe { sys::cuDriverGetVersion(&raw mut driver) }.result()?;
        if driver < NEEDED {
            return Err(GpuError::OldDriver(driver));
        }
        let device = result::device::get(number)?;
        let name = result::device::get_name(device)?;
        // SAFETY: the driver gave the device.
        let attribute = |which| unsafe { result::device::get_attribute(device, which) };
        let capability = (
            attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        if capability < OLDEST {
            return Err(GpuError::OldGpu { name, capability });
        }
        // SAFETY: the device is the driver's, and a context that is retained once is never released, so that it outlives
        // everything that is made in it.
        let (memory, context) = unsafe {
            let context = result::primary_ctx::retain(device)?;
            result::ctx::set_current(context)?;
            (result::device::total_mem(device)?, context)
        };
        let functions = Self::functions(capability)?;
        Ok(Self {
            ordinal,
            name,
            capability,
            driver,
            memory,
            context,
            functions,
            trials: Mutex::default(),
        })
    }

    /// Every kernel in the order of [`Kernel::ALL`].
    fn functions(capability: (i32, i32)) -> Result<Vec<sys::CUfunction>, GpuError> {
        let text = CString::new(PTX).map_err(|error| GpuError::Driver(error.to_string()))?;
        let image =
            if capability == IN_MACHINE_CODE { CUBIN.0.as_ptr() } else { text.as_ptr().cast() };
        // SAFETY: a cubin says its own length, and the text ends with a zero.
        let module = unsafe { result::module::load_data(image.cast()) }?;
        let function = |kernel: &Kernel| {
            // Nobody asks for it.
            if kernel.needs_warpgroups() && capability != IN_MACHINE_CODE {
                return Ok(ptr::null_mut());
            }
            let name = CString::new(kernel.name()).expect("no zero in a kernel's name");
            // SAFETY: the module was loaded above and is never unloaded.
            let found = unsafe { result::module::get_function(module, name) };
            let function = found.map_err(|error| GpuError::from(error).at(*kernel))?;
            if let Ok(bytes @ FIXED_SHARED..) = i32::try_from(kernel.shared()) {
                let most =
                    sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                // SAFETY: the function was found above.
                let set =
                    unsafe { result::function::set_function_attribute(function, most, bytes) };
                set.map_err(|error| GpuError::from(error).at(*kernel))?;
            }
            Ok(function)
        };
        Kernel::ALL.iter().map(function).collect()
    }

    /// Tries the GPU, once for each precision.
    ///
    /// # Errors
    /// Those of `trial`.
    pub(in crate::nn) fn tried(
        &self,
        precision: Precision,
        trial: impl FnOnce() -> Result<(), GpuError>,
    ) -> Result<(), GpuError> {
        let mut trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, done)) = trials.iter().find(|(of, _)| *of == precision) {
            return done.clone();
        }
        let done = trial();
        // Others may leave memory for it.
        if !matches!(done, Err(GpuError::Memory(_))) {
            trials.push((precision, done.clone()));
        }
        done
    }

    /// Makes the GPU the one that this thread talks to.
    pub(super) fn enter(&self) -> Result<(), GpuError> {
        // SAFETY: the context lives as long as the process.
        Ok(unsafe { result::ctx::set_current(self.context) }?)
    }

    /// The context of everything that is made on it.
    pub(super) fn context(&self) -> sys::CUcontext {
        self.context
    }

    pub(super) fn function(&self, kernel: Kernel) -> sys::CUfunction {
        self.functions[kernel as usize]
    }

    /// Its number.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// The name that its maker gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its compute capability.
    pub fn capability(&self) -> (i32, i32) {
        self.capability
    }

    /// Whether it has the kernels that multiply for four warps at once.
    pub(in crate::nn) fn has_warpgroups(&self) -> bool {
        self.capability == IN_MACHINE_CODE
    }

    /// Bytes of memory in all.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// The version of CUDA that its driver is for: 13.0 is (13, 0).
    pub fn driver(&self) -> (i32, i32) {
        (self.driver / 1000, self.driver % 1000 / 10)
    }

    /// What decides the last bits of its numbers: the model, the kernels, how sums are cut into parts and, where the driver
    /// compiles the kernels, its version.
    pub fn arithmetic(&self) -> String {
        arithmetic(&self.name, self.capability, self.driver)
    }

    /// The beginning of the digest of the kernels that it runs.
    pub fn kernels(&self) -> &'static str {
        kernels(self.capability)
    }
}

fn arithmetic(name: &str, capability: (i32, i32), driver: i32) -> String {
    let ((major, minor), kernels) = (capability, kernels(capability));
    let by = match capability {
        IN_MACHINE_CODE => String::new(),
        _ => format!(" by driver {driver}"),
    };
    format!("cuda {name} sm_{major}{minor} kernels {kernels}{by} parts {PARTS}")
}

/// The beginning of the digest of the kernels that GPUs of this compute capability run.
fn kernels(capability: (i32, i32)) -> &'static str {
    let file = match capability {
        IN_MACHINE_CODE => "kernels.sm_90.cubin ",
        _ => "kernels.ptx ",
    };
    let digest = DIGESTS.lines().find_map(|line| line.strip_prefix(file));
    digest.and_then(|digest| digest.get(..12)).unwrap_or_default()
}

/// Whether [`Gpu::arithmetic`] of some GPU could be this `text`, by this program: only the GPU itself knows its name and
/// its driver, the rest is checked.
pub fn is_arithmetic(text: &str) -> bool {
    let read = || {
        let (start, _) = text.rsplit_once(" parts ")?;
        let (start, by) = start.rsplit_once(" kernels ")?;
        let (start, capability) = start.rsplit_once(" sm_")?;
        let name = start.strip_prefix("cuda ").filter(|name| !name.trim().is_empty())?;
        let capability: i32 = capability.parse().ok()?;
        let driver = by.rsplit_once(" by driver ").map_or(Some(0), |(_, it)| it.parse().ok())?;
        Some(arithmetic(name, (capability / 10, capability % 10), driver))
    };
    read().is_some_and(|read| read == text)
}

/// How [`Gpu::arithmetic`] of a GPU reads, by this program.
pub fn examples_of_arithmetic() -> [String; 2] {
    let (major, minor) = IN_MACHINE_CODE;
    let ours = arithmetic("NVIDIA H100 80GB HBM3", (major, minor), 0);
    [ours, arithmetic("NVIDIA A100-SXM4-80GB", (8, 0), 13000)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arithmetic_of_a_gpu_elsewhere_has_the_kernels_of_this_program() {
        let [ours, compiled] = examples_of_arithmetic();
        for right in [&ours, &compiled] {
            assert!(is_arithmetic(right), "{right}");
        }
        assert!(is_arithmetic(&ours.replace("H100 80GB HBM3", "H200")));
        let wrong = [
            ours.replace("sm_90", "sm_80"),
            compiled.replace(" by driver 13000", ""),
            compiled.replace("13000", "new"),
            compiled.replace(kernels((8, 0)), "0123456789ab"),
            ours.replace(&format!("parts {PARTS}"), "parts 1"),
            ours.replace("NVIDIA H100 80GB HBM3 ", ""),
            ours.replace("cuda ", "gpu "),
            "cuda".to_owned(),
        ];
        for wrong in wrong {
            assert!(!is_arithmetic(&wrong), "{wrong}");
        }
    }
}
