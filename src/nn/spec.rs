//! What a network consists of: layers with their settings. The shapes that follow are `placement`'s.
//!
//! A [`Spec`] is plain data: it is written to `model.json`, compared before anything runs and
//! turned into a [`super::Model`] by giving it weights. It holds no tensors.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::geometry::{Chw, Rectifier};

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
    /// What a head takes in instead of the features: so many values, which a method makes of them. Only
    /// the first layer of a head may be one.
    Takes {
        /// Numbers in a row.
        values: usize,
    },
    /// x Wᵀ + b.
    Linear {
        /// Output features.
        outputs: usize,
        /// Whether a bias is added.
        bias: bool,
    },
    /// The output of `body` plus that of `shortcut`, for the same input (He et al. 2016). Names
    /// within continue this layer's.
    Residual {
        /// Ends in a convolution, or in the batch norm of one.
        body: Vec<Named>,
        /// Empty for the input itself.
        shortcut: Vec<Named>,
    },
    /// The outputs of all branches for the same input, channels one after the other. Names within
    /// continue this layer's.
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
            Self::Takes { values } => write!(f, "takes {values} values"),
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

/// A chain of layers of a network, by its name: the features, or one of the heads that they feed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Part(Cow<'static, str>);

impl Part {
    /// From the image to a feature vector.
    pub const FEATURES: Self = Self::named("features");
    /// From features to class logits.
    pub const CLASSIFIER: Self = Self::named("classifier");
    /// From features to domain logits (source, target).
    pub const DOMAIN: Self = Self::named("domain_classifier");
    /// From features to class logits a second time, for methods that compare two classifiers.
    pub const CLASSIFIER2: Self = Self::named("classifier2");

    /// The part called `name`, which the names of its parameters should begin with.
    pub const fn named(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// Its name, for people and files.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl From<String> for Part {
    fn from(name: String) -> Self {
        Self(Cow::Owned(name))
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

/// A network: features, and any number of heads that they feed.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Name in the zoo, or `layers` for a network that the user listed.
    pub arch: String,
    /// Shape of an input image.
    pub input: Chw,
    /// Height and width of larger images whose middle it takes as well: those that it was trained on crops of.
    pub middle_of: Option<(usize, usize)>,
    /// Number of classes.
    pub classes: usize,
    /// How fresh weights are drawn.
    pub init: Init,
    /// From the image to a feature vector.
    pub features: Vec<Named>,
    /// The heads in the order of their parameters: the classifier, the domain classifier, and what
    /// methods added. Every network has the first two; of the domain classifier a model has weights
    /// only where a method attached it, of all other heads always.
    pub heads: IndexMap<Part, Vec<Named>>,
}

/// The heads that every network has.
pub fn two_heads(
    classifier: Vec<Named>,
    domain_classifier: Vec<Named>,
) -> IndexMap<Part, Vec<Named>> {
    IndexMap::from([(Part::CLASSIFIER, classifier), (Part::DOMAIN, domain_classifier)])
}

impl Spec {
    /// The layers of a part; none of a head that the network does not have.
    pub fn part(&self, part: &Part) -> &[Named] {
        if *part == Part::FEATURES {
            return &self.features;
        }
        self.heads.get(part).map_or(&[], Vec::as_slice)
    }

    /// The same features for images of shape `input`, and a classifier of `classes` classes: the old
    /// one with a new last layer where `head` is empty, else `head` and a linear layer, named as
    /// PyTorch's `nn.Sequential` at its place names them. Also says how the names of what is new begin. What it takes the
    /// middle of stays as long as the size of its images does.
    #[must_use]
    pub fn with_head(mut self, head: &[Layer], input: Chw, classes: usize) -> (Self, String) {
        let middle_of = self.middle_of.filter(|_| input == self.input);
        (self.input, self.middle_of, self.classes) = (input, middle_of, classes);
        if head.is_empty() {
            let weighted = |named: &&mut Named| {
                matches!(named.layer, Layer::Linear { .. } | Layer::Conv2d { .. })
            };
            let last = self.heads[&Part::CLASSIFIER].iter_mut().rev().find(weighted);
            let last = last.expect("a classifier has a layer with weights");
            match &mut last.layer {
                Layer::Linear { outputs, .. } => *outputs = classes,
                Layer::Conv2d { filters, .. } => *filters = classes,
                _ => unreachable!("only layers with weights were asked for"),
            }
            let name = format!("{}.", last.name);
            return (self, name);
        }
        let prefix = self.classifier_name();
        let mut layers = head.to_vec();
        layers.push(Layer::Linear { outputs: classes, bias: true });
        let layers = self.sequential(&prefix, &layers);
        self.heads.insert(Part::CLASSIFIER, layers);
        (self, format!("{prefix}."))
    }
}
