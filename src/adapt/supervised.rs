//! Plain training on labelled images.

use dfdx::prelude::*;

use super::{Classified, Losses, Step};
use crate::nn::Part;
use crate::nn::ops::Ops;

/// Mean cross-entropy of the class logits.
pub fn losses<D: Ops>(step: Step<D>) -> Result<Losses<D>, D::Err> {
    let pass = step.pass("source");
    let Step { model, entry, source, targets, .. } = step;
    let features = model.features_from(entry, source.leaky_traced(), pass)?;
    let logits = model.forward(&Part::CLASSIFIER, features, pass)?;
    let classified = Classified::new(logits, &targets)?;
    let readings = vec![classified.loss_reading(), classified.accuracy_reading()];
    Ok(Losses { total: classified.loss, readings })
}
