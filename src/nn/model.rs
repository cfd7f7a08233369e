//! A network with weights on a device: forward passes, parameters and what is frozen. It does not know
//! how it is trained.

use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use super::fuse::{self, Fused, FusedSegment};
use super::geometry::{Chw, Rectifier};
use super::ops::adaptive_pool::adaptive_avg_pool2d;
use super::ops::varying;
use super::ops::{
    Backend, ConvBlock, Dims, Dropout, Input, Norm, OpError, Prepared, Running, Tape, Tensor,
};
use super::placement::{Placed, SpecError};
use super::spec::{Init, Layer, Part, Spec};
use crate::config::words;
use crate::random;

mod attach;
mod norms;

/// A learnable tensor.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Name as in PyTorch's `state_dict`.
    pub name: String,
    /// The part that it belongs to.
    pub part: Part,
    /// Shape as in PyTorch; the tensor itself is flat.
    pub shape: Vec<usize>,
    /// The values.
    pub value: Tensor,
    /// Whether an optimizer may change it.
    pub trainable: bool,
}

/// Running statistics of a batch norm layer.
#[derive(Debug, Clone)]
pub struct RunningStats {
    /// Full name of the layer.
    pub layer: String,
    /// Running mean a channel.
    pub mean: Tensor,
    /// Running unbiased variance a channel.
    pub var: Tensor,
    /// Batches seen.
    pub batches: i64,
}

words! {
    /// What batch norm layers do whose parameters are frozen.
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum FrozenBatchNorm {
        /// They normalise by their running statistics and keep them.
        Eval = "eval",
        /// They normalise by the batch and go on averaging, as PyTorch's `model.train()` does.
        Train = "train",
    }
}

#[expect(clippy::derivable_impls, reason = "`words!` knows no attributes of variants")]
impl Default for FrozenBatchNorm {
    fn default() -> Self {
        Self::Eval
    }
}

/// How a forward pass is made.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// Where parameters that learn are recorded; nothing of them is without one.
    pub tape: Option<&'a Tape>,
    /// What batch norm layers go by.
    pub statistics: Statistics,
    /// Where the masks of dropout come from; no dropout without one.
    pub dropout: Option<DropoutKey<'a>>,
    /// Whether batch norm layers take the tensors that [`Model::split_norms`] gave them for the source.
    pub source_norms: bool,
    /// Which channels of batch norm layers go by the running averages although the pass goes by
    /// [`Statistics::Batch`]; none without it.
    pub stochastic_norm: Option<StochasticNorm<'a>>,
}

/// Stochastic normalisation (Kou, You, Long and Wang 2020, "Stochastic Normalization"): each channel of a batch norm
/// layer goes by the running averages, as they are before the batch moves them, with probability `p`, else by the
/// batch's own moments.
#[derive(Debug, Clone, Copy)]
pub struct StochasticNorm<'a> {
    /// Where the choice comes from.
    pub key: DropoutKey<'a>,
    /// Probability, 0 to 1.
    pub p: f32,
}

/// What the batch norm layers of a pass go by. Frozen ones have a rule of their own,
/// [`FrozenBatchNorm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    /// The batch's own moments, which move the running averages.
    Batch,
    /// The batch's own moments; the running averages stay as they are.
    BatchAlone,
    /// The batch's own moments, which move the running averages to the mean over all batches that these have
    /// seen (PyTorch's `momentum=None`).
    Cumulative,
    /// The running averages.
    Running,
}

impl<'a> Pass<'a> {
    /// As at test time: running statistics, no dropout, nothing recorded.
    pub const EVAL: Self = Self {
        tape: None,
        statistics: Statistics::Running,
        dropout: None,
        source_norms: false,
        stochastic_norm: None,
    };

    /// As in training: batch statistics and dropout, its masks drawn from the key.
    pub fn train(tape: &'a Tape, key: DropoutKey<'a>) -> Self {
        Self { tape: Some(tape), statistics: Statistics::Batch, dropout: Some(key), ..Self::EVAL }
    }
}

/// Which dropout masks a training pass draws: the same key, the same masks.
#[derive(Debug, Clone, Copy)]
pub struct DropoutKey<'a> {
    /// Seed of the stage.
    pub seed: u64,
    /// `source`, `target` or a longer name: passes of one step must not share masks.
    pub pass: &'a str,
    /// Epoch from 0.
    pub epoch: u64,
    /// Step within the epoch from 0.
    pub step: u64,
}

/// Where a pass through the features begins: with images, or with the output of some of the first
/// layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryLayer(usize);

impl EntryLayer {
    /// With images.
    pub const IMAGES: Self = Self(0);
}

/// Where the tensors of a batch norm layer are.
#[derive(Debug, Clone, Copy)]
struct NormTensors {
    weight: usize,
    bias: usize,
    stats: usize,
}

/// A layer with the places of its tensors.
#[derive(Debug, Clone)]
struct Owner {
    placed: Placed,
    weight: Option<usize>,
    bias: Option<usize>,
    stats: Option<usize>,
    /// A batch norm's tensors for the source domain, where each domain has its own.
    source: Option<NormTensors>,
    /// A convolution's weights for the kernels, until they change.
    prepared: Option<Prepared>,
}

/// A network with weights.
#[derive(Debug, Clone)]
pub struct Model {
    spec: Spec,
    layers: Vec<Owner>,
    /// What runs at a time, of the features and of each head that has weights.
    chains: IndexMap<Part, Arc<[FusedSegment]>>,
    parameters: Vec<Parameter>,
    stats: Vec<RunningStats>,
    frozen_batch_norm: FrozenBatchNorm,
    precise: bool,
    ops: Backend,
}

impl Model {
    /// A network with every head of `spec` but the domain classifier. Weights are drawn as
    /// [`Spec::init`] says; every tensor has a random stream of its own, keyed by its name.
    ///
    /// # Errors
    /// When the layers do not fit together, or their parameters not into the memory.
    pub fn new(spec: Spec, ops: &Backend, seed: u64) -> Result<Self, SpecError> {
        let heads = spec.initial_heads();
        Self::with_heads(spec, &heads, ops, seed)
    }

    /// Appends a layer with fresh tensors.
    fn add(&mut self, placed: Placed, seed: u64) -> Result<(), SpecError> {
        let name = placed.name.clone();
        let full = |error: OpError| SpecError { layer: name.clone(), reason: error.to_string() };
        let (mut weight, mut bias, mut stats) = (None, None, None);
        for slot in placed.parameters() {
            let len = slot.shape.iter().product();
            let is_weight = slot.name.ends_with(".weight");
            let values = fresh(&placed, self.spec.init, &slot.name, len, seed);
            *(if is_weight { &mut weight } else { &mut bias }) = Some(self.parameters.len());
            self.parameters.push(Parameter {
                name: slot.name,
                part: placed.part.clone(),
                shape: slot.shape,
                value: self.flat(values).map_err(full)?,
                trainable: true,
            });
        }
        if matches!(placed.layer, Layer::BatchNorm { .. }) {
            let channels = placed.input.channels;
            stats = Some(self.stats.len());
            self.stats.push(RunningStats {
                layer: placed.name.clone(),
                mean: self.flat(vec![0.0; channels]).map_err(full)?,
                var: self.flat(vec![1.0; channels]).map_err(full)?,
                batches: 0,
            });
        }
        self.layers.push(Owner { placed, weight, bias, stats, source: None, prepared: None });
        Ok(())
    }

    /// Its layers.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Says which larger images it takes the middle of: see [`Spec::middle_of`].
    pub fn set_middle_of(&mut self, whole: Option<(usize, usize)>) {
        self.spec.middle_of = whole;
    }

    /// The operations of the device that its tensors live on.
    pub fn ops(&self) -> &Backend {
        &self.ops
    }

    fn flat(&self, values: Vec<f32>) -> Result<Tensor, OpError> {
        let dims = Dims::Flat(values.len());
        self.ops.tensor(values, dims)
    }

    /// The learnable tensors in PyTorch's order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The learnable tensors, to be changed in any way.
    pub fn parameters_mut(&mut self) -> &mut [Parameter] {
        for layer in &mut self.layers {
            layer.prepared = None;
        }
        &mut self.parameters
    }

    /// The tensors that learn of the parts that `moves` names, each with its place among the parameters,
    /// to be changed by an optimizer.
    pub fn trainable_mut(
        &mut self,
        moves: impl Fn(&Part) -> bool,
    ) -> impl Iterator<Item = (usize, &mut Parameter)> {
        for at in 0..self.layers.len() {
            if self.layer_learns(at) && moves(&self.layers[at].placed.part) {
                self.layers[at].prepared = None;
            }
        }
        let learns = move |parameter: &Parameter| parameter.trainable && moves(&parameter.part);
        self.parameters.iter_mut().enumerate().filter(move |(_, parameter)| learns(parameter))
    }

    /// The running statistics of its batch norm layers.
    pub fn stats(&self) -> &[RunningStats] {
        &self.stats
    }

    /// The running statistics, to be overwritten by stored ones.
    pub fn stats_mut(&mut self) -> &mut [RunningStats] {
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
                tensors.push(self.parameters[at].value.host());
            }
            if let Some(at) = layer.stats {
                let stats = &self.stats[at];
                tensors.extend([stats.mean.host(), stats.var.host()]);
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

    /// `count` images, or outputs of the layers before `entry`, as this network takes them in there: in the
    /// layout of its first layer, so that passes need no other copy.
    ///
    /// # Errors
    /// When the device fails (out of memory).
    pub fn take_in(
        &self,
        entry: EntryLayer,
        input: Input,
        count: usize,
    ) -> Result<Tensor, OpError> {
        let maps = match self.chain(&Part::FEATURES).get(entry.0) {
            None | Some(FusedSegment::Layer(_)) => None,
            Some(
                FusedSegment::Block(_)
                | FusedSegment::Residual { .. }
                | FusedSegment::Parallel { .. },
            ) => Some(self.entry_shape(entry)),
        };
        let rows = match input {
            Input::Values(values) => {
                let dims = Dims::Rows(count, values.len() / count);
                self.ops.tensor(values, dims)?
            }
            Input::Pixels { bytes, table } => {
                return self.ops.pixels(&bytes, count, &table, maps);
            }
            Input::Kept { set, rows } => return self.ops.kept(&set, &rows, maps),
        };
        match maps {
            None => Ok(rows),
            Some(shape) => self.ops.maps(&rows, shape),
        }
    }

    /// Runs one part. `x` is `[N, C*H*W]` for the features, `[N, features]` for the heads but for one that
    /// begins with [`Layer::Takes`], which says what it takes in.
    ///
    /// Where batch norm goes by batch statistics that count, its running statistics move on.
    ///
    /// # Errors
    /// When the device fails (out of memory).
    ///
    /// # Panics
    /// When the model has no head called so.
    pub fn forward(&mut self, part: &Part, x: &Tensor, pass: Pass) -> Result<Tensor, OpError> {
        let chain = Arc::clone(self.chain(part));
        self.run(&chain, x, pass)
    }

    /// Runs the features from `entry` on; `x` is `[N, C*H*W]` of [`Model::entry_shape`].
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn features_from(
        &mut self,
        entry: EntryLayer,
        x: &Tensor,
        pass: Pass,
    ) -> Result<Tensor, OpError> {
        let chain = Arc::clone(self.chain(&Part::FEATURES));
        self.run(&chain[entry.0..], x, pass)
    }

    /// The same, and before the features what comes out at each of `places`, which ascend from `entry`, as
    /// `[N, C*H*W]` of [`Model::entry_shape`].
    ///
    /// # Errors
    /// As [`Model::forward`].
    ///
    /// # Panics
    /// When the places do not ascend from `entry`.
    pub fn features_through(
        &mut self,
        entry: EntryLayer,
        places: &[EntryLayer],
        x: &Tensor,
        pass: Pass,
    ) -> Result<Vec<Tensor>, OpError> {
        let chain = Arc::clone(self.chain(&Part::FEATURES));
        let (mut x, mut from) = (x.clone(), entry.0);
        let mut found = Vec::with_capacity(places.len() + 1);
        for to in places.iter().map(|place| place.0).chain([chain.len()]) {
            x = self.run_units(&chain[from..to], x, pass)?;
            found.push(self.ops.flat_rows(&x)?);
            from = to;
        }
        Ok(found)
    }

    /// The output of the layers before `entry` for images `[N, C*H*W]`, as at test time.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn features_up_to(
        &mut self,
        entry: EntryLayer,
        images: &Tensor,
    ) -> Result<Tensor, OpError> {
        let chain = Arc::clone(self.chain(&Part::FEATURES));
        self.run(&chain[..entry.0], images, Pass::EVAL)
    }

    /// Runs units one after the other; rows come out.
    fn run(&mut self, units: &[FusedSegment], x: &Tensor, pass: Pass) -> Result<Tensor, OpError> {
        let x = self.run_units(units, x.clone(), pass)?;
        self.ops.flat_rows(&x)
    }

    /// Runs units one after the other, in the layout of each.
    fn run_units(
        &mut self,
        units: &[FusedSegment],
        mut x: Tensor,
        pass: Pass,
    ) -> Result<Tensor, OpError> {
        for unit in units {
            x = self.run_unit(unit, &x, pass)?;
        }
        Ok(x)
    }

    fn run_unit(&mut self, unit: &FusedSegment, x: &Tensor, pass: Pass) -> Result<Tensor, OpError> {
        let ops = Rc::clone(&self.ops);
        match unit {
            FusedSegment::Layer(at) => self.run_layer(*at, &ops.flat_rows(x)?, pass),
            FusedSegment::Block(fused) => {
                let x = ops.maps(x, self.layers[fused.conv].placed.input)?;
                self.run_block(*fused, &x, None, pass)
            }
            FusedSegment::Residual { input, shortcut, body, end } => {
                let x = ops.maps(x, *input)?;
                let side = self.run_units(shortcut, x.clone(), pass)?;
                let side = ops.maps(&side, self.layers[end.conv].placed.output)?;
                let x = self.run_units(body, x, pass)?;
                let x = ops.maps(&x, self.layers[end.conv].placed.input)?;
                self.run_block(*end, &x, Some(&side), pass)
            }
            FusedSegment::Parallel { input, branches, .. } => {
                let x = ops.maps(x, *input)?;
                let mut parts = Vec::with_capacity(branches.len());
                for branch in branches {
                    parts.push(self.run_units(branch, x.clone(), pass)?);
                }
                // Maps keep their layout where every branch ends with some.
                if !parts.iter().all(|part| matches!(part.dims(), Dims::Maps(..))) {
                    parts = parts.iter().map(|it| ops.flat_rows(it)).collect::<Result<_, _>>()?;
                }
                Tensor::concat_columns(&parts)
            }
        }
    }

    /// The parameter at `at`, on the tape of the pass if it learns.
    fn value(&self, at: usize, pass: Pass) -> Tensor {
        let parameter = &self.parameters[at];
        match pass.tape {
            Some(tape) if parameter.trainable => parameter.value.on(tape),
            _ => parameter.value.clone(),
        }
    }

    /// Runs a convolution with the layers that it is fused with.
    fn run_block(
        &mut self,
        fused: Fused,
        x: &Tensor,
        side: Option<&Tensor>,
        pass: Pass,
    ) -> Result<Tensor, OpError> {
        let at = fused.conv;
        self.prepare(at);
        let layer = &self.layers[at];
        let weight = self.value(layer.weight.expect("a convolution has weights"), pass);
        let bias = layer.bias.map(|bias| self.value(bias, pass));
        let layer_norm = fused.norm.map(|norm| self.layer_norm(norm, pass));
        let block = ConvBlock {
            shape: layer.placed.conv2d().expect("the layer is a convolution"),
            weight: &weight,
            prepared: layer.prepared.as_ref().expect("just prepared"),
            bias: bias.as_ref(),
            norm: layer_norm.as_ref().map_or(Norm::None, |it| it.of(&mut self.stats)),
            pool: fused.pool.and_then(|at| self.layers[at].placed.pool2d()),
            relu: fused.relu,
        };
        self.ops.conv_block(x, side, block)
    }

    /// Prepares the weights of the convolution at `at` for the kernels.
    fn prepare(&mut self, at: usize) {
        let layer = &self.layers[at];
        if layer.prepared.is_none() {
            let weight = layer.weight.expect("a convolution has weights");
            let shape = layer.placed.conv2d().expect("the layer is a convolution");
            let prepared = self.ops.prepare(&self.parameters[weight].value, &shape, self.precise);
            self.layers[at].prepared = Some(prepared);
        }
    }

    /// The batch normalisation at `at` as a pass finds it.
    fn layer_norm(&self, at: usize, pass: Pass) -> LayerNorm {
        let layer = &self.layers[at];
        let Layer::BatchNorm { eps, momentum } = layer.placed.layer else {
            unreachable!("only batch normalisation normalises")
        };
        let own = layer.weight.zip(layer.bias).zip(layer.stats);
        let own = own.map(|((weight, bias), stats)| NormTensors { weight, bias, stats });
        let tensors = layer.source.filter(|_| pass.source_norms).or(own);
        let NormTensors { weight, bias, stats } = tensors.expect("batch norm has its tensors");
        let statistics = self.statistics(at, pass);
        let draws = pass.stochastic_norm.filter(|_| statistics == Statistics::Batch);
        let by_averages = draws
            .map(|draws| draws.by_averages(&layer.placed.name, layer.placed.input.channels))
            .unwrap_or_default();
        LayerNorm {
            weight: self.value(weight, pass),
            bias: self.value(bias, pass),
            stats,
            statistics,
            by_averages,
            eps,
            momentum,
        }
    }

    /// What the batch normalisation at `at` goes by.
    fn statistics(&self, at: usize, pass: Pass) -> Statistics {
        let frozen = !self.layer_learns(at) && self.frozen_batch_norm == FrozenBatchNorm::Eval;
        if frozen { Statistics::Running } else { pass.statistics }
    }

    fn run_layer(&mut self, at: usize, x: &Tensor, pass: Pass) -> Result<Tensor, OpError> {
        let ops = &self.ops;
        let Owner { placed, weight, bias, .. } = &self.layers[at];
        match &placed.layer {
            Layer::Conv2d { .. } | Layer::Residual { .. } | Layer::Parallel { .. } => {
                unreachable!("convolutions run as blocks, layers of layers as their chains")
            }
            Layer::Linear { outputs, .. } => {
                let weight = self.value(weight.expect("a linear layer has weights"), pass);
                let bias = bias.map(|bias| self.value(bias, pass));
                ops.linear(x, &weight, bias.as_ref(), *outputs)
            }
            Layer::BatchNorm { .. } => {
                let norm = self.layer_norm(at, pass);
                ops.batch_norm(x, norm.of(&mut self.stats), placed.input.channels)
            }
            Layer::MaxPool { .. } => {
                ops.max_pool2d(x, &placed.pool2d().expect("the layer is a pooling window"))
            }
            Layer::AvgPool { .. } => {
                ops.avg_pool2d(x, &placed.pool2d().expect("the layer is a pooling window"))
            }
            Layer::GlobalAvgPool => ops.global_avg_pool(x, placed.input),
            Layer::Relu => ops.relu(x, Rectifier::Relu),
            Layer::Relu6 => ops.relu(x, Rectifier::Relu6),
            Layer::AdaptiveAvgPool { output } => adaptive_avg_pool2d(x, placed.input, *output),
            Layer::Flatten | Layer::Takes { .. } => Ok(x.clone()),
            Layer::Dropout { p } | Layer::Dropout2d { p } => {
                let Some(key) = pass.dropout else { return Ok(x.clone()) };
                let channels = match &placed.layer {
                    Layer::Dropout2d { .. } => placed.input.channels,
                    _ => placed.input.len(),
                };
                let DropoutKey { seed, epoch, step, .. } = key;
                let purpose = &format!("dropout {} {}", placed.name, key.pass);
                ops.dropout(x, Dropout { seed, purpose, epoch, step, p: *p }, channels)
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
    pub fn logits(&mut self, images: &Tensor) -> Result<Tensor, OpError> {
        self.logits_from(EntryLayer::IMAGES, images)
    }

    /// Class logits from what comes in at `entry`, as at test time.
    ///
    /// # Errors
    /// As [`Model::logits`].
    pub fn logits_from(&mut self, entry: EntryLayer, x: &Tensor) -> Result<Tensor, OpError> {
        let features = self.features_from(entry, x, Pass::EVAL)?;
        self.forward(&Part::CLASSIFIER, &features, Pass::EVAL)
    }
}

/// A batch normalisation layer in a pass.
struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    /// Its place among the running statistics.
    stats: usize,
    statistics: Statistics,
    /// Channels that go by the running averages in place of the batch; empty for none.
    by_averages: Vec<bool>,
    eps: f32,
    momentum: f32,
}

impl LayerNorm {
    /// The operation's argument; a batch that moves the running statistics counts as one more.
    fn of<'a>(&'a self, stats: &'a mut [RunningStats]) -> Norm<'a> {
        let Self { weight, bias, eps, momentum, .. } = self;
        let (eps, momentum) = (*eps, *momentum);
        let RunningStats { mean, var, batches, .. } = &mut stats[self.stats];
        match self.statistics {
            Statistics::Running => Norm::Fixed { weight, bias, mean, var, eps },
            Statistics::BatchAlone => Norm::Batch { weight, bias, eps, running: None },
            Statistics::Batch | Statistics::Cumulative => {
                *batches += 1;
                #[expect(clippy::cast_precision_loss, reason = "batches are far below 2^24")]
                let part = 1.0 / *batches as f32;
                let is_mean = self.statistics == Statistics::Cumulative;
                if is_mean {
                    // The part is another in every step.
                    varying::look();
                }
                let momentum = if is_mean { part } else { momentum };
                let running = Running { mean, var, momentum };
                if self.by_averages.contains(&true) {
                    let by_averages = &self.by_averages;
                    return Norm::Mixed { weight, bias, eps, running, by_averages };
                }
                Norm::Batch { weight, bias, eps, running: Some(running) }
            }
        }
    }
}

impl StochasticNorm<'_> {
    /// Which of so many channels of a layer go by the running averages.
    fn by_averages(&self, layer: &str, channels: usize) -> Vec<bool> {
        let DropoutKey { seed, pass, epoch, step } = self.key;
        let purpose = format!("stochastic norm {layer} {pass}");
        let mut stream = random::stream(seed, &purpose, epoch, step);
        (0..channels).map(|_| stream.uniform() < self.p).collect()
    }
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
