//! Plain training on labelled images.

use dfdx::prelude::*;

use super::{Losses, Reading, Step, correct, share, value};
use crate::nn::ops::Ops;
use crate::nn::{Part, Pass};

/// Mean cross-entropy of the class logits.
pub fn losses<D: Ops>(step: Step<D>) -> Result<Losses<D>, D::Err> {
    let pass = Pass::Train(step.dropout("source"));
    let Step { model, entry, source, targets, .. } = step;
    let features = model.features_from(entry, source.leaky_traced(), pass)?;
    let logits = model.forward(Part::Classifier, features, pass)?;
    let count = targets.labels.len();
    let accuracy = share(correct(&logits, targets.labels), count);
    let total = D::cross_entropy(logits, &targets)?;
    let readings = vec![
        Reading { name: "class_loss", value: value(&total), weight: count },
        Reading { name: "accuracy", value: accuracy, weight: count },
    ];
    Ok(Losses { total, readings })
}
