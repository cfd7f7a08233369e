//! `runner stop`: ends the workers of a run, wherever they are, by a file in the store.

use std::process::ExitCode;

use super::Error;
use super::shared_run::{self, Named, counted};
use crate::cli::StopArgs;
use crate::cluster::{Site, Which, job_name};
use crate::nn::dispatch;
use crate::store::{SharedRun, Stop, Store};

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
    let queued = match run.site()?.and_then(|text| Site::parse("site", &text).ok()) {
        Some(site) => take_back(&site, &run, args.now),
        None => String::new(),
    };
    if args.now {
        // What comes all the same leaves at once.
        run.forget_orders()?;
    }
    let workers = counted(store.workers(&run)?.len());
    let how = if args.now { "end at once" } else { "end after their step, with a checkpoint" };
    let resume = shared_run::again(store.root(), &run);
    super::print(format!(
        "run {} of {}: {workers} at work, which {how}; `{resume}` takes it up again\n{queued}",
        run.id, run.record.pipeline
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Takes back what the queue has not started yet, or with `all` everything. Returns what there is to say of that.
fn take_back(site: &Site, run: &SharedRun, all: bool) -> String {
    let classes = site.classes.iter().chain([&site.driver]);
    let label = run.label();
    let names: Vec<String> = classes.map(|class| job_name(&label, &class.name)).collect();
    match site.engine.cancel(&names, if all { Which::All } else { Which::Pending }) {
        Ok(()) => String::new(),
        Err(said) => format!(
            "the queue does not take back what it has not started, which ends as soon as it starts: {said}\n"
        ),
    }
}
