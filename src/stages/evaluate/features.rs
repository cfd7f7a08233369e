//! The output of a layer for images, in a file.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use crate::bytes::Collector;
use crate::nn::Model;
use crate::nn::ops::argmax;
use crate::nn::weights::little_endian;
use crate::progress::Unit;
use crate::stages::inputs::{OpenedSplit, place_after};
use crate::stages::layers::{BATCH, failed, through};
use crate::stages::{Context, Failure, Halt};

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
