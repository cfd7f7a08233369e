//! What a method works with in a step: networks by name, passes through them, descents, and numbers to
//! report. It knows neither where the images come from nor what happens between steps.

mod alone;
mod meters;
mod repeats;
mod step;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::rc::Rc;

use indexmap::IndexMap;

use self::meters::Meter;
pub(super) use self::meters::PendingStep;
#[cfg(test)]
pub(crate) use self::repeats::REPEATED;
pub use self::repeats::Repeats;
use self::repeats::{Knob, Repeatable, Update};
use super::batch_norm::BatchNormFamily;
use super::clock::Clock;
use super::contract::FitError;
use super::monitor::ValidationScores;
use super::networks::{Group, NetId};
use super::optimizer_state::OptimizerState;
pub use super::reading::Reading;
use super::schedule::TrainingProgress;
use super::settings::TrainingSettings;
use crate::data::view::Domain;
use crate::nn::ops::varying::look;
use crate::nn::ops::{Backend, Gradients, Number, OpError, Tape, Targets, Tensor, Varying};
use crate::nn::{DropoutKey, EntryLayer, Model, Part, Pass, Statistics, StochasticNorm};
use crate::random::{self, Stream};

/// A network of a training.
pub(super) struct Network {
    pub model: Model,
    /// How its parameters learn; `None` where they do not, by descent.
    pub optimizer: Option<OptimizerState>,
}

/// The images of one step.
pub struct Batch<'a> {
    /// Labelled images; `None` for a method that has no use for them.
    pub source: Option<SourceBatch<'a>>,
    /// Images of the target domain; `None` for a method that asked for none.
    pub target: Option<TargetBatch<'a>>,
}

/// The labelled images of a step.
pub struct SourceBatch<'a> {
    /// Images `[N, C*H*W]`, or the output of frozen layers for them.
    pub images: Tensor,
    /// Their classes.
    pub targets: Targets<'a>,
    /// Their places in the data set.
    pub indices: Varying<'a, usize>,
    /// The views that the method asked for, in its order.
    pub views: Vec<Tensor>,
}

/// The images of the target domain in a step.
pub struct TargetBatch<'a> {
    /// Images `[M, C*H*W]`, or the output of frozen layers for them.
    pub images: Tensor,
    /// Their places in the data set.
    pub indices: Varying<'a, usize>,
    /// The views that the method asked for, in its order.
    pub views: Vec<Tensor>,
}

impl<'a> SourceBatch<'a> {
    /// Images and their classes alone: no places in a data set and no views.
    pub fn plain(images: Tensor, targets: Targets<'a>) -> Self {
        Self { images, targets: targets.of_step(), indices: (&[]).into(), views: Vec::new() }
    }
}

impl TargetBatch<'_> {
    /// Images alone: no places in a data set and no views.
    pub fn plain(images: Tensor) -> Self {
        Self { images, indices: (&[]).into(), views: Vec::new() }
    }
}

impl<'a> Batch<'a> {
    /// The labelled images.
    ///
    /// # Panics
    /// When the method did not ask for them.
    pub fn source(&self) -> &SourceBatch<'a> {
        self.source.as_ref().expect("a method that learns from labelled images gets some")
    }

    /// The images of the target domain.
    ///
    /// # Panics
    /// When the method did not ask for them.
    pub fn target(&self) -> &TargetBatch<'a> {
        self.target.as_ref().expect("a method that adapts to a target gets images of it")
    }

    /// Both domains' images.
    ///
    /// # Panics
    /// When the method did not ask for both.
    pub fn images(&self) -> Domains {
        let (source, target) = (self.source().images.clone(), self.target().images.clone());
        Domains { source, target }
    }
}

/// The same of both domains: images, features or logits.
#[derive(Debug, Clone)]
pub struct Domains {
    /// Of the labelled images.
    pub source: Tensor,
    /// Of the target's.
    pub target: Tensor,
}

impl Domains {
    /// That of one domain.
    pub fn of(&self, domain: Domain) -> &Tensor {
        match domain {
            Domain::Source => &self.source,
            Domain::Target => &self.target,
        }
    }

    /// The same with gradients that are reversed on their way back, and `lambda` times as large (Ganin et
    /// al. 2016).
    ///
    /// # Errors
    /// When the device fails.
    pub fn reversed(&self, lambda: impl Into<Number>) -> Result<Self, OpError> {
        let lambda = lambda.into();
        let (source, target) = (self.source.grad_scale(-lambda)?, self.target.grad_scale(-lambda)?);
        Ok(Self { source, target })
    }
}

/// How a pass is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Whether gradients of the parameters are wanted.
    pub records: bool,
    /// What batch norm goes by.
    pub statistics: Statistics,
    /// Whether dropout drops.
    pub drops: bool,
}

impl Mode {
    /// A pass that is learned from: batch statistics, which move the running averages, and dropout.
    pub const LEARN: Self = Self { records: true, statistics: Statistics::Batch, drops: true };
    /// The same without gradients: a network in training mode that is only looked at.
    pub const OBSERVE: Self = Self { records: false, ..Self::LEARN };
    /// As at test time, without gradients.
    pub const EVAL: Self = Self { records: false, statistics: Statistics::Running, drops: false };
    /// As at test time, with gradients.
    pub const FROZEN: Self = Self { records: true, ..Self::EVAL };

    /// The same with batch statistics that leave the running averages as they are.
    #[must_use]
    pub fn without_averages(self) -> Self {
        Self { statistics: Statistics::BatchAlone, ..self }
    }
}

/// The gradients that a descent moved parameters by, with the parameters' names.
pub type Gradient = Vec<(String, Vec<f32>)>;

/// What a [`Learner`](super::Learner) works with.
pub struct Bench<'a> {
    ops: Backend,
    networks: IndexMap<NetId, Network>,
    settings: &'a TrainingSettings,
    entry: EntryLayer,
    tape: Tape,
    clock: Clock,
    /// What validation gave after the epochs before this one.
    validation: Vec<ValidationScores>,
    /// How often a domain's images went through a network's features in this step.
    rounds: HashMap<(NetId, Domain), usize>,
    /// What the step reports, in the order in which it is written.
    meters: Vec<Meter>,
    /// The losses of its descents.
    losses: Vec<Tensor>,
    /// The knobs that the step asked for, with their values.
    knobs: Vec<(Knob, f32)>,
    /// The updates of its descents.
    updates: Vec<Update>,
    /// The last steps that may come again, the newest one at the end.
    repeatable: Vec<Repeatable>,
    /// Whether they may.
    pub(super) repeats: Repeats,
    /// Steps in a row of which none was repeated or can be.
    in_vain: usize,
    /// Whether the learner is known to remember something between steps.
    has_memory: bool,
    /// The gradients of each descent, where someone asked for them.
    descents: Option<Vec<Gradient>>,
    /// The newest loss that was read.
    pub(super) last_loss: Option<f64>,
}

impl<'a> Bench<'a> {
    /// A bench with one network, which learns as `optimizer` says.
    pub(super) fn new(
        model: Model,
        optimizer: OptimizerState,
        settings: &'a TrainingSettings,
    ) -> Self {
        let ops = Rc::clone(model.ops());
        let main = Network { model, optimizer: Some(optimizer) };
        Self {
            ops,
            networks: IndexMap::from([(NetId::MAIN, main)]),
            settings,
            entry: EntryLayer::IMAGES,
            tape: Tape::default(),
            clock: Clock::default(),
            validation: Vec::new(),
            rounds: HashMap::new(),
            meters: Vec::new(),
            losses: Vec::new(),
            knobs: Vec::new(),
            updates: Vec::new(),
            repeatable: Vec::new(),
            repeats: Repeats::default(),
            in_vain: 0,
            has_memory: false,
            descents: None,
            last_loss: None,
        }
    }

    /// Begins a step: what the last one left is gone.
    pub(super) fn begin_step(&mut self, clock: Clock, validation: &[ValidationScores]) {
        self.clock = clock;
        if self.validation != validation {
            self.validation = validation.to_vec();
        }
        self.rounds.clear();
        self.meters.clear();
        self.losses.clear();
        self.knobs.clear();
        self.updates.clear();
        self.tape = Tape::default();
    }

    /// Where images enter the networks.
    pub fn enter_at(&mut self, entry: EntryLayer) {
        self.entry = entry;
    }

    /// Where images enter the networks in this step: after the frozen layers whose output was kept.
    pub fn entry(&self) -> EntryLayer {
        self.entry
    }

    pub(super) fn networks(&self) -> &IndexMap<NetId, Network> {
        &self.networks
    }

    pub(super) fn networks_mut(&mut self) -> &mut IndexMap<NetId, Network> {
        &mut self.networks
    }

    /// The device's operations.
    pub fn ops(&self) -> &Backend {
        &self.ops
    }

    /// A network.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn model(&self, network: NetId) -> &Model {
        &self.networks[&network].model
    }

    /// A network, to be changed.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn model_mut(&mut self, network: NetId) -> &mut Model {
        &mut self.networks[&network].model
    }

    /// Takes a network out, as the training leaves it.
    pub(super) fn into_model(mut self, network: NetId) -> Model {
        self.networks.swap_remove(&network).expect("a network of the training").model
    }

    /// Adds a copy of a network as it is now, which learns by no descent: a frozen snapshot, or one that
    /// [`Bench::average`] moves.
    pub fn copy(&mut self, from: NetId, to: NetId) {
        let model = self.model(from).clone();
        self.networks.insert(to, Network { model, optimizer: None });
    }

    /// Moves the parameters of `into` that learn in `from` toward those: an exponential moving average
    /// with the share `keep` of the old. Running statistics stay each network's own.
    ///
    /// # Errors
    /// When the device fails.
    pub fn average(&mut self, into: NetId, from: NetId, keep: f32) -> Result<(), FitError> {
        let ops = Rc::clone(&self.ops);
        let newest: Vec<Option<Tensor>> = (self.model(from).parameters().iter())
            .map(|parameter| parameter.trainable.then(|| parameter.value.clone()))
            .collect();
        let parameters = self.model_mut(into).parameters_mut();
        for (parameter, newest) in parameters.iter_mut().zip(newest) {
            if let Some(newest) = newest {
                ops.average(&mut parameter.value, &newest, keep)?;
                // What is thawed in the one learns on in what is made of the other.
                parameter.trainable = true;
            }
        }
        Ok(())
    }

    /// The parameters of a part of a network that learn, as tensors whose gradients are wanted: for losses
    /// of the parameters themselves.
    ///
    /// # Panics
    /// When there is no such network.
    pub fn recorded_parameters(&self, network: NetId, part: &Part) -> Vec<Tensor> {
        let parameters = self.model(network).parameters().iter();
        let learning = parameters.filter(|it| it.trainable && it.part == *part);
        learning.map(|it| it.value.on(&self.tape)).collect()
    }

    /// Where the training stands.
    pub fn progress(&self) -> TrainingProgress {
        look();
        self.now()
    }

    /// The same for whoever says where the number that follows from it comes from.
    fn now(&self) -> TrainingProgress {
        let moment = self.clock.moment(&[]);
        TrainingProgress { share: moment.progress(), step: moment.step }
    }

    /// Epoch from 0.
    pub fn epoch(&self) -> usize {
        look();
        self.clock.epoch
    }

    /// Random numbers of this step for a `purpose`, the same whenever it is asked for.
    pub fn stream(&self, purpose: &str) -> Stream {
        look();
        let Clock { epoch, step, .. } = self.clock;
        random::stream(self.settings.seed, purpose, epoch as u64, step as u64)
    }

    /// Random numbers of the whole training for a `purpose`: matrices that are drawn once.
    pub fn lasting_stream(&self, purpose: &str) -> Stream {
        random::stream(self.settings.seed, purpose, 0, 0)
    }

    /// A number that changes from step to step, which also stands in the metrics as it was in the last
    /// step of an epoch. It must follow from where the training stands and from what the learner [remembers](super::Learner::state)
    /// alone.
    pub fn knob(
        &mut self,
        name: &'static str,
        of: impl Fn(&TrainingProgress) -> f32 + 'static,
    ) -> Number {
        let (value, knob) = (of(&self.now()), self.knobs.len());
        self.knobs.push((Knob(Rc::new(of)), value));
        self.meters.push(Meter::knob(name, value, knob));
        Number::of_knob(value, knob)
    }

    /// Runs `work` without what it reports.
    ///
    /// # Errors
    /// Those of the work.
    pub fn unreported<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, FitError>,
    ) -> Result<T, FitError> {
        let kept = self.meters.len();
        let done = work(self);
        self.meters.truncate(kept);
        done
    }

    /// Reports the mean of a loss over `count` images.
    pub fn meter(&mut self, name: &'static str, loss: &Tensor, count: usize) {
        self.meters.push(Meter::mean(name, vec![loss.detached()], 1, count));
    }

    /// Reports the share that `hits` are of `count` images.
    pub fn meter_share(&mut self, name: &'static str, hits: &[&Tensor], count: usize) {
        let hits = hits.iter().map(|hits| hits.detached()).collect();
        self.meters.push(Meter::mean(name, hits, count, count));
    }

    /// Runs a part of a network: `x` is images for the features and features for a head.
    ///
    /// # Errors
    /// When the device fails.
    ///
    /// # Panics
    /// When there is no such network or head.
    pub fn pass(
        &mut self,
        network: NetId,
        part: &Part,
        x: &Tensor,
        domain: Domain,
        mode: Mode,
    ) -> Result<Tensor, FitError> {
        let mut found = self.pass_through(network, part, &[], x, (domain, mode))?;
        Ok(found.pop().expect("the end of a part"))
    }

    /// Runs the features of a network on images, and before the features also gives what comes out at
    /// `places`, rows `[N, C*H*W]` of [`Model::entry_shape`]. These ascend from [where images
    /// enter](Bench::entry).
    ///
    /// # Errors
    /// When the device fails.
    ///
    /// # Panics
    /// When there is no such network, or the places do not ascend from there.
    pub fn features_through(
        &mut self,
        network: NetId,
        places: &[EntryLayer],
        x: &Tensor,
        domain: Domain,
        mode: Mode,
    ) -> Result<Vec<Tensor>, FitError> {
        self.pass_through(network, &Part::FEATURES, places, x, (domain, mode))
    }

    fn pass_through(
        &mut self,
        network: NetId,
        part: &Part,
        places: &[EntryLayer],
        x: &Tensor,
        (domain, mode): (Domain, Mode),
    ) -> Result<Vec<Tensor>, FitError> {
        if self.settings.stochastic_norm.is_some() {
            // The host draws which channels it is.
            look();
        }
        let own = self.settings.batch_norm == BatchNormFamily::Domain && domain == Domain::Source;
        let keeps = self.settings.batch_norm == BatchNormFamily::Target && domain == Domain::Source;
        let statistics = match mode.statistics {
            Statistics::Batch if keeps => Statistics::BatchAlone,
            other => other,
        };
        let round = self.rounds.entry((network, domain)).or_default();
        if *part == Part::FEATURES {
            *round += 1;
        }
        // The first pass of a step draws as the only one did before there were others.
        let word = if domain == Domain::Source { "source" } else { "target" };
        let name = match *round {
            0 | 1 => format!("{}{word}", network.prefix()),
            round => format!("{}{word} {round}", network.prefix()),
        };
        let Clock { epoch, step, .. } = self.clock;
        let key = DropoutKey {
            seed: self.settings.seed,
            pass: &name,
            epoch: epoch as u64,
            step: step as u64,
        };
        let pass = Pass {
            tape: mode.records.then_some(&self.tape),
            statistics,
            dropout: mode.drops.then_some(key),
            source_norms: own,
            stochastic_norm: self.settings.stochastic_norm.map(|p| StochasticNorm { key, p }),
        };
        let entry = self.entry;
        let network = self.networks.get_mut(&network).expect("a network of the training");
        Ok(match *part == Part::FEATURES {
            true => network.model.features_through(entry, places, x, pass)?,
            false => vec![network.model.forward(part, x, pass)?],
        })
    }

    /// The class logits `[N, K]` that a network gives images of a domain.
    ///
    /// # Errors
    /// When the device fails.
    pub fn class_logits(
        &mut self,
        network: NetId,
        images: &Tensor,
        domain: Domain,
        mode: Mode,
    ) -> Result<Tensor, FitError> {
        let features = self.pass(network, &Part::FEATURES, images, domain, mode)?;
        self.pass(network, &Part::CLASSIFIER, &features, domain, mode)
    }

    /// Runs a part of the main network on one domain, as in training.
    ///
    /// # Errors
    /// When the device fails.
    pub fn learn(&mut self, part: &Part, x: &Tensor, domain: Domain) -> Result<Tensor, FitError> {
        self.pass(NetId::MAIN, part, x, domain, Mode::LEARN)
    }

    /// Runs a part of the main network on both domains: in one pass where `batch_norm = "joint"`, else
    /// in one for each.
    ///
    /// # Errors
    /// When the device fails.
    pub fn both(&mut self, part: &Part, x: &Domains) -> Result<Domains, FitError> {
        self.both_as(Mode::LEARN, part, x)
    }

    /// The same as [`Bench::both`] without gradients: a part in training mode that is only looked at.
    ///
    /// # Errors
    /// When the device fails.
    pub fn observe_both(&mut self, part: &Part, x: &Domains) -> Result<Domains, FitError> {
        self.both_as(Mode::OBSERVE, part, x)
    }

    fn both_as(&mut self, mode: Mode, part: &Part, x: &Domains) -> Result<Domains, FitError> {
        if self.settings.batch_norm != BatchNormFamily::Joint {
            let source = self.pass(NetId::MAIN, part, &x.source, Domain::Source, mode)?;
            let target = self.pass(NetId::MAIN, part, &x.target, Domain::Target, mode)?;
            return Ok(Domains { source, target });
        }
        let (n, m) = (x.source.rows(), x.target.rows());
        let (source, target) = (self.ops.flat_rows(&x.source)?, self.ops.flat_rows(&x.target)?);
        let together = source.concat_rows(&target)?;
        let together = self.pass(NetId::MAIN, part, &together, Domain::Source, mode)?;
        let (source, target) = (together.slice_rows(0, n)?, together.slice_rows(n, n + m)?);
        Ok(Domains { source, target })
    }

    /// Runs the features of the main network and then some of its heads on the images of `domain`, beside
    /// the other domain's where `batch_norm = "joint"`. Otherwise these pass through nothing.
    ///
    /// # Errors
    /// When the device fails.
    pub fn heads_of<const N: usize>(
        &mut self,
        domain: Domain,
        images: &Domains,
        heads: &[Part; N],
    ) -> Result<[Tensor; N], FitError> {
        let mut logits = Vec::with_capacity(N);
        if self.settings.batch_norm == BatchNormFamily::Joint {
            let features = self.both(&Part::FEATURES, images)?;
            for head in heads {
                logits.push(self.both(head, &features)?.of(domain).clone());
            }
        } else {
            let features = self.learn(&Part::FEATURES, images.of(domain), domain)?;
            for head in heads {
                logits.push(self.learn(head, &features, domain)?);
            }
        }
        Ok(logits.try_into().unwrap_or_else(|_| unreachable!("every head gives logits")))
    }

    /// Runs a part of the main network on the source, beside the target where `batch_norm = "joint"`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn source_of(&mut self, part: &Part, x: &Domains) -> Result<Tensor, FitError> {
        match self.settings.batch_norm {
            BatchNormFamily::Joint => Ok(self.both(part, x)?.source),
            _ => self.learn(part, &x.source, Domain::Source),
        }
    }

    /// Runs a part of the main network on the target, beside the source where `batch_norm = "joint"`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn target_of(&mut self, part: &Part, x: &Domains) -> Result<Tensor, FitError> {
        match self.settings.batch_norm {
            BatchNormFamily::Joint => Ok(self.both(part, x)?.target),
            _ => self.learn(part, &x.target, Domain::Target),
        }
    }

    /// Goes down `loss`: takes its gradients back and moves the parameters of `groups` by them. What it
    /// gives to others is dropped. The tape is used up, so that a further descent needs passes of its
    /// own.
    ///
    /// # Errors
    /// When the loss is not finite, or the device fails.
    pub fn descend(&mut self, loss: &Tensor, groups: &[Group]) -> Result<(), FitError> {
        let mut gradients = self.gradients(loss)?;
        self.update(&mut gradients, groups)
    }

    /// The gradients of `loss`, which use up the tape, without moving anything. Also those of
    /// [inputs](Bench::input).
    ///
    /// # Errors
    /// When the loss is not finite, or the device fails.
    pub fn gradients(&mut self, loss: &Tensor) -> Result<Gradients, FitError> {
        if self.ops.reads_are_free() {
            self.clock.check(loss.value(), &mut self.last_loss)?;
        }
        self.losses.push(loss.detached());
        let tape = std::mem::take(&mut self.tape);
        Ok(tape.backward(loss)?)
    }

    /// Moves the parameters of `groups` along gradients, by the optimizer of each.
    ///
    /// # Errors
    /// When the device fails.
    pub fn update(&mut self, gradients: &mut Gradients, groups: &[Group]) -> Result<(), FitError> {
        let moment = self.clock.moment(&self.validation);
        let schedule = &self.settings.schedule;
        let (lr, momentum) = (|base| schedule.lr(base, &moment), schedule.momentum(&moment));
        let mut seen = Vec::new();
        for (at, (id, network)) in self.networks.iter_mut().enumerate() {
            let Some(optimizer) = &mut network.optimizer else { continue };
            let moves = |part: &Part| groups.iter().any(|group| group.holds(*id, part));
            let prefix = id.prefix();
            let see = |parameter: usize, name: &str, gradient: &Tensor| {
                self.updates.push(Update { network: at, parameter, again: 0 });
                if self.descents.is_some() {
                    seen.push((format!("{prefix}{name}"), gradient.host()));
                }
            };
            optimizer.step(&mut network.model, gradients, moves, lr, momentum, see)?;
        }
        if let Some(descents) = &mut self.descents {
            descents.push(seen);
        }
        Ok(())
    }

    /// `x` as something whose gradient [`Bench::gradients`] gives: the input gradient of virtual
    /// adversarial training.
    ///
    /// # Errors
    /// When the device fails.
    pub fn input(&self, x: &Tensor) -> Result<Tensor, FitError> {
        // An identity of its own: the images themselves may be used beside it.
        let own = self.ops.flat_rows(&x.detached())?.scale(1.0)?;
        Ok(own.on(&self.tape))
    }

    /// Runs `work` with the parameters of `groups` moved by `rho` along their gradient divided by its
    /// norm over all of them, and puts every bit of them back (sharpness-aware minimisation: Foret et
    /// al. 2021).
    ///
    /// # Errors
    /// When the device or the work fails.
    pub fn perturbed<T>(
        &mut self,
        gradients: &mut Gradients,
        groups: &[Group],
        rho: f64,
        work: impl FnOnce(&mut Self) -> Result<T, FitError>,
    ) -> Result<T, FitError> {
        let mut kept = Vec::new();
        for (id, network) in &self.networks {
            for (at, parameter) in network.model.parameters().iter().enumerate() {
                let moves = groups.iter().any(|group| group.holds(*id, &parameter.part));
                if !(moves && parameter.trainable) {
                    continue;
                }
                if let Some(gradient) = gradients.take(&parameter.value) {
                    kept.push((*id, at, parameter.value.clone(), gradient));
                }
            }
        }
        let mut squares = 0.0;
        for (.., gradient) in &kept {
            squares += gradient.square()?.sum()?.value();
        }
        #[expect(clippy::cast_possible_truncation, reason = "parameters are f32")]
        let factor = (rho / squares.sqrt().max(1e-12)) as f32;
        for (id, at, value, gradient) in &kept {
            let moved = value.add(&gradient.scale(factor)?)?.host();
            self.model_mut(*id).parameters_mut()[*at].value.write(&moved);
        }
        let done = work(self);
        for (id, at, value, _) in kept {
            self.model_mut(id).parameters_mut()[at].value = value;
        }
        done
    }

    /// The step's readings, to be read when that is due. The device is told that the step is over.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn end_step(&mut self) -> Result<PendingStep, FitError> {
        self.report_rates();
        let mut done = PendingStep {
            clock: self.clock,
            meters: std::mem::take(&mut self.meters),
            losses: std::mem::take(&mut self.losses),
        };
        done.set_aside(&self.ops)?;
        self.ops.submit()?;
        Ok(done)
    }

    /// Reports how fast the step learns.
    fn report_rates(&mut self) {
        let moment = self.clock.moment(&self.validation);
        let schedule = &self.settings.schedule;
        let lr = schedule.lr(self.settings.optimizer.lr(), &moment);
        self.meters.push(Meter::setting("lr", lr));
        if let Some(momentum) = schedule.momentum(&moment) {
            self.meters.push(Meter::setting("momentum", momentum));
        }
    }
}
