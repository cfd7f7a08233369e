//! Data that stays in a GPU's memory and is only read there: one copy for all queues of a process, for as long as one of them may
//! name it. Knows nothing of what the data are.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use cudarc_19::driver::{result, sys};

use super::driver::{Gpu, GpuError};

/// The share of a GPU's memory that such data have at most, all of them together: a quarter. The rest is for what trainings
/// compute.
const SHARE: usize = 4;

/// A digest of data, which stands for them.
pub(in crate::nn) type Name = [u8; 32];

/// What is in the memory of each GPU, by its number: a GPU is opened once in a process.
static OF_GPUS: Mutex<Option<HashMap<usize, Arc<Residents>>>> = Mutex::new(None);

/// What is in a GPU's memory.
#[derive(Debug, Default)]
struct Residents {
    known: Mutex<HashMap<Name, Weak<Resident>>>,
    /// Bytes of all of them.
    bytes: AtomicUsize,
}

/// Data in a GPU's memory, which are freed with the last one that holds them. Each queue holds those that it has named.
pub(in crate::nn) struct Resident {
    gpu: Arc<Gpu>,
    among: Arc<Residents>,
    at: u64,
    bytes: usize,
}

impl fmt::Debug for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resident").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Residents {
    fn of(gpu: &Gpu) -> Arc<Self> {
        let mut all = OF_GPUS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.get_or_insert_default().entry(gpu.ordinal()).or_default())
    }
}

impl Gpu {
    /// Bytes that data may have in all to stay in its memory.
    pub fn room_for_residents(&self) -> usize {
        self.memory() / SHARE
    }
}

impl Resident {
    /// The data `bytes`, which are sent where nobody has sent them before, and are there when this returns. `None` where there
    /// is no room for them.
    ///
    /// # Errors
    /// What the driver reports, but for memory that it does not have.
    pub(super) fn of(
        gpu: &Arc<Gpu>,
        name: Name,
        bytes: &[u8],
        stream: sys::CUstream,
    ) -> Result<Option<Arc<Self>>, GpuError> {
        let residents = Residents::of(gpu);
        // Others who want the same wait until it is there.
        let mut known = residents.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&name).and_then(Weak::upgrade) {
            return Ok(Some(found));
        }
        let held = residents.bytes.load(Ordering::Relaxed);
        if bytes.is_empty() || held + bytes.len() > gpu.room_for_residents() {
            return Ok(None);
        }
        gpu.enter()?;
        const FULL: sys::CUresult = sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
        // SAFETY: the size is not zero; the thread entered the GPU.
        let at = match unsafe { result::malloc_sync(bytes.len()) } {
            Err(result::DriverError(FULL)) => return Ok(None),
            asked => asked?,
        };
        residents.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        let resident = Arc::new(Self {
            gpu: Arc::clone(gpu),
            among: Arc::clone(&residents),
            at,
            bytes: bytes.len(),
        });
        // SAFETY: the memory has so many bytes and is no one else's yet; the copy is waited for while the bytes are here.
        unsafe {
            result::memcpy_htod_async(at, bytes, stream)?;
            result::stream::synchronize(stream)?;
        }
        known.retain(|_, it| it.strong_count() > 0);
        known.insert(name, Arc::downgrade(&resident));
        Ok(Some(resident))
    }

    /// Where it begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Whether it is in the memory of this GPU.
    pub(super) fn is_of(&self, gpu: &Arc<Gpu>) -> bool {
        Arc::ptr_eq(&self.gpu, gpu)
    }

    /// Whether this address is in it.
    pub(super) fn holds(&self, at: u64) -> bool {
        (self.at..self.at + self.bytes as u64).contains(&at)
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        if self.gpu.enter().is_ok() {
            // SAFETY: the memory is of `malloc_sync`. Every queue that named it is done with what it was asked for. What is not
            // taken back is lost.
            let _ = unsafe { result::free_sync(self.at) };
        }
        self.among.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
