//! A step of a learner, whose code runs or does not. Where the last two steps asked the device for the same, and nothing that the
//! code looked at changes from step to step, the device is asked for the same again, with the numbers of this step in the
//! places of the last one's; and what the code would have counted on the host is counted here.
//!
//! A method knows nothing of this. What it takes out of its form (`nn::ops::varying`) makes its steps ones whose code runs.

use super::meters::{Meter, Plan};
use super::repeats::{Knob, Numbers, Repeatable, Repeats, Scene, Update};
use super::{Batch, Bench, Network, PendingStep};
use crate::nn::ops::varying::has_looked;
use crate::nn::ops::{OpError, StepNumbers, Tensor, Varying};
use crate::train::clock::Clock;
use crate::train::contract::FitError;
use crate::train::method::{Learner, Visit};
use crate::train::monitor::ValidationScores;
use crate::train::optimizer_state::OptimizerState;

/// Steps that are known: whole batches, the last ones of an epoch, and those of both domains.
const MOST_SCENES: usize = 4;
/// After so many steps in a row that cannot be repeated it is tried seldom, at every so manieth step: to note one takes time.
const FEW: usize = 8;
const SELDOM: usize = 64;

/// What there is of a step whose code has run.
enum Taken {
    Noted(Box<Repeatable>),
    /// Its code looked at something that changes from step to step.
    Looked,
    /// It left other tensors or memory than it found, or the device did not note it.
    Unlike,
}

/// The numbers of a step in the form in which a device takes them.
fn of_step<'a>(numbers: &'a Numbers, batch: &Batch<'a>, clock: Clock) -> StepNumbers<'a> {
    StepNumbers {
        knobs: &numbers.knobs,
        labels: batch.source.as_ref().map_or((&[]).into(), |it| it.targets.labels),
        epoch: clock.epoch as u64,
        step: clock.step as u64,
        updates: &numbers.updates,
    }
}

impl Bench<'_> {
    /// One step of a learner, which is that of the step before: its code runs, or the device repeats what the last one asked for.
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
            let of_step = of_step(numbers, batch, clock);
            let is_due = |every| step.unchecked + 1 >= every;
            is_checked = matches!(self.repeats, Repeats::Checked(every) if is_due(every))
                && step.noted.can_repeat(&of_step);
            if !is_checked && let Some(logged) = step.noted.repeat(&of_step)? {
                let (numbers, mut step) = foreseen.expect("what was repeated");
                let done = self.leave(&step, &numbers, logged);
                #[cfg(test)]
                super::REPEATED.set(super::REPEATED.get() + 1);
                step.unchecked += 1;
                self.repeatable.push(step);
                self.in_vain = 0;
                return Ok(done);
            }
        }
        let (done, taken) = self.noted_step(learner, batch, scene)?;
        let differs = match (&foreseen, &taken) {
            (Some((numbers, step)), Taken::Noted(taken)) => {
                step.differs(taken, numbers, &of_step(numbers, batch, clock))
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
            self.repeatable.push(*taken);
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
        // Where others hold what the step overwrites, its code makes a copy first.
        let mut alone = Vec::new();
        let mut see_own = |x: &Tensor| {
            words.push(self.ops.place(x)?);
            alone.push(self.ops.is_alone(x));
            Some(())
        };
        for Network { model, optimizer } in self.networks.values() {
            for parameter in model.parameters() {
                see_own(&parameter.value)?;
                learning.push(parameter.trainable);
            }
            for stats in model.stats() {
                see_own(&stats.mean)?;
                see_own(&stats.var)?;
            }
            for moment in optimizer.iter().flat_map(OptimizerState::moments) {
                see_own(moment)?;
            }
        }
        Some(Scene { entry: self.entry, domains, shapes, places: words, alone, learning })
    }
}

#[cfg(test)]
mod tests;
