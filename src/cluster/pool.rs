//! Keeps as many workers coming as there is work for: asks the queue for more when there are too few, says what is in
//! the way, and ends what the run no longer needs. Builds nothing, and decides nothing by what a queue says of a job.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use petgraph::graph::NodeIndex;

use super::classes::WorkerClass;
use super::engine::{DRIVER, JobCounts, Order, Which, job_name};
use super::site::Site;
use super::widths::{Width, widths};
use crate::plan::graph::Plan;
use crate::store::{Claim, ENDED, Error, Holder, Lock, Ordered, SharedRun, Store};
use crate::system::as_typed;

/// So many workers that ended before they came to work are enough.
const FAILED_LIVES: usize = 3;

/// So many orders in a row that were refused, where machines are excluded, are enough.
const REFUSED_ORDERS: u32 = 3;

/// How many lines of a log are shown.
const SHOWN: usize = 10;

/// What a plan has for each class.
#[derive(Debug, Default)]
struct Wanted {
    /// How often it was told how the plan stands.
    looks: u64,
    /// The tasks that it was told of last.
    told: Vec<NodeIndex>,
    /// How often these were others than before.
    moves: u64,
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
    /// How many stages a worker builds side by side.
    pub jobs: u32,
    demand: Mutex<Wanted>,
    /// The workers that had come to work or had ended before this process began.
    earlier: HashSet<String>,
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
        jobs: u32,
        say: &'a (dyn Fn(String) + Sync),
    ) -> Self {
        // What cannot be read is found again when it is read next.
        let mut earlier = run.begun_lives().unwrap_or_default();
        earlier.extend(run.ended_lives().unwrap_or_default().into_keys());
        let (demand, is_done) = (Mutex::default(), AtomicBool::new(false));
        Self { site, store, run, order, say, jobs: jobs.max(1), demand, earlier, is_done }
    }

    /// The run needs no workers any more: those that were not started yet are to be taken back.
    pub fn finish(&self) {
        self.is_done.store(true, Ordering::SeqCst);
    }

    /// Takes in which tasks of a plan may begin or are in the hands of workers.
    pub fn wants(&self, plan: &Plan, tasks: &[NodeIndex]) {
        let mut demand = self.demand_of(plan);
        demand.looks += 1;
        if demand.told != tasks {
            demand.told = tasks.to_vec();
            demand.moves += 1;
        }
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

    /// How often what is ready or being built has changed.
    fn moves(&self) -> u64 {
        self.demand.lock().unwrap_or_else(PoisonError::into_inner).moves
    }

    /// How many workers of each class there is work for, and how many at most at a time.
    fn wanted(&self) -> Vec<(u32, u32)> {
        let demand = self.demand.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |class: &WorkerClass| {
            let width = demand.widths.get(&class.name).map_or(0, |width| width.at_once);
            let ready = demand.ready.get(&class.name).copied().unwrap_or(0);
            let (width, ready) = (width.div_ceil(self.jobs), ready.div_ceil(self.jobs));
            (ready.min(class.at_once), width.min(class.at_once))
        };
        self.site.classes.iter().map(of).collect()
    }

    /// The names of its jobs, a class each.
    fn names(&self) -> Vec<String> {
        names_of(&self.run.label(), self.site)
    }

    /// Sees to the workers until `is_over`, and in the end takes back those that were not started yet.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn tend(&self, is_over: &AtomicBool) -> Result<Closed, Error> {
        let mut tending = Tending::new(self);
        let mut failing: Option<Instant> = None;
        let closed = loop {
            if is_over.load(Ordering::SeqCst) {
                break Closed::Over;
            }
            if self.run.stop().is_some() {
                break Closed::Stopped;
            }
            match tending.turn() {
                Ok(Some(said)) => break Closed::Useless(said),
                Ok(None) => failing = None,
                // A file system that others use may have had a moment of its own.
                Err(error) => {
                    let since = *failing.get_or_insert_with(Instant::now);
                    if since.elapsed() > self.store.patience().limit {
                        return Err(error);
                    }
                }
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
    /// How many in a row were refused since.
    refused: u32,
    /// Nothing is asked for before.
    next_order: Instant,
    /// What the pool had counted of moves when the plan moved last, and when that was.
    moved: (u64, Instant),
    /// The workers that had come or ended by then.
    known: HashSet<String>,
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
            refused: 0,
            next_order: now,
            moved: (0, now),
            known: pool.earlier.clone(),
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
                    self.take_site()?;
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

    /// Has the workers of the run go by the site of this process from now on. What the queue has not started yet of
    /// another site, or of an older text of this one, is taken back: it asks for what nobody wants any more.
    fn take_site(&self) -> Result<(), Error> {
        let pool = self.pool;
        let before = pool.run.site()?.filter(|text| *text != pool.site.text);
        if let Some(before) = before.and_then(|text| Site::parse("site", &text).ok()) {
            // What is not taken back leaves as soon as it starts.
            let names = names_of(&pool.run.label(), &before);
            let _ = before.engine.cancel(&names, Which::Pending);
        }
        pool.run.put_site(&pool.site.text)
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
        let unfit = self.pool.run.excluded()?;
        let new: Vec<_> = unfit.into_iter().filter(|it| !self.exclude.contains(&it.0)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for (node, own) in new {
            self.say("unfit", format!("{node} computes by `{own}`: it gets no more workers"));
            self.exclude.insert(node);
        }
        // What is still to start would start there, and leave at once.
        if self.pool.site.engine.replaces() && self.pool.site.engine.can_exclude() {
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
                format!(
                    "the queue does not answer and is asked again: workers go on without it, and no more are asked for \
                     until it does: {said}"
                ),
            ),
        }
        Ok(())
    }

    /// Of a queue that cannot be asked: who was asked for, by whichever driver, and has not come and gone.
    fn count_lives(&mut self) -> Result<(), Error> {
        let (orders, living) = (self.pool.run.orders()?, self.living()?);
        let mut there = self.pool.run.begun_lives()?;
        there.extend(self.pool.run.ended_lives()?.into_keys());
        let has_come: Vec<u32> = orders.iter().map(|order| count_of(order, &there)).collect();
        let mut late = BTreeMap::new();
        for (class, standing) in self.pool.site.classes.iter().zip(&mut self.standing) {
            let of_class = |life: &&String| class_of_life(life, &orders) == Some(&*class.name);
            let running = u32::try_from(living.iter().filter(of_class).count()).unwrap_or(u32::MAX);
            let (mut pending, mut is_late) = (0, false);
            for (order, come) in orders.iter().zip(&has_come) {
                if order.class != class.name {
                    continue;
                }
                pending += order.lives.saturating_sub(*come);
                is_late |= *come == 0 && order.age > self.pool.store.patience().limit * 2;
            }
            if is_late {
                late.insert(&class.name, pending);
            }
            standing.queue = Some(JobCounts { pending, running, ..JobCounts::default() });
            standing.since = 0;
        }
        if late.is_empty() {
            return Ok(());
        }
        let late: Vec<String> = late
            .iter()
            .map(|(class, count)| format!("{} of class `{class}`", counted(*count)))
            .collect();
        let store = self.pool.store.root();
        let store = std::path::absolute(store).unwrap_or_else(|_| store.to_owned());
        let stop =
            ["runner", "stop", &self.pool.run.id, "--now", "--store", &store.display().to_string()];
        self.say(
            "late",
            format!(
                "{} were asked for and have not come, nor left a mark in {}: the queue may be busy, or they end before the \
                 first line of their script; `{}` takes back and forgets them, and the same command asks anew",
                late.join(", "),
                self.pool.order.logs.display(),
                as_typed(&stop.map(str::to_owned))
            ),
        );
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
        let pool = self.pool;
        let engine = &pool.site.engine;
        if Instant::now() < self.next_order {
            return Ok(());
        }
        for (at, (wanted, most)) in pool.wanted().into_iter().enumerate() {
            let class = &pool.site.classes[at];
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
            let order = Order { exclude, ..pool.order.of_class(engine.as_ref(), class, at_once) };
            let (lives, at_once) = self.order(at, &order)?;
            if lives > 0 {
                (pool.say)(format!(
                    "asked for {} of class `{}`, {at_once} at a time",
                    counted(lives),
                    class.name
                ));
            }
        }
        Ok(())
    }

    /// Gives an order for the class at this place. Returns how many workers the queue has taken it for, and how many at a
    /// time.
    fn order(&mut self, at: usize, order: &Order) -> Result<(u32, u32), Error> {
        let pool = self.pool;
        let engine = pool.site.engine.as_ref();
        let class = &order.class.name;
        let mut taken = (0, 0);
        for part in order.clone().parts(engine) {
            // Before it is given: this process may end in the next moment.
            if !engine.can_be_asked() {
                pool.run.note_order(&part.id, class, part.lives)?;
            }
            match engine.submit(&part) {
                Ok(()) => {
                    self.refused = 0;
                    let standing = &mut self.standing[at];
                    standing.since += part.at_once;
                    standing.ordered += part.lives;
                    taken = (taken.0 + part.lives, taken.1 + part.at_once);
                }
                Err(said) => {
                    pool.run.forget_order(&part.id)?;
                    // It may have come through all the same: the queue is asked before the next try.
                    self.standing[at].queue = None;
                    let limit = pool.store.patience().limit;
                    let pause = match self.refused {
                        0 => limit / 6,
                        1 => limit / 2,
                        _ => limit,
                    };
                    self.next_order = Instant::now() + pause;
                    self.refused += 1;
                    let text = format!(
                        "the queue took no order for workers of class `{class}`, as far as it says, and is asked again: \
                         {said}"
                    );
                    self.say("order", text);
                    break;
                }
            }
        }
        self.orders += u32::from(taken.0 > 0);
        Ok(taken)
    }

    /// What to say of workers that are of no use, if there are too many of them and no others.
    fn useless(&mut self) -> Result<Option<String>, Error> {
        let pool = self.pool;
        let has_workers = !pool.store.workers(pool.run)?.is_empty();
        let excluded = || self.exclude.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        if !has_workers && !self.exclude.is_empty() && !pool.site.engine.can_exclude() {
            return Ok(Some(format!(
                "the queue starts workers where they are of no use: {} computes by another backend than the run is for; \
                 have it use other machines, or give the site their `backend`",
                excluded()
            )));
        }
        if !has_workers && !self.exclude.is_empty() && self.refused >= REFUSED_ORDERS {
            return Ok(Some(format!(
                "no worker is left, and the queue takes no order without these machines, which compute by another backend \
                 than the run is for: {}; the last thing it said: {}",
                excluded(),
                self.said.get("order").map_or("", String::as_str)
            )));
        }
        let (mut ended, mut begun) = (pool.run.ended_lives()?, pool.run.begun_lives()?);
        if pool.moves() != self.moved.0 {
            // Whatever became of some, others build.
            self.moved = (pool.moves(), Instant::now());
            self.known.extend(ended.keys().cloned());
            self.known.extend(begun.iter().cloned());
        }
        ended.retain(|life, _| !self.known.contains(life));
        begun.retain(|life| !self.known.contains(life) && !ended.contains_key(life));
        let Some((life, error)) =
            ended.iter().max_by_key(|(life, error)| (!error.is_empty(), *life))
        else {
            return self.idling(&begun, has_workers);
        };
        let (count, enough) = (ended.len(), ended.len() >= FAILED_LIVES && !has_workers);
        let (log, end) = self.log_of(life);
        let text = match (error.is_empty(), enough) {
            (true, false) => {
                format!("a worker ended before it came to work; its log {log} ends:\n{end}")
            }
            (true, true) => format!(
                "{count} workers ended before they came to work, and no others are there; the log {log} ends:\n{end}"
            ),
            (false, false) => format!("a worker ended with an error: {error}"),
            (false, true) => format!(
                "{count} workers ended with an error or before they came to work, and no others are there; one said: \
                 {error}\nand its log {log} ends:\n{end}"
            ),
        };
        if enough {
            return Ok(Some(text));
        }
        self.say("silent", text);
        Ok(None)
    }

    /// What to say where workers come and leave, none of these begins anything, and so nothing changes.
    fn idling(
        &mut self,
        begun: &HashSet<String>,
        has_workers: bool,
    ) -> Result<Option<String>, Error> {
        let pool = self.pool;
        if has_workers || self.moved.1.elapsed() < pool.store.patience().limit {
            return Ok(None);
        }
        let (mut idle, mut last) = (0, None);
        for life in begun {
            let why = pool.run.why_idle(life)?;
            if !why.is_empty() {
                (idle, last) = (idle + 1, Some((life, why)));
            }
        }
        let Some((life, why)) = last.filter(|_| idle >= FAILED_LIVES) else { return Ok(None) };
        if pool.store.holders()?.iter().any(|holder| !holder.dead) {
            // Somebody of another run may be at it, for long.
            self.next_order = Instant::now() + pool.store.patience().limit;
            return Ok(None);
        }
        let (log, end) = self.log_of(life);
        Ok(Some(format!(
            "{idle} workers came and left without having begun anything, and something is left that this process waits for: \
             one said that {why}; its log {log} ends:\n{end}"
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
        let mut there = pool.run.begun_lives()?;
        there.extend(pool.run.ended_lives()?.into_keys());
        let is_here = there.iter().any(|life| !pool.earlier.contains(life));
        if gone < FAILED_LIVES as u32 || is_here {
            return Ok(None);
        }
        Ok(Some(format!(
            "{gone} workers have left the queue, came not to work and left no mark in {}: either they were cancelled there, or \
             the machines of the queue do not see the store and the folder {} at these paths; `--store` names a store \
             elsewhere",
            pool.order.logs.display(),
            pool.order.folder.display()
        )))
    }

    /// The log of a worker and its last lines: the one that is called as it, or where the queue gives them names of its
    /// own the newest of all.
    fn log_of(&self, life: &str) -> (String, String) {
        let logs = &self.pool.order.logs;
        let own = logs.join(format!("{life}.log"));
        let log = if own.is_file() { Some(own) } else { newest_log(logs) };
        match log {
            Some(log) => (log.display().to_string(), end_of(&log)),
            None => (format!("in {}", logs.display()), "    (there is none)".to_owned()),
        }
    }

    /// Takes back the workers that were not started yet, and drivers in the queue.
    fn take_back(&mut self, closed: &Closed) {
        // Those of a run that goes on without this process are still wanted.
        if *closed == Closed::Over && !self.pool.is_done.load(Ordering::SeqCst) {
            return;
        }
        let mut names = self.names.clone();
        names.push(job_name(&self.pool.run.label(), DRIVER));
        if let Err(said) = self.pool.site.engine.cancel(&names, Which::Pending) {
            let text =
                format!("the queue does not take workers back, which end by themselves: {said}");
            self.say("queue", text);
        }
    }
}

/// What the jobs of the classes of a site are called.
pub fn names_of(label: &str, site: &Site) -> Vec<String> {
    site.classes.iter().map(|class| job_name(label, &class.name)).collect()
}

/// How many of these lives are of an order.
fn count_of(order: &Ordered, lives: &HashSet<String>) -> u32 {
    if order.lives == 1 && lives.contains(&order.id) {
        return 1;
    }
    let count = lives.iter().filter(|life| is_of(life, order)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Whether a worker is of an order.
fn is_of(life: &str, order: &Ordered) -> bool {
    life.strip_prefix(&order.id).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The class of a worker. One that was started by hand has the name of its class and a word ([`new_life`](super::new_life)).
fn class_of_life<'a>(life: &'a str, orders: &'a [Ordered]) -> Option<&'a str> {
    let order = orders.iter().find(|order| is_of(life, order));
    order.map(|order| &*order.class).or_else(|| life.rsplit_once('-').map(|(class, _)| class))
}

/// The newest of the logs of workers in a folder.
fn newest_log(folder: &Path) -> Option<PathBuf> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten();
    let logs = all.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_driver = name.starts_with(&format!("{DRIVER}."));
        !name.starts_with('.') && !name.ends_with(".sh") && !name.ends_with(ENDED) && !is_driver
    });
    logs.max_by_key(|entry| entry.metadata().and_then(|it| it.modified()).ok()).map(|it| it.path())
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
fn end_of(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_else(|error| error.to_string());
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN)..];
    if shown.is_empty() {
        return "    (it is empty)".to_owned();
    }
    shown.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_worker_is_of_the_order_and_the_class_whose_names_it_has_whole() {
        let order = |id: &str, class: &str, lives| {
            let (id, class) = (id.to_owned(), class.to_owned());
            Ordered { id, class, lives, age: Duration::ZERO }
        };
        let orders = [order("cpu-00", "cpu", 1), order("cpu-big-00", "cpu-big", 3)];
        let lives = ["cpu-00", "cpu-000", "cpu-big-00-node1-7", "cpu-big-00-node2-7", "cpu-big-11"];
        let set: HashSet<String> = lives.iter().map(|it| (*it).to_owned()).collect();
        let counts: Vec<u32> = orders.iter().map(|order| count_of(order, &set)).collect();
        assert_eq!(counts, [1, 2]);
        let classes: Vec<&str> =
            lives.iter().map(|life| class_of_life(life, &orders).unwrap()).collect();
        assert_eq!(classes, ["cpu", "cpu", "cpu-big", "cpu-big", "cpu-big"], "by hand as well");
    }
}
