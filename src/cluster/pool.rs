//! Keeps as many workers coming as there is work for: asks the queue for more when there are too few, says what is in
//! the way, and ends what the run no longer needs. Builds nothing, and decides nothing by what a queue says of a job.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::mem;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Instant, SystemTime};

use petgraph::graph::NodeIndex;

use super::classes::WorkerClass;
use super::engine::{DRIVER, JobCounts, Order, Which, job_name};
use super::site::Site;
use super::widths::{Width, widths};
use crate::plan::graph::Plan;
use crate::store::{Claim, Error, Holder, Lock, SharedRun, Store};

/// So many workers that ended before they came to work are enough.
const FAILED_LIVES: usize = 3;

/// How many lines of a log are shown.
const SHOWN: usize = 10;

/// What a plan has for each class.
#[derive(Debug, Default)]
struct Wanted {
    /// How often it was told how the plan stands.
    looks: u64,
    /// Tasks of the plan when the widths were worked out.
    tasks: usize,
    widths: BTreeMap<String, Width>,
    /// How many tasks may begin or are in the hands of workers.
    ready: BTreeMap<String, u32>,
}

/// The workers of a run, as a queue starts them.
pub struct WorkerPool<'a> {
    /// Where they come from.
    pub site: &'a Site,
    /// The store of the run.
    pub store: &'a Store,
    /// The run.
    pub run: &'a SharedRun,
    /// What an order has in common with all others; its class, lives and machines differ.
    pub order: Order,
    /// Told what there is to say.
    pub say: &'a (dyn Fn(String) + Sync),
    demand: Mutex<Wanted>,
    /// Logs that were there before this process asked for workers: those of an earlier driver's.
    earlier: HashSet<PathBuf>,
    /// The workers that had come to work before.
    earlier_lives: HashSet<String>,
    /// Set once the run needs no workers any more.
    is_done: AtomicBool,
}

/// Why nobody asks for workers any more.
#[derive(Debug, PartialEq, Eq)]
pub enum Closed {
    /// The caller has no need of it.
    Over,
    /// The run was stopped.
    Stopped,
    /// Workers end before they come to work: what there is to say of them.
    Useless(String),
}

/// What is known of the workers of a class.
#[derive(Debug, Default)]
struct ClassWorkers {
    /// What the queue said last, and what was asked of it since; nothing before it was asked.
    queue: Option<JobCounts>,
    /// How many workers were asked for since then.
    since: u32,
    /// How many of those that the queue has started have stopped giving signs of life: their machine is dead or stands
    /// still, whatever the queue says.
    silent: u32,
    /// How many were asked for in all, but for those that were taken back.
    ordered: u32,
}

impl<'a> WorkerPool<'a> {
    /// That of a run. `order` says what its orders have in common.
    pub fn new(
        (site, store, run): (&'a Site, &'a Store, &'a SharedRun),
        order: Order,
        say: &'a (dyn Fn(String) + Sync),
    ) -> Self {
        let logs = fs::read_dir(&order.logs).into_iter().flatten().flatten();
        let earlier = logs.map(|it| it.path()).collect();
        // What cannot be read is found again when it is read next.
        let earlier_lives = run.begun_lives().unwrap_or_default();
        let (demand, is_done) = (Mutex::default(), AtomicBool::new(false));
        Self { site, store, run, order, say, demand, earlier, earlier_lives, is_done }
    }

    /// The run needs no workers any more: those that were not started yet are to be taken back.
    pub fn finish(&self) {
        self.is_done.store(true, Ordering::SeqCst);
    }

    /// Takes in which tasks of a plan may begin or are in the hands of workers.
    pub fn wants(&self, plan: &Plan, tasks: &[NodeIndex]) {
        let mut demand = self.demand_of(plan);
        demand.looks += 1;
        demand.ready.clear();
        for task in tasks {
            if let Ok(class) = self.site.class_of(&plan.graph[*task]) {
                *demand.ready.entry(class.name.clone()).or_default() += 1;
            }
        }
    }

    /// Takes in a plan of which it is not known yet how far it has come: as many workers as could ever have work.
    pub fn wants_all(&self, plan: &Plan) {
        let mut demand = self.demand_of(plan);
        let all = demand.widths.iter();
        demand.ready = all.map(|(class, width)| (class.clone(), width.at_once)).collect();
    }

    /// What `plan` has for each class, worked out once.
    fn demand_of(&self, plan: &Plan) -> MutexGuard<'_, Wanted> {
        let mut demand = self.demand.lock().unwrap_or_else(PoisonError::into_inner);
        if demand.tasks != plan.graph.node_count() {
            // A task without a class was refused before anything began.
            demand.widths = widths(self.site, plan, |_| true).unwrap_or_default();
            demand.tasks = plan.graph.node_count();
        }
        demand
    }

    /// How often it was told how the plan stands.
    fn looks(&self) -> u64 {
        self.demand.lock().unwrap_or_else(PoisonError::into_inner).looks
    }

    /// How many workers of each class there is work for, and how many at most at a time.
    fn wanted(&self) -> Vec<(u32, u32)> {
        let demand = self.demand.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |class: &WorkerClass| {
            let width = demand.widths.get(&class.name).map_or(0, |width| width.at_once);
            let ready = demand.ready.get(&class.name).copied().unwrap_or(0);
            (ready.min(class.at_once), width.min(class.at_once))
        };
        self.site.classes.iter().map(of).collect()
    }

    /// The names of its jobs, a class each.
    fn names(&self) -> Vec<String> {
        let name = |class: &WorkerClass| job_name(&self.run.id, &class.name);
        self.site.classes.iter().map(name).collect()
    }

    /// Sees to the workers until `is_over`, and in the end takes back those that were not started yet.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn tend(&self, is_over: &AtomicBool) -> Result<Closed, Error> {
        let mut tending = Tending::new(self);
        let closed = loop {
            if is_over.load(Ordering::SeqCst) {
                break Closed::Over;
            }
            if self.run.stop().is_some() {
                break Closed::Stopped;
            }
            if let Some(said) = tending.turn()? {
                break Closed::Useless(said);
            }
            thread::sleep(self.store.patience().limit / 60);
        };
        if tending.lock.is_some() {
            tending.take_back(&closed);
        }
        Ok(closed)
    }
}

/// A pool at work.
struct Tending<'a> {
    pool: &'a WorkerPool<'a>,
    names: Vec<String>,
    standing: Vec<ClassWorkers>,
    /// Held while this process asks for workers; another one may.
    lock: Option<Lock>,
    next_try: Instant,
    /// Nothing is asked for before so many looks at the store: what another process saw to may be over.
    not_before: u64,
    next_look: Instant,
    next_count: Instant,
    /// What was said already.
    said: BTreeMap<&'static str, String>,
    /// Machines that are of no use.
    exclude: BTreeSet<String>,
    /// How many orders for workers of this run were taken from this process.
    orders: u32,
}

impl<'a> Tending<'a> {
    fn new(pool: &'a WorkerPool<'a>) -> Self {
        let (names, now) = (pool.names(), Instant::now());
        Self {
            pool,
            standing: names.iter().map(|_| ClassWorkers::default()).collect(),
            names,
            lock: None,
            next_try: now,
            not_before: 0,
            next_look: now,
            next_count: now,
            said: BTreeMap::new(),
            exclude: BTreeSet::new(),
            orders: 0,
        }
    }

    /// Says something unless it was the last thing said about this.
    fn say(&mut self, about: &'static str, text: String) {
        if self.said.get(about) != Some(&text) {
            (self.pool.say)(text.clone());
            self.said.insert(about, text);
        }
    }

    /// Looks once at everything that is due. Returns why there is no use in going on, if so.
    fn turn(&mut self) -> Result<Option<String>, Error> {
        let (pool, now) = (self.pool, Instant::now());
        let limit = pool.store.patience().limit;
        if self.lock.is_none() && now >= self.next_try {
            self.next_try = now + limit / 12;
            match pool.store.drive(pool.run)? {
                Claim::Mine(lock) => {
                    self.lock = Some(lock);
                    if self.said.remove("driver").is_some() {
                        self.not_before = pool.looks() + 2;
                    }
                }
                Claim::Held(holder) => {
                    let text =
                        format!("{holder} asks for the workers of this run: this one only watches");
                    self.say("driver", text);
                }
            }
        }
        if self.lock.as_ref().is_some_and(Lock::is_lost) {
            self.lock = None;
        }
        if now >= self.next_count {
            self.next_count = now + limit / 12;
            self.count()?;
            if self.lock.is_some() {
                self.count_silent()?;
                self.exclude_unfit()?;
                if let Some(said) = self.useless()? {
                    return Ok(Some(said));
                }
            }
        }
        if self.lock.is_none() {
            return Ok(None);
        }
        if now >= self.next_look && pool.looks() >= self.not_before {
            self.look()?;
            // A worker that has left may have built what seemed to be left when it was counted.
            self.not_before = match pool.looks() {
                0 => 0,
                looks => looks + 2,
            };
            self.count()?;
            if let Some(said) = self.without_a_trace()? {
                // A queue that was restarted may have forgotten an order.
                if self.orders > 1 {
                    return Ok(Some(said));
                }
                self.say("silent", said);
            }
        }
        if pool.looks() >= self.not_before {
            self.order_more()?;
        }
        Ok(None)
    }

    /// Says how many workers are there.
    fn count(&mut self) -> Result<(), Error> {
        let workers = self.pool.store.workers(self.pool.run)?.len();
        let pending: Vec<String> = self
            .standing
            .iter()
            .flat_map(|it| it.queue.iter())
            .flat_map(|queue| &queue.reasons)
            .map(|(reason, count)| format!(", {count} not started ({reason})"))
            .collect();
        let noun = if workers == 1 { "worker" } else { "workers" };
        self.say("count", format!("{workers} {noun} at work{}", pending.concat()));
        Ok(())
    }

    /// Leaves out machines that workers found to be of no use.
    fn exclude_unfit(&mut self) -> Result<(), Error> {
        let unfit = self.pool.run.unfit()?;
        let new: Vec<_> = unfit.into_iter().filter(|it| !self.exclude.contains(&it.0)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for (node, own) in new {
            self.say("unfit", format!("{node} computes by `{own}`: it gets no more workers"));
            self.exclude.insert(node);
        }
        // What is still to start would start there, and leave at once.
        if self.pool.site.engine.replaces() {
            match self.pool.site.engine.cancel(&self.names, Which::Pending) {
                Ok(()) => self.standing.iter_mut().for_each(|it| {
                    let pending = it.queue.as_mut().map_or(0, |it| mem::take(&mut it.pending));
                    it.ordered = it.ordered.saturating_sub(pending + mem::take(&mut it.since));
                }),
                Err(said) => {
                    self.say("queue", format!("the queue does not take workers back: {said}"));
                }
            }
        }
        Ok(())
    }

    /// Asks the queue what it has.
    fn look(&mut self) -> Result<(), Error> {
        let limit = self.pool.store.patience().limit;
        self.next_look = Instant::now() + limit;
        match self.pool.site.engine.look(&self.names) {
            Ok(Some(queues)) => {
                for (standing, queue) in self.standing.iter_mut().zip(queues) {
                    *standing = ClassWorkers { queue: Some(queue), since: 0, ..*standing };
                }
                self.said.remove("queue");
            }
            Ok(None) => {
                // That takes no more than a look at the store.
                self.next_look = Instant::now() + limit / 12;
                self.count_lives()?;
            }
            Err(said) => self.say(
                "queue",
                format!("the queue does not answer, and is asked again in a minute; workers do not need it: {said}"),
            ),
        }
        Ok(())
    }

    /// Of a queue that cannot be asked: who was asked for, and has not come and gone.
    fn count_lives(&mut self) -> Result<(), Error> {
        let (begun, living) = (self.pool.run.begun_lives()?, self.living()?);
        for (class, standing) in self.pool.site.classes.iter().zip(&mut self.standing) {
            let of_class = |life: &&String| life.starts_with(&format!("{}-", class.name));
            let running = u32::try_from(living.iter().filter(of_class).count()).unwrap_or(u32::MAX);
            let begun = u32::try_from(begun.iter().filter(of_class).count()).unwrap_or(u32::MAX);
            let coming = standing.ordered.saturating_sub(begun);
            standing.queue = Some(JobCounts { pending: coming, running, ..JobCounts::default() });
            standing.since = 0;
        }
        Ok(())
    }

    /// The lives of the workers that give signs.
    fn living(&self) -> Result<HashSet<String>, Error> {
        let workers = self.pool.store.workers(self.pool.run)?;
        Ok(workers.iter().filter_map(life_of).collect())
    }

    /// Counts those that the queue has started and that give no more signs of life.
    fn count_silent(&mut self) -> Result<(), Error> {
        let silent: HashSet<String> =
            self.pool.store.silent_workers(self.pool.run)?.iter().filter_map(life_of).collect();
        let living = self.living()?;
        for standing in &mut self.standing {
            let lives = standing.queue.iter().flat_map(|queue| &queue.lives);
            let count =
                lives.filter(|life| silent.contains(*life) && !living.contains(*life)).count();
            standing.silent = u32::try_from(count).unwrap_or(u32::MAX);
        }
        Ok(())
    }

    /// Asks for workers where there is work and there are too few.
    fn order_more(&mut self) -> Result<(), Error> {
        let engine = &self.pool.site.engine;
        for (at, (wanted, most)) in self.pool.wanted().into_iter().enumerate() {
            let class = &self.pool.site.classes[at];
            let ClassWorkers { queue: Some(queue), since, silent, .. } = &self.standing[at] else {
                continue;
            };
            let coming = queue.pending + since;
            let at_work = queue.running.saturating_sub(*silent);
            let array_lives = engine.replaces();
            // While some lives of an order are to follow, they do; but none follows one that the queue takes for alive.
            let missing = match array_lives && coming > 0 {
                true => wanted.saturating_sub(at_work + since).min(*silent),
                false => wanted.saturating_sub(at_work + coming),
            };
            if missing == 0 {
                continue;
            }
            let at_once = match array_lives && coming == 0 && *silent == 0 {
                true => most.max(wanted) - at_work,
                false => missing,
            };
            let exclude = self.exclude.iter().cloned().collect();
            let order =
                Order { exclude, ..self.pool.order.of_class(engine.as_ref(), class, at_once) };
            match engine.submit(&order) {
                Ok(()) => {
                    self.orders += 1;
                    let standing = &mut self.standing[at];
                    standing.since += order.at_once;
                    standing.ordered += order.lives;
                    (self.pool.say)(format!(
                        "asked for {} of class `{}`, {} at a time",
                        counted(order.lives),
                        class.name,
                        order.at_once
                    ));
                }
                Err(said) => {
                    // It may have come through all the same: the queue is asked before the next try.
                    self.standing[at].queue = None;
                    let text = format!(
                        "the queue took no order for workers of class `{}`, as far as it says; it is asked again in a \
                         minute: {said}",
                        class.name
                    );
                    self.say("order", text);
                }
            }
        }
        Ok(())
    }

    /// What to say of workers that are of no use, if there are too many of them and no others.
    fn useless(&mut self) -> Result<Option<String>, Error> {
        if self.orders == 0 {
            return Ok(None);
        }
        let has_workers = !self.pool.store.workers(self.pool.run)?.is_empty();
        if !has_workers && !self.exclude.is_empty() && !self.pool.site.engine.can_exclude() {
            let nodes: Vec<&str> = self.exclude.iter().map(String::as_str).collect();
            return Ok(Some(format!(
                "the queue starts workers where they are of no use: {} computes by another backend than the run is for; \
                 have it use other machines, or give the site their `backend`",
                nodes.join(", ")
            )));
        }
        let (ended, log) = self.ended_early()?;
        let Some(log) = log else { return Ok(None) };
        let end = end_of(&log);
        let log = log.display();
        if ended < FAILED_LIVES || has_workers {
            let text = format!("a worker ended before it came to work; its log {log} ends:\n{end}");
            self.say("silent", text);
            return Ok(None);
        }
        Ok(Some(format!(
            "{ended} workers ended before they came to work, and no others are there; the newest log {log} ends:\n{end}"
        )))
    }

    /// What to say where all workers that were asked for have ended, and none has come to work or left a log.
    fn without_a_trace(&self) -> Result<Option<String>, Error> {
        let pool = self.pool;
        let gone = |it: &ClassWorkers| {
            let queue = it.queue.as_ref().filter(|_| it.since == 0)?;
            Some(it.ordered.saturating_sub(queue.pending + queue.running))
        };
        let gone: u32 = self.standing.iter().filter_map(gone).sum();
        let begun = pool.run.begun_lives()?;
        let has_begun = begun.iter().any(|life| !pool.earlier_lives.contains(life));
        if gone < FAILED_LIVES as u32 || has_begun || self.new_logs().next().is_some() {
            return Ok(None);
        }
        Ok(Some(format!(
            "workers end before they come to work, and leave no log in {}: the machines of the queue must see the store \
             and the folder {} at these paths; `--store` names a store elsewhere",
            pool.order.logs.display(),
            pool.order.folder.display()
        )))
    }

    /// The logs of workers that this process has asked for.
    fn new_logs(&self) -> impl Iterator<Item = fs::DirEntry> {
        let pool = self.pool;
        let all = fs::read_dir(&pool.order.logs).into_iter().flatten().flatten();
        all.filter(|entry| !pool.earlier.contains(&entry.path()))
    }

    /// How many workers have ended, as far as that is certain, of those that did not come to work; and the newest log of
    /// them. A log alone does not say that its worker has ended: it may be setting up.
    fn ended_early(&self) -> Result<(usize, Option<PathBuf>), Error> {
        let pool = self.pool;
        let (folder, begun) = (&pool.order.logs, pool.run.begun_lives()?);
        let now = crate::system::now_in(folder).unwrap_or_else(|_| SystemTime::now());
        let (mut silent, mut stands_still) = (Vec::new(), 0);
        for entry in self.new_logs() {
            let path = entry.path();
            let life = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".log"));
            if life.is_none_or(|life| begun.contains(life)) {
                continue;
            }
            let Ok(found) = entry.metadata() else { continue };
            let moved = found.modified().unwrap_or(now);
            let still = now.duration_since(moved).unwrap_or_default();
            if found.len() > 0 && still >= pool.store.patience().limit / 2 {
                stands_still += 1;
            }
            silent.push((moved, path));
        }
        silent.sort();
        // More than there are at a time cannot all be alive.
        let most: u32 = pool.site.classes.iter().map(|class| class.at_once).sum();
        let ended = silent.len().saturating_sub(most as usize).max(stands_still);
        let log = silent.pop().map(|it| it.1).filter(|_| ended > 0);
        Ok((ended, log))
    }

    /// Takes back the workers that were not started yet, and drivers in the queue.
    fn take_back(&mut self, closed: &Closed) {
        // Those of a run that goes on without this process are still wanted.
        if *closed == Closed::Over && !self.pool.is_done.load(Ordering::SeqCst) {
            return;
        }
        let mut names = self.names.clone();
        names.push(job_name(&self.pool.run.id, DRIVER));
        if let Err(said) = self.pool.site.engine.cancel(&names, Which::Pending) {
            let text =
                format!("the queue does not take workers back, which end by themselves: {said}");
            self.say("queue", text);
        }
    }
}

/// What a queue calls a worker.
fn life_of(worker: &Holder) -> Option<String> {
    worker.what.rsplit_once(", life ").map(|it| it.1.to_owned())
}

/// `1 worker`, `64 workers`.
fn counted(workers: u32) -> String {
    if workers == 1 { "1 worker".to_owned() } else { format!("{workers} workers") }
}

/// The last lines of a log.
fn end_of(log: &std::path::Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_else(|error| error.to_string());
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN)..];
    if shown.is_empty() {
        return "    (it is empty)".to_owned();
    }
    shown.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
