//! Learning rates that fall from layer to layer on the way from the heads to the images, so that what is
//! general moves least (Howard and Ruder 2018, "Universal Language Model Fine-tuning for Text Classification";
//! Clark, Luong, Le and Manning 2020, "ELECTRA", as a factor):
//!
//! lr_l = lr xi^(L - l)
//!
//! where the heads are layer L and the layer next to the images is layer 1. Moves nothing itself.
//!
//! A layer is a top-level block, by the first word of its parameters' names: `conv1`, `layer1` to `layer4`
//! and `bottleneck` of a ResNet. Where that word is `features`, the second one counts too: `features.0`,
//! `features.conv1`. A block of batch norm alone belongs to the layer before it. All heads are one layer,
//! whatever layers they have. A block that is new as a whole, as a fresh bottleneck, belongs to them.

use crate::nn::model::Parameter;
use crate::nn::{Model, Part};

/// A layer of the features.
#[derive(Debug, PartialEq)]
struct DecayLayer<'m> {
    /// Its name, and those of blocks of batch norm that belong to it.
    names: Vec<&'m str>,
    /// The places of its parameters in the network.
    parameters: Vec<usize>,
    /// Whether every parameter is a vector, as those of batch norm are.
    is_norm: bool,
}

/// The factor xi^(L - l) on the learning rate of each parameter of `model`; whether a parameter learns does not
/// matter. Those named in `new` did not come in with it.
pub(super) fn factors(decay: f64, model: &Model, new: &[String]) -> Vec<f64> {
    let mut factors = vec![1.0; model.parameters().len()];
    for (layer, factor) in with_factors(decay, model, new) {
        layer.parameters.iter().for_each(|at| factors[*at] = factor);
    }
    factors
}

/// The factor of every layer, for people: `heads 1, layer4 0.75, layer3 0.5625`.
pub(super) fn shown(decay: f64, model: &Model, new: &[String]) -> String {
    let of_layer = |(layer, factor): (DecayLayer, f64)| {
        let name = layer.names[0];
        if factor < 1e-3 {
            return format!(", {name} {factor:.1e}");
        }
        format!(", {name} {}", format!("{factor:.4}").trim_end_matches('0').trim_end_matches('.'))
    };
    let of_layers: String = with_factors(decay, model, new).map(of_layer).collect();
    format!("heads 1{of_layers}")
}

/// The layers of the features from the heads to the images, each with its factor.
fn with_factors<'m>(
    decay: f64,
    model: &'m Model,
    new: &[String],
) -> impl Iterator<Item = (DecayLayer<'m>, f64)> {
    let factors = std::iter::successors(Some(decay), move |factor| Some(factor * decay));
    layers(model.parameters(), new).into_iter().rev().zip(factors)
}

/// The layers of the features, from the images to the heads, but for blocks of `new` parameters alone.
fn layers<'m>(parameters: &'m [Parameter], new: &[String]) -> Vec<DecayLayer<'m>> {
    let mut blocks: Vec<DecayLayer> = Vec::new();
    let features = parameters.iter().enumerate().filter(|(_, it)| it.part == Part::FEATURES);
    for (at, parameter) in features {
        let (name, is_vector) = (block(&parameter.name), parameter.shape.len() == 1);
        match blocks.iter_mut().find(|block| block.names[0] == name) {
            Some(block) => {
                block.parameters.push(at);
                block.is_norm &= is_vector;
            }
            None => blocks.push(DecayLayer {
                names: vec![name],
                parameters: vec![at],
                is_norm: is_vector,
            }),
        }
    }
    let is_new = |at: &usize| new.contains(&parameters[*at].name);
    blocks.retain(|block| !block.parameters.iter().all(is_new));
    let mut layers: Vec<DecayLayer> = Vec::new();
    for block in blocks {
        match layers.last_mut() {
            Some(before) if block.is_norm => {
                before.names.extend(block.names);
                before.parameters.extend(block.parameters);
            }
            _ => layers.push(block),
        }
    }
    layers
}

/// The name of the block that a parameter is in.
fn block(name: &str) -> &str {
    let words = if name.starts_with("features.") { 2 } else { 1 };
    name.match_indices('.').nth(words - 1).map_or(name, |(at, _)| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::geometry::Chw;
    use crate::nn::ops::CpuOps;
    use crate::nn::zoo::{self, ArchSettings};

    fn model(arch: &str) -> Model {
        let input = Chw { channels: 3, height: 32, width: 32 };
        let layout = ArchSettings { small_input: true, ..ArchSettings::new(input, 7) };
        let spec = (zoo::find(arch).unwrap().build)(layout);
        Model::new(spec, &CpuOps::shared(), 0).unwrap()
    }

    fn names(model: &Model) -> Vec<Vec<&str>> {
        layers(model.parameters(), &[]).into_iter().map(|it| it.names).collect()
    }

    #[test]
    fn a_layer_is_a_top_level_block_with_the_batch_norm_after_it() {
        let resnet = model("resnet18");
        let expected: [&[&str]; 5] =
            [&["conv1", "bn1"], &["layer1"], &["layer2"], &["layer3"], &["layer4"]];
        assert_eq!(names(&resnet), expected);
        let dacnn = model("dacnn");
        let expected = [["features.conv1", "features.bn1"], ["features.conv2", "features.bn2"]];
        assert_eq!(names(&dacnn), expected);
        let mobilenet = model("mobilenet_v2");
        let found = names(&mobilenet);
        assert_eq!(found.len(), 19);
        assert_eq!((&found[0][..], &found[18][..]), (&["features.0"][..], &["features.18"][..]));
    }

    #[test]
    fn each_layer_learns_by_the_factor_less_than_the_one_after_it() {
        let model = model("resnet18");
        let found = factors(0.5, &model, &[]);
        let of = |name: &str| {
            let at = model.parameters().iter().position(|it| it.name == name).unwrap();
            found[at]
        };
        assert_eq!(of("fc.weight"), 1.0);
        assert_eq!((of("layer4.1.bn2.bias"), of("layer4.0.conv1.weight")), (0.5, 0.5));
        assert_eq!(of("layer3.0.downsample.1.weight"), 0.25);
        // The batch norm of the stem learns as its convolution does.
        assert_eq!((of("bn1.weight"), of("conv1.weight")), (0.03125, 0.03125));
        assert_eq!(factors(1.0, &model, &[]), vec![1.0; found.len()]);
        assert_eq!(
            shown(0.75, &model, &[]),
            "heads 1, layer4 0.75, layer3 0.5625, layer2 0.4219, layer1 0.3164, conv1 0.2373"
        );
        let steep = shown(0.1, &model, &[]);
        assert!(steep.ends_with(", layer1 1.0e-4, conv1 1.0e-5"), "{steep}");
    }

    #[test]
    fn a_block_that_is_new_as_a_whole_learns_as_the_heads_do() {
        let model = model("resnet18");
        let of_last = |it: &&Parameter| it.name.starts_with("layer4.");
        let mut new: Vec<String> =
            model.parameters().iter().filter(of_last).map(|it| it.name.clone()).collect();
        let of = |new: &[String], name: &str| {
            let at = model.parameters().iter().position(|it| it.name == name).unwrap();
            factors(0.5, &model, new)[at]
        };
        let (last, before) = ("layer4.0.conv1.weight", "layer3.0.conv1.weight");
        assert_eq!((of(&new, last), of(&new, before)), (1.0, 0.5));
        assert!(shown(0.5, &model, &new).starts_with("heads 1, layer3 0.5, layer2 0.25,"));
        new.pop();
        assert_eq!((of(&new, last), of(&new, before)), (0.5, 0.25));
    }

    #[test]
    fn the_source_s_batch_norm_belongs_to_the_layer_that_it_normalises() {
        let mut model = model("dacnn");
        let new = model.split_norms().unwrap();
        let found = factors(0.5, &model, &new);
        for (parameter, factor) in model.parameters().iter().zip(found) {
            let expected = match parameter.name.as_str() {
                name if !name.starts_with("features.") => 1.0,
                name if name.contains("1.") => 0.25,
                _ => 0.5,
            };
            assert_eq!(factor, expected, "{} of {new:?}", parameter.name);
        }
    }

    #[test]
    fn a_network_that_begins_with_batch_norm_has_it_as_its_first_layer() {
        assert_eq!(block("bottleneck.0.weight"), "bottleneck");
        assert_eq!(block("features.3.squeeze.weight"), "features.3");
        let model = model("dacnn");
        let norm_first = [&model.parameters()[2..4], &model.parameters()[..2]].concat();
        let found = layers(&norm_first, &[]);
        let found: Vec<_> = found.iter().map(|it| it.names.clone()).collect();
        assert_eq!(found, [["features.bn1"], ["features.conv1"]]);
    }
}
