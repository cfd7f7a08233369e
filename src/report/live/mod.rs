//! The live page of a run: finds runs that are still going, follows one of them and serves its page. It only
//! reads; a watcher leaves no trace in a run, and a run does not know who watches.

mod http;
mod journals;
mod lookout;
mod recorded;
mod server;

pub use journals::{Begun, Counted, Live, live_runs};
pub use lookout::{Lookout, Standing, WatchTarget, Watched, wanted};
pub use server::Server;
