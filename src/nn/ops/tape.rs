//! Between dfdx's tensors and the CPU kernels' slices: reading values, making outputs, recording
//! backward steps. Computes nothing.

use std::mem;

use dfdx::prelude::*;

use super::{Batch, Flat, Needs};
use crate::memory;

/// The values of a tensor. dfdx lends none, so they are copied once; the copy also serves as what
/// a backward step remembers. To be [given back](memory::give).
pub(super) fn values<S: Shape>(tensor: &Tensor<S, f32, Cpu>) -> Vec<f32> {
    let mut values = memory::take(tensor.shape().num_elements());
    tensor.copy_into(&mut values);
    values
}

/// Gradients that a backward step adds to.
pub(super) struct Sums<'g> {
    /// Of the input; `None` if nobody needs it.
    pub input: Option<&'g mut [f32]>,
    /// Of the parameters in the order they were recorded; empty if nobody needs them.
    pub parameters: &'g mut [Vec<f32>],
}

/// Records how the gradient of `y` becomes that of `x` and `parameters`, unless nobody needs it.
///
/// The output's gradient is used up: after this step nothing reads it.
pub(super) fn record<S, T, F>(
    mut tape: T,
    x: &Batch<Cpu>,
    parameters: &[&Flat<Cpu>],
    y: Tensor<S, f32, Cpu>,
    needs: Needs,
    backward: F,
) -> Tensor<S, f32, Cpu, T>
where
    S: Shape,
    T: Tape<f32, Cpu>,
    F: FnOnce(&[f32], Sums<'_>) + 'static,
{
    let (input, output) = (x.ghost(), y.ghost());
    let wanted = if needs.weight { parameters } else { &[] };
    let parameters: Vec<_> = wanted.iter().map(|parameter| parameter.ghost()).collect();
    tape.add_backward_op(move |gradients| {
        let dy: Vec<f32> = mem::take(&mut **gradients.get_or_alloc_mut(&output)?);
        let mut sums = Vec::with_capacity(parameters.len());
        for parameter in &parameters {
            sums.push(mem::take::<Vec<f32>>(&mut **gradients.get_or_alloc_mut(parameter)?));
        }
        let dx = if needs.input { Some(&mut ***gradients.get_or_alloc_mut(&input)?) } else { None };
        backward(&dy, Sums { input: dx, parameters: &mut sums });
        for (parameter, sum) in parameters.iter().zip(sums) {
            **gradients.get_or_alloc_mut(parameter)? = sum;
        }
        memory::give(dy);
        Ok(())
    });
    y.put_tape(tape)
}
