//! Runs tasks in this process: `workers` at a time, each in a thread of its own. Training uses the
//! whole machine from inside, so one worker is the default.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use petgraph::Direction;
use petgraph::graph::NodeIndex;
use rayon::prelude::*;

use super::events::{Event, TaskProgress};
use super::mend::{set_aside, set_aside_if_damaged};
use super::threads::{Share, Threads};
use super::{Done, End, Executor, Job, Limit, display_name};
use crate::metrics::csv;
use crate::nn::dispatch;
use crate::plan::fingerprint::{Content, Fingerprint};
use crate::plan::graph::{Plan, TaskInput};
use crate::stages::{Context, Failure, Halt, Input, Outcome};
use crate::store::{self, Artifact, Found, InputRecord, Lock, Manifest, Staging};
use crate::train::checkpoint::Slot;

/// The executor of this process.
pub struct Local {
    /// Tasks at a time, at least 1.
    pub workers: usize,
}

impl Executor for Local {
    fn execute(&self, plan: &Plan, job: &Job) -> Vec<Done> {
        let mut schedule = Schedule::new(plan, self.workers);
        look(plan, job, &mut schedule);
        let run = Run {
            plan,
            job,
            schedule: Mutex::new(schedule),
            changed: Condvar::new(),
            sound: Mutex::default(),
            workers: self.workers,
        };
        thread::scope(|scope| {
            for _ in 1..self.workers.min(run.schedule().left) {
                scope.spawn(|| run.work());
            }
            run.work();
        });
        let schedule = run.schedule.into_inner().unwrap_or_else(PoisonError::into_inner);
        schedule.done.into_iter().map(|it| it.expect("every task ended")).collect()
    }
}

/// Which tasks are over and which may begin.
struct Schedule {
    done: Vec<Option<Done>>,
    /// Of every task, how many of its needs have not ended.
    waiting: Vec<usize>,
    /// The place of every task in the plan's order.
    places: Vec<usize>,
    /// Places of the tasks that wait for nothing.
    ready: BinaryHeap<Reverse<usize>>,
    /// How many have not ended.
    left: usize,
    /// With `--fail-fast`: the first that failed.
    failed: Option<String>,
    /// Threads that no task has.
    threads: usize,
    /// Workers that have no task.
    idle: usize,
}

impl Schedule {
    fn new(plan: &Plan, workers: usize) -> Self {
        let mut places = vec![0; plan.order.len()];
        for (place, task) in plan.order.iter().enumerate() {
            places[task.index()] = place;
        }
        let needs = |task| plan.graph.neighbors_directed(task, Direction::Incoming).count();
        let waiting: Vec<usize> = plan.graph.node_indices().map(needs).collect();
        let ready = (0..places.len()).filter(|task| waiting[*task] == 0);
        Self {
            ready: ready.map(|task| Reverse(places[task])).collect(),
            done: vec![None; places.len()],
            left: places.len(),
            waiting,
            places,
            failed: None,
            threads: rayon::current_num_threads(),
            idle: workers,
        }
    }

    /// Threads for a task that begins now: its share of the free ones, those being spared that other
    /// workers have tasks for. So that a task that runs alone has the whole machine, and several
    /// together never more than it.
    fn take_threads(&mut self, workers: usize) -> Share {
        self.idle = self.idle.saturating_sub(1);
        if workers == 1 {
            return Share { threads: None, taken: 0 };
        }
        let sharing = (self.idle + 1).min(self.ready.len() + 1);
        let taken = self.threads.div_ceil(sharing);
        self.threads -= taken;
        Share { threads: Some(taken.max(1)), taken }
    }

    fn give_threads(&mut self, share: Share) {
        self.idle += 1;
        self.threads += share.taken;
    }

    /// How an input ended.
    fn ended(&self, input: NodeIndex) -> &Done {
        self.done[input.index()].as_ref().expect("every input has ended")
    }

    /// The content of a finished task's artifact.
    fn content(&self, task: NodeIndex) -> Option<Content> {
        self.done[task.index()].as_ref()?.artifact.as_ref().map(|it| it.0)
    }

    fn end(&mut self, plan: &Plan, task: NodeIndex, done: Done) {
        self.done[task.index()] = Some(done);
        self.left -= 1;
        for next in plan.graph.neighbors(task) {
            let waiting = &mut self.waiting[next.index()];
            *waiting -= 1;
            if *waiting == 0 {
                self.ready.push(Reverse(self.places[next.index()]));
            }
        }
    }
}

/// Ends the tasks that the store has, many at a time, and leaves those that are to be made ready.
fn look(plan: &Plan, job: &Job, schedule: &mut Schedule) {
    let mut rest = Vec::new();
    while !schedule.ready.is_empty() {
        let since = Instant::now();
        let mut places: Vec<usize> = schedule.ready.drain().map(|Reverse(place)| place).collect();
        places.sort_unstable();
        let name = |place: &usize| {
            let task = plan.order[*place];
            let stays = job.limits.get(&task) == Some(&Limit::Stay);
            (!stays).then(|| plan.fingerprint(task, |input| schedule.content(input))).flatten()
        };
        let names: Vec<Option<Fingerprint>> = spread(&places, name);
        let needs: Vec<Fingerprint> = names.iter().flatten().copied().collect();
        // Whatever is wrong with the store comes up again when a task is to be made.
        let named = job.store.need(&needs).is_ok();
        let whole = |name: &Option<Fingerprint>| {
            let fingerprint = (*name).filter(|_| named)?;
            match job.store.find(&fingerprint) {
                Ok(Found::Whole(artifact)) => Some((fingerprint, artifact)),
                _ => None,
            }
        };
        let found: Vec<_> = spread(&names, whole);
        #[expect(clippy::cast_precision_loss, reason = "a count of tasks")]
        let seconds = since.elapsed().as_secs_f64() / places.len() as f64;
        for (place, found) in places.into_iter().zip(found) {
            let Some((fingerprint, artifact)) = found else {
                rest.push(Reverse(place));
                continue;
            };
            let task = plan.order[place];
            let (number, name) = (task.index(), display_name(plan, task));
            let Artifact { path, content, summary } = artifact;
            job.reporter.event(&Event::Cached { task: number, name, summary });
            let artifact = Some((content, path));
            let fingerprint = Some(fingerprint);
            let done = Done { end: End::Cached, fingerprint, artifact, seconds, log: Vec::new() };
            schedule.end(plan, task, done);
        }
    }
    schedule.ready.extend(rest);
}

/// `work` for each of `all`, by all threads where these are many: a few are done before other threads
/// have woken up.
fn spread<T: Sync, U: Send>(all: &[T], work: impl Fn(&T) -> U + Sync + Send) -> Vec<U> {
    if all.len() < 8 { all.iter().map(work).collect() } else { all.par_iter().map(work).collect() }
}

struct Run<'a> {
    plan: &'a Plan,
    job: &'a Job<'a>,
    schedule: Mutex<Schedule>,
    /// A task ended.
    changed: Condvar,
    /// Artifacts whose every byte was compared with their manifest in this run.
    sound: Mutex<HashSet<Fingerprint>>,
    /// Tasks at a time.
    workers: usize,
}

impl Run<'_> {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes tasks until none is left.
    fn work(&self) {
        let mut threads = Threads::default();
        let mut schedule = self.schedule();
        while schedule.left > 0 {
            let Some(Reverse(place)) = schedule.ready.pop() else {
                schedule = self.changed.wait(schedule).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let task = self.plan.order[place];
            let lacking = self
                .plan
                .needs(task)
                .into_iter()
                .find(|(before, _)| schedule.ended(*before).artifact.is_none());
            let pruned = lacking.is_some_and(|it| {
                matches!(schedule.ended(it.0).end, End::Paused { .. } | End::NotBegun)
            });
            let because = match lacking {
                Some((before, _)) => Some(display_name(self.plan, before)),
                None => schedule.failed.clone(),
            };
            // What the store has of it is of another run, and must not change this one.
            let pruned = pruned || self.limit(task) == Some(Limit::Stay);
            let share = schedule.take_threads(self.workers);
            drop(schedule);
            let done = match because {
                _ if pruned => Done::without(End::NotBegun),
                Some(because) => self.skip(task, because),
                None => threads.install(share, || self.task(task)),
            };
            schedule = self.schedule();
            schedule.give_threads(share);
            let known = done.fingerprint.is_some_and(|it| self.job.failures.contains_key(&it));
            if self.job.fail_fast && !known && matches!(done.end, End::Failed(_)) {
                schedule.failed.get_or_insert(display_name(self.plan, task));
            }
            schedule.end(self.plan, task, done);
            self.changed.notify_all();
        }
    }

    /// How far `task` runs, if not to its end.
    fn limit(&self, task: NodeIndex) -> Option<Limit> {
        self.job.limits.get(&task).copied()
    }

    fn skip(&self, task: NodeIndex, because: String) -> Done {
        let name = display_name(self.plan, task);
        let event = Event::Skipped { task: task.index(), name, because: because.clone() };
        self.job.reporter.event(&event);
        Done::without(End::Skipped { because })
    }

    fn task(&self, task: NodeIndex) -> Done {
        let since = Instant::now();
        let name = display_name(self.plan, task);
        let progress = TaskProgress::new(task.index(), &name, self.job.reporter);
        let mut fingerprint = None;
        let (end, artifact) = match self.obtain(task, &progress, &mut fingerprint) {
            Ok((end, artifact)) => (end, Some((artifact.content, artifact.path))),
            Err(Halt::Interrupted) => {
                let name = name.clone();
                self.job.reporter.event(&Event::Interrupted { task: task.index(), name });
                (End::Interrupted, None)
            }
            Err(Halt::Paused { rows }) => {
                if let Some(Limit::Epochs(epochs)) = self.limit(task) {
                    let name = name.clone();
                    self.job.reporter.event(&Event::Paused { task: task.index(), name, epochs });
                }
                (End::Paused { rows }, None)
            }
            Err(Halt::Failed(failure)) => {
                self.job.reporter.event(&Event::Failed {
                    task: task.index(),
                    name: name.clone(),
                    message: failure.message.clone(),
                    inputs: self.plan.input_texts(task),
                    help: failure.help.clone(),
                });
                (End::Failed(failure), None)
            }
        };
        let (seconds, log) = (since.elapsed().as_secs_f64(), progress.into_log());
        Done { end, fingerprint, artifact, seconds, log }
    }

    /// The artifact of `task`, from the store or made now; `named` becomes its fingerprint.
    fn obtain(
        &self,
        task: NodeIndex,
        progress: &TaskProgress,
        named: &mut Option<Fingerprint>,
    ) -> Result<(End, Artifact), Halt> {
        let Job { store, reporter, cancel, .. } = *self.job;
        let (number, name) = (task.index(), progress.name());
        let stopping = || cancel.load(Ordering::Relaxed);
        loop {
            let fingerprint = self
                .plan
                .fingerprint(task, |input| self.schedule().content(input))
                .expect("every input has an artifact");
            *named = Some(fingerprint);
            store.need(&[fingerprint])?;
            if let Found::Whole(artifact) = store.find(&fingerprint)? {
                return Ok(self.cached(task, artifact));
            }
            if let Some(failed) = self.job.failures.get(&fingerprint) {
                return Err(failed.clone().into());
            }
            if stopping() {
                return Err(Halt::Interrupted);
            }
            let waiting = |holder: &str| {
                let (name, holder) = (name.to_owned(), holder.to_owned());
                reporter.event(&Event::Waiting { task: number, name, holder });
            };
            let Some(lock) = store.lock(&fingerprint, name, waiting, stopping)? else {
                return Err(Halt::Interrupted);
            };
            // Whoever held the lock before may have made it meanwhile.
            match store.find(&fingerprint)? {
                Found::Whole(artifact) => return Ok(self.cached(task, artifact)),
                Found::Nothing => {}
                Found::Damaged(reason) => set_aside(store, &fingerprint, &reason, progress)?,
            }
            if self.rebuild_inputs(task)? {
                // Their bytes are others now, and with them the name of what they make.
                continue;
            }
            let halt = match self.make(task, fingerprint, &lock, progress) {
                Ok(artifact) => return Ok((End::Built, artifact)),
                Err(Halt::Interrupted) => return Err(Halt::Interrupted),
                Err(halt) => halt,
            };
            // Had this runner stood still, another may have taken over, thrown away what was written
            // here, and be done: then nothing failed.
            if let Ok(Found::Whole(artifact)) = store.find(&fingerprint) {
                let _ = self.slot(&fingerprint).clear();
                return Ok(self.cached(task, artifact));
            }
            if !lock.is_lost() {
                return Err(halt);
            }
        }
    }

    fn cached(&self, task: NodeIndex, artifact: Artifact) -> (End, Artifact) {
        let (name, summary) = (display_name(self.plan, task), artifact.summary.clone());
        self.job.reporter.event(&Event::Cached { task: task.index(), name, summary });
        (End::Cached, artifact)
    }

    /// Compares the inputs of `task` with their manifests, byte for byte and once a run, and makes
    /// again what is damaged. Returns whether one came out with other bytes.
    fn rebuild_inputs(&self, task: NodeIndex) -> Result<bool, Halt> {
        let store = self.job.store;
        let mut differs = false;
        for input in &self.plan.graph[task].inputs {
            // One at a time: workers that share an input hash it once.
            let mut sound = self.sound.lock().unwrap_or_else(PoisonError::into_inner);
            let (fingerprint, end, content) = {
                let schedule = self.schedule();
                let done = schedule.ended(input.task);
                let fingerprint = done.fingerprint.expect("every input has a fingerprint");
                (fingerprint, done.end.clone(), schedule.content(input.task))
            };
            if end == End::Built || sound.contains(&fingerprint) {
                continue;
            }
            if matches!(store.verify(&fingerprint)?, Found::Whole(_)) {
                sound.insert(fingerprint);
                continue;
            }
            drop(sound);
            let name = display_name(self.plan, input.task);
            let progress = TaskProgress::new(input.task.index(), &name, self.job.reporter);
            set_aside_if_damaged(self.job, &fingerprint, &progress)?;
            let mut done = self.task(input.task);
            done.log.splice(0..0, progress.into_log());
            let halt = match &done.end {
                End::Failed(failure) => Some(Halt::from(Failure::new(format!(
                    "its input `{name}` was damaged and cannot be made again: {failure}"
                )))),
                End::Interrupted => Some(Halt::Interrupted),
                _ => None,
            };
            differs |= done.artifact.as_ref().map(|it| it.0) != content;
            self.schedule().done[input.task.index()] = Some(done);
            if let Some(halt) = halt {
                return Err(halt);
            }
        }
        Ok(differs)
    }

    /// Where the checkpoints of the training that makes `fingerprint` are.
    fn slot(&self, fingerprint: &Fingerprint) -> Slot {
        Slot::new(self.job.store.checkpoints(fingerprint), self.job.checkpoint_every)
    }

    /// Runs the stage and publishes what it makes.
    fn make(
        &self,
        task: NodeIndex,
        fingerprint: Fingerprint,
        lock: &Lock,
        progress: &TaskProgress,
    ) -> Result<Artifact, Halt> {
        let Job { store, reporter, .. } = *self.job;
        let (number, name) = (task.index(), progress.name().to_owned());
        let since = Instant::now();
        let kind = self.plan.graph[task].stage.kind().to_owned();
        reporter.event(&Event::TaskStarted { task: number, name: name.clone(), kind });
        let staging = store.stage(&fingerprint, lock)?;
        let slot = self.slot(&fingerprint);
        let outcome = self.run_stage(task, &staging, &slot, progress)?;
        let artifact = self.publish(task, fingerprint, staging, &outcome)?;
        // What cannot be removed now is swept once its artifact is there.
        let _ = slot.clear();
        let seconds = since.elapsed().as_secs_f64();
        let summary = outcome.summary;
        reporter.event(&Event::Finished { task: number, name, summary, seconds });
        Ok(artifact)
    }

    fn run_stage(
        &self,
        task: NodeIndex,
        staging: &Staging,
        slot: &Slot,
        progress: &TaskProgress,
    ) -> Result<Outcome, Halt> {
        let node = &self.plan.graph[task];
        let inputs: Vec<Input> = {
            let schedule = self.schedule();
            let input = |input: &TaskInput| {
                let artifact = schedule.ended(input.task).artifact.clone();
                let (_, path) = artifact.expect("every input has an artifact");
                Input { key: input.key.clone(), path, split: input.split.clone() }
            };
            node.inputs.iter().map(input).collect()
        };
        let downloads = self.job.store.downloads();
        let context = Context {
            inputs: &inputs,
            out: staging.path(),
            external: node.external.as_deref(),
            downloads: &downloads,
            offline: self.job.offline,
            activations: self.job.activations,
            checkpoints: Some(slot),
            pause_after: match self.limit(task) {
                Some(Limit::Epochs(epochs)) => Some(epochs),
                _ => None,
            },
            device: node.device,
            progress,
            cancel: self.job.cancel,
        };
        // Nothing of the stage is looked at after a panic but the message.
        catch_unwind(AssertUnwindSafe(|| node.stage.run(&context))).unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            let message = format!("stage `{}` panicked: {text}", progress.name());
            Err(Failure::new(message).help("this is a bug in runner; please report it").into())
        })
    }

    fn publish(
        &self,
        task: NodeIndex,
        fingerprint: Fingerprint,
        staging: Staging,
        outcome: &Outcome,
    ) -> Result<Artifact, Failure> {
        let node = &self.plan.graph[task];
        staging.check_names()?;
        if let Some(text) = outcome.metrics.csv() {
            staging.add("metrics.csv", text.as_bytes())?;
        }
        let json = serde_json::json!({ "summary": outcome.summary });
        staging.add("outcome.json", json.to_string().as_bytes())?;
        staging.add("timings.csv", csv::timings(&outcome.timings).as_bytes())?;
        let inputs = {
            let schedule = self.schedule();
            let record = |input: &TaskInput| {
                let done = schedule.ended(input.task);
                InputRecord {
                    key: input.key.clone(),
                    split: input.split.clone(),
                    fingerprint: done.fingerprint.expect("every input has a fingerprint"),
                    content: done.artifact.as_ref().expect("every input has an artifact").0,
                }
            };
            node.inputs.iter().map(record).collect()
        };
        let manifest = Manifest {
            version: store::VERSION,
            kind: node.stage.kind().to_owned(),
            revision: node.stage.revision(),
            backend: dispatch::backend(node.device),
            settings: serde_json::to_value(&node.settings)
                .map_err(|error| Failure::new(format!("settings cannot be JSON: {error}")))?,
            external: node.external.clone(),
            inputs,
            fingerprint,
            content: Staging::no_content(),
            files: Vec::new(),
            runner: env!("CARGO_PKG_VERSION").to_owned(),
            created: crate::system::now().to_rfc3339(),
        };
        Ok(staging.publish(manifest)?)
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
