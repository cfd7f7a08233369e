//! The stages that run in this process, so that all of them stop when the user asks for it. Each has a flag of its
//! own, as one may have to stop alone: its lock was lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The flags that running stages look at.
#[derive(Debug, Default)]
pub(super) struct Running {
    flags: Mutex<Vec<Arc<AtomicBool>>>,
    /// Shared by stages that run side by side.
    side_by_side: RwLock<()>,
}

/// The right to run a stage beside others, or alone.
pub(super) type Company<'a> = Result<RwLockReadGuard<'a, ()>, RwLockWriteGuard<'a, ()>>;

/// A stage that runs, until it is dropped.
pub(super) struct RunningStage<'a> {
    among: &'a Running,
    flag: Arc<AtomicBool>,
}

impl Running {
    fn flags(&self) -> MutexGuard<'_, Vec<Arc<AtomicBool>>> {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a stage may run; `alone` has no other run in this process meanwhile.
    pub fn company(&self, alone: bool) -> Company<'_> {
        match alone {
            false => Ok(self.side_by_side.read().unwrap_or_else(PoisonError::into_inner)),
            true => Err(self.side_by_side.write().unwrap_or_else(PoisonError::into_inner)),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_runs_alone_waits_until_no_other_runs() {
        let (running, others_are_over) = (Running::default(), AtomicBool::new(false));
        let beside = [running.company(false), running.company(false)];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _alone = running.company(true);
                assert!(others_are_over.load(Ordering::SeqCst));
            });
            others_are_over.store(true, Ordering::SeqCst);
            drop(beside);
        });
    }
}
