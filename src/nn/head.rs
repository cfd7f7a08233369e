//! A trained network with a new classifier. Trains nothing.

use std::collections::HashMap;

use super::geometry::Chw;
use super::model::{Model, Parameter, RunningStats};
use super::placement::SpecError;
use super::spec::Layer;

/// `old` for images of shape `input`, with a classifier of `classes` classes as
/// [`Spec::with_head`](super::Spec::with_head) makes it of `head`, and the names of the parameters
/// that are new. What is not new keeps its weights and whether it learns; what is new learns, drawn
/// with `seed`.
///
/// # Errors
/// When the layers do not fit together.
pub fn replace(
    old: &Model,
    head: &[Layer],
    input: Chw,
    classes: usize,
    seed: u64,
) -> Result<(Model, Vec<String>), SpecError> {
    let (spec, fresh) = old.spec().clone().with_head(head, input, classes);
    let mut model = Model::new(spec, old.ops(), seed)?;
    if old.has_domain_classifier() {
        model.attach_domain_classifier(seed);
    }
    model.set_frozen_batch_norm(old.frozen_batch_norm());
    let parameters: HashMap<&str, &Parameter> =
        old.parameters().iter().map(|it| (it.name.as_str(), it)).collect();
    let mut new = Vec::new();
    for parameter in model.parameters_mut() {
        match parameters.get(parameter.name.as_str()) {
            Some(old) if old.shape == parameter.shape && !parameter.name.starts_with(&fresh) => {
                parameter.value.write(&old.value.host());
                parameter.trainable = old.trainable;
            }
            _ => new.push(parameter.name.clone()),
        }
    }
    let statistics: HashMap<&str, &RunningStats> =
        old.stats().iter().map(|it| (it.layer.as_str(), it)).collect();
    for stats in model.stats_mut() {
        if let Some(old) = statistics.get(stats.layer.as_str())
            && old.mean.len() == stats.mean.len()
            && !stats.layer.starts_with(&fresh)
        {
            stats.mean.write(&old.mean.host());
            stats.var.write(&old.var.host());
            stats.batches = old.batches;
        }
    }
    Ok((model, new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ops::CpuOps;
    use crate::nn::zoo::{self, ArchSettings};

    const SMALL: Chw = Chw { channels: 3, height: 16, width: 16 };

    fn model(arch: &str) -> Model {
        let layout = ArchSettings { small_input: true, ..ArchSettings::new(SMALL, 7) };
        let spec = (zoo::find(arch).unwrap().build)(layout);
        let mut model = Model::new(spec, &CpuOps::shared(), 0).unwrap();
        model.parameters_mut().iter_mut().for_each(|it| it.trainable = false);
        model
    }

    fn names<'a>(it: impl IntoIterator<Item = &'a Parameter>) -> Vec<(&'a str, Vec<usize>)> {
        it.into_iter().map(|it| (it.name.as_str(), it.shape.clone())).collect()
    }

    #[test]
    fn a_head_takes_the_classifier_s_place_under_the_names_of_pytorch() {
        let old = model("resnet18");
        let head = [zoo::linear(100), Layer::Relu];
        let larger = Chw { channels: 3, height: 24, width: 24 };
        let (new, fresh) = replace(&old, &head, larger, 4, 1).unwrap();
        assert_eq!(fresh, ["fc.0.weight", "fc.0.bias", "fc.2.weight", "fc.2.bias"]);
        let learning = names(new.parameters().iter().filter(|it| it.trainable));
        assert_eq!(learning[0], ("fc.0.weight", vec![100, 512]));
        assert_eq!(learning[2], ("fc.2.weight", vec![4, 100]));
        assert_eq!(learning.len(), 4);
        assert_eq!(new.spec().input, larger);
        for (old, new) in old.parameters().iter().zip(new.parameters()).take(60) {
            assert_eq!((&old.name, old.value.host()), (&new.name, new.value.host()));
        }
    }

    #[test]
    fn an_empty_head_is_a_new_last_layer_even_for_as_many_classes() {
        let new = |arch| replace(&model(arch), &[], SMALL, 7, 1).unwrap().1;
        assert_eq!(new("resnet18"), ["fc.weight", "fc.bias"]);
        assert_eq!(new("mobilenet_v2"), ["classifier.1.weight", "classifier.1.bias"]);
        assert_eq!(new("squeezenet1_1"), ["classifier.1.weight", "classifier.1.bias"]);
    }

    #[test]
    fn a_head_on_maps_begins_with_their_means() {
        let (new, fresh) = replace(&model("squeezenet1_1"), &[Layer::Relu], SMALL, 5, 1).unwrap();
        assert_eq!(fresh, ["classifier.1.weight", "classifier.1.bias"]);
        let last = new.parameters().last().unwrap();
        assert_eq!(last.shape, [5]);
        assert_eq!(new.spec().classifier.len(), 3);
    }
}
