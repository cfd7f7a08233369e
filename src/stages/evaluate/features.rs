//! The output of a layer for images: for files, and for the metrics that look at features.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use crate::bytes::Collector;
use crate::nn::ops::{Tensor, argmax};
use crate::nn::weights::little_endian;
use crate::nn::{EntryLayer, Model};
use crate::progress::Unit;
use crate::stages::inputs::{OpenedSplit, place_after};
use crate::stages::{Context, Failure, Halt};
use crate::train::Inputs;

/// Images that go through a network at a time for their features; it changes no number.
const BATCH: usize = 64;

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
    let entry = match layer {
        Some(layer) => place_after(model, layer)?,
        // A network without layers before its classifier: that takes in the pixels.
        None => model.after("features").unwrap_or(EntryLayer::IMAGES),
    };
    let mut values = Vec::with_capacity(indices.len() * model.entry_shape(entry).len());
    for indices in indices.chunks(BATCH) {
        context.check_cancelled()?;
        values.extend(through(model, set, entry, indices)?.host());
    }
    Ok(FeatureRows { values, width: model.entry_shape(entry).len() })
}

/// The output of the layers before `entry` for the images at `indices`.
fn through(
    model: &mut Model,
    set: &OpenedSplit,
    entry: EntryLayer,
    indices: &[usize],
) -> Result<Tensor, Failure> {
    let inputs = Inputs::new(model.ops(), &set.split().images, &set.dataset);
    let x =
        model.take_in(EntryLayer::IMAGES, inputs.batch(indices), indices.len()).map_err(failed)?;
    model.features_up_to(entry, &x).map_err(failed)
}

fn failed(error: impl std::fmt::Debug) -> Failure {
    Failure::new(format!("the device failed: {error:?}"))
}

/// Writes the output of `layer` for every image of a split, with labels and answers: `features`
/// (f32, `[N, C, H, W]`), `labels` and `predictions` (i64, `[N]`).
pub(super) fn write(
    context: &Context,
    model: &mut Model,
    set: &OpenedSplit,
    layer: &str,
    path: &Path,
) -> Result<(), Halt> {
    let entry = place_after(model, layer)?;
    let shape = model.entry_shape(entry);
    let split = set.split();
    let spilled = |error| Halt::from(crate::data::DataError::spilled(error));
    let count = split.len();
    let mut rows = Collector::new(count * shape.len() * size_of::<f32>()).map_err(spilled)?;
    let mut predictions = Vec::with_capacity(count * size_of::<i64>());
    context.progress.begin(&format!("features after {layer}"), Some(count as u64), Unit::Images);
    let all: Vec<usize> = (0..count).collect();
    for indices in all.chunks(BATCH) {
        context.check_cancelled()?;
        let found = through(model, set, entry, indices)?;
        rows.push(&little_endian(&found.host())).map_err(spilled)?;
        let logits = model.logits_from(entry, &found).map_err(failed)?.host();
        for row in logits.chunks_exact(model.spec().classes) {
            let class = i64::try_from(argmax(row)).unwrap_or(i64::MAX);
            predictions.extend(class.to_le_bytes());
        }
        context.progress.advance(indices.len() as u64);
    }
    let rows = rows.finish().map_err(spilled)?;
    let labels: Vec<u8> =
        split.labels.iter().flat_map(|label| i64::from(*label).to_le_bytes()).collect();
    let view = |kind, shape, bytes| TensorView::new(kind, shape, bytes).expect("whole rows");
    let dimensions = vec![count, shape.channels, shape.height, shape.width];
    let tensors = [
        ("features", view(Dtype::F32, dimensions, &*rows)),
        ("labels", view(Dtype::I64, vec![count], &labels)),
        ("predictions", view(Dtype::I64, vec![count], &predictions)),
    ];
    safetensors::serialize_to_file(tensors, None, path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())).into())
}
