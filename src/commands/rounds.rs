//! Carries out trials in as many rounds as their search asks for: plans, executes, looks at what came
//! out, and asks again. A run without a search is a single round.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use petgraph::graph::NodeIndex;
use petgraph::visit::Dfs;

use super::Error;
use crate::data::outside::Known;
use crate::exec::{self, Done, End, Event, Executor, Job, Limit, Planned, Reporter};
use crate::metrics::Metrics;
use crate::plan::fingerprint::Fingerprint;
use crate::plan::goal::Goal;
use crate::plan::graph::Plan;
use crate::plan::search::{Reach, Search, Verdict};
use crate::plan::trials::Trials;
use crate::report::record::StageInput;
use crate::report::{self, trial_files};
use crate::stages::Failure;
use crate::store::Checked;

/// How the trials ended.
pub(super) struct Outcome {
    /// The last plan, which has all trials.
    pub plan: Plan,
    /// How every task of it ended.
    pub done: Vec<Done>,
    /// What the search says of every trial; none without a search.
    pub verdicts: Vec<Verdict>,
    /// Why the search could not go on, if so: what it had so far is worth keeping.
    pub problem: Option<Error>,
}

/// What all rounds share.
pub(super) struct Carrier<'a> {
    /// Who runs tasks.
    pub executor: &'a dyn Executor,
    /// The run's id in its journal.
    pub run: &'a str,
    /// Tasks that failed before and are not tried again.
    pub failures: HashMap<Fingerprint, Failure>,
    /// The job of each round, but for what changes from round to round.
    pub job: Job<'a>,
}

impl Carrier<'_> {
    /// Brings `trials` to their end; `plan` has those that are known yet.
    ///
    /// # Errors
    /// When there is no plan, or a result cannot be read.
    pub fn carry_out(&mut self, mut plan: Plan, trials: &mut Trials) -> Result<Outcome, Error> {
        let reporter = Once { behind: self.job.reporter, ended: Mutex::default() };
        let mut ended: Vec<Done> = Vec::new();
        let mut problem = None;
        reporter.event(&Event::RunStarted {
            run: self.run.to_owned(),
            pipeline: trials.trials[0].pipeline.name.clone(),
            command: crate::system::command_line(),
            plan: Planned::since(&plan, 0, 0),
        });
        loop {
            let reach = match &mut trials.search {
                Some(search) => match search.next(&mut trials.trials) {
                    Ok(reach) => reach,
                    Err(report) => {
                        problem = Some(Box::new(report).into());
                        break;
                    }
                },
                None if ended.is_empty() => Some(vec![Reach::End; trials.trials.len()]),
                None => None,
            };
            let Some(reach) = reach else { break };
            if plan.trials.len() < trials.trials.len() {
                let (tasks, known) = (plan.graph.node_count(), plan.trials.len());
                let outside = Known::in_folder(self.job.store.outside());
                plan = Plan::new(trials.trials.clone(), &outside)?;
                reporter.event(&Event::Planned { plan: Planned::since(&plan, tasks, known) });
            }
            let goal = trials.search.as_ref().and_then(Search::goal).cloned();
            let limits = limits(&plan, &reach, goal.as_ref().map(|goal| goal.stage.as_str()));
            let job =
                Job { limits: &limits, failures: &self.failures, reporter: &reporter, ..self.job };
            let done = self.executor.execute(&plan, &job);
            let before = std::mem::take(&mut ended).into_iter().map(Some);
            let before = before.chain(std::iter::repeat_with(|| None));
            ended = before.zip(done).map(|(before, now)| merged(before, now)).collect();
            for done in &ended {
                if let (End::Failed(failure), Some(name)) = (&done.end, done.fingerprint) {
                    self.failures.entry(name).or_insert_with(|| failure.clone());
                }
            }
            let failed = |done: &Done| matches!(done.end, End::Failed(_));
            let stopped = ended.iter().any(|done| done.end == End::Interrupted)
                || (self.job.fail_fast && ended.iter().any(failed));
            if let (Some(search), false) = (&mut trials.search, stopped) {
                let mut values = HashMap::new();
                for (trial, reach) in reach.iter().enumerate() {
                    let epoch = match reach {
                        Reach::Stay => continue,
                        Reach::Epoch(epoch) => Some(*epoch),
                        Reach::End => None,
                    };
                    let value = match &goal {
                        Some(goal) => value(goal, &plan, &ended, trial, epoch),
                        None => Ok(None),
                    };
                    let value = value.unwrap_or_else(|error| {
                        problem = Some(error);
                        None
                    });
                    values.insert(trial, value);
                }
                search.learn(|trial, _| values.get(&trial).copied().flatten());
            }
            if stopped || problem.is_some() {
                break;
            }
        }
        let verdicts = trials.search.as_ref().map(Search::verdicts).unwrap_or_default();
        Ok(Outcome { plan, done: ended, verdicts, problem })
    }

    /// Builds again what results cannot be written from: artifacts that were damaged or removed since.
    pub fn mend(&self, plan: &Plan, done: Vec<Done>) -> Vec<Done> {
        let job = Job { failures: &self.failures, ..self.job };
        exec::mend(self.executor, plan, &job, done, trial_files::is_for_results)
    }
}

/// The tasks that do not run to their end: what only trials need that stay where they are, and the
/// stage that the goal names where no trial needs it whole.
fn limits(plan: &Plan, reach: &[Reach], stage: Option<&str>) -> HashMap<NodeIndex, Limit> {
    /// As far as a task has to go, in this order.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
    enum Far {
        Stay,
        Epochs(usize),
        End,
    }
    let mut far: HashMap<NodeIndex, Far> = HashMap::new();
    for (stages, reach) in plan.stages.iter().zip(reach) {
        let goal = stage.and_then(|stage| stages.get(stage).copied());
        let after = match (goal, reach) {
            (Some(goal), Reach::Epoch(_)) => after(plan, goal),
            _ => HashSet::new(),
        };
        for task in stages.values() {
            let wanted = match reach {
                Reach::Stay => Far::Stay,
                Reach::Epoch(epochs) if Some(*task) == goal => Far::Epochs(*epochs),
                // Also when the goal's stage is whole, as it ended by itself or in another run.
                Reach::Epoch(_) if after.contains(task) => Far::Stay,
                _ => Far::End,
            };
            let known = far.entry(*task).or_insert(wanted);
            *known = wanted.max(*known);
        }
    }
    let limit = |(task, far)| match far {
        Far::Stay => Some((task, Limit::Stay)),
        Far::Epochs(epochs) => Some((task, Limit::Epochs(epochs))),
        Far::End => None,
    };
    far.into_iter().filter_map(limit).collect()
}

/// Everything that comes after a task.
fn after(plan: &Plan, task: NodeIndex) -> HashSet<NodeIndex> {
    let mut search = Dfs::new(&plan.graph, task);
    let mut found = HashSet::new();
    while let Some(next) = search.next(&plan.graph) {
        found.insert(next);
    }
    found.remove(&task);
    found
}

/// How a task ended over all rounds.
fn merged(before: Option<Done>, now: Done) -> Done {
    let Some(before) = before else { return now };
    match (&before.end, &now.end) {
        // An earlier round put it into the store, or left it where it is to stay.
        (End::Built, End::Cached) | (_, End::NotBegun) => before,
        // Stopped on its way from one rung to the next.
        (End::Paused { .. }, End::Interrupted) => {
            Done { end: End::Interrupted, seconds: before.seconds + now.seconds, ..before }
        }
        _ => {
            let log = before.log.into_iter().chain(now.log).collect();
            Done { seconds: before.seconds + now.seconds, log, ..now }
        }
    }
}

/// What the goal says of a trial, up to an epoch or at its end.
fn value(
    goal: &Goal,
    plan: &Plan,
    done: &[Done],
    trial: usize,
    epoch: Option<usize>,
) -> Result<Option<f64>, Error> {
    let Some(task) = plan.stages[trial].get(&goal.stage) else { return Ok(None) };
    let done = &done[task.index()];
    if let Some(rows) = done.end.rows_so_far() {
        return known(goal, &Metrics::Training(rows.to_vec()), epoch);
    }
    let Some((content, artifact)) = &done.artifact else { return Ok(None) };
    let stages = &plan.trials[trial].pipeline.stages;
    let Some(stage) = stages.iter().find(|stage| stage.name == goal.stage) else { return Ok(None) };
    let checked = Checked::open(artifact, content)?;
    let text = trial_files::metrics_text(&checked, &StageInput::of(stage))?.unwrap_or_default();
    let metrics = Metrics::read(&text).map_err(|error| {
        let (path, reason) = (artifact.join("metrics.csv"), error.to_string());
        report::Error::Malformed { path, reason }
    })?;
    known(goal, &metrics, epoch)
}

/// The goal's value among rows. A metric that is in none of them was misspelt.
fn known(goal: &Goal, metrics: &Metrics, epoch: Option<usize>) -> Result<Option<f64>, Error> {
    let found = goal.value(metrics, epoch);
    if found.is_none() && !metrics.is_empty() && !goal.is_in(metrics) {
        return Err(Error::Missing(format!(
            "`sweep.select` goes by {}, but stage `{}` gave no such number",
            goal.text(),
            goal.stage
        )));
    }
    Ok(found)
}

/// Says only once how a task ended, though every round comes to it again.
struct Once<'a> {
    behind: &'a dyn Reporter,
    ended: Mutex<HashSet<usize>>,
}

impl Reporter for Once<'_> {
    fn event(&self, event: &Event) {
        if let Event::Cached { task, .. }
        | Event::Finished { task, .. }
        | Event::Failed { task, .. }
        | Event::Skipped { task, .. } = event
        {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            if !ended.insert(*task) {
                return;
            }
        }
        self.behind.event(event);
    }

    fn stopping(&self) {
        self.behind.stopping();
    }
}
