//! What an optimizer remembers of each parameter, and how it moves them: dfdx's update kernels, with the
//! moments kept here so that a checkpoint can hold them.

use dfdx::optim::{AdamConfig, Momentum, RMSpropConfig, SgdConfig, WeightDecay};
use dfdx::prelude::*;

use super::optimizer::{Adam, Optimizer};
use super::rates::Rate;
use crate::nn::Model;
use crate::nn::model::host;
use crate::nn::ops::{Flat, Ops};

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
