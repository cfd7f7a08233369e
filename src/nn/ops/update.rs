//! One step of an optimizer on the CPU: dfdx's formulas, to the bit, in parallel.

use dfdx::optim::{AdamConfig, Momentum, RMSpropConfig, SgdConfig, WeightDecay};
use rayon::prelude::*;

use super::ELEMENTS;

/// How a parameter moves along its gradient: an optimizer with the numbers of this step.
#[derive(Debug, Clone, Copy)]
pub enum UpdateRule {
    /// Adam (Kingma and Ba 2015) or AdamW (Loshchilov and Hutter 2019).
    Adam(AdamConfig),
    /// Stochastic gradient descent.
    Sgd(SgdConfig),
    /// RMSprop (Hinton 2012), with `eps` under the root.
    RmsProp(RMSpropConfig),
}

impl UpdateRule {
    /// How many moments of a parameter it reads and writes: first, second, third.
    pub fn moments(&self) -> usize {
        match self {
            Self::Adam(_) | Self::RmsProp(_) => 2,
            Self::Sgd(SgdConfig { momentum: None, .. }) => 0,
            Self::Sgd(_) => 1,
        }
    }
}

/// The values of a parameter and what its optimizer remembers of it.
pub(super) struct Moving<'a> {
    pub value: &'a mut [f32],
    /// As many as [`UpdateRule::moments`] says, or more.
    pub moments: Vec<&'a mut [f32]>,
}

/// Moves a parameter by `rule` along `gradient`; `step` counts its updates from 1.
pub(super) fn update(moving: Moving, gradient: &[f32], rule: &UpdateRule, step: i32) {
    let Moving { value, mut moments } = moving;
    match (rule, moments.as_mut_slice()) {
        (UpdateRule::Adam(config), [first, second, ..]) => {
            adam(config, step, value, first, second, gradient);
        }
        (UpdateRule::Sgd(config), [velocity, ..]) => sgd(config, value, Some(velocity), gradient),
        (UpdateRule::Sgd(config), []) => sgd(config, value, None, gradient),
        (UpdateRule::RmsProp(config), [momentum, square, ..]) => {
            rmsprop(config, value, momentum, square, gradient);
        }
        _ => panic!("an optimizer without its moments"),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "parameters are f32")]
fn adam(
    config: &AdamConfig,
    step: i32,
    value: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradient: &[f32],
) {
    let betas = config.betas.map(|beta| beta as f32);
    let (eps, lr) = (config.eps as f32, config.lr as f32);
    let (l2, decoupled) = decays(config.weight_decay, config.lr);
    let unbias = betas.map(|beta| (1.0 - beta.powi(step)).recip());
    let numbers = AdamNumbers { betas, unbias, eps, lr };
    let each = value.par_chunks_mut(ELEMENTS).zip(gradient.par_chunks(ELEMENTS));
    let moments = first.par_chunks_mut(ELEMENTS).zip(second.par_chunks_mut(ELEMENTS));
    each.zip(moments).for_each(|((value, gradient), (first, second))| {
        // Without a branch in its loop each of these becomes vector instructions.
        let slices = (value, gradient, first, second);
        match (l2, decoupled) {
            (Some(decay), _) => adam_chunk(slices, numbers, |p, g| g + decay * p, |_, g| g),
            (None, Some(decay)) => adam_chunk(slices, numbers, |_, g| g, |p, g| g + decay * p),
            (None, None) => adam_chunk(slices, numbers, |_, g| g, |_, g| g),
        }
    });
}

/// The numbers of a step of Adam.
#[derive(Clone, Copy)]
struct AdamNumbers {
    betas: [f32; 2],
    /// 1 / (1 - beta^step) of each.
    unbias: [f32; 2],
    eps: f32,
    lr: f32,
}

/// Moves some values; `decayed` and `moved` are what weight decay makes of a gradient and of a move.
#[inline]
fn adam_chunk(
    (value, gradient, first, second): (&mut [f32], &[f32], &mut [f32], &mut [f32]),
    AdamNumbers { betas, unbias, eps, lr }: AdamNumbers,
    decayed: impl Fn(f32, f32) -> f32,
    moved: impl Fn(f32, f32) -> f32,
) {
    let len = value.len();
    let (gradient, first, second) = (&gradient[..len], &mut first[..len], &mut second[..len]);
    for at in 0..len {
        let p = value[at];
        let g = decayed(p, gradient[at]);
        let m = first[at] * betas[0] + g * (1.0 - betas[0]);
        let v = second[at] * betas[1] + (g * g) * (1.0 - betas[1]);
        first[at] = m;
        second[at] = v;
        let step = lr * (m * unbias[0]) / ((v * unbias[1]).sqrt() + eps);
        value[at] = p - moved(p, step);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "parameters are f32")]
fn sgd(config: &SgdConfig, value: &mut [f32], velocity: Option<&mut &mut [f32]>, gradient: &[f32]) {
    let lr = config.lr as f32;
    let (l2, decoupled) = decays(config.weight_decay, config.lr);
    let decayed = |p: f32, g: f32| l2.map_or(g, |decay| g + decay * p);
    let moved = |p: f32, g: f32| decoupled.map_or(g, |decay| g + decay * p);
    let each = value.par_chunks_mut(ELEMENTS).zip(gradient.par_chunks(ELEMENTS));
    let Some((momentum, velocity)) = config.momentum.zip(velocity) else {
        each.for_each(|(value, gradient)| {
            for (p, g) in value.iter_mut().zip(gradient) {
                let g = decayed(*p, *g) * lr;
                *p -= moved(*p, g);
            }
        });
        return;
    };
    each.zip(velocity.par_chunks_mut(ELEMENTS)).for_each(|((value, gradient), velocity)| {
        for ((p, g), v) in value.iter_mut().zip(gradient).zip(velocity) {
            let mut g = decayed(*p, *g);
            match momentum {
                Momentum::Classic(share) => {
                    *v = g + share as f32 * *v;
                    g = *v * lr;
                }
                Momentum::Nesterov(share) => {
                    *v = g + share as f32 * *v;
                    g = (g + share as f32 * *v) * lr;
                }
            }
            *p -= moved(*p, g);
        }
    });
}

#[expect(clippy::cast_possible_truncation, reason = "parameters are f32")]
fn rmsprop(
    config: &RMSpropConfig,
    value: &mut [f32],
    momentum: &mut [f32],
    square: &mut [f32],
    gradient: &[f32],
) {
    let (alpha, eps, lr) = (config.alpha as f32, config.eps as f32, config.lr as f32);
    let (l2, decoupled) = decays(config.weight_decay, config.lr);
    let share = config.momentum.map(|share| share as f32);
    let each = value.par_chunks_mut(ELEMENTS).zip(gradient.par_chunks(ELEMENTS));
    let moments = momentum.par_chunks_mut(ELEMENTS).zip(square.par_chunks_mut(ELEMENTS));
    each.zip(moments).for_each(|((value, gradient), (momentum, square))| {
        for ((p, g), (m, s)) in value.iter_mut().zip(gradient).zip(momentum.iter_mut().zip(square))
        {
            let mut g = *g;
            if let Some(decay) = l2 {
                g += decay * *p;
            }
            *s += (1.0 - alpha) * (g * g - *s);
            g /= (*s + eps).sqrt();
            if let Some(share) = share {
                *m = *m * share + g;
                g = *m * lr;
            } else {
                g *= lr;
            }
            if let Some(decay) = decoupled {
                g += decay * *p;
            }
            *p -= g;
        }
    });
}

/// What weight decay adds to the gradient, and what it takes from the parameter beside it.
#[expect(clippy::cast_possible_truncation, reason = "parameters are f32")]
pub(super) fn decays(decay: Option<WeightDecay>, lr: f64) -> (Option<f32>, Option<f32>) {
    match decay {
        None => (None, None),
        Some(WeightDecay::L2(decay)) => (Some(decay as f32), None),
        Some(WeightDecay::Decoupled(decay)) => (None, Some((decay * lr) as f32)),
    }
}
