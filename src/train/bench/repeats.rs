//! Steps whose code does not run. Where the last two steps asked the device for the same, and nothing that the method's code looked at
//! changes from step to step, the device is asked for the same again, with the numbers of this step in the places of the last
//! one's; and what the code would have counted on the host is counted here.
//!
//! A method knows nothing of this. What it takes out of its form (`nn::ops::varying`) makes its steps ones whose code runs.

use std::fmt;
use std::rc::Rc;

use super::meters::{Meter, Plan};
use super::{Batch, Bench, Network, PendingStep};
use crate::nn::EntryLayer;
use crate::nn::ops::varying::has_looked;
use crate::nn::ops::{Dims, NotedStep, OpError, StepNumbers, Tensor, UpdateRule, Varying};
use crate::train::clock::Clock;
use crate::train::contract::FitError;
use crate::train::method::{Learner, Visit};
use crate::train::monitor::ValidationScores;
use crate::train::optimizer_state::OptimizerState;
use crate::train::schedule::TrainingProgress;

/// Steps that are known: whole batches, the last ones of an epoch, and those of both domains.
const MOST_SCENES: usize = 4;
/// After so many steps in a row that cannot be repeated it is tried seldom, at every so manieth step: to note one takes time.
const FEW: usize = 8;
const SELDOM: usize = 64;
/// An environment variable for tests.
const VARIABLE: &str = "RUNNER_REPEATS";

/// How a number follows from where the training stands.
#[derive(Clone)]
pub(super) struct Knob(pub Rc<dyn Fn(&TrainingProgress) -> f32>);

impl fmt::Debug for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Knob").finish_non_exhaustive()
    }
}

#[cfg(test)]
thread_local! {
    /// Steps of this thread whose code did not run.
    pub(crate) static REPEATED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Whether steps are repeated without their code. It moves no byte of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// Wherever that can be.
    Always,
    /// The code of every so manieth of these steps runs nevertheless, and what it does is compared with what would have been done
    /// without it.
    Checked(usize),
    /// The code of every step runs.
    Never,
}

impl Default for Repeats {
    fn default() -> Self {
        if cfg!(debug_assertions) { Self::Checked(4) } else { Self::Always }
    }
}

impl Repeats {
    /// What the environment asks for: `RUNNER_REPEATS=never`, or `checked` for every second step.
    ///
    /// # Errors
    /// When it is another word.
    pub fn of_environment() -> Result<Self, OpError> {
        match std::env::var(VARIABLE).as_deref() {
            Err(_) => Ok(Self::default()),
            Ok("never") => Ok(Self::Never),
            Ok("checked") => Ok(Self::Checked(2)),
            Ok(other) => Err(OpError::new(format_args!(
                "{VARIABLE} is `{other}`, which is neither `never` nor `checked`"
            ))),
        }
    }
}

/// One of the updates of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Update {
    /// The network's place among those of the bench.
    pub network: usize,
    /// The parameter's place among those of the network.
    pub parameter: usize,
    /// How often the step has moved it before.
    pub again: usize,
}

/// A step that may come again.
#[derive(Debug)]
pub(super) struct Repeatable {
    noted: Rc<dyn NotedStep>,
    /// What there must be when it comes again.
    scene: Scene,
    knobs: Vec<Knob>,
    /// Their values in this step.
    values: Vec<f32>,
    updates: Vec<Update>,
    /// Batches that it counted, of all running statistics of all networks.
    batches: Vec<i64>,
    losses: usize,
    meters: Vec<Plan>,
    /// Whether it is what the step before it foresaw, in every byte.
    is_proven: bool,
    /// Steps that were repeated since one was compared.
    unchecked: usize,
}

/// What the code of a step finds, as far as it may be another at the next step without the code's looking at it.
#[derive(Debug, PartialEq, Eq)]
struct Scene {
    entry: EntryLayer,
    /// Whether there are images of the source, and of the target.
    domains: [bool; 2],
    /// The shapes of the images and their views.
    shapes: Vec<Dims>,
    /// Where the images and all tensors of networks and optimizers lie.
    places: Vec<u64>,
    /// Which parameters learn.
    learning: Vec<bool>,
}

/// What is another at a step that comes again.
struct Numbers {
    knobs: Vec<f32>,
    updates: Vec<(UpdateRule, i32)>,
}

impl Numbers {
    fn of_step<'a>(&'a self, batch: &Batch<'a>, clock: Clock) -> StepNumbers<'a> {
        StepNumbers {
            knobs: &self.knobs,
            labels: batch.source.as_ref().map_or((&[]).into(), |it| it.targets.labels),
            epoch: clock.epoch as u64,
            step: clock.step as u64,
            updates: &self.updates,
        }
    }
}

/// What there is of a step whose code has run.
enum Taken {
    Noted(Box<Repeatable>),
    /// Its code looked at something that changes from step to step.
    Looked,
    /// It left other tensors or memory than it found, or the device did not note it.
    Unlike,
}

impl Repeatable {
    /// What else this step, foreseen with `numbers`, does than `other`, which was taken in its place.
    fn differs(&self, other: &Self, numbers: &Numbers, of_step: &StepNumbers) -> Option<String> {
        let bits = |values: &[f32]| values.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
        if bits(&numbers.knobs) != bits(&other.values) {
            return Some("a knob has another value".to_owned());
        }
        let counted = |it: &Self| (it.updates.clone(), it.batches.clone(), it.losses);
        if counted(self) != counted(other) || self.meters != other.meters {
            return Some("it counts or reports something else".to_owned());
        }
        self.noted.differs(&*other.noted, of_step)
    }
}

impl Bench<'_> {
    /// One step of a learner: its code runs, or the device repeats what the last one asked for.
    ///
    /// # Errors
    /// Those of the step.
    pub(in crate::train) fn step(
        &mut self,
        learner: &mut dyn Learner,
        batch: &Batch,
        clock: Clock,
        validation: &[ValidationScores],
    ) -> Result<PendingStep, FitError> {
        self.begin_step(clock, validation);
        let is_tried = self.in_vain < FEW || self.in_vain.is_multiple_of(SELDOM);
        self.in_vain += 1;
        let scene = is_tried.then(|| self.scene(batch)).flatten();
        let Some(scene) = scene.filter(|_| !self.remembers(learner)) else {
            learner.step(self, batch)?;
            return self.end_step();
        };
        let before = self.repeatable.iter().position(|it| it.scene == scene);
        let before = before.map(|at| self.repeatable.remove(at));
        let foreseen = before.map(|step| (self.numbers(&step), step));
        let mut is_checked = false;
        if let Some((numbers, step)) = &foreseen
            && step.is_proven
        {
            let of_step = numbers.of_step(batch, clock);
            let is_due = |every| step.unchecked + 1 >= every;
            is_checked = matches!(self.repeats, Repeats::Checked(every) if is_due(every))
                && step.noted.can_repeat(&of_step);
            if !is_checked && let Some(logged) = step.noted.repeat(&of_step)? {
                let (numbers, mut step) = foreseen.expect("what was repeated");
                let done = self.leave(&step, &numbers, logged);
                #[cfg(test)]
                REPEATED.set(REPEATED.get() + 1);
                step.unchecked += 1;
                self.repeatable.push(step);
                self.in_vain = 0;
                return Ok(done);
            }
        }
        let (done, taken) = self.noted_step(learner, batch, scene)?;
        let differs = match (&foreseen, &taken) {
            (Some((numbers, step)), Taken::Noted(taken)) => {
                step.differs(taken, numbers, &numbers.of_step(batch, clock))
            }
            (_, Taken::Looked) => Some("its code looks at something that changes".to_owned()),
            _ => None,
        };
        if let (true, Some(why)) = (is_checked, &differs) {
            let error = format_args!("a step without its code would have been another one: {why}");
            return Err(OpError::new(error).into());
        }
        if let Taken::Noted(mut taken) = taken {
            taken.is_proven = foreseen.is_some() && differs.is_none();
            if self.repeatable.len() == MOST_SCENES {
                self.repeatable.remove(0);
            }
            self.repeatable.push(taken);
            self.in_vain = 0;
        }
        Ok(done)
    }

    /// Forgets the steps that may come again: the learner is about to see something else than steps.
    pub(in crate::train) fn forget_step(&mut self) {
        self.repeatable.clear();
    }

    /// Runs the code of a step; also what it takes to repeat that, where it can be.
    fn noted_step(
        &mut self,
        learner: &mut dyn Learner,
        batch: &Batch,
        scene: Scene,
    ) -> Result<(PendingStep, Taken), FitError> {
        let before = self.counted_batches();
        has_looked();
        self.ops.note_step();
        let done = learner.step(self, batch).and_then(|()| self.end_step());
        let noted = self.ops.noted_step();
        let (done, looked) = (done?, has_looked());
        if looked {
            return Ok((done, Taken::Looked));
        }
        let is_left = self.scene(batch).as_ref() == Some(&scene);
        let Some(noted) = noted.filter(|_| is_left) else { return Ok((done, Taken::Unlike)) };
        let mut updates = std::mem::take(&mut self.updates);
        for at in 1..updates.len() {
            let is_it = |it: &&Update| {
                (it.network, it.parameter) == (updates[at].network, updates[at].parameter)
            };
            updates[at].again = updates[..at].iter().filter(is_it).count();
        }
        let batches =
            self.counted_batches().into_iter().zip(before).map(|(now, before)| now - before);
        let (knobs, values) = std::mem::take(&mut self.knobs).into_iter().unzip();
        let taken = Repeatable {
            noted,
            scene,
            knobs,
            values,
            updates,
            batches: batches.collect(),
            losses: done.losses.len(),
            meters: done.meters.iter().filter_map(Meter::plan).collect(),
            is_proven: false,
            unchecked: 0,
        };
        Ok((done, Taken::Noted(Box::new(taken))))
    }

    /// What is another now at a step that comes again.
    fn numbers(&self, step: &Repeatable) -> Numbers {
        let now = self.now();
        let moment = self.clock.moment(&self.validation);
        let schedule = &self.settings.schedule;
        let (lr, momentum) = (|base| schedule.lr(base, &moment), schedule.momentum(&moment));
        let next = |it: &Update| {
            let optimizer = self.networks[it.network].optimizer.as_ref();
            let optimizer = optimizer.expect("a network that learns by descent");
            optimizer.next(it.parameter, it.again, lr, momentum)
        };
        Numbers {
            knobs: step.knobs.iter().map(|Knob(of)| of(&now)).collect(),
            updates: step.updates.iter().map(next).collect(),
        }
    }

    /// Leaves behind on the host what a step that came again would have left; `logged` are the numbers that it set aside.
    fn leave(&mut self, step: &Repeatable, numbers: &Numbers, logged: Vec<Tensor>) -> PendingStep {
        for Update { network, parameter, .. } in &step.updates {
            let optimizer = self.networks[*network].optimizer.as_mut();
            optimizer.expect("a network that learns by descent").count(*parameter);
        }
        let networks = self.networks.values_mut();
        let stats = networks.flat_map(|network| network.model.stats_mut());
        stats.zip(&step.batches).for_each(|(stats, more)| stats.batches += more);
        let mut logged = logged.into_iter();
        let losses = logged.by_ref().take(step.losses).collect();
        let meter = |plan: &Plan| plan.meter(&numbers.knobs, &mut logged);
        self.meters.extend(step.meters.iter().map(meter));
        self.report_rates();
        PendingStep { clock: self.clock, meters: std::mem::take(&mut self.meters), losses }
    }

    /// Batches that running statistics have counted, of all networks.
    fn counted_batches(&self) -> Vec<i64> {
        let stats = self.networks.values().flat_map(|network| network.model.stats());
        stats.map(|stats| stats.batches).collect()
    }

    /// Whether the learner remembers anything between steps.
    fn remembers(&mut self, learner: &mut dyn Learner) -> bool {
        struct Found(bool);
        impl Visit for Found {
            fn numbers(&mut self, _: &str, _: &mut Vec<f32>) {
                self.0 = true;
            }

            fn integers(&mut self, _: &str, _: &mut Vec<u32>) {
                self.0 = true;
            }
        }
        if !self.has_memory {
            let mut found = Found(false);
            learner.state(&mut found);
            self.has_memory = found.0;
        }
        self.has_memory
    }

    /// What the code of a step finds; `None` where the step cannot be repeated in any case.
    fn scene(&self, batch: &Batch) -> Option<Scene> {
        if self.repeats == Repeats::Never || self.descents.is_some() {
            return None;
        }
        let mut words = Vec::with_capacity(256);
        let mut see = |x: &Tensor| {
            words.push(self.ops.place(x)?);
            Some(())
        };
        // Lists whose values are those of this step alone, as whoever made the batch says.
        let known = |indices: &Varying<usize>| indices.is_empty() || indices.is_of_step();
        let mut shapes = Vec::new();
        let mut see_images = |images: &Tensor, views: &[Tensor]| {
            for x in std::iter::once(images).chain(views) {
                see(x)?;
                shapes.push(x.dims());
            }
            Some(())
        };
        if let Some(source) = &batch.source {
            let is_plain = source.targets.mixed.is_none() && source.targets.labels.is_of_step();
            if !is_plain || !known(&source.indices) {
                return None;
            }
            see_images(&source.images, &source.views)?;
        }
        if let Some(target) = &batch.target {
            if !known(&target.indices) {
                return None;
            }
            see_images(&target.images, &target.views)?;
        }
        let domains = [batch.source.is_some(), batch.target.is_some()];
        let mut learning = Vec::new();
        for Network { model, optimizer } in self.networks.values() {
            for parameter in model.parameters() {
                see(&parameter.value)?;
                learning.push(parameter.trainable);
            }
            for stats in model.stats() {
                see(&stats.mean)?;
                see(&stats.var)?;
            }
            for moment in optimizer.iter().flat_map(OptimizerState::moments) {
                see(moment)?;
            }
        }
        Some(Scene { entry: self.entry, domains, shapes, places: words, learning })
    }
}

#[cfg(test)]
mod tests;
