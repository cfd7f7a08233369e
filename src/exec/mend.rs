//! Looks, before results are written, at what they are written from: every such byte of the artifacts is
//! compared with their manifests, and what is damaged or gone is built again, as inputs of stages are.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use petgraph::graph::NodeIndex;
use rayon::prelude::*;

use super::events::TaskProgress;
use super::{Done, End, Event, Executor, Job, Limit, Reporter, display_name};
use crate::plan::fingerprint::Fingerprint;
use crate::plan::graph::Plan;
use crate::progress::Progress as _;
use crate::stages::Halt;
use crate::store::{Checked, Found, Store};

/// How the tasks of `plan` ended, those among `done` being built again whose artifact lacks bytes of a
/// file that `wanted` takes.
pub fn mend(
    executor: &dyn Executor,
    plan: &Plan,
    job: &Job,
    mut done: Vec<Done>,
    wanted: impl Fn(&str) -> bool + Sync,
) -> Vec<Done> {
    let tasks: Vec<usize> =
        (0..done.len()).into_par_iter().filter(|task| !is_sound(&done[*task], &wanted)).collect();
    if tasks.is_empty() {
        return done;
    }
    for task in &tasks {
        match make_room(plan, job, &mut done[*task], *task) {
            // What was interrupted here is interrupted again below, as a task.
            Ok(()) | Err(Halt::Interrupted | Halt::Paused { .. }) => {}
            Err(Halt::Failed(failure)) => {
                done[*task].end = End::Failed(failure);
                done[*task].artifact = None;
            }
        }
    }
    // Whatever has no result stays as it is.
    let without = plan.graph.node_indices().filter(|task| done[task.index()].artifact.is_none());
    let limits: HashMap<_, _> = without.map(|task| (task, Limit::Stay)).collect();
    let reporter = Again { behind: job.reporter, tasks: tasks.iter().copied().collect() };
    let again = executor.execute(plan, &Job { limits: &limits, reporter: &reporter, ..*job });
    done.into_iter().zip(again).map(|(before, now)| merged(before, now)).collect()
}

/// Whether results can be written from what a task left.
fn is_sound(done: &Done, wanted: impl Fn(&str) -> bool) -> bool {
    let Some((content, folder)) = &done.artifact else { return true };
    let Ok(artifact) = Checked::open(folder, content) else { return false };
    artifact.names().filter(|name| wanted(name)).all(|name| artifact.read(name).is_ok())
}

/// Makes room for the artifact of a task that is damaged.
fn make_room(plan: &Plan, job: &Job, done: &mut Done, task: usize) -> Result<(), Halt> {
    let Some(fingerprint) = done.fingerprint else { return Ok(()) };
    let name = display_name(plan, NodeIndex::new(task));
    let progress = TaskProgress::new(task, &name, job.reporter);
    set_aside_if_damaged(job, &fingerprint, &progress)?;
    done.log.extend(progress.into_log());
    Ok(())
}

/// Moves an artifact away that is damaged, once no other runner is at it.
pub(super) fn set_aside_if_damaged(
    job: &Job,
    fingerprint: &Fingerprint,
    progress: &TaskProgress,
) -> Result<(), Halt> {
    let stopping = || job.cancel.load(Ordering::Relaxed);
    let Some(_lock) = job.store.lock(fingerprint, progress.name(), |_| {}, stopping)? else {
        return Err(Halt::Interrupted);
    };
    // Another runner may have been faster.
    match job.store.verify(fingerprint)? {
        Found::Damaged(reason) => set_aside(job.store, fingerprint, &reason, progress),
        Found::Whole(_) | Found::Nothing => Ok(()),
    }
}

/// Moves a damaged artifact away and says so. Call with its lock held.
pub(super) fn set_aside(
    store: &Store,
    fingerprint: &Fingerprint,
    reason: &str,
    progress: &TaskProgress,
) -> Result<(), Halt> {
    let aside = store.set_aside(fingerprint, reason)?;
    progress.note(&format!("damaged ({reason}): moved to {}, made again", aside.display()));
    Ok(())
}

/// How a task ended that was looked at a second time.
fn merged(before: Done, now: Done) -> Done {
    let content = |done: &Done| done.artifact.as_ref().map(|it| it.0);
    match now.end {
        End::Paused { .. } | End::NotBegun => before,
        End::Cached if content(&before) == content(&now) => before,
        _ => {
            let log = before.log.into_iter().chain(now.log).collect();
            Done { seconds: before.seconds + now.seconds, log, ..now }
        }
    }
}

/// Passes on what happens to tasks that are built again. That the others are there was said before.
struct Again<'a> {
    behind: &'a dyn Reporter,
    tasks: HashSet<usize>,
}

impl Reporter for Again<'_> {
    fn event(&self, event: &Event) {
        if let Event::Cached { task, .. } | Event::Skipped { task, .. } = event
            && !self.tasks.contains(task)
        {
            return;
        }
        self.behind.event(event);
    }

    fn stopping(&self) {
        self.behind.stopping();
    }
}
