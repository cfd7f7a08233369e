//! What happens during a run, as plain values. Whoever draws, prints or records it is a [`Reporter`]; nothing
//! here does.

use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;
use petgraph::graph::NodeIndex;
use serde::Serialize;

use crate::console;
use crate::plan::graph::Plan;
use crate::plan::pipeline::PlannedStage;
use crate::progress::{Progress, Unit};

/// Something that happened in a run.
#[derive(Debug, Clone, Serialize, PartialEq)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields named for what they hold: task number, its name, texts")]
pub enum Event {
    /// The run begins: this is to be done, as far as it is known yet.
    RunStarted { run: String, pipeline: String, command: Vec<String>, plan: Planned },
    /// A search asks for more trials: these tasks and trials are new.
    Planned { plan: Planned },
    /// The stage of a task begins to run.
    TaskStarted { task: usize, name: String, kind: String },
    /// The store had the artifact.
    Cached { task: usize, name: String, summary: String },
    /// Another runner is building the artifact.
    Waiting { task: usize, name: String, holder: String },
    /// A phase of a task begins.
    Phase { task: usize, phase: String, total: Option<u64>, unit: &'static str },
    /// So many units were done since the last such event.
    Progress { task: usize, by: u64 },
    /// A short value to be shown while it lasts, such as the loss.
    Status { task: usize, text: String },
    /// A number that an epoch ended with. In JSON the value is null when it is not finite.
    Metric { task: usize, epoch: usize, split: String, name: String, value: f64 },
    /// A line that is worth keeping.
    Note { task: usize, name: String, text: String },
    /// The artifact was built.
    Finished { task: usize, name: String, summary: String, seconds: f64 },
    /// The artifact could not be built.
    Failed { task: usize, name: String, message: String, inputs: Vec<String>, help: Vec<String> },
    /// A training has trained as many epochs as the search gives it for now.
    Paused { task: usize, name: String, epochs: usize },
    /// Something to know about the workers that a queue starts.
    Workers { text: String },
    /// The user asked to stop.
    Interrupted { task: usize, name: String },
    /// The task was not begun, because something before it has no result.
    Skipped { task: usize, name: String, because: String },
    /// The run is over; so many tasks ended in each way.
    RunFinished {
        cached: usize,
        ran: usize,
        failed: usize,
        skipped: usize,
        pruned: usize,
        seconds: f64,
    },
}

/// Tasks and trials of a plan, for whoever draws them.
#[derive(Debug, Clone, Default, Serialize, PartialEq)]
pub struct Planned {
    /// The tasks, by number.
    pub tasks: Vec<PlannedTask>,
    /// The trials, by number.
    pub trials: Vec<PlannedTrial>,
}

/// A task, as it is announced.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct PlannedTask {
    /// Its number.
    pub task: usize,
    /// The stage's name.
    pub name: String,
    /// The stage's kind.
    pub kind: String,
    /// Numbers of the tasks that it waits for.
    pub needs: Vec<usize>,
    /// What the words of splits in its metrics stand for that its artifact has by their keys: `@validate.1` for
    /// `oracle.target.test`. Left out where there are none.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub splits: IndexMap<String, String>,
}

/// A trial, as it is announced.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct PlannedTrial {
    /// Its number.
    pub trial: usize,
    /// Axis and value, pairs of domains as one; none in a run without a sweep.
    pub labels: IndexMap<String, String>,
    /// Numbers of its tasks, in the order of the file.
    pub tasks: Vec<usize>,
}

impl Planned {
    /// What `plan` has from these numbers of tasks and trials on.
    pub fn since(plan: &Plan, tasks: usize, trials: usize) -> Self {
        let task = |node: NodeIndex| PlannedTask {
            task: node.index(),
            name: plan.graph[node].name.clone(),
            kind: plan.graph[node].stage.kind().to_owned(),
            needs: plan.needs(node).iter().map(|(before, _)| before.index()).collect(),
            splits: plan.planned(node).map(PlannedStage::recorded).unwrap_or_default(),
        };
        let trial = |number: usize| PlannedTrial {
            trial: number,
            labels: plan.trials[number].shown_labels().into_iter().collect(),
            tasks: plan.stages[number].values().map(|task| task.index()).collect(),
        };
        Self {
            tasks: plan.graph.node_indices().skip(tasks).map(task).collect(),
            trials: (trials..plan.trials.len()).map(trial).collect(),
        }
    }
}

/// What a user is told who asks to stop.
pub(super) const STOPPING: &str =
    "stopping after the current step; press Ctrl-C again to stop at once";

/// Hears of events, from any thread, and never fails: a run does not depend on who looks on.
pub trait Reporter: Send + Sync {
    /// Takes an event.
    fn event(&self, event: &Event);

    /// Answers a user who asked to stop. The answer goes to standard error whatever form events have, as
    /// a standard output that nobody reads must not hold it up.
    fn stopping(&self) {
        console::say(STOPPING);
    }
}

/// Two reporters that hear the same.
pub struct Both<'a>(pub &'a dyn Reporter, pub &'a dyn Reporter);

impl Reporter for Both<'_> {
    fn event(&self, event: &Event) {
        self.0.event(event);
        self.1.event(event);
    }

    fn stopping(&self) {
        self.0.stopping();
    }
}

/// Turns the progress of a stage into events, and keeps what it said for its log.
pub(super) struct TaskProgress<'a> {
    task: usize,
    name: &'a str,
    reporter: &'a dyn Reporter,
    log: Mutex<Vec<String>>,
}

impl<'a> TaskProgress<'a> {
    pub(super) fn new(task: usize, name: &'a str, reporter: &'a dyn Reporter) -> Self {
        Self { task, name, reporter, log: Mutex::default() }
    }

    pub(super) fn into_log(self) -> Vec<String> {
        self.log.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, text: &str) {
        let time = crate::system::now().format("%Y-%m-%dT%H:%M:%SZ");
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(format!("{time} {text}"));
    }
}

impl Progress for TaskProgress<'_> {
    fn begin(&self, phase: &str, total: Option<u64>, unit: Unit) {
        let unit = match unit {
            Unit::Bytes => "bytes",
            Unit::Images => "images",
            Unit::Steps => "steps",
        };
        self.log(&match total {
            Some(total) => format!("{phase}: {total} {unit}"),
            None => phase.to_owned(),
        });
        let (task, phase) = (self.task, phase.to_owned());
        self.reporter.event(&Event::Phase { task, phase, total, unit });
    }

    fn advance(&self, by: u64) {
        self.reporter.event(&Event::Progress { task: self.task, by });
    }

    fn status(&self, text: &str) {
        self.reporter.event(&Event::Status { task: self.task, text: text.to_owned() });
    }

    fn metric(&self, epoch: usize, split: &str, name: &str, value: f64) {
        let (task, split, name) = (self.task, split.to_owned(), name.to_owned());
        self.reporter.event(&Event::Metric { task, epoch, split, name, value });
    }

    fn note(&self, text: &str) {
        self.log(text);
        let (task, name, text) = (self.task, self.name.to_owned(), text.to_owned());
        self.reporter.event(&Event::Note { task, name, text });
    }
}
