//! What is ready: which tasks of a plan are over, which may begin, which other processes have, and what follows
//! from how one ended. Knows the graph. Runs no task, waits for nobody, and does not know what tasks do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use petgraph::Direction;
use petgraph::graph::NodeIndex;

use super::events::Event;
use super::task::{ArtifactVersion, Carried, InputArtifact, ReadyTask};
use super::{Done, End, Ending, Execution, Holding, Holdings, Limit, display_name};
use crate::digest::{Content, Fingerprint};
use crate::plan::graph::{Plan, TaskInput};
use crate::store::mark;

/// What a worker is to do next.
pub(super) enum Next<'a> {
    /// Carry out this task.
    Begin(NodeIndex, ReadyTask<'a>),
    /// Nothing but to hand it back: the task is over without having begun. People hear of it where it was
    /// skipped, unless it is `silent`.
    Over { task: NodeIndex, done: Done, silent: bool },
}

/// How the tasks of a plan stand.
pub(super) struct TaskSchedule<'a> {
    plan: &'a Plan,
    execution: &'a Execution<'a>,
    done: Vec<Option<Done>>,
    /// Of every task, how many that it waits for have not ended.
    waiting: Vec<usize>,
    /// Of every task, those that wait for it though they need nothing of it.
    held_back: HashMap<NodeIndex, Vec<NodeIndex>>,
    /// The place of every task in the plan's order.
    places: Vec<usize>,
    /// Places of the tasks that wait for nothing.
    ready: BTreeSet<usize>,
    /// By place, the tasks that wait for nothing but are in the hands of another process.
    held: BTreeMap<usize, HeldTask>,
    /// The tasks that another process had at some time, so that what it left is looked for.
    were_held: HashSet<NodeIndex>,
    /// Where to begin among the ready ones: at the front while this process is alone; elsewhere, which differs
    /// between processes, once it met another, so that they do not go for the same tasks.
    begin_at: usize,
    /// How many have not ended.
    left: usize,
    /// How often each task ended: more than once when its artifact was damaged and built again.
    ended: Vec<u32>,
    /// The tasks that are being built again, and who waits for each.
    again: HashMap<NodeIndex, Vec<NodeIndex>>,
    /// Seconds and log of tasks that came back: an input was damaged, or another process had them.
    came_back: HashMap<NodeIndex, (f64, Vec<String>)>,
    /// Why nothing begins any more.
    stopped: Option<Stopped>,
}

/// A task that another process has.
pub(super) struct HeldTask {
    pub task: NodeIndex,
    pub fingerprint: Fingerprint,
    /// Who has it, for people; `None` once they were told.
    pub holder: Option<String>,
}

/// Why nothing begins any more, and because of which task.
#[derive(Clone, Copy)]
enum Stopped {
    /// With `--fail-fast`: it failed.
    Failed(NodeIndex),
    /// The caller saw its artifact and said no. Why, the caller knows.
    Refused(NodeIndex),
}

impl<'a> TaskSchedule<'a> {
    /// That of a plan, in which what `holdings` has is over. Tells the reporter of that.
    pub fn new(plan: &'a Plan, execution: &'a Execution<'a>, holdings: &Holdings) -> Self {
        let count = plan.order.len();
        let mut places = vec![0; count];
        for (place, task) in plan.order.iter().enumerate() {
            places[task.index()] = place;
        }
        let needs = |task| plan.graph.neighbors_directed(task, Direction::Incoming).count();
        let mut waiting: Vec<usize> = plan.graph.node_indices().map(needs).collect();
        let mut held_back: HashMap<NodeIndex, Vec<NodeIndex>> = HashMap::new();
        for (task, before) in execution.holds {
            waiting[task.index()] += before.len();
            for before in before {
                held_back.entry(*before).or_default().push(*task);
            }
        }
        let ready = (0..count).filter(|task| waiting[*task] == 0);
        let mut schedule = Self {
            plan,
            execution,
            ready: ready.map(|task| places[task]).collect(),
            held: BTreeMap::new(),
            were_held: HashSet::new(),
            begin_at: 0,
            done: vec![None; count],
            left: count,
            ended: vec![0; count],
            waiting,
            held_back,
            places,
            again: HashMap::new(),
            came_back: HashMap::new(),
            stopped: None,
        };
        schedule.end_what_is_there(holdings);
        schedule
    }

    /// Ends the tasks that the store has, and leaves those ready that are to be built.
    fn end_what_is_there(&mut self, holdings: &Holdings) {
        let mut rest = Vec::new();
        while let Some(place) = self.ready.pop_first() {
            let task = self.plan.order[place];
            let whole = |(before, _): (NodeIndex, _)| self.artifact_of(before).is_some();
            let holding = holdings.get(task).filter(|_| {
                // What the store has of a task that stays is of another run, and must not change this one.
                !self.stays(task)
                    && !self.execution.suspects.contains(&task)
                    && self.plan.needs(task).into_iter().all(whole)
            });
            let Some(Holding { fingerprint, artifact, seconds }) = holding else {
                rest.push(place);
                continue;
            };
            let (name, summary) = (display_name(self.plan, task), artifact.summary.clone());
            self.execution.reporter.event(&Event::Cached { task: task.index(), name, summary });
            let done = Done {
                end: End::Cached,
                fingerprint: Some(*fingerprint),
                artifact: Some((artifact.content, artifact.path.clone())),
                is_recorded: true,
                seconds: *seconds,
                log: Vec::new(),
            };
            self.end(task, done);
        }
        self.ready.extend(rest);
    }

    /// How many tasks have not ended.
    pub fn left(&self) -> usize {
        self.left
    }

    /// How many may begin.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How every task ended, once none is left.
    pub fn into_done(self) -> Vec<Done> {
        self.done.into_iter().map(|it| it.expect("every task ended")).collect()
    }

    /// What is to be done next; `None` while everything that is left waits for what is under way.
    pub fn next(&mut self) -> Option<Next<'a>> {
        let place = self.ready.range(self.begin_at..).next().or_else(|| self.ready.first());
        let place = *place?;
        self.ready.remove(&place);
        let task = self.plan.order[place];
        Some(match self.end_without_beginning(task) {
            Some(end) => {
                let silent = matches!(self.stopped, Some(Stopped::Refused(_)));
                Next::Over { task, done: Done::without(end), silent }
            }
            None => Next::Begin(task, self.ready_task(task)),
        })
    }

    /// Nothing begins any more, as [`Execution::goes_on`] said of what `task` built.
    pub fn refuse(&mut self, task: NodeIndex) {
        self.stopped = Some(Stopped::Refused(task));
        self.release(|_| true);
    }

    /// The tasks that other processes have.
    pub fn held(&mut self) -> impl ExactSizeIterator<Item = &mut HeldTask> {
        self.held.values_mut()
    }

    /// Makes those of the tasks ready that other processes have and that are `worth_a_try` again.
    pub fn release(&mut self, worth_a_try: impl Fn(&Fingerprint) -> bool) {
        self.ready
            .extend(self.held.extract_if(.., |_, it| worth_a_try(&it.fingerprint)).map(|it| it.0));
    }

    /// Takes back a task that was handed out.
    pub fn answer(&mut self, task: NodeIndex, carried: Carried) {
        match carried {
            Carried::Ended(done) => self.end(task, done),
            Carried::DamagedInputs { inputs, seconds, log } => {
                let (so_far, all) = self.came_back.entry(task).or_default();
                *so_far += seconds;
                all.extend(log);
                for ArtifactVersion { task: input, ended } in inputs {
                    // It may have been built again since the task looked at it.
                    if self.ended[input] == ended {
                        self.build_again(NodeIndex::new(input), task);
                    }
                }
                if self.waiting[task.index()] == 0 {
                    self.ready.insert(self.places[task.index()]);
                }
            }
            Carried::Held { holder, seconds, log } => {
                let (so_far, all) = self.came_back.entry(task).or_default();
                *so_far += seconds;
                all.extend(log);
                self.hold(task, holder);
            }
        }
    }

    /// Puts `task` aside, as `holder` has it.
    fn hold(&mut self, task: NodeIndex, holder: String) {
        let place = self.places[task.index()];
        if self.stopped.is_some() {
            self.ready.insert(place);
            return;
        }
        if self.were_held.is_empty() {
            self.begin_at = starting_place(self.places.len());
        }
        let holder = self.were_held.insert(task).then_some(holder);
        let fingerprint = self.fingerprint(task);
        self.held.insert(place, HeldTask { task, fingerprint, holder });
    }

    /// Has `input` built once more, whose artifact is damaged or gone, before `task` begins.
    fn build_again(&mut self, input: NodeIndex, task: NodeIndex) {
        let waiters = self.again.entry(input).or_insert_with(|| {
            self.left += 1;
            self.ready.insert(self.places[input.index()]);
            Vec::new()
        });
        waiters.push(task);
        self.waiting[task.index()] += 1;
    }

    fn end(&mut self, task: NodeIndex, mut done: Done) {
        if let Some((seconds, mut log)) = self.came_back.remove(&task) {
            done.seconds += seconds;
            log.append(&mut done.log);
            done.log = log;
        }
        if self.execution.fail_fast
            && done.end.ending() == Ending::Failed
            && !self.failed_before(&done)
        {
            self.stopped.get_or_insert(Stopped::Failed(task));
            self.release(|_| true);
        }
        self.done[task.index()] = Some(done);
        self.ended[task.index()] += 1;
        self.left -= 1;
        let next: Vec<NodeIndex> = match self.again.remove(&task) {
            Some(waiters) => waiters,
            None => {
                let held_back = self.held_back.remove(&task).unwrap_or_default();
                self.plan.graph.neighbors(task).chain(held_back).collect()
            }
        };
        for next in next {
            let waiting = &mut self.waiting[next.index()];
            *waiting -= 1;
            if *waiting == 0 {
                self.ready.insert(self.places[next.index()]);
            }
        }
    }

    fn failed_before(&self, done: &Done) -> bool {
        done.fingerprint.is_some_and(|it| self.execution.failures.contains_key(&it))
    }

    /// How a task ended that others wait for.
    fn outcome(&self, task: NodeIndex) -> &Done {
        self.done[task.index()].as_ref().expect("it ended before those that wait for it began")
    }

    fn artifact_of(&self, task: NodeIndex) -> Option<&(Content, PathBuf)> {
        self.done[task.index()].as_ref()?.artifact.as_ref()
    }

    fn stays(&self, task: NodeIndex) -> bool {
        self.execution.limits.get(&task) == Some(&Limit::Stay)
    }

    /// The end of a task that may not begin though it waits for nothing.
    fn end_without_beginning(&self, task: NodeIndex) -> Option<End> {
        if self.stays(task) {
            return Some(End::NotBegun);
        }
        let needs = self.plan.needs(task).into_iter().map(|(before, _)| before);
        let lacking = needs.into_iter().find(|before| self.artifact_of(*before).is_none());
        if let Some(before) = lacking
            && self.outcome(before).end.ending() == Ending::Paused
        {
            return Some(End::NotBegun);
        }
        let stopped = self.stopped.map(|(Stopped::Failed(task) | Stopped::Refused(task))| task);
        let because = lacking.or(stopped)?;
        Some(End::Skipped { because: display_name(self.plan, because) })
    }

    /// A task that may begin, with all that it takes.
    fn ready_task(&self, task: NodeIndex) -> ReadyTask<'a> {
        let (plan, execution) = (self.plan, self.execution);
        let node = &plan.graph[task];
        let fingerprint = self.fingerprint(task);
        ReadyTask {
            number: task.index(),
            name: display_name(plan, task),
            stage: node.stage.as_ref(),
            settings: &node.settings,
            external: node.external.as_deref(),
            device: node.device,
            backend: node.backend.as_deref(),
            fingerprint,
            inputs: node.inputs.iter().map(|input| self.input(input)).collect(),
            input_texts: plan.input_texts(task),
            budget: match execution.limits.get(&task) {
                Some(Limit::Budget(budget)) => Some(*budget),
                Some(Limit::Stay) | None => None,
            },
            failed_before: execution.failures.get(&fingerprint),
            is_suspect: self.again.contains_key(&task) || execution.suspects.contains(&task),
            was_held: self.were_held.contains(&task),
        }
    }

    /// That of a task that waits for nothing.
    fn fingerprint(&self, task: NodeIndex) -> Fingerprint {
        let content = |input| self.artifact_of(input).map(|it| it.0);
        self.plan.fingerprint(task, content).expect("every input has an artifact")
    }

    fn input(&self, input: &TaskInput) -> InputArtifact {
        let done = self.outcome(input.task);
        let fingerprint: Fingerprint = done.fingerprint.expect("every input has a fingerprint");
        let (content, folder) = done.artifact.clone().expect("every input has an artifact");
        InputArtifact {
            key: input.key.clone(),
            split: input.split.clone(),
            version: ArtifactVersion {
                task: input.task.index(),
                ended: self.ended[input.task.index()],
            },
            fingerprint,
            content,
            folder,
            is_new: done.end == End::Built,
        }
    }
}

/// A place among `places`, another one in every process.
fn starting_place(places: usize) -> usize {
    let digest = blake3::hash(mark().as_bytes());
    let number = u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("eight bytes"));
    usize::try_from(number % places.max(1) as u64).expect("less than a count")
}
