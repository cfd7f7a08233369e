//! dfdx's own operations as a backend, on its CPU or on a GPU by its CUDA kernels: the reference that the
//! fast kernels are compared with. Speed is not its aim.
//!
//! Each operation runs on a tape of its own. On the way back its gradient goes through that tape, and
//! what reaches the inputs is added to theirs. Sums by `gather` run in no fixed order on a GPU, so that a
//! run repeats only up to rounding there.

use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use dfdx::optim::{AdamConfig, RMSpropConfig, SgdConfig};
use dfdx::prelude::*;

use super::batch_norm::{GivenMoments, batch_norm_eval_generic, batch_norm_train_generic, unbias};
use super::conv_block::one_by_one;
use super::conv2d::conv2d_generic;
use super::cross_entropy::{Targets, cross_entropy_generic};
use super::grad_scale::grad_scale_generic;
use super::linear::linear_generic;
use super::matrix::{DfdxFlat, DfdxMatrix, Taped, Wanted};
use super::passes::Passes;
use super::pool2d::{avg_pool2d_generic, global_avg_pool_generic, max_pool2d_generic};
use super::primitive::Primitive;
use super::relu::relu_generic;
use super::scale_channels::scale_channels_generic;
use super::tensor::{PassId, Tensor};
use super::{
    Backend, ConvBlock, Dims, Norm, Number, OpError, Ops, Prepared, Running, Tape, UpdateRule,
    Varying,
};
use crate::nn::geometry::{Chw, Conv2d, Pool2d, Rectifier};

/// Small operations on values of the host, by dfdx.
#[derive(Debug, Default)]
pub(super) struct SmallOps<D> {
    device: D,
}

/// The way back through a small operation.
pub(super) struct WayBack<D: Device<f32>> {
    inputs: Vec<DfdxMatrix<D>>,
    output: Taped<D>,
}

impl<D: Device<f32>> SmallOps<D> {
    /// The values of `primitive` for these matrices, and the way back.
    pub(super) fn run(
        &self,
        primitive: &Primitive,
        inputs: Vec<(Vec<f32>, (usize, usize))>,
    ) -> Result<(Vec<f32>, WayBack<D>), OpError> {
        let inputs = inputs.into_iter().map(|(values, shape)| {
            self.device.try_tensor_from_vec(values, shape).map_err(OpError::new)
        });
        let inputs: Vec<DfdxMatrix<D>> = inputs.collect::<Result<_, _>>()?;
        let taped = inputs.iter().map(Trace::leaky_trace).collect();
        let output = primitive.run(taped).map_err(OpError::new)?;
        Ok((read(&output), WayBack { inputs, output }))
    }
}

impl<D: Device<f32>> WayBack<D> {
    /// The gradients of the inputs, given that of the output.
    pub(super) fn gradients(self, dy: Vec<f32>) -> Result<Vec<Vec<f32>>, OpError> {
        let Self { inputs, output } = self;
        let dy = output.device().try_tensor_from_vec(dy, *output.shape());
        let dy: DfdxMatrix<D> = dy.map_err(OpError::new)?;
        let mut gradients = backward(output, dy).map_err(OpError::new)?;
        let read = |input: &DfdxMatrix<D>| {
            gradients.get_or_alloc_mut(input).map_err(OpError::new)?;
            Ok(self::read(&gradients.get(input)))
        };
        inputs.iter().map(read).collect()
    }
}

/// The gradients of everything that `y` came of, given its own.
fn backward<D: Device<f32>>(y: Taped<D>, dy: DfdxMatrix<D>) -> Result<Gradients<f32, D>, D::Err> {
    y.try_mul(dy)?.try_sum::<(), Axes2<0, 1>>()?.try_backward()
}

fn read<S: Shape, D: Device<f32>, T>(x: &dfdx::tensor::Tensor<S, f32, D, T>) -> Vec<f32> {
    let mut values = vec![0.0; x.shape().num_elements()];
    x.copy_into(&mut values);
    values
}

/// The values of a tensor on a device of dfdx, and its gradients.
struct Node<D: Device<f32>> {
    value: DfdxMatrix<D>,
    /// Shared with what the tensor was before other values were written to it.
    gradients: Passes<DfdxMatrix<D>>,
}

impl<D: Device<f32>> Node<D> {
    fn new(value: DfdxMatrix<D>) -> Self {
        Self { value, gradients: Passes::default() }
    }

    /// Adds to the gradient of a pass.
    fn add(&self, pass: &Weak<PassId>, more: DfdxMatrix<D>) -> Result<(), D::Err> {
        let more = more.try_reshape_like(self.value.shape())?;
        let sum = match self.gradients.take(pass) {
            Some(sum) => sum.try_add(more)?,
            None => more,
        };
        self.gradients.put(pass, sum);
        Ok(())
    }
}

/// dfdx on one of its devices.
pub struct DfdxOps<D> {
    device: D,
    /// Itself, for the tensors that it makes.
    this: Weak<Self>,
}

impl<D> fmt::Debug for DfdxOps<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DfdxOps").finish_non_exhaustive()
    }
}

impl<D: Device<f32>> DfdxOps<D> {
    /// dfdx on `device` as a backend.
    pub fn shared(device: D) -> Backend {
        Rc::new_cyclic(|this| Self { device, this: this.clone() })
    }

    fn backend(&self) -> Backend {
        self.this.upgrade().expect("it is shared")
    }

    fn wrap(&self, value: DfdxMatrix<D>, dims: Dims) -> Tensor {
        Tensor::new(self.backend(), dims, Rc::new(Node::new(value)))
    }

    fn node(x: &Tensor) -> Rc<Node<D>> {
        Rc::downcast(Rc::clone(&x.held)).expect("a tensor of this backend")
    }

    /// The values as a matrix of the tensor's shape.
    fn matrix(x: &Tensor) -> Result<DfdxMatrix<D>, OpError> {
        let value = Self::node(x).value.clone();
        let shape = (x.rows(), x.columns());
        if *value.shape() == shape {
            return Ok(value);
        }
        value.try_reshape_like(&shape).map_err(OpError::new)
    }

    fn flat(x: &Tensor) -> Result<DfdxFlat<D>, OpError> {
        Self::node(x).value.clone().try_reshape_like(&(x.len(),)).map_err(OpError::new)
    }

    /// Runs an operation on matrices and parameters, on a tape of its own.
    fn run(
        &self,
        matrices: &[&Tensor],
        flats: &[&Tensor],
        dims: Dims,
        forward: impl FnOnce(Vec<Taped<D>>, &[DfdxFlat<D>], Wanted) -> Result<Taped<D>, D::Err>,
    ) -> Result<Tensor, OpError> {
        let recorded = |of: &[&Tensor]| of.iter().any(|it| it.is_recorded());
        let wanted = Wanted { input: recorded(matrices), weight: recorded(flats) };
        let mut leaves = Vec::with_capacity(matrices.len());
        for (at, x) in matrices.iter().enumerate() {
            let leaf = Self::matrix(x)?;
            // dfdx takes a tensor that comes twice for one.
            let twice = matrices[..at].iter().any(|it| Rc::ptr_eq(&it.held, &x.held));
            leaves.push(if twice { leaf.try_mul(1.0).map_err(OpError::new)? } else { leaf });
        }
        let mut parameters = Vec::with_capacity(flats.len());
        for (at, x) in flats.iter().enumerate() {
            let leaf = Self::flat(x)?;
            let mut before = matrices.iter().chain(&flats[..at]);
            let twice = before.any(|it| Rc::ptr_eq(&it.held, &x.held));
            parameters.push(if twice { leaf.try_mul(1.0).map_err(OpError::new)? } else { leaf });
        }
        let taped = leaves.iter().map(Trace::leaky_trace).collect();
        let y = forward(taped, &parameters, wanted).map_err(OpError::new)?;
        let (value, inner) = y.split_tape();
        let mut out = self.wrap(value.clone(), dims);
        let all = matrices.iter().chain(flats);
        let Some(tape) = all.clone().find_map(|it| it.tape.clone()) else { return Ok(out) };
        let into = |it: &&Tensor| it.is_recorded().then(|| Self::node(it));
        let into_matrices: Vec<_> = matrices.iter().map(into).collect();
        let into_flats: Vec<_> = flats.iter().map(into).collect();
        let (pass, node) = (tape.pass(), Self::node(&out));
        tape.record(move |_| {
            let Some(dy) = node.gradients.take(&pass) else { return Ok(()) };
            let back = || -> Result<(), D::Err> {
                let mut gradients = backward(value.put_tape(inner), dy)?;
                for (leaf, node) in leaves.iter().zip(&into_matrices) {
                    if let Some(node) = node {
                        gradients.get_or_alloc_mut(leaf)?;
                        node.add(&pass, gradients.get(leaf))?;
                    }
                }
                for (leaf, node) in parameters.iter().zip(&into_flats) {
                    if let Some(node) = node {
                        gradients.get_or_alloc_mut(leaf)?;
                        let gradient = gradients.get(leaf);
                        node.add(&pass, gradient.try_reshape_like(&(1, leaf.shape().0))?)?;
                    }
                }
                Ok(())
            };
            back().map_err(OpError::new)
        });
        out.tape = Some(tape);
        Ok(out)
    }

    /// Runs an operation on one batch.
    fn on_rows(
        &self,
        x: &Tensor,
        columns: usize,
        forward: impl FnOnce(Taped<D>) -> Result<Taped<D>, D::Err>,
    ) -> Result<Tensor, OpError> {
        let dims = Dims::Rows(x.rows(), columns);
        self.run(&[x], &[], dims, |mut x, _, _| forward(x.swap_remove(0)))
    }

    /// Batch normalisation by the batch's own moments, which move averages where there are some, or by
    /// those that are given for some channels.
    fn norm_by_batch(
        &self,
        x: &Tensor,
        [weight, bias]: [&Tensor; 2],
        channels: usize,
        eps: f32,
        (running, given): (Option<Running>, Option<GivenMoments<D>>),
    ) -> Result<Tensor, OpError> {
        let (dims, values) = (Dims::Rows(x.rows(), x.columns()), x.len() / channels);
        self.run(&[x], &[weight, bias], dims, |mut x, flats, wanted| {
            let (x, wanted) = (x.swap_remove(0), (wanted, given.as_ref()));
            let (y, mean, var) =
                batch_norm_train_generic(x, &flats[0], &flats[1], channels, eps, wanted)?;
            if let Some(running) = running {
                let momentum = running.momentum;
                let moments = [mean, var.try_mul(unbias(values))?];
                for (average, new) in [running.mean, running.var].into_iter().zip(moments) {
                    let old = Self::node(average).value.clone();
                    let new = new.try_reshape_like(old.shape())?;
                    let moved = old.clone().try_add(new.try_sub(old)?.try_mul(momentum)?)?;
                    average.held = Rc::new(Node::new(moved));
                }
            }
            Ok(y)
        })
    }

    /// Storage with the values of `x`: the gradient of `sum(x * values)`, as dfdx fills storage from
    /// outside only for tensors.
    fn storage(&self, x: &Tensor) -> Result<<D as Storage<f32>>::Vec, D::Err> {
        let values = Self::node(x).value.clone().try_reshape_like(&(x.len(),))?;
        let zeros: DfdxFlat<D> = self.device.try_zeros_like(&(x.len(),))?;
        let product = zeros.trace(Gradients::leaky()).try_mul(values)?;
        let mut gradients = product.try_sum::<(), Axis<0>>()?.try_backward()?;
        let empty = Storage::<f32>::try_alloc_len(&self.device, 0)?;
        Ok(std::mem::replace(gradients.get_or_alloc_mut(&zeros)?, empty))
    }

    /// Makes `storage` the values of `x`, by way of a gradient again.
    fn unstore(&self, x: &mut Tensor, storage: <D as Storage<f32>>::Vec) -> Result<(), D::Err> {
        let like: DfdxFlat<D> = self.device.try_zeros_like(&(x.len(),))?;
        let mut holder = Gradients::leaky();
        *holder.get_or_alloc_mut(&like)? = storage;
        let value = holder.get(&like).try_reshape_like(&(1, x.len()))?;
        x.held = Rc::new(Node::new(value));
        Ok(())
    }

    fn moved(
        &self,
        value: &mut Tensor,
        moments: &mut [Tensor],
        gradient: &Tensor,
        (rule, step): (&UpdateRule, i32),
    ) -> Result<(), D::Err> {
        let mut parameter = Self::node(value).value.clone().try_reshape_like(&(value.len(),))?;
        let gradient = self.storage(gradient)?;
        let mut stored = Vec::with_capacity(3);
        for moment in &*moments {
            stored.push(self.storage(moment)?);
        }
        // dfdx's kernels want moments also where they do not use them.
        while stored.len() < 3 {
            stored.push(Storage::<f32>::try_alloc_len(&self.device, value.len())?);
        }
        let [first, second, third] = &mut stored[..] else { unreachable!("three moments") };
        let parameter_mut = &mut parameter;
        match rule {
            UpdateRule::Adam(config) => {
                AdamConfig::try_update(config, step, parameter_mut, first, second, &gradient)?;
            }
            UpdateRule::Sgd(config) => {
                SgdConfig::try_update(config, parameter_mut, first, &gradient)?;
            }
            UpdateRule::RmsProp(config) => {
                RMSpropConfig::try_update(config, parameter_mut, first, second, third, &gradient)?;
            }
        }
        value.held = Rc::new(Node::new(parameter.try_reshape_like(&(1, value.len()))?));
        for (moment, stored) in moments.iter_mut().zip(stored) {
            self.unstore(moment, stored)?;
        }
        Ok(())
    }

    /// 1 for each row whose first largest value is at its label, added up.
    fn count_hits(&self, logits: &Tensor, labels: &[u32]) -> Result<DfdxMatrix<D>, D::Err> {
        let (rows, classes) = (logits.rows(), logits.columns());
        let logits = Self::node(logits).value.clone().try_reshape_like(&(rows, classes))?;
        let per_class = |worth: &dyn Fn(usize, usize) -> bool| {
            let values = labels.iter().flat_map(|label| {
                let label = *label as usize;
                (0..classes).map(move |class| (class, label))
            });
            let values = values.map(|(class, label)| f32::from(u8::from(worth(class, label))));
            self.device.try_tensor_from_vec(values.collect(), (rows, classes))
        };
        let at_label: DfdxMatrix<D> = per_class(&|class, label| class == label)?;
        let before: DfdxMatrix<D> = per_class(&|class, label| class < label)?;
        let own = logits.clone().try_mul(at_label)?.try_sum::<(usize,), Axis<1>>()?;
        let own = own.try_broadcast_like::<_, Axis<1>>(&(rows, classes))?;
        let zeros = logits.clone().try_mul(0.0)?;
        let ones = zeros.clone().try_add(1.0)?;
        let larger = logits.try_gt(&own)?.try_choose(ones, zeros.clone())?;
        let equal = logits.try_eq(&own)?.try_choose(before, zeros)?;
        let beaten = larger.try_add(equal)?.try_sum::<(usize,), Axis<1>>()?;
        let none = beaten.clone().try_mul(0.0)?;
        let hit = beaten.try_lt(0.5)?.try_choose(none.clone().try_add(1.0)?, none)?;
        hit.try_sum::<(), Axis<0>>()?.try_reshape_like(&(1, 1))
    }
}

impl<D: Device<f32>> Ops for DfdxOps<D> {
    fn reads_are_free(&self) -> bool {
        false
    }

    fn tensor(&self, values: Vec<f32>, dims: Dims) -> Result<Tensor, OpError> {
        assert!(!matches!(dims, Dims::Maps(..)), "feature maps are made of rows");
        let shape = (dims.rows(), dims.columns());
        let value = self.device.try_tensor_from_vec(values, shape).map_err(OpError::new)?;
        Ok(self.wrap(value, dims))
    }

    fn host(&self, x: &Tensor) -> Vec<f32> {
        read(&Self::node(x).value)
    }

    fn write(&self, x: &mut Tensor, values: &[f32]) {
        let before = Self::node(x);
        let mut value = before.value.clone();
        value.copy_from(values);
        x.held = Rc::new(Node { value, gradients: before.gradients.clone() });
    }

    fn prepare(&self, _: &Tensor, _: &Conv2d, _: bool) -> Prepared {
        Arc::new(())
    }

    fn maps(&self, x: &Tensor, shape: Chw) -> Result<Tensor, OpError> {
        assert_eq!(x.columns(), shape.len(), "maps of another shape");
        Ok(Tensor { dims: Dims::Maps(x.rows(), shape), ..x.clone() })
    }

    fn flat_rows(&self, x: &Tensor) -> Result<Tensor, OpError> {
        Ok(Tensor { dims: Dims::Rows(x.rows(), x.columns()), ..x.clone() })
    }

    fn conv_block(
        &self,
        x: &Tensor,
        side: Option<&Tensor>,
        block: ConvBlock,
    ) -> Result<Tensor, OpError> {
        one_by_one(self, x, side, block)
    }

    fn conv2d(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        shape: &Conv2d,
    ) -> Result<Tensor, OpError> {
        let flats: Vec<&Tensor> = [Some(weight), bias].into_iter().flatten().collect();
        let dims = Dims::Rows(x.rows(), shape.output().len());
        self.run(&[x], &flats, dims, |mut x, flats, wanted| {
            conv2d_generic(x.swap_remove(0), &flats[0], flats.get(1), shape, wanted)
        })
    }

    fn max_pool2d(&self, x: &Tensor, shape: &Pool2d) -> Result<Tensor, OpError> {
        self.on_rows(x, shape.output().len(), |x| max_pool2d_generic(x, shape))
    }

    fn avg_pool2d(&self, x: &Tensor, shape: &Pool2d) -> Result<Tensor, OpError> {
        self.on_rows(x, shape.output().len(), |x| avg_pool2d_generic(x, shape))
    }

    fn global_avg_pool(&self, x: &Tensor, input: Chw) -> Result<Tensor, OpError> {
        self.on_rows(x, input.channels, |x| global_avg_pool_generic(x, input))
    }

    fn batch_norm(&self, x: &Tensor, norm: Norm, channels: usize) -> Result<Tensor, OpError> {
        let dims = Dims::Rows(x.rows(), x.columns());
        match norm {
            Norm::None => panic!("batch normalisation without its parameters"),
            Norm::Batch { weight, bias, eps, running } => {
                self.norm_by_batch(x, [weight, bias], channels, eps, (running, None))
            }
            Norm::Mixed { weight, bias, eps, running, by_averages } => {
                let share = by_averages.iter().map(|it| f32::from(u8::from(*it))).collect();
                let share = self.device.try_tensor_from_vec(share, (channels,));
                let given = GivenMoments {
                    share: share.map_err(OpError::new)?,
                    mean: Self::flat(running.mean)?,
                    var: Self::flat(running.var)?,
                };
                let parameters = [weight, bias];
                self.norm_by_batch(x, parameters, channels, eps, (Some(running), Some(given)))
            }
            Norm::Fixed { weight, bias, mean, var, eps } => {
                self.run(&[x], &[weight, bias, mean, var], dims, |mut x, flats, wanted| {
                    let [weight, bias, mean, var] = flats else { unreachable!("four of them") };
                    let all = [weight, bias, mean, var];
                    batch_norm_eval_generic(x.swap_remove(0), all, channels, eps, wanted)
                })
            }
        }
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        outputs: usize,
    ) -> Result<Tensor, OpError> {
        let flats: Vec<&Tensor> = [Some(weight), bias].into_iter().flatten().collect();
        let dims = Dims::Rows(x.rows(), outputs);
        self.run(&[x], &flats, dims, |mut x, flats, wanted| {
            linear_generic(x.swap_remove(0), &flats[0], flats.get(1), outputs, wanted)
        })
    }

    fn relu(&self, x: &Tensor, rectifier: Rectifier) -> Result<Tensor, OpError> {
        self.on_rows(x, x.columns(), |x| relu_generic(x, rectifier))
    }

    fn scale_channels(
        &self,
        x: &Tensor,
        scale: &[f32],
        channels: usize,
    ) -> Result<Tensor, OpError> {
        self.on_rows(x, x.columns(), |x| scale_channels_generic(x, scale, channels))
    }

    fn grad_scale(&self, x: &Tensor, factor: Number) -> Result<Tensor, OpError> {
        let factor = factor.unseen();
        self.run(&[x], &[], x.dims, |mut x, _, _| grad_scale_generic(x.swap_remove(0), factor))
    }

    fn cross_entropy(&self, logits: &Tensor, targets: &Targets) -> Result<Tensor, OpError> {
        self.run(&[logits], &[], Dims::Scalar, |mut x, _, _| {
            cross_entropy_generic(x.swap_remove(0), targets)
        })
    }

    fn hits(&self, logits: &Tensor, labels: Varying<u32>) -> Result<Tensor, OpError> {
        let hits = self.count_hits(logits, labels.unseen()).map_err(OpError::new)?;
        Ok(self.wrap(hits, Dims::Scalar))
    }

    fn primitive(&self, primitive: &Primitive, inputs: &[&Tensor]) -> Result<Tensor, OpError> {
        let dims: Vec<Dims> = inputs.iter().map(|input| input.dims).collect();
        let y = self.run(inputs, &[], primitive.output(&dims), |x, _, _| primitive.run(x))?;
        Ok(if primitive.has_gradient() { y } else { y.detached() })
    }

    fn seed(&self, tape: &Tape, loss: &Tensor) {
        let (pass, node, device) = (tape.pass(), Self::node(loss), self.device.clone());
        tape.record(move |_| {
            let one = device.try_tensor_from_vec(vec![1.0], (1, 1)).map_err(OpError::new)?;
            node.add(&pass, one).map_err(OpError::new)
        });
    }

    fn gradient(&self, gradients: &mut super::Gradients, x: &Tensor) -> Option<Tensor> {
        Some(self.wrap(Self::node(x).gradients.take(&Rc::downgrade(&gradients.pass))?, x.dims))
    }

    fn update(
        &self,
        value: &mut Tensor,
        moments: &mut [Tensor],
        gradient: &Tensor,
        rule: &UpdateRule,
        step: i32,
    ) -> Result<(), OpError> {
        self.moved(value, moments, gradient, (rule, step)).map_err(OpError::new)
    }

    fn average(&self, into: &mut Tensor, from: &Tensor, keep: f32) -> Result<(), OpError> {
        let average = || -> Result<DfdxMatrix<D>, D::Err> {
            let kept = Self::node(into).value.clone().try_mul(keep)?;
            kept.try_add(Self::node(from).value.clone().try_mul(1.0 - keep)?)
        };
        into.held = Rc::new(Node::new(average().map_err(OpError::new)?));
        Ok(())
    }
}
