//! Carries out trials in as many rounds as their search asks for: plans, executes, tells the search what
//! came out, and asks it again. A run without a search is a single round. Writes no results.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use petgraph::graph::NodeIndex;

use super::Error;
use super::comparison::Comparison;
use crate::cli::BackendOption;
use crate::data::outside::Known;
use crate::digest::Fingerprint;
use crate::exec::{self, Done, End, Ending, Event, Execution, Holdings, Limit, Planned, Reporter};
use crate::metrics::Metrics;
use crate::plan::goal::{AutoCheck, Goal, Merit};
use crate::plan::graph::Plan;
use crate::plan::search::{Reach, Search, Verdict};
use crate::plan::trials::Trials;
use crate::report::record::StageInput;
use crate::report::{self, trial_files};
use crate::stages::{Budget, Described, Failure, Product};
use crate::store::Checked;

/// Tasks that failed in an earlier run and are not tried again.
pub(super) type Failures = BTreeMap<Fingerprint, Failure>;

/// How the trials ended.
pub(super) struct Conclusion {
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
    /// The run's id in its journal.
    pub run: &'a str,
    /// Tasks that failed in an earlier run and are not tried again.
    pub failures: Failures,
    /// Which machines the trials are planned for.
    pub backend: &'a BackendOption,
    /// What every round is carried out with, but for what changes from round to round.
    pub execution: Execution<'a>,
}

impl Carrier<'_> {
    /// Brings `trials` to their end; `plan` has those that are known yet.
    ///
    /// # Errors
    /// When there is no plan, a result cannot be read, or a stage does not fit a data set that the store
    /// has or that was built in the first round. Nothing but data sets was built then.
    pub fn carry_out(&self, mut plan: Plan, trials: &mut Trials) -> Result<Conclusion, Error> {
        let since = Instant::now();
        let reporter = Once { behind: self.execution.reporter, ended: Mutex::default() };
        let mut ended: Vec<Done> = Vec::new();
        let mut problem = None;
        let mut first = Some(self.look_up(&plan)?);
        reporter.event(&Event::RunStarted {
            run: self.run.to_owned(),
            pipeline: trials.trials[0].pipeline.name.clone(),
            command: crate::system::command_line(),
            plan: Planned::since(&plan, 0, 0),
        });
        loop {
            let reach = match next(trials, ended.is_empty()) {
                Ok(Some(reach)) => reach,
                Ok(None) => break,
                Err(error) => {
                    problem = Some(error);
                    break;
                }
            };
            if plan.trials.len() < trials.trials.len() {
                let (tasks, known) = (plan.graph.node_count(), plan.trials.len());
                let outside = Known::in_folder(self.execution.store.outside());
                plan = super::outside::plan(trials.trials.clone(), &outside, self.backend)?;
                reporter.event(&Event::Planned { plan: Planned::since(&plan, tasks, known) });
                first = None;
            }
            let looked_up = first.take().map_or_else(|| self.look_up(&plan), Ok);
            let (holdings, comparison) = match looked_up {
                Ok(looked_up) => looked_up,
                Err(error) => {
                    problem = Some(error);
                    break;
                }
            };
            let goal = trials.search.as_ref().and_then(Search::goal).cloned();
            let limits = limits(&plan, &reach, goal.as_ref().map(|goal| goal.stage.as_str()));
            let execution = Execution {
                limits: &limits,
                failures: &self.failures,
                shares_failures: self.execution.shares_failures
                    || trials.search.as_ref().is_some_and(Search::decides),
                holds: &comparison.holds(&plan, &holdings),
                goes_on: &|task, folder| comparison.goes_on(&plan, task, folder),
                reporter: &reporter,
                ..self.execution
            };
            let done = exec::execute(&plan, &execution, &holdings);
            if let Some(report) = comparison.into_report() {
                let error = Box::new(report).into();
                if ended.is_empty() {
                    reporter.event(&exec::finished(&done, since));
                    return Err(error);
                }
                problem = Some(error);
            }
            let before = std::mem::take(&mut ended).into_iter().map(Some);
            let before = before.chain(std::iter::repeat_with(|| None));
            ended = before.zip(done).map(|(before, now)| merged(before, now)).collect();
            if problem.is_some() || self.is_to_stop(&ended) {
                break;
            }
            if let Some(search) = &mut trials.search
                && let Err(error) = learn(search, goal.as_ref(), (&plan, &ended), &reach)
            {
                problem = Some(error);
                break;
            }
        }
        let verdicts = trials.search.as_ref().map(Search::verdicts).unwrap_or_default();
        Ok(Conclusion { plan, done: ended, verdicts, problem })
    }

    /// What the store has of `plan`, and that stages fit it.
    fn look_up(&self, plan: &Plan) -> Result<(Holdings, Comparison), Error> {
        let holdings = Holdings::look_up(plan, self.execution.store);
        // Others have files of their own.
        if self.execution.part.is_none() {
            super::outside::all_to_build(plan, &holdings)?;
        }
        let comparison = Comparison::new(plan, &holdings)?;
        Ok((holdings, comparison))
    }

    /// Whether there is no further round after one in which tasks ended like this.
    fn is_to_stop(&self, ended: &[Done]) -> bool {
        ended.iter().any(|done| match done.end.ending() {
            Ending::Interrupted => true,
            Ending::Failed => self.execution.fail_fast,
            Ending::Cached | Ending::Built | Ending::Paused | Ending::Skipped => false,
        })
    }

    /// Builds again what results cannot be written from: artifacts that were damaged or removed since.
    pub fn mend(&self, plan: &Plan, done: Vec<Done>) -> Vec<Done> {
        let execution = Execution { failures: &self.failures, ..self.execution };
        exec::mend(plan, &execution, done, trial_files::is_for_results)
    }
}

/// How far each trial is to go in the next round; `None` when there is none.
///
/// # Errors
/// When the search cannot go on.
fn next(trials: &mut Trials, is_first: bool) -> Result<Option<Vec<Reach>>, Error> {
    match &mut trials.search {
        Some(search) => Ok(search.next(&mut trials.trials).map_err(Box::new)?),
        None => Ok(is_first.then(|| vec![Reach::End; trials.trials.len()])),
    }
}

/// Tells a search what its trials came to.
///
/// # Errors
/// When a result cannot be read, or has no such number, or a failure is one of this process alone. The search
/// has learned from the others.
fn learn(
    search: &mut Search,
    goal: Option<&Goal>,
    (plan, ended): (&Plan, &[Done]),
    reach: &[Reach],
) -> Result<(), Error> {
    let mut merits = HashMap::new();
    let mut problem = Ok(());
    // Another process may see such a task succeed, and its search would part from this one.
    let unrecorded = |task: &&NodeIndex| !ended[task.index()].is_recorded;
    for (trial, reach) in reach.iter().enumerate() {
        let epoch = match reach {
            Reach::Stay => continue,
            Reach::Epoch(epoch) => Some(*epoch),
            Reach::End => None,
        };
        if search.decides()
            && let Some(task) = plan.stages[trial].values().find(unrecorded)
        {
            problem = Err(Error::Machine(format!(
                "the search stops here: `{}` failed in this process alone, and may succeed in another",
                exec::display_name(plan, *task)
            )));
        }
        let merit = goal.map_or(Ok(None), |goal| merit(goal, plan, ended, trial, epoch));
        let merit = merit.unwrap_or_else(|error| {
            problem = Err(error);
            None
        });
        merits.insert(trial, merit);
    }
    search.learn(|trial, _| merits.get(&trial).copied().flatten());
    problem
}

/// The tasks that do not run to their end: what only trials need that stay where they are, and the
/// stage that the goal names where no trial needs it whole.
fn limits(plan: &Plan, reach: &[Reach], stage: Option<&str>) -> BTreeMap<NodeIndex, Limit> {
    /// As far as a task has to go, in this order.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
    enum Far {
        Stay,
        Budget(Budget),
        End,
    }
    let mut far: HashMap<NodeIndex, Far> = HashMap::new();
    for (stages, reach) in plan.stages.iter().zip(reach) {
        let goal = stage.and_then(|stage| stages.get(stage).copied());
        let after = match (goal, reach) {
            (Some(goal), Reach::Epoch(_)) => plan.with_descendants(&[goal]),
            _ => HashSet::new(),
        };
        for task in stages.values() {
            let wanted = match reach {
                Reach::Stay => Far::Stay,
                Reach::Epoch(epochs) if Some(*task) == goal => Far::Budget(Budget(*epochs)),
                // Also when the goal's stage is whole, as it ended by itself or in another run.
                Reach::Epoch(_) if after.contains(task) && Some(*task) != goal => Far::Stay,
                _ => Far::End,
            };
            let known = far.entry(*task).or_insert(wanted);
            *known = wanted.max(*known);
        }
    }
    let limit = |(task, far)| match far {
        Far::Stay => Some((task, Limit::Stay)),
        Far::Budget(budget) => Some((task, Limit::Budget(budget))),
        Far::End => None,
    };
    far.into_iter().filter_map(limit).collect()
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
        _ => now.after(before),
    }
}

/// What a trial shows to the goal, up to an epoch or at its end.
fn merit(
    goal: &Goal,
    plan: &Plan,
    ended: &[Done],
    trial: usize,
    epoch: Option<usize>,
) -> Result<Option<Merit>, Error> {
    let Some(task) = plan.stages[trial].get(&goal.stage) else { return Ok(None) };
    let done = &ended[task.index()];
    let metrics = match (done.end.rows_so_far(), &done.artifact) {
        (Some(rows), _) => Metrics::Training(rows.to_vec()),
        (None, Some((content, artifact))) => {
            let mut stages = plan.trials[trial].pipeline.stages.iter();
            let Some(stage) = stages.find(|stage| stage.name == goal.stage) else {
                return Ok(None);
            };
            let checked = Checked::open(artifact, content)?;
            let text = trial_files::metrics_text(&checked, &StageInput::of(stage))?;
            Metrics::read(&text.unwrap_or_default()).map_err(|error| {
                let (path, reason) = (artifact.join("metrics.csv"), error.to_string());
                report::Error::Malformed { path, reason }
            })?
        }
        (None, None) => return Ok(None),
    };
    let found = goal.value(&metrics, epoch);
    // A metric that is in none of the rows was misspelt.
    if found.is_none() && !metrics.is_empty() && !goal.is_in(&metrics) {
        return Err(unmeasured(goal));
    }
    let Some(value) = found else { return Ok(None) };
    if !goal.auto {
        return Ok(Some(value.into()));
    }
    let classes = classes(plan, ended, *task).ok_or_else(|| {
        Error::Missing(format!(
            "`by = \"auto\"` takes the number of classes, and it is not known how many the model of stage `{}` \
             tells apart",
            goal.stage
        ))
    })?;
    let check = AutoCheck::of(&metrics, epoch, classes).ok_or_else(|| unmeasured(goal))?;
    Ok(Some(Merit { value, check: Some(check) }))
}

fn unmeasured(goal: &Goal) -> Error {
    Error::Missing(format!(
        "`sweep.select` goes by {}, but stage `{}` gave no such number",
        goal.text(),
        goal.stage
    ))
}

/// How many classes the model of a training tells apart, by its artifact, or by those of its inputs while it has
/// none.
fn classes(plan: &Plan, ended: &[Done], task: NodeIndex) -> Option<usize> {
    let built = |task: NodeIndex| Product::built(&ended[task.index()].artifact.as_ref()?.1);
    let product = built(task).or_else(|| {
        let mut described = Described::default();
        for input in &plan.graph[task].inputs {
            let product = built(input.task)?;
            described.inputs.insert(input.key.clone(), (product, input.split.clone()));
        }
        plan.graph[task].stage.describe(&described).ok()
    });
    match product? {
        Product::Model(shape) => Some(shape.spec?.classes),
        Product::Predictions(shape) => shape.classes.map(|it| it.len()),
        Product::Dataset(_)
        | Product::Features
        | Product::Metrics
        | Product::Scores
        | Product::Pictures => None,
    }
}

/// Passes on only once how a task ended, though every round comes to it again.
struct Once<'a> {
    behind: &'a dyn Reporter,
    ended: Mutex<HashSet<usize>>,
}

impl Reporter for Once<'_> {
    fn event(&self, event: &Event) {
        let ended = || self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was there is built again when its bytes turn out to be damaged.
        if let Event::TaskStarted { task, .. } = event {
            ended().remove(task);
        }
        if let Event::Cached { task, .. }
        | Event::Finished { task, .. }
        | Event::Failed { task, .. }
        | Event::Skipped { task, .. } = event
            && !ended().insert(*task)
        {
            return;
        }
        self.behind.event(event);
    }

    fn stopping(&self) {
        self.behind.stopping();
    }
}
