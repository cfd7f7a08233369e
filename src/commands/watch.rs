//! `runner watch`: serves a page that follows a run, before, during and after it.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use super::Error;
use crate::cli::WatchArgs;
use crate::console;
use crate::report::live::{self, Lookout, Server, Standing, WatchTarget};

/// Serves the page until it is stopped.
///
/// # Errors
/// When there is no such run, or the port is taken.
pub fn run(args: &WatchArgs) -> Result<ExitCode, Error> {
    serve(args.run.as_deref(), &args.results, args.port)
}

/// Serves the page of `run`, or of the newest run where it is left out, on a port of the loopback address; 0
/// stands for any free port.
///
/// # Errors
/// When there is no such run, or the port is taken.
pub fn serve(run: Option<&Path>, results: &Path, port: u16) -> Result<ExitCode, Error> {
    let wanted = match run.map(super::pipeline_in).transpose()?.flatten() {
        Some(pipeline) => WatchTarget::Pipeline(pipeline),
        None => live::wanted(results, run),
    };
    if let (WatchTarget::Pipeline(name), Some(word)) = (&wanted, run)
        && !word.is_file()
        && !results.join(name).is_dir()
    {
        return Err(Error::Missing(format!(
            "no run and no pipeline with runs is called `{name}` in `{}`; `runner ls` lists them, and the page of a \
             pipeline's file waits for its first run",
            results.display()
        )));
    }
    let lookout = Lookout::new(results.to_owned(), wanted);
    let watched = lookout.look();
    let what = match watched.standing {
        Standing::Waiting if watched.pipeline.is_empty() => "no run yet; waits for one".to_owned(),
        Standing::Waiting => format!("no run of `{}` yet; waits for one", watched.pipeline),
        Standing::Live => format!("{} {}, which is running", watched.pipeline, watched.id),
        Standing::Died => {
            format!("{} {}, whose process died", watched.pipeline, watched.id)
        }
        Standing::Ended => format!("{} {}, which has ended", watched.pipeline, watched.id),
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
