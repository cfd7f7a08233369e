//! `runner work`: builds what it can of a run that workers anywhere share, each by itself: nobody tells them what to
//! do but the store. Writes a journal and no results; `runner sweep` on the same file finds everything and writes them.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Error;
use super::outside;
use super::rounds::{Carrier, Conclusion, Failures};
use super::run::{environment, plan, until_asked_to_stop};
use super::shared_run::{self, Named, command, counted, writing_results};
use crate::cli::{BackendOption, RunOptions, WorkArgs};
use crate::console;
use crate::device::Device;
use crate::exec::{Both, Ending, Execution, Idle, Journal, Reporter, finished};
use crate::nn::dispatch;
use crate::nn::kernels::isa::Isa;
use crate::plan::trials::Trials;
use crate::report::results;
use crate::store::{self, RunRecord, SharedRun, Stop, Store};

/// Works until all has ended, the run is stopped, the user asks for it, or nothing was ready for long.
///
/// # Errors
/// When there is no such run, this program or machine does not fit it, or the store cannot be written.
pub fn run(args: &WorkArgs) -> Result<ExitCode, Error> {
    let (store, run, trials) = find(args)?;
    if !args.resume && run.stop().is_some() {
        say_stopped(store.root(), &run);
        return Ok(ExitCode::SUCCESS);
    }
    fits(&store, &run, args, &trials)?;
    if args.resume {
        run.take_up()?;
    }
    let options = RunOptions {
        store: store.root().to_owned().into(),
        backend: BackendOption { backend: Some(run.record.backend.clone()) },
        ..args.options.clone()
    };
    let worker = Worker { args, options: &options, run: &run };
    until_asked_to_stop(&options, |reporter, cancel| worker.work(store, trials, reporter, cancel))
}

/// The store, the run in it, which the first worker registers, and its trials.
fn find(args: &WorkArgs) -> Result<(Store, SharedRun, Trials), Error> {
    let root = &*args.options.store;
    outside::read_for(&args.options.backend);
    match shared_run::find(&Store::peek(root), &args.run, &args.set)? {
        Named::Run(run) => {
            let store = Store::join(root)?;
            // Relative paths in the pipeline start from there.
            std::env::set_current_dir(&run.record.folder).map_err(|error| {
                Error::Missing(format!(
                    "the folder `{}` of run {} cannot be entered on {}: {error}",
                    run.record.folder.display(),
                    run.id,
                    store::node()
                ))
            })?;
            let run = if args.anew { begin_anew(&store, &run, args)? } else { run };
            dispatch::read_for(&run.record.backend);
            let trials = super::of_text(&run.plan()?, &run.record.file, super::all_trials)?;
            Ok((store, run, trials))
        }
        Named::File { id, text, trials } => {
            // A run of a backend that no machine has would refuse every worker.
            outside::check(&trials.trials, &args.options.backend)?;
            let joined = Store::join(root)?;
            let found = joined.shared_run(&id)?;
            // Whoever begins a run clears up, and not every worker.
            let store = if found.is_some() { joined } else { Store::open(root)? };
            let run = match found {
                Some(run) if args.anew => begin_anew(&store, &run, args)?,
                Some(run) => run,
                None => store.register_run(&id, &text, &record(args, &trials)?)?,
            };
            Ok((store, run, *trials))
        }
    }
}

/// What there is to say of a run that this process begins.
fn record(args: &WorkArgs, trials: &Trials) -> Result<RunRecord, Error> {
    let folder = std::env::current_dir().map_err(|error| Error::Machine(error.to_string()))?;
    let pipeline = &trials.trials[0].pipeline;
    let backend = args.options.backend.backend.clone();
    Ok(RunRecord {
        pipeline: pipeline.name.clone(),
        file: args.run.display().to_string(),
        set: args.set.clone(),
        folder,
        backend: backend.unwrap_or_else(|| dispatch::backend(pipeline.device)),
        program: program()?,
        runner: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// The same run for this program and its backend, unless workers are at it.
fn begin_anew(store: &Store, run: &SharedRun, args: &WorkArgs) -> Result<SharedRun, Error> {
    let text = run.plan()?;
    let trials = super::of_text(&text, &run.record.file, super::all_trials)?;
    outside::check(&trials.trials, &args.options.backend)?;
    let own = record(args, &trials)?;
    // Another worker with `--anew` may have begun it a moment ago, or do so now.
    let is_begun = |run: &SharedRun| {
        (&own.program, &own.backend) == (&run.record.program, &run.record.backend)
    };
    if is_begun(run) {
        run.take_up()?;
        return Ok(run.clone());
    }
    let left = match store.workers(run)?.len() {
        0 => store.forget_run(run).map_err(Error::from),
        count => Err(Error::Missing(format!(
            "{} of run {} are left: `--anew` must wait until `{}` has ended them",
            counted(count),
            run.id,
            command(store.root(), run, "stop", &[])
        ))),
    };
    if let Err(error) = left {
        return match store.shared_run(&run.id)? {
            Some(begun) if is_begun(&begun) => Ok(begun),
            Some(_) | None => Err(error),
        };
    }
    let RunRecord { file, set, folder, .. } = run.record.clone();
    Ok(store.register_run(&run.id, &text, &RunRecord { file, set, folder, ..own })?)
}

/// The digest of this program, as it was when it was started.
fn program() -> Result<String, Error> {
    let running = Path::new("/proc/self/exe");
    let path = match running.exists() {
        true => running.to_owned(),
        false => std::env::current_exe().map_err(|error| Error::Machine(error.to_string()))?,
    };
    let mut hasher = blake3::Hasher::new();
    let read = hasher.update_mmap(&path);
    read.map_err(|error| Error::Machine(format!("this program cannot be read: {error}")))?;
    Ok(hasher.finalize().to_string())
}

/// That this program, on this machine, is as all workers of `run` are.
fn fits(store: &Store, run: &SharedRun, args: &WorkArgs, trials: &Trials) -> Result<(), Error> {
    let SharedRun { id, record, .. } = run;
    let anew = command(store.root(), run, "work", &["--anew"]);
    let own = program()?;
    if own != record.program {
        return Err(Error::Missing(format!(
            "the workers of run {id} are another program, runner {} with the digest {}, and this one has {own}; start \
             that one, or go on with this one by `{anew}` when no worker is left",
            record.runner, record.program
        )));
    }
    let asked = args.options.backend.backend.as_ref();
    if let Some(asked) = asked.filter(|asked| **asked != record.backend) {
        return Err(Error::Missing(format!(
            "run {id} is for `{}`, and not for `{asked}`; `{anew} --backend '{asked}'` changes that when no worker \
             is left",
            record.backend
        )));
    }
    let device = trials.trials[0].pipeline.device;
    let own = dispatch::backend(device);
    if own == record.backend {
        return Ok(());
    }
    let node = store::node();
    run.note_unfit(&node, &own)?;
    let mut text = format!(
        "{node} computes by `{own}`, and the workers of run {id} by `{}`: nothing is built here",
        record.backend
    );
    let could = Isa::ALL.into_iter().find(|isa| format!("cpu {isa}") == record.backend);
    text += &match (could.filter(|isa| isa.available()), device) {
        (Some(isa), Device::Cpu) => {
            format!("; with `RUNNER_ISA={isa}` in its environment a worker can")
        }
        // `auto` is another device here than for the run.
        (Some(_), _) => format!("; with `--backend '{}'` a worker can", record.backend),
        (None, _) if own == dispatch::NO_GPU => String::new(),
        (None, _) => format!("; `{anew}` begins it for `{own}` when no worker is left"),
    };
    Err(Error::Missing(text))
}

/// One worker.
struct Worker<'a> {
    args: &'a WorkArgs,
    options: &'a RunOptions,
    run: &'a SharedRun,
}

impl Worker<'_> {
    fn work(
        &self,
        store: Store,
        mut trials: Trials,
        reporter: &dyn Reporter,
        cancel: &Arc<AtomicBool>,
    ) -> Result<ExitCode, Error> {
        let Self { options, run, .. } = *self;
        let pipeline = &run.record.pipeline;
        let plan = plan(&trials, options)?;
        let store = store.for_plan(trials.digest());
        let store = if options.retry_failed { store.forgiving()? } else { store };
        let stopped = Arc::new(Mutex::new(None));
        let (asked, flag) = (Arc::clone(&stopped), Arc::clone(cancel));
        let id = run.id.clone();
        let _place = store.join_run(run, move |how| {
            if how == Stop::Now {
                console::say(format_args!("run {id} was stopped at once"));
                store::leave_at_once();
                std::process::exit(0);
            }
            *asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
            flag.store(true, Ordering::SeqCst);
        })?;
        crate::bytes::spill_to(store.root());
        results::prepare(&options.results, pipeline)?;
        let what = format!("worker of run {} of {pipeline}", run.id);
        let store = store.enter(&what, &options.results, |holder| {
            console::say(format_args!("waiting for {holder}, which clears up the store"));
        })?;
        let journal = Journal::begin(&options.results.join(pipeline));
        let is_idle = AtomicBool::new(false);
        let both = Both(reporter, &journal);
        let since = Instant::now();
        let home = trials.trials[0].pipeline.home().to_owned();
        let environment = environment(options, &store, home);
        let idle = Idle { limit: self.args.idle, is_over: &is_idle };
        let execution = Execution {
            workers: options.jobs.into(),
            fail_fast: options.fail_fast,
            idle: Some(idle),
            ..Execution::new(&store, &environment, &both, cancel)
        };
        let (name, failures, backend) = (journal.run(), Failures::new(), &options.backend);
        let carrier = Carrier { run: name, failures, backend, execution };
        let carried = carrier.carry_out(plan, &mut trials);
        if let Ok(outcome) = &carried {
            both.event(&finished(&outcome.done, since));
        }
        let kept = run.log(journal.run());
        journal.end(kept.as_deref());
        let outcome = carried?;
        let stop = *stopped.lock().unwrap_or_else(PoisonError::into_inner);
        self.say_why(&outcome, stop, is_idle.load(Ordering::SeqCst));
        match outcome.problem {
            Some(problem) => Err(problem),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    /// Says why the worker leaves.
    fn say_why(&self, outcome: &Conclusion, stop: Option<Stop>, is_idle: bool) {
        let run = self.run;
        let count = |ending| outcome.done.iter().filter(|it| it.end.ending() == ending).count();
        if count(Ending::Interrupted) == 0 {
            let verb = if outcome.plan.trials[0].labels.is_empty() { "run" } else { "sweep" };
            let failed = match count(Ending::Failed) {
                0 => String::new(),
                failed => format!(", {failed} of them with a failure"),
            };
            let typed = writing_results(&self.options.store, run, verb, self.args);
            // A worker that was given an id went there.
            let place = if shared_run::is_file(&self.args.run) {
                String::new()
            } else {
                format!(" in `{}`", run.record.folder.display())
            };
            console::say(format_args!(
                "all stages of run {} have ended{failed}; `{typed}`{place} writes the results",
                run.id
            ));
        } else if stop.is_some() {
            say_stopped(&self.options.store, run);
        } else if is_idle {
            console::say(format_args!(
                "nothing of run {} was ready for {} s: the rest is left to its other workers",
                run.id,
                self.args.idle.as_secs()
            ));
        } else {
            console::say("interrupted; the same command goes on");
        }
    }
}

fn say_stopped(store: &Path, run: &SharedRun) {
    let resume = command(store, run, "work", &["--resume"]);
    console::say(format_args!("run {} was stopped; `{resume}` takes it up again", run.id));
}
