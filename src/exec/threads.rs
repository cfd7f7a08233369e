//! The threads that tasks compute with: how the machine's are divided among tasks that run at the same
//! time, and a pool for each number of them that a worker was given. Pools are kept, as starting threads
//! and filling their buffers anew costs time.

use std::collections::HashMap;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// A part of the machine's threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Threads to compute with; `None` for those of the whole process.
    threads: Option<usize>,
    /// How many of the free ones that takes.
    taken: usize,
}

/// How the threads are divided among the workers.
pub(super) struct Division {
    workers: usize,
    /// Threads that no task has.
    free: usize,
    /// Workers that have no task.
    idle: usize,
}

impl Division {
    /// All threads of the machine, for `workers` that have no task yet.
    pub fn new(workers: usize) -> Self {
        Self { workers, free: rayon::current_num_threads(), idle: workers }
    }

    /// Gives a task that begins its share of the free threads, holding back enough for idle workers when
    /// `ready` more tasks wait for one. So a task that runs alone has the whole machine, and several
    /// together never have more than it.
    pub fn take(&mut self, ready: usize) -> Share {
        self.idle = self.idle.saturating_sub(1);
        if self.workers == 1 {
            return Share { threads: None, taken: 0 };
        }
        let sharing = (self.idle + 1).min(ready + 1);
        let taken = self.free.div_ceil(sharing);
        self.free -= taken;
        Share { threads: Some(taken.max(1)), taken }
    }

    /// Takes the share of a task back that ended.
    pub fn give(&mut self, share: Share) {
        self.idle += 1;
        self.free += share.taken;
    }
}

/// Pools by size.
#[derive(Default)]
pub(super) struct Pools {
    pools: HashMap<usize, ThreadPool>,
}

impl Pools {
    /// Does `work` with the threads of a share.
    pub fn install<T: Send>(&mut self, share: Share, work: impl FnOnce() -> T + Send) -> T {
        let Some(threads) = share.threads else { return work() };
        if !self.pools.contains_key(&threads)
            && let Ok(pool) = ThreadPoolBuilder::new().num_threads(threads).build()
        {
            self.pools.insert(threads, pool);
        }
        match self.pools.get(&threads) {
            Some(pool) => pool.install(work),
            // The operating system gives no more threads: those of the process do.
            None => work(),
        }
    }
}
