//! `features`: what a layer of a network makes of a data set, as a data set that other stages train on.

use indexmap::IndexMap;

use super::inputs::{OpenedSplit, misfits, wrong_layer};
use super::layers::{BATCH, entry, failed, through};
use super::{
    Context, DatasetShape, Defaults, Described, Halt, Kind, Measures, Outcome, Problem, Product,
    Stage,
};
use crate::bytes::Collector;
use crate::config::{Keys, Noted, Wants};
use crate::data::{DataError, Dataset, Images, Provenance, Split};
use crate::nn::fuse::shape_after;
use crate::nn::weights::little_endian;
use crate::nn::{Backend, Saved, dispatch};
use crate::progress::Unit;

pub(super) const KIND: Kind = Kind {
    name: "features",
    about: "write what a layer of a network makes of a data set, as a data set",
    measures: Measures::Nothing,
    parse,
};

#[derive(Debug)]
struct LayerFeatures {
    /// `None` for what the classifier takes in.
    layer: Option<String>,
}

fn parse(keys: &mut Keys, _: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    keys.about(&[
        ("model", "network that the data set goes through, whatever its classes"),
        ("input", "data set whose splits, labels and classes stay"),
        ("layer", "layer whose output is written; the classifier's input when left out"),
    ]);
    let model = keys.reference("model", Wants::Model);
    let input = keys.reference("input", Wants::Dataset);
    let layer = keys.string("layer").optional();
    model?;
    input?;
    Ok(Box::new(LayerFeatures { layer: layer? }))
}

impl Stage for LayerFeatures {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        1
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        let (spec, input) = (inputs.model("model").spec, inputs.dataset("input"));
        let mut problems: Vec<Problem> =
            spec.iter().flat_map(|spec| misfits(spec, &input, "input")).collect();
        if let (Some(spec), Some(layer)) = (&spec, &self.layer) {
            problems.extend(wrong_layer(spec, layer, "layer"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let layer = self.layer.as_deref().unwrap_or("features");
        let width = spec.map(|spec| shape_after(&spec, layer).unwrap_or(spec.input).len());
        Ok(Product::Dataset(DatasetShape {
            channels: width,
            size: Some((1, 1)),
            features: true,
            ..input
        }))
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        dispatch::on(context.device, |ops| self.write(context, ops))
    }
}

impl LayerFeatures {
    fn write(&self, context: &Context, ops: &Backend) -> Result<Outcome, Halt> {
        let mut model = Saved::open(&context.input("model").path, ops)?.model;
        let set = context.dataset("input")?;
        let entry = entry(&model, self.layer.as_deref())?;
        let width = model.entry_shape(entry).len();
        let (mut splits, mut part) = (IndexMap::new(), None);
        for name in set.splits.keys() {
            let opened = OpenedSplit::of(set.clone(), name);
            opened.check(model.spec(), "input")?;
            part = part.or(opened.part(model.spec()));
            let count = opened.split().len();
            let mut rows =
                Collector::new(count * width * size_of::<f32>()).map_err(DataError::spilled)?;
            let phase = format!("features of {name}");
            context.progress.begin(&phase, Some(count as u64), Unit::Images);
            for indices in (0..count).collect::<Vec<_>>().chunks(BATCH) {
                context.check_cancelled()?;
                let found = through(&mut model, &opened, entry, indices)?.host();
                // What a device that failed gave is not kept.
                model.ops().submit().map_err(failed)?;
                rows.push(&little_endian(&found)).map_err(DataError::spilled)?;
                context.progress.advance(indices.len() as u64);
            }
            let rows = rows.finish().map_err(DataError::spilled)?;
            let labels = opened.split().labels.clone();
            let images = Images::features_of_bytes(width, rows);
            splits.insert(name.clone(), Split { images, labels });
        }
        let mut provenance = set.provenance;
        provenance.push(Provenance {
            title: "Features of a network".into(),
            licence: "that of the data set and of the network".into(),
            citation: String::new(),
            source: "computed".into(),
        });
        let features = Dataset::plain(set.classes, width, splits, provenance);
        let mut outcome = Outcome::of_dataset(&features, context)?;
        outcome.summary.extend(part.map(|part| format!(", of {part}")));
        Ok(outcome)
    }
}
