//! Steps of optimizers.

use dfdx::optim::{AdamConfig, Momentum, RMSpropConfig, SgdConfig, WeightDecay};
use smallvec::{SmallVec, smallvec};

use super::GpuOps;
use super::node::{at, block, count, for_each, maybe};
use crate::nn::gpu::{Given, Kernel};
use crate::nn::ops::update;
use crate::nn::ops::{OpError, Tensor, UpdateRule};

impl GpuOps {
    pub(super) fn moved(
        &self,
        value: &mut Tensor,
        moments: &mut [Tensor],
        gradient: &Tensor,
        rule: &UpdateRule,
        step: i32,
    ) -> Result<(), OpError> {
        let len = value.len();
        let value = self.own(value)?;
        let moments: SmallVec<[_; 2]> =
            moments.iter_mut().map(|it| self.own(it)).collect::<Result<_, _>>()?;
        let kernel = match rule {
            UpdateRule::Adam(_) => Kernel::Adam,
            UpdateRule::Sgd(_) => Kernel::Sgd,
            UpdateRule::RmsProp(_) => Kernel::RmsProp,
        };
        // The values, the numbers of the step, the gradient, the parameter and its moments.
        let numbers = numbers_of(rule, step);
        let by = Given::numbers(&numbers, self.source_of_update(rule));
        let [first, second] =
            [0, 1].map(|at| maybe(moments.get(at).filter(|_| at < rule.moments()).map(|it| &**it)));
        let given = [count(len), by, at(gradient), block(&value), first, second];
        self.launch(kernel, for_each(len), &given)
    }

    pub(super) fn averaged(
        &self,
        into: &mut Tensor,
        from: &Tensor,
        keep: f32,
    ) -> Result<(), OpError> {
        let (len, own) = (into.len(), self.own(into)?);
        let given = [count(len), Given::Numbers(&[keep]), at(from), block(&own)];
        self.launch(Kernel::Average, for_each(len), &given)
    }
}

/// The numbers of a parameter's update of this number, as the rule's kernel takes them (`update.cu`).
#[expect(clippy::cast_possible_truncation, reason = "parameters are f32")]
pub(super) fn numbers_of(rule: &UpdateRule, step: i32) -> SmallVec<[f32; 8]> {
    match rule {
        UpdateRule::Adam(AdamConfig { lr, betas, eps, weight_decay }) => {
            let (l2, decoupled) = decays(*weight_decay, *lr);
            let betas = betas.map(|beta| beta as f32);
            let unbias = betas.map(|beta| (1.0 - beta.powi(step)).recip());
            let (lr, eps) = (*lr as f32, *eps as f32);
            smallvec![lr, betas[0], betas[1], unbias[0], unbias[1], eps, l2, decoupled]
        }
        UpdateRule::Sgd(SgdConfig { lr, momentum, weight_decay }) => {
            let (l2, decoupled) = decays(*weight_decay, *lr);
            let (share, nesterov) = match momentum {
                None => (0.0, 0.0),
                Some(Momentum::Classic(share)) => (*share as f32, 0.0),
                Some(Momentum::Nesterov(share)) => (*share as f32, 1.0),
            };
            smallvec![*lr as f32, share, nesterov, l2, decoupled]
        }
        UpdateRule::RmsProp(RMSpropConfig { lr, alpha, eps, momentum, weight_decay, .. }) => {
            let (l2, decoupled) = decays(*weight_decay, *lr);
            let (share, has) = momentum.map_or((0.0, 0.0), |share| (share as f32, 1.0));
            let (lr, alpha, eps) = (*lr as f32, *alpha as f32, *eps as f32);
            smallvec![lr, alpha, eps, share, has, l2, decoupled]
        }
    }
}

/// The two forms of weight decay as numbers, 0 where there is none.
fn decays(decay: Option<WeightDecay>, lr: f64) -> (f32, f32) {
    let (l2, decoupled) = update::decays(decay, lr);
    (l2.unwrap_or(0.0), decoupled.unwrap_or(0.0))
}
