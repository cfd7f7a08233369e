//! `visualize`: pictures of a model: the filters of its first convolution, and what its layers make of
//! chosen images.

use super::inputs::{misfits, open, place_after, without_pixels, wrong_layer};
use super::{
    Context, Defaults, Described, Failure, Halt, Kind, Measures, Outcome, Problem, Product, Stage,
};
use crate::config::{Keys, Noted, Wants};
use crate::data::picture::Tiles;
use crate::metrics::{Metrics, ModelRow};
use crate::nn::Backend;
use crate::nn::dispatch;
use crate::nn::fuse::outlets;
use crate::nn::ops::{Dims, OpError};
use crate::nn::spec::Layer;
use crate::nn::{Model, Saved};
use crate::progress::Unit;
use crate::train::Inputs;

pub(super) const KIND: Kind = Kind {
    name: "visualize",
    about: "draw a model's filters and what its layers make of images",
    measures: Measures::Nothing,
    parse,
};

/// What it does, for those who give it something else.
const DRAWS: &str = "`visualize` draws images";

#[derive(Debug)]
struct Visualize {
    /// Places in the split.
    indices: Vec<usize>,
    /// Names of layers; empty for all that give maps.
    layers: Vec<String>,
    /// Maps of a layer that are drawn.
    maps: usize,
}

fn parse(keys: &mut Keys, _: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    keys.about(&[
        ("model", "network to look into"),
        ("images", "images to show it"),
        ("indices", "places of the images in the split, from 0"),
        ("layers", "layers whose maps are drawn; all that have maps when left out"),
        ("maps", "maps drawn of each layer, at most"),
    ]);
    let model = keys.reference("model", Wants::Model);
    let images = keys.reference("images", Wants::Split("test"));
    let indices = keys
        .counts("indices")
        .such_that("an array of at least one place in the split, from 0", |it| !it.is_empty())
        .or(vec![0_usize, 1, 2, 3]);
    let layers = keys.strings("layers").or(Vec::new());
    let maps = keys.count("maps", 1..=4096).or(64_usize);
    model?;
    images?;
    Ok(Box::new(Visualize { indices: indices?, layers: layers?, maps: maps? }))
}

impl Stage for Visualize {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        1
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        let mut problems = Vec::new();
        let images = inputs.dataset("images");
        problems.extend(without_pixels(&images, "images", DRAWS));
        if let Some(spec) = inputs.model("model").spec {
            problems.extend(misfits(&spec, &images, "images"));
            for (at, layer) in self.layers.iter().enumerate() {
                problems.extend(wrong_layer(&spec, layer, &format!("layers.{at}")));
            }
        }
        let split = inputs.split("images").unwrap_or_default();
        let count = images.splits.and_then(|splits| splits.get(split).copied().flatten());
        for (at, index) in self.indices.iter().enumerate() {
            if let Some(count) = count
                && *index >= count
            {
                let message = format!("there are only {count} images");
                problems.push(Problem::at(format!("indices.{at}"), message));
            }
        }
        if problems.is_empty() { Ok(Product::Pictures) } else { Err(problems) }
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        let run = DrawingRun { stage: self, context };
        dispatch::on(context.device, |ops| run.run(ops))
    }
}

struct DrawingRun<'a> {
    stage: &'a Visualize,
    context: &'a Context<'a>,
}

impl DrawingRun<'_> {
    fn run(self, ops: &Backend) -> Result<Outcome, Halt> {
        let Self { stage, context } = self;
        let mut model = Saved::open(&context.input("model").path, ops)?.model;
        let set = open(context, "images")?;
        if let Some(problem) = without_pixels(&set.shape(), "images", DRAWS) {
            return Err(problem.into());
        }
        set.check(model.spec(), "images")?;
        let count = set.split().len();
        if let Some(index) = stage.indices.iter().find(|index| **index >= count) {
            return Err(Failure::new(format!("image {index} of only {count}")).into());
        }
        let mut rows = Vec::new();
        let mut pictures = 0;
        if let Some(filters) = filters(&model) {
            filters.save(8, &context.out.join("filters.png"))?;
            pictures += 1;
        }
        let known = outlets(model.spec()).map_err(|error| Failure::new(error.to_string()))?;
        let wanted = if stage.layers.is_empty() { &known } else { &stage.layers };
        context.progress.begin("draw", Some(stage.indices.len() as u64), Unit::Images);
        for index in &stage.indices {
            context.check_cancelled()?;
            let (normalisation, images) = (set.dataset.normalisation(), &set.split().images);
            let values = Inputs::new(&model, images, normalisation).values(&[*index], &[]);
            let input = model.spec().input;
            let tiles = Tiles {
                channels: input.channels,
                height: input.height,
                width: input.width,
                values: values.clone(),
            };
            tiles.save(2, &context.out.join(format!("{index}.png")))?;
            pictures += 1;
            for layer in wanted {
                let entry = place_after(&model, layer)?;
                let shape = model.entry_shape(entry);
                if shape.area() == 1 && stage.layers.is_empty() {
                    continue;
                }
                let failed = |error: OpError| Failure::new(error.to_string());
                let dims = Dims::Rows(1, values.len());
                let x = model.ops().tensor(values.clone(), dims).map_err(failed)?;
                let mut maps = model.features_up_to(entry, &x).map_err(failed)?.host();
                let drawn = stage.maps.min(shape.channels);
                maps.truncate(drawn * shape.area());
                let (smallest, largest) =
                    maps.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), it| {
                        (a.min(*it), b.max(*it))
                    });
                for (metric, value) in [("smallest", smallest), ("largest", largest)] {
                    let (layer, metric) = (format!("{index} {layer}"), metric.to_owned());
                    rows.push(ModelRow { layer, metric, value: f64::from(value) });
                }
                let (height, width) = (shape.height, shape.width);
                let tiles = Tiles { channels: 1, height, width, values: maps };
                let scale = (56 / height.max(width)).clamp(1, 8);
                tiles.save(scale, &context.out.join(format!("{index}-{layer}.png")))?;
                pictures += 1;
            }
            context.progress.advance(1);
        }
        let part = set.part(model.spec()).map(|part| format!(", of {part}"));
        let summary = format!("{pictures} pictures{}", part.unwrap_or_default());
        let (metrics, summary) = (Metrics::Layers(rows), summary);
        Ok(Outcome { metrics, summary, ..Outcome::default() })
    }
}

/// The filters of the first convolution: in colours where it takes three channels, else their mean
/// over the channels.
fn filters(model: &Model) -> Option<Tiles> {
    let placement = model.spec().place().ok()?;
    let first = placement.layers.iter().find(|it| matches!(it.layer, Layer::Conv2d { .. }))?;
    let name = format!("{}.weight", first.name);
    let weight = model.parameters().iter().find(|parameter| parameter.name == name)?;
    let [_, channels, height, width] = weight.shape[..] else { return None };
    let values = weight.value.host();
    if matches!(channels, 1 | 3) {
        return Some(Tiles { channels, height, width, values });
    }
    let area = height * width;
    #[expect(clippy::cast_precision_loss, reason = "a few channels")]
    let mean = |filter: &[f32]| -> Vec<f32> {
        (0..area)
            .map(|at| filter.iter().skip(at).step_by(area).sum::<f32>() / channels as f32)
            .collect()
    };
    let values = values.chunks_exact(channels * area).flat_map(mean).collect();
    Some(Tiles { channels: 1, height, width, values })
}
