//! `pretrain`: trains a model from scratch on labelled data.

use super::training::{ModelSource, Training, TrainingStage};
use super::{Defaults, Kind, Measures, Stage};
use crate::adapt::Supervised;
use crate::config::{Keys, Noted};
use crate::nn::architecture::Architecture;

pub(super) const KIND: Kind = Kind {
    name: "pretrain",
    about: "train a model from scratch on labelled data",
    measures: Measures::Training,
    parse,
};

fn parse(keys: &mut Keys, defaults: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    keys.about(&[("model", "the network")]);
    let source = Architecture::read(keys).map(ModelSource::Fresh);
    let training = Training::read(keys, defaults, source, Some(Box::new(Supervised)), false)?;
    Ok(Box::new(TrainingStage { kind: KIND.name, training }))
}
