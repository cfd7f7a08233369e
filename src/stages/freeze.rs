//! `freeze`: says which parameters of a model learn from here on. It changes no weight.

use std::collections::BTreeMap;

use super::{
    Context, Defaults, Described, Failure, Halt, Kind, Measures, ModelShape, Outcome, Problem,
    Product, Stage,
};
use crate::config::{Keys, Noted, Wants};
use crate::metrics::{Metrics, ModelRow};
use crate::nn::freeze::{apply, counts, names, turn};
use crate::nn::ops::CpuOps;
use crate::nn::{FrozenBatchNorm, Saved};

pub(super) const KIND: Kind = Kind {
    name: "freeze",
    about: "say which parameters of a model learn from here on",
    measures: Measures::Nothing,
    parse,
};

#[derive(Debug)]
struct Freeze {
    freeze: Vec<String>,
    thaw: Vec<String>,
    batch_norm: FrozenBatchNorm,
}

fn parse(keys: &mut Keys, _: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    keys.about(&[
        ("model", "network to take"),
        (
            "freeze",
            "patterns of parameters that stop learning; `*` matches any characters, and `!` negates",
        ),
        ("thaw", "patterns of parameters that learn after all"),
        ("batch_norm", "whether frozen layers keep their running statistics or keep averaging"),
    ]);
    let model = keys.reference("model", Wants::Model);
    let freeze = keys.strings("freeze").or(Vec::new());
    let thaw = keys.strings("thaw").or(Vec::new());
    let batch_norm = keys.choice("batch_norm").or(FrozenBatchNorm::Eval);
    model?;
    Ok(Box::new(Freeze { freeze: freeze?, thaw: thaw?, batch_norm: batch_norm? }))
}

impl Stage for Freeze {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        2
    }

    /// Weights stay as they are.
    fn computes(&self) -> bool {
        false
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        let mut shape: ModelShape = inputs.model("model");
        let Some(spec) = &shape.spec else { return Ok(Product::Model(shape)) };
        let owned = names(spec, &shape.heads);
        let names: Vec<&str> = owned.iter().map(String::as_str).collect();
        let mut problems = Vec::new();
        for (key, patterns) in [("freeze", &self.freeze), ("thaw", &self.thaw)] {
            for (at, pattern) in patterns.iter().enumerate() {
                match turn(pattern, key == "thaw", &names) {
                    Ok((matched, learns)) => {
                        for (name, _) in owned.iter().zip(matched).filter(|(_, matched)| *matched) {
                            shape.frozen.retain(|frozen| frozen != name);
                            if !learns {
                                shape.frozen.push(name.clone());
                            }
                        }
                    }
                    Err(error) => problems.push(
                        Problem::at(format!("{key}.{at}"), error.to_string())
                            .help("`*` matches any characters, dots included"),
                    ),
                }
            }
        }
        if problems.is_empty() { Ok(Product::Model(shape)) } else { Err(problems) }
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        // Nothing is computed, so it needs no device but memory.
        let mut saved = Saved::open(&context.input("model").path, &CpuOps::shared())?;
        apply(&mut saved.model, &self.freeze, &self.thaw)
            .map_err(|error| Failure::new(error.to_string()))?;
        saved.model.set_frozen_batch_norm(self.batch_norm);
        saved.save(context.out)?;

        let mut layers: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for parameter in saved.model.parameters() {
            let layer = parameter.name.rsplit_once('.').map_or("", |(layer, _)| layer);
            let (learning, all) = layers.entry(layer.to_owned()).or_default();
            let len = parameter.shape.iter().product::<usize>();
            *all += len;
            *learning += if parameter.trainable { len } else { 0 };
        }
        let mut rows = Vec::new();
        let mut add = |layer: &str, learning: usize, all: usize| {
            for (metric, count) in [("trainable", learning), ("parameters", all)] {
                #[expect(clippy::cast_precision_loss, reason = "a model is far below 2^53 numbers")]
                let value = count as f64;
                rows.push(ModelRow { layer: layer.to_owned(), metric: metric.into(), value });
            }
        };
        for (layer, (learning, all)) in layers {
            add(&layer, learning, all);
        }
        let (learning, all) = counts(&saved.model);
        add("total", learning, all);
        let metrics = Metrics::Layers(rows);
        let summary = format!("{learning} of {all} parameters stay trainable");
        Ok(Outcome { metrics, summary, ..Outcome::default() })
    }
}
