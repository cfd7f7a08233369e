//! What stages do with the data sets and models that they are given: open them, and say where they do
//! not fit each other. Knows no stage.

use super::classes::{Uses, clash, named, renumber};
use super::{Context, DatasetShape, Failure, Halt, Problem};
use crate::data::classes::Matched;
use crate::data::{Dataset, Split, Unlabelled};
use crate::nn::fuse::{self, outlets};
use crate::nn::geometry::Chw;
use crate::nn::{EntryLayer, Model, Spec};

/// Why the classes of a data set are not among those of a model, as far as both are known.
pub(super) fn unlike_classes(
    (spec, known): (Option<&Spec>, Option<&[String]>),
    data: &DatasetShape,
    key: &str,
    uses: Uses,
) -> Option<Problem> {
    if let (Some(known), Some(found)) = (known, &data.names) {
        return clash(key, known, (found, &data.empty), uses);
    }
    let (spec, found) = (spec?, data.classes?);
    (uses == Uses::Labels && found > spec.classes).then(|| {
        let message = format!("the model has {} classes, this data set has {found}", spec.classes);
        Problem::at(key, message)
    })
}

/// Where images do not fit a network.
pub(super) fn misfits(spec: &Spec, data: &DatasetShape, key: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let input = spec.input;
    if let Some(width) = data.channels.filter(|_| data.features) {
        let wanted = Chw { channels: width, height: 1, width: 1 };
        if input != wanted {
            let message = match input {
                Chw { channels, height: 1, width: 1 } => {
                    format!("the model takes {channels} features, these rows have {width}")
                }
                _ => format!("the model takes {input} images, these are rows of {width} features"),
            };
            problems.push(Problem::at(key, message));
        }
        return problems;
    }
    // Images of one pixel are all that a network of features could take for such.
    if (input.height, input.width) == (1, 1) && data.size.is_some_and(|size| size != (1, 1)) {
        let message = format!("the model takes {} features, these are images", input.channels);
        return vec![Problem::at(key, message)];
    }
    if let Some(channels) = data.channels
        && channels != input.channels
    {
        problems.push(
            Problem::at(
                key,
                format!(
                    "the model takes {} channels, these images have {channels}",
                    input.channels
                ),
            )
            .help(format!(
                "a `normalize` stage with `channels = {}` converts them",
                input.channels
            )),
        );
    }
    if let Some((height, width)) = data.size
        && (height, width) != (input.height, input.width)
        && spec.middle_of != data.size
    {
        let (h, w) = (input.height, input.width);
        let takes = match spec.middle_of {
            None => format!("the model takes {h}x{w} images"),
            Some((rows, columns)) => {
                format!("the model takes {h}x{w} images, or the middle of {rows}x{columns} ones")
            }
        };
        let (h, w) = spec.middle_of.unwrap_or((h, w));
        problems.push(
            Problem::at(key, format!("{takes}, these are {height}x{width}"))
                .help(format!("a `normalize` stage with `resize = [{h}, {w}]` changes the size")),
        );
    }
    problems
}

/// Why a stage that looks at pixels can do nothing with the data set at `key`, as far as it is known to hold features.
pub(super) fn without_pixels(data: &DatasetShape, key: &str, does: &str) -> Option<Problem> {
    data.features.then(|| {
        let message = format!("{does}, and the data set holds features");
        Problem::at(key, message).help("name a data set of images")
    })
}

/// A split with the data set that it is from.
#[derive(Clone)]
pub(super) struct OpenedSplit {
    pub(super) dataset: Dataset,
    split: String,
}

impl OpenedSplit {
    /// The split `split` of a data set that has it.
    pub(super) fn of(dataset: Dataset, split: &str) -> Self {
        Self { dataset, split: split.to_owned() }
    }

    pub(super) fn split(&self) -> &Split {
        &self.dataset.splits[&self.split]
    }

    /// Its images without their labels.
    pub(super) fn unlabelled(&self) -> Unlabelled<'_> {
        self.split().unlabelled(&self.dataset)
    }

    /// In words, what part of its images a network takes, where that is not all of them.
    pub(super) fn part(&self, spec: &Spec) -> Option<String> {
        let (height, width) = spec.middle_of.filter(|_| self.shape().size == spec.middle_of)?;
        let (h, w) = (spec.input.height, spec.input.width);
        Some(format!("the middle {h}x{w} of images of {height}x{width}"))
    }

    /// What is known now that it was read.
    pub(super) fn shape(&self) -> DatasetShape {
        DatasetShape {
            splits: None,
            channels: Some(self.split().images.channels),
            size: self.split().images.size(),
            features: self.split().images.is_features(),
            classes: Some(self.dataset.classes.len()),
            names: Some(self.dataset.classes.clone()),
            empty: self.dataset.empty_classes(),
        }
    }

    /// Gives the labels the numbers that a model with the classes `known` has for them.
    pub(super) fn renumber(&mut self, key: &str, known: &[String]) -> Result<Matched, Failure> {
        renumber(&mut self.dataset, &self.split, key, known)
    }

    /// Fails where the images do not fit the network: for what was not known before they were read.
    pub(super) fn check(&self, spec: &Spec, key: &str) -> Result<(), Failure> {
        let shape = self.shape();
        if shape.size.is_none() {
            return Err(differ_in_size(key));
        }
        match misfits(spec, &shape, key).into_iter().next() {
            None => Ok(()),
            Some(problem) => Err(named(problem, key)),
        }
    }
}

/// Reads the data set at `key` and finds the split that the reference named.
pub(super) fn open(context: &Context, key: &str) -> Result<OpenedSplit, Halt> {
    let dataset = context.dataset(key)?;
    let split = context.input(key).split.clone().unwrap_or_default();
    if !dataset.splits.contains_key(&split) {
        // Whoever plans a run compares the splits of every data set before the stages that read it are begun.
        let message = format!("`{key}` names the split `{split}`, which is not there");
        return Err(Failure::new(message).into());
    }
    Ok(OpenedSplit { dataset, split })
}

pub(super) fn differ_in_size(key: &str) -> Failure {
    Failure::new(format!("the images of `{key}` differ in size"))
        .help("a `normalize` stage with `resize = [height, width]` makes them alike")
}

/// What is wrong with the name of a layer that is to be looked at.
pub(super) fn wrong_layer(spec: &Spec, name: &str, key: &str) -> Option<Problem> {
    let known = outlets(spec).ok()?;
    if fuse::after(&known, name).is_some() {
        return None;
    }
    let mut names: Vec<&str> = known.iter().map(String::as_str).collect();
    names.push("features");
    let near = crate::config::diagnostic::suggest(name, names.iter().copied());
    let mut problem = Problem::at(key, format!("the model has no place after a layer `{name}`"));
    problem.help.extend(near);
    Some(problem)
}

/// The place after the layers called `name`.
pub(super) fn place_after(model: &Model, name: &str) -> Result<EntryLayer, Failure> {
    match wrong_layer(model.spec(), name, "") {
        Some(problem) => Err(problem.into()),
        None => model.after(name).ok_or_else(|| Failure::new(format!("no layer `{name}`"))),
    }
}
