//! Who runs tasks: threads of this process, one for each worker. A worker takes what the schedule has
//! ready, has it carried out and hands back what came of it; it decides nothing. Training uses the whole
//! machine from inside, so one worker is the default.
//!
//! A task that another process has is put aside, and the worker takes another one. A thread of its own watches
//! what was put aside, also while all workers compute, and makes it ready again once its lock is free or its
//! holder seems dead. Workers wait only when nothing else is ready.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use petgraph::graph::NodeIndex;

use super::events::Event;
use super::running::Running;
use super::schedule::{HeldTask, Next, TaskSchedule};
use super::sound::Sound;
use super::task::{Begun, Carried, Shared, carry_out};
use super::threads::{Division, Pools};
use super::{Done, End, Execution, Holdings, display_name};
use crate::digest::Fingerprint;
use crate::plan::graph::Plan;
use crate::store::WatchedTasks;

/// How soon a user who asks to stop is heard.
const HEARING: Duration = Duration::from_millis(100);

/// Brings every task of `plan` to an end and returns how each ended, by task number. `holdings` is what
/// the store has of it.
pub fn execute(plan: &Plan, execution: &Execution, holdings: &Holdings) -> Vec<Done> {
    let (sound, running) = (Sound::default(), Running::default());
    let &Execution { store, environment, reporter, cancel, workers, shares_failures, .. } =
        execution;
    let run = Run {
        plan,
        execution,
        shared: Shared {
            store,
            environment,
            reporter,
            cancel,
            running: &running,
            sound: &sound,
            workers,
            shares_failures,
            begun: execution.part.and_then(|part| part.begun),
        },
        state: Mutex::new(State {
            schedule: TaskSchedule::new(plan, execution, holdings),
            division: Division::new(execution.workers),
            busy: 0,
            idle_since: None,
        }),
        changed: Condvar::new(),
    };
    thread::scope(|scope| {
        if run.state().schedule.left() > 0 {
            scope.spawn(|| run.watch());
        }
        for _ in 1..execution.workers.min(run.state().schedule.left()) {
            scope.spawn(|| run.work());
        }
        run.work();
    });
    let state = run.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.schedule.into_done()
}

/// What the workers share.
struct Run<'a> {
    plan: &'a Plan,
    execution: &'a Execution<'a>,
    shared: Shared<'a>,
    state: Mutex<State<'a>>,
    /// A task ended.
    changed: Condvar,
}

/// What changes as workers go on.
struct State<'a> {
    schedule: TaskSchedule<'a>,
    division: Division,
    /// How many workers are at a task.
    busy: usize,
    /// Since when nothing was done but looking at what others are to build.
    idle_since: Option<Instant>,
}

/// The tasks that other processes have, or are to build.
fn watched(state: &mut State) -> WatchedTasks {
    let mut watched = WatchedTasks::default();
    for it in state.schedule.held() {
        let to = if it.is_left_to_others { &mut watched.artifacts } else { &mut watched.locks };
        to.push(it.fingerprint);
    }
    watched
}

impl<'a> Run<'a> {
    fn state(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes tasks until none is left.
    fn work(&self) {
        let mut pools = Pools::default();
        let mut state = self.state();
        while state.schedule.left() > 0 {
            let Some(step) = state.schedule.next() else {
                let untold = |it: &mut HeldTask| Some((it.task, it.holder.take()?));
                let whom: Vec<_> = state.schedule.held().filter_map(untold).collect();
                if !whom.is_empty() {
                    drop(state);
                    self.report_waiting(whom);
                    state = self.state();
                    continue;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let ready = state.schedule.ready();
            let share = state.division.take(ready);
            state.busy += 1;
            drop(state);
            let (task, carried) = match step {
                Next::Begin(task, begun) => {
                    (task, pools.install(share, || carry_out(&begun, &self.shared)))
                }
                Next::Over { task, done, silent } => {
                    if !silent {
                        self.report_skipped(task, &done.end);
                    }
                    (task, Carried::Ended(done))
                }
            };
            let goes_on = self.goes_on(task, &carried);
            state = self.state();
            state.busy -= 1;
            if !matches!(carried, Carried::LeftToOthers) {
                state.idle_since = None;
            }
            state.division.give(share);
            if !goes_on {
                state.schedule.refuse(task);
            }
            state.schedule.answer(task, carried);
            self.changed.notify_all();
        }
    }

    /// Until every task is over, passes on to those that run that the user asked to stop, and looks after those
    /// that other processes have.
    fn watch(&self) {
        let store = self.execution.store;
        let mut lookout = match self.execution.part {
            Some(part) if part.looks_often => store.frequent_lookout(),
            Some(_) | None => store.lookout(),
        };
        let mut next_look: Option<Instant> = None;
        let mut state = self.state();
        let mut left = state.schedule.left();
        while state.schedule.left() > 0 {
            if state.schedule.left() < left {
                left = state.schedule.left();
                lookout.reset();
            }
            let now = Instant::now();
            if let Some(part) = self.execution.part
                && state.busy == 0
                && state.schedule.ready() == 0
            {
                let waited = now - *state.idle_since.get_or_insert(now);
                // A worker that left sooner would never take over from a machine that died, nor would the next one.
                let knows =
                    |state: &mut State| waited >= store.time_to_judge(&watched(state).locks);
                let is_idle = part.idle.is_some_and(|limit| waited >= limit) && knows(&mut state);
                if is_idle || self.shared.begun.is_some_and(Begun::is_enough) {
                    part.leaves.store(true, Ordering::SeqCst);
                    self.execution.cancel.store(true, Ordering::SeqCst);
                }
            }
            if self.execution.cancel.load(Ordering::Relaxed) {
                self.shared.running.stop();
                self.release(&mut state, |_| true);
            }
            if state.schedule.held().len() == 0 {
                next_look = None;
            } else if *next_look.get_or_insert_with(|| now + lookout.pause()) <= now {
                next_look = None;
                let held = watched(&mut state);
                let standing = state.schedule.standing();
                drop(state);
                if let Some(part) = self.execution.part {
                    (part.standing)(self.plan, &standing);
                }
                let found = lookout.look(store, &held);
                state = self.state();
                match found {
                    Ok(free) => {
                        let free: HashSet<Fingerprint> = free.into_iter().collect();
                        self.release(&mut state, |it| free.contains(it));
                    }
                    // What is wrong with the store is the end of the task whose turn it is.
                    Err(_) => self.release(&mut state, |_| true),
                }
                continue;
            }
            let until = next_look.map_or(HEARING, |at| at - now);
            let waited = self.changed.wait_timeout(state, until.min(HEARING));
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes tasks ready again that other processes had.
    fn release(&self, state: &mut State, worth_a_try: impl Fn(&Fingerprint) -> bool) {
        state.schedule.release(worth_a_try);
        self.changed.notify_all();
    }

    /// Says for whom this process waits, of whom nothing was said yet.
    fn report_waiting(&self, whom: Vec<(NodeIndex, String)>) {
        for (task, holder) in whom {
            let name = display_name(self.plan, task);
            self.execution.reporter.event(&Event::Waiting { task: task.index(), name, holder });
        }
    }

    /// Whether more may begin now that a task is over.
    fn goes_on(&self, task: NodeIndex, carried: &Carried) -> bool {
        let Carried::Ended(Done { artifact: Some((_, folder)), .. }) = carried else { return true };
        (self.execution.goes_on)(task, folder)
    }

    fn report_skipped(&self, task: NodeIndex, end: &End) {
        if let End::Skipped { because } = end {
            let (name, because) = (display_name(self.plan, task), because.clone());
            self.execution.reporter.event(&Event::Skipped { task: task.index(), name, because });
        }
    }
}
