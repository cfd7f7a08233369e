//! What the layers of a network make of images, for every stage that looks at it. Knows no stage.

use super::inputs::{OpenedSplit, place_after};
use super::{Context, Failure, Halt};
use crate::nn::ops::Tensor;
use crate::nn::{EntryLayer, Model};
use crate::train::Inputs;

/// Images that go through a network at a time for their features; it changes no number.
pub(super) const BATCH: usize = 64;

/// Features, a row for each image.
pub(super) struct FeatureRows {
    /// `[N, width]`.
    pub(super) values: Vec<f32>,
    pub(super) width: usize,
}

/// The input of the classifier, or the output of `layer`, for the images at `indices`.
pub(super) fn rows(
    context: &Context,
    model: &mut Model,
    set: &OpenedSplit,
    layer: Option<&str>,
    indices: &[usize],
) -> Result<FeatureRows, Halt> {
    let entry = entry(model, layer)?;
    let mut values = Vec::with_capacity(indices.len() * model.entry_shape(entry).len());
    for indices in indices.chunks(BATCH) {
        context.check_cancelled()?;
        values.extend(through(model, set, entry, indices)?.host());
    }
    Ok(FeatureRows { values, width: model.entry_shape(entry).len() })
}

/// The place after `layer`, or before the classifier.
pub(super) fn entry(model: &Model, layer: Option<&str>) -> Result<EntryLayer, Failure> {
    match layer {
        Some(layer) => place_after(model, layer),
        // A network without layers before its classifier: that takes in the pixels.
        None => Ok(model.after("features").unwrap_or(EntryLayer::IMAGES)),
    }
}

/// The output of the layers before `entry` for the images at `indices`.
pub(super) fn through(
    model: &mut Model,
    set: &OpenedSplit,
    entry: EntryLayer,
    indices: &[usize],
) -> Result<Tensor, Failure> {
    let inputs = Inputs::new(model, &set.split().images, &set.dataset);
    let x =
        model.take_in(EntryLayer::IMAGES, inputs.batch(indices), indices.len()).map_err(failed)?;
    model.features_up_to(entry, &x).map_err(failed)
}

pub(super) fn failed(error: impl std::fmt::Debug) -> Failure {
    Failure::new(format!("the device failed: {error:?}"))
}
