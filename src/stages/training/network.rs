//! The network that a training begins with: as far as it is known before anything ran, and for real.

use crate::nn::Spec;
use crate::nn::architecture::Architecture;
use crate::nn::geometry::Chw;
use crate::nn::spec::Layer;
use crate::stages::{DatasetShape, ModelShape, Problem};

/// Where the network comes from.
#[derive(Debug)]
pub(in crate::stages) enum Start {
    /// Fresh weights.
    Fresh(Architecture),
    /// The model of the stage that `model` names, with a new classifier where `head` says so.
    Stage {
        /// Layers before the last one.
        head: Option<Vec<Layer>>,
    },
}

/// The network of an architecture for a data set, as far as the data set is known.
pub(super) fn fresh(
    architecture: &Architecture,
    data: &DatasetShape,
) -> Result<Option<Spec>, Problem> {
    if let (Some(wanted), Some(found)) = (architecture.classes, data.classes)
        && wanted != found
    {
        return Err(Problem::at(
            "model.classes",
            format!("the model has {wanted} classes, the data set of `train` has {found}"),
        )
        .help(format!(
            "write `classes = {found}`, or leave it out to take the data set's number"
        )));
    }
    let (Some(channels), Some((height, width)), Some(classes)) =
        (data.channels, data.size, data.classes)
    else {
        return Ok(None);
    };
    let input = Chw { channels, height, width };
    architecture.build(input, classes).map(Some).map_err(|reason| {
        let problem = Problem::at("model", reason);
        match architecture.channels().filter(|wanted| *wanted != channels) {
            Some(3) if channels == 1 => {
                problem.help("a `normalize` stage with `channels = 3` repeats gray images to RGB")
            }
            Some(wanted) => problem
                .help(format!("a `normalize` stage with `channels = {wanted}` converts them")),
            None => match large_enough(architecture, input, classes) {
                Some((h, w)) => problem.help(format!(
                    "a `normalize` stage with `resize = [{h}, {w}]` changes the size"
                )),
                None => problem,
            },
        }
    })
}

/// The size of images that a network takes for which those of `input` are too small. Other networks do
/// not fit images of any size.
fn large_enough(architecture: &Architecture, input: Chw, classes: usize) -> Option<(usize, usize)> {
    let doubled = |times: usize| (input.height << times, input.width << times);
    (1..=5).map(doubled).find(|(height, width)| {
        architecture.build(Chw { height: *height, width: *width, ..input }, classes).is_ok()
    })
}

/// A network with a new classifier for a data set, as far as both are known.
pub(super) fn with_head(
    model: ModelShape,
    head: &[Layer],
    data: &DatasetShape,
) -> Result<ModelShape, Problem> {
    let ModelShape { spec, adversarial, frozen, .. } = model;
    let names = data.names.clone();
    let (Some(spec), Some((height, width)), Some(classes)) = (spec, data.size, data.classes) else {
        return Ok(ModelShape { spec: None, classes: names, adversarial, frozen });
    };
    // Other channels are said to be wrong where images and network are compared.
    let input = Chw { channels: spec.input.channels, height, width };
    let (spec, fresh) = spec.with_head(head, input, classes);
    let wrong = |reason: String| Problem::at("head", reason);
    spec.place()
        .map_err(|error| wrong(format!("{input} images do not fit the network: {error}")))?;
    let frozen = frozen.into_iter().filter(|name| !name.starts_with(&fresh)).collect();
    Ok(ModelShape { spec: Some(spec), classes: names, adversarial, frozen })
}
