//! `finetune`: trains a model further, with an adaptation method if one is named.

use super::training::{ModelSource, Training, TrainingStage};
use super::{Defaults, Kind, Measures, Stage};
use crate::config::node::Value;
use crate::config::{Keys, Noted, Wants};
use crate::nn::architecture::{Architecture, read_bottleneck, read_head};
use crate::nn::heads::NewLayers;

pub(super) const KIND: Kind = Kind {
    name: "finetune",
    about: "go on training a model, or adapt it to a target domain",
    measures: Measures::Training,
    parse,
};

fn parse(keys: &mut Keys, defaults: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    keys.elsewhere(
        &["freeze", "thaw"],
        "of a stage with `kind = \"freeze\"`, which comes before this one",
    );
    keys.elsewhere(&["target", "lambda"], "of `method`: `method = { kind = \"dann\", ... }`");
    keys.about(&[("model", "stage whose network is trained further, or a new network")]);
    let fresh = keys.has_form("model", |node| matches!(node.value, Value::Table(_)));
    let source = if fresh {
        Architecture::read(keys).map(ModelSource::Fresh)
    } else {
        let model = keys.reference("model", Wants::Model);
        let head = read_head(keys);
        let bottleneck = read_bottleneck(keys);
        model
            .and(bottleneck)
            .and_then(|bottleneck| Ok(ModelSource::Stage(NewLayers { bottleneck, head: head? })))
    };
    let training = Training::read(keys, defaults, source, None, !fresh)?;
    Ok(Box::new(TrainingStage { kind: KIND.name, training }))
}
