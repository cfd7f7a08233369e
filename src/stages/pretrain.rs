//! `pretrain`: trains a model from scratch on labelled data.

use super::training::{Start, Training};
use super::{Context, Defaults, Described, Halt, Kind, Measures, Outcome, Problem, Product, Stage};
use crate::adapt::Method;
use crate::config::{Keys, Noted};
use crate::nn::architecture::Architecture;

pub(super) const KIND: Kind = Kind {
    name: "pretrain",
    about: "train a model from scratch on labelled data",
    measures: Measures::Training,
    parse,
};

#[derive(Debug)]
struct Pretrain {
    start: Start,
    training: Training,
}

fn parse(keys: &mut Keys, defaults: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    let architecture = Architecture::read(keys);
    let training = Training::read(keys, defaults, Some(Method::Supervised), false);
    Ok(Box::new(Pretrain { start: Start::Fresh(architecture?), training: training? }))
}

impl Stage for Pretrain {
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
