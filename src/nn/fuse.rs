//! Which neighbouring layers run as one operation. Says what belongs together; runs nothing.

use super::geometry::{Chw, Rectifier};
use super::ops::conv_block::MOST_POSITIONS;
use super::placement::{Placed, Placement, Segment, SpecError};
use super::spec::{Layer, Part, Spec};

/// What runs at a time. A number is a place among a network's layers.
#[derive(Debug, Clone, PartialEq)]
pub enum FusedSegment {
    /// A layer by itself.
    Layer(usize),
    /// A convolution with what follows it.
    Block(Fused),
    /// Two chains from one input whose ends are added.
    Residual {
        /// Shape that comes in.
        input: Chw,
        /// The chain that comes first; empty for the input itself.
        shortcut: Vec<FusedSegment>,
        /// The other one but for its end.
        body: Vec<FusedSegment>,
        /// Its end, which adds and rectifies.
        end: Fused,
    },
    /// Chains from one input whose ends stand one after the other.
    Parallel {
        /// Shape that comes in.
        input: Chw,
        /// The chains.
        branches: Vec<Vec<FusedSegment>>,
        /// Shape that goes out.
        output: Chw,
    },
}

/// A convolution and the layers after it that [`ConvBlock`](super::ops::ConvBlock) does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fused {
    /// Place of the convolution.
    pub conv: usize,
    /// Place of the batch normalisation.
    pub norm: Option<usize>,
    /// Place of the max pooling.
    pub pool: Option<usize>,
    /// The rectification that it ends in.
    pub relu: Option<Rectifier>,
}

impl FusedSegment {
    /// The layers in it.
    pub fn layers(&self) -> Vec<usize> {
        match self {
            Self::Layer(at) => vec![*at],
            Self::Block(fused) => fused.layers(),
            Self::Residual { shortcut, body, end, .. } => {
                let inner = shortcut.iter().chain(body).flat_map(Self::layers);
                inner.chain(end.layers()).collect()
            }
            Self::Parallel { branches, .. } => {
                branches.iter().flatten().flat_map(Self::layers).collect()
            }
        }
    }

    /// The shape that goes out, given all layers.
    pub fn output(&self, layer: impl Fn(usize) -> Chw) -> Chw {
        match self {
            Self::Layer(at) => layer(*at),
            Self::Block(fused) => layer(fused.pool.unwrap_or(fused.conv)),
            Self::Residual { end, .. } => layer(end.conv),
            Self::Parallel { output, .. } => *output,
        }
    }
}

impl Fused {
    fn layers(self) -> Vec<usize> {
        [Some(self.conv), self.norm, self.pool].into_iter().flatten().collect()
    }
}

/// What runs at a time in a chain: a convolution takes along batch normalisation right behind it,
/// then max pooling and rectification in any order; the end of a residual layer's body takes along
/// the addition and the rectification after it.
pub fn units(chain: &[Segment], layers: &[Placed]) -> Vec<FusedSegment> {
    let mut units = Vec::with_capacity(chain.len());
    let mut rest = chain;
    while let Some((node, after)) = rest.split_first() {
        rest = after;
        units.push(match node {
            Segment::Layer(at) if matches!(layers[*at].layer, Layer::Conv2d { .. }) => {
                FusedSegment::Block(fuse(*at, &mut rest, layers))
            }
            Segment::Layer(at) => FusedSegment::Layer(*at),
            Segment::Residual { input, body, shortcut } => {
                let mut body = self::units(body, layers);
                let Some(FusedSegment::Block(mut end)) = body.pop() else {
                    unreachable!("a residual layer's body ends in a convolution")
                };
                if let Some((Segment::Layer(at), after)) = rest.split_first()
                    && let Some(relu) = layers[*at].layer.rectifier()
                {
                    end.relu = Some(relu);
                    rest = after;
                }
                FusedSegment::Residual {
                    input: *input,
                    shortcut: self::units(shortcut, layers),
                    body,
                    end,
                }
            }
            Segment::Parallel { input, branches, output } => FusedSegment::Parallel {
                input: *input,
                branches: branches.iter().map(|it| self::units(it, layers)).collect(),
                output: *output,
            },
        });
    }
    units
}

/// Where a network's features can be looked at: the name of the last layer of each unit. What comes out
/// there is what PyTorch's module of that name puts out.
///
/// # Errors
/// When the layers do not fit together.
pub fn outlets(spec: &Spec) -> Result<Vec<String>, SpecError> {
    let Placement { layers, chains, .. } = spec.place()?;
    let units = units(&chains[&Part::FEATURES], &layers);
    let first = |unit: &FusedSegment| unit.layers().into_iter().min();
    let features = layers.iter().filter(|layer| layer.part == Part::FEATURES).count();
    let last = |at: usize| units.get(at + 1).and_then(first).unwrap_or(features) - 1;
    Ok((0..units.len()).map(|at| layers[last(at)].name.clone()).collect())
}

/// The shape of what comes out after the layers called `name`; `None` where there is no such place.
pub fn shape_after(spec: &Spec, name: &str) -> Option<Chw> {
    let place = after(&outlets(spec).ok()?, name)?;
    let Placement { layers, chains, .. } = spec.place().ok()?;
    let units = units(&chains[&Part::FEATURES], &layers);
    Some(units.get(place.checked_sub(1)?)?.output(|at| layers[at].output))
}

/// How many of the units with these outlets come before the place after the layers that are called
/// `name`, or whose names go on from it; `features` is the end of them all.
pub fn after(outlets: &[String], name: &str) -> Option<usize> {
    if name == "features" && !outlets.is_empty() {
        return Some(outlets.len());
    }
    let prefix = format!("{name}.");
    outlets.iter().rposition(|last| last == name || last.starts_with(&prefix)).map(|at| at + 1)
}

/// The convolution at `conv` with what it takes along of `rest`.
fn fuse(conv: usize, rest: &mut &[Segment], layers: &[Placed]) -> Fused {
    let mut fused = Fused { conv, norm: None, pool: None, relu: None };
    while let Some((Segment::Layer(at), after)) = rest.split_first() {
        let begun = fused.norm.is_some() || fused.pool.is_some() || fused.relu.is_some();
        match &layers[*at].layer {
            Layer::BatchNorm { .. } if !begun => fused.norm = Some(*at),
            layer if fused.relu.is_none() && layer.rectifier().is_some() => {
                fused.relu = layer.rectifier();
            }
            Layer::MaxPool { kernel, .. }
                if fused.pool.is_none() && kernel.0 * kernel.1 <= MOST_POSITIONS =>
            {
                fused.pool = Some(*at);
            }
            _ => break,
        }
        *rest = after;
    }
    fused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::zoo::{self, ArchSettings};

    fn features(arch: &str) -> Vec<FusedSegment> {
        let input = Chw { channels: 3, height: 28, width: 28 };
        let placement =
            (zoo::find(arch).unwrap().build)(ArchSettings::new(input, 10)).place().unwrap();
        units(&placement.chains[&Part::FEATURES], &placement.layers)
    }

    #[test]
    fn a_convolution_takes_along_what_follows_in_either_order() {
        let block = |conv, norm, pool| {
            FusedSegment::Block(Fused { conv, norm, pool, relu: Some(Rectifier::Relu) })
        };
        let dacnn = features("dacnn");
        assert_eq!(dacnn[..2], [block(0, Some(1), Some(2)), block(4, Some(5), Some(6))]);
        assert_eq!(features("lenet")[0], block(0, None, Some(2)));
    }

    #[test]
    fn a_network_can_be_looked_at_where_a_unit_ends() {
        let input = Chw { channels: 3, height: 64, width: 64 };
        let spec = |arch| (zoo::find(arch).unwrap().build)(ArchSettings::new(input, 10));
        let resnet = outlets(&spec("resnet18")).unwrap();
        assert_eq!(resnet[..3], ["maxpool", "layer1.0.relu", "layer1.1.relu"]);
        assert_eq!(after(&resnet, "layer4"), Some(9));
        assert_eq!(after(&resnet, "layer1.0"), Some(2));
        assert_eq!(after(&resnet, "features"), Some(10));
        assert_eq!(after(&resnet, "conv1"), None, "it runs as one with what follows");
        let squeezenet = outlets(&spec("squeezenet1_1")).unwrap();
        assert_eq!(after(&squeezenet, "features.3"), Some(3));
    }

    #[test]
    fn a_residual_layer_ends_in_a_block_that_adds_and_rectifies() {
        let resnet = features("resnet18");
        let names = |unit: &FusedSegment| unit.layers().len();
        // Stem, eight residual layers, the pooling at the end.
        assert_eq!(resnet.len(), 10);
        assert_eq!(resnet.iter().map(names).collect::<Vec<_>>(), [3, 4, 4, 6, 4, 6, 4, 6, 4, 1]);
        let FusedSegment::Residual { shortcut, body, end, .. } = &resnet[3] else {
            panic!("residual")
        };
        assert_eq!((shortcut.len(), body.len()), (1, 1));
        assert!(end.relu.is_some() && end.norm.is_some() && end.pool.is_none());
    }
}
