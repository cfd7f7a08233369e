//! `finetune`: goes on training a model, with an adaptation method if one is named.

use super::training::{Start, Training};
use super::{Context, Defaults, Described, Halt, Kind, Measures, Outcome, Problem, Product, Stage};
use crate::config::node::Value;
use crate::config::{Keys, Noted, Wants};
use crate::nn::architecture::{Architecture, read_head};

pub(super) const KIND: Kind = Kind {
    name: "finetune",
    about: "go on training a model, or adapt it to a target domain",
    measures: Measures::Training,
    parse,
};

#[derive(Debug)]
struct Finetune {
    start: Start,
    training: Training,
}

fn parse(keys: &mut Keys, defaults: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    let fresh = keys.has_form("model", |node| matches!(node.value, Value::Table(_)));
    let start = if fresh {
        Architecture::read(keys).map(Start::Fresh)
    } else {
        let model = keys.reference("model", Wants::Model);
        let head = read_head(keys);
        model.and(head).map(|head| Start::Stage { head })
    };
    let training = Training::read(keys, defaults, None, !fresh);
    Ok(Box::new(Finetune { start: start?, training: training? }))
}

impl Stage for Finetune {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        5
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        self.training.describe(inputs, &self.start).map(Product::Model)
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        self.training.run(context, &self.start)
    }
}
