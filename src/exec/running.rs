//! The stages that run in this process, so that all of them stop when the user asks for it. Each has a flag of its
//! own, as one may have to stop alone: its lock was lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The flags that running stages look at.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<Vec<Arc<AtomicBool>>>);

/// A stage that runs, until it is dropped.
pub(super) struct RunningStage<'a> {
    among: &'a Running,
    flag: Arc<AtomicBool>,
}

impl Running {
    fn flags(&self) -> MutexGuard<'_, Vec<Arc<AtomicBool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stage begins that looks at `flag`.
    pub fn enter(&self, flag: &Arc<AtomicBool>) -> RunningStage<'_> {
        self.flags().push(Arc::clone(flag));
        RunningStage { among: self, flag: Arc::clone(flag) }
    }

    /// Has every stage that runs stop.
    pub fn stop(&self) {
        self.flags().iter().for_each(|flag| flag.store(true, Ordering::SeqCst));
    }
}

impl Drop for RunningStage<'_> {
    fn drop(&mut self) {
        self.among.flags().retain(|flag| !Arc::ptr_eq(flag, &self.flag));
    }
}
