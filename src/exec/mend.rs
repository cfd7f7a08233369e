//! Makes sure, before results are written, that they can be: every byte of an artifact that they are written
//! from is compared with its manifest, and what is damaged or gone is built again. Writes no results itself.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;
use rayon::prelude::*;

use super::{Done, End, Event, Execution, Holdings, Limit, Reporter, execute};
use crate::plan::graph::Plan;
use crate::store::Checked;

/// How the tasks of `plan` ended, those among `done` being built again whose artifact lacks bytes of a
/// file that `wanted` takes.
pub fn mend(
    plan: &Plan,
    execution: &Execution,
    done: Vec<Done>,
    wanted: impl Fn(&str) -> bool + Sync,
) -> Vec<Done> {
    let is_damaged = |task: &usize| !is_sound(&done[*task], &wanted);
    let damaged: Vec<usize> = (0..done.len()).into_par_iter().filter(is_damaged).collect();
    if damaged.is_empty() {
        return done;
    }
    let suspects: BTreeSet<NodeIndex> = damaged.into_iter().map(NodeIndex::new).collect();
    // Whatever has no result stays as it is.
    let without = plan.graph.node_indices().filter(|task| done[task.index()].artifact.is_none());
    let limits: BTreeMap<NodeIndex, Limit> = without.map(|task| (task, Limit::Stay)).collect();
    let reporter = Again { behind: execution.reporter, tasks: &suspects };
    let execution =
        Execution { limits: &limits, suspects: &suspects, reporter: &reporter, ..*execution };
    let again = execute(plan, &execution, &Holdings::look_up(plan, execution.store));
    done.into_iter().zip(again).map(|(before, now)| merged(before, now)).collect()
}

/// Whether results can be written from what a task left.
fn is_sound(done: &Done, wanted: impl Fn(&str) -> bool) -> bool {
    let Some((content, folder)) = &done.artifact else { return true };
    let Ok(artifact) = Checked::open(folder, content) else { return false };
    artifact.names().filter(|name| wanted(name)).all(|name| artifact.read(name).is_ok())
}

/// How a task ended, when a second look at it ended like `now`.
fn merged(before: Done, now: Done) -> Done {
    let content = |done: &Done| done.artifact.as_ref().map(|it| it.0);
    match now.end {
        End::Paused { .. } | End::NotBegun => before,
        End::Cached if content(&before) == content(&now) => before,
        _ => now.after(before),
    }
}

/// Passes on what happens to tasks that are built again. Of the others it was said before that they are
/// there.
struct Again<'a> {
    behind: &'a dyn Reporter,
    tasks: &'a BTreeSet<NodeIndex>,
}

impl Reporter for Again<'_> {
    fn event(&self, event: &Event) {
        if let Event::Cached { task, .. } | Event::Skipped { task, .. } = event
            && !self.tasks.contains(&NodeIndex::new(*task))
        {
            return;
        }
        self.behind.event(event);
    }

    fn stopping(&self) {
        self.behind.stopping();
    }
}
