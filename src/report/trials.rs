//! `trials.csv`: what every trial of a sweep was, and what became of it.

use super::csv::Rows;
use crate::exec::{Done, End};
use crate::metrics::number;
use crate::plan::graph::Plan;
use crate::plan::search::Verdict;

/// The columns after those of the axes.
pub const FACTS: [&str; 4] = ["state", "objective", "selected", "reason"];

/// The trials of a plan as CSV text: number, a column for each axis, then [`FACTS`].
pub fn text(plan: &Plan, done: &[Done], verdicts: &[Verdict]) -> String {
    let axes = plan.trials[0].labels.iter().map(|(key, _)| key.clone());
    let header = std::iter::once("trial".to_owned()).chain(axes);
    let header = header.chain(FACTS.map(str::to_owned));
    let rows = plan.trials.iter().enumerate().map(|(trial, it)| {
        let labels = it.label_texts().into_iter().map(|(_, value)| value);
        let verdict = verdicts.get(trial);
        let (state, reason) = state(plan, done, trial, verdict);
        let objective = verdict.and_then(|it| it.objective).map(number).unwrap_or_default();
        let selected = verdict.and_then(|it| it.selected);
        let selected = selected.map(|it| it.to_string()).unwrap_or_default();
        let facts = [state.to_owned(), objective, selected, reason];
        std::iter::once(format!("{trial:03}")).chain(labels).chain(facts).collect()
    });
    Rows { header: header.collect(), rows: rows.collect() }.text()
}

/// How a trial ended, and why.
fn state(
    plan: &Plan,
    done: &[Done],
    trial: usize,
    verdict: Option<&Verdict>,
) -> (&'static str, String) {
    let stages = || plan.stages[trial].iter().map(|(name, task)| (name, &done[task.index()]));
    for (name, done) in stages() {
        if let End::Failed(failure) = &done.end {
            return ("failed", format!("{name}: {failure}"));
        }
    }
    if stages().any(|(_, done)| done.end == End::Interrupted) {
        return ("interrupted", String::new());
    }
    if let Some(pruned) = verdict.and_then(|it| it.pruned.as_ref()) {
        return ("pruned", pruned.reason.clone());
    }
    if stages().all(|(_, done)| done.artifact.is_some()) {
        return ("done", String::new());
    }
    let because = stages().find_map(|(_, done)| match &done.end {
        End::Skipped { because } => Some(format!("`{because}` has no result")),
        _ => None,
    });
    ("skipped", because.unwrap_or_default())
}
