//! The network that a training begins with: as far as it is known before anything ran, and for real.

use crate::nn::Backend;
use crate::nn::architecture::Architecture;
use crate::nn::geometry::Chw;
use crate::nn::placement::SpecError;
use crate::nn::spec::Layer;
use crate::nn::{Model, Saved, Spec, head};
use crate::stages::inputs::{OpenedSplit, differ_in_size};
use crate::stages::{Context, DatasetShape, Described, Failure, ModelShape, Problem};

/// Where the network comes from.
#[derive(Debug)]
pub(in crate::stages) enum ModelSource {
    /// Fresh weights.
    Fresh(Architecture),
    /// The model of the stage that `model` names, with a new classifier where `head` says so.
    Stage {
        /// Layers before the last one.
        head: Option<Vec<Layer>>,
    },
}

impl ModelSource {
    /// The network for images like those of `train`, as far as both are known.
    pub(super) fn describe(&self, inputs: &Described) -> Result<ModelShape, Problem> {
        let data = inputs.dataset("train");
        match self {
            Self::Stage { head: None } => Ok(inputs.model("model")),
            Self::Stage { head: Some(head) } => with_head(inputs.model("model"), head, &data),
            Self::Fresh(architecture) => {
                let spec = fresh(architecture, &data)?;
                Ok(ModelShape { spec, classes: data.names, ..ModelShape::unknown() })
            }
        }
    }

    /// The model that training begins with, and the names of parameters that did not come in.
    pub(super) fn open(
        &self,
        context: &Context,
        train: &OpenedSplit,
        seed: u64,
        ops: &Backend,
    ) -> Result<(Saved, Vec<String>), Failure> {
        let classes = train.dataset.classes.clone();
        let failure = |error: SpecError| Failure::new(error.to_string());
        let (model, new) = match self {
            Self::Stage { head } => {
                let old = Saved::open(&context.input("model").path, ops)?;
                let Some(head) = head else { return Ok((old, Vec::new())) };
                let (old, shape) = (old.model, train.shape());
                let (Some((height, width)), Some(classes)) = (shape.size, shape.classes) else {
                    return Err(differ_in_size("train"));
                };
                let input = Chw { channels: old.spec().input.channels, height, width };
                head::replace(&old, head, input, classes, seed).map_err(failure)?
            }
            Self::Fresh(architecture) => {
                let spec = fresh(architecture, &train.shape())
                    .map_err(Failure::from)?
                    .ok_or_else(|| differ_in_size("train"))?;
                let model = Model::new(spec, ops, seed).map_err(failure)?;
                let new = model.parameters().iter().map(|it| it.name.clone()).collect();
                (model, new)
            }
        };
        Ok((Saved { model, classes }, new))
    }
}

/// The network of an architecture for a data set, as far as the data set is known.
fn fresh(architecture: &Architecture, data: &DatasetShape) -> Result<Option<Spec>, Problem> {
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
fn with_head(
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
