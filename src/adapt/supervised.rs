//! Plain training on labelled images.

use super::{Classified, Losses, Step};
use crate::nn::Part;
use crate::nn::ops::OpError;

/// Mean cross-entropy of the class logits.
pub fn losses(step: Step) -> Result<Losses, OpError> {
    let pass = step.pass("source");
    let Step { model, entry, source, targets, .. } = step;
    let features = model.features_from(entry, &source, pass)?;
    let logits = model.forward(&Part::CLASSIFIER, &features, pass)?;
    let classified = Classified::new(&logits, &targets)?;
    let readings = vec![classified.loss_reading(), classified.accuracy_reading()];
    Ok(Losses { total: classified.loss, readings })
}
