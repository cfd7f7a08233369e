//! What an optimizer remembers of each parameter, and how it moves them: dfdx's update kernels, with the
//! moments kept here so that a checkpoint can hold them.

use dfdx::optim::{AdamConfig, Momentum, RMSpropConfig, SgdConfig, WeightDecay};

use super::optimizer::{Adam, Optimizer};
use super::rates::Rate;
use crate::nn::ops::{Dims, Gradients, OpError, Tensor, UpdateRule};
use crate::nn::{Model, Part};

/// The names of moments in a checkpoint.
const NAMES: [&str; 2] = ["first", "second"];

/// How each parameter learns, and the moments of those that learn at some time.
pub struct OptimizerState {
    rates: Vec<Rate>,
    moments: Vec<Option<ParameterMoments>>,
}

struct ParameterMoments {
    /// Updates so far.
    steps: i32,
    /// Those that the optimizer uses.
    tensors: Vec<Tensor>,
}

impl OptimizerState {
    /// Fresh state for a model whose trainable parameters all learn alike.
    ///
    /// # Errors
    /// When the device fails (out of memory).
    pub fn new(optimizer: Optimizer, model: &Model) -> Result<Self, OpError> {
        let rate = || Rate::of(optimizer);
        let rates = model.parameters().iter().map(|_| rate()).collect();
        let learns: Vec<bool> = model.parameters().iter().map(|it| it.trainable).collect();
        Self::with_rates(rates, model, &learns)
    }

    /// Fresh state for a model whose parameters learn at `rates`; those that never do, as `learns`
    /// says, get none.
    ///
    /// # Errors
    /// When the device fails (out of memory).
    pub fn with_rates(rates: Vec<Rate>, model: &Model, learns: &[bool]) -> Result<Self, OpError> {
        let mut moments = Vec::with_capacity(rates.len());
        for ((parameter, rate), learns) in model.parameters().iter().zip(&rates).zip(learns) {
            let used = rule(&rate.optimizer, (0.0, 0.0)).moments();
            let len = parameter.value.len();
            let zeros = |_| model.ops().tensor(vec![0.0; len], Dims::Flat(len));
            let tensors = (0..used).map(zeros).collect::<Result<_, _>>()?;
            moments.push(learns.then_some(ParameterMoments { steps: 0, tensors }));
        }
        Ok(Self { rates, moments })
    }

    /// Updates so far of each parameter that learns at some time.
    pub(super) fn updates(&self) -> Vec<i32> {
        self.moments.iter().flatten().map(|moments| moments.steps).collect()
    }

    /// Whether the parameter at `at` learns at some time.
    pub(super) fn learns(&self, at: usize) -> bool {
        self.moments[at].is_some()
    }

    /// All moments, parameter by parameter.
    pub(super) fn moments(&self) -> impl Iterator<Item = &Tensor> {
        self.moments.iter().flatten().flat_map(|it| &it.tensors)
    }

    /// How [`OptimizerState::step`] moves the parameter at `at` when it has done so `again` times since now, with the number of the
    /// update.
    ///
    /// # Panics
    /// When the parameter never learns.
    pub(super) fn next(
        &self,
        at: usize,
        again: usize,
        lr: impl Fn(f64) -> f64,
        momentum: Option<f64>,
    ) -> (UpdateRule, i32) {
        let rate = &self.rates[at];
        let steps = self.moments[at].as_ref().expect("a parameter that learns").steps;
        let again = i32::try_from(again).expect("a few times");
        (rule_at(rate, lr(rate.lr), momentum), steps + 1 + again)
    }

    /// Counts an update of the parameter at `at` that the device made by itself.
    ///
    /// # Panics
    /// When the parameter never learns.
    pub(super) fn count(&mut self, at: usize) {
        self.moments[at].as_mut().expect("a parameter that learns").steps += 1;
    }

    /// The moments by name: what a checkpoint holds besides the weights.
    pub(super) fn tensors(&self, model: &Model) -> Vec<(String, Vec<f32>)> {
        let mut tensors = Vec::new();
        for (parameter, moments) in model.parameters().iter().zip(&self.moments) {
            for (name, moment) in NAMES.iter().zip(moments.iter().flat_map(|it| &it.tensors)) {
                tensors.push((format!("{name}.{}", parameter.name), moment.host()));
            }
        }
        tensors
    }

    /// What [`OptimizerState::tensors`] gave, as `take` finds it by name and length; `None` where
    /// something is missing.
    pub(super) fn found(
        &self,
        model: &Model,
        updates: &[i32],
        take: impl Fn(&str, usize) -> Option<Vec<f32>>,
    ) -> Option<Vec<Vec<f32>>> {
        if updates.len() != self.moments.iter().flatten().count() {
            return None;
        }
        let mut found = Vec::new();
        for (parameter, moments) in model.parameters().iter().zip(&self.moments) {
            for (name, moment) in NAMES.iter().zip(moments.iter().flat_map(|it| &it.tensors)) {
                found.push(take(&format!("{name}.{}", parameter.name), moment.len())?);
            }
        }
        Some(found)
    }

    /// Puts back what [`OptimizerState::found`] gave.
    pub(super) fn put(&mut self, updates: &[i32], found: Vec<Vec<f32>>) {
        let places = self.moments.iter_mut().flatten().flat_map(|it| &mut it.tensors);
        places.zip(found).for_each(|(place, values)| place.write(&values));
        for (moments, steps) in self.moments.iter_mut().flatten().zip(updates) {
            moments.steps = *steps;
        }
    }

    /// One update of every trainable parameter of the parts that `moves` names, where a gradient reached
    /// it. `lr` says what became of a rate by now, `momentum` is one that counts instead of the
    /// optimizer's. `seen` is told the place, the name and the gradient of each.
    ///
    /// # Errors
    /// When the device fails.
    pub fn step(
        &mut self,
        model: &mut Model,
        gradients: &mut Gradients,
        moves: impl Fn(&Part) -> bool,
        lr: impl Fn(f64) -> f64,
        momentum: Option<f64>,
        mut seen: impl FnMut(usize, &str, &Tensor),
    ) -> Result<(), OpError> {
        for (at, parameter) in model.trainable_mut(&moves) {
            let Some(moments) = &mut self.moments[at] else { continue };
            let rate = &self.rates[at];
            let (lr, value) = (lr(rate.lr), &mut parameter.value);
            let Some(gradient) = gradients.take(value) else { continue };
            seen(at, &parameter.name, &gradient);
            moments.steps += 1;
            let rule = rule_at(rate, lr, momentum);
            let Some(toward) = &rate.toward else {
                moments.update(&rule, value, &gradient)?;
                continue;
            };
            if lr == 0.0 {
                continue;
            }
            // Decay toward a point is decay toward zero of what is away from it.
            let mut away = value.sub(toward)?;
            moments.update(&rule, &mut away, &gradient)?;
            value.write(&away.add(toward)?.host());
        }
        Ok(())
    }
}

impl ParameterMoments {
    /// Moves one parameter.
    fn update(
        &mut self,
        rule: &UpdateRule,
        value: &mut Tensor,
        gradient: &Tensor,
    ) -> Result<(), OpError> {
        let ops = std::rc::Rc::clone(value.ops());
        ops.update(value, &mut self.tensors, gradient, rule, self.steps)
    }
}

/// The rule at a rate that has become `lr`; `momentum` is one that counts instead of the optimizer's.
fn rule_at(rate: &Rate, lr: f64, momentum: Option<f64>) -> UpdateRule {
    let optimizer = match momentum.filter(|_| rate.optimizer.has_momentum()) {
        Some(new) => rate.optimizer.with_momentum(new),
        None => rate.optimizer,
    };
    rule(&optimizer, (lr, rate.weight_decay))
}

/// The rule of `optimizer` with a learning rate and a weight decay.
fn rule(optimizer: &Optimizer, (lr, weight_decay): (f64, f64)) -> UpdateRule {
    match optimizer {
        Optimizer::Adam(adam) => {
            UpdateRule::Adam(adam_config(adam, lr, weight_decay, WeightDecay::L2))
        }
        Optimizer::AdamW(adam) => {
            UpdateRule::Adam(adam_config(adam, lr, weight_decay, WeightDecay::Decoupled))
        }
        Optimizer::Sgd { momentum, nesterov, .. } => {
            let momentum = match (*momentum > 0.0, nesterov) {
                (false, _) => None,
                (true, false) => Some(Momentum::Classic(*momentum)),
                (true, true) => Some(Momentum::Nesterov(*momentum)),
            };
            let weight_decay = decay(weight_decay, WeightDecay::L2);
            UpdateRule::Sgd(SgdConfig { lr, momentum, weight_decay })
        }
        Optimizer::RmsProp { alpha, eps, momentum, .. } => UpdateRule::RmsProp(RMSpropConfig {
            lr,
            alpha: *alpha,
            // dfdx adds it under the root, where PyTorch's 1e-8 would drown gradients
            // below 1e-4.
            eps: eps * eps,
            momentum: (*momentum > 0.0).then_some(*momentum),
            centered: false,
            weight_decay: decay(weight_decay, WeightDecay::L2),
        }),
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
    fn values(model: &Model) -> Vec<Vec<f32>> {
        model.parameters().iter().map(|parameter| parameter.value.host()).collect()
    }

    /// A step along gradients that are all 1.
    fn step(state: &mut OptimizerState, model: &mut Model, momentum: Option<f64>) {
        let mut gradients = tiny::gradients(model, |_, len| vec![1.0; len]);
        state.step(model, &mut gradients, |_| true, |lr| lr, momentum, |_, _, _| ()).unwrap();
    }

    #[test]
    fn what_does_not_learn_stays_and_counts_its_updates_from_when_it_does() {
        let mut model = tiny::model();
        model.parameters_mut()[0].trainable = false;
        let rates =
            (model.parameters().iter()).map(|_| Rate { lr: 0.1, ..Rate::of(ADAM) }).collect();
        let learns = vec![true; model.parameters().len()];
        let mut state = OptimizerState::with_rates(rates, &model, &learns).unwrap();
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
        let state = OptimizerState::new(ADAM, &model).unwrap();
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
                to.value.write(&from.value.host());
            }
            let mut restored = OptimizerState::new(optimizer, &copy).unwrap();
            let take = |name: &str, len: usize| {
                let found = kept.iter().find(|(of, _)| of == name)?.1.clone();
                (found.len() == len).then_some(found)
            };
            let found = restored.found(&copy, &updates, take).unwrap();
            restored.put(&updates, found);
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
        let found = state.found(&model, &updates, |name, len| {
            (!name.starts_with("second.")).then(|| vec![0.0; len])
        });
        assert!(found.is_none());
        assert!(state.found(&model, &updates[1..], |_, len| Some(vec![0.0; len])).is_none());
    }

    #[test]
    fn decay_toward_the_start_keeps_every_bit_where_the_rate_is_zero() {
        let mut model = tiny::model();
        let before = values(&model);
        let rates = (model.parameters().iter())
            .map(|it| {
                let toward = Some(it.value.clone());
                Rate { lr: 0.0, weight_decay: 0.5, toward, ..Rate::of(ADAM) }
            })
            .collect();
        let learns = vec![true; model.parameters().len()];
        let mut state = OptimizerState::with_rates(rates, &model, &learns).unwrap();
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
