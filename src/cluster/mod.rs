//! Queues that lend machines: which classes of workers a site has, and how its queue is told to start some of them,
//! counts them and ends them. A queue decides nothing: what a worker does follows from the store, and what a queue says
//! of its jobs is shown to people and never believed.
//!
//! An engine is a file here and a line in `ENGINES`.

mod call;
mod classes;
mod command;
mod engine;
mod pool;
mod script;
mod site;
mod slurm;
mod widths;

pub use call::give_up_calls;
pub use classes::{IDLE, WorkerClass};
pub use engine::{Engine, JobCounts, Order, Which, job_name, new_life};
pub use pool::{Closed, WorkerPool, names_of};
pub use site::Site;
pub use widths::{Width, widths};

use crate::config::{Keys, Noted};

/// A kind of queue.
struct EngineKind {
    /// Its name in a site's file: `engine = "slurm"`.
    name: &'static str,
    /// Reads what the site's file says of it.
    read: fn(&mut Keys) -> Result<Box<dyn Engine>, Noted>,
}

/// The kinds of queues.
const ENGINES: &[EngineKind] = &[
    EngineKind { name: "slurm", read: slurm::read },
    EngineKind { name: "command", read: command::read },
];
