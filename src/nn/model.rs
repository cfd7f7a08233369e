//! A network with weights on a device: forward passes, parameters and what is frozen.

use dfdx::prelude::*;

use super::flow::Flow;
use super::fuse::{Fused, fuse};
use super::ops::{Batch, BlockNeeds, ConvBlock, FixedNorm, Flat, Maps, Moments, Needs, Norm, Ops};
use super::spec::{Layer, Part, Placed, Spec, SpecError};
use crate::random;

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

/// What batch norm layers do whose parameters are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrozenBatchNorm {
    /// They normalise by their running statistics and keep them.
    #[default]
    Eval,
    /// They normalise by the batch and go on averaging, as PyTorch's `model.train()` does.
    Train,
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

/// Where a layer's tensors are.
#[derive(Debug, Clone, Copy, Default)]
struct Tensors {
    weight: Option<usize>,
    bias: Option<usize>,
    stats: Option<usize>,
}

/// A network with weights.
#[derive(Debug, Clone)]
pub struct Model<D: Ops> {
    spec: Spec,
    layers: Vec<(Placed, Tensors)>,
    parameters: Vec<Parameter<D>>,
    stats: Vec<RunningStats<D>>,
    frozen_batch_norm: FrozenBatchNorm,
    device: D,
}

impl<D: Ops> Model<D> {
    /// A network without a domain classifier, with PyTorch's default initialisation: weights and biases of convolutions and
    /// linear layers uniform in ±1/√fan_in, batch norm 1 and 0. Every tensor has a random stream
    /// of its own, keyed by its name.
    ///
    /// # Errors
    /// When the layers do not fit together.
    pub fn new(spec: Spec, device: &D, seed: u64) -> Result<Self, SpecError> {
        let mut model = Self {
            layers: Vec::new(),
            parameters: Vec::new(),
            stats: Vec::new(),
            frozen_batch_norm: FrozenBatchNorm::default(),
            device: device.clone(),
            spec,
        };
        for placed in model.spec.place()? {
            if placed.part != Part::DomainClassifier {
                model.add(placed, seed);
            }
        }
        Ok(model)
    }

    /// Gives the model its domain classifier, freshly initialised, if it has none yet.
    pub fn attach_domain_classifier(&mut self, seed: u64) {
        if self.has_domain_classifier() {
            return;
        }
        let placed = self.spec.place().expect("the spec was checked when the model was made");
        for placed in placed {
            if placed.part == Part::DomainClassifier {
                self.add(placed, seed);
            }
        }
    }

    /// Whether it has a domain classifier.
    pub fn has_domain_classifier(&self) -> bool {
        self.layers.iter().any(|(placed, _)| placed.part == Part::DomainClassifier)
    }

    /// Appends a layer with fresh tensors.
    fn add(&mut self, placed: Placed, seed: u64) {
        let mut tensors = Tensors::default();
        let fan_in = fan_in(&placed);
        for slot in placed.parameters() {
            let len = slot.shape.iter().product();
            let is_weight = slot.name.ends_with(".weight");
            let values = match (&placed.layer, is_weight) {
                (Layer::BatchNorm { .. }, true) => vec![1.0; len],
                (Layer::BatchNorm { .. }, false) => vec![0.0; len],
                _ => uniform(seed, &slot.name, len, fan_in),
            };
            let at = Some(self.parameters.len());
            if is_weight {
                tensors.weight = at;
            } else {
                tensors.bias = at;
            }
            self.parameters.push(Parameter {
                name: slot.name,
                shape: slot.shape,
                value: self.device.tensor_from_vec(values, (len,)),
                trainable: true,
            });
        }
        if matches!(placed.layer, Layer::BatchNorm { .. }) {
            let channels = placed.input.channels;
            tensors.stats = Some(self.stats.len());
            self.stats.push(RunningStats {
                layer: placed.name.clone(),
                mean: self.device.tensor_from_vec(vec![0.0; channels], (channels,)),
                var: self.device.tensor_from_vec(vec![1.0; channels], (channels,)),
                batches: 0,
            });
        }
        self.layers.push((placed, tensors));
    }

    /// What it is made of.
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

    /// The learnable tensors, to be changed by an optimizer.
    pub fn parameters_mut(&mut self) -> &mut [Parameter<D>] {
        &mut self.parameters
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

    /// Runs one part. `x` is `[N, C*H*W]` for the features, `[N, features]` for the heads.
    ///
    /// In a training pass, running statistics of the batch norm layers move on.
    ///
    /// # Errors
    /// When the device fails (out of memory).
    pub fn forward<T: Tape<f32, D>>(
        &mut self,
        part: Part,
        x: Batch<D, T>,
        pass: Pass,
    ) -> Result<Batch<D, T>, D::Err> {
        let mut x = Flow::Rows(x);
        // The heads pass gradients on as soon as anything in the features learns.
        let mut upstream =
            part != Part::Features && self.learns(|placed| placed.part == Part::Features);
        let mut at = 0;
        while at < self.layers.len() {
            let placed = &self.layers[at].0;
            if placed.part != part {
                at += 1;
                continue;
            }
            let fused = matches!(placed.layer, Layer::Conv2d { .. })
                .then(|| fuse(|at| self.layers.get(at).map(|(placed, _)| placed), at));
            let end = fused.map_or(at + 1, |fused| fused.end);
            let learns = (at..end).any(|at| self.layer_learns(at));
            // Below the first layer that learns nothing is taped: no backward work there.
            x = if upstream || learns {
                self.forward_unit(at, fused, x, pass, upstream)?
            } else {
                let (bare, tape) = x.split_tape();
                self.forward_unit(at, fused, bare, pass, false)?.put_tape(tape)
            };
            upstream |= learns;
            at = end;
        }
        x.rows()
    }

    /// Runs the layer at `at`, with those that it is fused with.
    fn forward_unit<T: Tape<f32, D>>(
        &mut self,
        at: usize,
        fused: Option<Fused>,
        x: Flow<D, T>,
        pass: Pass,
        upstream: bool,
    ) -> Result<Flow<D, T>, D::Err> {
        match fused {
            Some(fused) => {
                let x = x.maps(self.layers[at].0.input, upstream)?;
                self.forward_block(at, fused, x, pass, upstream).map(Flow::Maps)
            }
            None => self.forward_layer(at, x.rows()?, pass, upstream).map(Flow::Rows),
        }
    }

    /// Runs a convolution with the layers that it is fused with.
    fn forward_block<T: Tape<f32, D>>(
        &mut self,
        at: usize,
        fused: Fused,
        x: Maps<D, T>,
        pass: Pass,
        upstream: bool,
    ) -> Result<Maps<D, T>, D::Err> {
        let (placed, tensors) = &self.layers[at];
        let shape = placed.conv2d().expect("the layer is a convolution");
        let value = |at: Option<usize>| at.map(|at| &self.parameters[at].value);
        let norm_at = fused.norm;
        let norm_tensors = norm_at.map(|at| self.layers[at].1).unwrap_or_default();
        let (mut norm, mut momentum, fixed) = (Norm::None, 0.0, self.fixed_norm(norm_at));
        if let (Some(at), Some(fixed)) = (norm_at, &fixed) {
            let Layer::BatchNorm { momentum: newest, .. } = &self.layers[at].0.layer else {
                unreachable!("only batch normalisation is fused as such")
            };
            momentum = *newest;
            norm = if self.by_running_stats(at, pass) {
                Norm::Fixed(fixed)
            } else {
                Norm::Batch(fixed.weight, fixed.bias, fixed.eps)
            };
        }
        let block = ConvBlock {
            weight: value(tensors.weight).expect("a convolution has weights"),
            bias: value(tensors.bias),
            norm,
            pool: fused.pool.and_then(|at| self.layers[at].0.pool2d()),
            relu: fused.relu,
            needs: BlockNeeds {
                input: upstream,
                conv: self.layer_learns(at),
                norm: norm_at.is_some_and(|at| self.layer_learns(at)),
            },
            shape,
        };
        let values = x.images * shape.output().area();
        let (y, moments) = D::conv_block(x, &block)?;
        if let (Some(moments), Some(stats)) = (moments, norm_tensors.stats) {
            self.stats[stats].average(&moments, values, momentum);
        }
        Ok(y)
    }

    /// The batch normalisation at `at` with its running statistics.
    fn fixed_norm(&self, at: Option<usize>) -> Option<FixedNorm<'_, D>> {
        let (placed, tensors) = &self.layers[at?];
        let Layer::BatchNorm { eps, .. } = placed.layer else { return None };
        let stats = &self.stats[tensors.stats?];
        Some(FixedNorm {
            weight: &self.parameters[tensors.weight?].value,
            bias: &self.parameters[tensors.bias?].value,
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

    fn forward_layer<T: Tape<f32, D>>(
        &mut self,
        at: usize,
        x: Batch<D, T>,
        pass: Pass,
        upstream: bool,
    ) -> Result<Batch<D, T>, D::Err> {
        let learns = self.layer_learns(at);
        let (placed, tensors) = &self.layers[at];
        let needs = Needs { input: upstream, weight: learns };
        let value = |at: Option<usize>| at.map(|at| &self.parameters[at].value);
        let weight = || value(tensors.weight).expect("the layer has a weight");
        match &placed.layer {
            Layer::Conv2d { .. } => unreachable!("convolutions run as blocks"),
            Layer::Linear { outputs, .. } => {
                D::linear(x, weight(), value(tensors.bias), *outputs, needs)
            }
            Layer::BatchNorm { eps, momentum } => {
                let (eps, momentum) = (*eps, *momentum);
                let channels = placed.input.channels;
                let bias = value(tensors.bias).expect("batch norm has a bias");
                let stats_at = tensors.stats.expect("batch norm has statistics");
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
            Layer::Relu => D::relu(x),
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
        let tensors = self.layers[at].1;
        [tensors.weight, tensors.bias].into_iter().flatten().any(|at| self.parameters[at].trainable)
    }

    fn learns(&self, of: impl Fn(&Placed) -> bool) -> bool {
        (0..self.layers.len()).any(|at| of(&self.layers[at].0) && self.layer_learns(at))
    }

    /// Class logits `[N, classes]` of images `[N, C*H*W]`, as at test time.
    ///
    /// # Errors
    /// When the device fails (out of memory).
    pub fn logits(&mut self, images: Batch<D>) -> Result<Batch<D>, D::Err> {
        let features = self.forward(Part::Features, images, Pass::Eval)?;
        self.forward(Part::Classifier, features, Pass::Eval)
    }
}

impl<D: Ops> RunningStats<D> {
    /// Moves the averages toward a batch of `values` values a channel:
    /// r = (1 - momentum) r + momentum b, with the unbiased variance as PyTorch has it.
    fn average(&mut self, batch: &Moments, values: usize, momentum: f32) {
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

fn fan_in(placed: &Placed) -> usize {
    placed.parameters().first().map_or(1, |weight| weight.shape[1..].iter().product())
}

fn uniform(seed: u64, name: &str, len: usize, fan_in: usize) -> Vec<f32> {
    #[expect(clippy::cast_precision_loss, reason = "a layer has far below 2^24 inputs")]
    let bound = 1.0 / (fan_in.max(1) as f32).sqrt();
    let mut stream = random::stream(seed, &format!("init {name}"), 0, 0);
    (0..len).map(|_| bound * (2.0 * stream.uniform() - 1.0)).collect()
}
