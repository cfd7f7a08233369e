//! `--on NAME`: has a queue start workers for a run, looks on until they have built everything, and writes the results.
//! Builds nothing itself, and can go away and come back at any time: the workers do not need it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::Error;
use super::rounds::Failures;
use super::run::{Asked, execute, open_threads, reporter_of};
use super::shared_run::{self, command, counted, id_of};
use crate::cli::{BackendOption, FileArgs, OnOption, RunArgs, RunOptions};
use crate::cluster::{
    Closed, Order, Site, Which, WorkerClass, WorkerPool, give_up_calls, names_of, new_life, widths,
};
use crate::console;
use crate::exec::{Event, Reporter, TaskShare};
use crate::nn::dispatch;
use crate::plan::print::to_toml;
use crate::plan::resolve;
use crate::plan::trials::{self, Trials};
use crate::report::results;
use crate::store::{RunRecord, SharedRun, Stop, Store};
use crate::system::as_typed;

/// How often it is looked whether a first worker has come.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a second Ctrl-C stops the workers too.
const SECOND: Duration = Duration::from_secs(3);

/// What is to be driven.
pub(super) struct Drive<'a> {
    /// `run` or `sweep`.
    pub verb: &'static str,
    /// The pipeline file, as the user named it.
    pub file: &'a FileArgs,
    pub on: &'a OnOption,
    pub options: &'a RunOptions,
    /// Reads the trials, and what workers are given to read; what the machines compute by may decide what `auto` is.
    pub load: &'a dyn Fn() -> Result<(Trials, String), Error>,
    /// What failed in an earlier run and is not tried again.
    pub failures: &'a dyn Fn(&Trials) -> Failures,
}

/// `runner run` with `--on NAME`.
///
/// # Errors
/// As [`Drive::on`].
pub(super) fn run(args: &RunArgs, name: &str) -> Result<ExitCode, Error> {
    let load = || {
        let FileArgs { file, set } = &args.file;
        let pipeline = resolve::load(file, set).map_err(Box::new)?;
        // Workers build all trials of what they are given.
        let alone = trials::load_alone(file, set).map_err(Box::new)?;
        Ok((Trials::single(pipeline), to_toml(&alone.resolved)))
    };
    let failures = |_: &Trials| Failures::new();
    let (file, on, options) = (&args.file, &args.on, &args.options);
    Drive { verb: "run", file, on, options, load: &load, failures: &failures }.on(name)
}

impl Drive<'_> {
    /// Has the site called `name` build everything, or with `--detach` drive it.
    ///
    /// # Errors
    /// When the file or the site is wrong, no class has room for a stage, or the store cannot be written.
    pub fn on(&self, name: &str) -> Result<ExitCode, Error> {
        let options = self.options;
        open_threads(options)?;
        let site = Site::find(&options.store, name)?;
        let (run, store) = self.begin(&site)?;
        let logs = run.lives()?;
        let of = (&*run.id, run.label());
        let order = order_of(of, run.record.folder.clone(), &logs, options)?;
        if self.on.detach {
            return self.detach(&site, &run, order);
        }
        self.attend(&site, &store, &run, order)
    }

    /// Which backend is asked for.
    fn asked(&self, site: &Site) -> Option<String> {
        self.options.backend.backend.clone().or_else(|| site.backend.clone())
    }

    /// The trials for machines of this backend, as far as it is known.
    fn trials_for(&self, backend: Option<&str>) -> Result<(Trials, String), Error> {
        dispatch::read_for(backend);
        let trials = (self.load)()?;
        if !self.options.quiet && backend.is_some() {
            super::outside::say_untried();
        }
        Ok(trials)
    }

    /// Checks everything that can be checked before anything is asked for, and registers the run.
    fn begin(&self, site: &Site) -> Result<(SharedRun, Store), Error> {
        let options = self.options;
        let asked = self.asked(site);
        let (trials, text) = self.trials_for(asked.as_deref())?;
        let id = id_of(&text);
        let backend = BackendOption { backend: asked.clone() };
        let plan = super::run::plan(&trials, &RunOptions { backend, ..options.clone() });
        let plan = plan.map_err(|error| match error {
            Error::Missing(said) if options.backend.backend.is_none() && site.backend.is_some() => {
                Error::Missing(format!("`backend` of {}: {said}", site.name))
            }
            error => error,
        })?;
        widths(site, &plan, |_| true).map_err(no_room)?;
        let pipeline = trials.trials[0].pipeline.name.clone();
        // Workers would find that out once they have come.
        results::prepare(&options.results, &pipeline)?;
        let store = Store::open(&*options.store)?;
        let folder = std::env::current_dir().map_err(|error| Error::Machine(error.to_string()))?;
        let record = RunRecord {
            pipeline,
            file: self.file.file.display().to_string(),
            set: self.file.set.clone(),
            folder,
            program: shared_run::program()?,
            runner: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut run = store.register_run(&id, &text, &record)?;
        if let Some(how) = difference(&run, &record, asked.as_deref())? {
            let here = "the same command then begins it here";
            are_gone(&store, &run, &format!("was begun {how}"), here)?;
            forget(&store, &run)?;
            run = store.register_run(&id, &text, &record)?;
            if let Some(how) = difference(&run, &record, asked.as_deref())? {
                // Somebody else began it in the same moment.
                let text = format!("run {id} was begun {how} just now");
                return Err(Error::Missing(text));
            }
        }
        if let Some(asked) = asked {
            let settled = run.settle_backend(&asked)?;
            shared_run::check_backend(&store, &run, &settled, &asked)?;
        }
        run.put_again(&self.again(&run.record.folder)?)?;
        // Whoever asks for workers says where they come from.
        if store.driver(&run)?.is_none() {
            run.put_site(&site.text)?;
        }
        run.reopen()?;
        run.take_up()?;
        Ok((run, store))
    }

    /// Has the queue drive the run.
    fn detach(&self, site: &Site, run: &SharedRun, order: Order) -> Result<ExitCode, Error> {
        let program = order.work[0].clone();
        let class = site.driver.clone();
        let mut work = self.words();
        work[0] = program;
        work.extend(order.work[3..].iter().cloned());
        work.extend(self.backend_words());
        if self.options.retry_failed {
            work.push("--retry-failed".into());
        }
        let lives = class.lives.min(site.engine.most_lives().unwrap_or(u32::MAX));
        let setup = site.setup.clone();
        let id = new_life(&class.name);
        let order = Order { id, lives, class, work, setup, ..order };
        site.engine.submit(&order).map_err(|said| {
            Error::Machine(format!(
                "the queue took no order for a driver, as far as it says: {said}"
            ))
        })?;
        super::print(format!(
            "run {} of {}: the queue drives it; `runner status` shows it, `runner stop {}` ends it, and what it prints is \
             in {}\n",
            run.id,
            run.record.pipeline,
            run.id,
            order.logs.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }

    /// The line of shell that takes the run of this `folder` up again, from anywhere.
    fn again(&self, folder: &Path) -> Result<String, Error> {
        let (mut words, plain) = (self.words(), RunOptions::default());
        let options = self.options;
        for (name, path, usual) in [
            ("--store", &*options.store, &*plain.store),
            ("--results", &*options.results, &*plain.results),
        ] {
            if path != usual {
                words.extend([name.to_owned(), absolute(path)?.display().to_string()]);
            }
        }
        words.extend(self::words(options));
        if let Some(threads) = options.threads {
            words.extend(["--threads".to_owned(), threads.to_string()]);
        }
        words.extend(self.backend_words());
        let folder = as_typed(&[folder.display().to_string()]);
        Ok(format!("cd {folder} && {}", as_typed(&words)))
    }

    /// The backend that the command line names, as it does so.
    fn backend_words(&self) -> Vec<String> {
        let backend = self.options.backend.backend.iter();
        backend.flat_map(|it| ["--backend".to_owned(), it.clone()]).collect()
    }

    /// Looks on until everything is built, and writes the results.
    fn attend(
        &self,
        site: &Site,
        store: &Store,
        run: &SharedRun,
        order: Order,
    ) -> Result<ExitCode, Error> {
        let reporter = reporter_of(self.options);
        let cancel = Arc::new(AtomicBool::new(false));
        listen(store, run, Arc::clone(&reporter), Arc::clone(&cancel))?;
        let say = |text: String| reporter.event(&Event::Workers { text });
        let order = Order { setup: site.setup.clone(), ..order };
        let jobs = self.options.jobs.into();
        let pool = WorkerPool::new((site, store, run), order, jobs, &say);
        let is_over = AtomicBool::new(false);
        let closed: Mutex<Option<Result<Closed, crate::store::Error>>> = Mutex::new(None);
        let ran = thread::scope(|scope| {
            let tended = scope.spawn(|| {
                let how = pool.tend(&is_over);
                if !matches!(how, Ok(Closed::Over)) {
                    cancel.store(true, Ordering::SeqCst);
                }
                *closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
            });
            let ran = self.look_on(&pool, store, run, (reporter.as_ref(), &cancel));
            if matches!(&ran, Ok(Some(ran)) if !ran.is_interrupted) {
                pool.finish();
            } else {
                // Whoever asked this process to leave does not wait for a queue.
                give_up_calls();
            }
            is_over.store(true, Ordering::SeqCst);
            let _ = tended.join();
            ran
        });
        let closed = closed.into_inner().unwrap_or_else(PoisonError::into_inner);
        match closed.expect("the pool was tended") {
            Ok(Closed::Useless(said)) => Err(Error::Machine(said)),
            Ok(Closed::Stopped) => {
                let again = shared_run::again(store.root(), run);
                console::say(format_args!(
                    "run {} was stopped; `{again}` takes it up again",
                    run.id
                ));
                Ok(ran?.map_or(ExitCode::from(130), |ran| ran.code))
            }
            Ok(Closed::Over) => Ok(ran?.map_or(ExitCode::from(130), |ran| ran.code)),
            Err(error) => Err(error.into()),
        }
    }

    /// The command as it was typed, but for what does not matter.
    fn words(&self) -> Vec<String> {
        let mut words = vec!["runner".to_owned(), self.verb.to_owned()];
        words.push(self.file.file.display().to_string());
        for set in &self.file.set {
            words.extend(["--set".to_owned(), set.clone()]);
        }
        words.extend(["--on".into(), self.on.on.clone().unwrap_or_default()]);
        words
    }

    /// Carries the plan out as if others built everything; nothing where it was asked to leave before anybody had said
    /// what the machines compute by.
    fn look_on(
        &self,
        pool: &WorkerPool,
        store: &Store,
        run: &SharedRun,
        (reporter, cancel): (&dyn Reporter, &Arc<AtomicBool>),
    ) -> Result<Option<super::run::Ran>, Error> {
        let mut told = false;
        let backend = loop {
            if let Some(backend) = run.backend()? {
                break backend;
            }
            if cancel.load(Ordering::SeqCst) {
                return Ok(None);
            }
            if !told {
                told = true;
                let (trials, _) = self.trials_for(None)?;
                let plan = super::run::plan(&trials, self.options)?;
                pool.wants_all(&plan);
                let text = "the first one says what the machines compute by".to_owned();
                reporter.event(&Event::Workers { text });
            }
            thread::sleep(PAUSE);
        };
        let (trials, _) = self.trials_for(Some(&backend))?;
        let failures = (self.failures)(&trials);
        let options = RunOptions {
            store: store.root().to_owned().into(),
            backend: BackendOption { backend: Some(backend) },
            ..self.options.clone()
        };
        let leaves = AtomicBool::new(false);
        let share = TaskShare {
            takes: &|_| false,
            looks_often: true,
            standing: &|plan, tasks| pool.wants(plan, tasks),
            ..TaskShare::whole(&leaves)
        };
        let asked = Asked { reporter, cancel, share: Some(share) };
        let ran = execute(trials, failures, &options, asked)?;
        if !ran.is_interrupted {
            run.finish()?;
        }
        Ok(Some(ran))
    }
}

/// In what a run that is registered is another one than this process would begin.
fn difference(
    run: &SharedRun,
    own: &RunRecord,
    asked: Option<&str>,
) -> Result<Option<String>, Error> {
    let its = &run.record;
    if its.folder != own.folder {
        let (its, own) = (its.folder.display(), own.folder.display());
        return Ok(Some(format!("in the folder `{its}`, and this is `{own}`")));
    }
    if its.program != own.program {
        return Ok(Some(format!(
            "by another program, runner {} with the digest {}, and this one has {}",
            its.runner, its.program, own.program
        )));
    }
    let settled = run.backend()?;
    Ok(match (settled, asked) {
        (Some(settled), Some(asked)) if settled != asked => {
            Some(format!("for `{settled}`, and not for `{asked}`"))
        }
        _ => None,
    })
}

/// That nobody is at `run`, which cannot go on as it is because it `is` so; `then` says what can be done once they are
/// gone.
///
/// # Errors
/// When somebody is: who, and how they are ended.
fn are_gone(store: &Store, run: &SharedRun, is: &str, then: &str) -> Result<(), Error> {
    let (workers, driver) = (store.workers(run)?.len(), store.driver(run)?);
    let who = match (workers, driver) {
        (0, None) => return Ok(()),
        (0, Some(driver)) => format!("{} looks after it", driver.who),
        (1, _) => "1 worker is at it".to_owned(),
        (count, _) => format!("{} are at it", counted(count)),
    };
    let stop = command(store.root(), run, "stop", &[]);
    Err(Error::Missing(format!("run {} {is}, and {who}: `{stop}` ends that, and {then}", run.id)))
}

/// Forgets a run, of which the queue may still have workers.
fn forget(store: &Store, run: &SharedRun) -> Result<(), Error> {
    if let Some(site) = run.site()?.and_then(|text| Site::parse("site", &text).ok()) {
        // What is not taken back finds another run, or none, as soon as it starts.
        let _ = site.engine.cancel(&names_of(&run.label(), &site), Which::Pending);
    }
    Ok(store.forget_run(run)?)
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::Machine(error.to_string()))
}

/// Says which stage no class of workers has room for, and what each lacks.
pub(super) fn no_room((stage, lacks): (String, String)) -> Error {
    Error::Missing(format!(
        "no class of workers has room for stage `{stage}`: {lacks}; give one of them more in the site's file, or ask for \
         less in `[stages.{stage}.resources]`"
    ))
}

/// What all orders for workers of the run with this id and label, which begin in `folder` and print to `logs`, have in
/// common.
///
/// # Errors
/// When this process cannot tell where it is.
pub(super) fn order_of(
    (id, label): (&str, String),
    folder: PathBuf,
    logs: &Path,
    options: &RunOptions,
) -> Result<Order, Error> {
    let text = |path: PathBuf| path.display().to_string();
    let program = std::env::current_exe().map_err(|error| Error::Machine(error.to_string()))?;
    let mut work = vec![text(program), "work".into(), id.to_owned()];
    work.extend(["--store".into(), text(absolute(&options.store)?)]);
    work.extend(["--results".into(), text(absolute(&options.results)?)]);
    work.extend(words(options));
    Ok(Order {
        run: id.to_owned(),
        label,
        id: String::new(),
        class: WorkerClass::plain("", 0),
        lives: 1,
        at_once: 1,
        exclude: Vec::new(),
        setup: Vec::new(),
        folder,
        logs: absolute(logs)?,
        threads: options.threads,
        work,
    })
}

/// The options of a worker that follow from those of its driver.
fn words(options: &RunOptions) -> Vec<String> {
    let plain = RunOptions::default();
    let mut words = Vec::new();
    if options.jobs != plain.jobs {
        words.extend(["--jobs".to_owned(), options.jobs.to_string()]);
    }
    if options.checkpoint_every.to_bits() != plain.checkpoint_every.to_bits() {
        words.extend(["--checkpoint-every".to_owned(), options.checkpoint_every.to_string()]);
    }
    if options.activation_memory.to_bits() != plain.activation_memory.to_bits() {
        words.extend(["--activation-memory".to_owned(), options.activation_memory.to_string()]);
    }
    for (is_set, word) in [
        (options.fail_fast, "--fail-fast"),
        (options.offline, "--offline"),
        (options.no_activation_cache, "--no-activation-cache"),
    ] {
        words.extend(is_set.then(|| word.to_owned()));
    }
    words
}

/// Has the process leave when it is asked to, and says what becomes of the workers. A hang-up or a request to end lets
/// them go on, however often it comes; a second Ctrl-C within three seconds ends them.
fn listen(
    store: &Store,
    run: &SharedRun,
    reporter: Arc<dyn Reporter>,
    cancel: Arc<AtomicBool>,
) -> Result<(), Error> {
    let (store, run) = (store.clone(), run.clone());
    let go_on = move |run: &SharedRun| {
        let workers = store.workers(run).map_or(0, |workers| workers.len());
        let text = format!(
            "{} {} on; the same command comes back to them, `runner stop {}` ends them",
            counted(workers),
            if workers == 1 { "goes" } else { "go" },
            run.id
        );
        reporter.event(&Event::Workers { text });
    };
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        use signal_hook::iterator::Signals;
        let machine = |error: std::io::Error| Error::Machine(error.to_string());
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(machine)?;
        thread::spawn(move || {
            let mut told = false;
            let mut waits: Option<std::time::Instant> = None;
            for signal in signals.forever() {
                if signal == SIGINT && waits.is_some_and(|since| since.elapsed() < SECOND) {
                    if let Err(error) = run.end_workers(Stop::AfterStep) {
                        console::say(format_args!("error: the workers cannot be stopped: {error}"));
                    }
                    cancel.store(true, Ordering::SeqCst);
                    continue;
                }
                if !std::mem::replace(&mut told, true) {
                    go_on(&run);
                }
                if signal == SIGINT && waits.is_none() {
                    waits = Some(std::time::Instant::now());
                    console::say("press Ctrl-C again within 3 s to stop the workers too");
                    let cancel = Arc::clone(&cancel);
                    thread::spawn(move || {
                        thread::sleep(SECOND);
                        cancel.store(true, Ordering::SeqCst);
                    });
                } else {
                    cancel.store(true, Ordering::SeqCst);
                }
            }
        });
        Ok(())
    }
    #[cfg(not(unix))]
    {
        ctrlc::set_handler(move || {
            go_on(&run);
            cancel.store(true, Ordering::SeqCst);
        })
        .map_err(|error| Error::Machine(error.to_string()))
    }
}
