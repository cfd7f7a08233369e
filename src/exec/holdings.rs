//! What the store has of a plan's tasks, looked up once for everybody who asks: the comparison of data
//! sets before a run, what a run need not build, and what `plan` and `explain` say. Changes nothing.

use std::time::Instant;

use petgraph::graph::NodeIndex;
use rayon::prelude::*;

use crate::digest::Fingerprint;
use crate::plan::graph::Plan;
use crate::store::{Artifact, Found, Store};

/// The artifact that the store has of a task.
#[derive(Debug)]
pub struct Holding {
    /// Its name.
    pub fingerprint: Fingerprint,
    /// Where it is, and what.
    pub artifact: Artifact,
    /// Seconds that finding it took.
    pub seconds: f64,
}

/// The artifacts that the store has of a plan, by task.
#[derive(Debug, Default)]
pub struct Holdings {
    by_task: Vec<Option<Holding>>,
}

impl Holdings {
    /// Looks every task of `plan` up, many at a time. A run that entered the store names what it needs
    /// before it looks, so that nothing of it is collected until the run ends. Whatever is wrong with the
    /// store comes up again where an artifact is to be built.
    pub fn look_up(plan: &Plan, store: &Store) -> Self {
        let mut holdings = Self { by_task: Vec::new() };
        holdings.by_task.resize_with(plan.graph.node_count(), || None);
        for tasks in by_depth(plan) {
            let since = Instant::now();
            let content = |input| holdings.get(input).map(|it| it.artifact.content);
            let names = spread(&tasks, |task| plan.fingerprint(*task, content));
            let needs: Vec<Fingerprint> = names.iter().flatten().copied().collect();
            if needs.is_empty() || store.need(&needs).is_err() {
                continue;
            }
            let found = spread(&names, |name| match store.find(name.as_ref()?) {
                Ok(Found::Whole(artifact)) => Some((*name.as_ref()?, artifact)),
                _ => None,
            });
            #[expect(clippy::cast_precision_loss, reason = "a count of tasks")]
            let seconds = since.elapsed().as_secs_f64() / tasks.len() as f64;
            for (task, found) in tasks.into_iter().zip(found) {
                holdings.by_task[task.index()] =
                    found.map(|(fingerprint, artifact)| Holding { fingerprint, artifact, seconds });
            }
        }
        holdings
    }

    /// What the store has of `task`.
    pub fn get(&self, task: NodeIndex) -> Option<&Holding> {
        self.by_task.get(task.index())?.as_ref()
    }
}

/// The tasks in groups, each of which reads only artifacts of the groups before it.
fn by_depth(plan: &Plan) -> Vec<Vec<NodeIndex>> {
    let mut depths = vec![0; plan.graph.node_count()];
    let mut groups: Vec<Vec<NodeIndex>> = Vec::new();
    for task in &plan.order {
        let inputs = plan.graph[*task].inputs.iter();
        let depth = inputs.map(|input| depths[input.task.index()] + 1).max().unwrap_or(0);
        depths[task.index()] = depth;
        if groups.len() == depth {
            groups.push(Vec::new());
        }
        groups[depth].push(*task);
    }
    groups
}

/// `work` for each of `all`, by all threads where these are many: a few are done before other threads
/// have woken up.
fn spread<T: Sync, U: Send>(all: &[T], work: impl Fn(&T) -> U + Sync + Send) -> Vec<U> {
    if all.len() < 8 { all.iter().map(work).collect() } else { all.par_iter().map(work).collect() }
}
