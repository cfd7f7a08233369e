//! `runner stop`: ends the workers of a run, wherever they are, by a file in the store.

use std::process::ExitCode;

use super::Error;
use super::shared_run::{self, Named, command, counted};
use crate::cli::StopArgs;
use crate::nn::dispatch;
use crate::store::{Stop, Store};

/// Tells the workers of a run to end.
///
/// # Errors
/// When there is no such run, or the store cannot be written.
pub fn run(args: &StopArgs) -> Result<ExitCode, Error> {
    let store = Store::peek(&*args.store);
    // Whoever stops a run need not be where its devices are.
    dispatch::read_anywhere();
    let run = match shared_run::find(&store, &args.run, &args.set)? {
        Named::Run(run) => run,
        Named::File { id, .. } => store.shared_run(&id)?.ok_or_else(|| {
            Error::Missing(format!(
                "no worker was ever started on `{}` in `{}`",
                args.run.display(),
                store.root().display()
            ))
        })?,
    };
    run.end_workers(if args.now { Stop::Now } else { Stop::AfterStep })?;
    let workers = counted(store.workers(&run)?.len());
    let how = if args.now { "end at once" } else { "end after their step, with a checkpoint" };
    let resume = command(store.root(), &run, "work", &["--resume"]);
    super::print(format!(
        "run {} of {}: {workers} at work, which {how}; `{resume}` takes it up again\n",
        run.id, run.record.pipeline
    ))?;
    Ok(ExitCode::SUCCESS)
}
