//! Runs that go on, and how a run that somebody watches stands. Only reads: a watcher leaves no trace
//! in a run, and a run does not know who watches.

mod http;
mod journals;
mod lookout;
mod recorded;
mod server;

pub use journals::{Live, live_runs};
pub use lookout::{Lookout, Standing, Wanted, Watched, wanted};
pub use server::Server;
