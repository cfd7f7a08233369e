//! One task from beginning to end: it is looked for in the store, its lock taken, its inputs checked, its
//! stage run and the artifact published. Everything comes in as values. Knows no graph and no other task:
//! an input that turns out to be damaged is a way to end, and whoever knows the graph answers it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::events::{Event, Reporter, TaskProgress};
use super::sound::Sound;
use super::{Done, End};
use crate::device::Device;
use crate::digest::{Content, Fingerprint};
use crate::metrics::csv;
use crate::nn::dispatch;
use crate::progress::Progress as _;
use crate::stages::{Budget, Context, Environment, Failure, Halt, Input, Outcome, Stage};
use crate::store::{self, Artifact, Found, InputRecord, Lock, Manifest, Staging, Store};

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
    /// Artifacts whose bytes were compared in this run.
    pub sound: &'a Sound,
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
    /// Names its artifact.
    pub fingerprint: Fingerprint,
    /// In the order of the references.
    pub inputs: Vec<InputArtifact>,
    /// The inputs for people: `train = photos.train`.
    pub input_texts: Vec<String>,
    /// How far it goes, if not to its end.
    pub budget: Option<Budget>,
    /// Why it failed before: then it is not tried again.
    pub failed_before: Option<&'a Failure>,
    /// Whether the artifact that the store has may be damaged, so that every byte of it is compared.
    pub is_suspect: bool,
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
}

/// An artifact that could be had, or what is in the way.
enum Obtained {
    Cached(Artifact),
    Built(Artifact),
    DamagedInputs(Vec<ArtifactVersion>),
}

/// Brings `task` to its end.
pub(super) fn carry_out(task: &ReadyTask, shared: &Shared) -> Carried {
    let since = Instant::now();
    let progress = TaskProgress::new(task.number, &task.name, shared.reporter);
    let attempt = Attempt { task, shared, progress: &progress };
    let (end, artifact) = match attempt.obtain() {
        Ok(Obtained::Cached(artifact)) => (attempt.cached(&artifact), Some(artifact)),
        Ok(Obtained::Built(artifact)) => (End::Built, Some(artifact)),
        Ok(Obtained::DamagedInputs(inputs)) => {
            let seconds = since.elapsed().as_secs_f64();
            return Carried::DamagedInputs { inputs, seconds, log: progress.into_log() };
        }
        Err(halt) => (attempt.halted(halt), None),
    };
    Carried::Ended(Done {
        end,
        fingerprint: Some(task.fingerprint),
        artifact: artifact.map(|it| (it.content, it.path)),
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
    /// The artifact, from the store or built now.
    fn obtain(&self) -> Result<Obtained, Halt> {
        let Shared { store, reporter, cancel, .. } = *self.shared;
        let ReadyTask { number, name, fingerprint, .. } = self.task;
        let stopping = || cancel.load(Ordering::Relaxed);
        store.need(&[*fingerprint])?;
        if let Found::Whole(artifact) = self.find()? {
            return Ok(Obtained::Cached(artifact));
        }
        if let Some(failure) = self.task.failed_before {
            return Err(failure.clone().into());
        }
        loop {
            if stopping() {
                return Err(Halt::Interrupted);
            }
            let waiting = |holder: &str| {
                let (task, name, holder) = (*number, name.clone(), holder.to_owned());
                reporter.event(&Event::Waiting { task, name, holder });
            };
            let Some(lock) = store.lock(fingerprint, name, waiting, stopping)? else {
                return Err(Halt::Interrupted);
            };
            // Whoever held the lock before may have built it meanwhile.
            match self.find()? {
                Found::Whole(artifact) => return Ok(Obtained::Cached(artifact)),
                Found::Nothing => {}
                Found::Damaged(reason) => self.set_aside(&reason)?,
            }
            let damaged = self.damaged_inputs()?;
            if !damaged.is_empty() {
                return Ok(Obtained::DamagedInputs(damaged));
            }
            let halt = match self.build(&lock) {
                Ok(artifact) => return Ok(Obtained::Built(artifact)),
                Err(Halt::Interrupted) => return Err(Halt::Interrupted),
                Err(halt) => halt,
            };
            // Had this runner stood still, another may have taken over, thrown away what was written
            // here, and be done: then nothing failed.
            if let Ok(Found::Whole(artifact)) = store.find(fingerprint) {
                store.clear_checkpoints(fingerprint);
                return Ok(Obtained::Cached(artifact));
            }
            if !lock.is_lost() {
                return Err(halt);
            }
        }
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

    /// Runs the stage and publishes what it builds.
    fn build(&self, lock: &Lock) -> Result<Artifact, Halt> {
        let Shared { store, reporter, .. } = *self.shared;
        let ReadyTask { number, name, stage, fingerprint, .. } = self.task;
        let since = Instant::now();
        let (task, kind) = (*number, stage.kind().to_owned());
        reporter.event(&Event::TaskStarted { task, name: name.clone(), kind });
        let staging = store.stage(fingerprint, lock)?;
        let outcome = self.run_stage(&staging)?;
        let artifact = self.publish(staging, &outcome)?;
        store.clear_checkpoints(fingerprint);
        let (name, summary) = (name.clone(), outcome.summary);
        reporter.event(&Event::Finished {
            task,
            name,
            summary,
            seconds: since.elapsed().as_secs_f64(),
        });
        Ok(artifact)
    }

    fn run_stage(&self, staging: &Staging) -> Result<Outcome, Halt> {
        let ReadyTask { name, stage, external, device, fingerprint, budget, .. } = self.task;
        let input = |input: &InputArtifact| Input {
            key: input.key.clone(),
            path: input.folder.clone(),
            split: input.split.clone(),
        };
        let inputs: Vec<Input> = self.task.inputs.iter().map(input).collect();
        let context = Context {
            inputs: &inputs,
            out: staging.path(),
            external: *external,
            environment: self.shared.environment,
            scratch: &self.shared.store.checkpoints(fingerprint),
            budget: *budget,
            device: *device,
            progress: self.progress,
            cancel: self.shared.cancel,
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

    fn publish(&self, staging: Staging, outcome: &Outcome) -> Result<Artifact, Halt> {
        let ReadyTask { stage, settings, external, device, fingerprint, .. } = self.task;
        staging.check_names()?;
        if let Some(text) = outcome.metrics.csv() {
            staging.add("metrics.csv", text.as_bytes())?;
        }
        let json = serde_json::json!({ "summary": outcome.summary });
        staging.add("outcome.json", json.to_string().as_bytes())?;
        staging.add("timings.csv", csv::timings(&outcome.timings).as_bytes())?;
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
            backend: dispatch::backend(*device),
            settings: serde_json::to_value(settings)
                .map_err(|error| Failure::new(format!("settings cannot be JSON: {error}")))?,
            external: external.map(str::to_owned),
            inputs: self.task.inputs.iter().map(record).collect(),
            fingerprint: *fingerprint,
            content: Staging::no_content(),
            files: Vec::new(),
            runner: env!("CARGO_PKG_VERSION").to_owned(),
            created: crate::system::now().to_rfc3339(),
        };
        Ok(staging.publish(manifest)?)
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
                let Failure { message, help } = failure.clone();
                let inputs = self.task.input_texts.clone();
                let event = Event::Failed { task, name, message, inputs, help };
                (event, End::Failed(failure))
            }
        };
        self.shared.reporter.event(&event);
        end
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self { message: error.to_string(), help: error.help() }
    }
}

impl From<store::Error> for Halt {
    fn from(error: store::Error) -> Self {
        Failure::from(error).into()
    }
}
