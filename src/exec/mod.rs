//! Runs the tasks that the store does not hold yet. Knows tasks, not what they do.

mod ending;
pub mod events;
pub mod journal;
mod lines;
mod local;
mod mend;
mod terminal;
mod threads;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use petgraph::graph::NodeIndex;

pub use ending::{End, Ending, RunEnding, UnknownEnding};
pub use events::{Both, Event, Planned, Reporter};
pub use journal::Journal;
pub use lines::{Json, Lines, Quiet};
pub use local::Local;
pub use mend::mend;
pub use terminal::{Terminal, can_draw};

use crate::plan::fingerprint::{Content, Fingerprint};
use crate::plan::graph::Plan;
use crate::stages::Failure;
use crate::store::Store;
use crate::train::activations::Cache;

/// Carries out a plan.
pub trait Executor {
    /// Brings every task of `plan` to an end and returns how each ended, by task number.
    fn execute(&self, plan: &Plan, job: &Job) -> Vec<Done>;
}

/// What tasks share while they run.
pub struct Job<'a> {
    /// Where artifacts are.
    pub store: &'a Store,
    /// `--offline`.
    pub offline: bool,
    /// Where what frozen layers make of images is kept; `None` to compute it in every epoch.
    pub activations: Option<&'a Cache>,
    /// Time after which a training writes a checkpoint at the latest.
    pub checkpoint_every: Duration,
    /// Nothing new begins once a task failed.
    pub fail_fast: bool,
    /// Tasks that do not run to their end now, and how far they do; all others do.
    pub limits: &'a HashMap<NodeIndex, Limit>,
    /// Tasks that failed before and are not tried again.
    pub failures: &'a HashMap<Fingerprint, Failure>,
    /// Who hears of it.
    pub reporter: &'a dyn Reporter,
    /// Set when the user asked to stop.
    pub cancel: &'a AtomicBool,
}

/// How far a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// A training pauses after so many epochs, with a checkpoint.
    Epochs(usize),
    /// It is neither made nor looked for.
    Stay,
}

/// How a task ended.
#[derive(Debug, Clone)]
pub struct Done {
    /// In which way.
    pub end: End,
    /// Its fingerprint, once its inputs were there.
    pub fingerprint: Option<Fingerprint>,
    /// Content and folder of the artifact.
    pub artifact: Option<(Content, PathBuf)>,
    /// Seconds it took, waiting included.
    pub seconds: f64,
    /// What it said, with the time of day.
    pub log: Vec<String>,
}

impl Done {
    /// Of a task that was not begun.
    fn without(end: End) -> Self {
        Self { end, fingerprint: None, artifact: None, seconds: 0.0, log: Vec::new() }
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

/// Names of tasks for people: the stage's name, with the trials when it is not for all of them.
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
