//! Which trials of a sweep run next, and how far: all to their end; or, with `[sweep.halving]`, the
//! promising ones; or, with `search = "tpe"`, those that the results so far speak for. Runs nothing.
//!
//! Decisions are made for a batch of configurations at a time, so that they depend on results alone
//! and never on which trial ended first: a sweep that is run again, or resumed after a stop, decides
//! the same.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde::Serialize;

use super::goal::{Goal, Merit};
use super::loss::{self, Loss};
use super::origin::{Drawn, Origin};
use super::trial::Trial;
use crate::config::node::label_text;
use crate::config::sweep::{self, Configuration, Observation, Point, Sweep};
use crate::config::{Diagnostic, Report};

/// The state of a search.
#[derive(Debug)]
pub struct Search {
    sweep: Sweep,
    origin: Origin,
    goal: Option<Goal>,
    configurations: Vec<Configuration>,
    progress: Vec<ConfigurationState>,
    /// Of every trial, the number of its configuration.
    of: Vec<usize>,
    /// What the batch that runs now is to reach, by configuration.
    batch: Vec<(usize, usize)>,
    /// Nothing more can be drawn.
    exhausted: bool,
    /// What people should know of the search.
    notes: Vec<String>,
}

/// How far a configuration got.
#[derive(Debug, Default)]
struct ConfigurationState {
    /// The best of its group is looked for among the configurations of the same one.
    group: String,
    /// The epochs of its rungs; a single one of 0 when trials run to their end.
    rungs: Vec<usize>,
    /// What it had to show at each rung that it reached; `None` where it failed.
    losses: Vec<Option<Loss>>,
    /// The same of each of its trials at the last rung, unturned.
    values: HashMap<usize, Option<Merit>>,
}

impl ConfigurationState {
    fn is_over(&self) -> bool {
        self.losses.len() == self.rungs.len() || self.losses.last() == Some(&None)
    }

    fn is_complete(&self) -> bool {
        self.losses.len() == self.rungs.len() && self.losses.last().is_some_and(Option::is_some)
    }
}

/// How far a trial runs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// To its end.
    End,
    /// The stage that the goal names ends after so many epochs.
    Epoch(usize),
    /// It stays where it is.
    Stay,
}

/// What became of a trial in the search.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// What the goal says of it.
    pub objective: Option<f64>,
    /// Whether it is of the best configuration of its group; `None` without a goal.
    pub selected: Option<bool>,
    /// Why it ended early, if it did.
    pub pruned: Option<Pruned>,
    /// Whether its predicted classes collapse on the target, where the goal looks at that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collapsed: Option<bool>,
}

/// An early end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// The stage of the goal.
    pub stage: String,
    /// Epochs that it came to.
    pub epochs: usize,
    /// Why, for people.
    pub reason: String,
}

impl Search {
    pub(super) fn new(
        sweep: Sweep,
        origin: Origin,
        drawn: Drawn,
        trials: &[Trial],
        notes: Vec<String>,
    ) -> Result<Self, Report> {
        let mut search = Self {
            sweep,
            origin,
            goal: None,
            configurations: Vec::new(),
            progress: Vec::new(),
            of: Vec::new(),
            batch: Vec::new(),
            exhausted: false,
            notes,
        };
        search.add(drawn, trials)?;
        if !search.sweep.is_adaptive() {
            search.exhaust();
        }
        Ok(search)
    }

    /// Takes in configurations with their trials.
    fn add(&mut self, (configurations, points): Drawn, trials: &[Trial]) -> Result<(), Report> {
        if let Some(given) = &self.sweep.select {
            let mut problems = Vec::new();
            for trial in trials {
                match Goal::new(given, &trial.pipeline) {
                    Ok(goal) if self.goal.as_ref().is_some_and(|it| *it != goal) => {
                        problems.push(differs(given, &goal));
                    }
                    Ok(goal) => self.goal = Some(goal),
                    Err(problem) => problems.push(problem),
                }
            }
            if !problems.is_empty() {
                return Err(self.origin.report(problems));
            }
        }
        if let Some(problem) = self.other_epochs(trials) {
            return Err(self.origin.report(vec![problem]));
        }
        for number in self.configurations.len()..self.configurations.len() + configurations.len() {
            let at = points.iter().position(|point| point.configuration == number);
            let Some(trial) = at.map(|at| &trials[at]) else {
                // Its values do not go together.
                let losses = vec![None];
                self.progress.push(ConfigurationState {
                    rungs: vec![0],
                    losses,
                    ..ConfigurationState::default()
                });
                continue;
            };
            let (group, rungs) = (self.group(trial), self.rungs(trial));
            if let (Some(_), Some(given), [_]) =
                (self.sweep.halving, &self.sweep.select, &rungs[..])
            {
                let message = "`[sweep.halving]` has nothing to halve";
                let label = "not a training of more epochs than `min_epochs`";
                let problem = Diagnostic::at(given.stage_span, message, label)
                    .help("name a training stage, or leave `[sweep.halving]` out");
                return Err(self.origin.report(vec![problem]));
            }
            self.progress.push(ConfigurationState {
                group,
                rungs,
                ..ConfigurationState::default()
            });
        }
        self.configurations.extend(configurations);
        self.of.extend(points.iter().map(|point| point.configuration));
        Ok(())
    }

    /// Why halving cannot compare `trials`: a swept variable, or a stage that theirs is like, gives them other numbers of
    /// epochs.
    fn other_epochs(&self, trials: &[Trial]) -> Option<Diagnostic> {
        let (Some(_), Some(given)) = (self.sweep.halving, &self.sweep.select) else { return None };
        let before = self.progress.iter().map(|it| it.rungs.clone()).filter(|it| it.len() > 1);
        let mut all = before.chain(trials.iter().map(|trial| self.rungs(trial)));
        let first = all.next()?;
        let other = all.find(|it| *it != first)?;
        let message = format!(
            "`[sweep.halving]` cannot compare trials of other `stages.{}.epochs`",
            given.stage
        );
        let last = |rungs: &[usize]| rungs.last().copied().unwrap_or_default();
        let label = format!("of {} epochs and of {}", last(&first), last(&other));
        Some(
            Diagnostic::at(given.stage_span, message, label)
                .help("give all of them the same `epochs`"),
        )
    }

    fn group(&self, trial: &Trial) -> String {
        let per = self.sweep.select.as_ref().map(|goal| goal.per.as_slice()).unwrap_or_default();
        let of = trial.labels.iter().filter(|(key, _)| per.contains(key));
        of.map(|(key, value)| format!("{key}={} ", label_text(value))).collect()
    }

    fn rungs(&self, trial: &Trial) -> Vec<usize> {
        let (Some(halving), Some(goal)) = (self.sweep.halving, &self.goal) else { return vec![0] };
        let stage = trial.pipeline.stages.iter().find(|stage| stage.name == goal.stage);
        let epochs = stage.and_then(|stage| stage.settings.get("epochs")?.as_integer());
        epochs.and_then(|it| usize::try_from(it).ok()).map_or(vec![0], |it| halving.rungs(it))
    }

    /// Nothing is left to draw.
    fn exhaust(&mut self) {
        self.exhausted = true;
        let (found, wanted) = (self.configurations.len(), self.sweep.configurations());
        if found < wanted {
            self.notes.push(format!(
                "only {found} of {wanted} configurations were found that differ and that `where` keeps"
            ));
        }
    }

    /// What people should know of it.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What people should know of what it selected: where no configuration that came to its end passed the
    /// check of `by = "auto"`, so that it selected among all of them.
    pub fn notes_on_selection(&self) -> Vec<String> {
        let best = self.best();
        let groups = self.groups().into_iter();
        let groups = groups.filter(|group| best.get(group).is_some_and(|it| it.0.collapsed));
        let note = |group: &str| {
            let of = match group.trim_end() {
                "" => String::new(),
                group => format!(" of {group}"),
            };
            format!(
                "the predicted classes of every configuration{of} that came to its end collapse on the target, \
                 so that `by = \"auto\"` selected among all of them"
            )
        };
        groups.map(note).collect()
    }

    /// The goal.
    pub fn goal(&self) -> Option<&Goal> {
        self.goal.as_ref()
    }

    /// Whether results decide what runs.
    pub fn decides(&self) -> bool {
        self.sweep.is_adaptive() || self.sweep.halving.is_some()
    }

    /// Whether it draws trials by results that it has not heard of yet.
    pub fn draws_later(&self) -> bool {
        self.expected_trials() > self.of.len()
    }

    /// Trials that it will have in the end, as far as is known.
    pub fn expected_trials(&self) -> usize {
        let left = self.sweep.configurations().saturating_sub(self.configurations.len());
        let of_each = self.of.len().div_ceil(self.configurations.len().max(1));
        if self.exhausted { self.of.len() } else { self.of.len() + left * of_each }
    }

    /// How far every trial runs next; new ones are added to `trials`. `None` when all is done.
    ///
    /// # Errors
    /// When a trial that was drawn does not fit.
    pub fn next(&mut self, trials: &mut Vec<Trial>) -> Result<Option<Vec<Reach>>, Report> {
        let mut batch: Vec<(usize, usize)> = Vec::new();
        let mut new = 0;
        while batch.len() < self.sweep.batch {
            if let Some(job) = self.promotable(&batch).or_else(|| self.fresh(&mut new)) {
                batch.push(job);
            } else if self.exhausted || !batch.is_empty() {
                break;
            } else {
                self.draw(trials)?;
            }
        }
        if batch.is_empty() {
            batch = self.left_over();
        }
        if batch.is_empty() {
            return Ok(None);
        }
        let mut reach = vec![Reach::Stay; self.of.len()];
        let jobs: HashMap<usize, usize> = batch.iter().copied().collect();
        for (trial, configuration) in self.of.iter().enumerate() {
            if let Some(rung) = jobs.get(configuration) {
                let rungs = &self.progress[*configuration].rungs;
                reach[trial] = match rung + 1 == rungs.len() {
                    true => Reach::End,
                    false => Reach::Epoch(rungs[*rung]),
                };
            }
        }
        self.batch = batch;
        Ok(Some(reach))
    }

    /// Takes in what the goal says of the trials that ran: `merit` of a trial up to an epoch, or at its
    /// end; `None` when it has none, as it failed.
    pub fn learn<M: Into<Merit>>(&mut self, merit: impl Fn(usize, Option<usize>) -> Option<M>) {
        let mut of: HashMap<usize, Vec<usize>> = HashMap::new();
        for (trial, configuration) in self.of.iter().enumerate() {
            of.entry(*configuration).or_default().push(trial);
        }
        for (configuration, rung) in std::mem::take(&mut self.batch) {
            let trials = of.remove(&configuration).unwrap_or_default();
            let progress = &mut self.progress[configuration];
            let last = rung + 1 == progress.rungs.len();
            let epoch = (!last).then(|| progress.rungs[rung]);
            let merits: Vec<Option<Merit>> =
                trials.iter().map(|trial| merit(*trial, epoch).map(Into::into)).collect();
            let rises = self.goal.as_ref().is_some_and(|goal| goal.rises);
            progress.losses.push(Loss::of(&merits, rises));
            progress.values = trials.into_iter().zip(merits).collect();
        }
    }

    /// The best of the complete configurations of each group, the first of equal ones.
    fn best(&self) -> HashMap<&str, (Loss, usize)> {
        let mut groups: HashMap<&str, Vec<(Loss, usize)>> = HashMap::new();
        for (number, progress) in self.progress.iter().enumerate().filter(|it| it.1.is_complete()) {
            let Some(Some(loss)) = progress.losses.last() else { continue };
            groups.entry(&progress.group).or_default().push((*loss, number));
        }
        let first = |all| loss::in_order(all).first().copied();
        groups.into_iter().filter_map(|(group, all)| Some((group, first(all)?))).collect()
    }

    /// What became of every trial.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let best = self.best();
        let verdict = |(trial, configuration): (usize, &usize)| {
            let progress = &self.progress[*configuration];
            let is_best =
                best.get(progress.group.as_str()).is_some_and(|it| it.1 == *configuration);
            let merit = progress.values.get(&trial).copied().flatten();
            Verdict {
                objective: merit.map(|merit| merit.value),
                selected: self.goal.as_ref().map(|_| is_best),
                pruned: self.why_pruned(*configuration),
                collapsed: merit.and_then(|merit| Some(merit.check?.collapsed)),
            }
        };
        self.of.iter().enumerate().map(verdict).collect()
    }

    fn why_pruned(&self, configuration: usize) -> Option<Pruned> {
        let progress = &self.progress[configuration];
        if progress.is_over() || progress.losses.is_empty() {
            return None;
        }
        let rung = progress.losses.len() - 1;
        let others = self.group_at(&progress.group, rung);
        let own = others.iter().find(|it| it.1 == configuration)?.0;
        let better = others.iter().filter(|it| it.0.compare(&own) == Ordering::Less).count();
        let last = progress.rungs.last().copied().unwrap_or_default();
        let (epochs, place, all) = (progress.rungs[rung], better + 1, others.len());
        let reason = format!("after epoch {epochs} of {last}: place {place} of {all}");
        let stage = self.goal.as_ref()?.stage.clone();
        Some(Pruned { stage, epochs, reason })
    }

    /// Losses and numbers of the configurations of a group that have something to show at a rung, the best first.
    fn group_at(&self, group: &str, rung: usize) -> Vec<(Loss, usize)> {
        let all = self.progress.iter().enumerate().filter(|it| it.1.group == group);
        loss::in_order(all.filter_map(|(at, it)| Some(((*it.losses.get(rung)?)?, at))).collect())
    }

    fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = Vec::new();
        for progress in &self.progress {
            if !groups.contains(&progress.group.as_str()) {
                groups.push(&progress.group);
            }
        }
        groups
    }

    /// Whether a configuration may continue from a rung to the next.
    fn waits_at(&self, configuration: usize, rung: usize, batch: &[(usize, usize)]) -> bool {
        let progress = &self.progress[configuration];
        progress.losses.len() == rung + 1
            && rung + 1 < progress.rungs.len()
            && !batch.iter().any(|job| job.0 == configuration)
    }

    /// The next promotion by ASHA's rule, from the highest rung down.
    fn promotable(&self, batch: &[(usize, usize)]) -> Option<(usize, usize)> {
        let factor = self.sweep.halving?.factor;
        let most = self.progress.iter().map(|it| it.rungs.len()).max().unwrap_or_default();
        for rung in (0..most.saturating_sub(1)).rev() {
            for group in self.groups() {
                let reached = self.progress.iter();
                let reached =
                    reached.filter(|it| it.group == group && it.losses.len() > rung).count();
                let best = self.group_at(group, rung).into_iter().take(reached / factor);
                let next = best.map(|it| it.1).find(|it| self.waits_at(*it, rung, batch));
                if let Some(configuration) = next {
                    return Some((configuration, rung + 1));
                }
            }
        }
        None
    }

    /// The next configuration from `at` on that has not run at all.
    fn fresh(&self, at: &mut usize) -> Option<(usize, usize)> {
        let found = (*at..self.progress.len()).find(|it| self.progress[*it].losses.is_empty())?;
        *at = found + 1;
        Some((found, 0))
    }

    /// A group of which none came to its end, as there are fewer than `factor` of them: the best continues.
    fn left_over(&self) -> Vec<(usize, usize)> {
        let mut jobs = Vec::new();
        for group in self.groups() {
            let mut of = self.progress.iter().filter(|it| it.group == group);
            if of.any(ConfigurationState::is_complete) {
                continue;
            }
            let most = self.progress.iter().map(|it| it.rungs.len()).max().unwrap_or_default();
            let next = (0..most).rev().find_map(|rung| {
                let all = self.group_at(group, rung).into_iter();
                all.map(|it| it.1).find(|it| self.waits_at(*it, rung, &[])).map(|it| (it, rung + 1))
            });
            jobs.extend(next);
        }
        jobs
    }

    /// Draws configurations by what is known.
    fn draw(&mut self, trials: &mut Vec<Trial>) -> Result<(), Report> {
        let observations: Vec<Observation> = (self.progress.iter().enumerate())
            .flat_map(|(configuration, progress)| {
                let levels = progress.losses.iter().enumerate();
                levels.map(move |(level, loss)| {
                    let loss = loss.as_ref().map(Loss::number);
                    Observation { configuration, level, loss }
                })
            })
            .collect();
        let drawn = self.sweep.next(&self.configurations, &observations);
        let drawn = drawn.map_err(|problem| self.origin.report(vec![problem]))?;
        if drawn.0.is_empty() {
            self.exhaust();
            return Ok(());
        }
        let (configurations, points) = drawn;
        let first = self.configurations.len();
        let (mut fitting, mut new) = (Vec::new(), Vec::new());
        for number in first..first + configurations.len() {
            let own: Vec<Point> =
                points.iter().filter(|it| it.configuration == number).cloned().collect();
            match self.origin.resolve(&own) {
                Ok((trials, _)) => {
                    fitting.extend(own);
                    new.extend(trials);
                }
                // Each value was fine at the ends of its axis; these do not go together.
                Err(report) => self.notes.push(format!(
                    "a configuration was drawn whose values do not go together, and left out:\n{}",
                    report.render(false).trim_end()
                )),
            }
        }
        self.add((configurations, fitting), &new)?;
        trials.extend(new);
        Ok(())
    }
}

fn differs(given: &sweep::Select, goal: &Goal) -> Diagnostic {
    let message = "`[sweep.select]` means other numbers in other trials";
    Diagnostic::at(given.span, message, format!("in one of them {}", goal.text()))
        .help("name `model` and `on` of a score that every trial has")
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
