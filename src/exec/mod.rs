//! Runs the tasks that the store does not hold yet. Knows tasks, not what they do.

pub mod events;
mod lines;
mod local;
mod terminal;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use petgraph::graph::NodeIndex;

pub use events::{Event, Reporter};
pub use lines::{Json, Lines, Quiet};
pub use local::Local;
pub use terminal::Terminal;

use crate::plan::fingerprint::{Content, Fingerprint};
use crate::plan::graph::Plan;
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
    /// Who hears of it.
    pub reporter: &'a dyn Reporter,
    /// Set when the user asked to stop.
    pub cancel: &'a AtomicBool,
}

/// How a task ended.
#[derive(Debug, Clone)]
pub struct Done {
    /// Cached, ran, failed or skipped.
    pub state: State,
    /// Its fingerprint, once its inputs were there.
    pub fingerprint: Option<Fingerprint>,
    /// Content and folder of the artifact.
    pub artifact: Option<(Content, PathBuf)>,
    /// Seconds it took, waiting included.
    pub seconds: f64,
    /// What it said, with the time of day.
    pub log: Vec<String>,
}

/// The way a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The store had it.
    Cached,
    /// It was made.
    Ran,
    /// It could not be made.
    Failed {
        /// Why.
        message: String,
        /// What to do.
        help: Vec<String>,
    },
    /// The user asked to stop.
    Interrupted,
    /// Something before it has no result, or `--fail-fast` saw a task fail: this task.
    Skipped {
        /// Its name.
        because: String,
    },
}

impl State {
    /// One word for records.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Ran => "ran",
            Self::Failed { .. } => "failed",
            Self::Interrupted => "interrupted",
            Self::Skipped { .. } => "skipped",
        }
    }
}

/// Names of tasks for people: the stage's name, with the trials when it is not for all of them.
pub fn display_name(plan: &Plan, task: NodeIndex) -> String {
    let task = &plan.graph[task];
    if task.trials.len() == plan.trials.len() {
        return task.name.clone();
    }
    let trials: Vec<String> = task.trials.iter().map(|number| format!("{number:03}")).collect();
    format!("{}[{}]", task.name, trials.join(","))
}

#[cfg(test)]
pub(crate) mod tests;
