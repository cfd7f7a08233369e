//! `runner watch`: a page in the browser with how a run goes on, before, during and after it.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use super::Error;
use crate::cli::WatchArgs;
use crate::console;
use crate::report::live::{self, Lookout, Server, Standing, Wanted};

/// Serves the page until it is stopped.
///
/// # Errors
/// When the run is not known, or the port is taken.
pub fn run(args: &WatchArgs) -> Result<ExitCode, Error> {
    serve(args.run.as_deref(), &args.results, args.port)
}

/// Serves the page of `run`, of the newest one when left out, on a port of the loopback address, a free
/// one for 0.
///
/// # Errors
/// When the run is not known, or the port is taken.
pub fn serve(run: Option<&Path>, results: &Path, port: u16) -> Result<ExitCode, Error> {
    let wanted = match run.map(super::pipeline_in).transpose()?.flatten() {
        Some(pipeline) => Wanted::Pipeline(pipeline),
        None => live::wanted(results, run),
    };
    let lookout = Lookout::new(results.to_owned(), wanted);
    let watched = lookout.look();
    let what = match watched.standing {
        Standing::Waiting if watched.pipeline.is_empty() => "no run yet; waits for one".to_owned(),
        Standing::Waiting => format!("no run of `{}` yet; waits for one", watched.pipeline),
        Standing::Live => format!("{} {}, which goes on", watched.pipeline, watched.id),
        Standing::Died => {
            format!("{} {}, which ended without a word", watched.pipeline, watched.id)
        }
        Standing::Ended => format!("{} {}, which is over", watched.pipeline, watched.id),
    };
    let server = Server::bind(port, lookout).map_err(|error| {
        Error::Machine(format!("cannot listen on port {port} of 127.0.0.1: {error}"))
    })?;
    let address = server.address()?;
    console::say(format_args!("watching {what}; Ctrl-C ends the page, not the run"));
    writeln!(std::io::stdout(), "http://{address}/")?;
    std::io::stdout().flush()?;
    server.run()
}
