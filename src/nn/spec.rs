//! What a network is made of: layers with their settings, and the shapes that follow.
//!
//! A [`Spec`] is plain data: it is written to `model.json`, compared before anything runs and
//! turned into a [`super::Model`] by giving it weights. It holds no tensors.

use serde::{Deserialize, Serialize};

use super::limits;
use super::ops::{Chw, Conv2d, Pool2d, Rectifier};

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Layer {
    /// Two-dimensional convolution (cross-correlation, as in PyTorch).
    Conv2d {
        /// Output channels.
        filters: usize,
        /// Height and width of the kernel.
        kernel: (usize, usize),
        /// Vertical and horizontal stride.
        stride: (usize, usize),
        /// Zeros added above and below, left and right.
        padding: (usize, usize),
        /// Groups of channels that do not mix.
        groups: usize,
        /// Whether a bias is added.
        bias: bool,
    },
    /// Batch normalisation over a channel (Ioffe & Szegedy 2015).
    BatchNorm {
        /// Added to the variance.
        eps: f32,
        /// Weight of the newest batch in the running averages.
        momentum: f32,
    },
    /// Largest value of a window.
    MaxPool {
        /// Height and width of the window.
        kernel: (usize, usize),
        /// Vertical and horizontal stride.
        stride: (usize, usize),
        /// Padding that never wins.
        padding: (usize, usize),
        /// Whether windows that lie partly beyond the end count.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ceil: bool,
    },
    /// Mean of a window; padding counts as zeros.
    AvgPool {
        /// Height and width of the window.
        kernel: (usize, usize),
        /// Vertical and horizontal stride.
        stride: (usize, usize),
        /// Zeros added around.
        padding: (usize, usize),
    },
    /// Mean of each channel.
    GlobalAvgPool,
    /// Means of as many parts of an image whatever its size.
    AdaptiveAvgPool {
        /// Parts from top to bottom and from left to right.
        output: (usize, usize),
    },
    /// max(0, x).
    Relu,
    /// min(max(0, x), 6).
    Relu6,
    /// Zeroes each value with probability `p` in training, scaling the rest by 1 / (1 - p).
    Dropout {
        /// Probability, 0 to below 1.
        p: f32,
    },
    /// Zeroes whole channels (Tompson et al. 2015).
    Dropout2d {
        /// Probability, 0 to below 1.
        p: f32,
    },
    /// `[C, H, W]` to `[C*H*W, 1, 1]`.
    Flatten,
    /// x Wᵀ + b.
    Linear {
        /// Output features.
        outputs: usize,
        /// Whether a bias is added.
        bias: bool,
    },
    /// What `body` makes of the input plus what `shortcut` makes of it (He et al. 2016). Names
    /// within go on from this layer's.
    Residual {
        /// Ends in a convolution, or in the batch norm of one.
        body: Vec<Named>,
        /// Empty for the input itself.
        shortcut: Vec<Named>,
    },
    /// What each branch makes of the input, channels one after the other. Names within go on from
    /// this layer's.
    Parallel {
        /// At least one, none empty.
        branches: Vec<Vec<Named>>,
    },
}

impl Layer {
    /// What it lets through, if it is a rectification.
    pub fn rectifier(&self) -> Option<Rectifier> {
        match self {
            Self::Relu => Some(Rectifier::Relu),
            Self::Relu6 => Some(Rectifier::Relu6),
            _ => None,
        }
    }
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let by = |pair: &(usize, usize)| match pair {
            (height, width) if height == width => height.to_string(),
            (height, width) => format!("{height}x{width}"),
        };
        match self {
            Self::Conv2d { kernel, stride, padding, groups, .. } => {
                write!(f, "conv2d {}x{}", kernel.0, kernel.1)?;
                write!(f, ", stride {}, padding {}", by(stride), by(padding))?;
                if *groups > 1 { write!(f, ", {groups} groups") } else { Ok(()) }
            }
            Self::BatchNorm { .. } => f.write_str("batch norm"),
            Self::MaxPool { kernel, stride, .. } => {
                write!(f, "max pool {}x{}, stride {}", kernel.0, kernel.1, by(stride))
            }
            Self::AvgPool { kernel, stride, .. } => {
                write!(f, "average pool {}x{}, stride {}", kernel.0, kernel.1, by(stride))
            }
            Self::GlobalAvgPool => f.write_str("global average pool"),
            Self::AdaptiveAvgPool { output } => {
                write!(f, "adaptive average pool to {}", by(output))
            }
            Self::Relu => f.write_str("relu"),
            Self::Relu6 => f.write_str("relu6"),
            Self::Dropout { p } => write!(f, "dropout {p}"),
            Self::Dropout2d { p } => write!(f, "channel dropout {p}"),
            Self::Flatten => f.write_str("flatten"),
            Self::Linear { .. } => f.write_str("linear"),
            Self::Residual { .. } => f.write_str("residual"),
            Self::Parallel { .. } => f.write_str("parallel"),
        }
    }
}

/// A layer with its name in the parameters' names: `features.conv1` in `features.conv1.weight`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Named {
    /// Full name; within a residual layer what comes after that layer's.
    pub name: String,
    /// The layer.
    #[serde(flatten)]
    pub layer: Layer,
}

impl Named {
    /// A named layer.
    pub fn new(name: impl Into<String>, layer: Layer) -> Self {
        Self { name: name.into(), layer }
    }
}

/// The three chains of a network: features feed the classifier, and the domain classifier where
/// an adaptation method wants one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// From the image to a feature vector.
    Features,
    /// From features to class logits.
    Classifier,
    /// From features to domain logits (source, target).
    DomainClassifier,
}

impl Part {
    /// All parts, in the order of their parameters.
    pub const ALL: [Self; 3] = [Self::Features, Self::Classifier, Self::DomainClassifier];

    /// Its name for a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::Features => "features",
            Self::Classifier => "classifier",
            Self::DomainClassifier => "domain_classifier",
        }
    }
}

/// How fresh weights are drawn; biases and batch norm are as PyTorch's default in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// PyTorch's default: uniform in ±1/√fan_in.
    #[default]
    Default,
    /// Convolutions normal with variance 2 / fan_out (He et al. 2015), as torchvision's ResNets.
    FanOut,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Name in the zoo, or `layers` for a net of the user's own.
    pub arch: String,
    /// Shape of an input image.
    pub input: Chw,
    /// Number of classes.
    pub classes: usize,
    /// How fresh weights are drawn.
    pub init: Init,
    /// From the image to a feature vector.
    pub features: Vec<Named>,
    /// From features to class logits.
    pub classifier: Vec<Named>,
    /// From features to two domain logits; used by adversarial methods only.
    pub domain_classifier: Vec<Named>,
}

/// A tensor with a name: a parameter or a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Name as in PyTorch's `state_dict`: `features.conv1.weight`.
    pub name: String,
    /// Shape as in PyTorch.
    pub shape: Vec<usize>,
}

/// A layer with everything that follows from its place in the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// Full name: `features.conv1`.
    pub name: String,
    /// The part it is in.
    pub part: Part,
    /// The layer.
    pub layer: Layer,
    /// Shape that comes in.
    pub input: Chw,
    /// Shape that goes out.
    pub output: Chw,
}

impl Placed {
    /// The parameters, in PyTorch's order.
    pub fn parameters(&self) -> Vec<Slot> {
        let slot =
            |word: &str, shape: Vec<usize>| Slot { name: format!("{}.{word}", self.name), shape };
        match &self.layer {
            Layer::Conv2d { filters, kernel, groups, bias, .. } => {
                let weight = vec![*filters, self.input.channels / groups, kernel.0, kernel.1];
                let mut slots = vec![slot("weight", weight)];
                slots.extend(bias.then(|| slot("bias", vec![*filters])));
                slots
            }
            Layer::Linear { outputs, bias } => {
                let mut slots = vec![slot("weight", vec![*outputs, self.input.len()])];
                slots.extend(bias.then(|| slot("bias", vec![*outputs])));
                slots
            }
            Layer::BatchNorm { .. } => {
                let channels = vec![self.input.channels];
                vec![slot("weight", channels.clone()), slot("bias", channels)]
            }
            _ => Vec::new(),
        }
    }

    /// Numbers among the parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|slot| slot.shape.iter().product::<usize>()).sum()
    }

    /// The convolution's geometry, if it is one.
    pub fn conv2d(&self) -> Option<Conv2d> {
        match &self.layer {
            Layer::Conv2d { filters, kernel, stride, padding, groups, .. } => Some(Conv2d {
                input: self.input,
                filters: *filters,
                kernel: *kernel,
                stride: *stride,
                padding: *padding,
                groups: *groups,
            }),
            _ => None,
        }
    }

    /// The pooling window's geometry, if it is one.
    pub fn pool2d(&self) -> Option<Pool2d> {
        match &self.layer {
            Layer::MaxPool { kernel, stride, padding, .. }
            | Layer::AvgPool { kernel, stride, padding } => Some(Pool2d {
                input: self.input,
                kernel: *kernel,
                stride: *stride,
                padding: *padding,
                ceil: matches!(self.layer, Layer::MaxPool { ceil: true, .. }),
            }),
            _ => None,
        }
    }
}

/// How layers follow each other; a number is a place among a network's layers.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A layer.
    Layer(usize),
    /// Two chains from one input, added up.
    Residual {
        /// Shape that comes in.
        input: Chw,
        /// The chain with the weights.
        body: Vec<Node>,
        /// The other one; empty for the input itself.
        shortcut: Vec<Node>,
    },
    /// Chains from one input, their outputs one after the other.
    Parallel {
        /// Shape that comes in.
        input: Chw,
        /// The chains.
        branches: Vec<Vec<Node>>,
        /// Shape that goes out.
        output: Chw,
    },
}

/// Every layer of a network with its shapes, and their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// In the order of their parameters.
    pub layers: Vec<Placed>,
    /// The chain of each part, in the order of [`Part::ALL`].
    pub chains: [Vec<Node>; 3],
}

/// A network that cannot be: a window larger than its image, a head of the wrong width.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("layer `{layer}`: {reason}")]
pub struct SpecError {
    /// Full name of the layer.
    pub layer: String,
    /// What does not fit.
    pub reason: String,
}

impl Spec {
    /// The layers of a part.
    pub fn part(&self, part: Part) -> &[Named] {
        match part {
            Part::Features => &self.features,
            Part::Classifier => &self.classifier,
            Part::DomainClassifier => &self.domain_classifier,
        }
    }

    /// Every layer with its shapes, parts in the order of [`Part::ALL`].
    ///
    /// # Errors
    /// When a layer does not fit what comes in, or a head does not end in its number of logits.
    pub fn place(&self) -> Result<Placement, SpecError> {
        limits::check_shape(self.input)
            .map_err(|reason| SpecError { layer: Part::Features.name().into(), reason })?;
        let mut layers = Vec::new();
        let mut chain = |part, input| {
            Chain { part, prefix: String::new(), layers: &mut layers }.place(self.part(part), input)
        };
        let (features, shape) = chain(Part::Features, self.input)?;
        let mut head = |part: Part, logits| {
            let (nodes, output) = chain(part, shape)?;
            if output.len() == logits {
                return Ok(nodes);
            }
            Err(SpecError {
                layer: part.name().into(),
                reason: format!("ends in {} values, expected {logits} logits", output.len()),
            })
        };
        let chains =
            [features, head(Part::Classifier, self.classes)?, head(Part::DomainClassifier, 2)?];
        limits::check_parameters(&layers)?;
        Ok(Placement { layers, chains })
    }

    /// The same features for images of shape `input`, and a classifier of `classes` classes: the old
    /// one with a new last layer where `head` is empty, else `head` and a linear layer, named as
    /// PyTorch's `nn.Sequential` at its place names them. Also says how the names of what is new begin.
    #[must_use]
    pub fn with_head(mut self, head: &[Layer], input: Chw, classes: usize) -> (Self, String) {
        (self.input, self.classes) = (input, classes);
        if head.is_empty() {
            let weighted = |named: &&mut Named| {
                matches!(named.layer, Layer::Linear { .. } | Layer::Conv2d { .. })
            };
            let last = self.classifier.iter_mut().rev().find(weighted);
            let last = last.expect("a classifier has a layer with weights");
            match &mut last.layer {
                Layer::Linear { outputs, .. } => *outputs = classes,
                Layer::Conv2d { filters, .. } => *filters = classes,
                _ => unreachable!("only layers with weights were asked for"),
            }
            let name = format!("{}.", last.name);
            return (self, name);
        }
        let first = self.classifier.first().map_or("classifier", |first| first.name.as_str());
        let prefix = first.split('.').next().unwrap_or(first).to_owned();
        let mut layers = Vec::with_capacity(head.len() + 2);
        if !matches!(
            self.features.last().map(|last| &last.layer),
            Some(Layer::GlobalAvgPool | Layer::Flatten)
        ) {
            layers.push(Named::new(format!("{prefix}.pool"), Layer::GlobalAvgPool));
        }
        let last = Layer::Linear { outputs: classes, bias: true };
        for (at, layer) in head.iter().chain([&last]).enumerate() {
            layers.push(Named::new(format!("{prefix}.{at}"), layer.clone()));
        }
        self.classifier = layers;
        (self, format!("{prefix}."))
    }

    /// Number of values in a feature vector.
    ///
    /// # Errors
    /// As [`Spec::place`].
    pub fn feature_len(&self) -> Result<usize, SpecError> {
        let mut layers = Vec::new();
        let mut chain = Chain { part: Part::Features, prefix: String::new(), layers: &mut layers };
        Ok(chain.place(&self.features, self.input)?.1.len())
    }
}

/// Layers one after the other that are being placed.
struct Chain<'a> {
    part: Part,
    /// What comes before a layer's name.
    prefix: String,
    layers: &'a mut Vec<Placed>,
}

impl Chain<'_> {
    fn place(&mut self, chain: &[Named], input: Chw) -> Result<(Vec<Node>, Chw), SpecError> {
        let mut shape = input;
        let mut nodes = Vec::with_capacity(chain.len());
        for Named { name, layer } in chain {
            let name = format!("{}{name}", self.prefix);
            if let Layer::Residual { body, shortcut } = layer {
                let (node, output) = self.place_residual(&name, body, shortcut, shape)?;
                nodes.push(node);
                shape = output;
                continue;
            }
            if let Layer::Parallel { branches } = layer {
                let (node, output) = self.place_parallel(&name, branches, shape)?;
                nodes.push(node);
                shape = output;
                continue;
            }
            let layer = layer.clone();
            let mut placed = Placed { name, part: self.part, layer, input: shape, output: shape };
            placed.output = limits::check_settings(&placed.layer)
                .and_then(|()| output_shape(&placed))
                .and_then(|output| limits::check_layer(&placed, output))
                .map_err(|reason| SpecError { layer: placed.name.clone(), reason })?;
            shape = placed.output;
            nodes.push(Node::Layer(self.layers.len()));
            self.layers.push(placed);
        }
        Ok((nodes, shape))
    }

    fn place_residual(
        &mut self,
        name: &str,
        body: &[Named],
        shortcut: &[Named],
        input: Chw,
    ) -> Result<(Node, Chw), SpecError> {
        let wrong = |reason: String| SpecError { layer: name.to_owned(), reason };
        let layers: Vec<&Layer> = body.iter().map(|named| &named.layer).collect();
        if !matches!(
            layers.as_slice(),
            [.., Layer::Conv2d { .. }] | [.., Layer::Conv2d { .. }, Layer::BatchNorm { .. }]
        ) {
            return Err(wrong("must end in a convolution or its batch norm".into()));
        }
        let mut chain =
            Chain { part: self.part, prefix: format!("{name}."), layers: &mut *self.layers };
        let (body, output) = chain.place(body, input)?;
        let (shortcut, other) = chain.place(shortcut, input)?;
        if output != other {
            return Err(wrong(format!("adds {other} to {output}")));
        }
        Ok((Node::Residual { input, body, shortcut }, output))
    }

    fn place_parallel(
        &mut self,
        name: &str,
        branches: &[Vec<Named>],
        input: Chw,
    ) -> Result<(Node, Chw), SpecError> {
        let wrong = |reason: String| SpecError { layer: name.to_owned(), reason };
        let mut output: Option<Chw> = None;
        let mut nodes = Vec::with_capacity(branches.len());
        for branch in branches {
            let mut chain =
                Chain { part: self.part, prefix: format!("{name}."), layers: &mut *self.layers };
            let (branch, shape) = chain.place(branch, input)?;
            nodes.push(branch);
            output = Some(match output {
                None => shape,
                Some(all) if (all.height, all.width) == (shape.height, shape.width) => {
                    let both = Chw { channels: all.channels + shape.channels, ..all };
                    limits::check_shape(both).map_err(wrong)?;
                    both
                }
                Some(all) => return Err(wrong(format!("puts {shape} beside {all}"))),
            });
        }
        let output = output.ok_or_else(|| wrong("needs a branch at least".into()))?;
        Ok((Node::Parallel { input, branches: nodes, output }, output))
    }
}

/// The shape that `placed.layer` makes of `placed.input`.
fn output_shape(placed: &Placed) -> Result<Chw, String> {
    let input = placed.input;
    if let Some(conv) = placed.conv2d() {
        conv.validate().map_err(|error| error.to_string())?;
        return Ok(conv.output());
    }
    if let Some(pool) = placed.pool2d() {
        pool.validate().map_err(|error| error.to_string())?;
        return Ok(pool.output());
    }
    let vector = |features| Chw { channels: features, height: 1, width: 1 };
    match &placed.layer {
        Layer::GlobalAvgPool => Ok(vector(input.channels)),
        Layer::Flatten => Ok(vector(input.len())),
        Layer::AdaptiveAvgPool { output: (0, _) | (_, 0) } => {
            Err("adaptive pooling needs at least one part".into())
        }
        Layer::AdaptiveAvgPool { output: (height, width) } => {
            Ok(Chw { channels: input.channels, height: *height, width: *width })
        }
        Layer::Linear { outputs: 0, .. } => Err("a linear layer needs at least one output".into()),
        Layer::Linear { outputs, .. } => Ok(vector(*outputs)),
        Layer::Dropout { p } | Layer::Dropout2d { p } if !(0.0..1.0).contains(p) => {
            Err(format!("dropout probability {p} is not in [0, 1)"))
        }
        _ => Ok(input),
    }
}
