//! Carries out plans: builds what the store does not hold yet. `schedule` says what is ready, `task` brings
//! one task to its end, `local` has threads of this process do it. Knows tasks, not what they do.

mod ending;
pub mod events;
mod holdings;
pub mod journal;
mod lines;
mod local;
mod mend;
mod running;
mod schedule;
mod sound;
mod task;
mod terminal;
mod threads;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use petgraph::graph::NodeIndex;

pub use ending::{End, Ending, RunEnding, UnknownEnding};
pub use events::{Both, Event, Planned, Reporter};
pub use holdings::{Holding, Holdings};
pub use journal::Journal;
pub use lines::{Json, Lines, Quiet};
pub use local::execute;
pub use mend::mend;
pub use terminal::{Terminal, can_draw};

use crate::digest::{Content, Fingerprint};
use crate::plan::graph::Plan;
use crate::stages::{Budget, Environment, Failure};
use crate::store::Store;

/// What the tasks of a plan are carried out with.
pub struct Execution<'a> {
    /// Where artifacts are.
    pub store: &'a Store,
    /// What every stage may use.
    pub environment: &'a Environment,
    /// Tasks at a time, at least 1.
    pub workers: usize,
    /// Nothing new begins once a task failed.
    pub fail_fast: bool,
    /// Tasks that do not run to their end now, and how far they go; all others do.
    pub limits: &'a BTreeMap<NodeIndex, Limit>,
    /// Tasks that failed in an earlier run and are not tried again.
    pub failures: &'a BTreeMap<Fingerprint, Failure>,
    /// Whether these count for all processes of the plan, whose searches must decide alike.
    pub shares_failures: bool,
    /// Tasks whose artifacts may be damaged: every byte of these is compared before they are used.
    pub suspects: &'a BTreeSet<NodeIndex>,
    /// Tasks that begin only once others have ended of which they need nothing.
    pub holds: &'a BTreeMap<NodeIndex, Vec<NodeIndex>>,
    /// Asked about each artifact that a worker built or found, with its folder: once this says no, nothing
    /// new begins.
    pub goes_on: &'a (dyn Fn(NodeIndex, &Path) -> bool + Sync),
    /// Who hears of it.
    pub reporter: &'a dyn Reporter,
    /// Set when the user asked to stop.
    pub cancel: &'a AtomicBool,
    /// When to leave the rest to other processes; without it, they are waited for.
    pub idle: Option<Idle<'a>>,
}

/// How long to wait while other processes have everything that could begin.
#[derive(Debug, Clone, Copy)]
pub struct Idle<'a> {
    /// So long.
    pub limit: Duration,
    /// Set once it was too long. Then `cancel` is set as well.
    pub is_over: &'a AtomicBool,
}

impl<'a> Execution<'a> {
    /// One by a single worker in which every task runs to its end.
    pub fn new(
        store: &'a Store,
        environment: &'a Environment,
        reporter: &'a dyn Reporter,
        cancel: &'a AtomicBool,
    ) -> Self {
        static LIMITS: BTreeMap<NodeIndex, Limit> = BTreeMap::new();
        static FAILURES: BTreeMap<Fingerprint, Failure> = BTreeMap::new();
        static SUSPECTS: BTreeSet<NodeIndex> = BTreeSet::new();
        static HOLDS: BTreeMap<NodeIndex, Vec<NodeIndex>> = BTreeMap::new();
        Self {
            store,
            environment,
            workers: 1,
            fail_fast: false,
            limits: &LIMITS,
            failures: &FAILURES,
            shares_failures: false,
            suspects: &SUSPECTS,
            holds: &HOLDS,
            goes_on: &|_, _| true,
            reporter,
            cancel,
            idle: None,
        }
    }
}

/// How far a task goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// It pauses once it has spent this.
    Budget(Budget),
    /// It is neither built nor looked for.
    Stay,
}

/// How a task ended.
#[derive(Debug, Clone)]
pub struct Done {
    /// In which way, with what there is to say about it.
    pub end: End,
    /// Its fingerprint; `None` where its inputs never were there.
    pub fingerprint: Option<Fingerprint>,
    /// Content and folder of its artifact, where it has one.
    pub artifact: Option<(Content, PathBuf)>,
    /// Of a failure, whether the store has a record of it, so that every process sees it.
    pub is_recorded: bool,
    /// Seconds that this process spent on it.
    pub seconds: f64,
    /// What it said, a line each, with the time.
    pub log: Vec<String>,
}

impl Done {
    /// That of a task that was not begun.
    fn without(end: End) -> Self {
        Self {
            end,
            fingerprint: None,
            artifact: None,
            is_recorded: true,
            seconds: 0.0,
            log: Vec::new(),
        }
    }

    /// The same end with the time and the log of what the task did `before`.
    #[must_use]
    pub fn after(self, before: Self) -> Self {
        let log = before.log.into_iter().chain(self.log).collect();
        Self { seconds: before.seconds + self.seconds, log, ..self }
    }
}

/// The end of a run that began at `since`, as an event.
pub fn finished(done: &[Done], since: Instant) -> Event {
    let count = |ending| done.iter().filter(|it| it.end.ending() == ending).count();
    Event::RunFinished {
        cached: count(Ending::Cached),
        ran: count(Ending::Built),
        failed: count(Ending::Failed),
        skipped: count(Ending::Skipped) + count(Ending::Interrupted),
        pruned: count(Ending::Paused),
        seconds: since.elapsed().as_secs_f64(),
    }
}

/// The name of a task for people: that of its stage, with the numbers of its trials where it is not shared
/// by all of them.
pub fn display_name(plan: &Plan, task: NodeIndex) -> String {
    let task = &plan.graph[task];
    if task.trials.len() == plan.trials.len() {
        return task.name.clone();
    }
    // Names stay short: they are read, and they name files. The first trial tells tasks apart.
    let shown = if task.trials.len() > 4 { 1 } else { task.trials.len() };
    let mut trials: Vec<String> =
        task.trials[..shown].iter().map(|number| format!("{number:03}")).collect();
    if shown < task.trials.len() {
        trials.push(format!("+{}", task.trials.len() - shown));
    }
    format!("{}[{}]", task.name, trials.join(","))
}

#[cfg(test)]
pub(crate) mod tests;
