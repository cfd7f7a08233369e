//! What happens during a run, as plain values. Prints nothing.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::progress::{Progress, Unit};

/// Something happened.
#[derive(Debug, Clone, Serialize, PartialEq)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields named for what they hold: task number, its name, texts")]
pub enum Event {
    /// A task is being made.
    TaskStarted { task: usize, name: String, kind: String },
    /// The store had it.
    Cached { task: usize, name: String, summary: String },
    /// Another runner is making it.
    Waiting { task: usize, name: String, holder: String },
    /// A phase of a task starts.
    Phase { task: usize, phase: String, total: Option<u64>, unit: &'static str },
    /// Units were done since the last such event.
    Progress { task: usize, by: u64 },
    /// A short live value.
    Status { task: usize, text: String },
    /// A line that stays.
    Note { task: usize, name: String, text: String },
    /// It was made.
    Finished { task: usize, name: String, summary: String, seconds: f64 },
    /// It could not be made.
    Failed { task: usize, name: String, message: String, inputs: Vec<String>, help: Vec<String> },
    /// A training came as far as the search lets it for now.
    Paused { task: usize, name: String, epochs: usize },
    /// The user asked to stop.
    Interrupted { task: usize, name: String },
    /// Something before it has no result.
    Skipped { task: usize, name: String, because: String },
    /// The end.
    RunFinished {
        cached: usize,
        ran: usize,
        failed: usize,
        skipped: usize,
        pruned: usize,
        seconds: f64,
    },
}

/// What a user who asks to stop is told.
pub(super) const STOPPING: &str =
    "stopping after the current step; press Ctrl-C again to stop at once";

/// Hears of events, from any thread.
pub trait Reporter: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event);

    /// The user asked to stop. Answered on standard error whatever form events have: a standard
    /// output that nobody reads must not hold up the answer.
    fn stopping(&self) {
        anstream::eprintln!("{STOPPING}");
    }
}

/// Turns a stage's progress into events, and keeps what it said.
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

    pub(super) fn name(&self) -> &'a str {
        self.name
    }

    pub(super) fn into_log(self) -> Vec<String> {
        self.log.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, text: &str) {
        let time = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ");
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

    fn note(&self, text: &str) {
        self.log(text);
        let (task, name, text) = (self.task, self.name.to_owned(), text.to_owned());
        self.reporter.event(&Event::Note { task, name, text });
    }
}
