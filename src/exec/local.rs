//! Who runs tasks: threads of this process, one for each worker. A worker takes what the schedule has
//! ready, has it carried out and hands back what came of it; it decides nothing. Training uses the whole
//! machine from inside, so one worker is the default.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use petgraph::graph::NodeIndex;

use super::events::Event;
use super::schedule::{Next, TaskSchedule};
use super::sound::Sound;
use super::task::{Carried, Shared, carry_out};
use super::threads::{Division, Pools};
use super::{Done, End, Execution, Holdings, display_name};
use crate::plan::graph::Plan;

/// Brings every task of `plan` to an end and returns how each ended, by task number. `holdings` is what
/// the store has of it.
pub fn execute(plan: &Plan, execution: &Execution, holdings: &Holdings) -> Vec<Done> {
    let sound = Sound::default();
    let &Execution { store, environment, reporter, cancel, .. } = execution;
    let run = Run {
        plan,
        execution,
        shared: Shared { store, environment, reporter, cancel, sound: &sound },
        state: Mutex::new(State {
            schedule: TaskSchedule::new(plan, execution, holdings),
            division: Division::new(execution.workers),
        }),
        changed: Condvar::new(),
    };
    thread::scope(|scope| {
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
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let ready = state.schedule.ready();
            let share = state.division.take(ready);
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
            state.division.give(share);
            if !goes_on {
                state.schedule.refuse(task);
            }
            state.schedule.answer(task, carried);
            self.changed.notify_all();
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
