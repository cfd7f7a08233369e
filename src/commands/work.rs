//! `runner work`: builds what it can of a run that workers anywhere share, each by itself: nobody tells them what to
//! do but the store. Writes a journal and no results; `runner sweep` on the same file finds everything and writes them.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Error;
use super::outside;
use super::rounds::{Carrier, Conclusion, Failures};
use super::run::{environment, plan, until_asked_to_stop};
use super::shared_run::{self, Named, command, counted, writing_results};
use crate::cli::{BackendOption, RunOptions, WorkArgs};
use crate::cluster::{IDLE, Site, Which, WorkerClass, names_of, new_life};
use crate::console;
use crate::device::Device;
use crate::exec::{Begun, Both, Ending, Execution, Journal, Reporter, TaskShare, finished};
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
    let worked = find(args).and_then(|(store, run)| work(args, store, &run));
    if let (Err(error), Some(life), Some(id)) = (&worked, &args.life, args.run.to_str()) {
        // Whoever asked for it need not look for its log. A store that cannot be written has no place for that.
        if let Ok(Some(run)) = Store::peek(&*args.options.store).shared_run(id) {
            let _ = run.note_life_failed(life, &error.to_string());
        }
    }
    worked
}

/// Works on `run`.
fn work(args: &WorkArgs, store: Store, run: &SharedRun) -> Result<ExitCode, Error> {
    if let Some(life) = args.life.as_ref().filter(|_| !args.resume)
        && let Some(why) = of_no_use(&store, run, args)?
    {
        run.note_life(life)?;
        console::say(why);
        return Ok(ExitCode::SUCCESS);
    }
    if !args.resume && run.stop().is_some() {
        say_stopped(store.root(), run);
        return Ok(ExitCode::SUCCESS);
    }
    let text = run.plan()?;
    let read = || super::of_text(&text, &run.record.file, super::all_trials);
    let Some(post) = Post::find(&store, run, args, read)? else { return Ok(ExitCode::SUCCESS) };
    if args.resume {
        run.take_up()?;
    }
    let options = RunOptions {
        store: store.root().to_owned().into(),
        backend: BackendOption { backend: Some(post.backend.clone()) },
        ..args.options.clone()
    };
    let worker = Worker { args, options: &options, run };
    until_asked_to_stop(&options, |reporter, cancel| worker.work(store, post, reporter, cancel))
}

/// Why a run has no need any more of a worker that a queue has started for it, if so.
fn of_no_use(store: &Store, run: &SharedRun, args: &WorkArgs) -> Result<Option<String>, Error> {
    if run.stop().is_some() {
        return Ok(Some(stopped(store.root(), run)));
    }
    if run.is_finished() {
        return Ok(Some(format!(
            "the results of run {} are written: nothing is left to build",
            run.id
        )));
    }
    let Some(text) = run.site()? else { return Ok(None) };
    let site = Site::parse(&format!("the site of run {}", run.id), &text)?;
    let gone = args.class.as_ref().filter(|name| site.class(name).is_none());
    Ok(gone.map(|name| format!("run {} has no workers of class `{name}` any more", run.id)))
}

/// The store and the run in it, which the first worker registers.
fn find(args: &WorkArgs) -> Result<(Store, SharedRun), Error> {
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
            Ok((store, run))
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
            Ok((store, run))
        }
    }
}

/// What there is to say of a run that this process begins.
fn record(args: &WorkArgs, trials: &Trials) -> Result<RunRecord, Error> {
    let folder = std::env::current_dir().map_err(|error| Error::Machine(error.to_string()))?;
    let pipeline = &trials.trials[0].pipeline;
    Ok(RunRecord {
        pipeline: pipeline.name.clone(),
        file: args.run.display().to_string(),
        set: args.set.clone(),
        folder,
        program: shared_run::program()?,
        runner: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// The same run for this program and its backend, unless workers are at it.
fn begin_anew(store: &Store, run: &SharedRun, args: &WorkArgs) -> Result<SharedRun, Error> {
    let text = run.plan()?;
    let trials = super::of_text(&text, &run.record.file, super::all_trials)?;
    outside::check(&trials.trials, &args.options.backend)?;
    let program = shared_run::program()?;
    let own = dispatch::backend(trials.trials[0].pipeline.device);
    let backend = args.options.backend.backend.as_deref().unwrap_or(&own);
    // Another worker with `--anew` may have begun it a moment ago, or do so now.
    let is_begun = |run: &SharedRun| -> Result<bool, Error> {
        let is_its = |settled: String| settled == backend;
        Ok(program == run.record.program && run.backend()?.is_none_or(is_its))
    };
    if is_begun(run)? {
        run.take_up()?;
        return Ok(run.clone());
    }
    let (workers, site) = (store.workers(run)?, run.site()?);
    let left = match workers.len() {
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
            Some(begun) if is_begun(&begun)? => Ok(begun),
            Some(_) | None => Err(error),
        };
    }
    let runner = env!("CARGO_PKG_VERSION").to_owned();
    let record = RunRecord { program: program.clone(), runner, ..run.record.clone() };
    let begun = store.register_run(&run.id, &text, &record)?;
    if let Some(site) = site {
        begun.put_site(&site)?;
    }
    Ok(begun)
}

/// What a worker is to build, and for which machines.
struct Post {
    /// What all workers compute by.
    backend: String,
    /// Where it comes from and its class; all stages are its without.
    place: Option<(Site, WorkerClass)>,
    /// What a queue calls it.
    life: Option<String>,
    trials: Trials,
}

impl Post {
    /// The class that the command line names, of the site that the run was begun with.
    fn place(run: &SharedRun, args: &WorkArgs) -> Result<Option<(Site, WorkerClass)>, Error> {
        let Some(name) = &args.class else { return Ok(None) };
        let id = &run.id;
        let Some(text) = run.site()? else {
            return Err(Error::Missing(format!(
                "run {id} has no classes of workers; leave out `--class`, or begin it by `runner sweep` with `--on NAME`"
            )));
        };
        let site = Site::parse(&format!("the site of run {id}"), &text)?;
        let Some(class) = site.class(name).cloned() else {
            let all: Vec<String> =
                site.classes.iter().map(|class| format!("`{}`", class.name)).collect();
            let all = all.join(", ");
            return Err(Error::Missing(format!(
                "run {id} has no class of workers `{name}`; expected one of {all}"
            )));
        };
        Ok(Some((site, class)))
    }

    /// What this process is to do of `run`; nothing where its machine is of no use for that.
    fn find(
        store: &Store,
        run: &SharedRun,
        args: &WorkArgs,
        read: impl Fn() -> Result<Trials, Error>,
    ) -> Result<Option<Self>, Error> {
        let place = Self::place(run, args)?;
        let life = place
            .as_ref()
            .map(|(_, class)| args.life.clone().unwrap_or_else(|| new_life(&class.name)));
        shared_run::check_program(store, run)?;
        let asked = args.options.backend.backend.as_deref();
        let settled = run.backend()?;
        match (&settled, asked, &place) {
            (Some(settled), _, _) => dispatch::read_for(Some(settled)),
            (None, Some(asked), _) => dispatch::read_for(Some(asked)),
            // It may have to build nothing that needs the GPU which the pipeline names.
            (None, None, Some((_, class))) if class.has.gpus == 0 => dispatch::read_for(None),
            (None, None, _) => {}
        }
        let mut trials = read()?;
        let device = trials.trials[0].pipeline.device;
        let own = dispatch::backend(device);
        let computes = place.as_ref().is_none_or(|(site, class)| computes(site, class, &trials));
        let backend = match settled {
            Some(settled) => settled,
            None if computes => run.settle_backend(asked.unwrap_or(&own))?,
            // What it builds is the same for every backend.
            None => asked.unwrap_or(&own).to_owned(),
        };
        if let Some(asked) = asked {
            shared_run::check_backend(store, run, &backend, asked)?;
        }
        if backend != own && computes {
            let node = store::node();
            run.note_unfit(&node, &own)?;
            let text = unfit(store, run, (&node, &own), &backend, device);
            // One that was started by hand is no machine of the queue's.
            let Some(life) = &args.life else { return Err(Error::Missing(text)) };
            run.exclude(&std::env::var("SLURMD_NODENAME").unwrap_or(node), &own)?;
            run.note_life(life)?;
            console::say(text);
            return Ok(None);
        }
        if backend != own {
            // `auto` is what those have that compute.
            dispatch::read_for(Some(&backend));
            trials = read()?;
        }
        Ok(Some(Self { backend, place, life, trials }))
    }
}

/// Whether a class builds stages whose bytes depend on the backend.
fn computes(site: &Site, class: &WorkerClass, trials: &Trials) -> bool {
    let pipelines = trials.trials.iter().map(|trial| &trial.pipeline);
    pipelines.flat_map(|it| it.stages.iter().map(|stage| (stage, it.device))).any(
        |(planned, device)| {
            let its = site.class_for(planned.needs(device), planned.stage.as_ref());
            planned.stage.computes() && its.is_ok_and(|its| its.name == class.name)
        },
    )
}

/// Why a machine is of no use to a run.
fn unfit(
    store: &Store,
    run: &SharedRun,
    (node, own): (&str, &str),
    backend: &str,
    device: Device,
) -> String {
    let text = format!(
        "{node} computes by `{own}`, and the workers of run {} by `{backend}`: nothing is built here",
        run.id
    );
    let could = Isa::ALL.into_iter().find(|isa| format!("cpu {isa}") == backend);
    text + &match (could.filter(|isa| isa.available()), device) {
        (Some(isa), Device::Cpu) => {
            format!("; with `RUNNER_ISA={isa}` in its environment a worker can")
        }
        // `auto` is another device here than for the run.
        (Some(_), _) => format!("; with `--backend '{backend}'` a worker can"),
        (None, _) if own == dispatch::NO_GPU => String::new(),
        (None, _) => {
            let anew = command(store.root(), run, "work", &["--anew"]);
            format!("; `{anew}` begins it for `{own}` when no worker is left")
        }
    }
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
        post: Post,
        reporter: &dyn Reporter,
        cancel: &Arc<AtomicBool>,
    ) -> Result<ExitCode, Error> {
        let Self { args, options, run } = *self;
        let Post { place, life, mut trials, .. } = post;
        let pipeline = &run.record.pipeline;
        let plan = plan(&trials, options)?;
        let store = store.for_plan(trials.digest());
        let store = if options.retry_failed { store.forgiving()? } else { store };
        let stopped = Arc::new(Mutex::new(None));
        let (asked, flag) = (Arc::clone(&stopped), Arc::clone(cancel));
        let id = run.id.clone();
        let was_finished = run.is_finished();
        let _place = store.join_run(run, life.as_deref(), move |how| {
            if how == Stop::Now {
                console::say(format_args!("run {id} was stopped at once"));
                store::leave_at_once();
                std::process::exit(0);
            }
            *asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
            flag.store(true, Ordering::SeqCst);
        })?;
        if let Some(life) = &life {
            run.note_life(life)?;
        }
        crate::bytes::spill_to(store.root());
        results::prepare(&options.results, pipeline)?;
        let what = format!("worker of run {} of {pipeline}", run.id);
        let store = store.enter(&what, &options.results, |holder| {
            console::say(format_args!("waiting for {holder}, which clears up the store"));
        })?;
        let begun = super::run::begun(&plan, &trials, options);
        let journal = Journal::begin(&options.results.join(pipeline), begun);
        let leaves = AtomicBool::new(false);
        let both = Both(reporter, &journal);
        let since = Instant::now();
        let home = trials.trials[0].pipeline.home().to_owned();
        let environment = environment(options, &store, home);
        let class = place.as_ref().map(|(_, class)| class);
        let taken = class.and_then(|class| class.tasks).map(|most| Begun::none_of(most as usize));
        let idle = args.idle.or(class.map(|class| class.idle)).unwrap_or(IDLE);
        let share = TaskShare {
            takes: &|task| {
                place.as_ref().is_none_or(|(site, class)| {
                    site.class_of(task).is_ok_and(|its| its.name == class.name)
                })
            },
            begun: taken.as_ref(),
            idle: Some(idle),
            ..TaskShare::whole(&leaves)
        };
        let execution = Execution {
            workers: options.jobs.into(),
            fail_fast: options.fail_fast,
            part: Some(share),
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
        let leaves = leaves.load(Ordering::SeqCst);
        let most = class.and_then(|class| class.tasks);
        let most = most.filter(|_| taken.as_ref().is_some_and(Begun::is_enough));
        let why = self.why(&outcome, stop, leaves.then_some((idle, most)));
        console::say(&why);
        let count = |ending| outcome.done.iter().filter(|it| it.end.ending() == ending).count();
        let has_built = count(Ending::Built) + count(Ending::Failed) > 0;
        // Whoever is asked to leave may have been at something.
        let was_asked = count(Ending::Interrupted) > 0 && !leaves;
        if let Some(life) = &life
            && !(has_built || was_asked || most.is_some())
        {
            run.note_idle_life(life, &why)?;
        }
        if was_finished && count(Ending::Built) + count(Ending::Interrupted) == 0 {
            // The results that are written have everything.
            run.finish()?;
        }
        if let Some((site, _)) = &place {
            take_back_rest(site, run, &outcome);
        }
        match outcome.problem {
            Some(problem) => Err(problem),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    /// Why the worker leaves; `idle` says so of one that leaves the rest to others, and how many stages it may begin if
    /// these were enough.
    fn why(
        &self,
        outcome: &Conclusion,
        stop: Option<Stop>,
        idle: Option<(Duration, Option<u32>)>,
    ) -> String {
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
            format!(
                "all stages of run {} have ended{failed}; `{typed}`{place} writes the results",
                run.id
            )
        } else if stop.is_some() {
            stopped(&self.options.store, run)
        } else if let Some((idle, most)) = idle {
            let why = match most {
                Some(most) => format!("this worker has begun {most} stages of run {}", run.id),
                None => format!("nothing of run {} was ready for {} s", run.id, idle.as_secs()),
            };
            format!("{why}: the rest is left to its other workers")
        } else {
            "interrupted; the same command goes on".to_owned()
        }
    }
}

/// Where everything has ended, takes back the workers that a queue has not started yet; by whoever built something, so
/// that not all ask the queue at the same moment. What cannot be taken back ends by itself.
fn take_back_rest(site: &Site, run: &SharedRun, outcome: &Conclusion) {
    let has = |ending| outcome.done.iter().any(|it| it.end.ending() == ending);
    if !has(Ending::Interrupted) && has(Ending::Built) {
        let _ = site.engine.cancel(&names_of(&run.label(), site), Which::Pending);
    }
}

fn say_stopped(store: &Path, run: &SharedRun) {
    console::say(stopped(store, run));
}

/// What there is to say of a run that was stopped.
fn stopped(store: &Path, run: &SharedRun) -> String {
    let resume = shared_run::again(store, run);
    format!("run {} was stopped; `{resume}` takes it up again", run.id)
}
