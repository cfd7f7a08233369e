//! A trained network with a new classifier. Trains nothing.

use std::collections::HashMap;

use super::geometry::Chw;
use super::heads::NewLayers;
use super::model::{Model, Parameter, RunningStats};
use super::placement::SpecError;

/// `old` for images of shape `input` and `classes` classes, with what `new` names made new as
/// [`Spec::renewed`](super::Spec::renewed) has it, and the names of the parameters that are new. What is
/// not new keeps its weights and whether it learns; what is new learns, drawn with `seed`.
///
/// # Errors
/// When the layers do not fit together.
pub fn replace(
    old: &Model,
    new: &NewLayers,
    input: Chw,
    classes: usize,
    seed: u64,
) -> Result<(Model, Vec<String>), SpecError> {
    let (spec, fresh) = old.spec().clone().renewed(new, input, classes);
    let is_fresh = |name: &str| fresh.iter().any(|prefix| name.starts_with(prefix));
    let mut model = Model::with_heads(spec, &old.heads(), old.ops(), seed)?;
    model.set_frozen_batch_norm(old.frozen_batch_norm());
    let parameters: HashMap<&str, &Parameter> =
        old.parameters().iter().map(|it| (it.name.as_str(), it)).collect();
    let mut new = Vec::new();
    for parameter in model.parameters_mut() {
        match parameters.get(parameter.name.as_str()) {
            Some(old) if old.shape == parameter.shape && !is_fresh(&parameter.name) => {
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
            && !is_fresh(&format!("{}.", stats.layer))
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
    use crate::nn::spec::{Layer, Part};
    use crate::nn::zoo::{self, ArchSettings};

    const SMALL: Chw = Chw { channels: 3, height: 16, width: 16 };

    fn model(arch: &str) -> Model {
        let layout = ArchSettings { small_input: true, ..ArchSettings::new(SMALL, 7) };
        let spec = (zoo::find(arch).unwrap().build)(layout);
        let mut model = Model::new(spec, &CpuOps::shared(), 0).unwrap();
        model.parameters_mut().iter_mut().for_each(|it| it.trainable = false);
        model
    }

    fn head(layers: &[Layer]) -> NewLayers {
        NewLayers { head: Some(layers.to_vec()), bottleneck: None }
    }

    fn names<'a>(it: impl IntoIterator<Item = &'a Parameter>) -> Vec<(&'a str, Vec<usize>)> {
        it.into_iter().map(|it| (it.name.as_str(), it.shape.clone())).collect()
    }

    #[test]
    fn a_head_takes_the_classifier_s_place_under_the_names_of_pytorch() {
        let old = model("resnet18");
        let head = head(&[zoo::linear(100), Layer::Relu]);
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
        let new = |arch| replace(&model(arch), &head(&[]), SMALL, 7, 1).unwrap().1;
        assert_eq!(new("resnet18"), ["fc.weight", "fc.bias"]);
        assert_eq!(new("mobilenet_v2"), ["classifier.1.weight", "classifier.1.bias"]);
        assert_eq!(new("squeezenet1_1"), ["classifier.1.weight", "classifier.1.bias"]);
    }

    #[test]
    fn a_head_on_maps_begins_with_their_means() {
        let (new, fresh) =
            replace(&model("squeezenet1_1"), &head(&[Layer::Relu]), SMALL, 5, 1).unwrap();
        assert_eq!(fresh, ["classifier.1.weight", "classifier.1.bias"]);
        let last = new.parameters().last().unwrap();
        assert_eq!(last.shape, [5]);
        assert_eq!(new.spec().part(&Part::CLASSIFIER).len(), 3);
    }
    #[test]
    fn a_bottleneck_is_new_with_every_head_and_the_features_before_it_stay() {
        let mut old = model("dacnn");
        let layers = old.spec().part(&Part::DOMAIN).to_vec();
        old.attach_head(&Part::DOMAIN, layers, Some(2), 0).unwrap();
        old.stats_mut().iter_mut().for_each(|it| it.batches = 5);
        let bottleneck = Some(vec![zoo::linear(1250), zoo::batch_norm()]);
        let new = NewLayers { bottleneck, head: None };
        let input = old.spec().input;
        // As wide as the features were: what comes in has the same shape, and is something else.
        let (new, fresh) = replace(&old, &new, input, 7, 1).unwrap();
        let kept = new.parameters().iter().filter(|it| !fresh.contains(&it.name));
        assert!(kept.clone().all(|it| it.name.starts_with("features.") && !it.trainable));
        assert_eq!((kept.count(), fresh.len()), (8, 4 + 10 + 6));
        assert!(new.has_head(&Part::DOMAIN));
        let seen = new.stats().iter().filter(|it| it.batches > 0).map(|it| it.layer.as_str());
        assert_eq!(seen.collect::<Vec<_>>(), ["features.bn1", "features.bn2"]);
    }
}
