//! The operations of the CPU: they call the fast kernels. Most of what losses are put together from, which is
//! small, is computed by dfdx's own operations.

use std::rc::Rc;
use std::sync::Arc;

use dfdx::prelude::{Cpu, Gradients as DfdxGradients};
use rayon::prelude::*;

use super::conv_block::{PreparedWeights, conv_block};
use super::cross_entropy::{Targets, cross_entropy};
use super::dfdx_ops::SmallOps;
use super::elementwise::{self, WayBack};
use super::primitive::Primitive;
use super::tape::{add_gradient, held, put_gradient, take_gradient};
use super::update::{Moving, update};
use super::{
    Backend, ConvBlock, Dims, ELEMENTS, Gradients, Norm, Number, OpError, Ops, Prepared, Tape,
    Tensor, UpdateRule, Varying,
};
use super::{batch_norm, grad_scale, hits, linear, maps, pool2d, relu, scale_channels};
use crate::memory::Buffer;
use crate::nn::geometry::{Chw, Conv2d, Pool2d, Rectifier};

/// The CPU as a backend.
#[derive(Debug, Default)]
pub struct CpuOps {
    small: SmallOps<Cpu>,
}

impl CpuOps {
    /// The CPU: the same for every caller on a thread.
    pub fn shared() -> Backend {
        thread_local! {
            static SHARED: Backend = Rc::new(CpuOps::default());
        }
        SHARED.with(Rc::clone)
    }

    fn beside(&self, values: Vec<f32>, dims: Dims) -> Tensor {
        Tensor::new(Self::shared(), dims, held(values))
    }
}

impl Ops for CpuOps {
    fn reads_are_free(&self) -> bool {
        true
    }

    fn tensor(&self, values: Vec<f32>, dims: Dims) -> Result<Tensor, OpError> {
        assert!(!matches!(dims, Dims::Maps(..)), "feature maps are made of rows");
        assert_eq!(values.len(), dims.len(), "as many values as the shape says");
        let held = Rc::new(Arc::new(Buffer::of_others(values)));
        Ok(Tensor::new(Self::shared(), dims, held))
    }

    fn host(&self, x: &Tensor) -> Vec<f32> {
        match x.dims {
            Dims::Maps(..) => maps::rows(x),
            Dims::Scalar | Dims::Flat(_) | Dims::Rows(..) => x.values().to_vec(),
        }
    }

    fn write(&self, x: &mut Tensor, values: &[f32]) {
        x.values_mut().copy_from_slice(values);
    }

    fn prepare(&self, weight: &Tensor, shape: &Conv2d, precise: bool) -> Prepared {
        Arc::new(PreparedWeights::new(weight, shape, precise))
    }

    fn maps(&self, x: &Tensor, shape: Chw) -> Result<Tensor, OpError> {
        maps::pack(x, shape)
    }

    fn flat_rows(&self, x: &Tensor) -> Result<Tensor, OpError> {
        maps::unpack(x)
    }

    fn conv_block(
        &self,
        x: &Tensor,
        side: Option<&Tensor>,
        block: ConvBlock,
    ) -> Result<Tensor, OpError> {
        conv_block(x, side, block)
    }

    fn conv2d(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        shape: &Conv2d,
    ) -> Result<Tensor, OpError> {
        let prepared = self.prepare(weight, shape, false);
        let block = ConvBlock {
            shape: *shape,
            weight,
            prepared: &prepared,
            bias,
            norm: Norm::None,
            pool: None,
            relu: None,
        };
        maps::unpack(&conv_block(&maps::pack(x, shape.input)?, None, block)?)
    }

    fn max_pool2d(&self, x: &Tensor, shape: &Pool2d) -> Result<Tensor, OpError> {
        pool2d::max_pool2d(x, shape)
    }

    fn avg_pool2d(&self, x: &Tensor, shape: &Pool2d) -> Result<Tensor, OpError> {
        pool2d::avg_pool2d(x, shape)
    }

    fn global_avg_pool(&self, x: &Tensor, input: Chw) -> Result<Tensor, OpError> {
        pool2d::global_avg_pool(x, input)
    }

    fn batch_norm(&self, x: &Tensor, norm: Norm, channels: usize) -> Result<Tensor, OpError> {
        batch_norm::batch_norm(x, norm, channels)
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        outputs: usize,
    ) -> Result<Tensor, OpError> {
        linear::linear(x, weight, bias, outputs)
    }

    fn relu(&self, x: &Tensor, rectifier: Rectifier) -> Result<Tensor, OpError> {
        relu::relu(x, rectifier)
    }

    fn scale_channels(
        &self,
        x: &Tensor,
        scale: &[f32],
        channels: usize,
    ) -> Result<Tensor, OpError> {
        scale_channels::scale_channels(x, scale, channels)
    }

    fn grad_scale(&self, x: &Tensor, factor: Number) -> Result<Tensor, OpError> {
        grad_scale::grad_scale(x, factor.unseen())
    }

    fn cross_entropy(&self, logits: &Tensor, targets: &Targets) -> Result<Tensor, OpError> {
        cross_entropy(logits, targets)
    }

    fn hits(&self, logits: &Tensor, labels: Varying<u32>) -> Result<Tensor, OpError> {
        let hits = hits::count(logits.values(), logits.columns(), labels.unseen());
        #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^24 rows")]
        let hits = hits as f32;
        self.tensor(vec![hits], Dims::Scalar)
    }

    fn primitive(&self, primitive: &Primitive, inputs: &[&Tensor]) -> Result<Tensor, OpError> {
        let dims: Vec<Dims> = inputs.iter().map(|input| input.dims).collect();
        let output = primitive.output(&dims);
        let (values, back) = match elementwise::run(primitive, inputs) {
            Some(done) => done,
            None => {
                // The matrix products among these are dfdx's own, by an older `gemm` that goes by the processor's AVX2 and caches:
                // `RUNNER_ISA` does not decide about them.
                let matrices =
                    inputs.iter().map(|it| (it.values().to_vec(), (it.rows(), it.columns())));
                let (values, back) = self.small.run(primitive, matrices.collect())?;
                let back = |dy, _: &[bool]| Ok(back.gradients(dy)?.into_iter().map(Some).collect());
                (values, Box::new(back) as WayBack)
            }
        };
        let y = self.beside(values, output);
        let recorded: &[&Tensor] = if primitive.has_gradient() { inputs } else { &[] };
        // An input may come twice, so its gradients are added one after the other.
        let Some(tape) = recorded.iter().find_map(|input| input.tape.clone()) else { return Ok(y) };
        let wanted = recorded.iter().map(|it| it.is_recorded().then(|| it.token().clone()));
        let wanted: Vec<_> = wanted.collect();
        let token = y.token().clone();
        tape.record(move |gradients: &mut DfdxGradients<f32, Cpu>| {
            let Some(dy) = take_gradient(gradients, &token)? else { return Ok(()) };
            let needs: Vec<bool> = wanted.iter().map(Option::is_some).collect();
            for (token, more) in wanted.iter().zip(back(dy, &needs)?) {
                if let (Some(token), Some(more)) = (token, more) {
                    add_gradient(gradients, token, more)?;
                }
            }
            Ok(())
        });
        Ok(Tensor { tape: Some(tape), ..y })
    }

    fn seed(&self, tape: &Tape, loss: &Tensor) {
        let token = loss.token().clone();
        tape.record(move |gradients| put_gradient(gradients, &token, vec![1.0]));
    }

    fn gradient(&self, gradients: &mut Gradients, x: &Tensor) -> Option<Tensor> {
        let values = take_gradient(&mut gradients.host, x.token()).ok().flatten()?;
        Some(self.beside(values, x.dims))
    }

    fn update(
        &self,
        value: &mut Tensor,
        moments: &mut [Tensor],
        gradient: &Tensor,
        rule: &UpdateRule,
        step: i32,
    ) -> Result<(), OpError> {
        let moments = moments.iter_mut().map(Tensor::values_mut).collect();
        update(Moving { value: value.values_mut(), moments }, gradient.values(), rule, step);
        Ok(())
    }

    fn average(&self, into: &mut Tensor, from: &Tensor, keep: f32) -> Result<(), OpError> {
        let each = into.values_mut().par_chunks_mut(ELEMENTS);
        each.zip(from.values().par_chunks(ELEMENTS)).for_each(|(into, from)| {
            for (into, from) in into.iter_mut().zip(from) {
                *into = keep * *into + (1.0 - keep) * from;
            }
        });
        Ok(())
    }
}
