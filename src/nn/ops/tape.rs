//! Between the tape and the CPU kernels' slices: the values of a tensor, outputs, and steps backward.
//! Computes nothing but sums of gradients.

use std::any::Any;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use dfdx::prelude::{Cpu, Gradients as DfdxGradients};
use rayon::prelude::*;

use super::tensor::{Tensor, Token};
use super::{Dims, ELEMENTS, OpError};
use crate::memory::{self, Buffer};

impl Tensor {
    /// The values in the CPU's memory.
    pub(super) fn values(&self) -> &[f32] {
        self.held::<Arc<Buffer>>()
    }

    /// The values, to be kept for a step backward without a copy.
    pub(super) fn buffer(&self) -> Arc<Buffer> {
        Arc::clone(self.held())
    }

    /// The values to be changed: a copy of its own, where another tensor shares them.
    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        let own = Rc::get_mut(&mut self.held).and_then(|held| held.downcast_mut::<Arc<Buffer>>());
        if own.and_then(Arc::get_mut).is_none() {
            let mut copy = memory::take(self.values().len());
            copy.copy_from_slice(self.values());
            self.held = held(copy);
        }
        let own = Rc::get_mut(&mut self.held).and_then(|held| held.downcast_mut::<Arc<Buffer>>());
        own.and_then(Arc::get_mut).expect("nobody else holds it")
    }

    /// A tensor of the CPU beside this one, on no tape.
    pub(super) fn beside(&self, values: Vec<f32>, dims: Dims) -> Self {
        Self::new(Rc::clone(&self.ops), dims, held(values))
    }
}

/// Values as a tensor of the CPU holds them: steps backward and the tasks of a pass share them.
pub(super) fn held(values: Vec<f32>) -> Rc<dyn Any> {
    Rc::new(Arc::new(Buffer::from(values)))
}

/// The gradients that a step backward adds to: one for each input, where it is wanted.
pub(super) type Sums = Vec<Option<Vec<f32>>>;

/// Puts `y` on the tape of `inputs`, with how its gradient becomes theirs; if none of them is on a tape,
/// neither is `y`, and nothing is kept.
///
/// The output's gradient is used up: after this step nothing reads it. Where none reached the output, the
/// step is left out.
pub(super) fn record<F>(inputs: &[&Tensor], mut y: Tensor, backward: F) -> Tensor
where
    F: FnOnce(&[f32], &mut Sums) + 'static,
{
    let Some(tape) = inputs.iter().find_map(|input| input.tape.clone()) else { return y };
    let wanted: Vec<Option<(Token, usize)>> = inputs
        .iter()
        .map(|input| input.is_recorded().then(|| (input.token().clone(), input.values().len())))
        .collect();
    let output = y.token().clone();
    tape.record(move |gradients| {
        let Some(dy) = take_gradient(gradients, &output)? else { return Ok(()) };
        let mut sums: Sums = Vec::with_capacity(wanted.len());
        for wanted in &wanted {
            sums.push(match wanted {
                Some((token, len)) => Some(sum_so_far(gradients, token, *len)?),
                None => None,
            });
        }
        backward(&dy, &mut sums);
        for (wanted, sum) in wanted.iter().zip(sums) {
            if let (Some((token, _)), Some(sum)) = (wanted, sum) {
                // An input may come twice: the second sum began with nothing.
                add_gradient(gradients, token, sum)?;
            }
        }
        memory::give(dy);
        Ok(())
    });
    y.tape = Some(tape);
    y
}

/// The gradient of a tensor, taken from dfdx's keeping: `None` if nobody added to it yet.
pub(super) fn take_gradient(
    gradients: &mut DfdxGradients<f32, Cpu>,
    token: &Token,
) -> Result<Option<Vec<f32>>, OpError> {
    let held: Vec<f32> = mem::take(&mut **gradients.get_or_alloc_mut(token).map_err(OpError::new)?);
    Ok((!held.is_empty()).then_some(held))
}

/// The same, with zeros where nobody added to it yet.
pub(super) fn sum_so_far(
    gradients: &mut DfdxGradients<f32, Cpu>,
    token: &Token,
    len: usize,
) -> Result<Vec<f32>, OpError> {
    Ok(take_gradient(gradients, token)?.unwrap_or_else(|| {
        let mut zeros = memory::take(len);
        zeros.fill(0.0);
        zeros
    }))
}

/// Gives a gradient into dfdx's keeping.
pub(super) fn put_gradient(
    gradients: &mut DfdxGradients<f32, Cpu>,
    token: &Token,
    values: Vec<f32>,
) -> Result<(), OpError> {
    **gradients.get_or_alloc_mut(token).map_err(OpError::new)? = values;
    Ok(())
}

/// Adds `more` to the gradient of a tensor; it becomes the gradient if it is the first.
pub(super) fn add_gradient(
    gradients: &mut DfdxGradients<f32, Cpu>,
    token: &Token,
    more: Vec<f32>,
) -> Result<(), OpError> {
    let sum = match take_gradient(gradients, token)? {
        None => more,
        Some(mut sum) => {
            let more_chunks = more.par_chunks(ELEMENTS);
            sum.par_chunks_mut(ELEMENTS).zip(more_chunks).for_each(|(sum, more)| {
                for (sum, more) in sum.iter_mut().zip(more) {
                    *sum += more;
                }
            });
            memory::give(more);
            sum
        }
    };
    put_gradient(gradients, token, sum)
}
