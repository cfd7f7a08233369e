//! The network that a training begins with: as far as it is known before anything ran, and for real.

use crate::nn::Backend;
use crate::nn::architecture::Architecture;
use crate::nn::geometry::Chw;
use crate::nn::heads::{NewHead, NewLayers};
use crate::nn::placement::SpecError;
use crate::nn::{Model, Part, Saved, Spec, head};
use crate::stages::inputs::{OpenedSplit, differ_in_size};
use crate::stages::{Context, DatasetShape, Described, Failure, ModelShape, Problem};
use crate::train::Method;

/// The images that a training learns from, and what is cut out of them.
#[derive(Debug)]
pub(super) struct CroppedImages {
    pub images: DatasetShape,
    /// The size of a crop that has one.
    pub crop: Option<(usize, usize)>,
}

impl CroppedImages {
    /// The images as a network sees them that is made for them, or of the network `old`: that goes on with the middle of
    /// images whose middle it took.
    pub(super) fn seen(&self, old: Option<&Spec>) -> DatasetShape {
        let middle =
            old.filter(|spec| spec.middle_of.is_some() && spec.middle_of == self.images.size);
        let middle = middle.map(|spec| (spec.input.height, spec.input.width));
        // Without the whole size it is not known what else a network takes.
        let size = self.images.size.map(|whole| self.crop.or(middle).unwrap_or(whole));
        DatasetShape { size, ..self.images.clone() }
    }
}

/// Where the network comes from.
#[derive(Debug)]
pub(in crate::stages) enum ModelSource {
    /// Fresh weights.
    Fresh(Architecture),
    /// The model of the stage that `model` names, with these layers made new.
    Stage(NewLayers),
}

/// The model that a training begins with.
pub(super) struct Begun {
    pub saved: Saved,
    /// The names of parameters that did not come in.
    pub new: Vec<String>,
    /// The height and width of images whose middle the network took that came in.
    pub middle_of: Option<(usize, usize)>,
}

impl ModelSource {
    /// The network for images like `data`, those of `train`, as far as both are known, with the classifier that came
    /// in beside a new one where the method wants that.
    pub(super) fn describe(
        &self,
        inputs: &Described,
        data: &CroppedImages,
        method: &dyn Method,
    ) -> Result<ModelShape, Problem> {
        match self {
            Self::Stage(new) if new.is_empty() => Ok(inputs.model("model")),
            Self::Stage(new) => {
                let old = inputs.model("model");
                let shape = renewed(old.clone(), new, &data.seen(old.spec.as_ref()))?;
                match method.needs().keeps_classifier_as {
                    Some(_) if new.bottleneck.is_some() => Err(kept_behind_a_bottleneck()),
                    Some(part) => with_old_classifier(shape, &old, part),
                    None => Ok(shape),
                }
            }
            Self::Fresh(architecture) => {
                let data = data.seen(None);
                Ok(match fresh(architecture, &data)? {
                    Some(spec) => ModelShape::fresh(spec, data.names),
                    None => ModelShape { classes: data.names, ..ModelShape::unknown() },
                })
            }
        }
    }

    /// The model that training begins with, for `train` and what is cut out of its images.
    pub(super) fn open(
        &self,
        context: &Context,
        train: Option<(&OpenedSplit, CroppedImages)>,
        method: &dyn Method,
        (seed, ops): (u64, &Backend),
    ) -> Result<Begun, Failure> {
        let failure = |error: SpecError| Failure::new(error.to_string());
        let mut middle_of = None;
        let ((model, new), train) = match self {
            Self::Stage(new) => {
                let saved = Saved::open(&context.input("model").path, ops)?;
                middle_of = saved.model.spec().middle_of;
                let Some(train) = train.filter(|_| !new.is_empty()) else {
                    return Ok(Begun { saved, new: Vec::new(), middle_of });
                };
                let (old, (train, images)) = (saved.model, train);
                let shape = images.seen(Some(old.spec()));
                let (Some((height, width)), Some(classes)) = (shape.size, shape.classes) else {
                    return Err(differ_in_size("train"));
                };
                let input = Chw { channels: old.spec().input.channels, height, width };
                let (mut model, new) =
                    head::replace(&old, new, input, classes, seed).map_err(failure)?;
                if let Some(part) = method.needs().keeps_classifier_as {
                    head::keep_classifier(&mut model, &old, part).map_err(failure)?;
                }
                ((model, new), train)
            }
            Self::Fresh(architecture) => {
                let (train, images) = train.expect("only labelled images train a new network");
                let spec = fresh(architecture, &images.seen(None))
                    .map_err(Failure::from)?
                    .ok_or_else(|| differ_in_size("train"))?;
                let model = Model::new(spec, ops, seed).map_err(failure)?;
                let new = model.parameters().iter().map(|it| it.name.clone()).collect();
                ((model, new), train)
            }
        };
        let classes = train.dataset.classes.clone();
        Ok(Begun { saved: Saved { model, classes }, new, middle_of })
    }

    /// The heads that a method wants a network of `spec` to have.
    ///
    /// # Errors
    /// When both this and the method say the layers of one.
    pub(super) fn heads(&self, method: &dyn Method, spec: &Spec) -> Result<Vec<NewHead>, Problem> {
        let heads = method.heads(spec);
        let Self::Fresh(Architecture { says_domain_head: true, .. }) = self else {
            return Ok(heads);
        };
        match heads.iter().find(|head| head.part == Part::DOMAIN).and_then(|it| it.written_at) {
            None => Ok(heads),
            Some(key) => {
                let message = "the layers of the domain classifier are given twice";
                Err(Problem::at(format!("method.{key}"), message)
                    .help("leave `domain_head` out here or in `model`"))
            }
        }
    }

    /// Gives a network that is known the heads that a method wants, as [`Model::add_head`] does it for
    /// real.
    pub(super) fn add_heads(
        &self,
        model: &mut ModelShape,
        method: &dyn Method,
    ) -> Result<(), Problem> {
        let Some(spec) = &mut model.spec else { return Ok(()) };
        for NewHead { part, layers, logits, written_at } in self.heads(method, spec)? {
            let is_there = model.heads.contains(&part) && spec.part(&part) == layers;
            if is_there && written_at.is_none() {
                continue;
            }
            *spec = spec.with_layers_of(&part, layers, logits).map_err(|error| {
                let key = written_at.map_or("method".to_owned(), |key| format!("method.{key}"));
                Problem::at(key, format!("the network cannot have this head: {error}"))
            })?;
            let fresh = spec.names_of(&part);
            model.frozen.retain(|name| !fresh.contains(name));
            if !model.heads.contains(&part) {
                model.heads.push(part);
            }
        }
        Ok(())
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
    if let Some(what) = architecture.wants_images().filter(|_| data.features) {
        let message = format!("{what} is for images, and `train` holds features");
        return Err(Problem::at("model", message)
            .help("list the layers of a perceptron: `model = { layers = [100, \"relu\"] }`"));
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

/// Why the classifier that comes in is of no use where what it takes in is made new.
fn kept_behind_a_bottleneck() -> Problem {
    let message = "this method goes on with the classifier that comes in, which a new bottleneck \
                   would leave nothing that it knows";
    Problem::at("bottleneck", message).help("leave `bottleneck` out")
}

/// A network with the classifier that came in with `old` as the head `part`, as far as both are known.
fn with_old_classifier(
    shape: ModelShape,
    old: &ModelShape,
    part: &Part,
) -> Result<ModelShape, Problem> {
    let (Some(spec), Some(old_spec)) = (&shape.spec, &old.spec) else { return Ok(shape) };
    let spec = spec.with_classifier_of(old_spec, part).map_err(|error| {
        Problem::at("head", format!("the classifier that comes in cannot be kept: {error}"))
    })?;
    let ModelShape { classes, mut heads, mut frozen, .. } = shape;
    let (names, old_names) = (spec.names_of(part), old_spec.names_of(&Part::CLASSIFIER));
    frozen.retain(|name| !names.contains(name));
    let stays = names.into_iter().zip(old_names).filter(|(_, it)| old.frozen.contains(it));
    frozen.extend(stays.map(|(name, _)| name));
    if !heads.contains(part) {
        heads.push(part.clone());
    }
    Ok(ModelShape { spec: Some(spec), classes, heads, frozen })
}

/// The size of images that a network takes for which those of `input` are too small. Other networks do
/// not fit images of any size.
fn large_enough(architecture: &Architecture, input: Chw, classes: usize) -> Option<(usize, usize)> {
    let doubled = |times: usize| (input.height << times, input.width << times);
    (1..=5).map(doubled).find(|(height, width)| {
        architecture.build(Chw { height: *height, width: *width, ..input }, classes).is_ok()
    })
}

/// A network with new layers for a data set, as far as both are known.
fn renewed(model: ModelShape, new: &NewLayers, data: &DatasetShape) -> Result<ModelShape, Problem> {
    let ModelShape { spec, heads, frozen, .. } = model;
    let names = data.names.clone();
    let (Some(spec), Some((height, width)), Some(classes)) = (spec, data.size, data.classes) else {
        return Ok(ModelShape { spec: None, classes: names, heads, frozen });
    };
    // Other channels are said to be wrong where images and network are compared.
    let input = Chw { channels: spec.input.channels, height, width };
    let (spec, fresh) = spec.renewed(new, input, classes);
    spec.place().map_err(|error| {
        let within = |part: &str| error.layer.starts_with(part);
        let key = match &new.head {
            Some(_) if !(new.bottleneck.is_some() && within("bottleneck.")) => "head",
            _ => "bottleneck",
        };
        Problem::at(key, format!("{input} images do not fit the network: {error}"))
    })?;
    let is_fresh = |name: &String| fresh.iter().any(|prefix| name.starts_with(prefix));
    let frozen = frozen.into_iter().filter(|name| !is_fresh(name)).collect();
    Ok(ModelShape { spec: Some(spec), classes: names, heads, frozen })
}
