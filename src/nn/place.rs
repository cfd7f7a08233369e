//! Works out the place of every layer of a network: the shapes that follow from its input, and
//! whether each layer fits what comes in. Computes no values.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::geometry::Chw;
use super::limits;
use super::placement::{Placed, Placement, Segment, SpecError};
use super::spec::{Layer, Named, Part, Spec};

impl Spec {
    /// Every layer with its shapes: those of the features, then of each head in the order of the heads.
    ///
    /// # Errors
    /// When a layer does not fit what comes in, a classifier does not end in its number of logits, or two
    /// layers with weights have the same name.
    pub fn place(&self) -> Result<Placement, SpecError> {
        limits::check_shape(self.input)
            .map_err(|reason| SpecError { layer: Part::FEATURES.name().into(), reason })?;
        let mut layers = Vec::new();
        let mut chain = |part: &Part, input| {
            Chain { part, prefix: String::new(), layers: &mut layers }.place(self.part(part), input)
        };
        let (features, shape) = chain(&Part::FEATURES, self.input)?;
        let mut chains = IndexMap::from([(Part::FEATURES, features)]);
        let mut outputs = IndexMap::from([(Part::FEATURES, shape)]);
        for part in self.heads.keys() {
            let (nodes, output) = chain(part, shape)?;
            if let Some(logits) = self.logits(part) {
                check_logits(part, output, logits)?;
            }
            chains.insert(part.clone(), nodes);
            outputs.insert(part.clone(), output);
        }
        check_names(&layers)?;
        limits::check_parameters(&layers)?;
        Ok(Placement { layers, chains, outputs })
    }

    /// Number of values in a feature vector.
    ///
    /// # Errors
    /// As [`Spec::place`].
    pub fn feature_len(&self) -> Result<usize, SpecError> {
        Ok(self.feature_shape()?.len())
    }

    /// Shape of what the features put out.
    ///
    /// # Errors
    /// As [`Spec::place`].
    pub fn feature_shape(&self) -> Result<Chw, SpecError> {
        let mut layers = Vec::new();
        let part = &Part::FEATURES;
        let mut chain = Chain { part, prefix: String::new(), layers: &mut layers };
        Ok(chain.place(&self.features, self.input)?.1)
    }

    /// How many logits a head must end in; `None` where its layers decide that.
    fn logits(&self, part: &Part) -> Option<usize> {
        match part {
            part if *part == Part::CLASSIFIER => Some(self.classes),
            part if *part == Part::DOMAIN => Some(2),
            _ => None,
        }
    }
}

/// Whether a head that puts out `output` ends in `logits` values.
pub(super) fn check_logits(part: &Part, output: Chw, logits: usize) -> Result<(), SpecError> {
    if output.len() == logits {
        return Ok(());
    }
    Err(SpecError {
        layer: part.name().into(),
        reason: format!("ends in {} values, expected {logits} logits", output.len()),
    })
}

/// Whether no two layers with parameters have the same name, by which weights are stored and drawn.
fn check_names(layers: &[Placed]) -> Result<(), SpecError> {
    let mut names = HashSet::new();
    let weighted = layers.iter().filter(|placed| placed.parameter_count() > 0);
    match weighted.map(|placed| &placed.name).find(|name| !names.insert(*name)) {
        None => Ok(()),
        Some(name) => {
            Err(SpecError { layer: name.clone(), reason: "another layer has this name".into() })
        }
    }
}

/// Layers one after the other that are being placed.
struct Chain<'a> {
    part: &'a Part,
    /// What comes before a layer's name.
    prefix: String,
    layers: &'a mut Vec<Placed>,
}

impl Chain<'_> {
    fn place(&mut self, chain: &[Named], input: Chw) -> Result<(Vec<Segment>, Chw), SpecError> {
        let mut shape = input;
        let mut nodes = Vec::with_capacity(chain.len());
        for (at, Named { name, layer }) in chain.iter().enumerate() {
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
            if matches!(layer, Layer::Takes { .. }) {
                self.check_takes(&name, at)?;
            }
            let layer = layer.clone();
            let part = self.part.clone();
            let mut placed = Placed { name, part, layer, input: shape, output: shape };
            placed.output = limits::check_settings(&placed.layer)
                .and_then(|()| output_shape(&placed))
                .and_then(|output| limits::check_layer(&placed, output))
                .map_err(|reason| SpecError { layer: placed.name.clone(), reason })?;
            shape = placed.output;
            nodes.push(Segment::Layer(self.layers.len()));
            self.layers.push(placed);
        }
        Ok((nodes, shape))
    }

    /// Whether the layer called `name`, at `at` in its chain, may take in something else than what comes
    /// out of the layer before it.
    fn check_takes(&self, name: &str, at: usize) -> Result<(), SpecError> {
        let reason = match self.part {
            part if *part == Part::FEATURES => "the features take in images and nothing else",
            part if *part == Part::CLASSIFIER => {
                "the classifier takes in features and nothing else"
            }
            _ if at > 0 || !self.prefix.is_empty() => {
                "only the first layer of a head says what it takes in"
            }
            _ => return Ok(()),
        };
        Err(SpecError { layer: name.to_owned(), reason: reason.into() })
    }

    fn place_residual(
        &mut self,
        name: &str,
        body: &[Named],
        shortcut: &[Named],
        input: Chw,
    ) -> Result<(Segment, Chw), SpecError> {
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
        Ok((Segment::Residual { input, body, shortcut }, output))
    }

    fn place_parallel(
        &mut self,
        name: &str,
        branches: &[Vec<Named>],
        input: Chw,
    ) -> Result<(Segment, Chw), SpecError> {
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
        Ok((Segment::Parallel { input, branches: nodes, output }, output))
    }
}

/// The output shape of `placed.layer` for `placed.input`.
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
        Layer::Takes { values: 0 } => Err("a head takes in at least one value".into()),
        Layer::Takes { values } => Ok(vector(*values)),
        Layer::Dropout { p } | Layer::Dropout2d { p } if !(0.0..1.0).contains(p) => {
            Err(format!("dropout probability {p} is not in [0, 1)"))
        }
        _ => Ok(input),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::zoo::{self, ArchSettings};

    /// `lenet` with these layers as its head `part`.
    fn with_head(part: &Part, layers: &[Layer]) -> Result<Placement, SpecError> {
        let input = Chw { channels: 1, height: 28, width: 28 };
        let mut spec = (zoo::find("lenet").unwrap().build)(ArchSettings::new(input, 10));
        let named = |(at, layer): (usize, &Layer)| Named::new(format!("head.{at}"), layer.clone());
        spec.heads.insert(part.clone(), layers.iter().enumerate().map(named).collect());
        spec.place()
    }

    fn refusal(part: &Part, layers: &[Layer]) -> String {
        with_head(part, layers).unwrap_err().to_string()
    }

    const TAKES: Layer = Layer::Takes { values: 77 };
    const LINEAR: Layer = Layer::Linear { outputs: 2, bias: true };

    #[test]
    fn a_head_may_take_in_other_values_than_the_features() {
        let placement = with_head(&Part::DOMAIN, &[TAKES, LINEAR]).unwrap();
        let own: Vec<&Placed> =
            placement.layers.iter().filter(|it| it.part == Part::DOMAIN).collect();
        let vector = Chw { channels: 77, height: 1, width: 1 };
        assert_eq!((own[0].output, own[1].input), (vector, vector));
        assert_eq!(own[0].parameter_count(), 0);
        assert_eq!(own[1].parameters()[0].shape, [2, 77]);
        // The features are as they were.
        let features = placement.outputs[&Part::FEATURES];
        assert_eq!(own[0].input, features);
        assert_ne!(features.len(), 77);
    }

    #[test]
    fn only_the_first_layer_of_a_head_says_what_it_takes_in() {
        let only_first = "layer `head.1`: only the first layer of a head says what it takes in";
        assert_eq!(refusal(&Part::DOMAIN, &[Layer::Relu, TAKES, LINEAR]), only_first);
        let within = Layer::Parallel { branches: vec![vec![Named::new("0", TAKES)]] };
        assert_eq!(refusal(&Part::DOMAIN, &[within, LINEAR]), only_first.replace("1", "0.0"));
        assert_eq!(
            refusal(&Part::CLASSIFIER, &[TAKES, LINEAR]),
            "layer `head.0`: the classifier takes in features and nothing else"
        );
        let input = Chw { channels: 1, height: 28, width: 28 };
        let mut spec = (zoo::find("lenet").unwrap().build)(ArchSettings::new(input, 10));
        spec.features.insert(0, Named::new("features.takes", TAKES));
        assert_eq!(
            spec.place().unwrap_err().to_string(),
            "layer `features.takes`: the features take in images and nothing else"
        );
    }

    #[test]
    fn what_a_head_takes_in_is_bounded_on_both_sides() {
        let of = |values: usize| refusal(&Part::DOMAIN, &[Layer::Takes { values }, LINEAR]);
        assert_eq!(of(0), "layer `head.0`: a head takes in at least one value");
        assert!(of((1 << 24) + 1).contains("is too large"), "{}", of((1 << 24) + 1));
    }
}
