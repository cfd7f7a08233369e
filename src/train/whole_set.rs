//! What a network makes of every image of a set, in data-set order and as at test time. Learns nothing.

use super::activations::Activations;
use super::contract::Stop;
use super::method::WholeSet;
use crate::data::{Images, Normalisation, loader};
use crate::nn::{EntryLayer, Model, Part, Pass};
use crate::progress::Watch;

/// Images at a time; it changes no number.
const BATCH: usize = 256;

/// Features and class probabilities of all `images`, from the output of frozen layers where it is given.
///
/// # Errors
/// When the device fails or the user asks to stop.
pub(super) fn whole_set(
    model: &mut Model,
    images: &Images,
    normalisation: Normalisation,
    frozen: Option<&Activations>,
    watch: &Watch,
) -> Result<WholeSet, Stop> {
    let mut seen = WholeSet {
        features: Vec::new(),
        width: 0,
        probabilities: Vec::new(),
        classes: model.spec().classes,
    };
    let all: Vec<usize> = (0..images.len()).collect();
    for indices in all.chunks(BATCH) {
        watch.check()?;
        let (entry, values) = match frozen {
            Some(activations) => (activations.entry, activations.batch(indices)),
            None => (EntryLayer::IMAGES, loader::batch(normalisation, images, indices)),
        };
        let x = model.take_in(entry, values, indices.len())?;
        let features = model.features_from(entry, &x, Pass::EVAL)?;
        let logits = model.forward(&Part::CLASSIFIER, &features, Pass::EVAL)?;
        seen.width = features.columns();
        seen.features.extend(features.host());
        seen.probabilities.extend(logits.softmax()?.host());
    }
    Ok(seen)
}
