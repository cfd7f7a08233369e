//! One task from beginning to end: it is looked for in the store, its lock taken, its inputs checked, its
//! stage run and the artifact published. Everything comes in as values. Knows no graph and no other task:
//! an input that turns out to be damaged is a way to end, and so is another process that has the lock; whoever
//! knows the graph answers it. Waits for nobody.
//!
//! What comes of a task is what the store says: its artifact, the rows of a paused training, or the record of a
//! failure. So all processes that share a store see the same.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::events::{Event, Reporter, TaskProgress};
use super::running::Running;
use super::sound::Sound;
use super::{Done, End};
use crate::device::Device;
use crate::digest::{Content, Fingerprint};
use crate::metrics::{TrainingRow, csv};
use crate::nn::dispatch;
use crate::progress::Progress as _;
use crate::stages::{Budget, Context, Environment, Failure, Halt, Input, Outcome, Stage};
use crate::store::{
    self, Artifact, Claim, FailureCause, FailureRecord, Found, InputRecord, Lock, MOST_ATTEMPTS,
    Manifest, Staging, Store,
};

/// What all tasks of a run share.
pub(super) struct Shared<'a> {
    /// Where artifacts are.
    pub store: &'a Store,
    /// Handed to every stage.
    pub environment: &'a Environment,
    /// Who hears of what happens.
    pub reporter: &'a dyn Reporter,
    /// Set when the user asked to stop.
    pub cancel: &'a AtomicBool,
    /// The stages that run now, which are told to stop.
    pub running: &'a Running,
    /// Artifacts whose bytes were compared in this run.
    pub sound: &'a Sound,
    /// Tasks at a time.
    pub workers: usize,
    /// Whether what failed in an earlier run counts for all processes of the plan.
    pub shares_failures: bool,
    /// How many tasks were begun, where that has a limit.
    pub begun: Option<&'a Begun>,
}

/// How many tasks a process has begun to build, of those that it may.
#[derive(Debug)]
pub struct Begun {
    count: AtomicUsize,
    most: usize,
}

impl Begun {
    /// Nothing was begun yet of `most` tasks.
    pub fn none_of(most: usize) -> Self {
        Self { count: AtomicUsize::new(0), most }
    }

    /// Whether no more may be begun.
    pub fn is_enough(&self) -> bool {
        self.count.load(Ordering::SeqCst) >= self.most
    }

    /// Begins one more, if there may be one.
    fn take(&self) -> bool {
        let more = |count| (count < self.most).then_some(count + 1);
        self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }
}

/// A task that may begin, with all that it takes.
pub(super) struct ReadyTask<'a> {
    /// Its number, for events.
    pub number: usize,
    /// Its name, for people.
    pub name: String,
    pub stage: &'a dyn Stage,
    /// Every setting that counts.
    pub settings: &'a toml::Table,
    /// Digest of files outside the store.
    pub external: Option<&'a str>,
    pub device: Device,
    /// The backend that it is planned for; nothing where no byte depends on it.
    pub backend: Option<&'a str>,
    /// Names its artifact.
    pub fingerprint: Fingerprint,
    /// In the order of the references.
    pub inputs: Vec<InputArtifact>,
    /// The inputs for people: `train = photos.train`.
    pub input_texts: Vec<String>,
    /// How far it goes, if not to its end.
    pub budget: Option<Budget>,
    /// Why it failed in an earlier run: then it is not tried again.
    pub failed_before: Option<&'a Failure>,
    /// Whether the artifact that the store has may be damaged, so that every byte of it is compared.
    pub is_suspect: bool,
    /// Whether another process had its lock the last time.
    pub was_held: bool,
    /// Whether it is in this process\'s part of the plan.
    pub is_ours: bool,
}

/// The artifact of a finished task that another reads.
pub(super) struct InputArtifact {
    /// The key that it was named at.
    pub key: String,
    /// The split that the reference named.
    pub split: Option<String>,
    /// Which one it is among all that were ever built for this plan.
    pub version: ArtifactVersion,
    pub fingerprint: Fingerprint,
    pub content: Content,
    pub folder: PathBuf,
    /// Built by this process in this run, which need not be compared with its manifest.
    pub is_new: bool,
}

/// The artifact of a task as it was after the task ended for the `ended`th time. A damaged one is built
/// again, and whoever still holds the version before must not have it built a third time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ArtifactVersion {
    pub task: usize,
    pub ended: u32,
}

/// What came of carrying a task out.
pub(super) enum Carried {
    /// It ended.
    Ended(Done),
    /// It cannot begin: these inputs are damaged or gone, and have to be built again first.
    DamagedInputs {
        inputs: Vec<ArtifactVersion>,
        /// What it took to find out.
        seconds: f64,
        /// What was said meanwhile.
        log: Vec<String>,
    },
    /// Others are to build it, who have not yet.
    LeftToOthers,
    /// Another process has its lock.
    Held {
        /// Who, for people.
        holder: String,
        /// What it took to find out, or until the lock was lost.
        seconds: f64,
        /// What was said meanwhile.
        log: Vec<String>,
    },
}

/// What came of a task, or what is in the way.
enum Obtained {
    Cached(Artifact),
    Built(Artifact),
    Paused(Vec<TrainingRow>),
    Failed {
        failure: Failure,
        /// Whether the store has a record of it.
        is_recorded: bool,
    },
    DamagedInputs(Vec<ArtifactVersion>),
    Held(String),
    LeftToOthers,
}

/// Brings `task` to its end.
pub(super) fn carry_out(task: &ReadyTask, shared: &Shared) -> Carried {
    let since = Instant::now();
    let progress = TaskProgress::new(task.number, &task.name, shared.reporter);
    let attempt = Attempt { task, shared, progress: &progress };
    let mut is_recorded = true;
    let (end, artifact) = match attempt.obtain() {
        Ok(Obtained::Cached(artifact)) => (attempt.cached(&artifact), Some(artifact)),
        Ok(Obtained::Built(artifact)) => (End::Built, Some(artifact)),
        Ok(Obtained::Paused(rows)) => (attempt.halted(Halt::Paused { rows }), None),
        Ok(Obtained::Failed { failure, is_recorded: found }) => {
            is_recorded = found;
            (attempt.halted(failure.into()), None)
        }
        Ok(Obtained::DamagedInputs(inputs)) => {
            let seconds = since.elapsed().as_secs_f64();
            return Carried::DamagedInputs { inputs, seconds, log: progress.into_log() };
        }
        Ok(Obtained::Held(holder)) => {
            let seconds = since.elapsed().as_secs_f64();
            return Carried::Held { holder, seconds, log: progress.into_log() };
        }
        Ok(Obtained::LeftToOthers) => return Carried::LeftToOthers,
        Err(halt) => {
            is_recorded = !matches!(halt, Halt::Failed(_));
            (attempt.halted(halt), None)
        }
    };
    Carried::Ended(Done {
        end,
        fingerprint: Some(task.fingerprint),
        artifact: artifact.map(|it| (it.content, it.path)),
        is_recorded,
        seconds: since.elapsed().as_secs_f64(),
        log: progress.into_log(),
    })
}

/// A task on its way.
struct Attempt<'a> {
    task: &'a ReadyTask<'a>,
    shared: &'a Shared<'a>,
    progress: &'a TaskProgress<'a>,
}

impl Attempt<'_> {
    /// What the store has of the task, or what comes of carrying it out now.
    fn obtain(&self) -> Result<Obtained, Halt> {
        let Shared { store, .. } = *self.shared;
        let ReadyTask { name, fingerprint, was_held, .. } = self.task;
        store.need(&[*fingerprint])?;
        if *was_held {
            store.refresh(fingerprint);
        }
        let damage = match self.look()? {
            Ok(obtained) => return Ok(obtained),
            Err(damage) => damage,
        };
        if self.is_stopping() {
            return Err(Halt::Interrupted);
        }
        let is_left = self.is_left_to_others();
        if is_left && damage.is_none() && self.task.failed_before.is_none() {
            return Ok(Obtained::LeftToOthers);
        }
        if let Some(failure) = self.misplaced().filter(|_| !is_left) {
            return Ok(Obtained::Failed { failure, is_recorded: false });
        }
        if let Some(failure) = self.task.failed_before
            && !self.shared.shares_failures
        {
            return Ok(Obtained::Failed { failure: failure.clone(), is_recorded: false });
        }
        let lock = match store.try_lock(fingerprint, name)? {
            Claim::Mine(lock) => lock,
            Claim::Held(holder) => return Ok(Obtained::Held(holder)),
        };
        // Whoever held the lock before may be done meanwhile.
        match self.look()? {
            Ok(obtained) => return Ok(obtained),
            Err(Some(damage)) => self.set_aside(&damage)?,
            Err(None) => {}
        }
        if let Some(failure) = self.task.failed_before {
            return Ok(self.failed(&lock, failure.clone(), false));
        }
        if is_left {
            return Ok(Obtained::LeftToOthers);
        }
        let damaged = self.damaged_inputs()?;
        if !damaged.is_empty() {
            return Ok(Obtained::DamagedInputs(damaged));
        }
        if self.shared.begun.is_some_and(|begun| !begun.take()) {
            return Ok(Obtained::LeftToOthers);
        }
        let killed_before = store.killed_starts(fingerprint)?;
        let alone = self.shared.workers == 1 || killed_before.any();
        let _company = self.shared.running.company(alone);
        if self.is_stopping() {
            return Err(Halt::Interrupted);
        }
        let Some(attempt) = killed_before.begin(&lock, alone)? else {
            let obtained = self.failed(&lock, killed(), false);
            store.clear_attempts(fingerprint);
            return Ok(obtained);
        };
        let built = self.build(&lock);
        if lock.is_lost() {
            attempt.abandon();
            return self.abandoned(name);
        }
        let obtained = match built {
            Ok(Ok(artifact)) => {
                store.clear_failure(fingerprint)?;
                Ok(Obtained::Built(artifact))
            }
            Ok(Err(Halt::Failed(failure))) => Ok(self.failed(&lock, failure, true)),
            Ok(Err(Halt::Paused { rows })) => Ok(Obtained::Paused(rows)),
            Ok(Err(Halt::Interrupted)) => Err(Halt::Interrupted),
            Err(error) => Err(error.into()),
        };
        attempt.end();
        obtained
    }

    /// What the store says of the task; else how its artifact is damaged, if there is one. Takes no lock.
    fn look(&self) -> Result<Result<Obtained, Option<String>>, store::Error> {
        let Shared { store, .. } = *self.shared;
        let ReadyTask { stage, fingerprint, budget, .. } = self.task;
        let damage = match self.find()? {
            Found::Whole(artifact) => return Ok(Ok(Obtained::Cached(artifact))),
            Found::Nothing => None,
            Found::Damaged(reason) => Some(reason),
        };
        let paused = budget.and_then(|it| stage.paused(&store.checkpoints(fingerprint), it));
        if let Some(rows) = paused {
            return Ok(Ok(Obtained::Paused(rows)));
        }
        Ok(match store.failure(fingerprint)? {
            Some(record) => Ok(Obtained::Failed { failure: told(record), is_recorded: true }),
            None => Err(damage),
        })
    }

    /// The task failed: writes it down for all processes, whose record is the one that counts. `now` says that it
    /// was tried.
    fn failed(&self, lock: &Lock, failure: Failure, now: bool) -> Obtained {
        let Shared { store, .. } = *self.shared;
        let ReadyTask { name, fingerprint, .. } = self.task;
        // What a process that stood still found may be over: it was taken over, and the successor is done.
        if now && let Ok(Found::Whole(artifact)) = store.find(fingerprint) {
            store.clear_checkpoints(fingerprint);
            return Obtained::Cached(artifact);
        }
        let Failure { message, help, killed, .. } = failure.clone();
        let cause = FailureCause { message, help, killed };
        let is_recorded = match store.record_failure(fingerprint, lock, name, cause) {
            Ok(record) if record.is_own() => true,
            Ok(record) => return Obtained::Failed { failure: told(record), is_recorded: true },
            Err(_) => false,
        };
        Obtained::Failed { failure, is_recorded }
    }

    /// The lock is lost, as this process stood still: what was written is thrown away. The task is its
    /// successor's, unless that is done.
    fn abandoned(&self, name: &str) -> Result<Obtained, Halt> {
        let Shared { store, .. } = *self.shared;
        let ReadyTask { fingerprint, .. } = self.task;
        if let Ok(Found::Whole(artifact)) = store.find(fingerprint) {
            store.clear_checkpoints(fingerprint);
            return Ok(Obtained::Cached(artifact));
        }
        if self.is_stopping() {
            return Err(Halt::Interrupted);
        }
        self.progress.note(&format!("{name} was taken over, as this process stood still"));
        Ok(Obtained::Held("whoever took over".to_owned()))
    }

    /// Why this process cannot build what is planned for another backend. That is no failure of the task: those
    /// that can build it must not hear of it.
    fn misplaced(&self) -> Option<Failure> {
        let planned = self.task.backend?;
        let own = dispatch::backend(self.task.device);
        (planned != own).then(|| {
            let mut failure = Failure::new(format!(
                "it is planned for `{planned}`, and this process computes by `{own}`"
            ));
            failure.misplaced = true;
            failure.help(format!("build it where `{planned}` is, or leave out `--backend`"))
        })
    }

    /// Whether other processes are to build it, as it is none of this one's or this one has built enough.
    fn is_left_to_others(&self) -> bool {
        !self.task.is_ours || self.shared.begun.is_some_and(Begun::is_enough)
    }

    fn is_stopping(&self) -> bool {
        self.shared.cancel.load(Ordering::Relaxed)
    }

    /// What the store has of it. Sizes tell enough, but of an artifact in doubt every byte is compared.
    fn find(&self) -> Result<Found, store::Error> {
        let ReadyTask { fingerprint, is_suspect, .. } = self.task;
        match is_suspect {
            true => self.shared.store.verify(fingerprint),
            false => self.shared.store.find(fingerprint),
        }
    }

    /// Moves a damaged artifact away and says so. Call with its lock held.
    fn set_aside(&self, reason: &str) -> Result<(), store::Error> {
        let aside = self.shared.store.set_aside(&self.task.fingerprint, reason)?;
        let aside = aside.display();
        self.progress.note(&format!("damaged ({reason}): moved to {aside}, made again"));
        Ok(())
    }

    /// The inputs that are not what they were when their tasks ended, compared byte for byte and once a
    /// run.
    fn damaged_inputs(&self) -> Result<Vec<ArtifactVersion>, store::Error> {
        let mut damaged = Vec::new();
        for input in &self.task.inputs {
            if input.is_new || damaged.contains(&input.version) {
                continue;
            }
            let content = self.shared.sound.content(&input.fingerprint, || {
                Ok::<_, store::Error>(match self.shared.store.verify(&input.fingerprint)? {
                    Found::Whole(artifact) => Some(artifact.content),
                    Found::Nothing | Found::Damaged(_) => None,
                })
            })?;
            if content != Some(input.content) {
                damaged.push(input.version);
            }
        }
        Ok(damaged)
    }

    /// Runs the stage and publishes what it builds. The outer error is one of the store, and not of the stage.
    fn build(&self, lock: &Lock) -> Result<Result<Artifact, Halt>, store::Error> {
        let Shared { store, reporter, .. } = *self.shared;
        let ReadyTask { number, name, stage, fingerprint, .. } = self.task;
        let since = Instant::now();
        let (task, kind) = (*number, stage.kind().to_owned());
        reporter.event(&Event::TaskStarted { task, name: name.clone(), kind });
        let staging = store.stage(fingerprint, lock)?;
        let outcome = match self.run_stage(&staging, lock) {
            Ok(outcome) => outcome,
            Err(halt) => return Ok(Err(halt)),
        };
        // Nothing is published in the place of a successor.
        if lock.is_lost() {
            return Ok(Err(Halt::Interrupted));
        }
        let seconds = outcome.earlier + since.elapsed().as_secs_f64();
        let artifact = self.publish(staging, &outcome, seconds)?;
        store.clear_checkpoints(fingerprint);
        let (name, summary) = (name.clone(), outcome.summary);
        reporter.event(&Event::Finished {
            task,
            name,
            summary,
            seconds: since.elapsed().as_secs_f64(),
        });
        Ok(Ok(artifact))
    }

    fn run_stage(&self, staging: &Staging, lock: &Lock) -> Result<Outcome, Halt> {
        let ReadyTask { name, stage, external, device, fingerprint, budget, .. } = self.task;
        let input = |input: &InputArtifact| Input {
            key: input.key.clone(),
            path: input.folder.clone(),
            split: input.split.clone(),
        };
        let inputs: Vec<Input> = self.task.inputs.iter().map(input).collect();
        let _running = self.shared.running.enter(lock.abandon());
        let context = Context {
            inputs: &inputs,
            out: staging.path(),
            external: *external,
            environment: self.shared.environment,
            scratch: &self.shared.store.checkpoints(fingerprint),
            budget: *budget,
            device: *device,
            progress: self.progress,
            cancel: lock.abandon(),
        };
        // Nothing of the stage is looked at after a panic but the message.
        catch_unwind(AssertUnwindSafe(|| stage.run(&context))).unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            let failure = Failure::new(format!("stage `{name}` panicked: {text}"));
            Err(failure.help("this is a bug in runner; please report it").into())
        })
    }

    /// Publishes what the stage built in so many `seconds`.
    fn publish(
        &self,
        staging: Staging,
        outcome: &Outcome,
        seconds: f64,
    ) -> Result<Artifact, store::Error> {
        let ReadyTask { stage, settings, external, backend, fingerprint, .. } = self.task;
        staging.check_names()?;
        if let Some(text) = outcome.metrics.csv() {
            staging.add("metrics.csv", text.as_bytes())?;
        }
        let json = serde_json::json!({ "summary": outcome.summary });
        staging.add("outcome.json", json.to_string().as_bytes())?;
        staging.add("timings.csv", csv::timings(seconds, &outcome.timings).as_bytes())?;
        let record = |input: &InputArtifact| InputRecord {
            key: input.key.clone(),
            split: input.split.clone(),
            fingerprint: input.fingerprint,
            content: input.content,
        };
        let manifest = Manifest {
            version: store::VERSION,
            kind: stage.kind().to_owned(),
            revision: stage.revision(),
            backend: backend.unwrap_or(store::ANY_BACKEND).to_owned(),
            settings: serde_json::to_value(settings).expect("settings from TOML can be JSON"),
            external: external.map(str::to_owned),
            inputs: self.task.inputs.iter().map(record).collect(),
            fingerprint: *fingerprint,
            content: Staging::no_content(),
            files: Vec::new(),
            runner: env!("CARGO_PKG_VERSION").to_owned(),
            created: crate::system::now().to_rfc3339(),
        };
        staging.publish(manifest)
    }

    /// Reports that the store had it.
    fn cached(&self, artifact: &Artifact) -> End {
        let (task, name) = (self.task.number, self.task.name.clone());
        let summary = artifact.summary.clone();
        self.shared.reporter.event(&Event::Cached { task, name, summary });
        End::Cached
    }

    /// Reports why there is no artifact.
    fn halted(&self, halt: Halt) -> End {
        let (task, name) = (self.task.number, self.task.name.clone());
        let (event, end) = match halt {
            Halt::Interrupted => (Event::Interrupted { task, name }, End::Interrupted),
            Halt::Paused { rows } => {
                let budget = self.task.budget.expect("only a budget makes a stage pause");
                (Event::Paused { task, name, epochs: budget.0 }, End::Paused { rows })
            }
            Halt::Failed(failure) => {
                let Failure { message, help, .. } = failure.clone();
                let inputs = self.task.input_texts.clone();
                let event = Event::Failed { task, name, message, inputs, help };
                (event, End::Failed(failure))
            }
        };
        self.shared.reporter.event(&event);
        end
    }
}

/// A failure that the store has a record of, for people. Of another process they hear who it was, and what to do
/// when the cause is gone.
fn told(record: FailureRecord) -> Failure {
    let from = (!record.is_own()).then(|| {
        format!(
            "{} found this at {}; once that process is over, `--retry-failed` tries it again",
            record.who, record.when
        )
    });
    let FailureCause { message, help, killed } = record.cause;
    let help = help.into_iter().chain(from).collect();
    Failure { message, help, killed, misplaced: false }
}

/// Why a task is not begun once more.
fn killed() -> Failure {
    let mut failure = Failure::new(format!(
        "it was begun {MOST_ATTEMPTS} times and killed each time before it ended, perhaps as memory ran out"
    ));
    failure.killed = true;
    failure
        .help("give it more memory, or let it need less, with a smaller batch or fewer `--jobs`")
        .help("`--retry-failed` tries it again, whatever killed it")
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self { message: error.to_string(), help: error.help(), killed: false, misplaced: false }
    }
}

impl From<store::Error> for Halt {
    fn from(error: store::Error) -> Self {
        Failure::from(error).into()
    }
}
