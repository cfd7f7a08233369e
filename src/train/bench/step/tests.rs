//! Which steps a device repeats, on the stand-in for a GPU, and what finds those that it must not.

use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::data::view::Domain;
use crate::device::Precision;
use crate::nn::Part;
use crate::nn::gpu::Gpu;
use crate::nn::ops::{Backend, Dims, GpuOps, Number, Targets};
use crate::train::bench::{REPEATED, SourceBatch, TargetBatch};
use crate::train::networks::{Group, NetId};
use crate::train::schedule::{Scheduled, TrainingProgress};
use crate::train::{Adam, Optimizer, TrainingSettings, tiny};

fn gpu() -> Option<Backend> {
    crate::stand_in::here()?;
    Some(GpuOps::shared(Gpu::open(0).unwrap(), Precision::Tf32).unwrap())
}

/// What a step of the method under test does beside its descent: the factor of its loss.
type Factor<'a> = &'a dyn Fn(&mut Bench, &Batch, &Tensor) -> Number;

/// A learner whose loss has a factor.
struct Scaled<'a>(Factor<'a>);

impl Learner for Scaled<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let source = batch.source();
        let features = bench.learn(&Part::FEATURES, &source.images, Domain::Source)?;
        let logits = bench.learn(&Part::CLASSIFIER, &features, Domain::Source)?;
        let hits = bench.ops().hits(&logits, source.targets.labels)?;
        bench.meter_share("accuracy", &[&hits], source.targets.labels.len());
        let loss = bench.ops().cross_entropy(&logits, &source.targets)?;
        let factor = (self.0)(bench, batch, &loss);
        bench.meter("class_loss", &loss, 2);
        bench.descend(&loss.scale(factor)?, &[Group::MAIN])
    }
}

/// Steps of a training, one a call.
struct Steps<'a> {
    bench: Bench<'a>,
    taken: usize,
    /// Images of a step.
    size: usize,
}

/// Everything that a training leaves: bits of tensors and of readings, and what the host counts.
type Left = (Vec<Vec<u32>>, Vec<i32>, Vec<i64>, Readings);

/// Names, and bits of values.
type Readings = Vec<(&'static str, u64)>;

const STEPS: usize = 100;

impl<'a> Steps<'a> {
    fn new(ops: &Backend, settings: &'a TrainingSettings, repeats: Repeats) -> Self {
        let mut bench = Bench::alone(tiny::model_on(ops), settings).unwrap();
        bench.repeats = repeats;
        Self { bench, taken: 0, size: 2 }
    }

    /// A step, on images and labels of its own; whether its code did not run.
    fn step(&mut self, factor: Factor) -> Result<(bool, Readings), FitError> {
        let (at, ops) = (self.taken, Rc::clone(self.bench.ops()));
        self.taken += 1;
        let value = |it: usize| ((it * 37 + at * 11) % 101) as f32 / 50.0 - 1.0;
        let values = (0..self.size * 48).map(value).collect();
        let images = ops.tensor(values, Dims::Rows(self.size, 48)).unwrap();
        let labels: Vec<u32> = (0..self.size).map(|it| ((it + at) % 3 % 2) as u32).collect();
        let source = SourceBatch::plain(images, Targets::plain(&labels));
        let batch = Batch { source: Some(source), target: None::<TargetBatch> };
        let clock = Clock { epoch: 0, epochs: 1, step: at, steps_per_epoch: STEPS };
        let before = REPEATED.get();
        let done = self.bench.step(&mut Scaled(factor), &batch, clock, &[])?;
        let is_repeated = REPEATED.get() > before;
        drop(batch);
        let readings = done.read(&mut None)?;
        let readings = readings.iter().map(|it| (it.name, it.value.to_bits())).collect();
        Ok((is_repeated, readings))
    }

    /// How many of so many steps had no code.
    fn repeated(&mut self, steps: usize, factor: Factor) -> usize {
        (0..steps).filter(|_| self.step(factor).unwrap().0).count()
    }

    fn left(&self, readings: Readings) -> Left {
        let network = &self.bench.networks[&NetId::MAIN];
        let optimizer = network.optimizer.as_ref().unwrap();
        let parameters = network.model.parameters().iter().map(|it| &it.value);
        let stats = network.model.stats().iter().flat_map(|it| [&it.mean, &it.var]);
        let tensors = parameters.chain(stats).chain(optimizer.moments());
        let tensors = tensors.map(|it| it.host().iter().map(|it| it.to_bits()).collect());
        (tensors.collect(), optimizer.updates(), self.bench.counted_batches(), readings)
    }
}

fn settings(optimizer: Optimizer) -> TrainingSettings {
    TrainingSettings::plain(2, optimizer)
}

const ADAM: Optimizer =
    Optimizer::Adam(Adam { lr: 0.01, betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.1 });

/// A knob that rises, from 0.
fn rising(bench: &mut Bench, _: &Batch, _: &Tensor) -> Number {
    #[expect(clippy::cast_possible_truncation, reason = "a factor of a loss")]
    let of = |progress: &TrainingProgress| progress.share as f32;
    bench.knob("factor", of)
}

#[test]
fn what_is_left_behind_is_the_same_with_every_optimizer_and_schedule() {
    let Some(gpu) = gpu() else { return };
    let sgd = |momentum| Optimizer::Sgd { lr: 0.1, momentum, nesterov: true, weight_decay: 0.01 };
    let rms =
        Optimizer::RmsProp { lr: 0.01, alpha: 0.9, eps: 1e-8, momentum: 0.5, weight_decay: 0.0 };
    let moving = "schedule = { kind = 'one_cycle', warmup_steps = 5 }";
    for optimizer in [ADAM, sgd(0.0), sgd(0.9), rms] {
        for schedule in [moving, "schedule = 'ganin'"] {
            let schedule = crate::config::testing::read_lines(schedule, Scheduled::read).0.unwrap();
            let settings = TrainingSettings { schedule, ..settings(optimizer) };
            let run = |repeats: Repeats| {
                let mut steps = Steps::new(&gpu, &settings, repeats);
                let repeated = steps.repeated(12, &rising);
                let (_, readings) = steps.step(&rising).unwrap();
                (repeated, steps.left(readings))
            };
            let (none, expected) = run(Repeats::Never);
            let (some, found) = run(Repeats::Always);
            assert!(none == 0 && some >= 8 && found == expected, "{optimizer:?}: {some} steps");
            let (fewer, found) = run(Repeats::Checked(3));
            assert!(
                fewer >= 4 && fewer < some && found == expected,
                "{optimizer:?}: {fewer} steps"
            );
        }
    }
}

#[test]
fn a_step_whose_code_looks_at_something_that_changes_has_its_code() {
    let Some(gpu) = gpu() else { return };
    let settings = settings(ADAM);
    let looks: [(&str, Factor); 7] = [
        ("a knob", &|bench, batch, loss| {
            let value = rising(bench, batch, loss).value();
            value.into()
        }),
        ("the progress", &|bench, _, _| {
            bench.progress();
            1.0.into()
        }),
        ("the epoch", &|bench, _, _| {
            bench.epoch();
            1.0.into()
        }),
        ("random numbers", &|bench, _, _| bench.stream("factor").uniform().into()),
        ("the labels", &|_, batch, _| (1.0 + batch.source().targets.labels[0] as f32).into()),
        ("a loss", &|_, _, loss| (loss.value() as f32).into()),
        ("a parameter", &|bench, _, _| {
            bench.model(NetId::MAIN).parameters()[0].value.host();
            1.0.into()
        }),
    ];
    for (what, look) in looks {
        let mut steps = Steps::new(&gpu, &settings, Repeats::Checked(2));
        assert_eq!(steps.repeated(8, look), 0, "{what}");
    }
    let mut steps = Steps::new(&gpu, &settings, Repeats::Always);
    assert_eq!(steps.repeated(8, &|_, _, _| 1.0.into()), 5, "the others had theirs for a reason");
}

#[test]
fn a_step_has_its_code_where_something_is_not_as_it_was() {
    let Some(gpu) = gpu() else { return };
    let settings = settings(ADAM);
    let mut steps = Steps::new(&gpu, &settings, Repeats::Always);
    assert!(steps.repeated(6, &rising) >= 2);
    let mut has_code = |change: &mut dyn FnMut(&mut Steps)| {
        assert!(steps.repeated(4, &rising) > 0);
        assert!(steps.step(&rising).unwrap().0);
        change(&mut steps);
        assert!(!steps.step(&rising).unwrap().0);
    };
    // A parameter has gone elsewhere, and one learns no more.
    has_code(&mut |steps| {
        let value = &mut steps.bench.model_mut(NetId::MAIN).parameters_mut()[0].value;
        let values = value.host();
        value.write(&values);
    });
    has_code(&mut |steps| {
        steps.bench.model_mut(NetId::MAIN).parameters_mut()[0].trainable = false;
    });
    // Memory is in use that was not.
    let mut held = Vec::new();
    has_code(&mut |steps| {
        held.push(steps.bench.ops().tensor(vec![0.0; 9], Dims::Flat(9)).unwrap());
    });
    // Another batch, and one as before.
    has_code(&mut |steps| steps.size = 3);
    has_code(&mut |steps| steps.bench.forget_step());
    steps.size = 2;
    steps.bench.descents = Some(Vec::new());
    assert_eq!(steps.repeated(4, &rising), 0, "somebody wants the gradients");
}

#[test]
fn batches_of_two_sizes_in_turns_are_both_repeated() {
    let Some(gpu) = gpu() else { return };
    let settings = settings(ADAM);
    let run = |repeats: Repeats| {
        let mut steps = Steps::new(&gpu, &settings, repeats);
        let mut repeated = 0;
        for at in 0..18 {
            steps.size = if at % 3 == 2 { 4 } else { 2 };
            repeated += usize::from(steps.step(&rising).unwrap().0);
        }
        (repeated, steps.left(Vec::new()))
    };
    let (some, found) = run(Repeats::Always);
    assert!(some >= 10 && found == run(Repeats::Never).1, "{some} steps");
}

/// A number whose origin is a knob that has the same value for a while.
fn wrongly_declared(bench: &mut Bench, _: &Batch, _: &Tensor) -> Number {
    bench.knob("right", |progress| if progress.step < 6 { 1.0 } else { 2.0 });
    bench.knob("wrong", |_| 1.0);
    let value = if bench.now().step < 6 { 1.0 } else { 2.0 };
    Number::of_knob(value, 1)
}

#[test]
fn a_number_that_comes_from_elsewhere_than_is_said_is_found() {
    let Some(gpu) = gpu() else { return };
    let settings = settings(ADAM);
    let mut steps = Steps::new(&gpu, &settings, Repeats::Checked(2));
    let found = (0..12).find_map(|_| steps.step(&wrongly_declared).err()).unwrap().to_string();
    assert!(found.contains("a step without its code would have been another one"), "{found}");
    assert!(found.contains("what is sent with list"), "{found}");
    // One that is off from the beginning is repeated nowhere.
    let off: Factor = &|bench, _, _| {
        bench.knob("right", |progress| progress.step as f32);
        bench.knob("wrong", |_| 1.0);
        Number::of_knob(bench.now().step as f32, 1)
    };
    assert_eq!(Steps::new(&gpu, &settings, Repeats::Always).repeated(8, off), 0);
}

#[test]
fn a_learner_with_memory_that_it_does_not_show_is_found() {
    let Some(gpu) = gpu() else { return };
    let (settings, count) = (settings(ADAM), Cell::new(0));
    let counts: Factor = &|_, _, _| {
        count.set(count.get() + 1);
        if count.get() < 5 { 1.0.into() } else { 2.0.into() }
    };
    let mut steps = Steps::new(&gpu, &settings, Repeats::Checked(1));
    let found = (0..12).find_map(|_| steps.step(counts).err()).unwrap().to_string();
    assert!(found.contains("a step without its code would have been another one"), "{found}");
}

#[test]
fn what_someone_else_holds_is_not_overwritten() {
    let Some(gpu) = gpu() else { return };
    let settings = settings(ADAM);
    let run = |repeats: Repeats| {
        let mut steps = Steps::new(&gpu, &settings, repeats);
        let before = steps.repeated(6, &rising);
        let network = &steps.bench.networks[&NetId::MAIN];
        let kept = network.model.parameters()[0].value.clone();
        let bits = |it: &Tensor| it.host().iter().map(|it| it.to_bits()).collect::<Vec<u32>>();
        let expected = bits(&kept);
        let after = steps.repeated(8, &rising);
        assert_eq!(bits(&kept), expected);
        let (_, readings) = steps.step(&rising).unwrap();
        (before, after, steps.left(readings))
    };
    let (_, _, expected) = run(Repeats::Never);
    let (before, after, found) = run(Repeats::Always);
    assert!(before >= 2 && after >= 2 && found == expected, "{before}, {after}");
}
