//! What an optimizer remembers of each parameter, and how it moves them: dfdx's update kernels, with the
//! moments kept here so that a checkpoint can hold them.

use dfdx::optim::{AdamConfig, Momentum, RMSpropConfig, SgdConfig, WeightDecay};
use dfdx::prelude::*;

use super::optimizer::{Adam, Optimizer};
use super::rates::Rate;
use crate::nn::Model;
use crate::nn::model::host;
use crate::nn::ops::{Flat, Ops};

/// How each parameter learns, and the moments of those that learn at some time.
pub struct OptimizerState<D: Ops> {
    optimizer: Optimizer,
    rates: Vec<Rate<D>>,
    moments: Vec<Option<ParameterMoments<D>>>,
}

struct ParameterMoments<D: Ops> {
    /// Updates so far.
    steps: i32,
    first: <D as Storage<f32>>::Vec,
    second: <D as Storage<f32>>::Vec,
    /// dfdx's RMSprop kernel wants a mean gradient also where it is not used.
    third: <D as Storage<f32>>::Vec,
}

impl<D: Ops> ParameterMoments<D> {
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
                Ok(Some(ParameterMoments {
                    steps: 0,
                    first: zeros()?,
                    second: zeros()?,
                    third: zeros()?,
                }))
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
            let rate = &self.rates[at];
            let (lr, value) = (lr(rate.lr), &mut parameter.value);
            moments.steps += 1;
            let gradient = &*gradients.get_or_alloc_mut(value)?;
            let Some(toward) = &rate.toward else {
                moments.update(&optimizer, (lr, rate.weight_decay), value, gradient)?;
                continue;
            };
            if lr == 0.0 {
                continue;
            }
            // Decay toward a point is decay toward zero of what is away from it.
            *value = value.clone().try_sub(toward.clone())?;
            moments.update(&optimizer, (lr, rate.weight_decay), value, gradient)?;
            *value = value.clone().try_add(toward.clone())?;
        }
        Ok(())
    }
}

impl<D: Ops> ParameterMoments<D> {
    /// Moves one parameter by dfdx's kernel of the optimizer.
    fn update(
        &mut self,
        optimizer: &Optimizer,
        (lr, weight_decay): (f64, f64),
        value: &mut Flat<D>,
        gradient: &<D as Storage<f32>>::Vec,
    ) -> Result<(), D::Err> {
        let (first, second) = (&mut self.first, &mut self.second);
        match optimizer {
            Optimizer::Adam(adam) => adam_config(adam, lr, weight_decay, WeightDecay::L2)
                .try_update(self.steps, value, first, second, gradient),
            Optimizer::AdamW(adam) => adam_config(adam, lr, weight_decay, WeightDecay::Decoupled)
                .try_update(self.steps, value, first, second, gradient),
            Optimizer::Sgd { momentum, nesterov, .. } => {
                let momentum = match (*momentum > 0.0, nesterov) {
                    (false, _) => None,
                    (true, false) => Some(Momentum::Classic(*momentum)),
                    (true, true) => Some(Momentum::Nesterov(*momentum)),
                };
                let weight_decay = decay(weight_decay, WeightDecay::L2);
                SgdConfig { lr, momentum, weight_decay }.try_update(value, first, gradient)
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
            .try_update(value, first, second, &mut self.third, gradient),
        }
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

#[cfg(test)]
mod tests {
    use super::super::tiny;
    use super::*;

    const ADAM: Optimizer =
        Optimizer::Adam(Adam { lr: 0.1, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 });

    fn sgd(lr: f64, momentum: f64) -> Optimizer {
        Optimizer::Sgd { lr, momentum, nesterov: false, weight_decay: 0.0 }
    }

    /// The values of every parameter.
    fn values(model: &Model<Cpu>) -> Vec<Vec<f32>> {
        model.parameters().iter().map(|parameter| host(&parameter.value)).collect()
    }

    /// A step along gradients that are all 1.
    fn step(state: &mut OptimizerState<Cpu>, model: &mut Model<Cpu>, momentum: Option<f64>) {
        let mut gradients: Gradients<f32, Cpu> = Gradients::leaky();
        for parameter in model.parameters() {
            gradients.get_or_alloc_mut(&parameter.value).unwrap().fill(1.0);
        }
        state.step(model, &mut gradients, |lr| lr, momentum).unwrap();
    }

    #[test]
    fn what_does_not_learn_stays_and_counts_its_updates_from_when_it_does() {
        let mut model = tiny::model();
        model.parameters_mut()[0].trainable = false;
        let rates = (model.parameters().iter())
            .map(|_| Rate { lr: 0.1, weight_decay: 0.0, toward: None })
            .collect();
        let learns = vec![true; model.parameters().len()];
        let mut state = OptimizerState::with_rates(ADAM, rates, &model, &learns).unwrap();
        let before = values(&model);
        step(&mut state, &mut model, None);
        let frozen = values(&model);
        assert_eq!(frozen[0], before[0]);
        assert!((1..before.len()).all(|at| frozen[at] != before[at]));
        model.parameters_mut()[0].trainable = true;
        step(&mut state, &mut model, None);
        assert_ne!(values(&model)[0], before[0]);
        assert_eq!(state.updates()[..2], [1, 2]);
    }

    #[test]
    fn a_parameter_that_never_learns_has_no_state() {
        let mut model = tiny::model();
        model.parameters_mut()[0].trainable = false;
        let mut state = OptimizerState::new(ADAM, &model).unwrap();
        assert!(!state.learns(0) && state.learns(1));
        let name = format!("first.{}", model.parameters()[0].name);
        assert!(state.tensors(&model).iter().all(|(of, _)| *of != name));
    }

    #[test]
    fn a_restored_state_moves_parameters_to_the_same_bits() {
        let rmsprop = Optimizer::RmsProp {
            lr: 0.01,
            alpha: 0.9,
            eps: 1e-8,
            momentum: 0.5,
            weight_decay: 0.1,
        };
        for optimizer in [ADAM, sgd(0.1, 0.9), rmsprop] {
            let mut model = tiny::model();
            let mut state = OptimizerState::new(optimizer, &model).unwrap();
            step(&mut state, &mut model, None);
            step(&mut state, &mut model, None);
            let (updates, kept) = (state.updates(), state.tensors(&model));
            let mut copy = tiny::model();
            for (to, from) in copy.parameters_mut().iter_mut().zip(model.parameters()) {
                to.value.copy_from(&host(&from.value));
            }
            let mut restored = OptimizerState::new(optimizer, &copy).unwrap();
            let take = |name: &str, len: usize| {
                let found = kept.iter().find(|(of, _)| of == name)?.1.clone();
                (found.len() == len).then_some(found)
            };
            restored.restore(&copy, &updates, take).unwrap();
            step(&mut state, &mut model, None);
            step(&mut restored, &mut copy, None);
            assert_eq!(values(&copy), values(&model), "{optimizer:?}");
        }
    }

    #[test]
    fn a_state_that_lacks_a_tensor_is_not_restored() {
        let mut model = tiny::model();
        let mut state = OptimizerState::new(ADAM, &model).unwrap();
        step(&mut state, &mut model, None);
        let updates = state.updates();
        let found = state.restore(&model, &updates, |name, len| {
            (!name.starts_with("second.")).then(|| vec![0.0; len])
        });
        assert!(found.is_none() && state.updates() == updates);
        assert!(state.restore(&model, &updates[1..], |_, len| Some(vec![0.0; len])).is_none());
    }

    #[test]
    fn decay_toward_the_start_keeps_every_bit_where_the_rate_is_zero() {
        let mut model = tiny::model();
        let before = values(&model);
        let rates = (model.parameters().iter())
            .map(|it| Rate { lr: 0.0, weight_decay: 0.5, toward: Some(it.value.clone()) })
            .collect();
        let learns = vec![true; model.parameters().len()];
        let mut state = OptimizerState::with_rates(ADAM, rates, &model, &learns).unwrap();
        step(&mut state, &mut model, None);
        assert_eq!(values(&model), before);
        assert_eq!(state.updates(), vec![1; before.len()]);
    }

    #[test]
    fn the_momentum_of_a_schedule_counts_instead_of_the_optimizers() {
        let walk = |own: f64, given: Option<f64>| {
            let mut model = tiny::model();
            let mut state = OptimizerState::new(sgd(0.1, own), &model).unwrap();
            step(&mut state, &mut model, given);
            step(&mut state, &mut model, given);
            values(&model)
        };
        assert_eq!(walk(0.9, Some(0.5)), walk(0.5, None));
        assert_ne!(walk(0.9, None), walk(0.5, None));
    }
}
