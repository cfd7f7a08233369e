//! A network with weights on a device: forward passes, parameters and what is frozen. It does not know
//! how it is trained. It does not know
//! how it is trained.

use std::sync::Arc;

use dfdx::prelude::*;
use indexmap::IndexMap;

use super::flow::Flow;
use super::fuse::{self, Fused, FusedSegment};
use super::geometry::{Chw, Rectifier};
use super::ops::adaptive_pool::adaptive_avg_pool2d;
use super::ops::concat::concat;
use super::ops::{
    Batch, BatchMoments, BlockNeeds, ConvBlock, FixedNorm, Flat, Maps, Needs, Norm, Ops,
};
use super::placement::{Placed, SpecError};
use super::spec::{Init, Layer, Part, Spec};
use crate::config::words;
use crate::random;

mod attach;

/// A learnable tensor.
#[derive(Debug, Clone)]
pub struct Parameter<D: Ops> {
    /// Name as in PyTorch's `state_dict`.
    pub name: String,
    /// Shape as in PyTorch; the tensor itself is flat.
    pub shape: Vec<usize>,
    /// The values.
    pub value: Flat<D>,
    /// Whether an optimizer may change it.
    pub trainable: bool,
}

/// Running statistics of a batch norm layer.
#[derive(Debug, Clone)]
pub struct RunningStats<D: Ops> {
    /// Full name of the layer.
    pub layer: String,
    /// Running mean a channel.
    pub mean: Flat<D>,
    /// Running unbiased variance a channel.
    pub var: Flat<D>,
    /// Batches seen.
    pub batches: i64,
}

words! {
    /// What batch norm layers do whose parameters are frozen.
    #[derive(Default, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum FrozenBatchNorm {
        /// They normalise by their running statistics and keep them.
        #[default]
        Eval = "eval",
        /// They normalise by the batch and go on averaging, as PyTorch's `model.train()` does.
        Train = "train",
    }
}

/// How a forward pass is made.
#[derive(Debug, Clone, Copy)]
pub enum Pass {
    /// Running statistics, no dropout.
    Eval,
    /// Batch statistics and dropout, its mask drawn from the key.
    Train(DropoutKey),
}

/// Which dropout masks a training pass draws: the same key, the same masks.
#[derive(Debug, Clone, Copy)]
pub struct DropoutKey {
    /// Seed of the stage.
    pub seed: u64,
    /// `source` or `target`: passes of one step must not share masks.
    pub domain: &'static str,
    /// Epoch from 0.
    pub epoch: u64,
    /// Step within the epoch from 0.
    pub step: u64,
}

/// Where a pass through the features begins: with images, or with the output of some of the first
/// layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryLayer(usize);

impl EntryLayer {
    /// With images.
    pub const IMAGES: Self = Self(0);
}

/// A layer with the places of its tensors.
#[derive(Debug, Clone)]
struct Owner<D: Ops> {
    placed: Placed,
    weight: Option<usize>,
    bias: Option<usize>,
    stats: Option<usize>,
    /// A convolution's weights for the kernels, until they change.
    prepared: Option<D::Prepared>,
}

/// A network with weights.
#[derive(Debug, Clone)]
pub struct Model<D: Ops> {
    spec: Spec,
    layers: Vec<Owner<D>>,
    /// What runs at a time, of the features and of each head that has weights.
    chains: IndexMap<Part, Arc<[FusedSegment]>>,
    parameters: Vec<Parameter<D>>,
    stats: Vec<RunningStats<D>>,
    frozen_batch_norm: FrozenBatchNorm,
    precise: bool,
    device: D,
}

impl<D: Ops> Model<D> {
    /// A network with every head of `spec` but the domain classifier. Weights are drawn as
    /// [`Spec::init`] says; every tensor has a random stream of its own, keyed by its name.
    ///
    /// # Errors
    /// When the layers do not fit together, or their parameters not into the memory.
    pub fn new(spec: Spec, device: &D, seed: u64) -> Result<Self, SpecError> {
        let heads = spec.initial_heads();
        Self::with_heads(spec, &heads, device, seed)
    }

    /// Appends a layer with fresh tensors.
    fn add(&mut self, placed: Placed, seed: u64) {
        let (mut weight, mut bias, mut stats) = (None, None, None);
        for slot in placed.parameters() {
            let len = slot.shape.iter().product();
            let is_weight = slot.name.ends_with(".weight");
            let values = fresh(&placed, self.spec.init, &slot.name, len, seed);
            *(if is_weight { &mut weight } else { &mut bias }) = Some(self.parameters.len());
            self.parameters.push(Parameter {
                name: slot.name,
                shape: slot.shape,
                value: self.device.tensor_from_vec(values, (len,)),
                trainable: true,
            });
        }
        if matches!(placed.layer, Layer::BatchNorm { .. }) {
            let channels = placed.input.channels;
            stats = Some(self.stats.len());
            self.stats.push(RunningStats {
                layer: placed.name.clone(),
                mean: self.device.tensor_from_vec(vec![0.0; channels], (channels,)),
                var: self.device.tensor_from_vec(vec![1.0; channels], (channels,)),
                batches: 0,
            });
        }
        self.layers.push(Owner { placed, weight, bias, stats, prepared: None });
    }

    /// Its layers.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Where its tensors live.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The learnable tensors in PyTorch's order.
    pub fn parameters(&self) -> &[Parameter<D>] {
        &self.parameters
    }

    /// The learnable tensors, to be changed in any way.
    pub fn parameters_mut(&mut self) -> &mut [Parameter<D>] {
        for layer in &mut self.layers {
            layer.prepared = None;
        }
        &mut self.parameters
    }

    /// The tensors that learn, each with its place among the parameters, to be changed by an
    /// optimizer.
    pub fn trainable_mut(&mut self) -> impl Iterator<Item = (usize, &mut Parameter<D>)> {
        for at in 0..self.layers.len() {
            if self.layer_learns(at) {
                self.layers[at].prepared = None;
            }
        }
        self.parameters.iter_mut().enumerate().filter(|(_, parameter)| parameter.trainable)
    }

    /// The running statistics of its batch norm layers.
    pub fn stats(&self) -> &[RunningStats<D>] {
        &self.stats
    }

    /// The running statistics, to be overwritten by stored ones.
    pub fn stats_mut(&mut self) -> &mut [RunningStats<D>] {
        &mut self.stats
    }

    /// What its frozen batch norm layers do.
    pub fn frozen_batch_norm(&self) -> FrozenBatchNorm {
        self.frozen_batch_norm
    }

    /// Sets what its frozen batch norm layers do.
    pub fn set_frozen_batch_norm(&mut self, mode: FrozenBatchNorm) {
        self.frozen_batch_norm = mode;
    }

    /// Whether convolutions go by their definition only.
    pub fn precise(&self) -> bool {
        self.precise
    }

    /// Makes convolutions go by their definition only, with the smallest rounding errors.
    pub fn set_precise(&mut self, precise: bool) {
        self.precise = precise;
        for layer in &mut self.layers {
            layer.prepared = None;
        }
    }

    /// How far into the features nothing learns and nothing is drawn: what a training pass makes of
    /// an image up to there is the same in every epoch, and to the last bit what
    /// [`Model::features_up_to`] makes of it.
    pub fn frozen_entry(&self) -> EntryLayer {
        let frozen = |unit: &FusedSegment| unit.layers().into_iter().all(|at| self.is_constant(at));
        EntryLayer(self.chain(&Part::FEATURES).iter().take_while(|unit| frozen(unit)).count())
    }

    /// The place after the layers that are called `name` or whose names go on from it, as
    /// [`fuse::after`] finds it.
    pub fn after(&self, name: &str) -> Option<EntryLayer> {
        let outlets = fuse::outlets(&self.spec).ok()?;
        fuse::after(&outlets, name).map(EntryLayer)
    }

    /// Shape of what comes in at `entry`.
    pub fn entry_shape(&self, entry: EntryLayer) -> Chw {
        let before = entry.0.checked_sub(1).map(|last| &self.chain(&Part::FEATURES)[last]);
        before.map_or(self.spec.input, |unit| unit.output(|at| self.layers[at].placed.output))
    }

    /// The layers before `entry` in the order of their parameters.
    pub fn layers_before(&self, entry: EntryLayer) -> Vec<&Placed> {
        let next = self.chain(&Part::FEATURES).get(entry.0);
        let end = next.and_then(|unit| unit.layers().into_iter().min());
        let features = self.layers.iter().map(|layer| &layer.placed);
        let features = features.take_while(|placed| placed.part == Part::FEATURES);
        features.take(end.unwrap_or(usize::MAX)).collect()
    }

    /// The values of every parameter and running statistic of the first `count` layers.
    pub fn tensors_of_layers(&self, count: usize) -> Vec<Vec<f32>> {
        let mut tensors = Vec::new();
        for layer in &self.layers[..count] {
            for at in [layer.weight, layer.bias].into_iter().flatten() {
                tensors.push(host(&self.parameters[at].value));
            }
            if let Some(at) = layer.stats {
                let stats = &self.stats[at];
                tensors.extend([host(&stats.mean), host(&stats.var)]);
            }
        }
        tensors
    }

    /// Whether the layer at `at` does the same to an image whatever the batch, the step or the pass.
    fn is_constant(&self, at: usize) -> bool {
        match self.layers[at].placed.layer {
            // A linear layer's product may round by how many rows there are.
            Layer::Dropout { .. }
            | Layer::Dropout2d { .. }
            | Layer::Linear { .. }
            | Layer::AdaptiveAvgPool { .. } => false,
            Layer::BatchNorm { .. } => {
                !self.layer_learns(at) && self.frozen_batch_norm == FrozenBatchNorm::Eval
            }
            _ => !self.layer_learns(at),
        }
    }

    fn chain(&self, part: &Part) -> &Arc<[FusedSegment]> {
        self.chains.get(part).unwrap_or_else(|| panic!("the model has no head `{}`", part.name()))
    }

    /// Runs one part. `x` is `[N, C*H*W]` for the features, `[N, features]` for the heads.
    ///
    /// In a training pass, running statistics of the batch norm layers move on.
    ///
    /// # Errors
    /// When the device fails (out of memory).
    ///
    /// # Panics
    /// When the model has no head called so.
    pub fn forward<T: Tape<f32, D>>(
        &mut self,
        part: &Part,
        x: Batch<D, T>,
        pass: Pass,
    ) -> Result<Batch<D, T>, D::Err> {
        // The heads pass gradients on as soon as anything in the features learns.
        let features = |layer: usize| self.layers[layer].placed.part == Part::FEATURES;
        let upstream = *part != Part::FEATURES
            && (0..self.layers.len()).any(|at| features(at) && self.layer_learns(at));
        let chain = Arc::clone(self.chain(part));
        self.run(&chain, Flow::Rows(x), pass, upstream)?.0.rows()
    }

    /// Runs the features from `entry` on; `x` is `[N, C*H*W]` of [`Model::entry_shape`].
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn features_from<T: Tape<f32, D>>(
        &mut self,
        entry: EntryLayer,
        x: Batch<D, T>,
        pass: Pass,
    ) -> Result<Batch<D, T>, D::Err> {
        let chain = Arc::clone(self.chain(&Part::FEATURES));
        self.run(&chain[entry.0..], Flow::Rows(x), pass, false)?.0.rows()
    }

    /// The output of the layers before `entry` for images `[N, C*H*W]`, as at test time.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn features_up_to(
        &mut self,
        entry: EntryLayer,
        images: Batch<D>,
    ) -> Result<Batch<D>, D::Err> {
        let chain = Arc::clone(self.chain(&Part::FEATURES));
        self.run(&chain[..entry.0], Flow::Rows(images), Pass::Eval, false)?.0.rows()
    }

    /// Runs units one after the other. Says whether what comes out has a gradient that someone
    /// needs, given whether `x` has.
    fn run<T: Tape<f32, D>>(
        &mut self,
        units: &[FusedSegment],
        mut x: Flow<D, T>,
        pass: Pass,
        mut upstream: bool,
    ) -> Result<(Flow<D, T>, bool), D::Err> {
        for unit in units {
            let learns = unit.layers().into_iter().any(|at| self.layer_learns(at));
            // Below the first layer that learns nothing is taped: no backward work there.
            x = if upstream || learns {
                self.run_unit(unit, x, pass, upstream)?
            } else {
                let (bare, tape) = x.split_tape();
                self.run_unit(unit, bare, pass, false)?.put_tape(tape)
            };
            upstream |= learns;
        }
        Ok((x, upstream))
    }

    fn run_unit<T: Tape<f32, D>>(
        &mut self,
        unit: &FusedSegment,
        x: Flow<D, T>,
        pass: Pass,
        upstream: bool,
    ) -> Result<Flow<D, T>, D::Err> {
        match unit {
            FusedSegment::Layer(at) => {
                self.run_layer(*at, x.rows()?, pass, upstream).map(Flow::Rows)
            }
            FusedSegment::Block(fused) => {
                let x = x.maps(self.layers[fused.conv].placed.input, upstream)?;
                self.run_block(*fused, (x, upstream), None, pass).map(Flow::Maps)
            }
            FusedSegment::Residual { input, shortcut, body, end } => {
                let (x, tape) = x.maps(*input, upstream)?.split_tape();
                let side = Flow::Maps(x.clone().put_tape(T::default()));
                let (side, side_learns) = self.run(shortcut, side, pass, upstream)?;
                let output = self.layers[end.conv].placed.output;
                let side = (side.maps(output, side_learns)?, side_learns);
                let x = Flow::Maps(x.put_tape(tape));
                let (x, upstream) = self.run(body, x, pass, upstream)?;
                let x = x.maps(self.layers[end.conv].placed.input, upstream)?;
                self.run_block(*end, (x, upstream), Some(side), pass).map(Flow::Maps)
            }
            FusedSegment::Parallel { input, branches, .. } => {
                let (x, mut tape) = x.maps(*input, upstream)?.split_tape();
                let mut parts = Vec::with_capacity(branches.len());
                for branch in branches {
                    let x = Flow::Maps(x.clone().put_tape(std::mem::take(&mut tape)));
                    parts.push(self.run(branch, x, pass, upstream)?.0.rows()?);
                }
                concat(parts).map(Flow::Rows)
            }
        }
    }

    /// Runs a convolution with the layers that it is fused with. Maps come with whether someone
    /// needs their gradient.
    fn run_block<T: Tape<f32, D>>(
        &mut self,
        fused: Fused,
        (x, upstream): (Maps<D, T>, bool),
        side: Option<(Maps<D, T>, bool)>,
        pass: Pass,
    ) -> Result<Maps<D, T>, D::Err> {
        let at = fused.conv;
        self.prepare(at);
        let layer = &self.layers[at];
        let shape = layer.placed.conv2d().expect("the layer is a convolution");
        let value = |at: Option<usize>| at.map(|at| &self.parameters[at].value);
        let (mut norm, mut momentum, fixed) = (Norm::None, 0.0, self.fixed_norm(fused.norm));
        if let (Some(at), Some(fixed)) = (fused.norm, &fixed) {
            let Layer::BatchNorm { momentum: newest, .. } = &self.layers[at].placed.layer else {
                unreachable!("only batch normalisation is fused as such")
            };
            momentum = *newest;
            norm = if self.by_running_stats(at, pass) {
                Norm::Fixed(fixed)
            } else {
                Norm::Batch(fixed.weight, fixed.bias, fixed.eps)
            };
        }
        let (side, side_needs) = side.unzip();
        let block = ConvBlock {
            weight: value(layer.weight).expect("a convolution has weights"),
            prepared: layer.prepared.as_ref().expect("just prepared"),
            bias: value(layer.bias),
            norm,
            pool: fused.pool.and_then(|at| self.layers[at].placed.pool2d()),
            relu: fused.relu,
            needs: BlockNeeds {
                input: upstream,
                conv: self.layer_learns(at),
                norm: fused.norm.is_some_and(|at| self.layer_learns(at)),
                side: side_needs.unwrap_or(false),
            },
            shape,
        };
        let values = x.images * shape.output().area();
        let (y, moments) = D::conv_block(x, side, &block)?;
        let stats = fused.norm.and_then(|at| self.layers[at].stats);
        if let (Some(moments), Some(stats)) = (moments, stats) {
            self.stats[stats].average(&moments, values, momentum);
        }
        Ok(y)
    }

    /// Prepares the weights of the convolution at `at` for the kernels.
    fn prepare(&mut self, at: usize) {
        let layer = &self.layers[at];
        if layer.prepared.is_none() {
            let weight = layer.weight.expect("a convolution has weights");
            let shape = layer.placed.conv2d().expect("the layer is a convolution");
            let prepared = D::prepare(&self.parameters[weight].value, &shape, self.precise);
            self.layers[at].prepared = Some(prepared);
        }
    }

    /// The batch normalisation at `at` with its running statistics.
    fn fixed_norm(&self, at: Option<usize>) -> Option<FixedNorm<'_, D>> {
        let layer = &self.layers[at?];
        let Layer::BatchNorm { eps, .. } = layer.placed.layer else { return None };
        let stats = &self.stats[layer.stats?];
        Some(FixedNorm {
            weight: &self.parameters[layer.weight?].value,
            bias: &self.parameters[layer.bias?].value,
            mean: &stats.mean,
            var: &stats.var,
            eps,
        })
    }

    /// Whether the batch normalisation at `at` goes by its running statistics.
    fn by_running_stats(&self, at: usize, pass: Pass) -> bool {
        let frozen = !self.layer_learns(at) && self.frozen_batch_norm == FrozenBatchNorm::Eval;
        matches!(pass, Pass::Eval) || frozen
    }

    fn run_layer<T: Tape<f32, D>>(
        &mut self,
        at: usize,
        x: Batch<D, T>,
        pass: Pass,
        upstream: bool,
    ) -> Result<Batch<D, T>, D::Err> {
        let learns = self.layer_learns(at);
        let Owner { placed, weight, bias, stats, .. } = &self.layers[at];
        let needs = Needs { input: upstream, weight: learns };
        let value = |at: Option<usize>| at.map(|at| &self.parameters[at].value);
        let weight = || value(*weight).expect("the layer has a weight");
        match &placed.layer {
            Layer::Conv2d { .. } | Layer::Residual { .. } | Layer::Parallel { .. } => {
                unreachable!("convolutions run as blocks, layers of layers as their chains")
            }
            Layer::Linear { outputs, .. } => D::linear(x, weight(), value(*bias), *outputs, needs),
            Layer::BatchNorm { eps, momentum } => {
                let (eps, momentum) = (*eps, *momentum);
                let channels = placed.input.channels;
                let bias = value(*bias).expect("batch norm has a bias");
                let stats_at = stats.expect("batch norm has statistics");
                if self.by_running_stats(at, pass) {
                    let stats = &self.stats[stats_at];
                    let (mean, var) = (&stats.mean, &stats.var);
                    return D::batch_norm_eval(x, weight(), bias, mean, var, channels, eps, needs);
                }
                let values = x.shape().0 * placed.input.height * placed.input.width;
                let (y, moments) = D::batch_norm_train(x, weight(), bias, channels, eps, needs)?;
                self.stats[stats_at].average(&moments, values, momentum);
                Ok(y)
            }
            Layer::MaxPool { .. } => {
                D::max_pool2d(x, &placed.pool2d().expect("the layer is a pooling window"))
            }
            Layer::AvgPool { .. } => {
                D::avg_pool2d(x, &placed.pool2d().expect("the layer is a pooling window"))
            }
            Layer::GlobalAvgPool => D::global_avg_pool(x, placed.input),
            Layer::Relu => D::relu(x, Rectifier::Relu),
            Layer::Relu6 => D::relu(x, Rectifier::Relu6),
            Layer::AdaptiveAvgPool { output } => adaptive_avg_pool2d(x, placed.input, *output),
            Layer::Flatten => Ok(x),
            Layer::Dropout { p } | Layer::Dropout2d { p } => {
                let Pass::Train(key) = pass else { return Ok(x) };
                let channels = match &placed.layer {
                    Layer::Dropout2d { .. } => placed.input.channels,
                    _ => placed.input.len(),
                };
                let mask = key.mask(&placed.name, *p, x.shape().0 * channels);
                D::scale_channels(x, &mask, channels)
            }
        }
    }

    fn layer_learns(&self, at: usize) -> bool {
        let Owner { weight, bias, .. } = &self.layers[at];
        [weight, bias].into_iter().flatten().any(|at| self.parameters[*at].trainable)
    }

    /// Class logits `[N, classes]` of images `[N, C*H*W]`, as at test time.
    ///
    /// # Errors
    /// When the device fails (out of memory).
    pub fn logits(&mut self, images: Batch<D>) -> Result<Batch<D>, D::Err> {
        self.logits_from(EntryLayer::IMAGES, images)
    }

    /// Class logits from what comes in at `entry`, as at test time.
    ///
    /// # Errors
    /// As [`Model::logits`].
    pub fn logits_from(&mut self, entry: EntryLayer, x: Batch<D>) -> Result<Batch<D>, D::Err> {
        let features = self.features_from(entry, x, Pass::Eval)?;
        self.forward(&Part::CLASSIFIER, features, Pass::Eval)
    }
}

impl<D: Ops> RunningStats<D> {
    /// Moves the averages toward a batch of `values` values a channel:
    /// r = (1 - momentum) r + momentum b, with the unbiased variance as PyTorch has it.
    fn average(&mut self, batch: &BatchMoments, values: usize, momentum: f32) {
        #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^24 values")]
        let unbias = values as f32 / (values.max(2) - 1) as f32;
        self.batches += 1;
        let mut mean = host(&self.mean);
        let mut var = host(&self.var);
        for (running, new) in mean.iter_mut().zip(&batch.mean) {
            *running += momentum * (new - *running);
        }
        for (running, new) in var.iter_mut().zip(&batch.var) {
            *running += momentum * (new * unbias - *running);
        }
        self.mean.copy_from(&mean);
        self.var.copy_from(&var);
    }
}

impl DropoutKey {
    /// `len` factors, 0 with probability `p`, else 1 / (1 - p).
    fn mask(&self, layer: &str, p: f32, len: usize) -> Vec<f32> {
        let purpose = format!("dropout {layer} {}", self.domain);
        let mut stream = random::stream(self.seed, &purpose, self.epoch, self.step);
        let keep = 1.0 / (1.0 - p);
        (0..len).map(|_| if stream.uniform() < p { 0.0 } else { keep }).collect()
    }
}

/// A tensor's values on the host.
pub fn host<S: Shape, D: Ops, T>(tensor: &Tensor<S, f32, D, T>) -> Vec<f32> {
    let mut values = vec![0.0; tensor.shape().num_elements()];
    tensor.copy_into(&mut values);
    values
}

/// Fresh values of a parameter.
fn fresh(placed: &Placed, init: Init, name: &str, len: usize, seed: u64) -> Vec<f32> {
    let is_weight = name.ends_with(".weight");
    let mut stream = random::stream(seed, &format!("init {name}"), 0, 0);
    match (&placed.layer, init) {
        (Layer::BatchNorm { .. }, _) => vec![if is_weight { 1.0 } else { 0.0 }; len],
        (Layer::Conv2d { filters, kernel, .. }, Init::FanOut) if is_weight => {
            let deviation = (2.0 / count(filters * kernel.0 * kernel.1)).sqrt();
            (0..len).map(|_| deviation * stream.normal()).collect()
        }
        _ => {
            let weight = placed.parameters().swap_remove(0);
            let bound = 1.0 / count(weight.shape[1..].iter().product()).sqrt();
            (0..len).map(|_| bound * (2.0 * stream.uniform() - 1.0)).collect()
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a layer has far below 2^24 inputs")]
fn count(of: usize) -> f32 {
    of.max(1) as f32
}
