//! What a queue is to the rest of the program: three requests and two texts.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::classes::WorkerClass;

/// Workers to be started: so many lives of a class.
#[derive(Debug, Clone)]
pub struct Order {
    /// The run's id.
    pub run: String,
    /// [`SharedRun::label`](crate::store::SharedRun::label) of the run.
    pub label: String,
    /// What the order is called, unlike all others: what begins the names of its workers, where the queue has no
    /// names for them.
    pub id: String,
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
    /// How many threads each has, where the user said so.
    pub threads: Option<u16>,
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
        let (class, at_once) = (class.clone(), at_once.min(lives));
        let id = new_life(&class.name);
        Self { class, id, lives, at_once, work, ..self.clone() }
    }

    /// An order for each time that the queue must be asked: once, or for every worker by itself.
    pub fn parts(self, engine: &dyn Engine) -> Vec<Self> {
        if engine.replaces() {
            return vec![self];
        }
        let part = |_| {
            let id = new_life(&self.class.name);
            Self { id, lives: 1, at_once: 1, ..self.clone() }
        };
        (0..self.at_once).map(part).collect()
    }

    /// Whether workers are asked for, and not a driver.
    pub fn is_for_workers(&self) -> bool {
        self.class.name != DRIVER
    }

    /// The name of these jobs, the same for all that are started for a class of a run.
    pub fn name(&self) -> String {
        job_name(&self.label, &self.class.name)
    }
}

/// What the jobs of a class of the run with this [label](crate::store::SharedRun::label) are called. A queue has one
/// list of names for everyone, and others may have the same run in stores of their own.
pub fn job_name(label: &str, class: &str) -> String {
    format!("runner-{label}-{class}")
}

/// A name for a worker of a class, unlike all others.
pub fn new_life(class: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let seed = format!("{}/{}/{count}", crate::store::mark(), now.as_nanos());
    format!("{class}-{}", &blake3::hash(seed.as_bytes()).to_hex()[..12])
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

    /// What the queue has of this user's under each of these names; nothing of a queue that cannot be asked.
    ///
    /// # Errors
    /// Why it does not answer.
    fn look(&self, names: &[String]) -> Result<Option<Vec<JobCounts>>, String>;

    /// Whether the queue can be asked what it has.
    fn can_be_asked(&self) -> bool {
        true
    }

    /// Ends this user's jobs of these names; of a queue that cannot, none. Workers end by themselves as well, so this only spares
    /// the queue what would end in a moment.
    ///
    /// # Errors
    /// What the queue said.
    fn cancel(&self, names: &[String], reach: Which) -> Result<(), String>;

    /// How many lives an order may have at most, if the queue says.
    fn most_lives(&self) -> Option<u32> {
        None
    }

    /// Why an option of a class cannot be handed on to the queue, if so.
    fn refuses(&self, _option: &str) -> Option<String> {
        None
    }

    /// A key of a class that says nothing to the queue, of those that it `has`, and why.
    fn ignores(&self, _has: &dyn Fn(&str) -> bool) -> Option<(&'static str, String)> {
        None
    }

    /// Whether it keeps workers away from the machines that an order excludes.
    fn can_exclude(&self) -> bool;

    /// Whether it has an order's lives follow each other, [`Order::at_once`] of them at a time. Otherwise it starts all
    /// at once.
    fn replaces(&self) -> bool;
}
