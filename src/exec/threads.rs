//! The threads that a worker's tasks compute with: a pool for every number of them that it was given,
//! kept, as starting threads and filling their buffers anew costs time.

use std::collections::HashMap;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// A part of the machine's threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Threads to compute with; `None` for those of the whole process.
    pub threads: Option<usize>,
    /// How many of the free ones that takes.
    pub taken: usize,
}

/// Pools by size.
#[derive(Default)]
pub(super) struct Threads {
    pools: HashMap<usize, ThreadPool>,
}

impl Threads {
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
            // The system gives no more threads: those of the process do.
            None => work(),
        }
    }
}
