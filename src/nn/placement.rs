//! The layers of a network at their places: with their full names, the shapes that go in and out,
//! and the order in which they run. Plain data: `place` works it out from a [`Spec`](super::Spec).

use indexmap::IndexMap;

use super::geometry::{Chw, Conv2d, Pool2d};
use super::spec::{Layer, Part};

/// A tensor with a name: a parameter or a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedShape {
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
    pub fn parameters(&self) -> Vec<NamedShape> {
        let slot = |word: &str, shape: Vec<usize>| NamedShape {
            name: format!("{}.{word}", self.name),
            shape,
        };
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
pub enum Segment {
    /// A layer.
    Layer(usize),
    /// Two chains from one input, added up.
    Residual {
        /// Shape that comes in.
        input: Chw,
        /// The chain with the weights.
        body: Vec<Segment>,
        /// The other one; empty for the input itself.
        shortcut: Vec<Segment>,
    },
    /// Chains from one input, their outputs one after the other.
    Parallel {
        /// Shape that comes in.
        input: Chw,
        /// The chains.
        branches: Vec<Vec<Segment>>,
        /// Shape that goes out.
        output: Chw,
    },
}

/// Every layer of a network with its shapes, and their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// In the order of their parameters.
    pub layers: Vec<Placed>,
    /// The chain of each part, the features' first.
    pub chains: IndexMap<Part, Vec<Segment>>,
    /// The shape that each part ends in.
    pub outputs: IndexMap<Part, Chw>,
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
