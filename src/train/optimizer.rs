//! Optimizers: dfdx's update kernels, with the moments kept here.

use dfdx::optim::{AdamConfig, Momentum, RMSpropConfig, SgdConfig, WeightDecay};
use dfdx::prelude::*;

use super::rates::{Group, Rate};
use crate::config::node::Value;
use crate::config::{Diagnostic, Keys, Noted, words};
use crate::nn::Model;
use crate::nn::model::host;
use crate::nn::ops::{Flat, Ops};

words! {
    /// The word for an optimizer, before its settings are read.
    enum OptimizerKind {
        /// [`Optimizer::Adam`].
        Adam = "adam",
        /// [`Optimizer::AdamW`].
        AdamW = "adamw",
        /// [`Optimizer::Sgd`].
        Sgd = "sgd",
        /// [`Optimizer::RmsProp`].
        RmsProp = "rmsprop",
    }
}

/// An optimizer with its settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// Adam (Kingma & Ba 2015), weight decay added to the gradient.
    Adam(Adam),
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    AdamW(Adam),
    /// Stochastic gradient descent; v = momentum v + g as in PyTorch.
    Sgd {
        /// Learning rate before the schedule.
        lr: f64,
        /// 0 for none.
        momentum: f64,
        /// Looks ahead along the momentum.
        nesterov: bool,
        /// Added to the gradient, times the parameter.
        weight_decay: f64,
    },
    /// RMSprop (Hinton 2012): v = alpha v + (1 - alpha) g^2, then a step along g / sqrt(v + eps^2).
    /// PyTorch's is g / (sqrt(v) + eps): ours is sqrt(2) times as long where sqrt(v) = `eps`, and
    /// as long far above and far below.
    RmsProp {
        /// Learning rate before the schedule.
        lr: f64,
        /// Weight of the past in the mean square.
        alpha: f64,
        /// Keeps the root of the mean square from being 0.
        eps: f64,
        /// 0 for none.
        momentum: f64,
        /// Added to the gradient, times the parameter.
        weight_decay: f64,
    },
}

/// Settings of Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Learning rate before the schedule.
    pub lr: f64,
    /// Weights of the past in the two moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

/// `groups = { "layer4.*" = { lr = 0.01, weight_decay = 0.0 } }`.
fn groups(keys: &mut Keys) -> Result<Vec<(String, Group)>, Noted> {
    keys.words("groups", |keys, word, node| {
        let Value::Table(table) = &node.value else {
            return Err(keys.problem(Diagnostic::at(
                node.span,
                format!("`groups.\"{word}\"` must be a table"),
                format!("found {}", node.shown()),
            )));
        };
        keys.descend(word, table, node.span, |keys| {
            let lr = keys.float("lr").at_least(0.0).optional();
            let weight_decay = keys.float("weight_decay").at_least(0.0).optional();
            Ok(Group { lr: lr?, weight_decay: weight_decay? })
        })
    })
}

impl Optimizer {
    /// Reads `optimizer = { kind = ..., lr = ..., groups = { ... } }`; the groups come beside it.
    pub fn read(keys: &mut Keys) -> Result<(Self, Vec<(String, Group)>), Noted> {
        keys.kinded("optimizer", "kind", Some(OptimizerKind::Adam), |kind, keys| {
            let optimizer = Self::of_kind(kind, keys);
            let groups = groups(keys);
            Ok((optimizer?, groups?))
        })
    }

    fn of_kind(kind: OptimizerKind, keys: &mut Keys) -> Result<Self, Noted> {
        use OptimizerKind as Kind;
        let (default, decay) = match kind {
            Kind::Adam => (1e-3, 0.0),
            Kind::AdamW => (1e-3, 1e-2),
            Kind::Sgd | Kind::RmsProp => (1e-2, 0.0),
        };
        let lr = keys.float("lr").positive().or(default);
        let weight_decay = keys.float("weight_decay").at_least(0.0).or(decay);
        match kind {
            Kind::Adam | Kind::AdamW => {
                let betas = keys
                    .floats("betas")
                    .such_that("two numbers of at least 0 and below 1", |betas| {
                        betas.len() == 2 && betas.iter().all(|beta| (0.0..1.0).contains(beta))
                    })
                    .or(vec![0.9, 0.999]);
                let eps = keys.float("eps").positive().or(1e-8);
                let betas = betas?;
                let adam = Adam {
                    lr: lr?,
                    betas: [betas[0], betas[1]],
                    eps: eps?,
                    weight_decay: weight_decay?,
                };
                Ok(if kind == Kind::Adam { Self::Adam(adam) } else { Self::AdamW(adam) })
            }
            Kind::Sgd => {
                let momentum = keys.float("momentum").below_one().or(0.0);
                let nesterov = keys.boolean("nesterov").or(false);
                if nesterov == Ok(true) && momentum == Ok(0.0) {
                    return Err(keys.problem(Diagnostic::at(
                        keys.span(),
                        "`nesterov = true` needs a `momentum` above 0",
                        "no momentum to look ahead along",
                    )));
                }
                Ok(Self::Sgd {
                    lr: lr?,
                    momentum: momentum?,
                    nesterov: nesterov?,
                    weight_decay: weight_decay?,
                })
            }
            Kind::RmsProp => {
                let alpha = keys.float("alpha").below_one().or(0.99);
                let eps = keys
                    .float("eps")
                    // Its square must not vanish in single precision.
                    .such_that("a number of at least 1e-15", |eps| (1e-15..1e15).contains(eps))
                    .or(1e-8);
                let momentum = keys.float("momentum").below_one().or(0.0);
                Ok(Self::RmsProp {
                    lr: lr?,
                    alpha: alpha?,
                    eps: eps?,
                    momentum: momentum?,
                    weight_decay: weight_decay?,
                })
            }
        }
    }

    /// The learning rate before the schedule.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Adam(adam) | Self::AdamW(adam) => adam.lr,
            Self::Sgd { lr, .. } | Self::RmsProp { lr, .. } => *lr,
        }
    }

    /// The weight decay.
    pub fn weight_decay(&self) -> f64 {
        match self {
            Self::Adam(adam) | Self::AdamW(adam) => adam.weight_decay,
            Self::Sgd { weight_decay, .. } | Self::RmsProp { weight_decay, .. } => *weight_decay,
        }
    }

    /// Whether it has a momentum that a schedule could move: its own, or Adam's first beta.
    pub fn has_momentum(&self) -> bool {
        match self {
            Self::Adam(_) | Self::AdamW(_) => true,
            Self::Sgd { momentum, .. } | Self::RmsProp { momentum, .. } => *momentum > 0.0,
        }
    }

    /// The same with another momentum.
    fn with_momentum(mut self, new: f64) -> Self {
        match &mut self {
            Self::Adam(adam) | Self::AdamW(adam) => adam.betas[0] = new,
            Self::Sgd { momentum, .. } | Self::RmsProp { momentum, .. } => *momentum = new,
        }
        self
    }
}

/// How each parameter learns, and the moments of those that do.
pub struct OptimizerState<D: Ops> {
    optimizer: Optimizer,
    rates: Vec<Rate<D>>,
    moments: Vec<Option<Moments<D>>>,
}

struct Moments<D: Ops> {
    /// Updates so far.
    steps: i32,
    first: <D as Storage<f32>>::Vec,
    second: <D as Storage<f32>>::Vec,
    /// dfdx's RMSprop kernel wants a mean gradient also where it is not used.
    third: <D as Storage<f32>>::Vec,
}

impl<D: Ops> Moments<D> {
    fn parts(&mut self) -> [&mut <D as Storage<f32>>::Vec; 3] {
        [&mut self.first, &mut self.second, &mut self.third]
    }
}

impl<D: Ops> OptimizerState<D> {
    /// Fresh state for a model whose trainable parameters all learn alike.
    ///
    /// # Errors
    /// When the device fails (out of memory).
    pub fn new(optimizer: Optimizer, model: &Model<D>) -> Result<Self, D::Err> {
        let rate =
            || Rate { lr: optimizer.lr(), weight_decay: optimizer.weight_decay(), toward: None };
        let rates = model.parameters().iter().map(|_| rate()).collect();
        let learns: Vec<bool> = model.parameters().iter().map(|it| it.trainable).collect();
        Self::with_rates(optimizer, rates, model, &learns)
    }

    /// Fresh state for a model whose parameters learn at `rates`; those that never do, as `learns`
    /// says, get none.
    ///
    /// # Errors
    /// When the device fails (out of memory).
    pub fn with_rates(
        optimizer: Optimizer,
        rates: Vec<Rate<D>>,
        model: &Model<D>,
        learns: &[bool],
    ) -> Result<Self, D::Err> {
        let moments = model
            .parameters()
            .iter()
            .zip(learns)
            .map(|(parameter, learns)| {
                if !learns {
                    return Ok(None);
                }
                let len = parameter.value.shape().0;
                let zeros = || Storage::<f32>::try_alloc_len(model.device(), len);
                Ok(Some(Moments { steps: 0, first: zeros()?, second: zeros()?, third: zeros()? }))
            })
            .collect::<Result<_, D::Err>>()?;
        Ok(Self { optimizer, rates, moments })
    }

    /// Updates so far of each parameter that learns at some time.
    pub(super) fn updates(&self) -> Vec<i32> {
        self.moments.iter().flatten().map(|moments| moments.steps).collect()
    }

    /// Whether the parameter at `at` learns at some time.
    pub(super) fn learns(&self, at: usize) -> bool {
        self.moments[at].is_some()
    }

    /// The moments that the optimizer uses.
    fn used(&self) -> &'static [&'static str] {
        match self.optimizer {
            Optimizer::Adam(_) | Optimizer::AdamW(_) => &["first", "second"],
            Optimizer::Sgd { momentum, .. } if momentum > 0.0 => &["first"],
            Optimizer::Sgd { .. } => &[],
            Optimizer::RmsProp { .. } => &["first", "second", "third"],
        }
    }

    /// The moments by name: what a checkpoint holds besides the weights.
    pub(super) fn tensors(&mut self, model: &Model<D>) -> Vec<(String, Vec<f32>)> {
        let used = self.used();
        let mut tensors = Vec::new();
        for (parameter, moments) in model.parameters().iter().zip(&mut self.moments) {
            let Some(moments) = moments else { continue };
            for (name, storage) in used.iter().zip(moments.parts()) {
                // dfdx hands storage out only as a tensor's gradient, so it is one for a moment.
                let mut holder = Gradients::leaky();
                let Ok(place) = holder.get_or_alloc_mut(&parameter.value) else { continue };
                std::mem::swap(place, storage);
                tensors.push((
                    format!("{name}.{}", parameter.name),
                    host(&holder.get(&parameter.value)),
                ));
                if let Ok(place) = holder.get_or_alloc_mut(&parameter.value) {
                    std::mem::swap(place, storage);
                }
            }
        }
        tensors
    }

    /// Puts back what [`OptimizerState::tensors`] gave, as `take` finds it by name and length;
    /// `None`, and nothing is changed, where something is missing.
    pub(super) fn restore(
        &mut self,
        model: &Model<D>,
        updates: &[i32],
        take: impl Fn(&str, usize) -> Option<Vec<f32>>,
    ) -> Option<()> {
        let used = self.used();
        let mut fresh = Vec::new();
        if updates.len() != self.moments.iter().flatten().count() {
            return None;
        }
        let learning = model.parameters().iter().zip(&self.moments);
        for (parameter, _) in learning.filter(|(_, moments)| moments.is_some()) {
            for name in used {
                let len = parameter.value.shape().0;
                let values = take(&format!("{name}.{}", parameter.name), len)?;
                fresh.push(self.storage(model, values)?);
            }
        }
        let places = self.moments.iter_mut().flatten();
        let places = places.flat_map(|moments| moments.parts().into_iter().take(used.len()));
        for (place, storage) in places.zip(fresh) {
            *place = storage;
        }
        for (moments, steps) in self.moments.iter_mut().flatten().zip(updates) {
            moments.steps = *steps;
        }
        Some(())
    }

    /// Storage with these values: the gradient of `sum(value * values)`, as dfdx fills storage
    /// from outside only for tensors.
    fn storage(&self, model: &Model<D>, values: Vec<f32>) -> Option<<D as Storage<f32>>::Vec> {
        let len = values.len();
        let values: Flat<D> = model.device().try_tensor_from_vec(values, (len,)).ok()?;
        let zeros: Flat<D> = model.device().try_zeros_like(&(len,)).ok()?;
        let product = zeros.trace(Gradients::leaky()).try_mul(values).ok()?;
        let mut gradients = product.try_sum().ok()?.try_backward().ok()?;
        Some(std::mem::replace(
            gradients.get_or_alloc_mut(&zeros).ok()?,
            Storage::<f32>::try_alloc_len(model.device(), 0).ok()?,
        ))
    }

    /// One update of every trainable parameter. `lr` says what became of a rate by now, `momentum`
    /// is one that counts instead of the optimizer's.
    ///
    /// # Errors
    /// When the device fails.
    pub fn step(
        &mut self,
        model: &mut Model<D>,
        gradients: &mut Gradients<f32, D>,
        lr: impl Fn(f64) -> f64,
        momentum: Option<f64>,
    ) -> Result<(), D::Err> {
        let optimizer = momentum.map_or(self.optimizer, |new| self.optimizer.with_momentum(new));
        for (at, parameter) in model.trainable_mut() {
            let Some(moments) = &mut self.moments[at] else { continue };
            let Rate { lr: base, weight_decay, toward } = &self.rates[at];
            let (lr, weight_decay) = (lr(*base), *weight_decay);
            moments.steps += 1;
            let steps = moments.steps;
            let gradient = &*gradients.get_or_alloc_mut(&parameter.value)?;
            let value = &mut parameter.value;
            // Decay toward a point is decay toward zero of what is away from it.
            if let Some(toward) = toward {
                if lr == 0.0 {
                    continue;
                }
                *value = value.clone().try_sub(toward.clone())?;
            }
            match &optimizer {
                Optimizer::Adam(adam) => adam_config(adam, lr, weight_decay, WeightDecay::L2)
                    .try_update(steps, value, &mut moments.first, &mut moments.second, gradient),
                Optimizer::AdamW(adam) => {
                    adam_config(adam, lr, weight_decay, WeightDecay::Decoupled).try_update(
                        steps,
                        value,
                        &mut moments.first,
                        &mut moments.second,
                        gradient,
                    )
                }
                Optimizer::Sgd { momentum, nesterov, .. } => {
                    let momentum = match (*momentum > 0.0, nesterov) {
                        (false, _) => None,
                        (true, false) => Some(Momentum::Classic(*momentum)),
                        (true, true) => Some(Momentum::Nesterov(*momentum)),
                    };
                    let weight_decay = decay(weight_decay, WeightDecay::L2);
                    SgdConfig { lr, momentum, weight_decay }.try_update(
                        value,
                        &mut moments.first,
                        gradient,
                    )
                }
                Optimizer::RmsProp { alpha, eps, momentum, .. } => RMSpropConfig {
                    lr,
                    alpha: *alpha,
                    // dfdx adds it under the root, where PyTorch's 1e-8 would drown gradients
                    // below 1e-4.
                    eps: eps * eps,
                    momentum: (*momentum > 0.0).then_some(*momentum),
                    centered: false,
                    weight_decay: decay(weight_decay, WeightDecay::L2),
                }
                .try_update(
                    value,
                    &mut moments.first,
                    &mut moments.second,
                    &mut moments.third,
                    gradient,
                ),
            }?;
            if let Some(toward) = toward {
                *value = value.clone().try_add(toward.clone())?;
            }
        }
        Ok(())
    }
}

fn adam_config(
    adam: &Adam,
    lr: f64,
    weight_decay: f64,
    kind: fn(f64) -> WeightDecay,
) -> AdamConfig {
    AdamConfig { lr, betas: adam.betas, eps: adam.eps, weight_decay: decay(weight_decay, kind) }
}

fn decay(weight_decay: f64, kind: fn(f64) -> WeightDecay) -> Option<WeightDecay> {
    (weight_decay > 0.0).then(|| kind(weight_decay))
}
