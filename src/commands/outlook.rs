//! What a run would find and do: which tasks the store has, and why the others would run. `plan` and
//! `explain` print it. Writes nothing.

use std::collections::HashMap;
use std::path::Path;

use petgraph::graph::NodeIndex;

use super::Error;
use super::changes::Differences;
use crate::digest::{Content, Fingerprint};
use crate::exec::{Ending, Holdings, display_name};
use crate::plan::graph::Plan;
use crate::report::record::Record;
use crate::report::runs;
use crate::store::{Found, Store};

/// What a run of a plan would find and do.
pub(super) struct Outlook {
    /// What the store has.
    pub holdings: Holdings,
    /// Why the others would run, a line each.
    pub why: HashMap<NodeIndex, Vec<String>>,
}

impl Outlook {
    /// That of `plan` with `store`, which has these `holdings` of it. The newest run below `results` is what
    /// changes are told against; they are followed `depth` stages back.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn new(
        plan: &Plan,
        (store, holdings): (&Store, Holdings),
        results: &Path,
        depth: usize,
    ) -> Result<Self, Error> {
        let newest = runs::latest(&results.join(&plan.trials[0].pipeline.name));
        let before = newest.and_then(|folder| Record::read(&folder).ok());
        let mut outlook = Self { holdings, why: HashMap::new() };
        for task in &plan.order {
            if outlook.holdings.get(*task).is_some() {
                continue;
            }
            let known = plan.fingerprint(*task, |input| outlook.content(input));
            let mut lines = Vec::new();
            if let Some(fingerprint) = known
                && let Found::Damaged(reason) = store.find(&fingerprint)?
            {
                lines.push(format!("its artifact is damaged: {reason}"));
            }
            if lines.is_empty() {
                lines = outlook.since(plan, *task, (store, depth), before.as_ref());
            }
            if lines.is_empty() && known.is_none() {
                lines.push(outlook.waits(plan, *task));
            }
            if lines.is_empty() {
                lines.push("no artifact with these settings and inputs yet".to_owned());
            }
            outlook.why.insert(*task, lines);
        }
        Ok(outlook)
    }

    fn content(&self, task: NodeIndex) -> Option<Content> {
        self.holdings.get(task).map(|it| it.artifact.content)
    }

    /// Which inputs have to be built before.
    fn waits(&self, plan: &Plan, task: NodeIndex) -> String {
        let inputs = plan.graph[task].inputs.iter().map(|input| input.task);
        let mut names: Vec<String> = inputs
            .filter(|input| self.holdings.get(*input).is_none())
            .map(|input| format!("`{}`", display_name(plan, input)))
            .collect();
        names.dedup();
        format!("{} will run first", names.join(", "))
    }

    /// What changed since the newest run, a line each.
    fn since(
        &self,
        plan: &Plan,
        task: NodeIndex,
        (store, depth): (&Store, usize),
        before: Option<&Record>,
    ) -> Vec<String> {
        let Some(before) = before else { return Vec::new() };
        let node = &plan.graph[task];
        let trial = node.trials.first().copied().unwrap_or_default();
        let stage = before.stage(trial, &node.name).or_else(|| before.stage(0, &node.name));
        let Some(stage) = stage else { return Vec::new() };
        match stage.state {
            Ending::Failed => {
                let message = stage.message().unwrap_or("?");
                return vec![format!("it failed in the last run: {message}")];
            }
            Ending::Interrupted => return vec!["it was interrupted in the last run".to_owned()],
            Ending::Skipped => {
                let name = stage.waited_for.as_deref().unwrap_or("?");
                return vec![format!("it was skipped in the last run, because of `{name}`")];
            }
            Ending::Cached | Ending::Built | Ending::Paused => {}
        }
        let manifest = |fingerprint: &Fingerprint| store.manifest(fingerprint);
        let Some(before) = stage.fingerprint.as_ref().and_then(manifest) else {
            return vec!["its artifact is no longer in the store".to_owned()];
        };
        let content = |task| self.content(task);
        Differences { plan, content: &content, manifest: &manifest, depth }.changes(task, &before)
    }
}
