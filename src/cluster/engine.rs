//! What a queue is to the rest of the program: three requests and two texts.

use std::fmt;
use std::path::PathBuf;

use super::classes::WorkerClass;

/// Workers to be started: so many lives of a class.
#[derive(Debug, Clone)]
pub struct Order {
    /// The run's id.
    pub run: String,
    /// What is asked for.
    pub class: WorkerClass,
    /// How many workers are to follow each other in all.
    pub lives: u32,
    /// How many of them are to be there at a time.
    pub at_once: u32,
    /// Machines that are of no use, by name.
    pub exclude: Vec<String>,
    /// Lines of shell before the worker.
    pub setup: Vec<String>,
    /// Where they start, an absolute path.
    pub folder: PathBuf,
    /// A folder for what they print, an absolute path that is there.
    pub logs: PathBuf,
    /// The command, but for the `--threads` of what computes and the `--life` of a worker, which differ.
    pub work: Vec<String>,
}

/// The class that a driver in a queue is of.
pub const DRIVER: &str = "driver";

impl Order {
    /// The same for workers of a class, `at_once` of them at a time.
    #[must_use]
    pub fn of_class(&self, engine: &dyn Engine, class: &WorkerClass, at_once: u32) -> Self {
        let lives = match engine.replaces() {
            true => class.lives.min(engine.most_lives().unwrap_or(u32::MAX)).max(1),
            false => at_once,
        };
        let mut work = self.work.clone();
        work.extend(["--class".to_owned(), class.name.clone()]);
        Self { class: class.clone(), lives, at_once: at_once.min(lives), work, ..self.clone() }
    }

    /// Whether workers are asked for, and not a driver.
    pub fn is_for_workers(&self) -> bool {
        self.class.name != DRIVER
    }

    /// The name of these jobs, the same for all that are started for a class of a run.
    pub fn name(&self) -> String {
        job_name(&self.run, &self.class.name)
    }
}

/// What the jobs of a class of a run are called.
pub fn job_name(run: &str, class: &str) -> String {
    format!("runner-{run}-{class}")
}

/// What a queue has under a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Workers that are to be started, as far as the queue has not begun with them.
    pub pending: u32,
    /// Workers that the queue has started.
    pub running: u32,
    /// What it calls those that it has started, as the workers know it.
    pub lives: Vec<String>,
    /// Why some are pending, in the queue's words, and how many for each reason; the usual reasons are left out.
    pub reasons: Vec<(String, u32)>,
}

/// Which jobs to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that were not started yet.
    Pending,
    /// All.
    All,
}

/// A kind of queue, as a site's file describes it. None of these is called on a thread that draws: a queue may take a
/// minute to answer.
pub trait Engine: fmt::Debug + Send + Sync {
    /// What [`submit`](Engine::submit) does, as one would type it.
    fn typed(&self, order: &Order) -> String;

    /// Has the queue start workers. An error does not say that none will start.
    ///
    /// # Errors
    /// What the queue said.
    fn submit(&self, order: &Order) -> Result<(), String>;

    /// What the queue has under each of these names; nothing of a queue that cannot be asked.
    ///
    /// # Errors
    /// Why it does not answer.
    fn look(&self, names: &[String]) -> Result<Option<Vec<JobCounts>>, String>;

    /// Ends jobs of these names; of a queue that cannot, none. Workers end by themselves as well, so this only spares
    /// the queue what would end in a moment.
    ///
    /// # Errors
    /// What the queue said.
    fn cancel(&self, names: &[String], reach: Which) -> Result<(), String>;

    /// How many lives an order may have at most, if the queue says.
    fn most_lives(&self) -> Option<u32> {
        None
    }

    /// Whether it keeps workers away from the machines that an order excludes.
    fn can_exclude(&self) -> bool;

    /// Whether it has an order's lives follow each other, [`Order::at_once`] of them at a time. Otherwise it starts all
    /// at once.
    fn replaces(&self) -> bool;
}
