//! Optimizers: dfdx's update kernels, with the moments kept here.

use dfdx::optim::{AdamConfig, Momentum, RMSpropConfig, SgdConfig, WeightDecay};
use dfdx::prelude::*;

use crate::config::Keys;
use crate::nn::Model;
use crate::nn::model::host;
use crate::nn::ops::{Flat, Ops};

const KINDS: &[&str] = &["adam", "adamw", "sgd", "rmsprop"];

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

impl Optimizer {
    /// Reads `optimizer = { kind = ..., lr = ... }`.
    pub fn read(keys: &mut Keys) -> Option<Self> {
        keys.kinded("optimizer", "kind", KINDS, Some("adam"), |kind, keys| {
            let default = if kind == "sgd" || kind == "rmsprop" { 1e-2 } else { 1e-3 };
            let lr = keys.float("lr").positive().or(default);
            let decay = if kind == "adamw" { 1e-2 } else { 0.0 };
            let weight_decay = keys.float("weight_decay").at_least(0.0).or(decay);
            match kind {
                "adam" | "adamw" => {
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
                    Some(if kind == "adam" { Self::Adam(adam) } else { Self::AdamW(adam) })
                }
                "sgd" => {
                    let momentum = keys.float("momentum").below_one().or(0.0);
                    let nesterov = keys.boolean("nesterov").or(false);
                    if nesterov == Some(true) && momentum == Some(0.0) {
                        keys.problem(crate::config::Diagnostic::at(
                            keys.span(),
                            "`nesterov = true` needs a `momentum` above 0",
                            "no momentum to look ahead along",
                        ));
                        return None;
                    }
                    Some(Self::Sgd {
                        lr: lr?,
                        momentum: momentum?,
                        nesterov: nesterov?,
                        weight_decay: weight_decay?,
                    })
                }
                _ => {
                    let alpha = keys.float("alpha").below_one().or(0.99);
                    let eps = keys
                        .float("eps")
                        // Its square must not vanish in single precision.
                        .such_that("a number of at least 1e-15", |eps| (1e-15..1e15).contains(eps))
                        .or(1e-8);
                    let momentum = keys.float("momentum").below_one().or(0.0);
                    Some(Self::RmsProp {
                        lr: lr?,
                        alpha: alpha?,
                        eps: eps?,
                        momentum: momentum?,
                        weight_decay: weight_decay?,
                    })
                }
            }
        })
    }

    /// The learning rate before the schedule.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Adam(adam) | Self::AdamW(adam) => adam.lr,
            Self::Sgd { lr, .. } | Self::RmsProp { lr, .. } => *lr,
        }
    }
}

/// Moments of each trainable parameter and the number of steps taken.
pub struct OptimizerState<D: Ops> {
    optimizer: Optimizer,
    steps: i32,
    moments: Vec<Option<Moments<D>>>,
}

struct Moments<D: Ops> {
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
    /// Fresh state for a model; frozen parameters get none.
    ///
    /// # Errors
    /// When the device fails (out of memory).
    pub fn new(optimizer: Optimizer, model: &Model<D>) -> Result<Self, D::Err> {
        let moments = model
            .parameters()
            .iter()
            .map(|parameter| {
                if !parameter.trainable {
                    return Ok(None);
                }
                let len = parameter.value.shape().0;
                let zeros = || Storage::<f32>::try_alloc_len(model.device(), len);
                Ok(Some(Moments { first: zeros()?, second: zeros()?, third: zeros()? }))
            })
            .collect::<Result<_, D::Err>>()?;
        Ok(Self { optimizer, steps: 0, moments })
    }

    /// Updates so far.
    pub(super) fn updates(&self) -> i32 {
        self.steps
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
        updates: i32,
        take: impl Fn(&str, usize) -> Option<Vec<f32>>,
    ) -> Option<()> {
        let used = self.used();
        let mut fresh = Vec::new();
        for parameter in model.parameters().iter().filter(|it| it.trainable) {
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
        self.steps = updates;
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

    /// One update of every trainable parameter with learning rate `lr`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn step(
        &mut self,
        model: &mut Model<D>,
        gradients: &mut Gradients<f32, D>,
        lr: f64,
    ) -> Result<(), D::Err> {
        self.steps += 1;
        for (at, parameter) in model.trainable_mut() {
            let Some(moments) = &mut self.moments[at] else { continue };
            let gradient = &*gradients.get_or_alloc_mut(&parameter.value)?;
            let value = &mut parameter.value;
            match &self.optimizer {
                Optimizer::Adam(adam) => adam_config(adam, lr, WeightDecay::L2).try_update(
                    self.steps,
                    value,
                    &mut moments.first,
                    &mut moments.second,
                    gradient,
                ),
                Optimizer::AdamW(adam) => adam_config(adam, lr, WeightDecay::Decoupled).try_update(
                    self.steps,
                    value,
                    &mut moments.first,
                    &mut moments.second,
                    gradient,
                ),
                Optimizer::Sgd { momentum, nesterov, weight_decay, .. } => {
                    let momentum = match (*momentum > 0.0, nesterov) {
                        (false, _) => None,
                        (true, false) => Some(Momentum::Classic(*momentum)),
                        (true, true) => Some(Momentum::Nesterov(*momentum)),
                    };
                    let weight_decay = decay(*weight_decay, WeightDecay::L2);
                    SgdConfig { lr, momentum, weight_decay }.try_update(
                        value,
                        &mut moments.first,
                        gradient,
                    )
                }
                Optimizer::RmsProp { alpha, eps, momentum, weight_decay, .. } => RMSpropConfig {
                    lr,
                    alpha: *alpha,
                    // dfdx adds it under the root, where PyTorch's 1e-8 would drown gradients
                    // below 1e-4.
                    eps: eps * eps,
                    momentum: (*momentum > 0.0).then_some(*momentum),
                    centered: false,
                    weight_decay: decay(*weight_decay, WeightDecay::L2),
                }
                .try_update(
                    value,
                    &mut moments.first,
                    &mut moments.second,
                    &mut moments.third,
                    gradient,
                ),
            }?;
        }
        Ok(())
    }
}

fn adam_config(adam: &Adam, lr: f64, kind: fn(f64) -> WeightDecay) -> AdamConfig {
    AdamConfig {
        lr,
        betas: adam.betas,
        eps: adam.eps,
        weight_decay: decay(adam.weight_decay, kind),
    }
}

fn decay(weight_decay: f64, kind: fn(f64) -> WeightDecay) -> Option<WeightDecay> {
    (weight_decay > 0.0).then(|| kind(weight_decay))
}
