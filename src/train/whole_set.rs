//! What a network makes of every image of a set, in data-set order and as at test time. Learns nothing.

use super::contract::Stop;
use super::inputs::Inputs;
use super::method::WholeSet;
use crate::data::view::Domain;
use crate::nn::{Model, Part, Pass};
use crate::progress::Watch;

/// Images at a time; it changes no number.
const BATCH: usize = 256;

/// Features and class probabilities of all images of a domain. Batch norm layers that have tensors of their own for the source take those for its images.
///
/// # Errors
/// When the device fails or the user asks to stop.
pub(super) fn whole_set(
    model: &mut Model,
    domain: Domain,
    inputs: &Inputs,
    watch: &Watch,
) -> Result<WholeSet, Stop> {
    let mut seen = WholeSet {
        features: Vec::new(),
        width: 0,
        probabilities: Vec::new(),
        classes: model.spec().classes,
    };
    let pass = Pass { source_norms: domain == Domain::Source, ..Pass::EVAL };
    let all: Vec<usize> = (0..inputs.images().len()).collect();
    for indices in all.chunks(BATCH) {
        watch.check()?;
        let x = model.take_in(inputs.entry(), inputs.batch(indices), indices.len())?;
        let features = model.features_from(inputs.entry(), &x, pass)?;
        let logits = model.forward(&Part::CLASSIFIER, &features, pass)?;
        seen.width = features.columns();
        seen.features.extend(features.host());
        seen.probabilities.extend(logits.softmax()?.host());
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::progress::Silent;
    use crate::train::tiny;

    #[test]
    fn images_of_the_source_go_by_the_batch_norm_of_the_source_where_it_has_its_own() {
        let (dataset, split, cancel) = (tiny::dataset(), tiny::split(), AtomicBool::new(false));
        let watch = Watch { progress: &Silent, cancel: &cancel };
        let features = |model: &mut Model, domain| {
            let inputs = Inputs::new(model, &split.images, &dataset);
            whole_set(model, domain, &inputs, &watch).unwrap().features
        };
        let mut model = tiny::model();
        let before = features(&mut model, Domain::Target);
        assert_eq!(features(&mut model, Domain::Source), before);
        model.split_norms().unwrap();
        let stats = model.stats_mut().iter_mut().find(|it| it.layer.ends_with(".source")).unwrap();
        let moved: Vec<f32> = stats.mean.host().iter().map(|mean| mean - 0.5).collect();
        stats.mean.write(&moved);
        assert_eq!(features(&mut model, Domain::Target), before);
        assert_ne!(features(&mut model, Domain::Source), before);
    }
}
